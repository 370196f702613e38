/* reduce (with arg_max and arg_min), softmax: over the middle of [outer][count][inner]. A unit is
 * one outer index where inner is 1, else a block of BNNC_COLUMNS inner indices of one outer index.
 *
 * Floats are added up in double, so that the order of addition, and with it the instruction set,
 * does not show in the rounded result. */
#define BNNC_COLUMNS 256

static int64_t ISA(reduce_units)(const void *args) {
    const bnnc_reduce_args *r = args;
    return r->outer * BNNC_CEIL_DIV(r->inner, BNNC_COLUMNS);
}

/* The columns of one unit: `n` of them, the first element at `x` of the input and `out` of an output
 * with `inner` elements for each outer index. */
typedef struct {
    int64_t x, out, n;
} ISA(columns);

static ISA(columns) ISA(unit_columns)(const bnnc_reduce_args *r, int64_t unit) {
    int64_t blocks = BNNC_CEIL_DIV(r->inner, BNNC_COLUMNS), outer = unit / blocks, j = unit % blocks * BNNC_COLUMNS;
    return (ISA(columns)){outer * r->count * r->inner + j, outer * r->inner + j, BNNC_MIN(BNNC_COLUMNS, r->inner - j)};
}

/* ---- sums of floats ---- */

typedef float ISA(vf32_half) __attribute__((vector_size(BNNC_VEC_BYTES / 2), aligned(4), may_alias));
typedef double ISA(vf64) __attribute__((vector_size(BNNC_VEC_BYTES)));

/* What a sum adds up: x, |x| or x^2. */
enum { ISA(TERM_PLAIN), ISA(TERM_ABSOLUTE), ISA(TERM_SQUARE) };

BNNC_INLINE double ISA(sum_row_of)(const float *x, int64_t count, int term) {
    enum { LANES = BNNC_VEC_BYTES / 8 };
    ISA(vf64) sums[4] = {{0}};
    int64_t i = 0;
    for (; i <= count - 4 * LANES; i += 4 * LANES) {
        for (int k = 0; k < 4; k++) {
            ISA(vf64) v = __builtin_convertvector(*(const ISA(vf32_half) *)(x + i + k * LANES), ISA(vf64));
            if (term == ISA(TERM_ABSOLUTE))
                v = (ISA(vf64))((vi64)v & INT64_MAX);
            sums[k] += term == ISA(TERM_SQUARE) ? v * v : v;
        }
    }
    ISA(vf64) all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    double total = 0;
    for (int k = 0; k < LANES; k++)
        total += all[k];
    for (; i < count; i++)
        total += term == ISA(TERM_PLAIN) ? x[i] : term == ISA(TERM_ABSOLUTE) ? fabsf(x[i]) : (double)x[i] * x[i];
    return total;
}

static double ISA(sum_row)(const float *x, int64_t count, int term) {
    switch (term) {
    case ISA(TERM_PLAIN):
        return ISA(sum_row_of)(x, count, ISA(TERM_PLAIN));
    case ISA(TERM_ABSOLUTE):
        return ISA(sum_row_of)(x, count, ISA(TERM_ABSOLUTE));
    default:
        return ISA(sum_row_of)(x, count, ISA(TERM_SQUARE));
    }
}

static void ISA(sum_columns)(const float *x, int64_t count, int64_t inner, int64_t n, int term, double *sums) {
    for (int64_t j = 0; j < n; j++)
        sums[j] = 0;
    for (int64_t i = 0; i < count; i++, x += inner) {
        if (term == ISA(TERM_PLAIN))
            for (int64_t j = 0; j < n; j++)
                sums[j] += x[j];
        else if (term == ISA(TERM_ABSOLUTE))
            for (int64_t j = 0; j < n; j++)
                sums[j] += fabsf(x[j]);
        else
            for (int64_t j = 0; j < n; j++)
                sums[j] += (double)x[j] * x[j];
    }
}

static void ISA(reduce_sum_f32)(const bnnc_reduce_args *r, ISA(columns) c, double *sums) {
    const float *x = (const float *)r->x + c.x;
    float *out = (float *)r->out + c.out;
    int term = r->function == BNNC_FN_REDUCE_L1                                               ? ISA(TERM_ABSOLUTE)
               : r->function == BNNC_FN_REDUCE_L2 || r->function == BNNC_FN_REDUCE_SUM_SQUARE ? ISA(TERM_SQUARE)
                                                                                              : ISA(TERM_PLAIN);
    if (r->inner == 1)
        sums[0] = ISA(sum_row)(x, r->count, term);
    else
        ISA(sum_columns)(x, r->count, r->inner, c.n, term, sums);
    for (int64_t j = 0; j < c.n; j++) {
        double sum = sums[j];
        if (r->function == BNNC_FN_REDUCE_MEAN)
            sum /= (double)r->count;
        else if (r->function == BNNC_FN_REDUCE_L2)
            sum = sqrt(sum);
        out[j] = (float)sum;
    }
}

