/* Counting the bits in which words differ, in every 64-bit lane of a vector of pixels.
 *
 * count_differing(a, stride, w, count, counts) takes `count` words of `vectors` vectors of pixels and
 * as many words of weights: counts[v] lane p = sum over k of popcount(a[k * stride + v][p] ^ w[k]).
 *
 * With AVX-512 a word costs an xor, a vpopcntq and an add. Elsewhere counting is what costs, so the
 * words first pass through a carry-save adder, which sums eight bits of equal weight to one bit of
 * weight eight (and the remainders, kept in ones, twos and fours): seven adders of five operations
 * and one count instead of eight counts (Harley and Seal).
 */

#if BNNC_VEC_BYTES == 64

BNNC_INLINE void ISA(count_differing)(const vu64 *a, int64_t stride, const uint64_t *w, int64_t count, int vectors,
                                      vu64 *counts) {
    vu64 sums[2] = {{0}, {0}};
    for (int64_t k = 0; k < count; k++) {
        vu64 word = w[k] - (vu64){0};
        for (int v = 0; v < vectors; v++)
            sums[v] += (vu64)_mm512_popcnt_epi64((__m512i)(a[k * stride + v] ^ word));
    }
    for (int v = 0; v < vectors; v++)
        counts[v] = sums[v];
}

#else

/* The number of ones in every byte. */
#if BNNC_VEC_BYTES == 32
BNNC_INLINE vu64 ISA(popcount_bytes)(vu64 x) {
    const __m256i ones_of = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1,
                                             2, 2, 3, 2, 3, 3, 4);
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i low = _mm256_shuffle_epi8(ones_of, _mm256_and_si256((__m256i)x, nibble));
    __m256i high = _mm256_shuffle_epi8(ones_of, _mm256_and_si256((__m256i)(x >> 4), nibble));
    return (vu64)_mm256_add_epi8(low, high);
}
#else
BNNC_INLINE vu64 ISA(popcount_bytes)(vu64 x) {
    x -= x >> 1 & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
    return (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0Fu;
}
#endif

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

BNNC_INLINE void ISA(count_eight)(ISA(bit_counter) * c, const vu64 *a, int64_t stride, const uint64_t *w) {
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

BNNC_INLINE void ISA(count_differing)(const vu64 *a, int64_t stride, const uint64_t *w, int64_t count, int vectors,
                                      vu64 *counts) {
    ISA(bit_counter) c[2] = {0};
    vu64 eights[2] = {{0}, {0}};
    int64_t k = 0;
    while (k + 8 <= count) {
        /* a byte of the counter grows by 8 at most each time */
        int64_t stop = BNNC_MIN(count, k + 31 * 8) - 7;
        for (; k < stop; k += 8)
            for (int v = 0; v < vectors; v++)
                ISA(count_eight)(c + v, a + k * stride + v, stride, w + k);
        for (int v = 0; v < vectors; v++) {
            eights[v] += ISA(sum_bytes)(c[v].bytes);
            c[v].bytes = (vu64){0};
        }
    }
    for (int v = 0; v < vectors; v++) {
        vu64 rest = ISA(popcount_bytes)(c[v].ones) + (ISA(popcount_bytes)(c[v].twos) << 1) +
                    (ISA(popcount_bytes)(c[v].fours) << 2);
        for (int64_t i = k; i < count; i++)
            rest += ISA(popcount_bytes)(a[i * stride + v] ^ w[i]);
        counts[v] = (eights[v] << 3) + ISA(sum_bytes)(rest);
    }
}

#endif
