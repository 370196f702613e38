/* One unit of binary_conv_planar, with vectors of BNNC_PLANAR_BYTES bytes of pixels: everything that
 * depends on the width, included once for each. */
#define PLANAR_PASTE_(name, bytes) ISA(name##_##bytes)
#define PLANAR_PASTE(name, bytes) PLANAR_PASTE_(name, bytes)
#define PLANAR(name) PLANAR_PASTE(planar_##name, BNNC_PLANAR_BYTES)
#define vbits PLANAR(bits)
#define vbits_any PLANAR(bits_any)

typedef uint64_t vbits __attribute__((vector_size(BNNC_PLANAR_BYTES)));
typedef uint64_t vbits_any __attribute__((vector_size(BNNC_PLANAR_BYTES), aligned(1), may_alias));

#include "planar_table.inl"
#include "planar_sum.inl"
#include "planar_block.inl"
#include "planar_output.inl"

/* What of scratch holds what. */
typedef struct {
    vbits table[PLANAR(TABLE_WORDS)];
    vbits start[PLANAR(LOW_PLANES)];
    int32_t accumulators[8 * BNNC_PLANAR_BYTES];
    vbits planes[];
} PLANAR(scratch);

static PLANAR(window) PLANAR(window_of)(const ISA(planar_plan) *p, const ISA(planar_unit) *u) {
    union {
        uint8_t bytes[BNNC_PLANAR_BYTES];
        vbits bits;
    } left = {{0}}, right = {{0}};
    const int32_t width = p->args->shape.ow, step = width % 8 ? (int32_t)p->row_bytes * 8 : width;
    for (int32_t i = -u->x; i < 8 * BNNC_PLANAR_BYTES; i += step) {
        int32_t last = i + width - 1;
        if (i >= 0)
            left.bytes[i / 8] |= (uint8_t)(1u << i % 8);
        if (last >= 0 && last < 8 * BNNC_PLANAR_BYTES)
            right.bytes[last / 8] |= (uint8_t)(1u << last % 8);
    }
    return (PLANAR(window)){bnnc_planar_first_row(width) + u->byte, p->row_bytes, left.bits, right.bits};
}

/* ---- what becomes of the sums ---- */

/* Where a channel's pixels of a unit begin in a tensor; those of the unit's last channel for any beyond it. */
BNNC_INLINE const float *PLANAR(pixels_of)(const ISA(planar_plan) *p, const ISA(planar_unit) *u, const float *tensor,
                                           int32_t channel) {
    const bnnc_conv_shape *s = &p->args->shape;
    channel = BNNC_MIN(channel, u->channel + u->channels - 1);
    return tensor + ((int64_t)u->batch_index * s->oc + channel) * s->oh * s->ow + u->first;
}

/* Ask for them. A channel at a time: channels often lie a power of two apart, and lines of many would drive each other
 * out of the caches. */
static void PLANAR(fetch)(const ISA(planar_plan) *p, const ISA(planar_unit) *u, const float *tensor, int32_t channel) {
    const float *pixels = PLANAR(pixels_of)(p, u, tensor, channel);
    for (int32_t i = 0; i < u->rows * u->count; i += 16)
        PLANAR(ask)(pixels + i);
}

/* The same for all that the epilogue adds or stores. */
static void PLANAR(fetch_all)(const ISA(planar_plan) *p, const ISA(planar_unit) *u, const float *const stream[2],
                              int32_t channel) {
    for (int k = 0; k < 2 && stream[k]; k++)
        PLANAR(fetch)(p, u, stream[k], channel);
}

static void PLANAR(threshold_tile)(const ISA(planar_plan) *p, const ISA(planar_unit) *u, const vbits *planes) {
    const bnnc_step *step = p->args->epilogue.steps;
    const int32_t products = 9 * p->args->shape.ic;
    for (int32_t channel = u->channel; channel < u->channel + u->channels; channel++, planes += p->plane_stride) {
        /* 2 * q - n >= t, rounded up */
        int64_t least = ((int64_t)((const int32_t *)step->a)[channel] + products + 1) >> 1;
        vbits bits = PLANAR(at_least)(planes, p->planes, least + p->start);
        if (((const uint8_t *)step->b)[channel])
            bits = ~bits;
        memcpy(ISA(planar_frame)(p, u, channel, step->out), &bits, (size_t)u->bytes);
    }
}

