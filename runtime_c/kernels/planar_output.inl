/* From planes of sums to what the layer stores.
 *
 * A sum q counts the products that are +1; of n products the accumulator is 2 * q - n.
 *
 * A threshold is decided on the planes themselves: 2 * q - n >= t where q reaches some constant, which
 * is the carry out of an addition. Anything else needs numbers: bit k of eight planes' bytes becomes
 * byte k by transposing 8 x 8 bits, and 16-bit sums of a tile's pixels are laid out so that widening
 * them with an interleave yields floats of pixels that are neighbours.
 */

/* ---- planes to 16-bit sums ---- */

#if BNNC_PLANAR_BYTES == 64

BNNC_INLINE __m512i PLANAR(octets)(__m512i rows) {
    /* Byte i of the constant is 1 << i, so byte i of a product takes bit i of every row. */
    const __m512i columns = _mm512_set1_epi64((int64_t)0x8040201008040201u);
    return _mm512_gf2p8affine_epi64_epi8(columns, rows, 0);
}

/* Bytes of eight planes, missing ones zero: lane l of bytes[t] holds pixels 128 * l + 16 * t on. */
BNNC_INLINE void PLANAR(plane_bytes)(const vbits *planes, int count, vbits *bytes) {
    __m512i p[8], pairs[8], fours[8];
    for (int k = 0; k < 8; k++)
        p[k] = 7 - k < count ? (__m512i)planes[7 - k] : _mm512_setzero_si512();
    for (int k = 0; k < 4; k++) {
        pairs[k] = _mm512_unpacklo_epi8(p[2 * k], p[2 * k + 1]);
        pairs[k + 4] = _mm512_unpackhi_epi8(p[2 * k], p[2 * k + 1]);
    }
    for (int half = 0; half < 2; half++)
        for (int k = 0; k < 2; k++) {
            fours[4 * half + k] = _mm512_unpacklo_epi16(pairs[4 * half + 2 * k], pairs[4 * half + 2 * k + 1]);
            fours[4 * half + 2 + k] = _mm512_unpackhi_epi16(pairs[4 * half + 2 * k], pairs[4 * half + 2 * k + 1]);
        }
    for (int k = 0; k < 4; k++) {
        bytes[2 * k] = (vbits)PLANAR(octets)(_mm512_unpacklo_epi32(fours[2 * k], fours[2 * k + 1]));
        bytes[2 * k + 1] = (vbits)PLANAR(octets)(_mm512_unpackhi_epi32(fours[2 * k], fours[2 * k + 1]));
    }
}

/* Sums as words in the order of the pixels. */
static void PLANAR(natural_words)(const vbits *planes, int count, uint16_t *words) {
    vbits low[8], high[8] = {{0}};
    PLANAR(plane_bytes)(planes, 8, low);
    PLANAR(plane_bytes)(planes + 8, count - 8, high);
    for (int t = 0; t < 8; t++) {
        uint8_t l[64], h[64];
        memcpy(l, low + t, sizeof l);
        memcpy(h, high + t, sizeof h);
        for (int i = 0; i < 64; i++)
            words[i / 16 * 128 + 16 * t + i % 16] = (uint16_t)(l[i] | h[i] << 8);
    }
}

#else

/* Interleave the lower or the upper halves of 16-byte lanes, element by element. */
#if BNNC_PLANAR_BYTES == 32
#define BNNC_INTERLEAVE(half, bits, a, b) ((vbits)_mm256_unpack##half##_epi##bits((__m256i)(a), (__m256i)(b)))
#elif defined(__SSE2__)
#define BNNC_INTERLEAVE(half, bits, a, b) ((vbits)_mm_unpack##half##_epi##bits((__m128i)(a), (__m128i)(b)))
#else
BNNC_INLINE vbits PLANAR(interleave)(vbits a, vbits b, int size, int upper) {
    uint8_t from[2][16], to[16];
    memcpy(from[0], &a, 16);
    memcpy(from[1], &b, 16);
    for (int i = 0; i < 16; i++)
        to[i] = from[i / size % 2][i / size / 2 * size + i % size + upper];
    vbits v;
    memcpy(&v, to, 16);
    return v;
}
#define BNNC_INTERLEAVE_lo 0
#define BNNC_INTERLEAVE_hi 8
#define BNNC_INTERLEAVE(half, bits, a, b) PLANAR(interleave)(a, b, (bits) / 8, BNNC_INTERLEAVE_##half)
#endif

