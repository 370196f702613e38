/* Vectors of BNNC_VEC_BYTES bytes: types, loads, stores and the operations C has no operator for.
 *
 * The types are GCC vector extensions, so + - * & | ^ ~ << >> and comparisons work on them;
 * a comparison gives all ones or zero in integer lanes.
 */
#define vf32 ISA(vf32)
#define vi32 ISA(vi32)
#define vu32 ISA(vu32)
#define vi16 ISA(vi16)
#define vu16 ISA(vu16)
#define vi8 ISA(vi8)
#define vu8 ISA(vu8)
#define vi64 ISA(vi64)
#define vu64 ISA(vu64)
#define vf32_any ISA(vf32_any)
#define vi32_any ISA(vi32_any)
#define vu8_any ISA(vu8_any)
#define vu64_any ISA(vu64_any)

#define f32_load ISA(f32_load)
#define f32_store ISA(f32_store)
#define f32_load_n ISA(f32_load_n)
#define f32_load_some ISA(f32_load_some)
#define f32_store_some ISA(f32_store_some)
#define f32_store_n ISA(f32_store_n)
#define f32_first ISA(f32_first)
#define f32_set ISA(f32_set)
#define f32_max ISA(f32_max)
#define f32_min ISA(f32_min)
#define f32_fma ISA(f32_fma)
#define f32_accumulate ISA(f32_accumulate)
#define f32_sqrt ISA(f32_sqrt)
#define f32_reciprocal ISA(f32_reciprocal)
#define f32_rounded ISA(f32_rounded)
#define f32_select ISA(f32_select)
#define f32_sum ISA(f32_sum)
#define f32_from_i32 ISA(f32_from_i32)
#define f32_as_i32 ISA(f32_as_i32)
#define i32_as_f32 ISA(i32_as_f32)
#define f32_compare_bits ISA(f32_compare_bits)
#define i32_load ISA(i32_load)
#define i32_store ISA(i32_store)
#define i32_set ISA(i32_set)
#define i32_ge_bits ISA(i32_ge_bits)
#define u8_load ISA(u8_load)
#define u8_store ISA(u8_store)
#define u64_load ISA(u64_load)
#define u64_store ISA(u64_store)

/* float or 32-bit integer lanes in a vector */
#define BNNC_LANES (BNNC_VEC_BYTES / 4)

#define BNNC_VECTOR __attribute__((vector_size(BNNC_VEC_BYTES)))
#define BNNC_VECTOR_ANY __attribute__((vector_size(BNNC_VEC_BYTES), aligned(1), may_alias))

typedef float vf32 BNNC_VECTOR;
typedef int32_t vi32 BNNC_VECTOR;
typedef uint32_t vu32 BNNC_VECTOR;
typedef int16_t vi16 BNNC_VECTOR;
typedef uint16_t vu16 BNNC_VECTOR;
typedef int8_t vi8 BNNC_VECTOR;
typedef uint8_t vu8 BNNC_VECTOR;
typedef int64_t vi64 BNNC_VECTOR;
typedef uint64_t vu64 BNNC_VECTOR;
/* the same, in memory of any type and alignment */
typedef float vf32_any BNNC_VECTOR_ANY;
typedef int32_t vi32_any BNNC_VECTOR_ANY;
typedef uint8_t vu8_any BNNC_VECTOR_ANY;
typedef uint64_t vu64_any BNNC_VECTOR_ANY;

#undef BNNC_VECTOR
#undef BNNC_VECTOR_ANY

BNNC_INLINE vf32 f32_load(const void *p) {
    return *(const vf32_any *)p;
}
BNNC_INLINE void f32_store(void *p, vf32 v) {
    *(vf32_any *)p = v;
}
BNNC_INLINE vi32 i32_load(const void *p) {
    return *(const vi32_any *)p;
}
BNNC_INLINE void i32_store(void *p, vi32 v) {
    *(vi32_any *)p = v;
}
BNNC_INLINE vu8 u8_load(const void *p) {
    return *(const vu8_any *)p;
}
BNNC_INLINE void u8_store(void *p, vu8 v) {
    *(vu8_any *)p = v;
}
BNNC_INLINE vu64 u64_load(const void *p) {
    return *(const vu64_any *)p;
}
BNNC_INLINE void u64_store(void *p, vu64 v) {
    *(vu64_any *)p = v;
}

BNNC_INLINE vf32 f32_set(float x) {
    return x - (vf32){0};
}
BNNC_INLINE vi32 i32_set(int32_t x) {
    return x - (vi32){0};
}
BNNC_INLINE vi32 f32_as_i32(vf32 v) {
    return (vi32)v;
}
BNNC_INLINE vf32 i32_as_f32(vi32 v) {
    return (vf32)v;
}

/* The product before it is added to something, so that no compiler makes one rounding of two:
 * the same bits on every instruction set, and the interpreter's. */
