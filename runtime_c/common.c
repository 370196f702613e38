/* The parts of the interface that are the same in every compiled model. */
#include "kernel.h"

uint32_t bnnc_abi_version(void) {
    return BNNC_ABI_VERSION;
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
    default:
        return "unknown error code";
    }
}
