/* Copying rows of pixels: strided, with padding, and without reading outside the tensor. */

/* Two vectors of floats that follow each other, in the form that even and odd take.
 *
 * even, odd: every second one of them, from the first or from the second.
 * slide: the last lane of carry, then v without its last lane; slide_down: v without its first lane,
 * then the first lane of next.
 * interleave_*: a0 b0 a1 b1 ..., its first and its second vector.
 *
 * With vectors of 32 bytes, shuffles within 16-byte lanes are cheap everywhere, and those across lanes
 * are not: they take up to eight operations (Zen 1). So lanes are chosen by loading and storing halves. */
typedef struct {
    vf32 a, b;
} ISA(two);

#if BNNC_VEC_BYTES == 64
BNNC_INLINE vf32 ISA(even)(ISA(two) v) {
    __m512i order = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return (vf32)_mm512_permutex2var_ps((__m512)v.a, order, (__m512)v.b);
}
BNNC_INLINE vf32 ISA(odd)(ISA(two) v) {
    __m512i order = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return (vf32)_mm512_permutex2var_ps((__m512)v.a, order, (__m512)v.b);
}
BNNC_INLINE vf32 ISA(slide)(vf32 carry, vf32 v) {
    return (vf32)_mm512_alignr_epi32((__m512i)v, (__m512i)carry, 15);
}
BNNC_INLINE vf32 ISA(slide_down)(vf32 v, vf32 next) {
    return (vf32)_mm512_alignr_epi32((__m512i)next, (__m512i)v, 1);
}
BNNC_INLINE vf32 ISA(interleave_low)(vf32 a, vf32 b) {
    __m512i order = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    return (vf32)_mm512_permutex2var_ps((__m512)a, order, (__m512)b);
}
BNNC_INLINE vf32 ISA(interleave_high)(vf32 a, vf32 b) {
    __m512i order = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    return (vf32)_mm512_permutex2var_ps((__m512)a, order, (__m512)b);
}
#elif BNNC_VEC_BYTES == 32
/* Two halves as one vector. */
BNNC_INLINE vf32 ISA(join_halves)(__m128 low, __m128 high) {
    return (vf32)_mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
}
/* Their first halves are `a`, their second halves `b`. */
BNNC_INLINE ISA(two) ISA(two_of)(vf32 a, vf32 b) {
    __m128 a_high = _mm256_extractf128_ps((__m256)a, 1), b_high = _mm256_extractf128_ps((__m256)b, 1);
    return (ISA(two)){ISA(join_halves)(_mm256_castps256_ps128((__m256)a), _mm256_castps256_ps128((__m256)b)),
                      ISA(join_halves)(a_high, b_high)};
}
BNNC_INLINE ISA(two) ISA(load_two)(const float *from) {
    return (ISA(two)){ISA(join_halves)(_mm_loadu_ps(from), _mm_loadu_ps(from + 8)),
                      ISA(join_halves)(_mm_loadu_ps(from + 4), _mm_loadu_ps(from + 12))};
}
BNNC_INLINE vf32 ISA(even)(ISA(two) v) {
    return (vf32)_mm256_shuffle_ps((__m256)v.a, (__m256)v.b, 0x88);
}
BNNC_INLINE vf32 ISA(odd)(ISA(two) v) {
    return (vf32)_mm256_shuffle_ps((__m256)v.a, (__m256)v.b, 0xDD);
}
/* The second half of a, then the first half of b. */
BNNC_INLINE __m256i ISA(middle)(vf32 a, vf32 b) {
    return (__m256i)ISA(join_halves)(_mm256_extractf128_ps((__m256)a, 1), _mm256_castps256_ps128((__m256)b));
}
BNNC_INLINE vf32 ISA(slide)(vf32 carry, vf32 v) {
    return (vf32)_mm256_alignr_epi8((__m256i)v, ISA(middle)(carry, v), 12);
}
BNNC_INLINE vf32 ISA(slide_down)(vf32 v, vf32 next) {
    return (vf32)_mm256_alignr_epi8(ISA(middle)(v, next), (__m256i)v, 4);
}
BNNC_INLINE vf32 ISA(interleave_low)(vf32 a, vf32 b) {
    __m256 low = _mm256_unpacklo_ps((__m256)a, (__m256)b), high = _mm256_unpackhi_ps((__m256)a, (__m256)b);
    return (vf32)_mm256_permute2f128_ps(low, high, 0x20);
}
BNNC_INLINE vf32 ISA(interleave_high)(vf32 a, vf32 b) {
    __m256 low = _mm256_unpacklo_ps((__m256)a, (__m256)b), high = _mm256_unpackhi_ps((__m256)a, (__m256)b);
    return (vf32)_mm256_permute2f128_ps(low, high, 0x31);
}
#elif defined(__SSE2__)
BNNC_INLINE vf32 ISA(even)(ISA(two) v) {
    return (vf32)_mm_shuffle_ps((__m128)v.a, (__m128)v.b, 0x88);
}
BNNC_INLINE vf32 ISA(odd)(ISA(two) v) {
    return (vf32)_mm_shuffle_ps((__m128)v.a, (__m128)v.b, 0xDD);
}
BNNC_INLINE vf32 ISA(slide)(vf32 carry, vf32 v) {
    __m128 rotated = _mm_shuffle_ps((__m128)v, (__m128)v, 0x90);
    return (vf32)_mm_move_ss(rotated, _mm_shuffle_ps((__m128)carry, (__m128)carry, 0xFF));
}
BNNC_INLINE vf32 ISA(slide_down)(vf32 v, vf32 next) {
    __m128 rotated = _mm_move_ss((__m128)v, (__m128)next);
    return (vf32)_mm_shuffle_ps(rotated, rotated, 0x39);
}
BNNC_INLINE vf32 ISA(interleave_low)(vf32 a, vf32 b) {
    return (vf32)_mm_unpacklo_ps((__m128)a, (__m128)b);
}
BNNC_INLINE vf32 ISA(interleave_high)(vf32 a, vf32 b) {
    return (vf32)_mm_unpackhi_ps((__m128)a, (__m128)b);
}
#else
BNNC_INLINE vf32 ISA(even)(ISA(two) v) {
    return (vf32){v.a[0], v.a[2], v.b[0], v.b[2]};
}
BNNC_INLINE vf32 ISA(odd)(ISA(two) v) {
    return (vf32){v.a[1], v.a[3], v.b[1], v.b[3]};
}
BNNC_INLINE vf32 ISA(slide)(vf32 carry, vf32 v) {
    return (vf32){carry[3], v[0], v[1], v[2]};
}
BNNC_INLINE vf32 ISA(slide_down)(vf32 v, vf32 next) {
    return (vf32){v[1], v[2], v[3], next[0]};
}
BNNC_INLINE vf32 ISA(interleave_low)(vf32 a, vf32 b) {
    return (vf32){a[0], b[0], a[1], b[1]};
}
BNNC_INLINE vf32 ISA(interleave_high)(vf32 a, vf32 b) {
    return (vf32){a[2], b[2], a[3], b[3]};
}
#endif

