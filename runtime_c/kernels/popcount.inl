/* Counting the bits in which words differ, in every 64-bit lane of a vector of pixels.
 *
 * count_differing takes `count` words of two vectors of pixels and as many words of the weights of
 * BNNC_COUNT_ROWS output channels: counts[2 * r + v] lane p = sum over k of
 * popcount(a[k * stride + v][p] ^ w[r * w_stride + k]).
 *
 * With AVX-512 a word costs an xor, a vpopcntq and an add; with AVX2 two table look-ups take the place
 * of the count. Elsewhere counting takes a dozen operations, so the words first pass through a
 * carry-save adder, which sums eight bits of equal weight to one bit of weight eight (and the
 * remainders, kept in ones, twos and fours): seven adders of five operations and one count instead of
 * eight counts (Harley and Seal).
 */

#if BNNC_VEC_BYTES == 64

#define BNNC_COUNT_ROWS 4

BNNC_INLINE void ISA(count_differing)(const vu64 *a, int64_t stride, const uint64_t *w, int64_t w_stride, int64_t count,
                                      vu64 *counts) {
    vu64 sums[8] = {{0}};
    for (int64_t k = 0; k < count; k++) {
        vu64 a0 = a[k * stride], a1 = a[k * stride + 1];
        BNNC_UNROLL
        for (int r = 0; r < 4; r++) {
            vu64 word = w[r * w_stride + k] - (vu64){0};
            sums[2 * r] += (vu64)_mm512_popcnt_epi64((__m512i)(a0 ^ word));
            sums[2 * r + 1] += (vu64)_mm512_popcnt_epi64((__m512i)(a1 ^ word));
        }
    }
    for (int i = 0; i < 8; i++)
        counts[i] = sums[i];
}

#elif BNNC_VEC_BYTES == 32

#define BNNC_COUNT_ROWS 2

BNNC_INLINE vu64 ISA(popcount_bytes)(vu64 x) {
    const __m256i ones_of = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1,
                                             2, 2, 3, 2, 3, 3, 4);
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i low = _mm256_shuffle_epi8(ones_of, _mm256_and_si256((__m256i)x, nibble));
    __m256i high = _mm256_shuffle_epi8(ones_of, _mm256_and_si256((__m256i)(x >> 4), nibble));
    return (vu64)_mm256_add_epi8(low, high);
}

BNNC_INLINE void ISA(count_differing)(const vu64 *a, int64_t stride, const uint64_t *w, int64_t w_stride, int64_t count,
                                      vu64 *counts) {
    enum { MOST = 31 }; /* words whose ones a byte can count */
    for (int i = 0; i < 4; i++)
        counts[i] = (vu64){0};
    for (int64_t k = 0; k < count;) {
        int64_t stop = BNNC_MIN(count, k + MOST);
        __m256i bytes[4] = {{0}, {0}, {0}, {0}};
        for (; k < stop; k++)
            for (int r = 0; r < 2; r++)
                for (int v = 0; v < 2; v++) {
                    vu64 differing = a[k * stride + v] ^ (w[r * w_stride + k] - (vu64){0});
                    bytes[2 * r + v] = _mm256_add_epi8(bytes[2 * r + v], (__m256i)ISA(popcount_bytes)(differing));
                }
        for (int i = 0; i < 4; i++)
            counts[i] += (vu64)_mm256_sad_epu8(bytes[i], _mm256_setzero_si256());
    }
}

#else

#define BNNC_COUNT_ROWS 1

/* The number of ones in every byte. */
BNNC_INLINE vu64 ISA(popcount_bytes)(vu64 x) {
    x -= x >> 1 & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
    return (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0Fu;
}

BNNC_INLINE vu64 ISA(sum_bytes)(vu64 x) {
    x = (x & 0x00FF00FF00FF00FFu) + (x >> 8 & 0x00FF00FF00FF00FFu);
    x += x >> 16;
    x += x >> 32;
    return x & 0xFFFF;
}

/* *sum + b + c = *sum + 2 * the carry returned, bit by bit. */
BNNC_INLINE vu64 ISA(carry_save)(vu64 *sum, vu64 b, vu64 c) {
    vu64 either = *sum ^ b, both = *sum & b;
    *sum = either ^ c;
    return both | (either & c);
}

/* What of one vector of pixels is not counted yet, and the bytes' counts of what is. */
typedef struct {
    vu64 ones, twos, fours, bytes;
} ISA(bit_counter);

BNNC_INLINE void ISA(count_eight)(ISA(bit_counter) *c, const vu64 *a, int64_t stride, const uint64_t *w) {
#define BNNC_WORD(k) (a[(k) * stride] ^ w[k])
    vu64 t0 = ISA(carry_save)(&c->ones, BNNC_WORD(0), BNNC_WORD(1));
    vu64 t1 = ISA(carry_save)(&c->ones, BNNC_WORD(2), BNNC_WORD(3));
    vu64 f0 = ISA(carry_save)(&c->twos, t0, t1);
    t0 = ISA(carry_save)(&c->ones, BNNC_WORD(4), BNNC_WORD(5));
    t1 = ISA(carry_save)(&c->ones, BNNC_WORD(6), BNNC_WORD(7));
    vu64 f1 = ISA(carry_save)(&c->twos, t0, t1);
#undef BNNC_WORD
    vu64 eights = ISA(carry_save)(&c->fours, f0, f1);
    c->bytes += ISA(popcount_bytes)(eights);
}

BNNC_INLINE void ISA(count_differing)(const vu64 *a, int64_t stride, const uint64_t *w, int64_t w_stride, int64_t count,
                                      vu64 *counts) {
    (void)w_stride;
    for (int v = 0; v < 2; v++, a++) {
        ISA(bit_counter) c = {{0}, {0}, {0}, {0}};
        vu64 eights = {0};
        int64_t k = 0;
        while (k + 8 <= count) {
            /* a byte of the counter grows by 8 at most each time */
            int64_t stop = BNNC_MIN(count, k + 31 * 8) - 7;
            for (; k < stop; k += 8)
                ISA(count_eight)(&c, a + k * stride, stride, w + k);
            eights += ISA(sum_bytes)(c.bytes);
            c.bytes = (vu64){0};
        }
        vu64 rest =
            ISA(popcount_bytes)(c.ones) + (ISA(popcount_bytes)(c.twos) << 1) + (ISA(popcount_bytes)(c.fours) << 2);
        for (; k < count; k++)
            rest += ISA(popcount_bytes)(a[k * stride] ^ w[k]);
        counts[v] = (eights << 3) + ISA(sum_bytes)(rest);
    }
}

#endif

/* The lower halves of the lanes of two vectors of counts. */
BNNC_INLINE vi32 ISA(narrow_counts)(const vu64 *counts) {
#if BNNC_VEC_BYTES == 64
    __m256i low = _mm512_cvtepi64_epi32((__m512i)counts[0]), high = _mm512_cvtepi64_epi32((__m512i)counts[1]);
    return (vi32)_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
#elif BNNC_VEC_BYTES == 32
    __m256 even = _mm256_shuffle_ps((__m256)counts[0], (__m256)counts[1], 0x88);
    return (vi32)_mm256_permute4x64_epi64((__m256i)even, 0xD8);
#else
    vi32 v = i32_set(0);
    for (int i = 0; i < 4; i++)
        v[i] = (int32_t)counts[i / 2][i % 2];
    return v;
#endif
}
