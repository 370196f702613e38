/* conv_f32_winograd: 3x3 convolution at stride 1 by F(4x4, 3x3), with 36 instead of 144 products for
 * 16 outputs.
 *
 * An output tile of 4x4 needs 6x6 inputs d and is
 *
 *     Y = A' (sum over input channels of (G g G') o (B' d B)) A
 *
 * with o element by element, g the 3x3 weights, and from the points 0, +-a, +-b, infinity
 *
 *     B' = a²b²   0   -s  0  1  0     A' = 1  1   1   1   1   0     s = a² + b²
 *            0  -ab²  -b² a  1  0          0  a  -a   b  -b   0
 *            0   ab²  -b² -a 1  0          0  a²  a²  b²  b²  0
 *            0  -a²b  -a² b  1  0          0  a³ -a³  b³ -b³  1
 *            0   a²b  -a² -b 1  0
 *            0  a²b²   0  -s 0  1
 *
 * The usual points 1 and 2 lose a digit and a half to cancellation. With a = 3/4 and b = 3/2, whose
 * powers are exact, the error is about two and a half times that of summing directly.
 *
 * Lanes are tiles that follow each other in a row of tiles. A unit is a block of tiles: its inputs are
 * transformed, which gives a panel for each of the 36 positions; for each block of 8 output channels
 * 36 products of panels and weights follow, and their sums are transformed back to rows of pixels.
 */
#define WINOGRAD_A 0.75f
#define WINOGRAD_B 1.5f
#define WINOGRAD_A2 (WINOGRAD_A * WINOGRAD_A)
#define WINOGRAD_B2 (WINOGRAD_B * WINOGRAD_B)

/* Tiles of a block; floats of its transformed inputs that still pass for few; input channels above
 * which a block has few tiles all the same; units wanted. */
#define WINOGRAD_TILES 64
#define WINOGRAD_INPUTS (40 << 10)
#define WINOGRAD_CHANNELS 112
#define WINOGRAD_UNITS 8

typedef struct {
    const bnnc_conv_f32_args *args;
    const bnnc_conv_shape *s;
    int64_t tiles_y, tiles_x; /* of the output */
    int64_t rows, columns;    /* tiles of a block */
    int64_t pitch;            /* tiles from one row of a block to the next: whole vectors of pixels */
    int64_t row_blocks, column_blocks;
    int64_t lanes;          /* tiles of a panel, whole vectors */
    int64_t input_position; /* floats from one position's panel, or sums, to the next */
    int64_t sum_position;
    float *direct;
    float low;
    bnnc_epilogue signs;
    const float *touch[2];
} ISA(winograd_plan);

/* A unit: tiles [ty0, ty1) x [tx0, tx1) of a batch item. */
typedef struct {
    int32_t batch_index;
    int64_t ty0, ty1, tx0, tx1;
} ISA(winograd_block);

static ISA(winograd_plan) ISA(plan_winograd)(const bnnc_conv_f32_args *args) {
    const bnnc_conv_shape *s = &args->shape;
    ISA(winograd_plan) p = {.args = args, .s = s};
    const int64_t whole = BNNC_LANES / 4;
    p.tiles_y = BNNC_CEIL_DIV(s->oh, 4);
    p.tiles_x = BNNC_CEIL_DIV(s->ow, 4);
    int64_t most = s->ic > WINOGRAD_CHANNELS ? 16 : s->ic * 36 * WINOGRAD_TILES > WINOGRAD_INPUTS ? 32 : WINOGRAD_TILES;
    while (most > 16 && s->batch * p.tiles_y * p.tiles_x < WINOGRAD_UNITS * most)
        most /= 2;
    p.pitch = BNNC_CEIL_DIV(p.tiles_x, whole) * whole;
    p.columns = p.tiles_x;
    if (p.pitch > most)
        p.pitch = p.columns = most;
    p.rows = BNNC_MIN(p.tiles_y, most / p.pitch);
    p.row_blocks = BNNC_CEIL_DIV(p.tiles_y, p.rows);
    p.column_blocks = BNNC_CEIL_DIV(p.tiles_x, p.columns);
    p.lanes = BNNC_CEIL_DIV(p.rows * p.pitch, BNNC_LANES) * BNNC_LANES;
    /* Not multiples of a page, so that positions do not share cache sets. */
    p.input_position = s->ic * p.lanes + 16;
    p.sum_position = 8 * p.lanes + 16;
    p.direct = ISA(plain_store)(&args->epilogue, &p.low, &p.signs);
    ISA(epilogue_tensors)(&args->epilogue, p.touch);
    return p;
}