/* ---- the other reductions of floats ---- */

/* The larger, or NaN if either is; with a sign of -1 the smaller. */
BNNC_INLINE vf32 ISA(extreme)(vf32 best, vf32 x, vf32 sign) {
    return f32_select((sign * x > sign * best) | (x != x), x, best);
}

static float ISA(extreme_row)(const float *x, int64_t count, float sign) {
    vf32 best = f32_set(x[0]), s = f32_set(sign);
    int64_t i = 0;
    for (; i <= count - BNNC_LANES; i += BNNC_LANES)
        best = ISA(extreme)(best, f32_load(x + i), s);
    float all = best[0];
    for (int k = 1; k < BNNC_LANES; k++)
        all = sign * best[k] > sign * all || best[k] != best[k] ? best[k] : all;
    for (; i < count; i++)
        all = sign * x[i] > sign * all || x[i] != x[i] ? x[i] : all;
    return all;
}

static void ISA(reduce_extreme_f32)(const bnnc_reduce_args *r, ISA(columns) c, float sign) {
    const float *x = (const float *)r->x + c.x;
    float *out = (float *)r->out + c.out;
    if (r->inner == 1) {
        *out = ISA(extreme_row)(x, r->count, sign);
        return;
    }
    for (int64_t j = 0; j < c.n; j++)
        out[j] = x[j];
    for (int64_t i = 1; i < r->count; i++) {
        x += r->inner;
        for (int64_t j = 0; j < c.n; j++)
            out[j] = sign * x[j] > sign * out[j] || x[j] != x[j] ? x[j] : out[j];
    }
}

static void ISA(reduce_product_f32)(const bnnc_reduce_args *r, ISA(columns) c) {
    for (int64_t j = 0; j < c.n; j++) {
        double product = 1;
        for (int64_t i = 0; i < r->count; i++)
            product *= ((const float *)r->x)[c.x + i * r->inner + j];
        ((float *)r->out)[c.out + j] = (float)product;
    }
}

/* ---- integers ---- */

static int64_t ISA(integer_at)(const void *x, int64_t i, int32_t type) {
    switch (type) {
    case BNNC_TYPE_I32:
        return ((const int32_t *)x)[i];
    case BNNC_TYPE_I64:
        return ((const int64_t *)x)[i];
    case BNNC_TYPE_I8:
        return ((const int8_t *)x)[i];
    default:
        return ((const uint8_t *)x)[i];
    }
}

static void ISA(set_integer)(void *out, int64_t i, int32_t type, int64_t value) {
    if (type == BNNC_TYPE_I32)
        ((int32_t *)out)[i] = (int32_t)value;
    else if (type == BNNC_TYPE_I64)
        ((int64_t *)out)[i] = value;
    else
        ((uint8_t *)out)[i] = (uint8_t)value;
}

/* Sums and products wrap in the tensor's own type; unsigned arithmetic does that without overflow. */
static void ISA(reduce_integer)(const bnnc_reduce_args *r, ISA(columns) c) {
    for (int64_t j = 0; j < c.n; j++) {
        int64_t best = r->count ? ISA(integer_at)(r->x, c.x + j, r->type) : 0;
        uint64_t sum = 0, squares = 0, sizes = 0, product = 1;
        for (int64_t i = 0; i < r->count; i++) {
            int64_t x = ISA(integer_at)(r->x, c.x + i * r->inner + j, r->type);
            uint64_t u = (uint64_t)x;
            best = r->function == BNNC_FN_REDUCE_MIN ? BNNC_MIN(best, x) : BNNC_MAX(best, x);
            sum += u;
            squares += u * u;
            sizes += x < 0 ? 0 - u : u;
            product *= u;
        }
        switch (r->function) {
        case BNNC_FN_REDUCE_SUM:
            best = (int64_t)sum;
            break;
        case BNNC_FN_REDUCE_MEAN:
            ISA(set_integer)(r->out, c.out + j, r->type, (int64_t)sum);
            best = ISA(integer_at)(r->out, c.out + j, r->type) / r->count;
            break;
        case BNNC_FN_REDUCE_PROD:
            best = (int64_t)product;
            break;
        case BNNC_FN_REDUCE_L1:
            best = (int64_t)sizes;
            break;
        case BNNC_FN_REDUCE_L2:
            best = (int64_t)sqrt((double)squares);
            break;
        case BNNC_FN_REDUCE_SUM_SQUARE:
            best = (int64_t)squares;
            break;
        default:
            break;
        }
        ISA(set_integer)(r->out, c.out + j, r->type, best);
    }
}

/* ---- arg_max, arg_min ---- */

/* An integer in the order of the floats; both zeros are 0, NaN is above everything. */
BNNC_INLINE int32_t ISA(ordered)(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (x != x)
        return INT32_MAX;
    return bits < 0 ? INT32_MIN - bits : bits;
}

