/* pooled_depthwise_f32: the largest of every window at stride 1, and a 3x3 convolution of every channel
 * over these: a pooling without aliasing. The rows between the two stay in the first level of cache. */
#define POOLED_UNITS 16
/* Pooled rows kept: those under a row of outputs, rounded up. */
#define POOLED_ROWS 4

/* Columns from i on of the largest values of windows whose first row is `x`; `whole` where all that is
 * read lies in the row. */
BNNC_INLINE vf32 ISA(pooled_step)(const float *x, int64_t width, int64_t i, int32_t pool_h, int32_t pool_w,
                                  const int whole) {
    const vf32 none = f32_set(-INFINITY);
    vf32 v = none;
    for (int32_t ky = 0; ky < pool_h; ky++, x += width)
        for (int32_t kx = 0; kx < pool_w; kx++)
            v = f32_max(v, whole ? f32_load(x + i + kx) : ISA(load_window)(x, i + kx, width, none));
    return v;
}

/* A row of `count` largest values, and zeros behind them up to a whole vector. */
BNNC_INLINE void ISA(pooled_row)(const float *x, int64_t count, int32_t pool_h, int32_t pool_w, float *to) {
    int64_t width = count + pool_w - 1, i = 0;
    for (; i + BNNC_LANES <= count; i += BNNC_LANES)
        f32_store(to + i, ISA(pooled_step)(x, width, i, pool_h, pool_w, 1));
    if (i < count)
        f32_store(to + i, f32_first(ISA(pooled_step)(x, width, i, pool_h, pool_w, 0), count - i));
}

/* The same for windows of 2x2: of two rows first, then of columns beside each other. */
static void ISA(pooled_row_2x2)(const float *x, int64_t count, float *to) {
    const int64_t width = count + 1;
    int64_t i = 0;
    vf32 here = ISA(pooled_step)(x, width, 0, 2, 1, width >= BNNC_LANES);
    for (; i + 2 * BNNC_LANES <= width; i += BNNC_LANES) {
        vf32 next = ISA(pooled_step)(x, width, i + BNNC_LANES, 2, 1, 1);
        f32_store(to + i, f32_max(here, ISA(slide_down)(here, next)));
        here = next;
    }
    for (; i < count; i += BNNC_LANES) {
        vf32 next = f32_set(-INFINITY);
        if (i + BNNC_LANES < width)
            next = ISA(pooled_step)(x, width, i + BNNC_LANES, 2, 1, 0);
        vf32 v = f32_max(here, ISA(slide_down)(here, next));
        f32_store(to + i, f32_first(v, BNNC_MIN(count - i, BNNC_LANES)));
        here = next;
    }
}

/* Floats from one pooled row to the next: the columns behind its last, and under the last vector of
 * outputs, are zeros, which pad it. */
BNNC_INLINE int64_t ISA(pooled_pitch)(const bnnc_conv_shape *s) {
    int64_t columns = BNNC_MAX(s->iw, (int64_t)s->ow * s->stride_w);
    return (BNNC_CEIL_DIV(columns, BNNC_LANES) + 2) * BNNC_LANES;
}

/* ---- windows of 2x2 whose largest values are blurred at stride 2 ---- */

/* Whether 3x3 weights are a column times their middle row, to the last bit, as those of blurs are: then it is set. */
BNNC_INLINE int ISA(blur_column)(const float *w, float column[3]) {
    for (int ky = 0; ky < 3; ky++) {
        column[ky] = w[3 * ky + 1] / w[4];
        for (int kx = 0; kx < 3; kx++)
            if (!(column[ky] * w[3 + kx] == w[3 * ky + kx]))
                return 0;
    }
    return 1;
}

/* Kept of the rows above: of the last one the larger of two columns beside each other, and the last pooled row. */
typedef struct {
    float *wide, *pooled;
} ISA(blur_rows);

/* From column i on the larger of two beside each other; `whole` where both lie in the row. */
BNNC_INLINE vf32 ISA(blur_wide)(const float *row, int64_t i, int64_t width, const int whole) {
    if (whole)
        return f32_max(f32_load(row + i), f32_load(row + i + 1));
    const vf32 none = f32_set(-INFINITY);
    vf32 v = i + BNNC_LANES == width ? f32_load(row + i) : ISA(load_window)(row, i, width, none);
    return f32_max(
        v, ISA(slide_down)(v, i + BNNC_LANES < width ? ISA(load_window)(row, i + BNNC_LANES, width, none) : none));
}

