/* resize_f32: every output is a weighted sum of inputs at positions given by tables, for rows and
 * for columns. Rows are combined first, whole; then columns. */

/* Output rows of a unit. */
#define RESIZE_ROWS 16
/* Columns of a combined row, at most; wider images are summed point by point. */
#define RESIZE_COLUMNS (128 << 10)

BNNC_INLINE const float *ISA(resize_combine)(const bnnc_resize_args *r, const float *x, int64_t y, float *row) {
    const int32_t *iy = r->iy + y * r->taps_h;
    const float *wy = r->wy + y * r->taps_h;
    if (r->taps_h == 1 && wy[0] == 1)
        return x + (int64_t)iy[0] * r->iw;
    for (int32_t t = 0; t < r->taps_h; t++) {
        const float *from = x + (int64_t)iy[t] * r->iw;
        vf32 w = f32_set(wy[t]);
        int64_t i = 0;
        for (; i + BNNC_LANES <= r->iw; i += BNNC_LANES)
            f32_store(row + i, t ? f32_fma(f32_load(from + i), w, f32_load(row + i)) : f32_load(from + i) * w);
        for (; i < r->iw; i++)
            row[i] = (t ? row[i] : 0) + from[i] * wy[t];
    }
    return row;
}

BNNC_INLINE void ISA(resize_columns)(const bnnc_resize_args *r, const float *row, float *out, const int32_t taps) {
    for (int64_t x = 0; x < r->ow; x++) {
        const int32_t *ix = r->ix + x * taps;
        const float *wx = r->wx + x * taps;
        float sum = row[ix[0]] * wx[0];
        for (int32_t t = 1; t < taps; t++)
            sum += row[ix[t]] * wx[t];
        out[x] = sum;
    }
}

static void ISA(resize_points)(const bnnc_resize_args *r, const float *x, int64_t y, float *out) {
    for (int64_t i = 0; i < r->ow; i++) {
        float sum = 0;
        for (int32_t t = 0; t < r->taps_w; t++) {
            float column = 0;
            for (int32_t u = 0; u < r->taps_h; u++)
                column +=
                    r->wy[y * r->taps_h + u] * x[(int64_t)r->iy[y * r->taps_h + u] * r->iw + r->ix[i * r->taps_w + t]];
            sum += column * r->wx[i * r->taps_w + t];
        }
        out[i] = sum;
    }
}

static int64_t ISA(resize_f32_units)(const void *args) {
    const bnnc_resize_args *r = args;
    return r->planes * (int64_t)BNNC_CEIL_DIV(r->oh, RESIZE_ROWS);
}

static void ISA(resize_f32)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_resize_args *r = args;
    int64_t bands = BNNC_CEIL_DIV(r->oh, RESIZE_ROWS);
    size_t row_bytes = (size_t)r->ow * sizeof(float), taps_bytes = (size_t)r->taps_h * 4;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t plane = unit / bands, y0 = unit % bands * RESIZE_ROWS, y1 = BNNC_MIN(r->oh, y0 + RESIZE_ROWS);
        const float *x = r->x + plane * r->ih * r->iw;
        for (int64_t y = y0; y < y1; y++) {
            float *out = r->out + (plane * r->oh + y) * r->ow;
            if (y > y0 && memcmp(r->iy + y * r->taps_h, r->iy + (y - 1) * r->taps_h, taps_bytes) == 0 &&
                memcmp(r->wy + y * r->taps_h, r->wy + (y - 1) * r->taps_h, taps_bytes) == 0) {
                memcpy(out, out - r->ow, row_bytes);
                continue;
            }
            if (r->iw > RESIZE_COLUMNS) {
                ISA(resize_points)(r, x, y, out);
                continue;
            }
            const float *row = ISA(resize_combine)(r, x, y, scratch);
            if (r->taps_w == 1)
                ISA(resize_columns)(r, row, out, 1);
            else if (r->taps_w == 2)
                ISA(resize_columns)(r, row, out, 2);
            else
                ISA(resize_columns)(r, row, out, r->taps_w);
        }
    }
}

#undef RESIZE_ROWS
#undef RESIZE_COLUMNS
