/* branched_conv_f32: 3x3 convolutions by Winograd, each read by a 1x1 convolution alone.
 *
 * A unit is a block of tiles. Of each branch, the channels between the two convolutions are computed for
 * the block's pixels and left in scratch, as the panel that the products of the second one are made from.
 */
typedef struct {
    ISA(winograd_plan) p;
    const bnnc_branched_conv_args *args;
    int64_t panel_stride; /* floats from one channel between to the next: no multiple of a page */
} ISA(branched_plan);

static ISA(branched_plan) ISA(plan_branched)(const bnnc_branched_conv_args *args) {
    const bnnc_conv_shape *s = &args->shape;
    ISA(branched_plan)
    c = {.args = args,
         .p = {.x = args->x,
               .s = s,
               .oh = s->oh,
               .ow = s->ow,
               .pad_top = s->pad_top,
               .pad_left = s->pad_left,
               .low = args->low}};
    ISA(plan_winograd)(&c.p, 1, 4);
    c.panel_stride = c.p.block_pixels + 16;
    return c;
}

/* The second convolution of a branch, and its epilogue. */
static void ISA(branched_points)(const ISA(branched_plan) *c, const ISA(winograd_block) *t, const bnnc_branch *branch,
                                 const float *panel, float *results) {
    const ISA(winograd_plan) *p = &c->p;
    const bnnc_epilogue *e = &branch->epilogue;
    int64_t plane = p->oh * p->ow, first = t->ty0 * 4 * p->ow + t->tx0 * 4;
    float low, *direct = ISA(plain_store)(e, &low, NULL);
    direct = t->width == p->ow ? direct : NULL;
    for (int32_t channel = 0; channel < e->channels; channel += 8) {
        int32_t channels = BNNC_MIN(8, e->channels - channel);
        float bias[8] = {0};
        if (branch->point_bias)
            memcpy(bias, branch->point_bias + channel, (size_t)channels * sizeof(float));
        ISA(gemm_block) b = {
            .w = branch->points + (int64_t)channel * branch->hidden,
            .panel = panel,
            .depth = branch->hidden,
            .panel_stride = c->panel_stride,
            .pixels = t->height * t->width,
            .channels = channels,
            .start = bias,
            .out = results,
            .out_stride = p->block_pixels,
            .low = -INFINITY,
        };
        if (direct) {
            b.out = direct + ((int64_t)t->batch_index * e->channels + channel) * plane + first;
            b.out_stride = plane;
            b.low = low;
            b.exact = 1;
        }
        ISA(gemm_run)(&b);
        if (!direct)
            ISA(winograd_finish)(p, t, e, channel, channels, results, t->width, p->block_pixels);
    }
}

static int64_t ISA(branched_conv_f32_units)(const void *args) {
    ISA(branched_plan) c = ISA(plan_branched)(args);
    return ISA(winograd_units)(&c.p);
}

static void ISA(branched_conv_f32)(const void *args, int64_t begin, int64_t end, void *scratch) {
    ISA(branched_plan) c = ISA(plan_branched)(args);
    const ISA(winograd_plan) *p = &c.p;
    const bnnc_conv_shape *s = p->s;
    float *inputs = scratch, *sums = inputs + 36 * p->input_position, *results = sums + 8 * p->sum_channel;
    float *zeros = results + 8 * p->block_pixels, *panel = zeros + BNNC_CEIL_DIV(s->iw, 16) * 16;
    memset(zeros, 0, (size_t)s->iw * sizeof(float));
    int64_t blocks = 0;
    for (int32_t i = 0; i < c.args->count; i++)
        blocks += BNNC_CEIL_DIV(c.args->branches[i].hidden, 8);
    for (int64_t unit = begin; unit < end; unit++) {
        ISA(winograd_block) t = ISA(winograd_unit)(p, unit, 4);
        ISA(winograd_inputs)(p, &t, zeros, inputs, 4);
        ISA(gemm_ask) asks[3] = {{.rows = 0}};
        if (unit + 1 < end) {
            ISA(winograd_block) next = ISA(winograd_unit)(p, unit + 1, 4);
            asks[2] = ISA(winograd_ask_inputs)(p, &next);
            ISA(spread)(&asks[2], blocks * 36);
        }
        for (const bnnc_branch *branch = c.args->branches; branch < c.args->branches + c.args->count; branch++) {
            const float *touch[2];
            ISA(epilogue_tensors)(&branch->epilogue, touch);
            for (int i = 0; i < 2; i++) {
                int32_t channels = branch->epilogue.channels;
                asks[i] = ISA(winograd_ask_outputs)(p, &t, touch[i], channels, 0, channels);
                ISA(spread)(&asks[i], BNNC_CEIL_DIV(branch->hidden, 8) * 36);
            }
            for (int32_t channel = 0; channel < branch->hidden; channel += 8)
                ISA(winograd_channels)(p, &t, branch->w + (int64_t)channel * 36 * s->ic,
                                       branch->bias ? branch->bias + channel : NULL,
                                       BNNC_MIN(8, branch->hidden - channel), inputs, sums, asks,
                                       panel + channel * c.panel_stride, t.width, c.panel_stride);
            ISA(branched_points)(&c, &t, branch, panel, results);
        }
    }
}
