/* Kernels for x86-64 with AVX-512 as in Ice Lake and Zen 4: with VPOPCNTDQ, BITALG, VBMI and GFNI. */
#include "../kernel.h"
#include "isa.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(                                                                                                  \
    __attribute__((target(                                                                                                     \
        "avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx512bitalg,avx512vbmi,gfni,fma,bmi,bmi2,lzcnt,popcnt,prfchw"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target(                                                                                                    \
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx512bitalg,avx512vbmi,gfni,fma,bmi,bmi2,lzcnt,popcnt,prfchw")
#endif

#define BNNC_ISA avx512
#define BNNC_VEC_BYTES 64
#include "../kernels/all.inl"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
