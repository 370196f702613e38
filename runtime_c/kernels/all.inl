/* Every kernel, for the instruction set that BNNC_ISA and BNNC_VEC_BYTES name. Included once by
 * each file of isa/; nothing but the table's accessor leaves it. */
#include "vec.inl"
#include "epilogue.inl"
#include "map.inl"
#include "elementwise.inl"
#include "broadcast.inl"
#include "movement.inl"
#include "look_up.inl"
#include "reduce.inl"
#include "topk.inl"
#include "bits.inl"
#include "rows_f32.inl"
#include "gemm_f32.inl"
#include "conv_f32.inl"
#include "winograd_f32.inl"
#include "conv_f32_winograd.inl"
#include "branched_conv_f32.inl"
#include "conv_transpose_f32.inl"
#include "conv_transpose_f32_winograd.inl"
#include "depthwise_f32.inl"
#include "pool_f32.inl"
#include "pooled_depthwise_f32.inl"
#include "resize_f32.inl"
#include "matmul_f32.inl"
#include "binary_conv_nhwc.inl"
#include "binary_conv_planar.inl"
#include "ceiling.inl"

/* A kernel `name` is the pair of functions ISA(name) and ISA(name##_units). */
#define BNNC_KERNEL(name) {ISA(name), ISA(name##_units)}

static const bnnc_isa_table ISA(kernels) = {
    .name = BNNC_TEXT(BNNC_ISA),
    .map_f32 = BNNC_KERNEL(map_f32),
    .unary = BNNC_KERNEL(unary),
    .broadcast = BNNC_KERNEL(broadcast),
    .where = BNNC_KERNEL(where),
    .cast = BNNC_KERNEL(cast),
    .copy = BNNC_KERNEL(copy),
    .fill = BNNC_KERNEL(fill),
    .gather = BNNC_KERNEL(gather),
    .look_up = BNNC_KERNEL(look_up),
    .reduce = BNNC_KERNEL(reduce),
    .softmax = BNNC_KERNEL(softmax),
    .top_k = BNNC_KERNEL(top_k),
    .bits_convert = BNNC_KERNEL(bits_convert),
    .bits_unpack = BNNC_KERNEL(bits_unpack),
    .conv_f32 = BNNC_KERNEL(conv_f32),
    .conv_f32_winograd = BNNC_KERNEL(conv_f32_winograd),
    .branched_conv_f32 = BNNC_KERNEL(branched_conv_f32),
    .conv_transpose_f32 = BNNC_KERNEL(conv_transpose_f32),
    .conv_transpose_f32_winograd = BNNC_KERNEL(conv_transpose_f32_winograd),
    .depthwise_f32 = BNNC_KERNEL(depthwise_f32),
    .pooled_depthwise_f32 = BNNC_KERNEL(pooled_depthwise_f32),
    .max_pool_f32 = BNNC_KERNEL(max_pool_f32),
    .average_pool_f32 = BNNC_KERNEL(average_pool_f32),
    .resize_f32 = BNNC_KERNEL(resize_f32),
    .matmul_f32 = BNNC_KERNEL(matmul_f32),
    .binary_conv_nhwc = BNNC_KERNEL(binary_conv_nhwc),
    .binary_conv_planar = BNNC_KERNEL(binary_conv_planar),
    .ceiling_f32 = BNNC_KERNEL(ceiling_f32),
    .ceiling_bits = BNNC_KERNEL(ceiling_bits),
    .ceiling_f32_macs = 12 * 1000 * (int64_t)BNNC_LANES,
    .ceiling_bits_macs = 8 * 1000 * (int64_t)BNNC_VEC_BYTES * 8 * 27 / 14,
};

BNNC_TABLE const bnnc_isa_table *ISA(table)(void) {
    return &ISA(kernels);
}

#undef BNNC_KERNEL
#include "vec_end.inl"
