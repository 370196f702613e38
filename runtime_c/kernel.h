/* What generated code and kernels agree on: tensors, epilogues, arguments, the kernel table.
 *
 * A kernel is a task: it computes work units [begin, end) of one layer, reading its arguments and
 * using a private scratch buffer. Units are independent, so any number of threads gives the same
 * bits. Every kernel exists once per instruction set, in a bnnc_isa_table; nothing here branches
 * on processor features.
 *
 * Float tensors are dense NCHW. The two layouts of bits are defined in bnnc/ir/layout.py.
 */
#ifndef BNNC_KERNEL_H
#define BNNC_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#include "bnnc.h"

/* What the runtime's files share carries the prefix too: in a static library it is as visible as the
 * interface. */
#ifdef BNNC_PREFIX
#define bnnc_active BNNC_CONCAT(BNNC_PREFIX, active)
#define bnnc_parallel BNNC_CONCAT(BNNC_PREFIX, parallel)
#define bnnc_supported_table BNNC_CONCAT(BNNC_PREFIX, supported_table)
#endif

/* Linkage of everything the runtime's files share: static where they are one file. */
#ifndef BNNC_INTERNAL
#define BNNC_INTERNAL __attribute__((visibility("hidden")))
#endif

/* Bytes of scratch every worker has; kernels block their work to fit. 64-byte aligned. */
#define BNNC_SCRATCH_BYTES (1 << 20)

/* Pixels of one channel an epilogue takes at a time, at most. */
#define BNNC_TILE 512

/* cdef begin */
typedef void bnnc_task(const void *args, int64_t begin, int64_t end, void *scratch);
typedef int64_t bnnc_units(const void *args);

typedef struct {
    bnnc_task *run;
    bnnc_units *units;
} bnnc_kernel;

/* ---- epilogues: see bnnc/ir/epilogue.py for the meaning of each step ---- */

enum {
    BNNC_STEP_AFFINE,   /* a, b: float[C] */
    BNNC_STEP_RELU,     /* */
    BNNC_STEP_PRELU,    /* a: float[C] */
    BNNC_STEP_CLIP,     /* low, high */
    BNNC_STEP_UNARY,    /* function, low and high are its attributes */
    BNNC_STEP_ADD,      /* a: float tensor */
    BNNC_STEP_MUL,      /* a: float tensor */
    BNNC_STEP_SCALE,    /* a: float[N * C] */
    BNNC_STEP_STORE,    /* out: float tensor */
    BNNC_STEP_SIGN,     /* a: float[C], compare, layout; out: bits */
    BNNC_STEP_THRESHOLD /* a: int32_t[C], b: uint8_t[C], layout; out: bits */
};

enum { BNNC_GE, BNNC_GT, BNNC_NLT, BNNC_NLE };
enum { BNNC_BITS_NHWC, BNNC_BITS_PLANAR };

typedef struct {
    uint8_t kind;     /* BNNC_STEP_ */
    uint8_t compare;  /* BNNC_GE... */
    uint8_t layout;   /* BNNC_BITS_ */
    uint8_t function; /* BNNC_FN_ */
    float low, high;
    const void *a;
    const void *b;
    void *out;
} bnnc_step;

typedef struct {
    const bnnc_step *steps;
    int32_t count;
    int32_t channels, height, width; /* of the tensor it writes; pixels = height * width */
} bnnc_epilogue;

/* ---- arguments, one struct a kernel ---- */

/* 2-D convolution geometry. Padded taps are those whose coordinate is outside the input. */
typedef struct {
    int32_t batch, groups;
    int32_t ic, ih, iw; /* ic and oc are totals over groups */
    int32_t oc, oh, ow;
    int32_t kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
} bnnc_conv_shape;