/* Any epilogue, by way of integers. */
static void PLANAR(integer_channel)(const ISA(planar_plan) *p, const ISA(planar_unit) *u, int32_t channel,
                                    const vbits *planes, PLANAR(scratch) *s) {
    const bnnc_conv_shape *shape = &p->args->shape;
    PLANAR(accumulators)(planes, p->planes, 9 * shape->ic + 2 * p->start, s->accumulators);
    if (p->args->border)
        ISA(planar_restore_border)(p, u, p->args->border + 9 * channel, s->accumulators);
    for (int32_t row = 0; row < u->rows; row++) {
        const int32_t *sums = s->accumulators + row * p->row_bytes * 8;
        int64_t first = u->first + (int64_t)row * shape->ow;
        if (p->args->raw)
            memcpy(p->args->out + ((int64_t)u->batch_index * shape->oc + channel) * shape->oh * shape->ow + first, sums,
                   (size_t)u->count * sizeof *sums);
        else
            ISA(epilogue_run_i32)(&p->args->epilogue, u->batch_index, channel, first, u->count, sums);
    }
}

static void PLANAR(residual_tile)(const ISA(planar_plan) *p, const ISA(planar_unit) *u, const PLANAR(residual) *r,
                                  const vbits *planes, PLANAR(scratch) *s) {
    const int32_t taken_off = 9 * p->args->shape.ic / 2 + p->start;
    const PLANAR(half) half = PLANAR(half_of)(taken_off);
    const float *added = r->add->a;
    float *stored = r->store->out;
    for (int32_t channel = u->channel; channel < u->channel + u->channels; channel++, planes += p->plane_stride) {
        if (added != stored)
            PLANAR(fetch)(p, u, added, channel + 1);
        if (!ISA(planar_plain_affine)(r->affine, channel)) {
            PLANAR(integer_channel)(p, u, channel, planes, s);
            continue;
        }
        const int64_t at = PLANAR(pixels_of)(p, u, stored, channel) - stored;
        const float *behind = PLANAR(pixels_of)(p, u, stored, channel + 1);
        const PLANAR(channel) k = PLANAR(channel_of)(r, taken_off, channel);
        uint8_t *bits = r->sign ? ISA(planar_frame)(p, u, channel, r->sign->out) : NULL;
        PLANAR(residual_channel)(planes, p->planes, &half, &k, added + at, stored + at, bits, behind, r->relu);
    }
}

/* Whether the epilogue is that of a residual block, on a whole tile. */
static int PLANAR(match_residual)(const ISA(planar_plan) *p, const ISA(planar_unit) *u, PLANAR(residual) *r) {
    const bnnc_epilogue *e = &p->args->epilogue;
    const bnnc_step *s = e->steps, *stop = s + e->count;
    if (p->args->raw || p->args->border || p->args->shape.ic % 2 || u->rows != 1 || u->count != 8 * BNNC_PLANAR_BYTES)
        return 0;
    *r = (PLANAR(residual)){.low = -INFINITY};
    if (s < stop && s->kind == BNNC_STEP_RELU) {
        r->relu = 1;
        s++;
    }
    if (stop - s < 3 || s[0].kind != BNNC_STEP_AFFINE || s[1].kind != BNNC_STEP_ADD)
        return 0;
    r->affine = s++;
    r->add = s++;
    if (s->kind == BNNC_STEP_RELU) {
        r->low = 0;
        s++;
    }
    if (s == stop || s->kind != BNNC_STEP_STORE)
        return 0;
    r->store = s++;
    if (s < stop && r->low < 0 && s->kind == BNNC_STEP_SIGN && s->layout == BNNC_BITS_PLANAR && s->compare == BNNC_GE)
        r->sign = s++;
    return s == stop;
}

/* The output of a unit's channels, whose sums' planes begin at `planes`. */
static void PLANAR(output)(const ISA(planar_plan) *p, const ISA(planar_unit) *u, const float *const stream[2],
                           const vbits *planes, PLANAR(scratch) *s) {
    const bnnc_step *step = p->args->epilogue.steps;
    const int plain = !p->args->raw && !p->args->border;
    PLANAR(residual) r;
    if (plain && step->kind == BNNC_STEP_THRESHOLD && step->layout == BNNC_BITS_PLANAR) {
        PLANAR(threshold_tile)(p, u, planes);
    } else if (plain && PLANAR(match_residual)(p, u, &r)) {
        PLANAR(residual_tile)(p, u, &r, planes, s);
    } else {
        for (int32_t c = 0; c < u->channels; c++) {
            PLANAR(fetch_all)(p, u, stream, u->channel + c + 1);
            PLANAR(integer_channel)(p, u, u->channel + c, planes + c * p->plane_stride, s);
        }
    }
}

/* Add a block of `size` input channels from `c` on to the sums of `count` channels. */
static PLANAR(run) PLANAR(run_of)(const ISA(planar_plan) *p, int32_t c, int32_t size, PLANAR(scratch) *s, vbits *planes,
                                  int32_t count) {
    int32_t before = ISA(planar_bits)(p->start + 9 * c);
    int32_t after = ISA(planar_bits)(p->start + 9 * BNNC_MIN(c + size, p->args->shape.ic));
    int32_t high = BNNC_MAX(0, before - PLANAR(LOW_PLANES)), then = BNNC_MAX(0, after - PLANAR(LOW_PLANES));
    return (PLANAR(run)){planes, p->plane_stride, count, c == 0 ? s->start : NULL, high, then > high};
}

