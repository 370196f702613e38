/* The elementwise functions of one operand (BNNC_FN_) on floats.
 *
 * exp, tanh and erf are polynomials fitted (minimax) to a few units in the last place; functions that
 * networks seldom contain are left to libm, lane by lane.
 */
#define f32_exp ISA(f32_exp)
#define f32_abs ISA(f32_abs)
#define f32_with_sign ISA(f32_with_sign)

BNNC_INLINE vf32 f32_abs(vf32 x) {
    return i32_as_f32(f32_as_i32(x) & INT32_MAX);
}

/* `x`, which is not negative, with the sign of `sign`. */
BNNC_INLINE vf32 f32_with_sign(vf32 x, vf32 sign) {
    return i32_as_f32(f32_as_i32(x) | (f32_as_i32(sign) & INT32_MIN));
}

/* c[0] + c[1] x + ... */
BNNC_INLINE vf32 ISA(polynomial)(vf32 x, const float *c, int terms) {
    vf32 sum = f32_set(c[terms - 1]);
    for (int i = terms - 2; i >= 0; i--)
        sum = f32_fma(sum, x, f32_set(c[i]));
    return sum;
}

/* 2^n for n of -126 to 127 */
BNNC_INLINE vf32 ISA(power_of_two)(vi32 n) {
    return i32_as_f32((n + 127) << 23);
}

