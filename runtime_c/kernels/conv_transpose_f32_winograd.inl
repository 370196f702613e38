/* conv_transpose_f32_winograd: transposed convolution with 4x4 taps at stride 2, by Winograd.
 *
 * Outputs 2i and 2i + 1, by rows and by columns, are four phases: each is a plain convolution of the
 * input with 2x2 of the taps. As 3x3 convolutions whose first or last taps are zero they share one
 * window of the input, and its transformation. The zero taps make the products at one end of each
 * axis zero, at the point 0 or at infinity: of the (m+2)² positions (m+1)² are left, which for m = 4
 * are 25 products instead of 64, for m = 2 nine instead of 16.
 */

typedef struct {
    ISA(winograd_plan) p;
    const bnnc_conv_f32_args *args;
    float *direct; /* the output tensor, where the epilogue is relu? store */
} ISA(tconv_winograd_plan);

BNNC_INLINE ISA(tconv_winograd_plan) ISA(plan_tconv_winograd)(const bnnc_conv_f32_args *args, const int m) {
    const bnnc_conv_shape *s = &args->shape;
    ISA(tconv_winograd_plan)
    c = {.args = args,
         .p = {
             .x = args->x,
             .s = s,
             .oh = BNNC_CEIL_DIV(s->oh, 2),
             .ow = BNNC_CEIL_DIV(s->ow, 2),
             .pad_top = 1 - s->pad_top / 2,
             .pad_left = 1 - s->pad_left / 2,
         }};
    ISA(plan_winograd)(&c.p, ISA(mixes_channels)(&args->epilogue), m);
    c.direct = ISA(plain_store)(&args->epilogue, &c.p.low, NULL);
    return c;
}

/* Of the weights that a phase's taps [2][2][ic][8] are transformed to, those of one row of positions: m + 1 times
 * [ic][8], `stride` floats apart, at least eight more than that. Of three taps the first or the last is absent, by rows
 * and by columns, with the position of the same number. */
static __attribute__((noinline)) void ISA(tconv_winograd_expand)(const float *taps, int64_t ic, int y, int absent_y,
                                                                 int absent_x, float *to, int64_t stride, const int m) {
    const int64_t count = ic * 8;
    const int down = absent_y == 0, right = absent_x == 0;
    float rows[3], columns[5][3];
    ISA(winograd_factors)(y, rows, m);
    for (int x = 0; x < m + 1; x++)
        ISA(winograd_factors)(x + right, columns[x], m);
    vf32 above = f32_set(rows[down]), below = f32_set(rows[1 + down]);
    for (int64_t i = 0; i < count; i += BNNC_LANES) {
        vf32 tap[4];
        /* A channel's eight weights are whole vectors, or half of one. */
        BNNC_UNROLL for (int k = 0; k < 4; k++) tap[k] =
            BNNC_LANES <= 8 ? f32_load(taps + k * count + i) : f32_load_some(taps + k * count + i, count - i);
        vf32 left = f32_fma(tap[2], below, tap[0] * above), next = f32_fma(tap[3], below, tap[1] * above);
        BNNC_UNROLL for (int x = 0; x < m + 1; x++) f32_store(
            to + x * stride + i, f32_fma(next, f32_set(columns[x][1 + right]), left * f32_set(columns[x][right])));
    }
}

/* One phase's outputs of all channels of a block, in rows of whole tiles, channels block_pixels apart. `expanded`:
 * room for a row of its weights, if they are to be transformed. */
BNNC_INLINE void ISA(tconv_winograd_phase)(const ISA(tconv_winograd_plan) *c, const ISA(winograd_block) *t,
                                           const int phase_y, const int phase_x, const float *w, int32_t channel,
                                           int32_t channels, const float *inputs, float *sums, float *rows,
                                           float *expanded, const int m) {
    const ISA(winograd_plan) *p = &c->p;
    const bnnc_conv_shape *s = p->s;
    const int expand = c->args->expand;
    const int absent_y = phase_y && s->pad_top % 2 ? 0 : m + 1, absent_x = phase_x && s->pad_left % 2 ? 0 : m + 1;
    /* Taps may lie a power of two apart, and so share cache sets; what is made of them does not. */
    const int64_t stride = s->ic * 8 + (expand ? 16 : 0);
    const float *from = w;
    for (int y = 0; y < m + 2; y++) {
        if (expand && y != absent_y) {
            ISA(tconv_winograd_expand)(w, s->ic, y, absent_y, absent_x, expanded, stride, m);
            from = expanded;
        }
        for (int x = 0; x < m + 2; x++) {
            const int position = y * (m + 2) + x;
            float *to = sums + position * BNNC_LANES;
            if (y == absent_y || x == absent_x) {
                for (float *zero = to; zero < to + 8 * p->sum_channel; zero += p->sum_vector)
                    f32_store(zero, f32_set(0));
                continue;
            }
            ISA(winograd_products)(p, inputs + position * p->input_position, from, channels, to);
            from += stride;
        }
    }
    for (int32_t i = 0; i < channels; i++)
        ISA(winograd_rows)(p, t, sums + i * p->sum_channel, c->args->bias ? c->args->bias[channel + i] : 0,
                           rows + i * p->block_pixels, p->pitch * m, m);
}

