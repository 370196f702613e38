/* Epilogues over a row: `count` pixels from `first_pixel` on of one channel of one batch item.
 *
 * A row lies in a buffer `v` of BNNC_TILE floats, aligned to 64 bytes, and is changed in place;
 * what stands behind `count`, up to a whole vector, is overwritten. If it is longer than a row of
 * the tensor whose width is no multiple of 8, it is whole rows (bnnc_tiling gives such ranges).
 *
 * Steps that touch memory cost most when each makes a pass of its own, so as many as fit the order
 *
 *     relu, affine, activation, add, activation, store, sign
 *
 * are done in one pass, where an activation is a relu, prelu or clip. Absent steps are constants that
 * change nothing: max(-inf, v), v * 1 + -0.
 * Whatever does not fit is done step by step.
 *
 * Kernels call epilogue_run (floats) or epilogue_run_i32 (a BinaryConv's sums) for one row, and
 * epilogue_run_rows_i32 for the same pixels of several channels, which writes bits_nhwc a byte at a
 * time where eight channels come together.
 */
#include "bit_rows.inl"
#include "functions.inl"

/* A relu, prelu or clip: min(max(v, low), high), and that times slope where it is negative. */
typedef struct {
    float low, high, slope;
} ISA(activation);

/* How much of an activation the activations of a pass need. */
enum { ISA(NO_ACTIVATION), ISA(ONLY_LOW), ISA(ANY_ACTIVATION) };

/* The values the steps of one pass need. */
typedef struct {
    float low, a, b;
    int activations;
    ISA(activation) after_affine, after_add;
    const float *add;
    float *store;
    const bnnc_step *sign;
} ISA(pass);

/* Write a row's bits, or leave them in `nhwc` if they are of that layout and it is not NULL. */
static void ISA(write_bits)(const ISA(row) *r, const bnnc_step *step, ISA(row_bits) *bits, ISA(row_bits) *nhwc) {
    if (step->layout == BNNC_BITS_PLANAR)
        ISA(write_planar)(r, step->out, bits);
    else if (nhwc)
        *nhwc = *bits;
    else
        ISA(write_nhwc)(r, step->out, bits);
}

/* Take the activation at `s`, if there is one; returns how many steps that is. */
BNNC_INLINE int32_t ISA(match_activation)(const ISA(row) *r, const bnnc_step *s, int32_t count, ISA(pass) *p,
                                          ISA(activation) *activation) {
    if (count <= 0)
        return 0;
    switch (s->kind) {
    case BNNC_STEP_RELU:
        activation->low = 0;
        p->activations = BNNC_MAX(p->activations, ISA(ONLY_LOW));
        return 1;
    case BNNC_STEP_PRELU:
        activation->slope = ((const float *)s->a)[r->channel];
        p->activations = ISA(ANY_ACTIVATION);
        return 1;
    case BNNC_STEP_CLIP:
        activation->low = s->low;
        activation->high = s->high;
        p->activations = ISA(ANY_ACTIVATION);
        return 1;
    default:
        return 0;
    }
}

/* Length of the run of steps at `s` that one pass can do, up to its outputs and with them; fills `p`
 * with what they need. */
BNNC_INLINE int32_t ISA(match_values)(const ISA(row) *r, const bnnc_step *s, int32_t count, ISA(pass) *p) {
    const ISA(activation) none = {-INFINITY, INFINITY, 1.0f};
    *p = (ISA(pass)){-INFINITY, 1.0f, -0.0f, ISA(NO_ACTIVATION), none, none, NULL, NULL, NULL};
    int32_t i = 0;
    if (i < count && s[i].kind == BNNC_STEP_RELU) {
        p->low = 0;
        i++;
    }
    if (i < count && s[i].kind == BNNC_STEP_AFFINE) {
        p->a = ((const float *)s[i].a)[r->channel];
        p->b = ((const float *)s[i].b)[r->channel];
        i++;
    }
    i += ISA(match_activation)(r, s + i, count - i, p, &p->after_affine);
    if (i < count && s[i].kind == BNNC_STEP_ADD) {
        p->add = (const float *)s[i].a + r->offset;
        i++;
    }
    i += ISA(match_activation)(r, s + i, count - i, p, &p->after_add);
    return i;
}

