/* Kernels in plain C: the baseline of every architecture, with its 16-byte vectors if it has any. */
#include "../kernel.h"
#include "isa.h"

#define BNNC_ISA portable
#define BNNC_VEC_BYTES 16
#include "../kernels/all.inl"
