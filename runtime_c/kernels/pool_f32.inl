/* max_pool_f32, average_pool_f32.
 *
 * Small windows at stride 1 or 2 are combined tap by tap, in registers. Larger ones are taken apart:
 * the rows under a row of outputs are combined first, into one padded row in scratch; that is split by
 * stride, and the columns are combined from its planes at unit stride.
 */

/* Taps up to which a window is small. */
#define POOL_TAPS 12

/* Floats of a padded row, at most; output columns are cut accordingly. */
#define POOL_ROW (48 << 10)

BNNC_INLINE vf32 ISA(pool_combine)(vf32 a, vf32 b, const int max) {
    return max ? f32_max(b, a) : a + b;
}

/* How many taps of a window that begins at `start` lie inside `size`. */
BNNC_INLINE int32_t ISA(taps_inside)(int64_t start, int32_t taps, int32_t dilation, int64_t size) {
    int32_t count = 0;
    for (int32_t k = 0; k < taps; k++)
        count += start + (int64_t)k * dilation >= 0 && start + (int64_t)k * dilation < size;
    return count;
}

/* Output columns computed at a time. */
BNNC_INLINE int64_t ISA(pool_columns)(const bnnc_conv_shape *s) {
    int64_t room = (POOL_ROW - (int64_t)(s->kw - 1) * s->dilation_w) / s->stride_w;
    return BNNC_MIN(s->ow, BNNC_MAX(1, room));
}

/* The rows under output row y, combined: columns from x0 * stride - pad_left on, padding included. */
BNNC_INLINE void ISA(pool_rows)(const bnnc_conv_shape *s, const float *x, int64_t y, int64_t x0, int64_t count,
                                float *row, const int max) {
    int64_t left = x0 * s->stride_w - s->pad_left;
    int64_t low = BNNC_MIN(count, BNNC_MAX(0, -left)), high = BNNC_MAX(low, BNNC_MIN(count, s->iw - left));
    float none = max ? -INFINITY : 0;
    for (int64_t i = 0; i < low; i++)
        row[i] = none;
    for (int64_t i = high; i < count; i++)
        row[i] = none;
    int first = 1;
    for (int32_t ky = 0; ky < s->kh; ky++) {
        int64_t iy = y * s->stride_h + (int64_t)ky * s->dilation_h - s->pad_top;
        if (iy < 0 || iy >= s->ih)
            continue;
        const float *from = x + iy * s->iw + left;
        int64_t i = low;
        for (; i + BNNC_LANES <= high; i += BNNC_LANES) {
            vf32 v = f32_load(from + i);
            f32_store(row + i, first ? v : ISA(pool_combine)(f32_load(row + i), v, max));
        }
        for (; i < high; i++)
            row[i] = first ? from[i] : max ? (from[i] > row[i] ? from[i] : row[i]) : row[i] + from[i];
        first = 0;
    }
    if (first)
        for (int64_t i = low; i < high; i++)
            row[i] = none;
}

/* One output, for windows too large to be kept as a row. */
BNNC_INLINE float ISA(pool_point)(const bnnc_conv_shape *s, const float *x, int64_t y, int64_t column, const int max) {
    float v = max ? -INFINITY : 0;
    for (int32_t ky = 0; ky < s->kh; ky++)
        for (int32_t kx = 0; kx < s->kw; kx++) {
            int64_t iy = y * s->stride_h + (int64_t)ky * s->dilation_h - s->pad_top;
            int64_t ix = column * s->stride_w + (int64_t)kx * s->dilation_w - s->pad_left;
            if (iy < 0 || iy >= s->ih || ix < 0 || ix >= s->iw)
                continue;
            float one = x[iy * s->iw + ix];
            v = !max ? v + one : one > v ? one : v;
        }
    return v;
}

