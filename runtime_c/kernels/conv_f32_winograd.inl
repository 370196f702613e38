/* conv_f32_winograd: 3x3 convolution at stride 1 by F(4x4, 3x3), with 36 instead of 144 products for
 * 16 outputs; see winograd_f32.inl.
 */
typedef struct {
    ISA(winograd_plan) p;
    float *direct; /* the output tensor, where the epilogue is relu? store sign* */
    bnnc_epilogue signs;
    const float *touch[2];
} ISA(conv_winograd_plan);

static ISA(conv_winograd_plan) ISA(plan_conv_winograd)(const bnnc_conv_f32_args *args) {
    const bnnc_conv_shape *s = &args->shape;
    ISA(conv_winograd_plan)
    c = {.p = {.x = args->x, .s = s, .oh = s->oh, .ow = s->ow, .pad_top = s->pad_top, .pad_left = s->pad_left}};
    ISA(plan_winograd)(&c.p, ISA(mixes_channels)(&args->epilogue), 4);
    c.direct = ISA(plain_store)(&args->epilogue, &c.p.low, &c.signs);
    ISA(epilogue_tensors)(&args->epilogue, c.touch);
    return c;
}

/* Run an epilogue on a block's rows of the channels of a block. */
static void ISA(winograd_finish)(const ISA(winograd_plan) *p, const ISA(winograd_block) *t, const bnnc_epilogue *e,
                                 int32_t channel, int32_t channels, const float *rows, int64_t stride,
                                 int64_t channel_stride) {
    float v[BNNC_TILE] __attribute__((aligned(64)));
    int64_t first = t->ty0 * 4 * p->ow + t->tx0 * 4;
    int64_t together = t->width == p->ow && stride == p->ow ? BNNC_MAX(1, BNNC_TILE / t->width) : 1;
    for (int64_t y = 0; y < t->height; y += together) {
        int64_t count = BNNC_MIN(together, t->height - y) * t->width;
        for (int64_t x = 0; x < count; x += BNNC_TILE)
            ISA(run_rows)(e, t->batch_index, channel, channels, first + y * p->ow + x,
                          (int32_t)BNNC_MIN(BNNC_TILE, count - x), rows + y * stride + x, NULL, channel_stride, v);
    }
}

/* The inputs of a unit. */
static ISA(gemm_ask) ISA(winograd_ask_inputs)(const ISA(winograd_plan) *p, const ISA(winograd_block) *t) {
    const bnnc_conv_shape *s = p->s;
    int64_t y0 = BNNC_MIN(s->ih, t->ty0 * 4), y1 = BNNC_MIN(s->ih, t->ty1 * 4 + 2);
    int64_t plane = (int64_t)s->ih * s->iw;
    return (ISA(gemm_ask)){
        .row = p->x + (int64_t)t->batch_index * s->ic * plane + y0 * s->iw,
        .rows = s->ic,
        .pixels = (y1 - y0) * s->iw,
        .stride = plane,
    };
}

/* What an epilogue will use of a tensor of `of` channels: those from `channel` on, `channels` of them. */
static ISA(gemm_ask) ISA(winograd_ask_outputs)(const ISA(winograd_plan) *p, const ISA(winograd_block) *t,
                                               const float *tensor, int32_t of, int32_t channel, int32_t channels) {
    int64_t plane = p->oh * p->ow;
    return (ISA(gemm_ask)){
        .row = tensor + ((int64_t)t->batch_index * of + channel) * plane + t->ty0 * 4 * p->ow,
        .rows = tensor ? channels : 0,
        .pixels = t->height * p->ow,
        .stride = plane,
    };
}

/* Have it asked for in so many turns. */
BNNC_INLINE void ISA(spread)(ISA(gemm_ask) *ask, int64_t turns) {
    ask->lines = BNNC_CEIL_DIV(ask->rows * BNNC_CEIL_DIV(ask->pixels, 16), turns);
}

/* The rows of a block of channels, channel_stride apart; asks[2] is for reading, the others for writing. */
static void ISA(winograd_channels)(const ISA(winograd_plan) *p, const ISA(winograd_block) *t, const float *w,
                                   const float *bias, int32_t channels, const float *inputs, float *sums,
                                   ISA(gemm_ask) asks[3], float *rows, int64_t stride, int64_t channel_stride) {
    for (int64_t position = 0; position < 36; position++, w += p->s->ic * 8) {
        for (int i = 0; i < 3; i++)
            ISA(gemm_prefetch)(&asks[i], i < 2);
        ISA(winograd_products)(p, inputs + position * p->input_position, w, channels, sums + position * BNNC_LANES);
    }
    for (int32_t i = 0; i < channels; i++)
        ISA(winograd_rows)(p, t, sums + i * p->sum_channel, bias ? bias[i] : 0, rows + i * channel_stride, stride, 4);
}

static int64_t ISA(conv_f32_winograd_units)(const void *args) {
    ISA(conv_winograd_plan) c = ISA(plan_conv_winograd)(args);
    return ISA(winograd_units)(&c.p);
}

static void ISA(conv_f32_winograd)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_conv_f32_args *a = args;
    ISA(conv_winograd_plan) c = ISA(plan_conv_winograd)(a);
    const ISA(winograd_plan) *p = &c.p;
    const bnnc_conv_shape *s = p->s;
    int64_t plane = p->oh * p->ow;
    float *inputs = scratch, *sums = inputs + 36 * p->input_position, *rows = sums + 8 * p->sum_channel;
    float *zeros = rows + (c.direct ? 0 : 8 * p->block_pixels);
    memset(zeros, 0, (size_t)s->iw * sizeof(float));
    for (int64_t unit = begin; unit < end; unit++) {
        ISA(winograd_block) t = ISA(winograd_unit)(p, unit, 4);
        if (unit == begin || unit % p->splits == 0)
            ISA(winograd_inputs)(p, &t, zeros, inputs, 4);
        ISA(gemm_ask) asks[3] = {{.rows = 0}};
        if (unit + 1 < end && (unit + 1) % p->splits == 0) {
            ISA(winograd_block) next = ISA(winograd_unit)(p, unit + 1, 4);
            asks[2] = ISA(winograd_ask_inputs)(p, &next);
            ISA(spread)(&asks[2], BNNC_CEIL_DIV(p->unit_channels, 8) * 36);
        }
        int64_t first = t.ty0 * 4 * p->ow + t.tx0 * 4;
        for (int32_t channel = t.channel; channel < t.stop; channel += 8) {
            int32_t channels = BNNC_MIN(8, s->oc - channel);
            for (int i = 0; i < 2; i++) {
                asks[i] = ISA(winograd_ask_outputs)(p, &t, c.touch[i], s->oc, channel, channels);
                ISA(spread)(&asks[i], 36);
            }
            int64_t at = ((int64_t)t.batch_index * s->oc + channel) * plane + first;
            float *out = c.direct ? c.direct + at : rows;
            int64_t stride = c.direct || p->columns == p->tiles_x ? p->ow : p->columns * 4;
            int64_t channel_stride = c.direct ? plane : p->block_pixels;
            ISA(winograd_channels)(p, &t, a->w + (int64_t)channel * 36 * s->ic, a->bias ? a->bias + channel : NULL,
                                   channels, inputs, sums, asks, out, stride, channel_stride);
            const bnnc_epilogue *e = c.direct ? &c.signs : &a->epilogue;
            if (e->count)
                ISA(winograd_finish)(p, &t, e, channel, channels, out, stride, channel_stride);
        }
    }
}
