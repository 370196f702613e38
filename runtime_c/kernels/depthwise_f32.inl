/* depthwise_f32: convolution of every channel by itself.
 *
 * The input rows under a row of outputs are kept in scratch, padded, and split by stride: plane r
 * holds every stride-th pixel from the r-th on. Then each tap reads one plane at unit stride,
 * whatever the stride, dilation and padding. A row is split once while it stays in use.
 * Windows of 3x3 at stride 1 or 2 do without: they slide along the rows in registers.
 */
#define DEPTHWISE_UNITS 16
/* Floats of split rows, and taps, at most; windows too large for them are summed point by point. */
#define DEPTHWISE_ROWS (128 << 10)
#define DEPTHWISE_TAPS 4096
/* Rows of input that are asked for ahead of those that slide. */
#define DEPTHWISE_AHEAD 4
/* Ways to make a row of sums. */
#define DEPTHWISE_SPLIT 0
#define DEPTHWISE_SLIDE 1
#define DEPTHWISE_POINTS 2

typedef struct {
    const bnnc_conv_f32_args *args;
    const bnnc_conv_shape *s;
    int64_t columns, column_tiles; /* of outputs */
    int64_t rows, bands;
    int64_t unit_channels, splits;
    int64_t needed;           /* pixels of a plane that taps read */
    int64_t plane, split_row; /* floats of a plane, and of all planes of a row */
    int64_t slots;            /* split rows kept */
    int32_t way;
    float *direct;
    float low;
} ISA(depthwise_plan);

static ISA(depthwise_plan) ISA(plan_depthwise)(const bnnc_conv_f32_args *args) {
    const bnnc_conv_shape *s = &args->shape;
    ISA(depthwise_plan) p = {.args = args, .s = s};
    p.direct = ISA(plain_store)(&args->epilogue, &p.low, NULL);
    p.columns = BNNC_MIN(s->ow, BNNC_TILE);
    p.column_tiles = BNNC_CEIL_DIV(s->ow, p.columns);
    p.unit_channels = ISA(mixes_channels)(&args->epilogue) ? s->oc : 1;
    p.splits = s->oc / p.unit_channels;
    int64_t units = s->batch * p.splits * p.column_tiles;
    p.rows = BNNC_CEIL_DIV(s->oh, BNNC_CEIL_DIV(DEPTHWISE_UNITS, units));
    p.bands = BNNC_CEIL_DIV(s->oh, p.rows);
    p.needed = p.columns + (int64_t)(s->kw - 1) * s->dilation_w / s->stride_w;
    p.plane = BNNC_CEIL_DIV(p.needed + 2 * BNNC_LANES, 16) * 16;
    p.split_row = p.plane * s->stride_w;
    p.slots = s->dilation_h == 1 ? s->kh + s->stride_h : 2 * s->kh;
    if (s->kh == 3 && s->kw == 3 && s->stride_w <= 2 && s->dilation_h == 1 && s->dilation_w == 1 && s->pad_left == 1 &&
        p.column_tiles == 1 && s->iw <= DEPTHWISE_ROWS)
        p.way = DEPTHWISE_SLIDE;
    else if (p.split_row * p.slots > DEPTHWISE_ROWS || (int64_t)s->kh * s->kw > DEPTHWISE_TAPS)
        p.way = DEPTHWISE_POINTS;
    return p;
}

/* One row of sums. taps[i] is where tap i finds the pixel of the row's first output. */
BNNC_INLINE void ISA(depthwise_row)(const float *const *taps, const float *w, int32_t count, float bias, float low,
                                    float *out, int64_t pixels) {
    vf32 start = f32_set(bias), bound = f32_set(low);
    for (int64_t i = 0; i < pixels; i += BNNC_LANES) {
        vf32 sum = start;
        for (int32_t t = 0; t < count; t++)
            sum = f32_fma(f32_load(taps[t] + i), f32_set(w[t]), sum);
        sum = f32_max(bound, sum);
        if (i + BNNC_LANES <= pixels)
            f32_store(out + i, sum);
        else
            f32_store_n(out + i, sum, pixels - i);
    }
}