/* conv_f32: weights [group][ceil(oc/g / 8)][ic/g][kh][kw][8], zero where oc runs out; bias[oc] or NULL.
 * conv_f32_winograd: 3x3, stride 1, dilation 1, one group, ic at most 256, iw at most 16384; weights
 * [ceil(oc / 8)][36][ic][8], transformed (packing/floats.py).
 * depthwise_f32 (ic == groups): weights [oc][kh][kw].
 * pooled_depthwise_f32: the same, over the largest values of all pool_h x pool_w windows of x; 3x3 taps,
 * equal strides of 1 or 2, dilation 1, pad_left 1, ow at most BNNC_TILE.
 * conv_transpose_f32: weights [group][ceil(oc/g / 8)][products][8], products as packing/floats.py
 * orders them; pad_* are the amounts cropped from the full output; stride_w is at most 1024.
 * conv_transpose_f32_winograd: the same with 4x4 taps, strides of 2, no dilation, one group, iw at most
 * 16384, by tiles of tile x tile: 4 with ic at most 256, or 2 with ic at most 512; weights [ceil(oc / 8)]
 * [phase of rows][phase of columns][(tile + 1)²][ic][8], transformed, or, to be transformed during the run
 * (expand), [2][2] in place of [(tile + 1)²]. */
typedef struct {
    bnnc_conv_shape shape;
    const float *x;
    const float *w;
    const float *bias;
    int32_t pool_h, pool_w; /* pooled_depthwise_f32 only */
    int32_t tile, expand;   /* conv_transpose_f32_winograd only */
    bnnc_epilogue epilogue;
} bnnc_conv_f32_args;

/* branched_conv_f32: for each branch a 3x3 convolution of x as conv_f32_winograd makes it, max(low, that),
 * and a 1x1 convolution of that. */
typedef struct {
    int32_t hidden;      /* channels between the two, at most 128 */
    const float *w;      /* as of conv_f32_winograd */
    const float *bias;   /* float[hidden] or NULL */
    const float *points; /* as of a 1x1 conv_f32 */
    const float *point_bias;
    bnnc_epilogue epilogue;
} bnnc_branch;

typedef struct {
    bnnc_conv_shape shape; /* of the 3x3 convolutions; oc is not used */
    const float *x;
    float low;
    int32_t count;
    const bnnc_branch *branches;
} bnnc_branched_conv_args;

/* binary_conv_nhwc: x in bits_nhwc; w uint64 [oc][kh][kw][ceil(ic/g / 64)], padding bits 0.
 * binary_conv_planar: 3x3, stride 1, dilation 1, pads 1, one group, ic at most 65535 / 9; x in
 * bits_planar; w uint16, see kernels/planar_block.inl. A tensor that is added may be the one stored.
 * The accumulator is the sum over taps of x * w in -1/+1 arithmetic; a padded tap counts pad * w. */
typedef struct {
    bnnc_conv_shape shape;
    const void *x;
    const void *w;
    int32_t pad; /* -1, 0 or 1 */
    /* planar kernel with pad 0 or -1: int32 [oc][9], what to subtract where the window hangs over, by
     * (row class top/middle/bottom) * 3 + (column class left/middle/right); oh and ow are at least 2.
     * Else NULL. */
    const int32_t *border;
    int32_t raw; /* nonzero: no epilogue, store int32 accumulators [oc][oh][ow] to out */
    int32_t *out;
    bnnc_epilogue epilogue;
} bnnc_binary_conv_args;

/* map_f32: an epilogue applied to a stored tensor. */
typedef struct {
    int32_t batch;
    const float *x;
    bnnc_epilogue epilogue;
} bnnc_map_args;

/* matmul_f32: out[m][n] = sum_k a[m][k] * b[k][n] for each of batch; strides in elements.
 * Constant b is packed [ceil(n / 8)][k][8] and packed_b is set. An epilogue (height = width = 1,
 * channels = n) acts on each row; without steps the result goes to out. */
typedef struct {
    int32_t batch, m, n, k, packed_b;
    int64_t a_stride, b_stride; /* from one batch item to the next; 0 repeats */
    const float *a, *b;
    const float *bias; /* float[n] or NULL */
    float *out;
    bnnc_epilogue epilogue;
} bnnc_matmul_args;

/* max_pool_f32, average_pool_f32 (count_pad: divide by the whole window). */
typedef struct {
    bnnc_conv_shape shape;
    int32_t count_pad;
    const float *x;
    float *out;
} bnnc_pool_args;

