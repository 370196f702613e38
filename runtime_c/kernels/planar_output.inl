/* From planes of sums to what the layer stores.
 *
 * A sum q counts the products that are +1; of n products the accumulator is 2 * q - n. The planes hold
 * q + start.
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

/* Bytes of up to eight planes: lane l of bytes[t] holds pixels 128 * l + 16 * t on. */
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

/* What vpermi2b takes from the low and the high bytes for pixels 16 * l on of a vector of each: two bytes
 * of every lane; those it leaves out are left as they stand here. */
BNNC_INLINE __m512i PLANAR(byte_pairs)(int l, int32_t left_out) {
    const __m512i ramp = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    __m512i pairs = _mm512_or_si512(ramp, _mm512_slli_epi32(ramp, 8));
    return _mm512_or_si512(pairs, _mm512_set1_epi32(left_out + 0x4000 + 0x1010 * l));
}
#define BNNC_LOWER_PAIRS 0x3333333333333333u

/* The accumulators, 2 * sum - products, in the order of the pixels. */
static void PLANAR(accumulators)(const vbits *planes, int32_t count, int32_t products, int32_t *to) {
    vbits low[8], high[8];
    PLANAR(plane_bytes)(planes, 8, low);
    if (count <= 12)
        PLANAR(plane_bytes)(planes + 8, 4, high);
    else
        PLANAR(plane_bytes)(planes + 8, 8, high);
    const __m512i n = _mm512_set1_epi32(products);
    for (int l = 0; l < 4; l++) {
        const __m512i pairs = PLANAR(byte_pairs)(l, 0);
        for (int t = 0; t < 8; t++) {
            __m512i sum = _mm512_mask2_permutex2var_epi8((__m512i)low[t], pairs, BNNC_LOWER_PAIRS, (__m512i)high[t]);
            _mm512_store_si512(to + 128 * l + 16 * t, _mm512_sub_epi32(_mm512_add_epi32(sum, sum), n));
        }
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

/* swap_bits where the second rows of all pairs are still zero. */
BNNC_INLINE void PLANAR(spread_bits)(vbits *rows, int step, uint64_t mask) {
    for (int k = 0; k < step; k++) {
        rows[k + step] = rows[k] >> step & mask;
        rows[k] &= mask;
    }
}

/* Bytes of 2, 4 or 8 planes: byte b of rows[i] holds pixel 8 * b + i. */
BNNC_INLINE void PLANAR(transpose)(const vbits *planes, int count, vbits *rows) {
    for (int k = 0; k < count; k++)
        rows[k] = planes[k];
    PLANAR(swap_bits)(rows, count, 1, 0x5555555555555555u);
    if (count == 2)
        PLANAR(spread_bits)(rows, 2, 0x3333333333333333u);
    else
        PLANAR(swap_bits)(rows, count, 2, 0x3333333333333333u);
    if (count < 8)
        PLANAR(spread_bits)(rows, 4, 0x0F0F0F0F0F0F0F0Fu);
    else
        PLANAR(swap_bits)(rows, 8, 4, 0x0F0F0F0F0F0F0F0Fu);
}

/* Steps of their own, since together they would need more registers than there are. */
static __attribute__((noinline)) void PLANAR(transpose_8)(const vbits *planes, vbits *rows) {
    PLANAR(transpose)(planes, 8, rows);
}
static __attribute__((noinline)) void PLANAR(transpose_4)(const vbits *planes, vbits *rows) {
    PLANAR(transpose)(planes, 4, rows);
}
static __attribute__((noinline)) void PLANAR(transpose_2)(const vbits *planes, vbits *rows) {
    PLANAR(transpose)(planes, 2, rows);
}

/* Rows 4 * half on of transpose, so that four pixels in a row come together in a 16-byte lane; in
 * wider vectors the other four of the same eight stand in the other lane. fours[i] holds them for four
 * times eight pixels. */
BNNC_INLINE void PLANAR(gather_fours)(const vbits *rows, int half, vbits *fours) {
    vbits r[4];
    for (int k = 0; k < 4; k++) {
#if BNNC_PLANAR_BYTES == 32
        const __m128i *low = (const __m128i *)(rows + k) + half, *high = (const __m128i *)(rows + k + 4) + half;
        r[k] = (vbits)_mm256_inserti128_si256(_mm256_castsi128_si256(*low), *high, 1);
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
static void PLANAR(words)(const vbits *planes, int32_t count, vbits *words) {
    vbits low[8], high[8], fours[4], high_fours[4];
    PLANAR(transpose_8)(planes, low);
    if (count <= 10)
        PLANAR(transpose_2)(planes + 8, high);
    else if (count <= 12)
        PLANAR(transpose_4)(planes + 8, high);
    else
        PLANAR(transpose_8)(planes + 8, high);
    for (int half = 0; half < 2; half++) {
        PLANAR(gather_fours)(low, half, fours);
        PLANAR(gather_fours)(high, half, high_fours);
        for (int k = 0; k < 4; k++) {
            words[8 * half + 2 * k] = BNNC_INTERLEAVE(lo, 8, fours[k], high_fours[k]);
            words[8 * half + 2 * k + 1] = BNNC_INTERLEAVE(hi, 8, fours[k], high_fours[k]);
        }
    }
}

/* Where the pixels of words[8 * j + i] come to lie once widened: those of its lower halves from this
 * one on, those of its upper halves eight behind. */
BNNC_INLINE int PLANAR(pixel_of)(int i, int j) {
    return BNNC_PLANAR_BYTES == 32 ? 16 * i + 128 * j : 16 * i + 4 * j;
}

/* The accumulators, 2 * sum - products, in the order of the pixels. */
static void PLANAR(accumulators)(const vbits *planes, int32_t count, int32_t products, int32_t *to) {
    typedef int32_t integers __attribute__((vector_size(BNNC_PLANAR_BYTES), may_alias));
    const vbits zero = {0};
    vbits words[16];
    PLANAR(words)(planes, count, words);
    for (int k = 0; k < 16; k++) {
        integers first = (integers)BNNC_INTERLEAVE(lo, 16, words[k], zero);
        integers second = (integers)BNNC_INTERLEAVE(hi, 16, words[k], zero);
        int32_t *at = to + PLANAR(pixel_of)(k % 8, k / 8);
        *(integers *)(void *)at = first + first - products;
        *(integers *)(void *)(at + 8) = second + second - products;
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

/* relu? affine add store sign, or relu? affine add relu? store */
typedef struct {
    int relu;
    float low; /* of what is stored, where no sign is taken */
    const bnnc_step *affine, *add, *store, *sign;
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
 * is exact, so its product with a is (q - h) * 2a. Taking 2^23 + h + start off 2^23 + q + start is exact
 * too. After relu h is off already, and 2^23 * 2a leaves with the one rounding of a fused multiply-add. */
typedef struct {
    vfloats offset, scale, bias;
    vfloats least; /* that has its sign bit set; or, where no sign is taken, that is stored */
} PLANAR(channel);

BNNC_INLINE PLANAR(channel) PLANAR(channel_of)(const PLANAR(residual) *r, int32_t taken_off, int32_t c) {
    const float a = ((const float *)r->affine->a)[c], b = ((const float *)r->affine->b)[c];
    PLANAR(channel) k;
    k.scale = PLANAR(set_floats)(2 * a);
    k.bias = PLANAR(set_floats)(b);
    k.least = PLANAR(set_floats)(r->sign ? ((const float *)r->sign->a)[c] : r->low);
#if BNNC_PLANAR_BYTES > 16
    k.offset = PLANAR(set_floats)(r->relu ? -BNNC_MAGIC * (2 * a) : BNNC_MAGIC + (float)taken_off);
#else
    k.offset = PLANAR(set_floats)(r->relu ? BNNC_MAGIC : BNNC_MAGIC + (float)taken_off);
#endif
    return k;
}

/* The affine step's value of 2^23 + q + start (after relu: 2^23 + q - h). */
BNNC_INLINE vfloats PLANAR(affine)(vfloats x, const PLANAR(channel) *k, int relu) {
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

/* low > v ? low : v */
BNNC_INLINE vfloats PLANAR(at_least_low)(vfloats v, vfloats low) {
#if BNNC_PLANAR_BYTES == 64
    return (vfloats)_mm512_max_ps((__m512)low, (__m512)v);
#elif BNNC_PLANAR_BYTES == 32
    return (vfloats)_mm256_max_ps((__m256)low, (__m256)v);
#else
    return f32_max(low, v);
#endif
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

/* Ask for the cache line of a pixel that will be stored. Without the empty statement GCC takes a function that only
 * prefetches for one without effect, and leaves out its calls. */
BNNC_INLINE void PLANAR(ask)(const float *pixel) {
    __builtin_prefetch(pixel, 1);
    __asm__ volatile("");
}

/* Some pixels from `at` on: add, store and decide. */
BNNC_INLINE uint32_t PLANAR(finish_floats)(vfloats x, const PLANAR(channel) *k, const float *add, float *store,
                                           int64_t at, int relu, int sign) {
    vfloats y = PLANAR(affine)(x, k, relu) + *(const vfloats_any *)(add + at);
    *(vfloats_any *)(store + at) = sign ? y : PLANAR(at_least_low)(y, k->least);
    return sign ? PLANAR(compare)(y, k->least) : 0;
}

#if BNNC_PLANAR_BYTES == 64

/* h + start as rectify takes it off the sums' planes: for each plane all ones or none, those of its negative. The low
 * planes' are none, which is what start is for. */
typedef struct {
    uint64_t planes[17];
} PLANAR(half);

static PLANAR(half) PLANAR(half_of)(int32_t taken_off) {
    PLANAR(half) half;
    for (int k = 0; k < 17; k++)
        half.planes[k] = 0 - (uint64_t)(-taken_off >> k & 1);
    return half;
}

/* planes - (h + start), or zero where that is negative, in `count` planes, of which there may be one more. The sum with
 * 2^count - (h + start) reaches 2^count where nothing is negative. */
BNNC_INLINE void PLANAR(rectify)(const vbits *planes, int count, const PLANAR(half) *half, vbits *to) {
    __m512i carry = _mm512_setzero_si512();
    BNNC_PLANAR_UNROLL
    for (int k = PLANAR(LOW_PLANES); k < count; k++) {
        __m512i plane = (__m512i)planes[k], bit = _mm512_set1_epi64((int64_t)half->planes[k]);
        to[k] = (vbits)_mm512_ternarylogic_epi64(carry, plane, bit, 0x96);
        carry = _mm512_ternarylogic_epi64(carry, plane, bit, 0xE8);
    }
    const vbits reached = planes[count] ^ (vbits)carry;
    BNNC_PLANAR_UNROLL
    for (int k = 0; k < count; k++)
        to[k] = reached & (k < PLANAR(LOW_PLANES) ? planes[k] : to[k]);
}

/* One channel of a tile, whose sums have eight and `high` planes (one more before relu). `behind` is where the channel
 * behind it will be stored, which is asked for a line at a time: asking for many at once would be waiting for them. The
 * constants are copied, since any store might change what is behind a pointer. */
BNNC_INLINE void PLANAR(residual_row)(const vbits *planes, int high, const PLANAR(half) *half,
                                      const PLANAR(channel) *channel, const float *add, float *store, uint8_t *bits,
                                      const float *behind, int relu, int sign) {
    vbits all[16], low[8], top[8];
    if (relu) {
        PLANAR(rectify)(planes, 8 + high, half, all);
    } else {
        BNNC_PLANAR_UNROLL
        for (int i = 0; i < 8 + high; i++)
            all[i] = planes[i];
    }
    PLANAR(plane_bytes)(all, 8, low);
    PLANAR(plane_bytes)(all + 8, high, top);
    const PLANAR(channel) k = *channel;
    __m512i pairs[4];
    for (int l = 0; l < 4; l++)
        pairs[l] = PLANAR(byte_pairs)(l, BNNC_MAGIC_BITS);
    BNNC_PLANAR_UNROLL
    for (int t = 0; t < 8; t++) {
        BNNC_PLANAR_UNROLL
        for (int l = 0; l < 4; l++) {
            vfloats x =
                (vfloats)_mm512_mask2_permutex2var_epi8((__m512i)low[t], pairs[l], BNNC_LOWER_PAIRS, (__m512i)top[t]);
            uint16_t some = (uint16_t)PLANAR(finish_floats)(x, &k, add, store, 128 * l + 16 * t, relu, sign);
            PLANAR(ask)(behind + 128 * l + 16 * t);
            if (sign)
                memcpy(bits + 16 * l + 2 * t, &some, sizeof some);
        }
    }
}

#else

/* h + start as rectify takes it off: in every word. */
typedef uint16_t PLANAR(half) __attribute__((vector_size(BNNC_PLANAR_BYTES)));

static PLANAR(half) PLANAR(half_of)(int32_t taken_off) {
    return (uint16_t)taken_off - (PLANAR(half)){0};
}

/* words - half, or zero where that is negative. */
BNNC_INLINE vbits PLANAR(rectify)(vbits words, const PLANAR(half) *half) {
#if BNNC_PLANAR_BYTES == 32
    return (vbits)_mm256_subs_epu16((__m256i)words, (__m256i)*half);
#elif defined(__SSE2__)
    return (vbits)_mm_subs_epu16((__m128i)words, (__m128i)*half);
#else
    PLANAR(half) w = (PLANAR(half))words;
    return (vbits)((w - *half) & (PLANAR(half))(w > *half));
#endif
}

BNNC_INLINE void PLANAR(residual_row)(const vbits *words, const PLANAR(half) *half, const PLANAR(channel) *channel,
                                      const float *add, float *store, uint8_t *bits, const float *behind, int relu,
                                      int sign) {
    const PLANAR(channel) k = *channel;
    const vbits magic = (uint64_t)0x4B004B004B004B00u - (vbits){0};
    BNNC_PLANAR_UNROLL
    for (int i = 0; i < 8; i++) {
        BNNC_PLANAR_UNROLL
        for (int j = 0; j < 2; j++) {
            vbits w = relu ? PLANAR(rectify)(words[8 * j + i], half) : words[8 * j + i];
            vfloats x0 = (vfloats)BNNC_INTERLEAVE(lo, 16, w, magic), x1 = (vfloats)BNNC_INTERLEAVE(hi, 16, w, magic);
            const int at = PLANAR(pixel_of)(i, j), shift = at % 8;
            uint32_t b0 = PLANAR(finish_floats)(x0, &k, add, store, at, relu, sign);
            uint32_t b1 = PLANAR(finish_floats)(x1, &k, add, store, at + 8, relu, sign);
            if (at % 16 == 0)
                PLANAR(ask)(behind + at);
            if (!sign)
                continue;
            uint8_t *to = bits + at / 8;
            to[0] = (uint8_t)(shift ? to[0] | b0 << shift : b0);
            to[1] = (uint8_t)(shift ? to[1] | b1 << shift : b1);
        }
    }
}

#endif

/* The same for any number of planes: those of zeros behind the last make it one of a few. `bits` is
 * NULL where no sign is taken. */
static void PLANAR(residual_channel)(const vbits *planes, int32_t count, const PLANAR(half) *half,
                                     const PLANAR(channel) *k, const float *add, float *store, uint8_t *bits,
                                     const float *behind, int relu) {
#if BNNC_PLANAR_BYTES == 64
    const int high = count - 8 - relu;
#define BNNC_ROW(relu, sign)                                                                                           \
    if (high <= 2)                                                                                                     \
        PLANAR(residual_row)(planes, 2, half, k, add, store, bits, behind, relu, sign);                                \
    else if (high <= 4)                                                                                                \
        PLANAR(residual_row)(planes, 4, half, k, add, store, bits, behind, relu, sign);                                \
    else                                                                                                               \
        PLANAR(residual_row)(planes, 8, half, k, add, store, bits, behind, relu, sign);
#else
    vbits words[16];
    PLANAR(words)(planes, count, words);
#define BNNC_ROW(relu, sign) PLANAR(residual_row)(words, half, k, add, store, bits, behind, relu, sign);
#endif
    if (relu && bits) {
        BNNC_ROW(1, 1)
    } else if (relu) {
        BNNC_ROW(1, 0)
    } else if (bits) {
        BNNC_ROW(0, 1)
    } else {
        BNNC_ROW(0, 0)
    }
#undef BNNC_ROW
}