static void ISA(depthwise_points)(const bnnc_conv_shape *s, const float *x, const float *w, float bias, float low,
                                  int64_t y, int64_t x0, int64_t x1, float *out) {
    for (int64_t i = x0; i < x1; i++) {
        float sum = bias;
        for (int32_t ky = 0; ky < s->kh; ky++)
            for (int32_t kx = 0; kx < s->kw; kx++) {
                int64_t iy = y * s->stride_h + (int64_t)ky * s->dilation_h - s->pad_top;
                int64_t ix = i * s->stride_w + (int64_t)kx * s->dilation_w - s->pad_left;
                if (iy >= 0 && iy < s->ih && ix >= 0 && ix < s->iw)
                    sum += x[iy * s->iw + ix] * w[ky * s->kw + kx];
            }
        out[i - x0] = low > sum ? low : sum;
    }
}

/* Tables and rows of one worker, in scratch. */
typedef struct {
    float *rows;       /* the split rows */
    int64_t *in;       /* which input row each is, counted from -pad_top */
    const float **tap; /* where each tap finds the pixel of the first output of an even, an odd row */
    int64_t *offset;   /* of each column of taps in a split row */
    ISA(span) *inside; /* of each plane */
    float *zeros;      /* a row of padding, where rows slide */
} ISA(depthwise_state);

static ISA(depthwise_state) ISA(depthwise_start)(const ISA(depthwise_plan) *p, void *scratch) {
    const bnnc_conv_shape *s = p->s;
    ISA(depthwise_state) d = {.rows = scratch, .zeros = scratch};
    if (p->way == DEPTHWISE_SLIDE) {
        ISA(fill_row)(d.zeros, 0, s->iw);
        return d;
    }
    if (p->way == DEPTHWISE_POINTS)
        return d;
    d.in = (int64_t *)(d.rows + p->split_row * p->slots);
    d.offset = d.in + p->slots;
    d.inside = (ISA(span) *)(d.offset + s->kw);
    d.tap = (const float **)(d.inside + s->stride_w);
    for (int32_t kx = 0; kx < s->kw; kx++) {
        int64_t at = (int64_t)kx * s->dilation_w;
        d.offset[kx] = at % s->stride_w * p->plane + at / s->stride_w;
    }
    for (int32_t r = 0; r < s->stride_w; r++)
        d.inside[r] = ISA(span_inside)(s->iw, s->stride_w, r - s->pad_left);
    return d;
}

/* Have the input rows of output row y split, and every tap's address set. */
static void ISA(depthwise_gather)(const ISA(depthwise_plan) *p, const ISA(depthwise_state) *d, const float *x,
                                  int64_t y, int64_t x0) {
    const bnnc_conv_shape *s = p->s;
    const float *end = p->args->x + (int64_t)s->batch * s->ic * s->ih * s->iw;
    const float **tap = d->tap + y % 2 * s->kh * s->kw;
    for (int32_t ky = 0; ky < s->kh; ky++) {
        int64_t padded_y = y * s->stride_h + (int64_t)ky * s->dilation_h, iy = padded_y - s->pad_top;
        /* Undilated, rows keep their place from one output row to the next. */
        int64_t slot = s->dilation_h == 1 ? padded_y % p->slots : y % 2 * s->kh + ky;
        float *row = d->rows + slot * p->split_row;
        if (d->in[slot] != padded_y) {
            d->in[slot] = padded_y;
            for (int32_t r = 0; r < s->stride_w; r++)
                if (iy >= 0 && iy < s->ih)
                    ISA(padded_row)(row + r * p->plane, x + iy * s->iw, end, d->inside[r], x0, x0 + p->needed,
                                    s->stride_w, r - s->pad_left);
                else
                    ISA(fill_row)(row + r * p->plane, 0, p->needed);
        }
        for (int32_t kx = 0; kx < s->kw; kx++)
            *tap++ = row + d->offset[kx];
    }
}

/* What three sliding rows carry from vector to vector. */
typedef struct {
    vf32 carry[3], now[3];
} ISA(depthwise_carry);

/* The vector at column `at` of a row that ends at `width`, with zeros behind. */
BNNC_INLINE vf32 ISA(depthwise_load)(const float *row, int64_t at, int64_t width, const int whole) {
    return f32_rounded(whole ? f32_load(row + at)
                             : f32_load_n(row + at, BNNC_MAX(0, BNNC_MIN(width - at, BNNC_LANES))));
}

/* `count` vectors of sums from column i on, whose products take turns: one alone would wait for its own
 * last product each time. */
