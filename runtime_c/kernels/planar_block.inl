/* Blocks of input channels: sixteen (five times three and one), or four (three and one).
 *
 * A weight's code has four fields of 3 bits, the form of each majority of its channel: rows 0, 1 and 2
 * in bits 3-5, 11-13 and 0-2, the rows' parities in bits 8-10. Bits 6, 7 and 14 are the form of what
 * stands behind the channel: the majority of three channels' parities in the first of the three, their
 * parity in the second, and the parity of a channel that stands alone. Two ands and two shifts lay all
 * fields out as bytes that count eighths of a word's size, which an address can scale.
 *
 * Weights are uint16 [block of 16 channels][oc][16], then [block of 4 channels][oc][4].
 */

/* Eight codes' fields: bytes 2 * channel and 2 * channel + 1 of each array. */
typedef struct {
    uint8_t rows01[32], row2_parities[32], behind[32];
} PLANAR(forms);

BNNC_INLINE void PLANAR(decode_16)(const uint16_t *codes, PLANAR(forms) * f) {
    enum { STEP = BNNC_PLANAR_BYTES == 16 ? 16 : 32 };
    typedef uint16_t some_codes __attribute__((vector_size(STEP)));
    typedef uint16_t some_codes_any __attribute__((vector_size(STEP), aligned(1), may_alias));
    for (int i = 0; i < 32; i += STEP) {
        some_codes c = *(const some_codes_any *)(codes + i / 2);
        *(some_codes_any *)(f->rows01 + i) = c & 0x3838;
        *(some_codes_any *)(f->row2_parities + i) = c << 3 & 0x3838;
        *(some_codes_any *)(f->behind + i) = (c >> 3 & 0x18) | (c >> 9 & 0x20);
    }
}

BNNC_INLINE void PLANAR(decode_4)(const uint16_t *codes, PLANAR(forms) * f) {
    uint64_t c;
    memcpy(&c, codes, sizeof c);
    const uint64_t fields[3] = {c & 0x3838383838383838u, c << 3 & 0x3838383838383838u,
                                (c >> 3 & 0x0018001800180018u) | (c >> 9 & 0x0020002000200020u)};
    memcpy(f->rows01, fields, 8);
    memcpy(f->row2_parities, fields + 1, 8);
    memcpy(f->behind, fields + 2, 8);
}

/* Word `word` of the table, in the form that a byte of the fields tells. */
#define BNNC_FORM(word, byte)                                                                                          \
    (*(const vbits *)(const void *)((const char *)(table + (word)) + (size_t)(byte) * (BNNC_PLANAR_BYTES / 8)))
/* Where channel k of a block begins, and what stands behind the group that ends with it. */
#define BNNC_CHANNEL(k) ((k) / 3 * PLANAR(TRIPLE_WORDS) + (k) % 3 * PLANAR(CHANNEL_WORDS))
#define BNNC_BEHIND(k, word, of) BNNC_FORM(BNNC_CHANNEL(k) + PLANAR(CHANNEL_WORDS) + (word), f->behind[2 * (of)])

BNNC_INLINE PLANAR(carry)
    PLANAR(add_channel)(PLANAR(sums) * s, const vbits *table, const PLANAR(forms) * f, int channel) {
    const int base = BNNC_CHANNEL(channel);
    return PLANAR(quad)(s, BNNC_FORM(base, f->rows01[2 * channel]), BNNC_FORM(base + 8, f->rows01[2 * channel + 1]),
                        BNNC_FORM(base + 16, f->row2_parities[2 * channel]),
                        BNNC_FORM(base + 24, f->row2_parities[2 * channel + 1]));
}

BNNC_INLINE PLANAR(carry) PLANAR(add_2)(PLANAR(sums) * s, const vbits *table, const PLANAR(forms) * f, int k) {
    PLANAR(carry) early = PLANAR(add_channel)(s, table, f, k);
    return PLANAR(join)(s, 0, early, PLANAR(add_channel)(s, table, f, k + 1));
}

BNNC_INLINE PLANAR(carry) PLANAR(add_4)(PLANAR(sums) * s, const vbits *table, const PLANAR(forms) * f, int k) {
    PLANAR(carry) early = PLANAR(add_2)(s, table, f, k);
    return PLANAR(join)(s, 1, early, PLANAR(add_2)(s, table, f, k + 2));
}

