/* Adding up an output channel's words of a table, bit by bit, all pixels of a tile at once.
 *
 * The sums of a tile are planes: plane k holds bit k of every pixel's sum. Adders work on whole planes:
 * a full adder takes three words of one weight to a sum of that weight and a carry of twice it.
 *
 * Where an instruction computes any function of three words (vpternlog), an adder is two of them. The
 * operand that is ready last should be the one that is overwritten: the processor (Zen 4) takes an
 * extra cycle where that one is waiting for another, so the order of operands is fixed here.
 *
 * Elsewhere a full adder takes five operations. Two adders in a row take eight, not ten, if pairs of
 * words (x, y) of one weight travel as x and x ^ y, since that is what an adder needs first
 * (E. Demenkov, A. Kojevnikov, A. Kulikov, G. Yaroslavtsev: New upper bounds on the Boolean circuit
 * complexity of symmetric functions, 2010).
 *
 * Both are used as a tree: `quad` adds four words of weight 2, `join` what comes out of two subtrees
 * of equal size. What a subtree hands upwards is a `carry`: one word, or a pair. The carry of weight 2
 * that the plane of weight 1 leaves stands in `second`, and is added with the last words.
 */

/* Planes of a tile's sums that are kept in registers; a block adds at most 9 * 16 = 144 to a sum, so
 * nothing but one carry goes beyond them. */
enum { PLANAR(LOW_PLANES) = 8 };

typedef struct {
    vbits plane[8];
    vbits second; /* of weight 2, beside plane 1 */
} PLANAR(sums);

/* plane + c: the sum stays, the carry is returned. */
BNNC_INLINE vbits PLANAR(half_add)(vbits *plane, vbits c) {
    vbits carry = *plane & c;
    *plane ^= c;
    return carry;
}

/* A carry of weight 2^from through the planes up to the one below `to`. */
BNNC_INLINE vbits PLANAR(ripple)(PLANAR(sums) *s, int from, int to, vbits carry) {
    for (int k = from; k < to; k++)
        carry = PLANAR(half_add)(s->plane + k, carry);
    return carry;
}

#if BNNC_VEC_BYTES == 64

typedef vbits PLANAR(carry);

/* late + b + c: the sum replaces *late, the carry is returned. */
BNNC_INLINE vbits PLANAR(full_add)(vbits *late, vbits b, vbits c) {
    vbits carry;
    __asm__("vmovdqa64 %[late], %[carry]\n\t"
            "vpternlogq $0x96, %[c], %[b], %[late]\n\t"
            "vpternlogq $0xe8, %[c], %[b], %[carry]"
            : [late] "+v"(*late), [carry] "=&v"(carry)
            : [b] "v"(b), [c] "v"(c));
    return carry;
}

/* plane + early + late, of which `late` is ready last. */
BNNC_INLINE vbits PLANAR(add_carries)(vbits *plane, vbits early, vbits late) {
    vbits carry = PLANAR(full_add)(&late, *plane, early);
    *plane = late;
    return carry;
}

/* Words of weight 2 are added along two chains, since in one each adder would wait for the one before
 * it. The last words bring both together, so whatever is added with them comes last. */
enum { PLANAR(CHAINS) = 2 };

BNNC_INLINE PLANAR(carry) PLANAR(quad)(PLANAR(sums) *s, vbits w0, vbits w1, vbits w2, vbits w3) {
    vbits early = PLANAR(full_add)(s->plane + 1, w0, w1);
    vbits late = PLANAR(full_add)(&s->second, w2, w3);
    return PLANAR(add_carries)(s->plane + 2, early, late);
}

/* The last word of weight 2, or the last three. */
BNNC_INLINE vbits PLANAR(last_word)(PLANAR(sums) *s, vbits w) {
    return PLANAR(full_add)(s->plane + 1, s->second, w);
}

BNNC_INLINE PLANAR(carry) PLANAR(last_words)(PLANAR(sums) *s, vbits w0, vbits w1, vbits w2) {
    vbits early = PLANAR(full_add)(s->plane + 1, w0, w1);
    return PLANAR(add_carries)(s->plane + 2, early, PLANAR(last_word)(s, w2));
}

/* Of two subtrees of 2^height quads. */
BNNC_INLINE PLANAR(carry) PLANAR(join)(PLANAR(sums) *s, int height, PLANAR(carry) early, PLANAR(carry) late) {
    return PLANAR(add_carries)(s->plane + 3 + height, early, late);
}

