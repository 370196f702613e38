/* binary_conv_planar: 3x3, stride 1, pads 1, bit-sliced: a vector holds one channel's bits of as many
 * pixels as it has bits, and sums are formed for all of them at once by full adders on whole vectors.
 * No popcount and no multiplication: weights select words of a table (planar_table.inl), which carry-save
 * trees (planar_sum.inl) add up block of channels by block (planar_block.inl); planar_output.inl turns
 * the sums' planes into what is stored.
 *
 * A unit is a tile of pixels, as many as a vector has bits or a few less, and a run of output channels:
 * all of them, or a part where all would not fit the scratch or tiles are few.
 * Rows of a plane are whole bytes: where the width is no multiple of 8, tiles are of whole rows, or of
 * one, and the bits behind a row's end go along without harm.
 */

/* before loops whose turns must all be there, since they keep vectors in registers */
#if defined(__clang__)
#define BNNC_PLANAR_UNROLL _Pragma("unroll")
#else
#define BNNC_PLANAR_UNROLL _Pragma("GCC unroll 32")
#endif

typedef struct {
    const bnnc_binary_conv_args *args;
    int64_t row_bytes, plane_bytes;
    int32_t vector_bytes;
    int32_t tile_bytes, tiles, row_tiles; /* row_tiles: of a row, where a tile is less than that; else 1 */
    int32_t part, parts;                  /* output channels of a unit, and how many such runs there are */
    int32_t planes, plane_stride;         /* of the sums: in use, and from one channel to the next */
    int32_t start;                        /* what all sums begin at */
} ISA(planar_plan);

/* Pixels [first, first + count), and the same of `rows` rows if that is more than one. */
typedef struct {
    int32_t batch_index, x, rows, count, channel, channels;
    int64_t first, byte, bytes; /* byte: of the first pixel, counted from a plane's first row */
} ISA(planar_unit);

/* Channels that the next block takes of `left`: small ones where a large one would be mostly empty. */
BNNC_INLINE int32_t ISA(planar_block_size)(int32_t left) {
    return left > 8 ? 16 : 4;
}

/* Bits that hold every number up to n. */
BNNC_INLINE int32_t ISA(planar_bits)(int32_t n) {
    int32_t bits = 0;
    for (; n >> bits; bits++)
        ;
    return bits;
}

/* The frame of ones around a plane's rows is written by whoever writes its first and last pixels.
 * Returns where the unit's bits go. */
static uint8_t *ISA(planar_frame)(const ISA(planar_plan) *p, const ISA(planar_unit) *u, int32_t channel, void *out) {
    const bnnc_conv_shape *s = &p->args->shape;
    uint8_t *plane = (uint8_t *)out + ((int64_t)u->batch_index * s->oc + channel) * p->plane_bytes;
    uint8_t *rows = plane + bnnc_planar_first_row(s->ow), *behind = rows + s->oh * p->row_bytes;
    if (u->byte == 0)
        memset(plane, 0xFF, (size_t)(rows - plane));
    if (rows + u->byte + u->bytes == behind)
        memset(behind, 0xFF, (size_t)(plane + p->plane_bytes - behind));
    return rows + u->byte;
}

/* Take back what the padding counted as ones: border[3 * row class + column class], see kernel.h. */
static void ISA(planar_restore_border)(const ISA(planar_plan) *p, const ISA(planar_unit) *u, const int32_t *border,
                                       int32_t *sums) {
    const bnnc_conv_shape *s = &p->args->shape;
    const int32_t width = s->ow, step = width % 8 ? (int32_t)p->row_bytes * 8 : width, room = 8 * p->vector_bytes;
    int32_t y = (int32_t)(u->first / width);
    for (int32_t i = -u->x; i < room && y < s->oh; i += step, y++) {
        const int32_t *b = border + (y == 0 ? 0 : y == s->oh - 1 ? 6 : 3);
        for (int32_t k = BNNC_MAX(0, i + 1); k < BNNC_MIN(room, i + width - 1) && b[1]; k++)
            sums[k] -= b[1];
        if (i >= 0)
            sums[i] -= b[0];
        if (i + width - 1 >= 0 && i + width - 1 < room)
            sums[i + width - 1] -= b[2];
    }
}

/* Whether the residual block's arithmetic applies: twice the factor times 2^23 is finite, and the sign
 * of a zero product cannot show. */
BNNC_INLINE int ISA(planar_plain_affine)(const bnnc_step *affine, int32_t channel) {
    float a = ((const float *)affine->a)[channel], b = ((const float *)affine->b)[channel];
    return fabsf(a) < 1e30f && !(b == 0 && signbit(b));
}

/* What planar_tile.inl defines, for one width of vectors. */
typedef struct {
    int64_t fixed_bytes; /* of scratch, beside the sums' planes */
    void (*prepare)(const ISA(planar_plan) *, void *scratch);
    void (*run)(const ISA(planar_plan) *, const ISA(planar_unit) *, void *scratch);
} ISA(planar_width);

#define BNNC_PLANAR_BYTES BNNC_VEC_BYTES
#include "planar_tile.inl"
#if BNNC_VEC_BYTES == 64
/* for maps that would leave much of a wider vector empty */
#define BNNC_PLANAR_BYTES 32
#include "planar_tile.inl"
#endif

static const ISA(planar_width) *ISA(planar_width_of)(const ISA(planar_plan) *p) {
#if BNNC_VEC_BYTES == 64
    return p->vector_bytes == 64 ? &ISA(planar_width_64) : &ISA(planar_width_32);
#elif BNNC_VEC_BYTES == 32
    (void)p;
    return &ISA(planar_width_32);
#else
    (void)p;
    return &ISA(planar_width_16);
#endif
}