BNNC_INLINE void ISA(depthwise_step)(const float *const *in, int64_t width, const float *w, int64_t i,
                                     ISA(depthwise_carry) *c, vf32 *sums, const int count, const int stride,
                                     const int whole) {
    BNNC_UNROLL for (int ky = 0; ky < 3; ky++) {
        vf32 left[2], middle[2], right[2];
        BNNC_UNROLL for (int k = 0; k < count; k++) {
            int64_t at = i + k * BNNC_LANES;
            if (stride == 1) {
                vf32 next = ISA(depthwise_load)(in[ky], at + BNNC_LANES, width, whole);
                middle[k] = c->now[ky];
                right[k] = ISA(slide_down)(middle[k], next);
                left[k] = ISA(slide)(c->carry[ky], middle[k]);
                c->carry[ky] = middle[k];
                c->now[ky] = next;
            } else {
                ISA(two) v = whole ? ISA(load_two)(in[ky] + 2 * at)
                                   : ISA(two_of)(ISA(depthwise_load)(in[ky], 2 * at, width, 0),
                                                 ISA(depthwise_load)(in[ky], 2 * at + BNNC_LANES, width, 0));
                middle[k] = ISA(even)(v);
                right[k] = ISA(odd)(v);
                left[k] = ISA(slide)(c->carry[ky], right[k]);
                c->carry[ky] = right[k];
            }
        }
        BNNC_UNROLL for (int k = 0; k < count; k++) sums[k] = f32_fma(left[k], f32_set(w[3 * ky]), sums[k]);
        BNNC_UNROLL for (int k = 0; k < count; k++) sums[k] = f32_fma(middle[k], f32_set(w[3 * ky + 1]), sums[k]);
        BNNC_UNROLL for (int k = 0; k < count; k++) sums[k] = f32_fma(right[k], f32_set(w[3 * ky + 2]), sums[k]);
    }
}

/* A row of sums for 3 x 3 taps, the first left of the row's first pixel: what a vector's neighbours
 * need of it is carried over in registers. What lies `ahead` floats behind the rows that are new is
 * asked for, unless that is 0. */
BNNC_INLINE void ISA(depthwise_slide)(const float *const *rows, int64_t width, const float *w, float bias, float low,
                                      float *out, int64_t pixels, int64_t ahead, const int stride) {
    enum { STEP = 2 * BNNC_LANES };
    ISA(depthwise_carry) c = {{{0}}, {{0}}};
    const float *in[3] = {rows[0], rows[1], rows[2]};
    if (stride == 1)
        BNNC_UNROLL for (int ky = 0; ky < 3; ky++) c.now[ky] = ISA(depthwise_load)(in[ky], 0, width, 0);
    vf32 start = f32_set(bias), bound = f32_set(low), sums[2];
    int64_t whole = BNNC_MIN(pixels - STEP, width / stride - STEP - (stride == 1 ? BNNC_LANES : 0)), i = 0;
    for (; i <= whole; i += STEP) {
        BNNC_UNROLL for (int ky = 3 - stride; ahead && ky < 3; ky++)
            BNNC_UNROLL for (int64_t k = 0; k < stride * STEP; k += 16)
                __builtin_prefetch(in[ky] + ahead + stride * i + k, 0, 3);
        sums[0] = sums[1] = start;
        ISA(depthwise_step)(in, width, w, i, &c, sums, 2, stride, 1);
        f32_store(out + i, f32_max(bound, sums[0]));
        f32_store(out + i + BNNC_LANES, f32_max(bound, sums[1]));
    }
    for (; i < pixels; i += BNNC_LANES) {
        sums[0] = start;
        ISA(depthwise_step)(in, width, w, i, &c, sums, 1, stride, 0);
        f32_store_n(out + i, f32_max(bound, sums[0]), BNNC_MIN(pixels - i, BNNC_LANES));
    }
}

static void ISA(depthwise_row_3x3s1)(const float *const *in, int64_t width, const float *w, float bias, float low,
                                     float *out, int64_t pixels, int64_t ahead) {
    ISA(depthwise_slide)(in, width, w, bias, low, out, pixels, ahead, 1);
}

static void ISA(depthwise_row_3x3s2)(const float *const *in, int64_t width, const float *w, float bias, float low,
                                     float *out, int64_t pixels, int64_t ahead) {
    ISA(depthwise_slide)(in, width, w, bias, low, out, pixels, ahead, 2);
}