/* out = B' in, for six vectors. */
BNNC_INLINE void ISA(winograd_in)(const vf32 in[6], vf32 out[6]) {
    const vf32 a = f32_set(WINOGRAD_A), b = f32_set(WINOGRAD_B);
    const vf32 a2 = f32_set(-WINOGRAD_A2), b2 = f32_set(-WINOGRAD_B2);
    const vf32 both = f32_set(WINOGRAD_A2 * WINOGRAD_B2), sum = f32_set(-(WINOGRAD_A2 + WINOGRAD_B2));
    vf32 ta = f32_fma(b2, in[2], in[4]), ua = f32_fma(b2, in[1], in[3]);
    vf32 tb = f32_fma(a2, in[2], in[4]), ub = f32_fma(a2, in[1], in[3]);
    out[0] = f32_fma(both, in[0], f32_fma(sum, in[2], in[4]));
    out[1] = f32_fma(a, ua, ta);
    out[2] = f32_fma(-a, ua, ta);
    out[3] = f32_fma(b, ub, tb);
    out[4] = f32_fma(-b, ub, tb);
    out[5] = f32_fma(both, in[1], f32_fma(sum, in[3], in[5]));
}

/* out = A' in, six vectors to four. */
BNNC_INLINE void ISA(winograd_out)(const vf32 in[6], vf32 out[4]) {
    const vf32 a = f32_set(WINOGRAD_A), b = f32_set(WINOGRAD_B);
    const vf32 a2 = f32_set(WINOGRAD_A2), b2 = f32_set(WINOGRAD_B2);
    const vf32 a3 = f32_set(WINOGRAD_A * WINOGRAD_A2), b3 = f32_set(WINOGRAD_B * WINOGRAD_B2);
    vf32 sa = in[1] + in[2], da = in[1] - in[2], sb = in[3] + in[4], db = in[3] - in[4];
    out[0] = in[0] + sa + sb;
    out[1] = f32_fma(b, db, a * da);
    out[2] = f32_fma(b2, sb, a2 * sa);
    out[3] = f32_fma(b3, db, f32_fma(a3, da, in[5]));
}

/* Of four vectors, every fourth lane from the first, second, third, last. */
BNNC_INLINE void ISA(winograd_split)(vf32 v[4]) {
    vf32 even0 = ISA(even)(v[0], v[1]), even1 = ISA(even)(v[2], v[3]);
    vf32 odd0 = ISA(odd)(v[0], v[1]), odd1 = ISA(odd)(v[2], v[3]);
    v[0] = ISA(even)(even0, even1);
    v[1] = ISA(even)(odd0, odd1);
    v[2] = ISA(odd)(even0, even1);
    v[3] = ISA(odd)(odd0, odd1);
}

/* The inputs of BNNC_LANES tiles from pixel `at` on, transformed along columns of pixels and then split. */
BNNC_INLINE void ISA(winograd_columns)(const float *const in[6], int64_t at, int64_t width, vf32 out[6][4],
                                       const int inside) {
    BNNC_UNROLL for (int i = 0; i < 4; i++) {
        vf32 d[6], r[6];
        BNNC_UNROLL for (int j = 0; j < 6; j++) d[j] =
            inside ? f32_load(in[j] + at + i * BNNC_LANES)
                   : ISA(load_window)(in[j], at + i * BNNC_LANES, width, f32_set(0));
        ISA(winograd_in)(d, r);
        BNNC_UNROLL for (int j = 0; j < 6; j++) out[j][i] = r[j];
    }
    BNNC_UNROLL for (int j = 0; j < 6; j++) ISA(winograd_split)(out[j]);
}

/* Transform one channel's inputs of one row of tiles: first along columns of pixels, which need not be
 * split for that, then along rows. A tile's last two columns are the first ones of the next, so
 * vectors go from right to left. */