#if BNNC_VEC_BYTES != 32
BNNC_INLINE ISA(two) ISA(two_of)(vf32 a, vf32 b) {
    return (ISA(two)){a, b};
}
BNNC_INLINE ISA(two) ISA(load_two)(const float *from) {
    return ISA(two_of)(f32_load(from), f32_load(from + BNNC_LANES));
}
#endif

/* Store a0 b0 a1 b1 ... */
BNNC_INLINE void ISA(store_interleaved)(float *to, vf32 a, vf32 b) {
#if BNNC_VEC_BYTES == 32
    __m256 low = _mm256_unpacklo_ps((__m256)a, (__m256)b), high = _mm256_unpackhi_ps((__m256)a, (__m256)b);
    _mm_storeu_ps(to, _mm256_castps256_ps128(low));
    _mm_storeu_ps(to + 4, _mm256_castps256_ps128(high));
    _mm_storeu_ps(to + 8, _mm256_extractf128_ps(low, 1));
    _mm_storeu_ps(to + 12, _mm256_extractf128_ps(high, 1));
#else
    f32_store(to, ISA(interleave_low)(a, b));
    f32_store(to + BNNC_LANES, ISA(interleave_high)(a, b));
#endif
}

/* Lane i is row[at + i] where that lies in [0, width), else that of `none`; nothing else is read. */
BNNC_INLINE vf32 ISA(load_window)(const float *row, int64_t at, int64_t width, vf32 none) {
    if (at >= 0 && at + BNNC_LANES <= width)
        return f32_load(row + at);
#if BNNC_VEC_BYTES == 64
    const int64_t low = BNNC_MIN(BNNC_MAX(-at, 0), 16), high = BNNC_MIN(BNNC_MAX(width - at, 0), 16);
    __mmask16 inside = (__mmask16)(((1u << high) - 1u) & ~((1u << low) - 1u));
    return (vf32)_mm512_mask_loadu_ps((__m512)none, inside, row + at);
#elif BNNC_VEC_BYTES == 32
    const int low = (int)BNNC_MIN(BNNC_MAX(-at, -1), 8), high = (int)BNNC_MAX(BNNC_MIN(width - at, 8), 0);
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i inside = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(low), lane),
                                         _mm256_cmpgt_epi32(_mm256_set1_epi32(high), lane));
    return f32_select((vi32)inside, (vf32)_mm256_maskload_ps(row + at, inside), none);
#else
    for (int64_t i = 0; i < BNNC_LANES; i++)
        if (at + i >= 0 && at + i < width)
            none[i] = row[at + i];
    return none;