static void ISA(reduce_index)(const bnnc_reduce_args *r, ISA(columns) c, int64_t *best) {
    int64_t *out = (int64_t *)r->out + c.out;
    const int smallest = r->function == BNNC_FN_ARG_MIN;
    for (int64_t i = 0; i < r->count; i++) {
        for (int64_t j = 0; j < c.n; j++) {
            int64_t at = c.x + i * r->inner + j, key;
            if (r->type == BNNC_TYPE_F32) {
                int32_t order = ISA(ordered)(((const float *)r->x)[at]);
                key = smallest && order != INT32_MAX ? -order : order;
            } else {
                key = ISA(integer_at)(r->x, at, r->type);
                key = smallest ? ~key : key;
            }
            if (i == 0 || key > best[j] || (r->last && key == best[j])) {
                best[j] = key;
                out[j] = i;
            }
        }
    }
}

static void ISA(reduce)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_reduce_args *r = args;
    for (int64_t unit = begin; unit < end; unit++) {
        ISA(columns) c = ISA(unit_columns)(r, unit);
        if (r->function == BNNC_FN_ARG_MAX || r->function == BNNC_FN_ARG_MIN)
            ISA(reduce_index)(r, c, scratch);
        else if (r->type != BNNC_TYPE_F32)
            ISA(reduce_integer)(r, c);
        else if (r->function == BNNC_FN_REDUCE_MAX)
            ISA(reduce_extreme_f32)(r, c, 1);
        else if (r->function == BNNC_FN_REDUCE_MIN)
            ISA(reduce_extreme_f32)(r, c, -1);
        else if (r->function == BNNC_FN_REDUCE_PROD)
            ISA(reduce_product_f32)(r, c);
        else
            ISA(reduce_sum_f32)(r, c, scratch);
    }
}

/* ---- softmax, log_softmax ---- */

static int64_t ISA(softmax_units)(const void *args) {
    return ISA(reduce_units)(args);
}

/* One row: x less its maximum, then its exponential over their sum, or itself less their logarithm. */
static void ISA(softmax_row)(const float *x, float *out, int64_t count, int logarithm) {
    const vf32 top = f32_set(ISA(extreme_row)(x, count, 1));
    vf32 sums = {0};
    int64_t i = 0;
    for (; i <= count - BNNC_LANES; i += BNNC_LANES) {
        vf32 shifted = f32_load(x + i) - top, power = f32_exp(shifted);
        sums += power;
        f32_store(out + i, logarithm ? shifted : power);
    }
    float total = f32_sum(sums);
    if (i < count) {
        vf32 shifted = f32_load_n(x + i, count - i) - top, power = f32_exp(shifted);
        f32_store_n(out + i, logarithm ? shifted : power, count - i);
        for (int64_t k = 0; k < count - i; k++)
            total += power[k];
    }
    const float factor = 1.0f / total, offset = logf(total);
    for (i = 0; i < count; i++)
        out[i] = logarithm ? out[i] - offset : out[i] * factor;
}

/* The same for `n` columns, the elements of each `inner` apart. */
static void ISA(softmax_columns)(const float *x, float *out, int64_t count, int64_t inner, int64_t n, int logarithm,
                                 float *total) {
    for (int64_t j = 0; j < n; j += BNNC_LANES) {
        vf32 best = f32_load_some(x + j, n - j), sums = {0};
        for (int64_t i = 1; i < count; i++)
            best = ISA(extreme)(best, f32_load_some(x + i * inner + j, n - j), f32_set(1));
        for (int64_t i = 0; i < count; i++) {
            vf32 shifted = f32_load_some(x + i * inner + j, n - j) - best, power = f32_exp(shifted);
            sums += power;
            f32_store_some(out + i * inner + j, logarithm ? shifted : power, n - j);
        }
        f32_store(total + j, sums);
    }
    for (int64_t j = 0; j < n; j++)
        total[j] = logarithm ? logf(total[j]) : 1.0f / total[j];
    for (int64_t i = 0; i < count; i++, out += inner)
        for (int64_t j = 0; j < n; j++)
            out[j] = logarithm ? out[j] - total[j] : out[j] * total[j];
}

static void ISA(softmax)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_reduce_args *r = args;
    const int logarithm = r->function == BNNC_FN_LOG_SOFTMAX;
    for (int64_t unit = begin; unit < end; unit++) {
        ISA(columns) c = ISA(unit_columns)(r, unit);
        const float *x = (const float *)r->x + c.x;
        float *out = (float *)r->out + c.x;
        if (r->inner == 1)
            ISA(softmax_row)(x, out, r->count, logarithm);
        else
            ISA(softmax_columns)(x, out, r->count, r->inner, c.n, logarithm, scratch);
    }
}
#undef BNNC_COLUMNS