/* resize_f32: out[y][x] = sum_i sum_j wy[y][i] * wx[x][j] * in[iy[y][i]][ix[x][j]], per channel. */
typedef struct {
    int32_t planes, ih, iw, oh, ow, taps_h, taps_w;
    const int32_t *iy, *ix;
    const float *wy, *wx;
    const float *x;
    float *out;
} bnnc_resize_args;

/* unary: out[i] = function(x[i]); low and high are its attributes in the op's order. */
typedef struct {
    int64_t count;
    int32_t function; /* BNNC_FN_ */
    int32_t type;     /* BNNC_TYPE_ of x */
    float low, high;
    const void *x;
    void *out;
} bnnc_unary_args;

/* cast: x of type from to out of type to, as numpy's astype. */
typedef struct {
    int64_t count;
    int32_t from, to;
    const void *x;
    void *out;
} bnnc_cast_args;

#define BNNC_MAX_RANK 8

/* binary, where: broadcasting. shape is the output's, strides are in elements, 0 where an operand
 * is repeated. where: x selects (bool) between y and z. */
typedef struct {
    int32_t rank, function, type;
    int64_t shape[8];
    int64_t x_strides[8], y_strides[8], z_strides[8];
    const void *x, *y, *z;
    void *out;
} bnnc_broadcast_args;

/* copy: out[i * out_strides] = x[i * x_strides] over shape; offsets are folded into the pointers.
 * Transpose, Slice, Concat, Expand and Pad's inside are this. */
typedef struct {
    int32_t rank, element_bytes;
    int64_t shape[8];
    int64_t x_strides[8], out_strides[8];
    const void *x;
    void *out;
} bnnc_copy_args;

/* look_up: 8-bit pixels x[batch][height][width][channels], each through its channel's table, to
 * out[batch][channels][height][width]. */
typedef struct {
    int32_t batch, channels, height, width;
    const uint8_t *x;
    const float *table; /* float[channels][256] */
    float *out;
} bnnc_look_up_args;

/* fill: count elements of element_bytes, each a copy of value. */
typedef struct {
    int64_t count;
    int32_t element_bytes;
    uint8_t value[8];
    void *out;
} bnnc_fill_args;

/* gather: x[outer][axis][inner] -> out[outer][indices][inner]; negative indices count from the end,
 * others are clamped so that no run reads outside x. */
typedef struct {
    int64_t outer, axis, inner, indices_count;
    int32_t element_bytes;
    const void *x;
    const int64_t *indices;
    void *out;
} bnnc_gather_args;

/* softmax, log_softmax, reduce_*, arg_max: over the middle of [outer][count][inner]. */
typedef struct {
    int64_t outer, count, inner;
    int32_t function, type;
    int32_t last; /* arg_max, arg_min: the last of equals, not the first */
    const void *x;
    void *out;
} bnnc_reduce_args;

/* top_k over the middle of [outer][count][inner]: values and int64 indices [outer][k][inner], in
 * order; among equals the lower index first; NaN counts as the largest. */
typedef struct {
    int64_t outer, count, inner, k;
    int32_t largest;
    const float *x;
    float *values;
    int64_t *indices;
} bnnc_top_k_args;

/* bits: between layouts, and from bits to float32 (low or high per channel). */
typedef struct {
    int32_t batch, channels, height, width;
    int32_t from, to; /* BNNC_BITS_ */
    const void *x;
    void *out;
    const float *low, *high; /* unpack only: float[channels] */
} bnnc_bits_args;

/* ceiling_f32, ceiling_bits: how much of it to do; see kernels/ceiling.inl. */
typedef struct {
    int64_t units;
} bnnc_ceiling_args;

/* ---- elementwise functions: the op's name in capitals; F_MOD is Mod with fmod = 1 ---- */