/* Two more rows of inputs at columns i on, hence two more pooled rows, and the sum of three by `column`. */
BNNC_INLINE vf32 ISA(blur_sum)(const float *row, const float *next, int64_t i, int64_t width, const ISA(blur_rows) *r,
                               vf32 above, vf32 below, const int whole) {
    vf32 first = ISA(blur_wide)(row, i, width, whole), second = ISA(blur_wide)(next, i, width, whole);
    vf32 last = f32_max(first, second);
    vf32 sum = f32_fma(last, below, f32_max(f32_load(r->wide + i), first));
    sum = f32_fma(f32_load(r->pooled + i), above, sum);
    f32_store(r->wide + i, second);
    f32_store(r->pooled + i, last);
    return whole ? sum : f32_first(sum, BNNC_MAX(0, BNNC_MIN(width - 1 - i, BNNC_LANES)));
}

/* Output row y, from two more rows of inputs. Where the second one is missing, so is the last pooled row. */
static void ISA(blur_row)(const float *x, int64_t y, int64_t height, int64_t width, const ISA(blur_rows) *rows,
                          const float column[3], const float *w, float bias, float low, float *out, int64_t pixels) {
    const ISA(blur_rows) r = *rows;
    const int missing = 2 * y + 2 == height;
    const float *row = x + (2 * y + 1) * width, *next = missing ? row : row + width;
    const vf32 above = f32_set(column[0]), below = f32_set(missing ? 0 : column[2]);
    const vf32 w0 = f32_set(w[0]), w1 = f32_set(w[1]), w2 = f32_set(w[2]), start = f32_set(bias), bound = f32_set(low);
    vf32 carry = f32_set(0);
    for (int64_t i = 0; i < pixels; i += BNNC_LANES) {
        vf32 sums[2];
        BNNC_UNROLL for (int k = 0; k < 2; k++) {
            int64_t at = 2 * i + k * BNNC_LANES;
            sums[k] = at + BNNC_LANES < width ? ISA(blur_sum)(row, next, at, width, &r, above, below, 1)
                                              : ISA(blur_sum)(row, next, at, width, &r, above, below, 0);
        }
        ISA(two) two = ISA(two_of)(sums[0], sums[1]);
        vf32 odd = ISA(odd)(two);
        vf32 v = f32_fma(ISA(slide)(carry, odd), w0, start);
        v = f32_max(bound, f32_fma(odd, w2, f32_fma(ISA(even)(two), w1, v)));
        f32_store_some(out + i, v, pixels - i);
        carry = odd;
    }
}

/* What the rows above row 2 * y of the inputs leave behind. */
static void ISA(blur_start)(const float *x, int64_t y, int64_t width, const ISA(blur_rows) *r) {
    const float *here = x + 2 * y * width;
    for (int64_t i = 0; i < width; i += BNNC_LANES) {
        vf32 wide = ISA(blur_wide)(here, i, width, 0), pooled = f32_set(0);
        if (y)
            pooled = f32_max(ISA(blur_wide)(here - width, i, width, 0), wide);
        f32_store(r->wide + i, wide);
        f32_store(r->pooled + i, pooled);
    }
}

/* Output row y of a channel. Pooled rows up to `ready` are there. */
static void ISA(pooled_sums)(const bnnc_conv_f32_args *args, const float *x, int64_t y, int64_t *ready, float *rows,
                             const float *w, float bias, float low, float *out) {
    const bnnc_conv_shape *s = &args->shape;
    const int64_t height = s->ih - args->pool_h + 1, width = s->iw - args->pool_w + 1, pitch = ISA(pooled_pitch)(s);
    const float *in[3], *zeros = rows + POOLED_ROWS * pitch;
    for (int32_t ky = 0; ky < 3; ky++) {
        int64_t iy = y * s->stride_h + ky - s->pad_top;
        float *row = rows + (iy & (POOLED_ROWS - 1)) * pitch;
        in[ky] = iy >= 0 && iy < height ? row : zeros;
        if (in[ky] == zeros || iy <= *ready)
            continue;
        if (args->pool_h == 2 && args->pool_w == 2)
            ISA(pooled_row_2x2)(x + iy * s->iw, width, row);
        else
            ISA(pooled_row)(x + iy * s->iw, width, args->pool_h, args->pool_w, row);
        *ready = iy;
    }
    if (s->stride_w == 1)
        ISA(depthwise_row_3x3s1)(in, pitch, w, bias, low, out, s->ow, 0);
    else
        ISA(depthwise_row_3x3s2)(in, pitch, w, bias, low, out, s->ow, 0);
}

