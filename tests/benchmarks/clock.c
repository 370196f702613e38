/* The processor's clock rate, from a chain of additions that takes one cycle each. */
#include <stdint.h>
#include <time.h>

double clock_hz(void) {
    enum { STEPS = 20000 };
    struct timespec start, stop;
    uint64_t x = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < STEPS; i += 10) {
        /* the compiler must not see that these are ten times the same */
#define BNNC_ADD                                                                                                       \
    x += 1;                                                                                                            \
    __asm__ volatile("" : "+r"(x));
        BNNC_ADD BNNC_ADD BNNC_ADD BNNC_ADD BNNC_ADD BNNC_ADD BNNC_ADD BNNC_ADD BNNC_ADD BNNC_ADD
    }
    clock_gettime(CLOCK_MONOTONIC, &stop);
    return STEPS / ((double)(stop.tv_sec - start.tv_sec) + 1e-9 * (double)(stop.tv_nsec - start.tv_nsec));
}