static void ISA(winograd_inputs)(const ISA(winograd_plan) *p, const ISA(winograd_block) *t, const float *x, int64_t ty,
                                 const float *zeros, float *out) {
    const bnnc_conv_shape *s = p->s;
    const float *in[6];
    for (int64_t j = 0; j < 6; j++) {
        int64_t y = ty * 4 + j - s->pad_top;
        in[j] = y >= 0 && y < s->ih ? x + y * s->iw : zeros;
    }
    int64_t tiles = t->tx1 - t->tx0, begin = t->tx0 * 4 - s->pad_left;
    int64_t last = BNNC_CEIL_DIV(tiles, BNNC_LANES) * BNNC_LANES;
    vf32 carry[6][2] = {{{0}}};
    if (begin + 4 * last < s->iw) {
        vf32 next[6][4];
        ISA(winograd_columns)(in, begin + 4 * last, s->iw, next, 0);
        BNNC_UNROLL for (int j = 0; j < 6; j++) BNNC_UNROLL for (int k = 0; k < 2; k++) carry[j][k] = next[j][k];
    }
    for (int64_t i = last - BNNC_LANES; i >= 0; i -= BNNC_LANES) {
        int64_t at = begin + 4 * i;
        vf32 half[6][4];
        if (at >= 0 && at + 4 * BNNC_LANES <= s->iw)
            ISA(winograd_columns)(in, at, s->iw, half, 1);
        else
            ISA(winograd_columns)(in, at, s->iw, half, 0);
        BNNC_UNROLL for (int j = 0; j < 6; j++) {
            vf32 *h = half[j], r[6];
            vf32 d[6] = {
                h[0], h[1], h[2], h[3], ISA(slide_down)(h[0], carry[j][0]), ISA(slide_down)(h[1], carry[j][1])};
            ISA(winograd_in)(d, r);
            BNNC_UNROLL for (int k = 0; k < 6; k++) f32_store(out + (6 * j + k) * p->input_position + i, r[k]);
            carry[j][0] = h[0];
            carry[j][1] = h[1];
        }
    }
}

/* Transform the sums of one channel at lanes [i, i + BNNC_LANES) back; rows of pixels into out[row],
 * four vectors each. */
BNNC_INLINE void ISA(winograd_outputs)(const ISA(winograd_plan) *p, const float *sums, vf32 bias, vf32 low,
                                       vf32 out[4][4]) {
    vf32 half[6][4];
    BNNC_UNROLL for (int j = 0; j < 6; j++) {
        vf32 m[6];
        BNNC_UNROLL for (int k = 0; k < 6; k++) m[k] = f32_load(sums + (6 * j + k) * p->sum_position);
        ISA(winograd_out)(m, half[j]);
    }
    vf32 y[4][4];
    BNNC_UNROLL for (int k = 0; k < 4; k++) {
        vf32 m[6], r[4];
        BNNC_UNROLL for (int j = 0; j < 6; j++) m[j] = half[j][k];
        ISA(winograd_out)(m, r);
        BNNC_UNROLL for (int j = 0; j < 4; j++) y[j][k] = f32_max(low, r[j] + bias);
    }
    BNNC_UNROLL for (int j = 0; j < 4; j++) {
        vf32 low02 = ISA(interleave_low)(y[j][0], y[j][2]), high02 = ISA(interleave_high)(y[j][0], y[j][2]);
        vf32 low13 = ISA(interleave_low)(y[j][1], y[j][3]), high13 = ISA(interleave_high)(y[j][1], y[j][3]);
        out[j][0] = ISA(interleave_low)(low02, low13);
        out[j][1] = ISA(interleave_high)(low02, low13);
        out[j][2] = ISA(interleave_low)(high02, high13);
        out[j][3] = ISA(interleave_high)(high02, high13);
    }
}

