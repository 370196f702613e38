/* copy, fill, gather. */

/* ---- copy ---- */

#define BNNC_COPY_TILE 32

/* A copy with its axes in the order of the output's strides, joined where both sides allow it.
 * Where the innermost axis is not the one along which the input is dense, the two form a transpose
 * and are done tile by tile, so that both sides use the whole of every cache line they touch. */
typedef struct {
    int32_t rank, transpose;
    int64_t shape[BNNC_MAX_RANK + 2], x[BNNC_MAX_RANK + 2], out[BNNC_MAX_RANK + 2];
} ISA(copy_plan);

static ISA(copy_plan) ISA(plan_copy)(const bnnc_copy_args *c) {
    ISA(copy_plan) p = {.rank = 0};
    int32_t order[BNNC_MAX_RANK], count = 0;
    for (int32_t d = 0; d < c->rank; d++) {
        if (c->shape[d] == 1)
            continue;
        int32_t at = count++;
        for (; at > 0 && c->out_strides[order[at - 1]] < c->out_strides[d]; at--)
            order[at] = order[at - 1];
        order[at] = d;
    }
    for (int32_t k = 0; k < count; k++) {
        int64_t n = c->shape[order[k]], x = c->x_strides[order[k]], out = c->out_strides[order[k]];
        if (!p.rank || p.x[p.rank - 1] != x * n || p.out[p.rank - 1] != out * n)
            p.shape[p.rank++] = 1;
        p.shape[p.rank - 1] *= n;
        p.x[p.rank - 1] = x;
        p.out[p.rank - 1] = out;
    }
    if (!p.rank) {
        p.shape[0] = p.x[0] = p.out[0] = 1;
        p.rank = 1;
    }
    int32_t inner = p.rank - 1;
    if (p.out[inner] != 1 || p.x[inner] == 1 || p.x[inner] == 0)
        return p;
    for (int32_t d = 0; d < inner; d++) {
        if (p.x[d] != 1)
            continue;
        int64_t n = p.shape[d], out = p.out[d];
        for (int32_t k = d; k < inner - 1; k++) {
            p.shape[k] = p.shape[k + 1];
            p.x[k] = p.x[k + 1];
            p.out[k] = p.out[k + 1];
        }
        p.shape[inner - 1] = n;
        p.x[inner - 1] = 1;
        p.out[inner - 1] = out;
        p.transpose = 1;
        break;
    }
    return p;
}

/* Axes that units run over one by one: all, or all but the two that are transposed. */
static int32_t ISA(copy_outer)(const ISA(copy_plan) *p) {
    return p->transpose ? p->rank - 2 : p->rank - 1;
}

/* Units of one outer position. */
static int64_t ISA(copy_inner_units)(const ISA(copy_plan) *p) {
    int64_t inner = p->shape[p->rank - 1];
    if (p->transpose)
        return BNNC_CEIL_DIV(p->shape[p->rank - 2], BNNC_COPY_TILE) * BNNC_CEIL_DIV(inner, BNNC_COPY_TILE);
    return BNNC_CEIL_DIV(inner, BNNC_BLOCK);
}

static int64_t ISA(copy_units)(const void *args) {
    ISA(copy_plan) p = ISA(plan_copy)(args);
    return ISA(elements)(p.shape, ISA(copy_outer)(&p)) * ISA(copy_inner_units)(&p);
}

#define BNNC_COPY_STRIDED(type)                                                                                        \
    for (int64_t i = 0; i < n; i++)                                                                                    \
        ((type *)(void *)out)[i * out_stride] = ((const type *)(const void *)x)[i * x_stride];

BNNC_INLINE void ISA(copy_run)(const uint8_t *x, int64_t x_stride, uint8_t *out, int64_t out_stride, int64_t n,
                               int32_t bytes) {
    if (out_stride == 1)
        ISA(gather_run)(out, x, x_stride, n, bytes);
    else if (bytes == 1)
        BNNC_COPY_STRIDED(uint8_t)
    else if (bytes == 2)
        BNNC_COPY_STRIDED(bnnc_any16)
    else if (bytes == 4)
        BNNC_COPY_STRIDED(bnnc_any32)
    else
        BNNC_COPY_STRIDED(bnnc_any64)
}
#undef BNNC_COPY_STRIDED

