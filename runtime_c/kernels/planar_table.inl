/* Tables of majorities and parities: what a tile of pixels of a few channels can contribute.
 *
 * A product of a bit x and a weight counts 1 where they agree: x itself for a weight of +1, ~x for -1.
 * For the three taps of a kernel row the count is 2 * majority + parity of the three. A majority has
 * eight forms, one for each choice of signs; a parity has two, since every sign only flips it. So the
 * same three-to-two step can be made again with the three rows' parities, and again with the parities
 * of three channels, and in the end a channel's nine taps are worth 4 majorities and 1/3 of one, of
 * weight 2, and 1/3 of a parity, of weight 1, all of which are computed once per tile, for every
 * output channel.
 *
 * Words of a channel: 3 * 8 majorities of the rows, 8 of the rows' parities. Form i of a majority has
 * operand k as it is where bit k of i is set, else negated. Behind three channels stand the 8
 * majorities and the 2 forms (negated, plain) of the parity of their parities; behind a channel that
 * stands alone the 2 forms of its parity.
 */
enum {
    PLANAR(CHANNEL_WORDS) = 32,
    PLANAR(TRIPLE_WORDS) = 3 * 32 + 8 + 2,
    PLANAR(SINGLE_WORDS) = 32 + 2,
    PLANAR(TABLE_WORDS) = 5 * (3 * 32 + 8 + 2) + 32 + 2
};

/* Where a tile lies in every bit-plane, and which of its pixels are the first and last of a row:
 * their neighbours are the border, which counts as ones. */
typedef struct {
    int64_t offset; /* of its first pixel's byte in a plane */
    int64_t row_bytes;
    vbits left, right;
} PLANAR(window);

/* The eight majorities of a, b and c, and their parity.
 * With x = a ^ b and y = a ^ c: maj(a, b, c) = a ^ (x & y), and negating b or c negates x or y. */
BNNC_INLINE vbits PLANAR(majorities)(vbits a, vbits b, vbits c, vbits *words) {
    vbits x = a ^ b, y = a ^ c, not_a = ~a;
    vbits both = x & y, only_y = ~x & y, only_x = x & ~y, any = x | y;
    words[0] = not_a ^ both;
    words[1] = not_a ^ any;
    words[2] = not_a ^ only_y;
    words[3] = a ^ only_x;
    words[4] = not_a ^ only_x;
    words[5] = a ^ only_y;
    words[6] = a ^ any;
    words[7] = a ^ both;
    return x ^ c;
}

/* One channel's words; returns the parity of its nine taps. */
BNNC_INLINE vbits PLANAR(channel_words)(const uint8_t *plane, const PLANAR(window) * at, vbits *words) {
    vbits parity[3];
    const uint8_t *row = plane + at->offset - at->row_bytes;
    for (int ky = 0; ky < 3; ky++, row += at->row_bytes) {
        vbits here = *(const vbits_any *)row;
        vbits before = *(const vbits_any *)(row - 8), behind = *(const vbits_any *)(row + 8);
        vbits left = here << 1 | before >> 63 | at->left;
        vbits right = here >> 1 | behind << 63 | at->right;
        parity[ky] = PLANAR(majorities)(left, here, right, words + 8 * ky);
    }
    return PLANAR(majorities)(parity[0], parity[1], parity[2], words + 24);
}

/* Words of an absent channel: no tap ever agrees with its weights, which are all +1. */
static void PLANAR(absent_words)(vbits *words) {
    vbits none = {0};
    for (int i = 0; i < 4; i++)
        PLANAR(majorities)(none, none, none, words + 8 * i);
}

/* The table of `triples` times three channels and one more, the first `channels` of them present. */
static void PLANAR(build_table)(const uint8_t *planes, int64_t plane_bytes, int32_t channels, int triples,
                                const PLANAR(window) * window, vbits *table) {
    const PLANAR(window) at = *window;
    for (int t = 0; t <= triples; t++) {
        vbits parity[3];
        int count = t < triples ? 3 : 1;
        for (int k = 0; k < count; k++, table += PLANAR(CHANNEL_WORDS)) {
            if (3 * t + k < channels) {
                parity[k] = PLANAR(channel_words)(planes + (3 * t + k) * plane_bytes, &at, table);
            } else {
                PLANAR(absent_words)(table);
                parity[k] = (vbits){0};
            }
        }
        vbits all = parity[0];
        if (count == 3) {
            all = PLANAR(majorities)(parity[0], parity[1], parity[2], table);
            table += 8;
        }
        table[0] = ~all;
        table[1] = all;
        table += 2;
    }
}