/* The end of a tree of 2^height quads: its carry and a single one of weight `from`; returns what goes
 * beyond the low planes. */
BNNC_INLINE vbits PLANAR(finish)(PLANAR(sums) *s, int height, PLANAR(carry) tree, int from, vbits single) {
    vbits early = PLANAR(ripple)(s, from, height + 3, single);
    vbits carry = PLANAR(add_carries)(s->plane + height + 3, early, tree);
    return PLANAR(ripple)(s, height + 4, PLANAR(LOW_PLANES), carry);
}

/* What two quads leave: one carry of weight 2^4. */
BNNC_INLINE vbits PLANAR(settle)(PLANAR(sums) *s, PLANAR(carry) early, PLANAR(carry) late) {
    return PLANAR(join)(s, 0, early, late);
}

#else

/* Two words of one weight, as x and x ^ y. */
typedef struct {
    vbits x, differ;
} PLANAR(carry);

/* plane + b + c: the sum stays, the carry is returned. */
BNNC_INLINE vbits PLANAR(full_add)(vbits *plane, vbits b, vbits c) {
    vbits differ = *plane ^ b, both = *plane & b;
    *plane = differ ^ c;
    return both | (differ & c);
}

/* plane + x + y. The carry is plane where x and y differ, else x: plane ^ (~differ & (x ^ plane)). */
BNNC_INLINE vbits PLANAR(add_pair)(vbits *plane, PLANAR(carry) p) {
    vbits carry = *plane ^ (~p.differ & (p.x ^ *plane));
    *plane ^= p.differ;
    return carry;
}

/* plane + two pairs: the carries a of the first and b of the second adder are returned as b and
 * a ^ b = plane ^ (~differ & (x ^ plane)) ^ (plane ^ differ) ^ rest = (differ | (x ^ plane)) ^ rest. */
BNNC_INLINE PLANAR(carry) PLANAR(add_pairs)(vbits *plane, PLANAR(carry) p, PLANAR(carry) q) {
    vbits sum = *plane ^ p.differ;
    vbits either = p.differ | (p.x ^ *plane);
    vbits rest = ~q.differ & (q.x ^ sum);
    *plane = sum ^ q.differ;
    return (PLANAR(carry)){sum ^ rest, either ^ rest};
}

BNNC_INLINE PLANAR(carry) PLANAR(pair)(vbits x, vbits y) {
    return (PLANAR(carry)){x, x ^ y};
}

enum { PLANAR(CHAINS) = 1 };

BNNC_INLINE PLANAR(carry) PLANAR(quad)(PLANAR(sums) *s, vbits w0, vbits w1, vbits w2, vbits w3) {
    return PLANAR(add_pairs)(s->plane + 1, PLANAR(pair)(w0, w1), PLANAR(pair)(w2, w3));
}

BNNC_INLINE vbits PLANAR(last_word)(PLANAR(sums) *s, vbits w) {
    return PLANAR(full_add)(s->plane + 1, w, s->second);
}

BNNC_INLINE PLANAR(carry) PLANAR(last_words)(PLANAR(sums) *s, vbits w0, vbits w1, vbits w2) {
    return PLANAR(quad)(s, w0, w1, w2, s->second);
}

BNNC_INLINE PLANAR(carry) PLANAR(join)(PLANAR(sums) *s, int height, PLANAR(carry) early, PLANAR(carry) late) {
    return PLANAR(add_pairs)(s->plane + 2 + height, early, late);
}

BNNC_INLINE vbits PLANAR(finish)(PLANAR(sums) *s, int height, PLANAR(carry) tree, int from, vbits single) {
    vbits *plane = s->plane + height + 2;
    vbits c0 = PLANAR(half_add)(plane, PLANAR(ripple)(s, from, height + 2, single));
    vbits c1 = PLANAR(add_pair)(plane, tree);
    return PLANAR(ripple)(s, height + 4, PLANAR(LOW_PLANES), PLANAR(full_add)(plane + 1, c0, c1));
}

BNNC_INLINE vbits PLANAR(settle)(PLANAR(sums) *s, PLANAR(carry) early, PLANAR(carry) late) {
    return PLANAR(add_pair)(s->plane + 3, PLANAR(join)(s, 0, early, late));
}

#endif
