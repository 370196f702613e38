/* top_k: the k best of a column, in order. A unit is one column.
 *
 * The output is a heap with the worst of the best so far at its root while the column is read, and
 * is sorted by taking the heap down. Elements are ranked by integers in the order of the floats. */

static int64_t ISA(top_k_units)(const void *args) {
    const bnnc_top_k_args *t = args;
    return t->outer * t->inner;
}

/* A heap in the output's own memory, elements `stride` apart. */
typedef struct {
    float *values;
    int64_t *indices;
    int64_t stride, size;
    int32_t sign; /* 1: the largest are wanted, -1: the smallest */
} ISA(heap);

BNNC_INLINE int32_t ISA(rank)(const ISA(heap) *h, float value) {
    return h->sign * ISA(ordered)(value);
}

/* Whether element a comes behind element b in the result. */
BNNC_INLINE int ISA(behind)(const ISA(heap) *h, float a, int64_t a_index, float b, int64_t b_index) {
    int32_t a_rank = ISA(rank)(h, a), b_rank = ISA(rank)(h, b);
    return a_rank < b_rank || (a_rank == b_rank && a_index > b_index);
}

/* Put an element in place of the root and let it sink. */
static void ISA(sink)(const ISA(heap) *h, int64_t hole, float value, int64_t index) {
    for (int64_t child; (child = 2 * hole + 1) < h->size; hole = child) {
        int64_t at = child * h->stride, other = at + h->stride;
        if (child + 1 < h->size && ISA(behind)(h, h->values[other], h->indices[other], h->values[at], h->indices[at])) {
            child++;
            at = other;
        }
        if (!ISA(behind)(h, h->values[at], h->indices[at], value, index))
            break;
        h->values[hole * h->stride] = h->values[at];
        h->indices[hole * h->stride] = h->indices[at];
    }
    h->values[hole * h->stride] = value;
    h->indices[hole * h->stride] = index;
}

/* Whether a vector of elements may hold one that belongs before the root; quick, and right if not. */
BNNC_INLINE int ISA(any_better)(const ISA(heap) *h, const float *x) {
    vf32 v = f32_load(x), root = f32_set(h->values[0]);
    return (h->sign > 0 ? f32_compare_bits(v, root, BNNC_NLE) : f32_compare_bits(root, v, BNNC_NLE)) != 0;
}

static void ISA(top_k_column)(const float *x, int64_t count, ISA(heap) h) {
    const int64_t stride = h.stride, k = h.size;
    for (int64_t i = 0; i < k; i++) {
        h.values[i * stride] = x[i * stride];
        h.indices[i * stride] = i;
    }
    for (int64_t i = k / 2 - 1; i >= 0; i--)
        ISA(sink)(&h, i, h.values[i * stride], h.indices[i * stride]);
    int32_t worst = ISA(rank)(&h, h.values[0]);
    for (int64_t i = k; i < count; i++) {
        while (stride == 1 && i <= count - BNNC_LANES && !ISA(any_better)(&h, x + i))
            i += BNNC_LANES;
        /* Equal ones come later, so they stay out. */
        if (i < count && ISA(rank)(&h, x[i * stride]) > worst) {
            ISA(sink)(&h, 0, x[i * stride], i);
            worst = ISA(rank)(&h, h.values[0]);
        }
    }
    while (h.size > 1) {
        int64_t last = --h.size * stride, index = h.indices[last];
        float value = h.values[last];
        h.values[last] = h.values[0];
        h.indices[last] = h.indices[0];
        ISA(sink)(&h, 0, value, index);
    }
}

static void ISA(top_k)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_top_k_args *t = args;
    (void)scratch;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t outer = unit / t->inner, j = unit % t->inner, at = outer * t->k * t->inner + j;
        ISA(heap) heap = {t->values + at, t->indices + at, t->inner, t->k, t->largest ? 1 : -1};
        ISA(top_k_column)(t->x + outer * t->count * t->inner + j, t->count, heap);
    }
}
