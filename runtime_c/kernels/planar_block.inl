/* Blocks of input channels: sixteen, or four where sixteen would be mostly empty.
 *
 * A weight's code has four fields of 3 bits, the forms of its channel's words: rows 0, 1 and 2 in bits
 * 3-5, 11-13 and 0-2, the rows' parities in bits 8-10. Bits 6, 7 and 14 are one more field, in which
 * some channels hold a form of the words behind:
 *
 *     16 channels: channel 3 * t the majority of triple t, 1 and 4 those of the roots, 2 and 5 the
 *                  roots' parities
 *      4 channels: channel 0 the majority of the triple, 1 its parity, 3 the last channel's
 *
 * Two ands and two shifts lay all fields out as bytes that count eighths of a word's size, which an
 * address can scale. Weights are uint16 [block of 16 channels][oc][16], then [block of 4][oc][4].
 */

/* A block's fields. Those behind: bytes 2 * channel and 2 * channel + 1 of an array. Those of rows and
 * their parities are bytes as well or, in the widest vectors, stay in their codes: there loads are
 * scarce, and cutting a field out of a register takes none. */
typedef struct {
#if BNNC_PLANAR_BYTES == 64
    uint64_t codes[4]; /* of four channels each */
#else
    uint8_t rows01[32], row2_parities[32];
#endif
    uint8_t behind[32];
} PLANAR(forms);

BNNC_INLINE void PLANAR(decode_16)(const uint16_t *codes, PLANAR(forms) *f) {
    enum { STEP = BNNC_PLANAR_BYTES == 16 ? 16 : 32 };
    typedef uint16_t some_codes __attribute__((vector_size(STEP)));
    typedef uint16_t some_codes_any __attribute__((vector_size(STEP), aligned(1), may_alias));
#if BNNC_PLANAR_BYTES == 64
    memcpy(f->codes, codes, sizeof f->codes);
#endif
    for (int i = 0; i < 32; i += STEP) {
        some_codes c = *(const some_codes_any *)(codes + i / 2);
#if BNNC_PLANAR_BYTES < 64
        *(some_codes_any *)(f->rows01 + i) = c & 0x3838;
        *(some_codes_any *)(f->row2_parities + i) = c << 3 & 0x3838;
#endif
        *(some_codes_any *)(f->behind + i) = (c >> 3 & 0x18) | (c >> 9 & 0x20);
    }
}

BNNC_INLINE void PLANAR(decode_4)(const uint16_t *codes, PLANAR(forms) *f) {
    uint64_t c;
    memcpy(&c, codes, sizeof c);
#if BNNC_PLANAR_BYTES == 64
    f->codes[0] = c;
#else
    const uint64_t fields[2] = {c & 0x3838383838383838u, c << 3 & 0x3838383838383838u};
    memcpy(f->rows01, fields, 8);
    memcpy(f->row2_parities, fields + 1, 8);
#endif
    c = (c >> 3 & 0x0018001800180018u) | (c >> 9 & 0x0020002000200020u);
    memcpy(f->behind, &c, 8);
}

/* The fields of a channel's rows and, as the fourth, of their parities. */
BNNC_INLINE size_t PLANAR(row_form)(const PLANAR(forms) *f, int channel, int row) {
#if BNNC_PLANAR_BYTES == 64
    const uint64_t four = f->codes[channel / 4];
    const int at = channel % 4 * 16 + row % 2 * 8 - row / 2 * 3; /* what bit 3 of the field is rotated from */
    return (size_t)((at == 0 ? four : four >> (at & 63) | four << (-at & 63)) & 0x38);
#else
    return (row < 2 ? f->rows01 : f->row2_parities)[2 * channel + row % 2];
#endif
}

/* Word `word` of the table, in the form that a field tells. */
#define BNNC_FORM(word, field)                                                                                         \
    (*(const vbits *)(const void *)((const char *)(table + (word)) + (field) * (BNNC_PLANAR_BYTES / 8)))
/* A word behind the channels, whose form channel c holds. */
#define BNNC_BEHIND(word, c) BNNC_FORM(word, (size_t)f->behind[2 * (c)])

BNNC_INLINE PLANAR(carry)
    PLANAR(add_channel)(PLANAR(sums) *s, const vbits *table, const PLANAR(forms) *f, int channel) {
    const int base = channel / 3 * PLANAR(TRIPLE) + channel % 3 * PLANAR(CHANNEL);
    return PLANAR(quad)(
        s, BNNC_FORM(base, PLANAR(row_form)(f, channel, 0)), BNNC_FORM(base + 8, PLANAR(row_form)(f, channel, 1)),
        BNNC_FORM(base + 16, PLANAR(row_form)(f, channel, 2)), BNNC_FORM(base + 24, PLANAR(row_form)(f, channel, 3)));
}

BNNC_INLINE PLANAR(carry) PLANAR(add_2)(PLANAR(sums) *s, const vbits *table, const PLANAR(forms) *f, int k) {
    PLANAR(carry) early = PLANAR(add_channel)(s, table, f, k);
    return PLANAR(join)(s, 0, early, PLANAR(add_channel)(s, table, f, k + 1));
}