BNNC_INLINE PLANAR(carry) PLANAR(add_8)(PLANAR(sums) * s, const vbits *table, const PLANAR(forms) * f, int k) {
    PLANAR(carry) early = PLANAR(add_4)(s, table, f, k);
    return PLANAR(join)(s, 2, early, PLANAR(add_4)(s, table, f, k + 4));
}

BNNC_INLINE vbits PLANAR(add_block_16)(PLANAR(sums) * s, const vbits *table, const PLANAR(forms) * f) {
    const vbits *parities[6], *thirds[5];
    for (int t = 0; t < 5; t++) {
        thirds[t] = &BNNC_BEHIND(3 * t + 2, 0, 3 * t);
        parities[t] = &BNNC_BEHIND(3 * t + 2, 8, 3 * t + 1);
    }
    parities[5] = &BNNC_BEHIND(15, 0, 15);
    vbits rest = PLANAR(add_rest)(s, parities, thirds);
    PLANAR(carry) early = PLANAR(add_8)(s, table, f, 0);
    PLANAR(carry) tree = PLANAR(join)(s, 3, early, PLANAR(add_8)(s, table, f, 8));
    return PLANAR(finish)(s, 4, tree, 4, rest);
}

BNNC_INLINE vbits PLANAR(add_block_4)(PLANAR(sums) * s, const vbits *table, const PLANAR(forms) * f) {
    vbits c = PLANAR(full_add)(s->plane, BNNC_BEHIND(2, 8, 1), BNNC_BEHIND(3, 0, 3));
    vbits rest = PLANAR(full_add)(s->plane + 1, BNNC_BEHIND(2, 0, 0), c);
    return PLANAR(finish)(s, 2, PLANAR(add_4)(s, table, f, 0), 2, rest);
}

/* The sums of a run of output channels: `count` times `stride` planes at `to`, which the block is added
 * to or, if `first`, which it begins. */
typedef struct {
    vbits *planes;
    int64_t stride;
    int32_t count, first;
    /* how many planes beyond the low ones are in use, and whether the block reaches one more */
    int32_t high, grows;
} PLANAR(run);

BNNC_INLINE void PLANAR(add_block)(const PLANAR(run) * run, const vbits *table, const uint16_t *codes, int channels) {
    static const PLANAR(sums) none;
    const vbits *from = run->first ? none.plane : run->planes;
    const int64_t from_stride = run->first ? 0 : run->stride;
    PLANAR(forms) decoded[2];
    if (channels == 16)
        PLANAR(decode_16)(codes, decoded);
    else
        PLANAR(decode_4)(codes, decoded);
    vbits *planes = run->planes;
    for (int32_t i = 0; i < run->count; i++, planes += run->stride, from += from_stride) {
        PLANAR(sums) s;
        for (int k = 0; k < PLANAR(LOW_PLANES); k++)
            s.plane[k] = from[k];
        /* the next one's codes, so that their bytes have left the store queue when they are asked for */
        codes += i + 1 < run->count ? channels : 0;
        vbits carry;
        if (channels == 16) {
            PLANAR(decode_16)(codes, decoded + (i + 1) % 2);
            carry = PLANAR(add_block_16)(&s, table, decoded + i % 2);
        } else {
            PLANAR(decode_4)(codes, decoded + (i + 1) % 2);
            carry = PLANAR(add_block_4)(&s, table, decoded + i % 2);
        }
        for (int k = 0; k < PLANAR(LOW_PLANES); k++)
            planes[k] = s.plane[k];
        for (int32_t k = PLANAR(LOW_PLANES); k < PLANAR(LOW_PLANES) + run->high; k++)
            carry = PLANAR(half_add)(planes + k, carry);
        if (run->grows)
            planes[PLANAR(LOW_PLANES) + run->high] = carry;
    }
}

static __attribute__((noinline)) void PLANAR(add_block_of_16)(const PLANAR(run) * run, const vbits *table,
                                                              const uint16_t *codes) {
    PLANAR(add_block)(run, table, codes, 16);
}

static __attribute__((noinline)) void PLANAR(add_block_of_4)(const PLANAR(run) * run, const vbits *table,
                                                             const uint16_t *codes) {
    PLANAR(add_block)(run, table, codes, 4);
}

#undef BNNC_FORM
#undef BNNC_CHANNEL
#undef BNNC_BEHIND
