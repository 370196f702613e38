/* Multiply-adds a core can do in a second, by instruction set: independent chains in registers. */
#include <time.h>

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#define CHAINS 12
#define TURNS 20000

#define PEAK(name, bytes, attribute)                                                                                   \
    typedef float name##_v __attribute__((vector_size(bytes)));                                                        \
    attribute double name(void) {                                                                                      \
        name##_v sum[CHAINS] = {{0}}, a = {0}, b = {0};                                                                \
        __asm__ volatile("" : "+x"(a), "+x"(b));                                                                       \
        double start = seconds();                                                                                      \
        for (int i = 0; i < TURNS; i++) {                                                                              \
            _Pragma("GCC unroll 12") for (int j = 0; j < CHAINS; j++) sum[j] = sum[j] + a * b;                         \
            _Pragma("GCC unroll 12") for (int j = 0; j < CHAINS; j++) __asm__ volatile("" : "+x"(sum[j]));             \
            __asm__ volatile("" : "+x"(a), "+x"(b));                                                                   \
        }                                                                                                              \
        double time = seconds() - start;                                                                               \
        return (double)TURNS * CHAINS * (bytes) / 4 / time;                                                            \
    }

PEAK(peak_portable, 16, )
#if defined(__x86_64__)
PEAK(peak_avx2, 32, __attribute__((target("avx2,fma"))))
PEAK(peak_avx512, 64, __attribute__((target("avx512f,avx512vl,fma"))))
#endif