/* The columns [x0, x0 + count) of a row of outputs. */
BNNC_INLINE void ISA(pool_row)(const bnnc_conv_shape *s, const float *x, int64_t y, int64_t x0, int64_t count,
                               float *scratch, float *out, const int max) {
    int64_t length = (count - 1) * s->stride_w + (int64_t)(s->kw - 1) * s->dilation_w + 1;
    int64_t plane = BNNC_CEIL_DIV(length, s->stride_w) + 2 * BNNC_LANES;
    if (length + s->stride_w * plane > 2 * POOL_ROW) {
        for (int64_t i = 0; i < count; i++)
            out[i] = ISA(pool_point)(s, x, y, x0 + i, max);
        return;
    }
    float *row = scratch, *planes = row + length + 2 * BNNC_LANES;
    ISA(pool_rows)(s, x, y, x0, length, row, max);
    if (s->stride_w == 1)
        planes = row;
    else
        for (int32_t r = 0; r < BNNC_MIN(s->stride_w, length); r++)
            ISA(take_row)(planes + r * plane, row + r, planes, BNNC_CEIL_DIV(length - r, s->stride_w), s->stride_w);
    for (int64_t i = 0; i < count; i += BNNC_LANES) {
        vf32 v = f32_set(max ? -INFINITY : 0);
        for (int32_t kx = 0; kx < s->kw; kx++) {
            int64_t at = (int64_t)kx * s->dilation_w;
            v = ISA(pool_combine)(v, f32_load(planes + at % s->stride_w * plane + at / s->stride_w + i), max);
        }
        if (i + BNNC_LANES <= count)
            f32_store(out + i, v);
        else
            f32_store_n(out + i, v, count - i);
    }
}

/* A vector of outputs of a small window, for columns from i on; `whole` where all it reads is inside. */
BNNC_INLINE vf32 ISA(pool_step)(const bnnc_conv_shape *s, const float *const *rows, int32_t count, int32_t taps,
                                int64_t i, const int stride, const int max, const int whole) {
    const vf32 none = f32_set(max ? -INFINITY : 0);
    vf32 v = none;
    for (int32_t k = 0; k < count; k++)
        for (int32_t kx = 0; kx < taps; kx++) {
            int64_t at = i * stride + (int64_t)kx * s->dilation_w - s->pad_left;
            vf32 a;
            if (stride == 2)
                a = ISA(even)(whole ? ISA(load_two)(rows[k] + at)
                                    : ISA(two_of)(ISA(load_window)(rows[k], at, s->iw, none),
                                                  ISA(load_window)(rows[k], at + BNNC_LANES, s->iw, none)));
            else
                a = whole ? f32_load(rows[k] + at) : ISA(load_window)(rows[k], at, s->iw, none);
            v = ISA(pool_combine)(v, a, max);
        }
    return v;
}

/* A row of outputs of a small window, of which `count` rows lie inside. */
BNNC_INLINE void ISA(pool_taps)(const bnnc_conv_shape *s, const float *const *rows, int32_t count, int32_t taps,
                                float *out, const int stride, const int max) {
    int64_t right = (int64_t)(taps - 1) * s->dilation_w - s->pad_left + stride * BNNC_LANES;
    for (int64_t i = 0; i < s->ow; i += BNNC_LANES)
        if (i * stride >= s->pad_left && i * stride + right <= s->iw && i + BNNC_LANES <= s->ow)
            f32_store(out + i, ISA(pool_step)(s, rows, count, taps, i, stride, max, 1));
        else
            f32_store_n(out + i, ISA(pool_step)(s, rows, count, taps, i, stride, max, 0),
                        BNNC_MIN(BNNC_LANES, s->ow - i));
}