/* Cut the pixels into tiles for vectors of that many bytes. */
static void ISA(planar_cut)(ISA(planar_plan) *p, int32_t vector_bytes) {
    const bnnc_conv_shape *s = &p->args->shape;
    p->vector_bytes = vector_bytes;
    p->row_tiles = 1;
    if (s->ow % 8 == 0) {
        p->tile_bytes = vector_bytes;
        p->tiles = (int32_t)BNNC_CEIL_DIV(s->oh * p->row_bytes, vector_bytes);
    } else if (p->row_bytes <= vector_bytes) {
        int32_t rows = (int32_t)(vector_bytes / p->row_bytes);
        p->tile_bytes = rows * (int32_t)p->row_bytes;
        p->tiles = BNNC_CEIL_DIV(s->oh, rows);
    } else {
        p->tile_bytes = vector_bytes;
        p->row_tiles = (int32_t)BNNC_CEIL_DIV(p->row_bytes, vector_bytes);
        p->tiles = s->oh * p->row_tiles;
    }
}

static ISA(planar_plan) ISA(planar_plan_of)(const bnnc_binary_conv_args *args) {
    const bnnc_conv_shape *s = &args->shape;
    ISA(planar_plan) p = {.args = args};
    p.row_bytes = bnnc_planar_row_bytes(s->ow);
    p.plane_bytes = bnnc_planar_plane_bytes(s->oh, s->ow);
    ISA(planar_cut)(&p, BNNC_VEC_BYTES);
#if BNNC_VEC_BYTES == 64
    int32_t wide = p.tiles;
    ISA(planar_cut)(&p, 32);
    /* measured: a tile takes 3/2 of the time with vectors twice as wide */
    if (3 * wide <= 2 * p.tiles)
        ISA(planar_cut)(&p, 64);
#endif
    int64_t fixed = ISA(planar_width_of)(&p)->fixed_bytes;
    /* relu takes half of all products off the sums: their low planes' part of it is off from the start */
    p.start = s->ic % 2 ? 0 : -(9 * s->ic / 2) & 0xFF;
    p.planes = ISA(planar_bits)(p.start + 9 * s->ic);
    p.plane_stride = p.planes <= 12 ? 13 : 17;
    int32_t blocks = BNNC_CEIL_DIV(s->oc, 64);
    int32_t most_blocks = (int32_t)((BNNC_SCRATCH_BYTES - fixed) / (p.plane_stride * p.vector_bytes * 64));
    int32_t parts = BNNC_CEIL_DIV(blocks, most_blocks);
    /* One tile or two are shared by channels: threads with tiles side by side would take lines away from each other. */
    if (p.tiles * s->batch * parts <= 2)
        parts = BNNC_MIN(2, blocks);
    const int32_t grain = ISA(mixes_channels)(&args->epilogue) ? 64 : 1;
    p.part = BNNC_CEIL_DIV(BNNC_CEIL_DIV(s->oc, parts), grain) * grain;
    p.parts = BNNC_CEIL_DIV(s->oc, p.part);
    return p;
}

static ISA(planar_unit) ISA(planar_unit_at)(const ISA(planar_plan) *p, int64_t unit) {
    const bnnc_conv_shape *s = &p->args->shape;
    ISA(planar_unit) u = {.rows = 1};
    const int64_t tiles = (int64_t)s->batch * p->tiles;
    int32_t tile = (int32_t)(unit % tiles % p->tiles);
    u.batch_index = (int32_t)(unit % tiles / p->tiles);
    u.channel = (int32_t)(unit / tiles) * p->part;
    u.channels = BNNC_MIN(p->part, s->oc - u.channel);
    u.byte = (int64_t)tile * p->tile_bytes;
    if (s->ow % 8 == 0) {
        u.bytes = BNNC_MIN(p->tile_bytes, s->oh * p->row_bytes - u.byte);
        u.first = u.byte * 8;
        u.count = (int32_t)u.bytes * 8;
        u.x = (int32_t)(u.first % s->ow);
    } else if (p->row_tiles == 1) {
        u.bytes = BNNC_MIN(p->tile_bytes, s->oh * p->row_bytes - u.byte);
        u.rows = (int32_t)(u.bytes / p->row_bytes);
        u.first = u.byte / p->row_bytes * s->ow;
        u.count = s->ow;
    } else {
        int32_t y = tile / p->row_tiles, start = tile % p->row_tiles * p->tile_bytes;
        u.byte = y * p->row_bytes + start;
        u.bytes = BNNC_MIN(p->tile_bytes, p->row_bytes - start);
        u.x = start * 8;
        u.count = BNNC_MIN(p->tile_bytes * 8, s->ow - u.x);
        u.first = (int64_t)y * s->ow + u.x;
    }
    return u;
}

static int64_t ISA(binary_conv_planar_units)(const void *args) {
    ISA(planar_plan) p = ISA(planar_plan_of)(args);
    return (int64_t)p.args->shape.batch * p.tiles * p.parts;
}

static void ISA(binary_conv_planar)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const ISA(planar_plan) p = ISA(planar_plan_of)(args);
    const ISA(planar_width) *width = ISA(planar_width_of)(&p);
    width->prepare(&p, scratch);
    for (int64_t unit = begin; unit < end; unit++) {
        const ISA(planar_unit) u = ISA(planar_unit_at)(&p, unit);
        width->run(&p, &u, scratch);
    }
}

#undef BNNC_PLANAR_UNROLL