/* Swap the blocks across the diagonal of pairs of rows `step` apart. */
BNNC_INLINE void PLANAR(swap_bits)(vbits *rows, int count, int step, uint64_t mask) {
    for (int k = 0; k < count; k++)
        if (!(k & step)) {
            vbits t = (rows[k] >> step ^ rows[k + step]) & mask;
            rows[k + step] ^= t;
            rows[k] ^= t << step;
        }
}

/* Bytes of up to eight planes: byte b of rows[i] holds pixel 8 * b + i. */
BNNC_INLINE void PLANAR(plane_bytes)(const vbits *planes, int count, vbits *rows) {
    int present = count > 4 ? 8 : 4;
    for (int k = 0; k < present; k++)
        rows[k] = k < count ? planes[k] : (vbits){0};
    PLANAR(swap_bits)(rows, present, 1, 0x5555555555555555u);
    PLANAR(swap_bits)(rows, present, 2, 0x3333333333333333u);
    if (present == 8) {
        PLANAR(swap_bits)(rows, 8, 4, 0x0F0F0F0F0F0F0F0Fu);
    } else {
        for (int k = 0; k < 4; k++) {
            rows[k + 4] = rows[k] >> 4 & 0x0F0F0F0F0F0F0F0Fu;
            rows[k] &= 0x0F0F0F0F0F0F0F0Fu;
        }
    }
}

/* Rows 4 * half on of plane_bytes, so that four pixels in a row come together in a 16-byte lane; in
 * wider vectors the other four of the same eight stand in the other lane. fours[i] holds them for four
 * times eight pixels. */
BNNC_INLINE void PLANAR(gather_fours)(const vbits *rows, int half, vbits *fours) {
    vbits r[4];
    for (int k = 0; k < 4; k++) {
#if BNNC_PLANAR_BYTES == 32
        r[k] = (vbits)(half ? _mm256_permute2x128_si256((__m256i)rows[k], (__m256i)rows[k + 4], 0x31)
                            : _mm256_permute2x128_si256((__m256i)rows[k], (__m256i)rows[k + 4], 0x20));
#else
        r[k] = rows[4 * half + k];
#endif
    }
    vbits a = BNNC_INTERLEAVE(lo, 8, r[0], r[1]), b = BNNC_INTERLEAVE(lo, 8, r[2], r[3]);
    vbits c = BNNC_INTERLEAVE(hi, 8, r[0], r[1]), d = BNNC_INTERLEAVE(hi, 8, r[2], r[3]);
    fours[0] = BNNC_INTERLEAVE(lo, 16, a, b);
    fours[1] = BNNC_INTERLEAVE(hi, 16, a, b);
    fours[2] = BNNC_INTERLEAVE(lo, 16, c, d);
    fours[3] = BNNC_INTERLEAVE(hi, 16, c, d);
}

/* Sums as words. Of words[8 * half + k], 16-byte lane j holds pixels 8 * i to 8 * i + 3 and those eight
 * behind, shifted by 4 * j, where i = 2 * k (+ 16 for the second half) and half is 0; where vectors are
 * 16 bytes the second half stands for the shift. */
