/* unary, cast. A unit is BNNC_BLOCK elements. */

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

BNNC_INLINE uint32_t ISA(bits_of)(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
BNNC_INLINE float ISA(float_of)(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The exponent of a half, moved to a float's place, is 112 too small, also for a subnormal; only that of
 * infinity and NaN has to become all ones. */
BNNC_INLINE float ISA(f16_to_f32)(uint16_t half) {
    uint32_t bits = (uint32_t)(half & 0x7fff) << 13;
    uint32_t special = bits >= 0x0f800000 ? 0x7f800000 : 0;
    return ISA(float_of)(ISA(bits_of)(ISA(float_of)(bits) * 0x1p112f) | special | (uint32_t)(half & 0x8000) << 16);
}

/* Halves to even. Below 2^-14 adding 1/2 leaves as many bits as a subnormal half has, and rounds them. */
BNNC_INLINE uint16_t ISA(f32_to_f16)(float x) {
    uint32_t bits = ISA(bits_of)(x), size = bits & 0x7fffffff, half;
    uint32_t normal = (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13;
    uint32_t tiny = ISA(bits_of)(ISA(float_of)(size) + 0.5f) - 0x3f000000;
    half = size > 0x7f800000 ? 0x7e00 : size >= 0x47800000 ? 0x7c00 : size < 0x38800000 ? tiny : normal;
    return (uint16_t)(half | (bits >> 16 & 0x8000));
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
#define BNNC_CASES_OTHER_INTEGER(type, code)                                                                           \
    BNNC_CASE(type, float, code, F32, x)                                                                               \
    BNNC_CASE(type, int32_t, code, I32, x)                                                                             \
    BNNC_CASE(type, int64_t, code, I64, x)                                                                             \
    BNNC_CASE(float, type, F32, code, ISA(f32_to_i64)(x))                                                              \
    BNNC_CASE(int32_t, type, I32, code, x)                                                                             \
    BNNC_CASE(int64_t, type, I64, code, x)

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
        BNNC_CASES_OTHER_INTEGER(int16_t, I16)
        BNNC_CASES_OTHER_INTEGER(uint16_t, U16)
        BNNC_CASES_OTHER_INTEGER(uint32_t, U32)
        BNNC_CASES_OTHER_INTEGER(uint64_t, U64)
        BNNC_CASE(uint16_t, float, F16, F32, ISA(f16_to_f32)(x))
        BNNC_CASE(float, uint16_t, F32, F16, ISA(f32_to_f16)(x))
        BNNC_CASE(double, float, F64, F32, x)
        BNNC_CASE(float, double, F32, F64, x)
    default:
        break;
    }
}
#undef BNNC_CASE
#undef BNNC_CASES_FROM_INTEGER
#undef BNNC_CASES_OTHER_INTEGER