BNNC_INLINE void ISA(pool_small)(const bnnc_conv_shape *s, const float *x, int64_t y, float *out, const int stride,
                                 const int max) {
    const float *rows[POOL_TAPS];
    int32_t count = 0;
    for (int32_t ky = 0; ky < s->kh; ky++) {
        int64_t iy = y * s->stride_h + (int64_t)ky * s->dilation_h - s->pad_top;
        if (iy >= 0 && iy < s->ih)
            rows[count++] = x + iy * s->iw;
    }
    if (count == 2 && s->kw == 2)
        ISA(pool_taps)(s, rows, 2, 2, out, stride, max);
    else if (count == 3 && s->kw == 3)
        ISA(pool_taps)(s, rows, 3, 3, out, stride, max);
    else
        ISA(pool_taps)(s, rows, count, s->kw, out, stride, max);
}

BNNC_INLINE void ISA(pool)(const bnnc_pool_args *args, int64_t begin, int64_t end, float *scratch, const int max) {
    const bnnc_conv_shape *s = &args->shape;
    int64_t columns = ISA(pool_columns)(s);
    int small = s->kh <= POOL_TAPS && s->kw <= POOL_TAPS && s->kh * s->kw <= POOL_TAPS && s->stride_w <= 2;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t y = unit % s->oh;
        const float *x = args->x + unit / s->oh * s->ih * s->iw;
        float *out = args->out + unit * s->ow;
        if (small && s->stride_w == 1)
            ISA(pool_small)(s, x, y, out, 1, max);
        else if (small)
            ISA(pool_small)(s, x, y, out, 2, max);
        for (int64_t x0 = 0; !small && x0 < s->ow; x0 += columns)
            ISA(pool_row)(s, x, y, x0, BNNC_MIN(columns, s->ow - x0), scratch, out + x0, max);
    }
}

/* Divide a row of sums by the size of the windows, or of what of them lies inside. */
static void ISA(pool_divide)(const bnnc_pool_args *args, int64_t unit) {
    const bnnc_conv_shape *s = &args->shape;
    float *out = args->out + unit * s->ow;
    int64_t y = unit % s->oh;
    int64_t rows =
        args->count_pad ? s->kh : ISA(taps_inside)(y * s->stride_h - s->pad_top, s->kh, s->dilation_h, s->ih);
    /* Columns [low, high) have every tap inside. */
    int64_t first = s->pad_left, last = s->iw + s->pad_left - (int64_t)(s->kw - 1) * s->dilation_w;
    int64_t low = BNNC_MIN(BNNC_CEIL_DIV(first, s->stride_w), s->ow);
    int64_t high = BNNC_MAX(BNNC_MIN(BNNC_CEIL_DIV(last, s->stride_w), s->ow), low);
    if (args->count_pad) {
        low = 0;
        high = s->ow;
    }
    float whole = (float)(BNNC_MAX(1, rows * s->kw));
    for (int64_t x = 0; x < s->ow; x++) {
        if (x == low)
            for (; x < high; x++)
                out[x] /= whole;
        if (x == s->ow)
            break;
        int64_t inside = rows * ISA(taps_inside)(x * s->stride_w - s->pad_left, s->kw, s->dilation_w, s->iw);
        out[x] /= (float)BNNC_MAX(1, inside);
    }
}

static int64_t ISA(max_pool_f32_units)(const void *args) {
    const bnnc_conv_shape *s = &((const bnnc_pool_args *)args)->shape;
    return (int64_t)s->batch * s->ic * s->oh;
}

static int64_t ISA(average_pool_f32_units)(const void *args) {
    return ISA(max_pool_f32_units)(args);
}

static void ISA(max_pool_f32)(const void *args, int64_t begin, int64_t end, void *scratch) {
    ISA(pool)(args, begin, end, scratch, 1);
}

static void ISA(average_pool_f32)(const void *args, int64_t begin, int64_t end, void *scratch) {
    for (int64_t unit = begin; unit < end; unit++) {
        ISA(pool)(args, unit, unit + 1, scratch, 0);
        ISA(pool_divide)(args, unit);
    }
}

#undef POOL_TAPS
#undef POOL_ROW
