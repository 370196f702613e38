/* The parts of the interface that are the same in every compiled model. */
#include "kernel.h"

uint32_t bnnc_abi_version(void) {
    return BNNC_ABI_VERSION;
}

int64_t bnnc_calibrate(void *arena, bnnc_pool *pool, int kind, int64_t units) {
    if (arena == NULL || (uintptr_t)arena % 64 != 0 || units < 0 ||
        (kind != BNNC_CALIBRATE_FLOAT && kind != BNNC_CALIBRATE_BINARY))
        return 0;
    const bnnc_isa_table *isa = bnnc_active();
    const bnnc_ceiling_args args = {units};
    switch (kind) {
    case BNNC_CALIBRATE_FLOAT:
        bnnc_parallel(pool, &isa->ceiling_f32, &args, arena);
        return units * isa->ceiling_f32_macs;
    case BNNC_CALIBRATE_BINARY:
        bnnc_parallel(pool, &isa->ceiling_bits, &args, arena);
        return units * isa->ceiling_bits_macs;
    default:
        return 0;
    }
}

const char *bnnc_strerror(int code) {
    switch (code) {
    case BNNC_OK:
        return "no error";
    case BNNC_E_NULL:
        return "a pointer that must not be NULL was NULL";
    case BNNC_E_ALIGN:
        return "the arena is not aligned to 64 bytes";
    case BNNC_E_ISA:
        return "this instruction set is unknown, not in the library, or not supported by this machine";
    case BNNC_E_RUNNING:
        return "the instruction set cannot be changed after the first run";
    case BNNC_E_STOPPED:
        return "stopped by the observer";
    case BNNC_E_DECODER:
        return "the model was compiled without --decode";
    default:
        return "unknown error code";
    }
}