BNNC_INLINE int32_t ISA(match_outputs)(const ISA(row) *r, const bnnc_step *s, int32_t count, ISA(pass) *p) {
    int32_t i = 0;
    if (i < count && s[i].kind == BNNC_STEP_STORE) {
        p->store = (float *)s[i].out + r->offset;
        i++;
    }
    if (i < count && s[i].kind == BNNC_STEP_SIGN && s[i].compare == BNNC_GE) {
        p->sign = &s[i];
        i++;
    }
    return i;
}

BNNC_INLINE vf32 ISA(activate)(vf32 x, const ISA(activation) *a, int activations) {
    if (activations == ISA(NO_ACTIVATION))
        return x;
    x = f32_max(f32_set(a->low), x);
    if (activations == ISA(ONLY_LOW))
        return x;
    x = f32_min(f32_set(a->high), x);
    return f32_select(x >= 0.0f, x, x * f32_set(a->slope));
}

/* One vector of a pass; `n` lanes of it are wanted. */
BNNC_INLINE void ISA(pass_lanes)(const ISA(pass) *p, float threshold, const float *in, float *v, int32_t i, int32_t n,
                                 ISA(row_bits) *bits, int activations, int add, int store, int sign) {
    vf32 x = f32_max(f32_set(p->low), f32_load_some(in + i, n));
    x = f32_rounded(x * f32_set(p->a)) + f32_set(p->b);
    x = ISA(activate)(x, &p->after_affine, activations);
    if (add)
        x += f32_load_some(p->add + i, n);
    x = ISA(activate)(x, &p->after_add, activations);
    if (store)
        f32_store_some(p->store + i, x, n);
    if (sign)
        ISA(put_bits)(bits, i, f32_compare_bits(x, f32_set(threshold), BNNC_GE));
    if (!store && !sign)
        f32_store(v + i, x);
}

BNNC_INLINE void ISA(pass_loop)(const ISA(pass) *p, float threshold, const float *in, float *v, int32_t count,
                                ISA(row_bits) *bits, int activations, int add, int store, int sign) {
    int32_t i = 0;
    for (; i <= count - BNNC_LANES; i += BNNC_LANES)
        ISA(pass_lanes)(p, threshold, in, v, i, BNNC_LANES, bits, activations, add, store, sign);
    if (i < count)
        ISA(pass_lanes)(p, threshold, in, v, i, count - i, bits, activations, add, store, sign);
}

/* A loop for every combination of what a pass may contain. */
static void ISA(run_pass)(const ISA(pass) *pass, float threshold, const float *in, float *v, int32_t count,
                          ISA(row_bits) *bits) {
    ISA(pass) p = *pass;
    switch (p.activations << 3 | (p.add != NULL) << 2 | (p.store != NULL) << 1 | (p.sign != NULL)) {
#define BNNC_CASE(n)                                                                                                   \
    case n:                                                                                                            \
        ISA(pass_loop)(&p, threshold, in, v, count, bits, (n) >> 3, (n) >> 2 & 1, (n) >> 1 & 1, (n) & 1);              \
        break;
#define BNNC_CASES(n)                                                                                                  \
    BNNC_CASE(n)                                                                                                       \
    BNNC_CASE(n + 1)                                                                                                   \
    BNNC_CASE(n + 2)                                                                                                   \
    BNNC_CASE(n + 3)
        BNNC_CASES(0)
        BNNC_CASES(4)
        BNNC_CASES(8)
        BNNC_CASES(12)
        BNNC_CASES(16)
        BNNC_CASES(20)
#undef BNNC_CASE
#undef BNNC_CASES
    default:
        break;
    }
}

/* Signs of whole vectors: what `count` lacks of one is read, too. */
static void ISA(sign_row)(const bnnc_step *s, float threshold, const float *v, int32_t count, void *bits) {
    vf32 t = f32_set(threshold);
    switch (s->compare) {
#define BNNC_CASE(compare)                                                                                             \
    case compare:                                                                                                      \
        for (int32_t i = 0; i < count; i += BNNC_LANES)                                                                \
            ISA(put_bits)(bits, i, f32_compare_bits(f32_load(v + i), t, compare));                                     \
        break;
        BNNC_CASE(BNNC_GE)
        BNNC_CASE(BNNC_GT)
        BNNC_CASE(BNNC_NLT)
        BNNC_CASE(BNNC_NLE)
#undef BNNC_CASE
    default:
        break;
    }
}