BNNC_INLINE void PLANAR(words)(const vbits *planes, int count, vbits *words) {
    vbits low[8], high[8], fours[4], high_fours[4];
    PLANAR(plane_bytes)(planes, 8, low);
    PLANAR(plane_bytes)(planes + 8, count - 8, high);
    for (int half = 0; half < 2; half++) {
        PLANAR(gather_fours)(low, half, fours);
        PLANAR(gather_fours)(high, half, high_fours);
        for (int k = 0; k < 4; k++) {
            words[8 * half + 2 * k] = BNNC_INTERLEAVE(lo, 8, fours[k], high_fours[k]);
            words[8 * half + 2 * k + 1] = BNNC_INTERLEAVE(hi, 8, fours[k], high_fours[k]);
        }
    }
}

/* Sums as words in the order of the pixels. */
static void PLANAR(natural_words)(const vbits *planes, int count, uint16_t *to) {
    vbits words[16];
    if (count > 12)
        PLANAR(words)(planes, 16, words);
    else
        PLANAR(words)(planes, 12, words);
    for (int k = 0; k < 8; k++) {
#if BNNC_PLANAR_BYTES == 32
        for (int half = 0; half < 2; half++)
            *(vbits_any *)(to + 128 * half + 16 * k) =
                (vbits)_mm256_permute4x64_epi64((__m256i)words[8 * half + k], 0xD8);
#else
        *(vbits_any *)(to + 16 * k) = BNNC_INTERLEAVE(lo, 64, words[k], words[8 + k]);
        *(vbits_any *)(to + 16 * k + 8) = BNNC_INTERLEAVE(hi, 64, words[k], words[8 + k]);
#endif
    }
}
#endif

/* ---- thresholds ---- */

/* The pixels whose sum is at least `least`: the carry out of sum + ~least + 1. */
static vbits PLANAR(at_least)(const vbits *planes, int32_t count, int64_t least) {
    vbits none = {0}, carry = ~none;
    if (least <= 0)
        return carry;
    if (least >> count)
        return none;
    for (int32_t k = 0; k < count; k++) {
        vbits bit = none - (uint64_t)(~least >> k & 1);
        carry = (planes[k] & (carry | bit)) | (carry & bit);
    }
    return carry;
}

/* ---- the residual block ---- */

/* relu? affine add store sign?, with the affine step's numbers for twice the value. */
typedef struct {
    int relu, sign;
    const bnnc_step *affine, *add, *store, *sign_step;
} PLANAR(residual);

typedef float PLANAR(floats) __attribute__((vector_size(BNNC_PLANAR_BYTES)));
typedef float PLANAR(floats_any) __attribute__((vector_size(BNNC_PLANAR_BYTES), aligned(1), may_alias));
#define vfloats PLANAR(floats)
#define vfloats_any PLANAR(floats_any)

BNNC_INLINE vfloats PLANAR(set_floats)(float x) {
    return x - (vfloats){0};
}

