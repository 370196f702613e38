/* unary, cast, broadcast, where. A unit is BNNC_BLOCK elements of the output. */

/* ---- unary ---- */

/* `bound` as an integer of a type from `least` to `most`. */
static int64_t ISA(integer_bound)(float bound, int64_t least, int64_t most) {
    if (bound <= (float)least)
        return least;
    return bound >= (float)most ? most : (int64_t)bound;
}

/* Functions that integers have. `wide` is an unsigned type in which negation wraps. */
#define BNNC_INTEGER_UNARY(type, wide, least, most)                                                                    \
    static void ISA(unary_##type)(const bnnc_unary_args *u, int64_t begin, int64_t end) {                              \
        const type *in = u->x;                                                                                         \
        type *out = u->out;                                                                                            \
        type low = (type)ISA(integer_bound)(u->low, least, most),                                                      \
             high = (type)ISA(integer_bound)(u->high, least, most);                                                    \
        for (int64_t i = begin; i < end; i++) {                                                                        \
            type x = in[i], negative = (type)(wide)(0 - (wide)x);                                                      \
            switch (u->function) {                                                                                     \
            case BNNC_FN_RELU:                                                                                         \
                out[i] = x > 0 ? x : 0;                                                                                \
                break;                                                                                                 \
            case BNNC_FN_CLIP:                                                                                         \
                x = x < low ? low : x;                                                                                 \
                out[i] = x > high ? high : x;                                                                          \
                break;                                                                                                 \
            case BNNC_FN_NEG:                                                                                          \
                out[i] = negative;                                                                                     \
                break;                                                                                                 \
            case BNNC_FN_ABS:                                                                                          \
                out[i] = x > 0 ? x : negative;                                                                         \
                break;                                                                                                 \
            case BNNC_FN_SIGN:                                                                                         \
                out[i] = (type)(x > 0 ? 1 : x == 0 ? (int)u->low : -1);                                                \
                break;                                                                                                 \
            default:                                                                                                   \
                out[i] = !x;                                                                                           \
            }                                                                                                          \
        }                                                                                                              \
    }
BNNC_INTEGER_UNARY(int32_t, uint32_t, INT32_MIN, INT32_MAX)
BNNC_INTEGER_UNARY(int64_t, uint64_t, INT64_MIN, INT64_MAX)
BNNC_INTEGER_UNARY(uint8_t, uint32_t, 0, UINT8_MAX)
BNNC_INTEGER_UNARY(int8_t, uint32_t, INT8_MIN, INT8_MAX)
#undef BNNC_INTEGER_UNARY

static int64_t ISA(unary_units)(const void *args) {
    return BNNC_CEIL_DIV(((const bnnc_unary_args *)args)->count, BNNC_BLOCK);
}

static void ISA(unary)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_unary_args *u = args;
    (void)scratch;
    begin *= BNNC_BLOCK;
    end = BNNC_MIN(end * BNNC_BLOCK, u->count);
    switch (u->type) {
    case BNNC_TYPE_F32:
        ISA(apply_function)(u->function, u->low, u->high, (const float *)u->x + begin, (float *)u->out + begin,
                            end - begin);
        break;
    case BNNC_TYPE_I32:
        ISA(unary_int32_t)(u, begin, end);
        break;
    case BNNC_TYPE_I64:
        ISA(unary_int64_t)(u, begin, end);
        break;
    case BNNC_TYPE_I8:
        ISA(unary_int8_t)(u, begin, end);
        break;
    default:
        ISA(unary_uint8_t)(u, begin, end);
    }
}

/* ---- cast ---- */

/* Floats outside an integer's range, and NaN, give what x86's conversion to int32 or int64 gives. */
BNNC_INLINE int32_t ISA(f32_to_i32)(float x) {
    return x >= -2147483648.0f && x < 2147483648.0f ? (int32_t)x : INT32_MIN;
}
BNNC_INLINE int64_t ISA(f32_to_i64)(float x) {
    return x >= -9223372036854775808.0f && x < 9223372036854775808.0f ? (int64_t)x : INT64_MIN;
}

#define BNNC_CASE(from_type, to_type, from_code, to_code, expression)                                                  \
    case (BNNC_TYPE_##from_code) << 4 | (BNNC_TYPE_##to_code):                                                         \
        for (int64_t i = begin; i < end; i++) {                                                                        \
            from_type x = ((const from_type *)c->x)[i];                                                                \
            ((to_type *)c->out)[i] = (to_type)(expression);                                                            \
        }                                                                                                              \
        break;
#define BNNC_CASES_FROM_INTEGER(type, code)                                                                            \
    BNNC_CASE(type, float, code, F32, x)                                                                               \
    BNNC_CASE(type, int32_t, code, I32, x)                                                                             \
    BNNC_CASE(type, int64_t, code, I64, x)                                                                             \
    BNNC_CASE(type, uint8_t, code, U8, x)                                                                              \
    BNNC_CASE(type, int8_t, code, I8, x)                                                                               \
    BNNC_CASE(type, uint8_t, code, BOOL, x != 0)

static int64_t ISA(cast_units)(const void *args) {
    return BNNC_CEIL_DIV(((const bnnc_cast_args *)args)->count, BNNC_BLOCK);
}

static void ISA(cast)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_cast_args *c = args;
    (void)scratch;
    begin *= BNNC_BLOCK;
    end = BNNC_MIN(end * BNNC_BLOCK, c->count);
    switch (c->from << 4 | c->to) {
        BNNC_CASE(float, float, F32, F32, x)
        BNNC_CASE(float, int32_t, F32, I32, ISA(f32_to_i32)(x))
        BNNC_CASE(float, int64_t, F32, I64, ISA(f32_to_i64)(x))
        BNNC_CASE(float, uint8_t, F32, U8, ISA(f32_to_i32)(x))
        BNNC_CASE(float, int8_t, F32, I8, ISA(f32_to_i32)(x))
        BNNC_CASE(float, uint8_t, F32, BOOL, x != 0)
        BNNC_CASES_FROM_INTEGER(int32_t, I32)
        BNNC_CASES_FROM_INTEGER(int64_t, I64)
        BNNC_CASES_FROM_INTEGER(uint8_t, U8)
        BNNC_CASES_FROM_INTEGER(int8_t, I8)
        BNNC_CASES_FROM_INTEGER(uint8_t, BOOL)
    default:
        break;
    }
}
#undef BNNC_CASE
#undef BNNC_CASES_FROM_INTEGER

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
