/* ceiling_f32, ceiling_bits: nothing but the arithmetic that convolutions are made of, to measure what
 * the processor can do at best.
 *
 * A unit is a thousand turns. The float kernel's turn is twelve independent multiply-adds on registers.
 * The binary kernel's adds eight words of a bit-sliced convolution's table by full adders: four, two,
 * and two for what is carried on; fourteen such words stand for 27 multiply-adds of every pixel in a
 * vector (planar_table.inl).
 */
#define CEILING_TURNS 1000
#define CEILING_EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

#if defined(__x86_64__)
#define CEILING_KEEP(vector) __asm__ volatile("" : "+x"(vector))
#elif defined(__aarch64__)
#define CEILING_KEEP(vector) __asm__ volatile("" : "+w"(vector))
#else
#define CEILING_KEEP(vector) __asm__ volatile("" : "+m"(vector))
#endif

static int64_t ISA(ceiling_f32_units)(const void *args) {
    return ((const bnnc_ceiling_args *)args)->units;
}

static int64_t ISA(ceiling_bits_units)(const void *args) {
    return ((const bnnc_ceiling_args *)args)->units;
}

/* Named one by one: compilers keep an array in memory. */
static void ISA(ceiling_f32)(const void *args, int64_t begin, int64_t end, void *scratch) {
    vf32 a = f32_set(0), b = a;
#define CEILING_SUM(j) vf32 sum##j = a;
#define CEILING_MULTIPLY(j) sum##j = f32_fma(a, b, sum##j);
#define CEILING_HOLD(j) CEILING_KEEP(sum##j);
    CEILING_EACH(CEILING_SUM)
    (void)args;
    for (int64_t turn = begin * CEILING_TURNS; turn < end * CEILING_TURNS; turn++) {
        CEILING_KEEP(a);
        CEILING_KEEP(b);
        CEILING_EACH(CEILING_MULTIPLY)
        CEILING_EACH(CEILING_HOLD)
    }
    f32_store(scratch, sum0);
}

typedef uint64_t ISA(ceiling_word) __attribute__((vector_size(BNNC_VEC_BYTES)));

/* Two words of one weight, and the adders for them, as in planar_sum.inl: with vpternlog a pair is x, y
 * and an adder two instructions; without, a pair is x, x ^ y, and two adders are eight. */
typedef struct {
    ISA(ceiling_word) x, y;
} ISA(ceiling_pair);

BNNC_INLINE ISA(ceiling_pair) ISA(ceiling_load)(const ISA(ceiling_word) *w) {
#if BNNC_VEC_BYTES == 64
    return (ISA(ceiling_pair)){w[0], w[1]};
#else
    return (ISA(ceiling_pair)){w[0], w[0] ^ w[1]};
#endif
}

#if BNNC_VEC_BYTES == 64
BNNC_INLINE ISA(ceiling_word) ISA(ceiling_add)(ISA(ceiling_word) *plane, ISA(ceiling_pair) p) {
    const __m512i sum = (__m512i)*plane, x = (__m512i)p.x, y = (__m512i)p.y;
    *plane = (ISA(ceiling_word))_mm512_ternarylogic_epi64(sum, x, y, 0x96);
    return (ISA(ceiling_word))_mm512_ternarylogic_epi64(sum, x, y, 0xe8);
}
#endif

/* plane + p + q; what is carried. */
BNNC_INLINE ISA(ceiling_pair)
    ISA(ceiling_add_pairs)(ISA(ceiling_word) *plane, ISA(ceiling_pair) p, ISA(ceiling_pair) q) {
#if BNNC_VEC_BYTES == 64
    ISA(ceiling_word) first = ISA(ceiling_add)(plane, p);
    return (ISA(ceiling_pair)){first, ISA(ceiling_add)(plane, q)};
#else
    ISA(ceiling_word) sum = *plane ^ p.y, either = p.y | (p.x ^ *plane), rest = ~q.y & (q.x ^ sum);
    *plane = sum ^ q.y;
    return (ISA(ceiling_pair)){sum ^ rest, either ^ rest};
#endif
}

static void ISA(ceiling_bits)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const ISA(ceiling_word) *w = scratch;
    memset(scratch, 0, 8 * sizeof *w);
    ISA(ceiling_word) plane0 = w[0], plane1 = plane0, plane2 = plane0;
    (void)args;
    for (int64_t turn = begin * CEILING_TURNS; turn < end * CEILING_TURNS; turn++) {
        __asm__ volatile("" ::: "memory");
        ISA(ceiling_pair) a = ISA(ceiling_add_pairs)(&plane0, ISA(ceiling_load)(w), ISA(ceiling_load)(w + 2));
        ISA(ceiling_pair) b = ISA(ceiling_add_pairs)(&plane0, ISA(ceiling_load)(w + 4), ISA(ceiling_load)(w + 6));
        a = ISA(ceiling_add_pairs)(&plane1, a, b);
        a = ISA(ceiling_add_pairs)(&plane2, a, a);
        CEILING_KEEP(a.x);
        CEILING_KEEP(a.y);
    }
    plane0 ^= plane1 ^ plane2;
    memcpy(scratch, &plane0, sizeof plane0);
}

#undef CEILING_EACH
#undef CEILING_SUM
#undef CEILING_MULTIPLY
#undef CEILING_HOLD
#undef CEILING_KEEP
#undef CEILING_TURNS