/* With n the integer nearest to x / log 2 and r what is left, e^x = 2^n e^r: e^r, and n. */
BNNC_INLINE vf32 ISA(exp_parts)(vf32 x, vi32 *exponent) {
    static const float c[] = {0.5000000096f, 0.1666651832f, 0.0416662041f, 0.0083689535f, 0.0013950603f};
    const float log2_high = 0.693359375f, log2_low = -2.12194440e-4f;
    const vf32 shifter = f32_set(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    vf32 shifted = f32_fma(x, f32_set(1.44269504f), shifter);
    vf32 n = shifted - shifter;
    *exponent = f32_as_i32(shifted) - f32_as_i32(shifter);
    vf32 r = f32_fma(n, f32_set(-log2_high), x);
    r = f32_fma(n, f32_set(-log2_low), r);
    return f32_fma(r * r, ISA(polynomial)(r, c, 5), r) + 1.0f;
}

/* The scale is applied in two halves, since 2^n may lie outside float's range where the result does not. */
BNNC_INLINE vf32 f32_exp(vf32 x) {
    vi32 exponent;
    vf32 power = ISA(exp_parts)(f32_min(f32_set(89.0f), f32_max(f32_set(-104.0f), x)), &exponent);
    vi32 half = exponent >> 1;
    return power * ISA(power_of_two)(half) * ISA(power_of_two)(exponent - half);
}

/* Where e^-x leaves float's range, 1 + e^-x is 1, or the result less than float's smallest normal number. */
BNNC_INLINE vf32 ISA(f32_sigmoid)(vf32 x) {
    vi32 exponent;
    vf32 power = ISA(exp_parts)(f32_min(f32_set(87.3365f), f32_max(f32_set(-87.3365f), -x)), &exponent);
    return f32_reciprocal(f32_fma(power, ISA(power_of_two)(exponent), f32_set(1.0f)));
}

/* Near zero an odd polynomial; elsewhere 1 - 2 / (e^2|x| + 1) cancels nothing. */
BNNC_INLINE vf32 ISA(f32_tanh)(vf32 x) {
    static const float c[] = {-0.3333328393f, 0.1333149131f, -0.0537434999f, 0.0206505924f, -0.0057170501f};
    vf32 size = f32_abs(x), z = x * x;
    vf32 small = f32_fma(x * z, ISA(polynomial)(z, c, 5), x);
    vf32 large = f32_with_sign(1.0f - 2.0f / (f32_exp(size + size) + 1.0f), x);
    return f32_select(size < 0.625f, small, large);
}

/* Below 1 an odd polynomial; above, erfc(t) = e^-q(t) with q a polynomial in t - 1. From 4 on the
 * result is 1 in float. */
BNNC_INLINE vf32 ISA(f32_erf)(vf32 x) {
    static const float c[] = {0.1283791659f, -0.3761262714f, 0.1128360018f, -0.0268544446f,
                              0.0051895354f, -0.0008020842f, 0.0000788912f};
    static const float q[] = {1.8496055101f,  2.6389675145f, 0.8431070818f,  0.0415634807f,
                              -0.0100464520f, 0.0020119662f, -0.0002895278f, 0.0000216867f};
    vf32 size = f32_abs(x);
    vf32 small = f32_fma(x, ISA(polynomial)(x * x, c, 7), x);
    vf32 complement = f32_exp(-ISA(polynomial)(f32_min(f32_set(4.0f), size) - 1.0f, q, 8));
    return f32_select(size < 1.0f, small, f32_with_sign(1.0f - complement, x));
}

/* min(max(x, low), high); NaN stays. */
BNNC_INLINE vf32 ISA(f32_clip)(vf32 x, vf32 low, vf32 high) {
    return f32_min(high, f32_max(low, x));
}

static float ISA(softplus)(float x) {
    return BNNC_MAX(x, 0.0f) + log1pf(expf(-fabsf(x)));
}

/* out[i] = function(x[i]); out may be x. low and high are the function's attributes. */
static void ISA(apply_function)(int32_t function, float low, float high, const float *in, float *out, int64_t count) {
    const vf32 a = f32_set(low), b = f32_set(high);
    switch (function) {
#define BNNC_CASE(name, expression)                                                                                    \
    case BNNC_FN_##name: {                                                                                             \
        int64_t i = 0;                                                                                                 \
        for (; i <= count - BNNC_LANES; i += BNNC_LANES) {                                                             \
            vf32 x = f32_load(in + i);                                                                                 \
            f32_store(out + i, expression);                                                                            \
        }                                                                                                              \
        if (i < count) {                                                                                               \
            vf32 x = f32_load_n(in + i, count - i);                                                                    \
            f32_store_n(out + i, expression, count - i);                                                               \
        }                                                                                                              \
        break;                                                                                                         \
    }
#define BNNC_CASE_LIBM(name, expression)                                                                               \
    case BNNC_FN_##name:                                                                                               \
        for (int64_t i = 0; i < count; i++) {                                                                          \
            float x = in[i];                                                                                           \
            out[i] = expression;                                                                                       \
        }                                                                                                              \
        break;
        BNNC_CASE(RELU, f32_max(f32_set(0), x))
        BNNC_CASE(LEAKY_RELU, f32_select(x >= 0.0f, x, x * a))
        BNNC_CASE(CLIP, ISA(f32_clip)(x, a, b))
        BNNC_CASE(SIGMOID, ISA(f32_sigmoid)(x))
        BNNC_CASE(TANH, ISA(f32_tanh)(x))
        BNNC_CASE(HARD_SWISH, x * ISA(f32_clip)(x / 6.0f + 0.5f, f32_set(0), f32_set(1)))
        BNNC_CASE(HARD_SIGMOID, ISA(f32_clip)(f32_rounded(x * a) + b, f32_set(0), f32_set(1)))
        BNNC_CASE(EXP, f32_exp(x))
        BNNC_CASE(SQRT, f32_sqrt(x))
        BNNC_CASE(NEG, -x)
        BNNC_CASE(ABS, f32_abs(x))
        BNNC_CASE(RECIPROCAL, 1.0f / x)
        BNNC_CASE(ERF, ISA(f32_erf)(x))
        BNNC_CASE(SOFTSIGN, x / (1.0f + f32_abs(x)))
        BNNC_CASE_LIBM(LOG, logf(x))
        BNNC_CASE_LIBM(FLOOR, floorf(x))
        BNNC_CASE_LIBM(CEIL, ceilf(x))
        BNNC_CASE_LIBM(ROUND, rintf(x))
        BNNC_CASE_LIBM(SOFTPLUS, ISA(softplus)(x))
        BNNC_CASE_LIBM(ELU, x >= 0 ? x : low * expm1f(x))
        BNNC_CASE_LIBM(SELU, high * (x >= 0 ? x : low * expm1f(x)))
        BNNC_CASE_LIBM(SIN, sinf(x))
        BNNC_CASE_LIBM(COS, cosf(x))
        BNNC_CASE_LIBM(ASIN, asinf(x))
        BNNC_CASE_LIBM(ACOS, acosf(x))
        BNNC_CASE_LIBM(ATAN, atanf(x))
        BNNC_CASE_LIBM(ASINH, asinhf(x))
        BNNC_CASE_LIBM(ACOSH, acoshf(x))
        BNNC_CASE_LIBM(ATANH, atanhf(x))
        BNNC_CASE_LIBM(SIGN, x > 0 ? 1.0f : x < 0 ? -1.0f : x == 0 ? low : low == 0 ? x : -1.0f)
#undef BNNC_CASE
#undef BNNC_CASE_LIBM
    default:
        break;
    }
}