/* Steps that never share a pass. */
static void ISA(run_step)(const ISA(row) *r, const bnnc_step *s, float *v, ISA(row_bits) *bits, ISA(row_bits) *nhwc) {
    int32_t count = r->count;
    switch (s->kind) {
    case BNNC_STEP_UNARY:
        ISA(apply_function)(s->function, s->low, s->high, v, v, count);
        break;
    case BNNC_STEP_MUL: {
        const float *t = (const float *)s->a + r->offset;
        int32_t i = 0;
        for (; i <= count - BNNC_LANES; i += BNNC_LANES)
            f32_store(v + i, f32_load(v + i) * f32_load(t + i));
        if (i < count)
            f32_store(v + i, f32_load(v + i) * f32_load_n(t + i, count - i));
        break;
    }
    case BNNC_STEP_SCALE: {
        vf32 gate = f32_set(((const float *)s->a)[(int64_t)r->batch_index * r->epilogue->channels + r->channel]);
        for (int32_t i = 0; i < count; i += BNNC_LANES)
            f32_store(v + i, f32_load(v + i) * gate);
        break;
    }
    case BNNC_STEP_SIGN:
        ISA(sign_row)(s, ((const float *)s->a)[r->channel], v, count, bits);
        ISA(write_bits)(r, s, bits, nhwc);
        break;
    default:
        break;
    }
}

/* The step, if there is nothing else, that takes v >= t to whole bytes of bit-planes; else NULL. */
BNNC_INLINE const bnnc_step *ISA(lone_planar_sign)(const bnnc_epilogue *e) {
    const bnnc_step *s = e->steps;
    int lone = e->count == 1 && s->kind == BNNC_STEP_SIGN && s->compare == BNNC_GE;
    return lone && s->layout == BNNC_BITS_PLANAR && e->width % 8 == 0 ? s : NULL;
}

/* All steps of a row: on the values at `in`, with `v` to keep them in between; the two may be one. */
static void ISA(run_steps)(const ISA(row) *r, const float *in, float *v, ISA(row_bits) *nhwc) {
    const bnnc_step *s = r->epilogue->steps;
    int32_t count = r->epilogue->count;
    ISA(row_bits) bits;
    if (ISA(lone_planar_sign)(r->epilogue) && r->count % BNNC_LANES == 0) {
        ISA(sign_row)(s, ((const float *)s->a)[r->channel], in, r->count, ISA(planar_place)(r, s->out));
        return;
    }
    while (count > 0) {
        ISA(pass) p;
        int32_t values = ISA(match_values)(r, s, count, &p);
        int32_t outputs = ISA(match_outputs)(r, s + values, count - values, &p);
        int32_t done = values + outputs;
        if (outputs && values && done < count) {
            /* The steps behind need the values, which a pass with outputs does not keep. */
            p.store = NULL;
            p.sign = NULL;
            outputs = 0;
            done = values;
        }
        if (done) {
            ISA(run_pass)(&p, p.sign ? ((const float *)p.sign->a)[r->channel] : 0, in, v, r->count, &bits);
            if (p.sign)
                ISA(write_bits)(r, p.sign, &bits, nhwc);
        } else {
            if (in != v)
                memcpy(v, in, (size_t)r->count * sizeof(float));
            ISA(run_step)(r, s, v, &bits, nhwc);
            done = 1;
        }
        if (!outputs)
            in = v;
        s += done;
        count -= done;
    }
}

static void ISA(run_steps_i32)(const ISA(row) *r, const int32_t *acc, ISA(row_bits) *nhwc) {
    const bnnc_step *s = r->epilogue->steps;
    if (s->kind == BNNC_STEP_THRESHOLD) {
        ISA(row_bits) bits;
        vi32 t = i32_set(((const int32_t *)s->a)[r->channel]);
        uint32_t flip = ((const uint8_t *)s->b)[r->channel] ? (1u << BNNC_LANES) - 1 : 0;
        for (int32_t i = 0; i < r->count; i += BNNC_LANES)
            ISA(put_bits)(&bits, i, i32_ge_bits(i32_load(acc + i), t) ^ flip);
        ISA(write_bits)(r, s, &bits, nhwc);
        return;
    }
    float v[BNNC_TILE] __attribute__((aligned(64)));
    for (int32_t i = 0; i < r->count; i += BNNC_LANES)
        f32_store(v + i, f32_from_i32(i32_load(acc + i)));
    ISA(run_steps)(r, v, v, nhwc);
}