BNNC_INLINE vf32 f32_rounded(vf32 product) {
#if defined(__x86_64__) && BNNC_VEC_BYTES == 64
    __asm__("" : "+v"(product));
#elif defined(__x86_64__)
    __asm__("" : "+x"(product));
#elif defined(__aarch64__)
    __asm__("" : "+w"(product));
#else
    __asm__("" : "+m"(product));
#endif
    return product;
}

/* a where mask is ones, b where it is zero */
BNNC_INLINE vf32 f32_select(vi32 mask, vf32 a, vf32 b) {
    return (vf32)(((vi32)a & mask) | ((vi32)b & ~mask));
}

/* 1 / v for normal v whose reciprocal is normal, to a unit in the last place: an estimate and a step of
 * Newton's, where the estimate is good enough. */
BNNC_INLINE vf32 f32_reciprocal(vf32 v) {
#if BNNC_VEC_BYTES == 64
    __m512 estimate = _mm512_rcp14_ps((__m512)v);
    __m512 error = _mm512_fnmadd_ps((__m512)v, estimate, _mm512_set1_ps(1.0f));
    return (vf32)_mm512_fmadd_ps(estimate, error, estimate);
#else
    return 1.0f / v;
#endif
}

BNNC_INLINE vf32 f32_from_i32(vi32 v) {
    return __builtin_convertvector(v, vf32);
}

/* f32_max(a, b) is a > b ? a : b, f32_min(a, b) is a < b ? a : b: b where either is NaN.
 * f32_fma(a, b, c) is a * b + c, with one rounding where the processor can.
 * f32_compare_bits: bit i is lane i of `v compare t`.
 * f32_load_n, f32_store_n: the first n lanes only, 0 <= n <= BNNC_LANES; the rest load as 0.
 * f32_first: the first n lanes, and 0 for the rest. */