/* One row of outputs, into out. */
BNNC_INLINE void ISA(depthwise_sums)(const ISA(depthwise_plan) *p, const ISA(depthwise_state) *d, const float *x,
                                     int32_t channel, int64_t y, int64_t y1, int64_t x0, int64_t x1, float *out) {
    const bnnc_conv_shape *s = p->s;
    const float *w = p->args->w + (int64_t)channel * s->kh * s->kw;
    float bias = p->args->bias ? p->args->bias[channel] : 0;
    if (p->way == DEPTHWISE_POINTS) {
        ISA(depthwise_points)(s, x, w, bias, p->low, y, x0, x1, out);
        return;
    }
    if (p->way == DEPTHWISE_SLIDE) {
        const int64_t ahead = (int64_t)DEPTHWISE_AHEAD * s->iw;
        const float *in[3];
        for (int32_t ky = 0; ky < 3; ky++) {
            int64_t iy = y * s->stride_h + ky - s->pad_top;
            in[ky] = iy >= 0 && iy < s->ih ? x + iy * s->iw : d->zeros;
        }
        if (s->stride_w == 1)
            ISA(depthwise_row_3x3s1)(in, s->iw, w, bias, p->low, out, x1 - x0, ahead);
        else
            ISA(depthwise_row_3x3s2)(in, s->iw, w, bias, p->low, out, x1 - x0, ahead);
        return;
    }
    /* One row ahead, since what has just been stored cannot be loaded at another offset at once. */
    if (y + 1 < y1)
        ISA(depthwise_gather)(p, d, x, y + 1, x0);
    ISA(depthwise_row)(d->tap + y % 2 * s->kh * s->kw, w, s->kh * s->kw, bias, p->low, out, x1 - x0);
}

/* Rows [y0, y1), columns [x0, x1) of one channel. */
static void ISA(depthwise_band)(const ISA(depthwise_plan) *p, const ISA(depthwise_state) *d, int32_t batch_index,
                                int32_t channel, int64_t y0, int64_t y1, int64_t x0, int64_t x1) {
    const bnnc_conv_shape *s = p->s;
    const bnnc_conv_f32_args *args = p->args;
    const float *x =
        args->x + ((int64_t)batch_index * s->ic + channel / (s->oc / s->groups)) * ((int64_t)s->ih * s->iw);
    int64_t plane = ((int64_t)batch_index * s->oc + channel) * s->oh * s->ow;
    float v[BNNC_TILE] __attribute__((aligned(64)));
    int64_t filled = 0, width = x1 - x0;
    if (p->way == DEPTHWISE_SPLIT) {
        for (int64_t i = 0; i < p->slots; i++)
            d->in[i] = -1;
        ISA(depthwise_gather)(p, d, x, y0, x0);
    }
    for (int64_t y = y0; y < y1; y++) {
        float *out = p->direct ? p->direct + plane + y * s->ow + x0 : v + filled;
        ISA(depthwise_sums)(p, d, x, channel, y, y1, x0, x1, out);
        filled += width;
        if (p->direct || (width == s->ow && y + 1 < y1 && filled + width <= BNNC_TILE))
            continue;
        int64_t first = y * s->ow + x1 - filled;
        ISA(epilogue_run)(&args->epilogue, batch_index, channel, first, (int32_t)filled, v);
        filled = 0;
    }
}

static int64_t ISA(depthwise_f32_units)(const void *args) {
    ISA(depthwise_plan) p = ISA(plan_depthwise)(args);
    return p.s->batch * p.splits * p.column_tiles * p.bands;
}

static void ISA(depthwise_f32)(const void *args, int64_t begin, int64_t end, void *scratch) {
    ISA(depthwise_plan) p = ISA(plan_depthwise)(args);
    ISA(depthwise_state) d = ISA(depthwise_start)(&p, scratch);
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t y0 = unit % p.bands * p.rows, y1 = BNNC_MIN(p.s->oh, y0 + p.rows);
        int64_t x0 = unit / p.bands % p.column_tiles * p.columns, x1 = BNNC_MIN(p.s->ow, x0 + p.columns);
        int64_t rest = unit / p.bands / p.column_tiles;
        int32_t batch_index = (int32_t)(rest / p.splits), channel = (int32_t)(rest % p.splits);
        for (int32_t c = 0; c < p.unit_channels; c++)
            ISA(depthwise_band)(&p, &d, batch_index, channel + c, y0, y1, x0, x1);
    }
}

#undef DEPTHWISE_UNITS
#undef DEPTHWISE_ROWS
#undef DEPTHWISE_TAPS
#undef DEPTHWISE_AHEAD
#undef DEPTHWISE_SPLIT
#undef DEPTHWISE_SLIDE
#undef DEPTHWISE_POINTS