/* The outputs of one channel: row `y` of the block begins at out + y * stride. */
static void ISA(winograd_rows)(const ISA(winograd_plan) *p, const ISA(winograd_block) *t, const float *sums, float bias,
                               float *out, int64_t stride) {
    const bnnc_conv_shape *s = p->s;
    int64_t width = BNNC_MIN(s->ow, t->tx1 * 4) - t->tx0 * 4, height = BNNC_MIN(s->oh, t->ty1 * 4) - t->ty0 * 4;
    vf32 shift = f32_set(bias), low = f32_set(p->low);
    int64_t y = 0, x = 0;
    for (int64_t i = 0; i < p->lanes && y < height; i += BNNC_LANES) {
        vf32 rows[4][4];
        ISA(winograd_outputs)(p, sums + i, shift, low, rows);
        BNNC_UNROLL for (int k = 0; k < 4; k++) {
            if (y >= height)
                break;
            int64_t count = BNNC_MIN(4, height - y);
            for (int64_t j = 0; x < width && j < count; j++) {
                float *to = out + (y + j) * stride + x;
                if (x + BNNC_LANES <= width)
                    f32_store(to, rows[j][k]);
                else
                    f32_store_n(to, rows[j][k], width - x);
            }
            x += BNNC_LANES;
            if (x >= p->pitch * 4) {
                x = 0;
                y += 4;
            }
        }
    }
}

/* Run an epilogue on a block's rows of the channels of a block. */
static void ISA(winograd_finish)(const ISA(winograd_plan) *p, const ISA(winograd_block) *t, const bnnc_epilogue *e,
                                 int32_t channel, int32_t channels, const float *rows, int64_t stride,
                                 int64_t channel_stride) {
    const bnnc_conv_shape *s = p->s;
    int64_t x0 = t->tx0 * 4, width = BNNC_MIN(s->ow, t->tx1 * 4) - x0;
    int64_t y1 = BNNC_MIN(s->oh, t->ty1 * 4);
    float v[BNNC_TILE] __attribute__((aligned(64)));
    int64_t together = width == s->ow && stride == s->ow ? BNNC_MAX(1, BNNC_TILE / width) : 1;
    for (int64_t y = t->ty0 * 4; y < y1; y += together) {
        int64_t count = BNNC_MIN(together, y1 - y) * width;
        for (int64_t x = 0; x < count; x += BNNC_TILE)
            ISA(run_rows)(e, t->batch_index, channel, channels, y * s->ow + x0 + x,
                          (int32_t)BNNC_MIN(BNNC_TILE, count - x), rows + (y - t->ty0 * 4) * stride + x, NULL,
                          channel_stride, v);
    }
}

/* The inputs of a unit. */
static ISA(gemm_ask) ISA(winograd_ask_inputs)(const ISA(winograd_plan) *p, const ISA(winograd_block) *t) {
    const bnnc_conv_shape *s = p->s;
    int64_t y0 = BNNC_MIN(s->ih, t->ty0 * 4), y1 = BNNC_MIN(s->ih, t->ty1 * 4 + 2);
    int64_t plane = (int64_t)s->ih * s->iw;
    return (ISA(gemm_ask)){
        .row = p->args->x + (int64_t)t->batch_index * s->ic * plane + y0 * s->iw,
        .rows = s->ic,
        .pixels = (y1 - y0) * s->iw,
        .stride = plane,
    };
}

/* What the epilogue of a block of channels will use of a tensor. */
static ISA(gemm_ask) ISA(winograd_ask_outputs)(const ISA(winograd_plan) *p, const ISA(winograd_block) *t,
                                               const float *tensor, int32_t channel) {
    const bnnc_conv_shape *s = p->s;
    int64_t plane = (int64_t)s->oh * s->ow, y0 = t->ty0 * 4, y1 = BNNC_MIN(s->oh, t->ty1 * 4);
    return (ISA(gemm_ask)){
        .row = tensor + ((int64_t)t->batch_index * s->oc + channel) * plane + y0 * s->ow,
        .rows = tensor ? BNNC_MIN(8, s->oc - channel) : 0,
        .pixels = (y1 - y0) * s->ow,
        .stride = plane,
    };
}

/* Have it asked for in so many turns. */
BNNC_INLINE void ISA(spread)(ISA(gemm_ask) *ask, int64_t turns) {
    ask->lines = BNNC_CEIL_DIV(ask->rows * BNNC_CEIL_DIV(ask->pixels, 16), turns);
}

static ISA(winograd_block) ISA(winograd_unit)(const ISA(winograd_plan) *p, int64_t unit) {
    ISA(winograd_block) t = {
        .batch_index = (int32_t)(unit / p->column_blocks / p->row_blocks),
        .ty0 = unit / p->column_blocks % p->row_blocks * p->rows,
        .tx0 = unit % p->column_blocks * p->columns,
    };
    t.ty1 = BNNC_MIN(p->tiles_y, t.ty0 + p->rows);
    t.tx1 = BNNC_MIN(p->tiles_x, t.tx0 + p->columns);
    return t;
}