static void PLANAR(run_block)(const PLANAR(run) *run, const vbits *table, const uint16_t *codes, int32_t size) {
    if (size == 16)
        PLANAR(add_block_of_16)(run, table, codes);
    else
        PLANAR(add_block_of_4)(run, table, codes);
}

/* Ask for what a table of a block of channels will be made from: other threads may have written it. */
static void PLANAR(ask_planes)(const PLANAR(channels) *x, const PLANAR(window) *at) {
    const uint8_t *plane = x->planes + at->offset;
    for (int32_t c = 0; c < BNNC_MIN(16, x->count); c++, plane += x->plane_bytes) {
        const uint8_t *last = plane + at->row_bytes + BNNC_PLANAR_BYTES + 7;
        for (const uint8_t *line = plane - at->row_bytes - 8; line < last; line += 64)
            __builtin_prefetch(line);
        __builtin_prefetch(last);
        __asm__ volatile(""); /* see ask */
    }
}

/* Channels whose sums are finished and put out at a time: few enough that their planes stay near. */
enum { PLANAR(LAST_RUN) = 64 };

static void PLANAR(conv_unit)(const ISA(planar_plan) *p, const ISA(planar_unit) *u, void *scratch) {
    PLANAR(scratch) *s = scratch;
    const int32_t ic = p->args->shape.ic, oc = p->args->shape.oc;
    const PLANAR(window) window = PLANAR(window_of)(p, u);
    const float *stream[2];
    ISA(epilogue_tensors)(&p->args->epilogue, stream);
    const uint8_t *x = (const uint8_t *)p->args->x + u->batch_index * ic * p->plane_bytes;
    const uint16_t *codes = p->args->w;
    for (int32_t c = 0, size; c < ic; c += size, codes += (int64_t)size * oc) {
        size = ISA(planar_block_size)(ic - c);
        const uint16_t *own = codes + (int64_t)u->channel * size;
        const PLANAR(channels) channels = {x + c * p->plane_bytes, p->plane_bytes, ic - c};
        if (size == 16)
            PLANAR(build_table_16)(&channels, &window, s->table);
        else
            PLANAR(build_table_4)(&channels, &window, s->table);
        if (c + size < ic) {
            const PLANAR(channels) next = {channels.planes + size * p->plane_bytes, p->plane_bytes, ic - c - size};
            PLANAR(ask_planes)(&next, &window);
            PLANAR(run) run = PLANAR(run_of)(p, c, size, s, s->planes, u->channels);
            PLANAR(run_block)(&run, s->table, own, size);
            continue;
        }
        for (int32_t k = 0; k < u->channels; k += PLANAR(LAST_RUN)) {
            ISA(planar_unit) some = *u;
            some.channel += k;
            some.channels = BNNC_MIN(PLANAR(LAST_RUN), u->channels - k);
            PLANAR(run) run = PLANAR(run_of)(p, c, size, s, s->planes + k * p->plane_stride, some.channels);
            PLANAR(fetch_all)(p, &some, stream, some.channel);
            PLANAR(run_block)(&run, s->table, own + (int64_t)k * size, size);
            PLANAR(output)(p, &some, stream, run.planes, s);
        }
    }
}

/* Planes that no block reaches are read as zeros when the sums are. */
static void PLANAR(prepare)(const ISA(planar_plan) *p, void *scratch) {
    PLANAR(scratch) *s = scratch;
    for (int k = 0; k < PLANAR(LOW_PLANES); k++)
        s->start[k] = (0 - (uint64_t)(p->start >> k & 1)) - (vbits){0};
    for (int32_t c = 0; c < p->part; c++)
        for (int32_t k = p->planes; k < p->plane_stride; k++)
            s->planes[c * p->plane_stride + k] = (vbits){0};
}

static const ISA(planar_width) PLANAR(width) = {sizeof(PLANAR(scratch)), PLANAR(prepare), PLANAR(conv_unit)};

#undef vfloats
#undef vfloats_any
#undef BNNC_MAGIC
#undef BNNC_MAGIC_BITS
#undef BNNC_INTERLEAVE
#undef BNNC_LOWER_PAIRS
#undef BNNC_INTERLEAVE_lo
#undef BNNC_INTERLEAVE_hi
#undef vbits
#undef vbits_any
#undef PLANAR
#undef PLANAR_PASTE
#undef PLANAR_PASTE_
#undef BNNC_PLANAR_BYTES