/* Output rows [y0, y1) of one channel. `rows`, all zeros at first, has room for the pooled rows and one
 * that stays zeros. */
static void ISA(pooled_band)(const bnnc_conv_f32_args *args, int32_t batch_index, int32_t channel, int64_t y0,
                             int64_t y1, float *rows) {
    const bnnc_conv_shape *s = &args->shape;
    const int64_t pitch = ISA(pooled_pitch)(s);
    const float *x =
        args->x + ((int64_t)batch_index * s->ic + channel / (s->oc / s->groups)) * ((int64_t)s->ih * s->iw);
    const float *w = args->w + (int64_t)channel * 9;
    float bias = args->bias ? args->bias[channel] : 0, low, column[3];
    float *kept_rows = rows + (POOLED_ROWS + 1) * pitch;
    const ISA(blur_rows) kept = {kept_rows, kept_rows + pitch};
    const int blur = args->pool_h == 2 && args->pool_w == 2 && s->stride_h == 2 && s->stride_w == 2 &&
                     s->pad_top == 1 && 2 * (int64_t)s->oh <= s->ih && ISA(blur_column)(w, column);
    if (blur)
        ISA(blur_start)(x, y0, s->iw, &kept);
    float *direct = ISA(plain_store)(&args->epilogue, &low, NULL);
    if (direct)
        direct += ((int64_t)batch_index * s->oc + channel) * s->oh * s->ow;
    float v[BNNC_TILE] __attribute__((aligned(64)));
    int64_t filled = 0, ready = -1; /* rows up to that one have been pooled */
    for (int64_t y = y0; y < y1; y++) {
        float *out = direct ? direct + y * s->ow : v + filled;
        if (blur)
            ISA(blur_row)(x, y, s->ih, s->iw, &kept, column, w + 3, bias, low, out, s->ow);
        else
            ISA(pooled_sums)(args, x, y, &ready, rows, w, bias, low, out);
        filled += s->ow;
        if (direct || (y + 1 < y1 && filled + s->ow <= BNNC_TILE))
            continue;
        ISA(epilogue_run)(&args->epilogue, batch_index, channel, (y + 1) * s->ow - filled, (int32_t)filled, v);
        filled = 0;
    }
}

/* Channels of a unit, and rows: as many units as are wanted, as few halos as can be. */
BNNC_INLINE void ISA(pooled_unit)(const bnnc_conv_f32_args *args, int64_t *channels, int64_t *rows) {
    const bnnc_conv_shape *s = &args->shape;
    *channels = ISA(mixes_channels)(&args->epilogue) ? s->oc : 1;
    *rows = BNNC_CEIL_DIV(s->oh, BNNC_CEIL_DIV(POOLED_UNITS, s->batch * (s->oc / *channels)));
}

static int64_t ISA(pooled_depthwise_f32_units)(const void *args) {
    const bnnc_conv_shape *s = &((const bnnc_conv_f32_args *)args)->shape;
    int64_t channels, rows;
    ISA(pooled_unit)(args, &channels, &rows);
    return s->batch * (s->oc / channels) * BNNC_CEIL_DIV(s->oh, rows);
}

static void ISA(pooled_depthwise_f32)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_conv_shape *s = &((const bnnc_conv_f32_args *)args)->shape;
    int64_t channels, rows;
    ISA(pooled_unit)(args, &channels, &rows);
    int64_t bands = BNNC_CEIL_DIV(s->oh, rows), splits = s->oc / channels;
    memset(scratch, 0, (size_t)((POOLED_ROWS + 1) * ISA(pooled_pitch)(s)) * sizeof(float));
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t y0 = unit % bands * rows, first = unit / bands % splits * channels;
        for (int64_t c = first; c < first + channels; c++)
            ISA(pooled_band)(args, (int32_t)(unit / bands / splits), (int32_t)c, y0, BNNC_MIN(s->oh, y0 + rows),
                             scratch);
    }
}

#undef POOLED_UNITS
#undef POOLED_ROWS