static int64_t ISA(conv_f32_winograd_units)(const void *args) {
    ISA(winograd_plan) p = ISA(plan_winograd)(args);
    return p.s->batch * p.row_blocks * p.column_blocks;
}

static void ISA(conv_f32_winograd)(const void *args, int64_t begin, int64_t end, void *scratch) {
    ISA(winograd_plan) p = ISA(plan_winograd)(args);
    const bnnc_conv_shape *s = p.s;
    const float start[8] = {0};
    int64_t block_pixels = p.rows * p.pitch * 16, plane = (int64_t)s->oh * s->ow;
    float *inputs = scratch, *sums = inputs + 36 * p.input_position, *rows = sums + 36 * p.sum_position;
    float *zeros = rows + (p.direct ? 0 : 8 * block_pixels);
    memset(zeros, 0, (size_t)s->iw * sizeof(float));
    for (int64_t unit = begin; unit < end; unit++) {
        ISA(winograd_block) t = ISA(winograd_unit)(&p, unit);
        const float *x = p.args->x + (int64_t)t.batch_index * s->ic * s->ih * s->iw;
        for (int64_t c = 0; c < s->ic; c++, x += (int64_t)s->ih * s->iw)
            for (int64_t ty = t.ty0; ty < t.ty1; ty++)
                ISA(winograd_inputs)(&p, &t, x, ty, zeros, inputs + c * p.lanes + (ty - t.ty0) * p.pitch);
        ISA(gemm_ask) asks[3] = {{.rows = 0}};
        if (unit + 1 < end) {
            ISA(winograd_block) next = ISA(winograd_unit)(&p, unit + 1);
            asks[2] = ISA(winograd_ask_inputs)(&p, &next);
            ISA(spread)(&asks[2], BNNC_CEIL_DIV(s->oc, 8) * 36);
        }
        int64_t first = t.ty0 * 4 * s->ow + t.tx0 * 4;
        for (int32_t channel = 0; channel < s->oc; channel += 8) {
            int32_t channels = BNNC_MIN(8, s->oc - channel);
            for (int i = 0; i < 2; i++) {
                asks[i] = ISA(winograd_ask_outputs)(&p, &t, p.touch[i], channel);
                ISA(spread)(&asks[i], 36);
            }
            for (int64_t position = 0; position < 36; position++) {
                for (int i = 0; i < 3; i++)
                    ISA(gemm_prefetch)(&asks[i], i < 2);
                ISA(gemm_block) b = {
                    .w = p.args->w + ((int64_t)channel / 8 * 36 + position) * s->ic * 8,
                    .panel = inputs + position * p.input_position,
                    .depth = s->ic,
                    .panel_stride = p.lanes,
                    .pixels = p.lanes,
                    .channels = channels,
                    .start = start,
                    .out = sums + position * p.sum_position,
                    .out_stride = p.lanes,
                    .low = -INFINITY,
                };
                ISA(gemm_run)(&b);
            }
            int64_t at = ((int64_t)t.batch_index * s->oc + channel) * plane + first;
            float *out = p.direct ? p.direct + at : rows;
            int64_t stride = p.direct || p.columns == p.tiles_x ? s->ow : p.columns * 4;
            int64_t channel_stride = p.direct ? plane : block_pixels;
            for (int32_t i = 0; i < channels; i++)
                ISA(winograd_rows)(&p, &t, sums + i * p.lanes, p.args->bias ? p.args->bias[channel + i] : 0,
                                   out + i * channel_stride, stride);
            const bnnc_epilogue *e = p.direct ? &p.signs : &p.args->epilogue;
            if (e->count)
                ISA(winograd_finish)(&p, &t, e, channel, channels, out, stride, channel_stride);
        }
    }
}

#undef WINOGRAD_A
#undef WINOGRAD_B
#undef WINOGRAD_A2
#undef WINOGRAD_B2
#undef WINOGRAD_TILES
#undef WINOGRAD_INPUTS
#undef WINOGRAD_CHANNELS
#undef WINOGRAD_UNITS
