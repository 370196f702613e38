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
 * Form i of a majority has operand k as it is where bit k of i is set, else negated; form 0 of a parity
 * is negated, form 1 plain. Words of a channel: the forms of its rows' majorities and of that of the
 * rows' parities. Words of a table:
 *
 *     16 channels: five times (three channels, majority of their parities), one channel,
 *                  twice (majority and parity of three of those parities: 0 1 2, 3 4 and the last channel's)
 *      4 channels: three channels, majority and parity of their parities, one channel, its parity
 */
enum {
    PLANAR(MAJORITY) = 8,
    PLANAR(CHANNEL) = 4 * 8,
    PLANAR(TRIPLE) = 3 * 4 * 8 + 8,
    PLANAR(ROOTS) = 5 * (3 * 4 * 8 + 8) + 4 * 8, /* where those of 16 channels begin */
    PLANAR(TABLE_WORDS) = 5 * (3 * 4 * 8 + 8) + 4 * 8 + 2 * (8 + 2)
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

/* The two forms of a parity. */
BNNC_INLINE void PLANAR(parities)(vbits parity, vbits *words) {
    words[0] = ~parity;
    words[1] = parity;
}

/* One channel's words; returns the parity of its nine taps. */
BNNC_INLINE vbits PLANAR(channel_words)(const uint8_t *plane, const PLANAR(window) *at, vbits *words) {
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

/* Planes of the channels a table is made of. */
typedef struct {
    const uint8_t *planes;
    int64_t plane_bytes;
    int32_t count; /* the rest of the table's channels are absent */
} PLANAR(channels);

/* One channel's words, present or not. No tap of an absent one ever agrees with its weights, which
 * are all +1. */
BNNC_INLINE vbits PLANAR(some_channel_words)(const PLANAR(channels) *x, int32_t c, const PLANAR(window) *at,
                                             vbits *words) {
    if (c < x->count)
        return PLANAR(channel_words)(x->planes + c * x->plane_bytes, at, words);
    for (int i = 0; i < 4; i++)
        PLANAR(majorities)((vbits){0}, (vbits){0}, (vbits){0}, words + 8 * i);
    return (vbits){0};
}

/* Words of three channels from c on; returns the parity of all their taps. */
BNNC_INLINE vbits PLANAR(triple_words)(const PLANAR(channels) *x, int32_t c, const PLANAR(window) *at, vbits *words) {
    vbits parity[3];
    for (int k = 0; k < 3; k++)
        parity[k] = PLANAR(some_channel_words)(x, c + k, at, words + k * PLANAR(CHANNEL));
    return PLANAR(majorities)(parity[0], parity[1], parity[2], words + 3 * PLANAR(CHANNEL));
}

static void PLANAR(build_table_16)(const PLANAR(channels) *x, const PLANAR(window) *window, vbits *table) {
    const PLANAR(window) at = *window;
    vbits parity[6], *roots = table + PLANAR(ROOTS);
    for (int t = 0; t < 5; t++)
        parity[t] = PLANAR(triple_words)(x, 3 * t, &at, table + t * PLANAR(TRIPLE));
    parity[5] = PLANAR(some_channel_words)(x, 15, &at, table + 5 * PLANAR(TRIPLE));
    for (int k = 0; k < 6; k += 3, roots += PLANAR(MAJORITY) + 2)
        PLANAR(parities)(PLANAR(majorities)(parity[k], parity[k + 1], parity[k + 2], roots), roots + PLANAR(MAJORITY));
}

static void PLANAR(build_table_4)(const PLANAR(channels) *x, const PLANAR(window) *window, vbits *table) {
    const PLANAR(window) at = *window;
    PLANAR(parities)(PLANAR(triple_words)(x, 0, &at, table), table + PLANAR(TRIPLE));
    table += PLANAR(TRIPLE) + 2;
    PLANAR(parities)(PLANAR(some_channel_words)(x, 3, &at, table), table + PLANAR(CHANNEL));
}