#if BNNC_VEC_BYTES == 64
BNNC_INLINE vf32 f32_max(vf32 a, vf32 b) {
    return (vf32)_mm512_max_ps((__m512)a, (__m512)b);
}
BNNC_INLINE vf32 f32_min(vf32 a, vf32 b) {
    return (vf32)_mm512_min_ps((__m512)a, (__m512)b);
}
BNNC_INLINE vf32 f32_fma(vf32 a, vf32 b, vf32 c) {
    return (vf32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
BNNC_INLINE vf32 f32_sqrt(vf32 v) {
    return (vf32)_mm512_sqrt_ps((__m512)v);
}
BNNC_INLINE uint32_t f32_compare_bits(vf32 v, vf32 t, int compare) {
    __m512 a = (__m512)v, b = (__m512)t;
    switch (compare) {
    case BNNC_GE:
        return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
    case BNNC_GT:
        return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
    case BNNC_NLT:
        return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ);
    default:
        return _mm512_cmp_ps_mask(a, b, _CMP_NLE_UQ);
    }
}
BNNC_INLINE uint32_t i32_ge_bits(vi32 v, vi32 t) {
    return _mm512_cmpge_epi32_mask((__m512i)v, (__m512i)t);
}
BNNC_INLINE vf32 f32_load_n(const void *p, int64_t n) {
    return (vf32)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
}
BNNC_INLINE void f32_store_n(void *p, vf32 v, int64_t n) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), (__m512)v);
}
BNNC_INLINE vf32 f32_first(vf32 v, int64_t n) {
    return (vf32)_mm512_maskz_mov_ps((__mmask16)((1u << n) - 1u), (__m512)v);
}
#else
#if BNNC_VEC_BYTES == 32
BNNC_INLINE __m256i ISA(first_lanes)(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
BNNC_INLINE vf32 f32_load_n(const void *p, int64_t n) {
    return (vf32)_mm256_maskload_ps(p, ISA(first_lanes)(n));
}
BNNC_INLINE void f32_store_n(void *p, vf32 v, int64_t n) {
    _mm256_maskstore_ps(p, ISA(first_lanes)(n), (__m256)v);
}
BNNC_INLINE vf32 f32_first(vf32 v, int64_t n) {
    return (vf32)((__m256i)v & ISA(first_lanes)(n));
}
BNNC_INLINE vf32 f32_max(vf32 a, vf32 b) {
    return (vf32)_mm256_max_ps((__m256)a, (__m256)b);
}
BNNC_INLINE vf32 f32_min(vf32 a, vf32 b) {
    return (vf32)_mm256_min_ps((__m256)a, (__m256)b);
}
BNNC_INLINE vf32 f32_fma(vf32 a, vf32 b, vf32 c) {
    return (vf32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
BNNC_INLINE vf32 f32_sqrt(vf32 v) {
    return (vf32)_mm256_sqrt_ps((__m256)v);
}
BNNC_INLINE uint32_t f32_compare_bits(vf32 v, vf32 t, int compare) {
    __m256 a = (__m256)v, b = (__m256)t;
    switch (compare) {
    case BNNC_GE:
        return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ));
    case BNNC_GT:
        return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ));
    case BNNC_NLT:
        return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NLT_UQ));
    default:
        return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NLE_UQ));
    }
}
BNNC_INLINE uint32_t i32_ge_bits(vi32 v, vi32 t) {
    return (uint32_t)_mm256_movemask_ps((__m256)(v >= t));
}
#else
BNNC_INLINE vf32 f32_load_n(const void *p, int64_t n) {
    const float *f = p;
    switch (n) {
    case 0:
        return (vf32){0};
    case 1:
        return (vf32){f[0]};
    case 2:
        return (vf32){f[0], f[1]};
    case 3:
        return (vf32){f[0], f[1], f[2]};
    default:
        return f32_load(p);
    }
}
BNNC_INLINE void f32_store_n(void *p, vf32 v, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        ((float *)p)[i] = v[i];
}
BNNC_INLINE vf32 f32_first(vf32 v, int64_t n) {
    for (int64_t i = n; i < BNNC_LANES; i++)
        v[i] = 0;
    return v;
}
#if defined(__SSE2__)
BNNC_INLINE vf32 f32_max(vf32 a, vf32 b) {
    return (vf32)_mm_max_ps((__m128)a, (__m128)b);
}
BNNC_INLINE vf32 f32_min(vf32 a, vf32 b) {
    return (vf32)_mm_min_ps((__m128)a, (__m128)b);
}
BNNC_INLINE vf32 f32_fma(vf32 a, vf32 b, vf32 c) {
    return a * b + c;
}
BNNC_INLINE vf32 f32_sqrt(vf32 v) {
    return (vf32)_mm_sqrt_ps((__m128)v);
}
BNNC_INLINE uint32_t f32_compare_bits(vf32 v, vf32 t, int compare) {
    __m128 a = (__m128)v, b = (__m128)t;
    switch (compare) {
    case BNNC_GE:
        return (uint32_t)_mm_movemask_ps(_mm_cmpge_ps(a, b));
    case BNNC_GT:
        return (uint32_t)_mm_movemask_ps(_mm_cmpgt_ps(a, b));
    case BNNC_NLT:
        return (uint32_t)_mm_movemask_ps(_mm_cmpnlt_ps(a, b));
    default:
        return (uint32_t)_mm_movemask_ps(_mm_cmpnle_ps(a, b));
    }
}
BNNC_INLINE uint32_t i32_ge_bits(vi32 v, vi32 t) {
    return (uint32_t)_mm_movemask_ps((__m128)(v >= t));
}
#else
BNNC_INLINE vf32 f32_max(vf32 a, vf32 b) {
    return f32_select(a > b, a, b);
}
BNNC_INLINE vf32 f32_min(vf32 a, vf32 b) {
    return f32_select(a < b, a, b);
}
BNNC_INLINE vf32 f32_fma(vf32 a, vf32 b, vf32 c) {
    return a * b + c;
}
BNNC_INLINE vf32 f32_sqrt(vf32 v) {
    for (int k = 0; k < BNNC_LANES; k++)
        v[k] = sqrtf(v[k]);
    return v;
}
BNNC_INLINE uint32_t i32_ge_bits(vi32 v, vi32 t) {
    vi32 one = (v >= t) & (vi32){1, 2, 4, 8};
    return (uint32_t)(one[0] | one[1] | one[2] | one[3]);
}
BNNC_INLINE uint32_t f32_compare_bits(vf32 v, vf32 t, int compare) {
    vi32 mask = compare == BNNC_GE ? v >= t : compare == BNNC_GT ? v > t : compare == BNNC_NLT ? ~(v < t) : ~(v <= t);
    return i32_ge_bits(mask & 1, i32_set(1));
}
#endif
#endif
#endif

/* *sum = f32_fma(a, b, *sum), in the register that holds it: where sixteen registers are all taken, GCC moves sums
 * about when it may choose between the forms of the instruction. */
BNNC_INLINE void f32_accumulate(vf32 *sum, vf32 a, vf32 b) {
#if BNNC_VEC_BYTES == 32
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(*sum) : "x"(a), "x"(b));
#else
    *sum = f32_fma(a, b, *sum);
#endif
}

/* f32_load_n and f32_store_n where `left` may be more than a vector. */
BNNC_INLINE vf32 f32_load_some(const void *p, int64_t left) {
    return left >= BNNC_LANES ? f32_load(p) : f32_load_n(p, left);
}
BNNC_INLINE void f32_store_some(void *p, vf32 v, int64_t left) {
    if (left >= BNNC_LANES)
        f32_store(p, v);
    else
        f32_store_n(p, v, left);
}

BNNC_INLINE float f32_sum(vf32 v) {
    float lanes[BNNC_LANES];
    memcpy(lanes, &v, sizeof lanes);
    for (int width = BNNC_LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lanes[i] += lanes[i + width];
    return lanes[0];
}