BNNC_INLINE PLANAR(carry) PLANAR(add_4)(PLANAR(sums) *s, const vbits *table, const PLANAR(forms) *f, int k) {
    PLANAR(carry) early = PLANAR(add_2)(s, table, f, k);
    return PLANAR(join)(s, 1, early, PLANAR(add_2)(s, table, f, k + 2));
}

BNNC_INLINE PLANAR(carry) PLANAR(add_8)(PLANAR(sums) *s, const vbits *table, const PLANAR(forms) *f, int k) {
    PLANAR(carry) early = PLANAR(add_4)(s, table, f, k);
    return PLANAR(join)(s, 2, early, PLANAR(add_4)(s, table, f, k + 4));
}

/* The words behind 16 channels; returns the carry of weight 2^4. */
BNNC_INLINE vbits PLANAR(add_behind_16)(PLANAR(sums) *s, const vbits *table, const PLANAR(forms) *f) {
    enum { TRIPLE = PLANAR(TRIPLE), THIRD = 3 * PLANAR(CHANNEL), ROOT = PLANAR(ROOTS), NEXT = PLANAR(MAJORITY) + 2 };
    PLANAR(carry)
    early = PLANAR(quad)(s, BNNC_BEHIND(THIRD, 0), BNNC_BEHIND(TRIPLE + THIRD, 3), BNNC_BEHIND(2 * TRIPLE + THIRD, 6),
                         BNNC_BEHIND(3 * TRIPLE + THIRD, 9));
    PLANAR(carry)
    late =
        PLANAR(last_words)(s, BNNC_BEHIND(4 * TRIPLE + THIRD, 12), BNNC_BEHIND(ROOT, 1), BNNC_BEHIND(ROOT + NEXT, 4));
    return PLANAR(settle)(s, early, late);
}

BNNC_INLINE vbits PLANAR(add_block_16)(PLANAR(sums) *s, const vbits *table, const PLANAR(forms) *f) {
    enum { PARITY = PLANAR(ROOTS) + PLANAR(MAJORITY), NEXT = PLANAR(MAJORITY) + 2 };
    s->second = PLANAR(full_add)(s->plane, BNNC_BEHIND(PARITY, 2), BNNC_BEHIND(PARITY + NEXT, 5));
    vbits behind = s->second;
    if (PLANAR(CHAINS) == 1)
        behind = PLANAR(add_behind_16)(s, table, f);
    PLANAR(carry) early = PLANAR(add_8)(s, table, f, 0);
    PLANAR(carry) channels = PLANAR(join)(s, 3, early, PLANAR(add_8)(s, table, f, 8));
    if (PLANAR(CHAINS) == 2)
        behind = PLANAR(add_behind_16)(s, table, f);
    return PLANAR(finish)(s, 4, channels, 4, behind);
}

/* The last channel of four stands behind the triple's parity. */
BNNC_INLINE vbits PLANAR(add_block_4)(PLANAR(sums) *s, const vbits *table, const PLANAR(forms) *f) {
    enum { TRIPLE = PLANAR(TRIPLE), THIRD = 3 * PLANAR(CHANNEL), LAST = PLANAR(TRIPLE) + 2 };
    s->second = PLANAR(full_add)(s->plane, BNNC_BEHIND(TRIPLE, 1), BNNC_BEHIND(LAST + PLANAR(CHANNEL), 3));
    PLANAR(carry) early = PLANAR(add_2)(s, table, f, 0);
    PLANAR(carry) late = PLANAR(add_channel)(s, table, f, 2);
    late = PLANAR(join)(s, 0, late, PLANAR(add_channel)(s, table + 2, f, 3));
    PLANAR(carry) channels = PLANAR(join)(s, 1, early, late);
    return PLANAR(finish)(s, 2, channels, 2, PLANAR(last_word)(s, BNNC_BEHIND(THIRD, 0)));
}

/* The sums of a run of output channels: `count` times `stride` planes, which the block is added to. The
 * first block of all begins them, with the low planes that stand at `start`. */
typedef struct {
    vbits *planes;
    int64_t stride;
    int32_t count;
    const vbits *start; /* NULL behind the first block */
    /* how many planes beyond the low ones are in use, and whether the block reaches one more */
    int32_t high, grows;
} PLANAR(run);

/* Channels whose codes are asked for ahead. */
enum { PLANAR(AHEAD) = 64 };

BNNC_INLINE void PLANAR(add_block)(const PLANAR(run) *run, const vbits *table, const uint16_t *codes, int channels) {
    const vbits *from = run->start ? run->start : run->planes;
    const int64_t from_stride = run->start ? 0 : run->stride;
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
        /* and those of a channel far behind: the processor itself stops asking where a page ends */
        __builtin_prefetch(codes + PLANAR(AHEAD) *channels, 0, 2);
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

static __attribute__((noinline)) void PLANAR(add_block_of_16)(const PLANAR(run) *run, const vbits *table,
                                                              const uint16_t *codes) {
    PLANAR(add_block)(run, table, codes, 16);
}

static __attribute__((noinline)) void PLANAR(add_block_of_4)(const PLANAR(run) *run, const vbits *table,
                                                             const uint16_t *codes) {
    PLANAR(add_block)(run, table, codes, 4);
}

#undef BNNC_FORM
#undef BNNC_BEHIND