#endif
}

/* to[i] = value for 0 <= i < count; up to a vector behind that is overwritten. */
BNNC_INLINE void ISA(fill_row)(float *to, float value, int64_t count) {
    for (int64_t i = 0; i < count; i += BNNC_LANES)
        f32_store(to + i, f32_set(value));
}

/* to[i] = from[i * stride] for 0 <= i < count; up to a vector behind that is overwritten. Nothing
 * at or behind `end` is read. */
BNNC_INLINE void ISA(take_row)(float *restrict to, const float *from, const float *end, int64_t count, int32_t stride) {
    int64_t i = 0;
    if (stride == 1) {
        int64_t safe = BNNC_MIN(count, end - from - (BNNC_LANES - 1));
        for (; i < safe; i += BNNC_LANES)
            f32_store(to + i, f32_load(from + i));
    } else if (stride == 2) {
        int64_t safe = BNNC_MIN(count, (end - from) / 2 - (BNNC_LANES - 1));
        for (; i < safe; i += BNNC_LANES)
            f32_store(to + i, ISA(even)(ISA(load_two)(from + 2 * i)));
    }
    for (; i < count; i++)
        to[i] = from[i * stride];
}

/* Outputs [low, high) of a row find their input inside it. */
typedef struct {
    int64_t low, high;
} ISA(span);

/* The x with 0 <= x * stride + shift < width. */
BNNC_INLINE ISA(span) ISA(span_inside)(int64_t width, int32_t stride, int64_t shift) {
    if (stride == 1)
        return (ISA(span)){-shift, width - shift};
    int64_t low = shift < 0 ? (stride - 1 - shift) / stride : 0;
    int64_t high = width - 1 < shift ? 0 : (width - 1 - shift) / stride + 1;
    return (ISA(span)){low, high};
}

/* The part [begin, end) of a row, strided and padded with zeros at both sides:
 * to[x - begin] = row[x * stride + shift] where that lies in the row, else 0. */
BNNC_INLINE void ISA(padded_row)(float *restrict to, const float *row, const float *tensor_end, ISA(span) inside,
                                 int64_t begin, int64_t end, int32_t stride, int64_t shift) {
    int64_t low = BNNC_MIN(BNNC_MAX(inside.low, begin), end), high = BNNC_MAX(BNNC_MIN(inside.high, end), low);
    if (low > begin)
        ISA(fill_row)(to, 0, low - begin);
    ISA(take_row)(to + (low - begin), row + low * stride + shift, tensor_end, high - low, stride);
    if (end > high)
        ISA(fill_row)(to + (high - begin), 0, end - high);
}

/* How to take pixels [first, first + count) of an image as wide as a plane of ih x iw, shifted: the i-th
 * of them is the plane's pixel at row (first + i) / iw + up, column (first + i) % iw + shift, or 0 outside.
 * That is one copy, whatever the width, and the columns that are padding zeroed behind it. */
typedef struct {
    int64_t count;
    int64_t low, high;       /* pixels whose row is inside */
    int64_t offset;          /* of the input of pixel 0 in the plane */
    int64_t column, columns; /* padding: pixel `column` and so many behind it, in every row of `width` */
    int64_t width;
} ISA(flat);

BNNC_INLINE ISA(flat) ISA(plan_flat)(int64_t ih, int64_t iw, int64_t first, int64_t count, int64_t up, int64_t shift) {
    int64_t low = BNNC_MIN(BNNC_MAX(-up * iw - first, 0), count);
    int64_t high = BNNC_MAX(BNNC_MIN((ih - up) * iw - first, count), low);
    int64_t columns = BNNC_MIN(shift < 0 ? -shift : shift, iw);
    int64_t column = (shift < 0 ? 0 : iw - columns) - first % iw;
    return (ISA(flat)){count, low, high, first + up * iw + shift, column < 0 ? column + iw : column, columns, iw};
}

/* The tensor that holds the plane is [begin, end). */
BNNC_INLINE void ISA(take_flat)(const ISA(flat) *f, float *restrict to, const float *plane, const float *begin,
                                const float *end) {
    const float *from = plane + f->offset;
    /* What would lie before the tensor, or behind it, is padding at a side. */
    int64_t low = BNNC_MIN(BNNC_MAX(f->low, begin - from), f->high), high = BNNC_MIN(f->high, end - from);
    if (low > 0)
        ISA(fill_row)(to, 0, low);
    ISA(take_row)(to + low, from + low, end, high - low, 1);
    if (f->high < f->count)
        ISA(fill_row)(to + f->high, 0, f->count - f->high);
    for (int64_t k = 0; k < f->columns; k++)
        for (int64_t i = f->column + k < f->width ? f->column + k : f->column + k - f->width; i < f->count;
             i += f->width)
            to[i] = 0;
}
