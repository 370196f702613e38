/* broadcast, where. A unit is BNNC_BLOCK elements of the output. */

/* ---- operands that broadcast ---- */

/* An operand, seen through the output's shape. */
typedef struct {
    const uint8_t *data;
    int32_t element_bytes;
    int32_t dense; /* its elements lie as the output's do */
    int64_t strides[BNNC_MAX_RANK];
} ISA(operand);

/* The output's shape with axes joined where every operand allows it, and the operands. */
typedef struct {
    int32_t rank;
    int64_t total;
    int64_t shape[BNNC_MAX_RANK];
    ISA(operand) operands[3];
} ISA(broadcasting);

static int32_t ISA(type_bytes)(int32_t type) {
    return type == BNNC_TYPE_I64 ? 8 : type == BNNC_TYPE_F32 || type == BNNC_TYPE_I32 ? 4 : 1;
}

static int64_t ISA(elements)(const int64_t *shape, int32_t rank) {
    int64_t total = 1;
    for (int32_t d = 0; d < rank; d++)
        total *= shape[d];
    return total;
}

static int64_t ISA(broadcast_units)(const void *args) {
    const bnnc_broadcast_args *b = args;
    return BNNC_CEIL_DIV(ISA(elements)(b->shape, b->rank), BNNC_BLOCK);
}

static void ISA(make_broadcasting)(const bnnc_broadcast_args *b, int32_t count, const int32_t *element_bytes,
                                   ISA(broadcasting) *out) {
    const void *data[] = {b->x, b->y, b->z};
    const int64_t *strides[] = {b->x_strides, b->y_strides, b->z_strides};
    out->rank = 0;
    out->total = ISA(elements)(b->shape, b->rank);
    for (int32_t k = 0; k < count; k++) {
        out->operands[k].data = data[k];
        out->operands[k].element_bytes = element_bytes[k];
    }
    for (int32_t d = 0; d < b->rank; d++) {
        if (b->shape[d] == 1)
            continue;
        int joins = out->rank > 0;
        for (int32_t k = 0; k < count && joins; k++)
            joins = out->operands[k].strides[out->rank - 1] == strides[k][d] * b->shape[d];
        if (!joins)
            out->shape[out->rank++] = 1;
        out->shape[out->rank - 1] *= b->shape[d];
        for (int32_t k = 0; k < count; k++)
            out->operands[k].strides[out->rank - 1] = strides[k][d];
    }
    for (int32_t k = 0; k < count; k++) {
        int64_t expected = 1;
        int dense = 1;
        for (int32_t d = out->rank - 1; d >= 0; expected *= out->shape[d--])
            dense &= out->operands[k].strides[d] == expected;
        out->operands[k].dense = dense;
    }
}

/* Copy `count` elements, `stride` apart, to a dense row. */
BNNC_INLINE void ISA(gather_run)(void *out, const uint8_t *from, int64_t stride, int64_t count, int32_t element_bytes) {
#define BNNC_RUN(type)                                                                                                 \
    do {                                                                                                               \
        const type *x = (const type *)(const void *)from;                                                              \
        type *to = out, first = *x;                                                                                    \
        if (stride == 0)                                                                                               \
            for (int64_t i = 0; i < count; i++)                                                                        \
                to[i] = first;                                                                                         \
        else                                                                                                           \
            for (int64_t i = 0; i < count; i++)                                                                        \
                to[i] = x[i * stride];                                                                                 \
    } while (0)
    if (stride == 1)
        memcpy(out, from, (size_t)(count * element_bytes));
    else if (element_bytes == 1)
        BNNC_RUN(uint8_t);
    else if (element_bytes == 2)
        BNNC_RUN(bnnc_any16);
    else if (element_bytes == 4)
        BNNC_RUN(bnnc_any32);
    else
        BNNC_RUN(bnnc_any64);
#undef BNNC_RUN
}

/* Elements [first, first + count) of an operand as a dense row: its own memory, or `buffer`. */
static __attribute__((noinline))
const void *ISA(fetch)(const ISA(broadcasting) *b, int32_t which, int64_t first, int64_t count, void *buffer) {
    const ISA(operand) *x = &b->operands[which];
    int64_t bytes = x->element_bytes;
    if (x->dense)
        return x->data + first * bytes;
    int64_t index[BNNC_MAX_RANK], offset = 0, left = first;
    for (int32_t d = b->rank - 1; d >= 0; d--) {
        index[d] = left % b->shape[d];
        left /= b->shape[d];
        offset += index[d] * x->strides[d];
    }
    int32_t inner = b->rank - 1;
    uint8_t *to = buffer;
    for (int64_t done = 0; done < count;) {
        int64_t run = BNNC_MIN(b->shape[inner] - index[inner], count - done);
        ISA(gather_run)(to + done * bytes, x->data + offset * bytes, x->strides[inner], run, x->element_bytes);
        done += run;
        index[inner] += run;
        offset += run * x->strides[inner];
        for (int32_t d = inner; d > 0 && index[d] == b->shape[d]; d--) {
            offset += x->strides[d - 1] - index[d] * x->strides[d];
            index[d] = 0;
            index[d - 1]++;
        }
    }
    return buffer;
}