/* clang-format off */
enum {
    BNNC_FN_RELU, BNNC_FN_LEAKY_RELU, BNNC_FN_CLIP, BNNC_FN_SIGMOID, BNNC_FN_TANH, BNNC_FN_HARD_SWISH,
    BNNC_FN_HARD_SIGMOID, BNNC_FN_EXP, BNNC_FN_LOG, BNNC_FN_SQRT, BNNC_FN_NEG, BNNC_FN_ABS, BNNC_FN_FLOOR,
    BNNC_FN_CEIL, BNNC_FN_ROUND, BNNC_FN_RECIPROCAL, BNNC_FN_ERF, BNNC_FN_SOFTPLUS, BNNC_FN_ELU, BNNC_FN_SELU,
    BNNC_FN_SOFTSIGN, BNNC_FN_SIGN, BNNC_FN_NOT, BNNC_FN_SIN, BNNC_FN_COS, BNNC_FN_ASIN, BNNC_FN_ACOS,
    BNNC_FN_ATAN, BNNC_FN_ASINH, BNNC_FN_ACOSH, BNNC_FN_ATANH,
    BNNC_FN_ADD, BNNC_FN_SUB, BNNC_FN_MUL, BNNC_FN_DIV, BNNC_FN_POW, BNNC_FN_MAX, BNNC_FN_MIN, BNNC_FN_MOD,
    BNNC_FN_F_MOD, BNNC_FN_P_RELU, BNNC_FN_EQUAL, BNNC_FN_GREATER, BNNC_FN_GREATER_OR_EQUAL, BNNC_FN_LESS,
    BNNC_FN_LESS_OR_EQUAL, BNNC_FN_AND, BNNC_FN_OR, BNNC_FN_XOR,
    BNNC_FN_REDUCE_SUM, BNNC_FN_REDUCE_MEAN, BNNC_FN_REDUCE_MAX, BNNC_FN_REDUCE_MIN, BNNC_FN_REDUCE_PROD,
    BNNC_FN_REDUCE_L1, BNNC_FN_REDUCE_L2, BNNC_FN_REDUCE_SUM_SQUARE, BNNC_FN_ARG_MAX, BNNC_FN_ARG_MIN,
    BNNC_FN_SOFTMAX, BNNC_FN_LOG_SOFTMAX
};
/* clang-format on */

/* Those from F16 on are cast, to and from F32, I32 and I64 (F16 and F64 to and from F32 only), and moved. */
/* clang-format off */
enum {
    BNNC_TYPE_F32, BNNC_TYPE_I32, BNNC_TYPE_I64, BNNC_TYPE_U8, BNNC_TYPE_I8, BNNC_TYPE_BOOL,
    BNNC_TYPE_F16, BNNC_TYPE_F64, BNNC_TYPE_I16, BNNC_TYPE_U16, BNNC_TYPE_U32, BNNC_TYPE_U64
};
/* clang-format on */

/* ---- the table ---- */

typedef struct {
    const char *name;
    bnnc_kernel conv_f32, conv_f32_winograd, branched_conv_f32, depthwise_f32, pooled_depthwise_f32;
    bnnc_kernel conv_transpose_f32, conv_transpose_f32_winograd, matmul_f32;
    bnnc_kernel binary_conv_nhwc, binary_conv_planar;
    bnnc_kernel map_f32, max_pool_f32, average_pool_f32, resize_f32;
    bnnc_kernel unary, broadcast, where, cast, copy, fill, gather, look_up, reduce, softmax, top_k;
    bnnc_kernel bits_convert, bits_unpack;
    bnnc_kernel ceiling_f32, ceiling_bits;
    int64_t ceiling_f32_macs, ceiling_bits_macs; /* multiply-adds of one unit */
} bnnc_isa_table;
/* cdef end */

/* The table the dispatcher chose (dispatch.c). */
BNNC_INTERNAL const bnnc_isa_table *bnnc_active(void);

/* Run all units of a kernel on the pool, or on this thread with this scratch (pool.c). Returns when
 * all are done. If the pool is busy with another run, this thread does the work alone. */
BNNC_INTERNAL void bnnc_parallel(bnnc_pool *pool, const bnnc_kernel *kernel, const void *args, void *scratch);

#endif