/* The product before it is added to something; see f32_rounded. */
BNNC_INLINE vfloats PLANAR(rounded)(vfloats product) {
#if BNNC_VEC_BYTES == 64
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

/* A word in the lower half of these bits makes the float 2^23 + word. */
#define BNNC_MAGIC_BITS 0x4B000000
#define BNNC_MAGIC 8388608.0f

/* What a channel's values go through. With h = n / 2, the accumulator is 2 * (q - h), and scaling by 2
 * is exact, so its product with a is (q - h) * 2a. Taking 2^23 + h off 2^23 + q is exact too. After
 * relu h is off already, and 2^23 * 2a leaves with the one rounding of a fused multiply-add. */
typedef struct {
    vfloats offset, scale, bias, threshold;
} PLANAR(channel);

BNNC_INLINE PLANAR(channel) PLANAR(channel_of)(const PLANAR(residual) * r, int32_t half, int32_t c) {
    const float a = ((const float *)r->affine->a)[c], b = ((const float *)r->affine->b)[c];
    PLANAR(channel) k;
    k.scale = PLANAR(set_floats)(2 * a);
    k.bias = PLANAR(set_floats)(b);
    k.threshold = PLANAR(set_floats)(r->sign ? ((const float *)r->sign_step->a)[c] : 0);
#if BNNC_PLANAR_BYTES > 16
    k.offset = PLANAR(set_floats)(r->relu ? -BNNC_MAGIC * (2 * a) : BNNC_MAGIC + (float)half);
#else
    k.offset = PLANAR(set_floats)(r->relu ? BNNC_MAGIC : BNNC_MAGIC + (float)half);
#endif
    return k;
}

/* The affine step's value of 2^23 + q (+ h less, after relu). */
BNNC_INLINE vfloats PLANAR(affine)(vfloats x, const PLANAR(channel) * k, int relu) {
#if BNNC_PLANAR_BYTES == 64
    if (relu)
        return (vfloats)_mm512_fmadd_ps((__m512)x, (__m512)k->scale, (__m512)k->offset) + k->bias;
#elif BNNC_PLANAR_BYTES == 32
    if (relu)
        return (vfloats)_mm256_fmadd_ps((__m256)x, (__m256)k->scale, (__m256)k->offset) + k->bias;
#endif
    (void)relu;
    return PLANAR(rounded)((x - k->offset) * k->scale) + k->bias;
}

/* Bit i is lane i of v >= t. */
BNNC_INLINE uint32_t PLANAR(compare)(vfloats v, vfloats t) {
#if BNNC_PLANAR_BYTES == 64
    return _mm512_cmp_ps_mask((__m512)v, (__m512)t, _CMP_GE_OQ);
#elif BNNC_PLANAR_BYTES == 32
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps((__m256)v, (__m256)t, _CMP_GE_OQ));
#elif defined(__SSE2__)
    return (uint32_t)_mm_movemask_ps(_mm_cmpge_ps((__m128)v, (__m128)t));
#else
    uint32_t bits = 0;
    for (int i = 0; i < 4; i++)
        bits |= (uint32_t)(v[i] >= t[i]) << i;
    return bits;
#endif
}

/* Some pixels from `at` on: add, store and decide. */
BNNC_INLINE uint32_t PLANAR(finish_floats)(vfloats x, const PLANAR(channel) * k, const float *add, float *store,
                                           int64_t at, int relu, int sign) {
    vfloats y = PLANAR(affine)(x, k, relu) + *(const vfloats_any *)(add + at);
    *(vfloats_any *)(store + at) = y;
    return sign ? PLANAR(compare)(y, k->threshold) : 0;
}

#if BNNC_PLANAR_BYTES == 64

/* planes -= half, or all zero where that is negative. */
BNNC_INLINE void PLANAR(rectify)(const vbits *planes, int32_t count, int32_t half, vbits *to) {
    vbits none = {0}, carry = ~none;
    for (int32_t k = 0; k < count; k++) {
        vbits bit = none - (uint64_t)(~half >> k & 1);
        to[k] = (vbits)_mm512_ternarylogic_epi64((__m512i)planes[k], (__m512i)bit, (__m512i)carry, 0x96);
        carry = (vbits)_mm512_ternarylogic_epi64((__m512i)planes[k], (__m512i)bit, (__m512i)carry, 0xE8);
    }
    for (int32_t k = 0; k < count; k++)
        to[k] &= carry;
}

