/* ceiling_f32, ceiling_bits: nothing but the arithmetic that convolutions are made of, on registers and
 * a few lines of cache, to measure what the processor can do at best.
 *
 * A unit is a thousand turns. The float kernel's turn is twelve independent multiply-adds. The binary
 * kernel's turn adds eight words of a bit-sliced convolution's table by full adders: four, then two,
 * then one for their carries, and one for what goes on. Five such words stand for nine
 * multiply-adds of every pixel in a vector (see planar_table.inl).
 */
#define CEILING_CHAINS 12
#define CEILING_TURNS 1000
#define CEILING_WORDS 8

#if defined(__x86_64__)
#define CEILING_KEEP(vector) __asm__ volatile("" : "+x"(vector))
#elif defined(__aarch64__)
#define CEILING_KEEP(vector) __asm__ volatile("" : "+w"(vector))
#else
#define CEILING_KEEP(vector) __asm__ volatile("" : "+m"(vector))
#endif

typedef uint64_t ISA(ceiling_word) __attribute__((vector_size(BNNC_VEC_BYTES)));

static int64_t ISA(ceiling_f32_units)(const void *args) {
    return ((const bnnc_ceiling_args *)args)->units;
}

static int64_t ISA(ceiling_bits_units)(const void *args) {
    return ((const bnnc_ceiling_args *)args)->units;
}

static void ISA(ceiling_f32)(const void *args, int64_t begin, int64_t end, void *scratch) {
    vf32 sum[CEILING_CHAINS], a = f32_set(0), b = f32_set(0);
    for (int j = 0; j < CEILING_CHAINS; j++)
        sum[j] = a;
    (void)args;
    for (int64_t turn = begin * CEILING_TURNS; turn < end * CEILING_TURNS; turn++) {
        CEILING_KEEP(a);
        CEILING_KEEP(b);
#pragma GCC unroll 12
        for (int j = 0; j < CEILING_CHAINS; j++)
            sum[j] = f32_fma(a, b, sum[j]);
#pragma GCC unroll 12
        for (int j = 0; j < CEILING_CHAINS; j++)
            CEILING_KEEP(sum[j]);
    }
    f32_store(scratch, sum[0]);
}

/* plane + b + c: the sum stays, the carry is returned. */
BNNC_INLINE ISA(ceiling_word) ISA(ceiling_add)(ISA(ceiling_word) *plane, ISA(ceiling_word) b, ISA(ceiling_word) c) {
#if BNNC_VEC_BYTES == 64
    __m512i p = (__m512i)*plane;
    *plane = (ISA(ceiling_word))_mm512_ternarylogic_epi64(p, (__m512i)b, (__m512i)c, 0x96);
    return (ISA(ceiling_word))_mm512_ternarylogic_epi64(p, (__m512i)b, (__m512i)c, 0xe8);
#else
    ISA(ceiling_word) differ = *plane ^ b, both = *plane & b;
    *plane = differ ^ c;
    return both | (differ & c);
#endif
}

static void ISA(ceiling_bits)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const ISA(ceiling_word) *words = scratch;
    ISA(ceiling_word) plane[4], carry[4];
    memset(plane, 0, sizeof plane);
    memset(scratch, 0, CEILING_WORDS * sizeof *words);
    (void)args;
    for (int64_t turn = begin * CEILING_TURNS; turn < end * CEILING_TURNS; turn++) {
        __asm__ volatile("" ::: "memory");
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            carry[j] = ISA(ceiling_add)(&plane[0], words[2 * j], words[2 * j + 1]);
        carry[0] = ISA(ceiling_add)(&plane[1], carry[0], carry[1]);
        carry[2] = ISA(ceiling_add)(&plane[1], carry[2], carry[3]);
        carry[0] = ISA(ceiling_add)(&plane[2], carry[0], carry[2]);
        carry[0] = ISA(ceiling_add)(&plane[3], carry[0], words[0]);
        CEILING_KEEP(carry[0]);
    }
    memcpy(scratch, plane, sizeof plane);
}

#undef CEILING_KEEP
#undef CEILING_CHAINS
#undef CEILING_TURNS
#undef CEILING_WORDS