/* ---- broadcast ---- */

/* Integer arithmetic wraps as numpy's does; dividing by zero gives 0. */
#define BNNC_INTEGER_OPERATIONS(type, unsigned_type, bits)                                                             \
    BNNC_INLINE type ISA(divide_##bits)(type x, type y) {                                                              \
        return y == 0 ? 0 : y == -1 ? (type)(0 - (unsigned_type)x) : (type)(x / y);                                    \
    }                                                                                                                  \
    BNNC_INLINE type ISA(remainder_##bits)(type x, type y) {                                                           \
        return y == 0 || y == -1 ? 0 : (type)(x % y);                                                                  \
    }                                                                                                                  \
    BNNC_INLINE type ISA(modulo_##bits)(type x, type y) {                                                              \
        type r = ISA(remainder_##bits)(x, y);                                                                          \
        return r != 0 && (r < 0) != (y < 0) ? (type)(r + y) : r;                                                       \
    }                                                                                                                  \
    BNNC_INLINE type ISA(power_##bits)(type x, type y) {                                                               \
        double power = pow((double)x, (double)y);                                                                      \
        const double limit = (double)((unsigned_type)1 << (bits - 1));                                                 \
        return power >= -limit && power < limit ? (type)power : (type)((unsigned_type)1 << (bits - 1));                \
    }
BNNC_INTEGER_OPERATIONS(int32_t, uint32_t, 32)
BNNC_INTEGER_OPERATIONS(int64_t, uint64_t, 64)
#undef BNNC_INTEGER_OPERATIONS

#define BNNC_CASE(name, out_type, expression)                                                                          \
    case BNNC_FN_##name:                                                                                               \
        for (int64_t i = 0; i < count; i++)                                                                            \
            ((out_type *)out)[i] = (out_type)(expression);                                                             \
        break;
#define BNNC_COMPARISONS                                                                                               \
    BNNC_CASE(EQUAL, uint8_t, x[i] == y[i])                                                                            \
    BNNC_CASE(GREATER, uint8_t, x[i] > y[i])                                                                           \
    BNNC_CASE(GREATER_OR_EQUAL, uint8_t, x[i] >= y[i])                                                                 \
    BNNC_CASE(LESS, uint8_t, x[i] < y[i])                                                                              \
    BNNC_CASE(LESS_OR_EQUAL, uint8_t, x[i] <= y[i])
#define BNNC_INTEGER_CASES(type, unsigned_type, bits)                                                                  \
    BNNC_CASE(ADD, type, (unsigned_type)x[i] + (unsigned_type)y[i])                                                    \
    BNNC_CASE(SUB, type, (unsigned_type)x[i] - (unsigned_type)y[i])                                                    \
    BNNC_CASE(MUL, type, (unsigned_type)x[i] * (unsigned_type)y[i])                                                    \
    BNNC_CASE(DIV, type, ISA(divide_##bits)(x[i], y[i]))                                                               \
    BNNC_CASE(POW, type, ISA(power_##bits)(x[i], y[i]))                                                                \
    BNNC_CASE(MAX, type, BNNC_MAX(x[i], y[i]))                                                                         \
    BNNC_CASE(MIN, type, BNNC_MIN(x[i], y[i]))                                                                         \
    BNNC_CASE(MOD, type, ISA(modulo_##bits)(x[i], y[i]))                                                               \
    BNNC_CASE(F_MOD, type, ISA(remainder_##bits)(x[i], y[i]))                                                          \
    BNNC_COMPARISONS

static void ISA(broadcast_f32)(int32_t function, const float *x, const float *y, void *out, int64_t count) {
    switch (function) {
        BNNC_CASE(ADD, float, x[i] + y[i])
        BNNC_CASE(SUB, float, x[i] - y[i])
        BNNC_CASE(MUL, float, x[i] * y[i])
        BNNC_CASE(DIV, float, x[i] / y[i])
        BNNC_CASE(POW, float, powf(x[i], y[i]))
        BNNC_CASE(MAX, float, x[i] > y[i] || x[i] != x[i] ? x[i] : y[i])
        BNNC_CASE(MIN, float, x[i] < y[i] || x[i] != x[i] ? x[i] : y[i])
        BNNC_CASE(F_MOD, float, fmodf(x[i], y[i]))
        BNNC_CASE(P_RELU, float, x[i] >= 0 ? x[i] : x[i] * y[i])
        BNNC_COMPARISONS
    default:
        break;
    }
}

static void ISA(broadcast_i32)(int32_t function, const int32_t *x, const int32_t *y, void *out, int64_t count) {
    switch (function) {
        BNNC_INTEGER_CASES(int32_t, uint32_t, 32)
        BNNC_CASE(AND, uint8_t, x[i] && y[i])
        BNNC_CASE(OR, uint8_t, x[i] || y[i])
        BNNC_CASE(XOR, uint8_t, !x[i] != !y[i])
    default:
        break;
    }
}

static void ISA(broadcast_i64)(int32_t function, const int64_t *x, const int64_t *y, void *out, int64_t count) {
    switch (function) {
        BNNC_INTEGER_CASES(int64_t, uint64_t, 64)
    default:
        break;
    }
}
#undef BNNC_CASE
#undef BNNC_COMPARISONS
#undef BNNC_INTEGER_CASES

/* Types of one byte are computed with as int32: a row of them widened. */
static const int32_t *ISA(widen)(int32_t type, const void *x, int64_t count, int32_t *out) {
    if (type == BNNC_TYPE_I8)
        for (int64_t i = 0; i < count; i++)
            out[i] = ((const int8_t *)x)[i];
    else
        for (int64_t i = 0; i < count; i++)
            out[i] = ((const uint8_t *)x)[i];
    return out;
}

static void ISA(broadcast)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_broadcast_args *b = args;
    const int gives_bool = b->function >= BNNC_FN_EQUAL && b->function <= BNNC_FN_XOR;
    const int32_t bytes = ISA(type_bytes)(b->type), out_bytes = gives_bool ? 1 : bytes;
    ISA(broadcasting) all;
    ISA(make_broadcasting)(b, 2, (const int32_t[]){bytes, bytes}, &all);
    uint8_t *x_row = scratch, *y_row = x_row + 8 * BNNC_BLOCK;
    int32_t *wide = (int32_t *)(void *)(y_row + 8 * BNNC_BLOCK);
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t first = unit * BNNC_BLOCK, count = BNNC_MIN(BNNC_BLOCK, all.total - first);
        const void *x = ISA(fetch)(&all, 0, first, count, x_row), *y = ISA(fetch)(&all, 1, first, count, y_row);
        void *out = (uint8_t *)b->out + first * out_bytes;
        if (b->type == BNNC_TYPE_F32) {
            ISA(broadcast_f32)(b->function, x, y, out, count);
        } else if (b->type == BNNC_TYPE_I32) {
            ISA(broadcast_i32)(b->function, x, y, out, count);
        } else if (b->type == BNNC_TYPE_I64) {
            ISA(broadcast_i64)(b->function, x, y, out, count);
        } else {
            int32_t *result = wide + 2 * BNNC_BLOCK;
            x = ISA(widen)(b->type, x, count, wide);
            y = ISA(widen)(b->type, y, count, wide + BNNC_BLOCK);
            ISA(broadcast_i32)(b->function, x, y, gives_bool ? out : result, count);
            if (!gives_bool)
                for (int64_t i = 0; i < count; i++)
                    ((uint8_t *)out)[i] = (uint8_t)result[i];
        }
    }
}

/* ---- where ---- */

static int64_t ISA(where_units)(const void *args) {
    return ISA(broadcast_units)(args);
}

static void ISA(where)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_broadcast_args *b = args;
    const int32_t bytes = ISA(type_bytes)(b->type);
    ISA(broadcasting) all;
    ISA(make_broadcasting)(b, 3, (const int32_t[]){1, bytes, bytes}, &all);
    uint8_t *rows = scratch;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t first = unit * BNNC_BLOCK, count = BNNC_MIN(BNNC_BLOCK, all.total - first);
        const uint8_t *x = ISA(fetch)(&all, 0, first, count, rows);
        const void *y = ISA(fetch)(&all, 1, first, count, rows + 8 * BNNC_BLOCK);
        const void *z = ISA(fetch)(&all, 2, first, count, rows + 16 * BNNC_BLOCK);
        void *out = (uint8_t *)b->out + first * bytes;
#define BNNC_SELECT(type)                                                                                              \
    for (int64_t i = 0; i < count; i++)                                                                                \
        ((type *)out)[i] = x[i] ? ((const type *)y)[i] : ((const type *)z)[i];
        if (bytes == 1) {
            BNNC_SELECT(uint8_t)
        } else if (bytes == 4) {
            BNNC_SELECT(bnnc_any32)
        } else {
            BNNC_SELECT(bnnc_any64)
        }
#undef BNNC_SELECT
    }
}