/* Run an epilogue on a row of values. */
static void ISA(epilogue_run)(const bnnc_epilogue *e, int32_t batch_index, int32_t channel, int64_t first_pixel,
                              int32_t count, float *v) {
    ISA(row) r = ISA(row_at)(e, batch_index, channel, first_pixel, count);
    ISA(run_steps)(&r, v, v, NULL);
}

/* Run an epilogue on a row of integers, in a buffer like that of values; it is not changed. */
static void ISA(epilogue_run_i32)(const bnnc_epilogue *e, int32_t batch_index, int32_t channel, int64_t first_pixel,
                                  int32_t count, const int32_t *acc) {
    ISA(row) r = ISA(row_at)(e, batch_index, channel, first_pixel, count);
    ISA(run_steps_i32)(&r, acc, NULL);
}

/* The step that writes bits_nhwc, if there is exactly one. */
static const bnnc_step *ISA(only_nhwc_step)(const bnnc_epilogue *e) {
    const bnnc_step *found = NULL;
    for (int32_t k = 0; k < e->count; k++) {
        const bnnc_step *s = e->steps + k;
        if ((s->kind == BNNC_STEP_SIGN || s->kind == BNNC_STEP_THRESHOLD) && s->layout == BNNC_BITS_NHWC) {
            if (found)
                return NULL;
            found = s;
        }
    }
    return found;
}

/* Run an epilogue on the same pixels of the channels [channel, channel + rows). Row k of what it is
 * given stands at in + k * stride, or if `in` is NULL at acc + k * stride; `v` holds the values of one
 * row in between. */
BNNC_INLINE void ISA(run_rows)(const bnnc_epilogue *e, int32_t batch_index, int32_t channel, int32_t rows,
                               int64_t first_pixel, int32_t count, const float *in, const int32_t *acc, int64_t stride,
                               float *v) {
    const bnnc_step *nhwc_step = ISA(only_nhwc_step)(e);
    ISA(row_bits) nhwc[8];
    for (int32_t from = 0; from < rows; from += 8) {
        int32_t some = BNNC_MIN(8, rows - from), start = channel + from;
        int together = nhwc_step && start % 8 == 0 && (some == 8 || start + some == e->channels);
        for (int32_t k = from; k < from + some; k++) {
            ISA(row) r = ISA(row_at)(e, batch_index, channel + k, first_pixel, count);
            if (in)
                ISA(run_steps)(&r, in + k * stride, v, together ? nhwc + k % 8 : NULL);
            else
                ISA(run_steps_i32)(&r, acc + k * stride, together ? nhwc + k % 8 : NULL);
        }
        if (together) {
            ISA(row) r = ISA(row_at)(e, batch_index, start, first_pixel, count);
            ISA(write_nhwc_rows)(&r, nhwc_step->out, nhwc, some);
        }
    }
}

/* epilogue_run_i32 for the channels [channel, channel + rows): row k stands at acc + k * stride. */
static void ISA(epilogue_run_rows_i32)(const bnnc_epilogue *e, int32_t batch_index, int32_t channel, int32_t rows,
                                       int64_t first_pixel, int32_t count, const int32_t *acc, int64_t stride) {
    ISA(run_rows)(e, batch_index, channel, rows, first_pixel, count, NULL, acc, stride, NULL);
}

/* The first tensors, at most two, that an epilogue adds, multiplies by or stores. */
BNNC_INLINE void ISA(epilogue_tensors)(const bnnc_epilogue *e, const float *tensors[2]) {
    int found = 0;
    tensors[0] = tensors[1] = NULL;
    for (int32_t i = 0; i < e->count && found < 2; i++) {
        const bnnc_step *s = e->steps + i;
        const float *t = NULL;
        if (s->kind == BNNC_STEP_STORE)
            t = s->out;
        else if (s->kind == BNNC_STEP_ADD || s->kind == BNNC_STEP_MUL)
            t = s->a;
        if (t && t != tensors[0])
            tensors[found++] = t;
    }
}
