/* Which instruction set's kernels run: the best that processor and operating system support, or
 * the one asked for by name. */
#include <stdatomic.h>
#include <string.h>

#include "isa/isa.h"
#include "kernel.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* The register files that the operating system saves: XCR0. */
static uint64_t bnnc_saved_registers(void) {
    unsigned eax, ebx, ecx, edx;
    const unsigned osxsave = 1u << 27;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & osxsave))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return (uint64_t)edx << 32 | eax;
}

static int bnnc_has_avx2(void) {
    unsigned eax, ebx, ecx, edx;
    const uint64_t ymm = 0x6;
    if ((bnnc_saved_registers() & ymm) != ymm)
        return 0;
    const unsigned fma = 1u << 12, popcnt = 1u << 23, f16c = 1u << 29, leaf_1 = fma | popcnt | f16c;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & leaf_1) != leaf_1)
        return 0;
    const unsigned lzcnt = 1u << 5;
    if (!__get_cpuid(0x80000001u, &eax, &ebx, &ecx, &edx) || !(ecx & lzcnt))
        return 0;
    const unsigned bmi = 1u << 3, avx2 = 1u << 5, bmi2 = 1u << 8, leaf_7 = bmi | avx2 | bmi2;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & leaf_7) == leaf_7;
}

static int bnnc_has_avx512(void) {
    unsigned eax, ebx, ecx, edx;
    const uint64_t zmm = 0xE6;
    if (!bnnc_has_avx2() || (bnnc_saved_registers() & zmm) != zmm)
        return 0;
    const unsigned f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31, in_ebx = f | dq | bw | vl;
    const unsigned vbmi = 1u << 1, gfni = 1u << 8, bitalg = 1u << 12, vpopcntdq = 1u << 14;
    const unsigned in_ecx = vbmi | gfni | bitalg | vpopcntdq;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & in_ebx) == in_ebx && (ecx & in_ecx) == in_ecx;
}
#endif

static int bnnc_has_portable(void) {
    return 1;
}

/* Best first. */
static const struct {
    const bnnc_isa_table *(*table)(void);
    int (*supported)(void);
} bnnc_isas[] = {
#if defined(__x86_64__)
    {bnnc_table_avx512, bnnc_has_avx512},
    {bnnc_table_avx2, bnnc_has_avx2},
#endif
    {bnnc_table_portable, bnnc_has_portable},
};

enum { BNNC_ISA_COUNT = sizeof bnnc_isas / sizeof bnnc_isas[0] };

/* 0 before a choice, else 1 + its place in bnnc_isas, and BNNC_CHOICE_USED once a run has begun. */
static atomic_int bnnc_choice;

enum { BNNC_CHOICE_USED = 0x100 };

static int bnnc_best(void) {
    int i = 0;
    while (!bnnc_isas[i].supported())
        i++;
    return i + 1;
}

/* Make the choice if there is none; returns it with `flag` set in it. */
static int bnnc_settle(int flag) {
    int seen = atomic_load_explicit(&bnnc_choice, memory_order_relaxed);
    int wanted = (seen ? seen : bnnc_best()) | flag;
    while (seen != wanted && !atomic_compare_exchange_weak(&bnnc_choice, &seen, wanted))
        wanted = (seen ? seen : bnnc_best()) | flag;
    return wanted;
}

static const bnnc_isa_table *bnnc_table_of(int choice) {
    return bnnc_isas[(choice & ~BNNC_CHOICE_USED) - 1].table();
}

BNNC_INTERNAL const bnnc_isa_table *bnnc_active(void) {
    return bnnc_table_of(bnnc_settle(BNNC_CHOICE_USED));
}

BNNC_INTERNAL const bnnc_isa_table *bnnc_supported_table(const char *name) {
    for (int i = 0; i < BNNC_ISA_COUNT; i++)
        if (strcmp(bnnc_isas[i].table()->name, name) == 0 && bnnc_isas[i].supported())
            return bnnc_isas[i].table();
    return NULL;
}

const char *bnnc_isa(void) {
    return bnnc_table_of(bnnc_settle(0))->name;
}

int bnnc_set_isa(const char *name) {
    if (!name)
        return BNNC_E_NULL;
    const bnnc_isa_table *table = bnnc_supported_table(name);
    if (!table)
        return BNNC_E_ISA;
    int wanted = 1;
    while (bnnc_isas[wanted - 1].table() != table)
        wanted++;
    int seen = atomic_load(&bnnc_choice);
    do {
        if (seen & BNNC_CHOICE_USED)
            return (seen & ~BNNC_CHOICE_USED) == wanted ? BNNC_OK : BNNC_E_RUNNING;
    } while (!atomic_compare_exchange_weak(&bnnc_choice, &seen, wanted));
    return BNNC_OK;
}