BNNC_INLINE void PLANAR(residual_row)(const vbits *planes, int32_t count, int32_t half, const PLANAR(channel) * k,
                                      const float *add, float *store, uint8_t *bits, int relu, int sign) {
    vbits all[16], low[8], high[8];
    if (relu)
        PLANAR(rectify)(planes, count, half, all);
    else
        memcpy(all, planes, (size_t)count * sizeof *all);
    for (int32_t i = count; i < 12; i++)
        all[i] = (vbits){0};
    PLANAR(plane_bytes)(all, 8, low);
    if (count <= 10)
        PLANAR(plane_bytes)(all + 8, 2, high);
    else if (count <= 12)
        PLANAR(plane_bytes)(all + 8, 4, high);
    else {
        for (int32_t i = BNNC_MAX(count, 12); i < 16; i++)
            all[i] = (vbits){0};
        PLANAR(plane_bytes)(all + 8, 8, high);
    }
    /* Lane i of the l-th: bytes i of 16-byte lane l of the low and of the high bytes; the upper half,
     * which no mask selects, is left to make the float. */
    __m512i index[4];
    const __m512i ramp = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    for (int l = 0; l < 4; l++)
        index[l] = _mm512_add_epi32(_mm512_add_epi32(ramp, _mm512_slli_epi32(ramp, 8)),
                                    _mm512_set1_epi32(BNNC_MAGIC_BITS + 0x4000 + 0x1010 * l));
    const __mmask64 lower = 0x3333333333333333u;
    for (int t = 0; t < 8; t++)
        for (int l = 0; l < 4; l++) {
            vfloats x = (vfloats)_mm512_mask2_permutex2var_epi8((__m512i)low[t], index[l], lower, (__m512i)high[t]);
            uint16_t some = (uint16_t)PLANAR(finish_floats)(x, k, add, store, 128 * l + 16 * t, relu, sign);
            if (sign)
                memcpy(bits + 16 * l + 2 * t, &some, sizeof some);
        }
}

#else

/* words - half, or zero where that is negative. */
BNNC_INLINE vbits PLANAR(rectify)(vbits words, int32_t half) {
    typedef uint16_t some_words __attribute__((vector_size(BNNC_PLANAR_BYTES)));
    some_words h = (uint16_t)half - (some_words){0};
#if BNNC_PLANAR_BYTES == 32
    return (vbits)_mm256_subs_epu16((__m256i)words, (__m256i)h);
#elif defined(__SSE2__)
    return (vbits)_mm_subs_epu16((__m128i)words, (__m128i)h);
#else
    some_words w = (some_words)words;
    return (vbits)((w - h) & (some_words)(w > h));
#endif
}

BNNC_INLINE void PLANAR(residual_row)(const vbits *planes, int32_t count, int32_t half, const PLANAR(channel) * k,
                                      const float *add, float *store, uint8_t *bits, int relu, int sign) {
    vbits words[16];
    const vbits magic = (uint64_t)0x4B004B004B004B00u - (vbits){0};
    if (count > 12)
        PLANAR(words)(planes, 16, words);
    else
        PLANAR(words)(planes, 12, words);
    for (int i = 0; i < 16; i++) {
#if BNNC_PLANAR_BYTES == 32
        const vbits w = relu ? PLANAR(rectify)(words[i], half) : words[i];
        const int octet = i / 8 * 16 + i % 8 * 2;
        vfloats x0 = (vfloats)BNNC_INTERLEAVE(lo, 16, w, magic), x1 = (vfloats)BNNC_INTERLEAVE(hi, 16, w, magic);
        uint32_t b0 = PLANAR(finish_floats)(x0, k, add, store, 8 * octet, relu, sign);
        uint32_t b1 = PLANAR(finish_floats)(x1, k, add, store, 8 * octet + 8, relu, sign);
        if (sign) {
            bits[octet] = (uint8_t)b0;
            bits[octet + 1] = (uint8_t)b1;
        }
#else
        const int octet = i;
        vbits w0 = words[octet / 2], w1 = words[8 + octet / 2];
        if (relu) {
            w0 = PLANAR(rectify)(w0, half);
            w1 = PLANAR(rectify)(w1, half);
        }
        vfloats x0 = (vfloats)(octet % 2 ? BNNC_INTERLEAVE(hi, 16, w0, magic) : BNNC_INTERLEAVE(lo, 16, w0, magic));
        vfloats x1 = (vfloats)(octet % 2 ? BNNC_INTERLEAVE(hi, 16, w1, magic) : BNNC_INTERLEAVE(lo, 16, w1, magic));
        uint32_t b0 = PLANAR(finish_floats)(x0, k, add, store, 8 * octet, relu, sign);
        uint32_t b1 = PLANAR(finish_floats)(x1, k, add, store, 8 * octet + 4, relu, sign);
        if (sign)
            bits[octet] = (uint8_t)(b0 | b1 << 4);
#endif
    }
}

#endif
