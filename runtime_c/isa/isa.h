/* What the files of this folder share: headers, the tables they define, spelling of names. */
#ifndef BNNC_ISA_H
#define BNNC_ISA_H

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "../kernel.h"

/* ISA(name) is that name in the instruction set being compiled: bnnc_name_avx2. */
#define BNNC_PASTE_(name, isa) bnnc_##name##_##isa
#define BNNC_PASTE(name, isa) BNNC_PASTE_(name, isa)
#define ISA(name) BNNC_PASTE(name, BNNC_ISA)

#define BNNC_INLINE static inline __attribute__((always_inline, unused))

/* before a loop of few, constant turns */
#if defined(__clang__)
#define BNNC_UNROLL _Pragma("unroll")
#else
#define BNNC_UNROLL _Pragma("GCC unroll 8")
#endif

#define BNNC_TEXT_(text) #text
#define BNNC_TEXT(text) BNNC_TEXT_(text)

#define BNNC_MIN(a, b) ((a) < (b) ? (a) : (b))
#define BNNC_MAX(a, b) ((a) > (b) ? (a) : (b))
#define BNNC_CEIL_DIV(a, b) (((a) + (b) - 1) / (b))

/* Elements of any type of that size, for kernels that only move them. */
typedef uint16_t __attribute__((may_alias)) bnnc_any16;
typedef uint32_t __attribute__((may_alias)) bnnc_any32;
typedef uint64_t __attribute__((may_alias)) bnnc_any64;

/* Elements of a unit of the kernels that go through tensors element by element. */
#define BNNC_BLOCK 1024

/* Room in a bit-plane before and behind its rows and their border; see bnnc/ir/layout.py. */
#define BNNC_PLANAR_GUARD 8
#define BNNC_PLANAR_TAIL 72

BNNC_INLINE int64_t bnnc_planar_row_bytes(int32_t width) {
    return (width + 7) / 8;
}

/* Where a plane's rows begin. */
BNNC_INLINE int64_t bnnc_planar_first_row(int32_t width) {
    return (BNNC_PLANAR_GUARD + bnnc_planar_row_bytes(width) + 63) / 64 * 64;
}

BNNC_INLINE int64_t bnnc_planar_plane_bytes(int32_t height, int32_t width) {
    int64_t rows = (height + 1) * bnnc_planar_row_bytes(width);
    return (bnnc_planar_first_row(width) + rows + BNNC_PLANAR_TAIL + 63) / 64 * 64;
}

/* Where in the rows a pixel's byte is. */
BNNC_INLINE int64_t bnnc_planar_byte(int32_t width, int64_t pixel) {
    return width % 8 == 0 ? pixel / 8 : pixel / width * bnnc_planar_row_bytes(width) + pixel % width / 8;
}

/* How a tensor's pixels are cut into ranges that an epilogue takes, at most BNNC_TILE long. Where rows
 * do not fill whole bytes of a bit-plane, a range is whole rows, or lies in one that is too long. */
typedef struct {
    int64_t length; /* pixels of a stretch that is cut on its own */
    int64_t step;   /* of a range */
    int64_t ranges; /* in a stretch */
    int64_t count;  /* of all ranges */
} bnnc_tiling;

BNNC_INLINE bnnc_tiling bnnc_tiling_of(int32_t height, int32_t width) {
    bnnc_tiling t = {(int64_t)height * width, BNNC_TILE, 1, 0};
    if (t.length == 0)
        return t;
    if (width % 8 != 0 && width <= BNNC_TILE)
        t.step = BNNC_TILE / width * width;
    else if (width % 8 != 0)
        t.length = width;
    t.ranges = BNNC_CEIL_DIV(t.length, t.step);
    t.count = t.ranges * ((int64_t)height * width / t.length);
    return t;
}

/* The first pixel of a range, and how many it has. */
BNNC_INLINE int64_t bnnc_range_start(const bnnc_tiling *t, int64_t range) {
    return range / t->ranges * t->length + range % t->ranges * t->step;
}
BNNC_INLINE int32_t bnnc_range_count(const bnnc_tiling *t, int64_t range) {
    int64_t left = t->length - range % t->ranges * t->step;
    return (int32_t)BNNC_MIN(t->step, left);
}

/* Bit j of byte i becomes bit i of byte j: three rounds of swapping blocks across the diagonal. */
BNNC_INLINE uint64_t bnnc_transpose_8x8(uint64_t x) {
    uint64_t t = (x ^ x >> 7) & 0x00AA00AA00AA00AAu;
    x ^= t ^ t << 7;
    t = (x ^ x >> 14) & 0x0000CCCC0000CCCCu;
    x ^= t ^ t << 14;
    t = (x ^ x >> 28) & 0x00000000F0F0F0F0u;
    return x ^ t ^ t << 28;
}

/* Kernels compiled for several models are the same in each, and linked once where models share a program:
 * their tables have the name of their version, BNNC_KERNELS, and may be there twice. */
#ifdef BNNC_KERNELS
#define BNNC_NAMED_(version, name) version##_##name
#define BNNC_NAMED(version, name) BNNC_NAMED_(version, name)
#define bnnc_table_portable BNNC_NAMED(BNNC_KERNELS, table_portable)
#define bnnc_table_avx2 BNNC_NAMED(BNNC_KERNELS, table_avx2)
#define bnnc_table_avx512 BNNC_NAMED(BNNC_KERNELS, table_avx512)
#define BNNC_TABLE BNNC_INTERNAL __attribute__((weak))
#else
#define BNNC_TABLE BNNC_INTERNAL
#endif

BNNC_INTERNAL const bnnc_isa_table *bnnc_table_portable(void);
#if defined(__x86_64__)
BNNC_INTERNAL const bnnc_isa_table *bnnc_table_avx2(void);
BNNC_INTERNAL const bnnc_isa_table *bnnc_table_avx512(void);
#endif

#endif