/* Weave the rows of both phases of columns, and store them or run the epilogue on them. `phases` holds
 * the two, 8 * block_pixels apart. */
static void ISA(tconv_winograd_finish)(const ISA(tconv_winograd_plan) *c, const ISA(winograd_block) *t, int phase_y,
                                       int32_t channel, int32_t channels, const float *phases, int m) {
    const ISA(winograd_plan) *p = &c->p;
    const bnnc_conv_shape *s = p->s;
    float woven[8 * BNNC_TILE] __attribute__((aligned(64)));
    float v[BNNC_TILE] __attribute__((aligned(64)));
    int64_t x0 = 2 * m * t->tx0, width = BNNC_MIN(s->ow - x0, 2 * t->width), plane = (int64_t)s->oh * s->ow;
    for (int64_t row = 0; row < t->height; row++) {
        int64_t y = 2 * (m * t->ty0 + row) + phase_y;
        if (y >= s->oh)
            break;
        for (int64_t x = 0; x < width; x += BNNC_TILE) {
            int64_t count = BNNC_MIN(BNNC_TILE, width - x), first = y * s->ow + x0 + x;
            int64_t at = ((int64_t)t->batch_index * s->oc + channel) * plane + first;
            for (int32_t i = 0; i < channels; i++) {
                const float *from = phases + i * p->block_pixels + row * p->pitch * m + x / 2;
                const float *streams[2] = {from, from + 8 * p->block_pixels};
                ISA(weave)(c->direct ? c->direct + at + i * plane : woven + i * BNNC_TILE, streams, 2, count);
            }
            if (!c->direct)
                ISA(run_rows)(&c->args->epilogue, t->batch_index, channel, channels, first, (int32_t)count, woven, NULL,
                              BNNC_TILE, v);
        }
    }
}

BNNC_INLINE void ISA(tconv_winograd_run)(const bnnc_conv_f32_args *args, int64_t begin, int64_t end, float *scratch,
                                         const int m) {
    const int positions = (m + 2) * (m + 2);
    ISA(tconv_winograd_plan) c = ISA(plan_tconv_winograd)(args, m);
    const ISA(winograd_plan) *p = &c.p;
    const bnnc_conv_shape *s = p->s;
    float *inputs = scratch, *sums = inputs + positions * p->input_position, *phases = sums + 8 * p->sum_channel;
    float *zeros = phases + 2 * 8 * p->block_pixels, *expanded = zeros + BNNC_CEIL_DIV(s->iw, 16) * 16;
    const int64_t phase_weights = (int64_t)(args->expand ? 4 : (m + 1) * (m + 1)) * s->ic * 8;
    memset(zeros, 0, (size_t)s->iw * sizeof(float));
    for (int64_t unit = begin; unit < end; unit++) {
        ISA(winograd_block) t = ISA(winograd_unit)(p, unit, m);
        if (unit == begin || unit % p->splits == 0)
            ISA(winograd_inputs)(p, &t, zeros, inputs, m);
        const float *w = args->w + t.channel / 8 * 4 * phase_weights;
        for (int32_t channel = t.channel; channel < t.stop; channel += 8) {
            int32_t channels = BNNC_MIN(8, s->oc - channel);
            for (int phase_y = 0; phase_y < 2; phase_y++) {
                for (int phase_x = 0; phase_x < 2; phase_x++, w += phase_weights)
                    ISA(tconv_winograd_phase)(&c, &t, phase_y, phase_x, w, channel, channels, inputs, sums,
                                              phases + phase_x * 8 * p->block_pixels, expanded, m);
                ISA(tconv_winograd_finish)(&c, &t, phase_y, channel, channels, phases, m);
            }
        }
    }
}

static int64_t ISA(conv_transpose_f32_winograd_units)(const void *args) {
    const bnnc_conv_f32_args *a = args;
    ISA(tconv_winograd_plan) c = ISA(plan_tconv_winograd)(a, a->tile == 4 ? 4 : 2);
    return ISA(winograd_units)(&c.p);
}

static void ISA(conv_transpose_f32_winograd)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_conv_f32_args *a = args;
    if (a->tile == 4)
        ISA(tconv_winograd_run)(a, begin, end, scratch, 4);
    else
        ISA(tconv_winograd_run)(a, begin, end, scratch, 2);
}