/* out[i * out_stride + j] = x[i + j * x_stride] for i < rows, j < columns. */
static void ISA(copy_tile)(const uint8_t *x, int64_t x_stride, uint8_t *out, int64_t out_stride, int64_t rows,
                           int64_t columns, int32_t bytes) {
    int64_t i = 0;
#if defined(__SSE2__)
    if (bytes == 4) {
        const bnnc_any32 *from = (const bnnc_any32 *)(const void *)x;
        bnnc_any32 *to = (bnnc_any32 *)(void *)out;
        for (; i <= rows - 4; i += 4) {
            int64_t j = 0;
            for (; j <= columns - 4; j += 4) {
                const float *at = (const float *)(from + i + j * x_stride);
                float *into = (float *)(to + i * out_stride + j);
                __m128 a = _mm_loadu_ps(at), b = _mm_loadu_ps(at + x_stride);
                __m128 c = _mm_loadu_ps(at + 2 * x_stride), d = _mm_loadu_ps(at + 3 * x_stride);
                _MM_TRANSPOSE4_PS(a, b, c, d);
                _mm_storeu_ps(into, a);
                _mm_storeu_ps(into + out_stride, b);
                _mm_storeu_ps(into + 2 * out_stride, c);
                _mm_storeu_ps(into + 3 * out_stride, d);
            }
            for (; j < columns; j++)
                for (int64_t k = i; k < i + 4; k++)
                    to[k * out_stride + j] = from[k + j * x_stride];
        }
    }
#endif
    for (; i < rows; i++)
        ISA(gather_run)(out + i * out_stride * bytes, x + i * bytes, x_stride, columns, bytes);
}

static void ISA(copy)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_copy_args *c = args;
    const ISA(copy_plan) p = ISA(plan_copy)(c);
    const int32_t outer = ISA(copy_outer)(&p), last = p.rank - 1;
    const int64_t inner_units = ISA(copy_inner_units)(&p), bytes = c->element_bytes;
    const int64_t across = BNNC_CEIL_DIV(p.shape[last], BNNC_COPY_TILE);
    (void)scratch;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t left = unit / inner_units, within = unit % inner_units, x_at = 0, out_at = 0;
        for (int32_t d = outer - 1; d >= 0; d--) {
            int64_t index = left % p.shape[d];
            left /= p.shape[d];
            x_at += index * p.x[d];
            out_at += index * p.out[d];
        }
        if (p.transpose) {
            int64_t i = within / across * BNNC_COPY_TILE, j = within % across * BNNC_COPY_TILE;
            const uint8_t *x = (const uint8_t *)c->x + (x_at + i + j * p.x[last]) * bytes;
            uint8_t *out = (uint8_t *)c->out + (out_at + i * p.out[last - 1] + j) * bytes;
            ISA(copy_tile)(x, p.x[last], out, p.out[last - 1], BNNC_MIN(BNNC_COPY_TILE, p.shape[last - 1] - i),
                           BNNC_MIN(BNNC_COPY_TILE, p.shape[last] - j), c->element_bytes);
        } else {
            int64_t i = within * BNNC_BLOCK;
            const uint8_t *x = (const uint8_t *)c->x + (x_at + i * p.x[last]) * bytes;
            uint8_t *out = (uint8_t *)c->out + (out_at + i * p.out[last]) * bytes;
            ISA(copy_run)(x, p.x[last], out, p.out[last], BNNC_MIN(BNNC_BLOCK, p.shape[last] - i), c->element_bytes);
        }
    }
}
#undef BNNC_COPY_TILE

/* ---- fill ---- */

static int64_t ISA(fill_units)(const void *args) {
    return BNNC_CEIL_DIV(((const bnnc_fill_args *)args)->count, BNNC_BLOCK);
}

static void ISA(fill)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_fill_args *f = args;
    (void)scratch;
    int64_t bytes = f->element_bytes, first = begin * BNNC_BLOCK, count = BNNC_MIN(end * BNNC_BLOCK, f->count) - first;
    uint64_t value;
    memcpy(&value, f->value, sizeof value);
    ISA(gather_run)((uint8_t *)f->out + first * bytes, (const uint8_t *)&value, 0, count, f->element_bytes);
}

/* ---- gather ---- */

static int64_t ISA(gather_units)(const void *args) {
    const bnnc_gather_args *g = args;
    return g->outer * g->indices_count;
}

static void ISA(gather)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_gather_args *g = args;
    const size_t bytes = (size_t)(g->inner * g->element_bytes);
    (void)scratch;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t index = g->indices[unit % g->indices_count];
        index = index < 0 ? index + g->axis : index;
        index = BNNC_MIN(BNNC_MAX(index, 0), g->axis - 1);
        const uint8_t *x = (const uint8_t *)g->x + (size_t)(unit / g->indices_count * g->axis + index) * bytes;
        memcpy((uint8_t *)g->out + (size_t)unit * bytes, x, bytes);
    }
}
