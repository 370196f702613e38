/* conv_f32: convolution of float tensors, as products of im2col panels with blocks of 8 channels.
 *
 * Work is cut into tiles of pixels that follow each other in the output. A tile's inputs are
 * gathered into a panel [input channel, ky, kx][pixel] in scratch, which settles padding, strides
 * and dilation once, and which all output channels then read at unit stride: rows of a tensor
 * whose planes lie a power of two apart would share a few cache sets. A block's eight rows of
 * results go straight to the output where the epilogue only stores, else through scratch.
 *
 * Where the panel of all products would not fit the cache, it is built and used in slices, and
 * sums wait in scratch for the next slice.
 *
 * At stride 2 no tap's inputs follow each other, and few channels, such as a picture's, make gathering
 * them as long as multiplying. There the rows under a tile are split into even and odd columns once, and
 * every tap reads one of the halves at its own place.
 */

/* Output channels up to which a 1x1 convolution's inputs are not gathered. They are read once for every
 * register tile of channels; with tiles of whole cache lines that may be often, else lines are fetched
 * twice each time. */
#define CONV_POINTWISE (BNNC_VEC_BYTES == 64 ? 64 : 4)
/* Floats of a panel, of waiting sums; products of a slice, of a panel that is not sliced; units wanted. Processors
 * without AVX-512 have half a megabyte of second-level cache or less. */
#define CONV_PANEL (BNNC_VEC_BYTES == 64 ? 64 << 10 : 32 << 10)
#define CONV_SUMS (64 << 10)
#define CONV_SLICE 512
#define CONV_WHOLE 1024
#define CONV_UNITS 16
/* Rows of outputs whose input rows are split together, and zeros before such a half row. */
#define CONV_SPLIT 4
#define CONV_MARGIN 16

typedef struct {
    const bnnc_conv_f32_args *args;
    bnnc_conv_shape s; /* of an equal convolution; pixels of 1x1 ones are a single row */
    const float *end;  /* of the input */
    int64_t pixels, width;
    int64_t tile;      /* pixels of a tile, at most BNNC_TILE */
    int64_t row_tiles; /* tiles of a row; 0 where tiles follow each other without regard to rows */
    int64_t tiles;     /* tiles of an image */
    int64_t depth, slice;
    int64_t stride; /* floats from one panel row, or row of sums, to the next */
    int64_t group_blocks, blocks, unit_blocks, splits;
    int64_t waiting_blocks; /* blocks whose sums fit in scratch */
    int64_t half;           /* floats of half an input row, where rows are split; else 0 */
    int64_t split_rows;     /* input rows under a tile */
    const int64_t *taps;    /* where each tap reads */
    int pointwise;          /* 1x1, and so few output channels that the input may serve as the panel */
    const float *touch[2];  /* tensors the epilogue uses */
    float *direct;          /* the output tensor, where the epilogue is relu? store sign* */
    float low;
    bnnc_epilogue signs; /* the rest of such an epilogue */
} ISA(conv_plan);

typedef struct {
    int64_t first, count; /* pixels */
    int32_t batch_index, group;
    int64_t from, to; /* products */
} ISA(conv_slice);

/* Whether a word of bits holds many channels, which then must be written by one worker in order. */
BNNC_INLINE int ISA(mixes_channels)(const bnnc_epilogue *e) {
    for (int32_t i = 0; i < e->count; i++)
        if ((e->steps[i].kind == BNNC_STEP_SIGN || e->steps[i].kind == BNNC_STEP_THRESHOLD) &&
            e->steps[i].layout == BNNC_BITS_NHWC)
            return 1;
    return 0;
}

/* The tensor written and the lower bound, if the epilogue is relu? store; else NULL. Where `signs` is
 * not NULL, signs may follow, which can be taken from the stored values: it is set to them. */
BNNC_INLINE float *ISA(plain_store)(const bnnc_epilogue *e, float *low, bnnc_epilogue *signs) {
    int32_t relu = e->count > 0 && e->steps[0].kind == BNNC_STEP_RELU, rest = e->count - relu - 1;
    *low = -INFINITY;
    if (rest < 0 || (rest > 0 && !signs) || e->steps[relu].kind != BNNC_STEP_STORE)
        return NULL;
    for (int32_t i = 0; i < rest; i++)
        if (e->steps[relu + 1 + i].kind != BNNC_STEP_SIGN)
            return NULL;
    if (signs) {
        *signs = *e;
        signs->steps += relu + 1;
        signs->count = rest;
    }
    if (relu)
        *low = 0;
    return e->steps[relu].out;
}

/* Cut an image into tiles of about `tile` pixels, such as an epilogue takes. */
static void ISA(plan_tiles)(ISA(conv_plan) *p, int64_t tile) {
    int64_t height = p->pixels / p->width;
    if (p->width % 8 == 0) {
        int64_t tiles = BNNC_CEIL_DIV(p->pixels, tile);
        p->tile = BNNC_MIN(tile, BNNC_CEIL_DIV(BNNC_CEIL_DIV(p->pixels, tiles), 16) * 16);
        p->row_tiles = 0;
        p->tiles = BNNC_CEIL_DIV(p->pixels, p->tile);
    } else if (p->width <= tile) {
        int64_t rows = tile / p->width;
        p->tile = rows * p->width;
        p->row_tiles = 0;
        p->tiles = BNNC_CEIL_DIV(height, rows);
    } else {
        p->tile = tile;
        p->row_tiles = BNNC_CEIL_DIV(p->width, tile);
        p->tiles = height * p->row_tiles;
    }
}

/* Have input rows split where that pays: tiles are whole rows then. */
static void ISA(plan_split)(ISA(conv_plan) *p) {
    const bnnc_conv_shape *s = &p->s;
    if (s->groups != 1 || s->stride_w != 2 || s->dilation_w != 1 || s->kw == 1 || s->ow % BNNC_LANES ||
        s->ow > BNNC_TILE || s->pad_left > CONV_MARGIN || p->depth > CONV_WHOLE)
        return;
    int64_t rows = BNNC_MIN(CONV_SPLIT, BNNC_MAX(1, (int64_t)s->batch * s->oh / CONV_UNITS));
    int64_t last = s->ow + BNNC_MAX(0, s->kw - 1 - s->pad_left) / 2;
    int64_t half = CONV_MARGIN + BNNC_MAX(last, BNNC_CEIL_DIV(s->iw, 2 * BNNC_LANES) * BNNC_LANES);
    /* An odd number of cache lines, so that rows spread over all cache sets. */
    half = (BNNC_CEIL_DIV(half, 16) | 1) * 16;
    p->split_rows = (rows - 1) * s->stride_h + (int64_t)(s->kh - 1) * s->dilation_h + 1;
    if (s->ic * p->split_rows * 2 * half > CONV_PANEL)
        return;
    p->half = half;
    p->slice = p->depth;
    p->tile = rows * s->ow;
    p->row_tiles = 0;
    p->tiles = BNNC_CEIL_DIV(s->oh, rows);
}

static ISA(conv_plan) ISA(plan_conv)(const bnnc_conv_f32_args *args) {
    ISA(conv_plan) p = {.args = args, .s = args->shape};
    bnnc_conv_shape *s = &p.s;
    p.width = s->ow;
    p.pixels = (int64_t)s->oh * s->ow;
    p.depth = (int64_t)(s->ic / s->groups) * s->kh * s->kw;
    int pointwise = s->kh == 1 && s->kw == 1 && s->stride_h == 1 && s->stride_w == 1 && s->pad_top == 0 &&
                    s->pad_left == 0 && s->oh == s->ih && s->ow == s->iw;
    if (pointwise && p.pixels <= INT32_MAX) {
        s->iw = s->ow = (int32_t)p.pixels;
        s->ih = s->oh = 1;
    }
    p.end = args->x + (int64_t)s->batch * s->ic * s->ih * s->iw;
    p.pointwise = pointwise && s->groups == 1 && s->oc <= CONV_POINTWISE;
    p.direct = ISA(plain_store)(&args->epilogue, &p.low, &p.signs);
    ISA(epilogue_tensors)(&args->epilogue, p.touch);

    int64_t tile = 128;
    p.slice = BNNC_CEIL_DIV(p.depth, BNNC_CEIL_DIV(p.depth, CONV_SLICE));
    if (p.depth <= CONV_WHOLE) {
        p.slice = p.depth;
        tile = BNNC_MIN(BNNC_TILE, BNNC_MAX(64, CONV_PANEL / p.depth / 16 * 16));
    }
    while (tile > 64 && (int64_t)s->batch * BNNC_CEIL_DIV(p.pixels, tile) < CONV_UNITS / 2)
        tile = BNNC_MAX(64, tile / 32 * 16);
    ISA(plan_tiles)(&p, tile);
    ISA(plan_split)(&p);
    /* Room for a vector behind a row, since three rows may be gathered at once; and an odd number of cache
     * lines, so that the rows spread over all cache sets. */
    p.stride = ((BNNC_CEIL_DIV(p.tile, 16) + 1) | 1) * 16;

    p.group_blocks = BNNC_CEIL_DIV(s->oc / s->groups, 8);
    p.blocks = p.group_blocks * s->groups;
    p.waiting_blocks = p.slice == p.depth ? p.blocks : BNNC_MAX(1, CONV_SUMS / (8 * p.stride));
    int64_t units = s->batch * p.tiles;
    p.unit_blocks = p.blocks;
    if (units < CONV_UNITS && !ISA(mixes_channels)(&args->epilogue))
        p.unit_blocks = BNNC_MAX(1, BNNC_CEIL_DIV(p.blocks * units, CONV_UNITS));
    p.splits = BNNC_CEIL_DIV(p.blocks, p.unit_blocks);
    return p;
}

/* Set batch item, group and pixels of a unit. */
BNNC_INLINE void ISA(unit_tile)(const ISA(conv_plan) *p, int64_t unit, ISA(conv_slice) *t) {
    int64_t tile = unit / p->splits % p->tiles, stop = p->pixels;
    t->batch_index = (int32_t)(unit / p->splits / p->tiles);
    t->group = (int32_t)(unit % p->splits * p->unit_blocks / p->group_blocks);
    t->first = tile * p->tile;
    if (p->row_tiles) {
        int64_t y = tile / p->row_tiles;
        t->first = y * p->width + tile % p->row_tiles * p->tile;
        stop = (y + 1) * p->width;
    }
    t->count = BNNC_MIN(p->tile, stop - t->first);
}

/* Zero what of a tile's panel row lies left or right of the input. */
static void ISA(conv_pad)(const bnnc_conv_shape *s, const ISA(conv_slice) *t, ISA(span) inside, float *to) {
    int64_t begin = t->first % s->ow;
    for (int64_t done = 0; done < t->count; begin = 0) {
        int64_t stop = BNNC_MIN(s->ow, begin + t->count - done);
        for (int64_t x = begin; x < BNNC_MIN(inside.low, stop); x++)
            to[done + x - begin] = 0;
        for (int64_t x = BNNC_MAX(inside.high, begin); x < stop; x++)
            to[done + x - begin] = 0;
        done += stop - begin;
    }
}

/* One panel row, gathered row by row of the input. */
static void ISA(conv_pack_rows)(const ISA(conv_plan) *p, const ISA(conv_slice) *t, const float *plane, int64_t ky,
                                ISA(span) inside, int64_t shift, float *to) {
    const bnnc_conv_shape *s = &p->s;
    int64_t begin = t->first % s->ow;
    int64_t y = t->first / s->ow * s->stride_h + ky * s->dilation_h - s->pad_top;
    for (int64_t done = 0; done < t->count; y += s->stride_h, begin = 0) {
        int64_t stop = BNNC_MIN(s->ow, begin + t->count - done);
        if (y < 0 || y >= s->ih)
            ISA(fill_row)(to + done, 0, stop - begin);
        else
            ISA(padded_row)(to + done, plane + y * s->iw, p->end, inside, begin, stop, s->stride_w, shift);
        done += stop - begin;
    }
}

/* The panel rows of three taps at stride 2 at once: of every pair of inputs one is the middle tap's,
 * the other the left one's and the right one's. Returns whether that could be done without leaving the tensor. */
BNNC_INLINE int ISA(conv_pack_3s2)(const ISA(conv_plan) *p, const ISA(conv_slice) *t, const float *plane, int64_t ky,
                                   float *to) {
    const bnnc_conv_shape *s = &p->s;
    int64_t begin = t->first % s->ow;
    int64_t y = t->first / s->ow * s->stride_h + ky * s->dilation_h - s->pad_top;
    for (int64_t done = 0; done < t->count; y += s->stride_h, begin = 0) {
        int64_t count = BNNC_MIN(s->ow - begin, t->count - done);
        const float *from = plane + y * s->iw + 2 * begin;
        float *left = to + done, *middle = left + p->stride, *right = middle + p->stride;
        if (y < 0 || y >= s->ih) {
            ISA(fill_row)(left, 0, count);
            ISA(fill_row)(middle, 0, count);
            ISA(fill_row)(right, 0, count);
        } else if (p->end - from < 2 * count + 3 * BNNC_LANES) {
            return 0;
        } else if (s->pad_left) {
            vf32 carry = f32_set(begin ? from[-1] : 0);
            for (int64_t i = 0; i < count; i += BNNC_LANES) {
                ISA(two) v = ISA(load_two)(from + 2 * i);
                vf32 odd = ISA(odd)(v);
                f32_store(left + i, ISA(slide)(carry, odd));
                f32_store(middle + i, ISA(even)(v));
                f32_store(right + i, odd);
                carry = odd;
            }
        } else {
            ISA(two) v = ISA(load_two)(from);
            vf32 even = ISA(even)(v), odd = ISA(odd)(v);
            for (int64_t i = 0; i < count; i += BNNC_LANES) {
                vf32 a = f32_load(from + 2 * (i + BNNC_LANES));
                v = i + BNNC_LANES < count ? ISA(load_two)(from + 2 * (i + BNNC_LANES)) : ISA(two_of)(a, a);
                vf32 next = ISA(even)(v);
                f32_store(left + i, even);
                f32_store(middle + i, odd);
                f32_store(right + i, ISA(slide_down)(even, next));
                even = next;
                odd = ISA(odd)(v);
            }
        }
        done += count;
    }
    for (int64_t kx = 0; kx < 3; kx++)
        ISA(conv_pad)(s, t, ISA(span_inside)(s->iw, 2, kx - s->pad_left), to + kx * p->stride);
    return 1;
}

/* Split the input rows under a tile. What lies around the columns is zero and stays so. */
static void ISA(conv_split_rows)(const ISA(conv_plan) *p, const ISA(conv_slice) *t, float *panel) {
    const bnnc_conv_shape *s = &p->s;
    int64_t top = t->first / s->ow * s->stride_h - s->pad_top;
    const float *plane = p->args->x + (int64_t)t->batch_index * s->ic * s->ih * s->iw;
    for (int64_t c = 0; c < s->ic; c++, plane += (int64_t)s->ih * s->iw)
        for (int64_t y = top; y < top + p->split_rows; y++, panel += 2 * p->half) {
            float *even = panel + CONV_MARGIN, *odd = even + p->half;
            if (y < 0 || y >= s->ih) {
                ISA(fill_row)(even, 0, BNNC_CEIL_DIV(s->iw, 2));
                ISA(fill_row)(odd, 0, s->iw / 2);
                continue;
            }
            const float *row = plane + y * s->iw;
            int64_t i = 0;
            for (; 2 * (i + BNNC_LANES) <= s->iw; i += BNNC_LANES) {
                ISA(two) v = ISA(load_two)(row + 2 * i);
                f32_store(even + i, ISA(even)(v));
                f32_store(odd + i, ISA(odd)(v));
            }
            if (2 * i < s->iw) {
                int64_t left = s->iw - 2 * i;
                ISA(two) v = ISA(two_of)(f32_load_some(row + 2 * i, left),
                                         f32_load_some(row + 2 * i + BNNC_LANES, BNNC_MAX(0, left - BNNC_LANES)));
                f32_store(even + i, ISA(even)(v));
                f32_store(odd + i, ISA(odd)(v));
            }
        }
}

/* Where each tap reads of split rows, for the first row of outputs. */
static void ISA(conv_split_taps)(const ISA(conv_plan) *p, int64_t *taps) {
    const bnnc_conv_shape *s = &p->s;
    for (int64_t c = 0; c < s->ic; c++)
        for (int64_t ky = 0; ky < s->kh; ky++)
            for (int64_t kx = -s->pad_left; kx < s->kw - s->pad_left; kx++) {
                int64_t odd = kx & 1, row = c * p->split_rows + ky * s->dilation_h;
                *taps++ = (2 * row + odd) * p->half + CONV_MARGIN + (kx - odd) / 2;
            }
}

/* The inputs that the slice behind `t` will gather: of the same tile, or of the next unit's. */
static ISA(gemm_ask)
    ISA(conv_next)(const ISA(conv_plan) *p, const ISA(conv_slice) *t, int64_t next_unit, int64_t blocks) {
    const bnnc_conv_shape *s = &p->s;
    int64_t size = (int64_t)s->ih * s->iw, taps = (int64_t)s->kh * s->kw;
    ISA(conv_slice) next = *t;
    if (t->to < p->depth) {
        next.from = t->to;
        next.to = BNNC_MIN(p->depth, next.from + p->slice);
    } else {
        if (next_unit / p->splits == (next_unit - 1) / p->splits)
            return (ISA(gemm_ask)){.rows = 0};
        ISA(unit_tile)(p, next_unit, &next);
        next.from = 0;
        next.to = p->slice;
    }
    /* Rows that outputs up to the one before have not read. */
    int64_t top = next.first / s->ow, bottom = (next.first + next.count - 1) / s->ow;
    int64_t behind = (int64_t)(s->kh - 1) * s->dilation_h + 1 - s->pad_top;
    int64_t y0 = BNNC_MAX(0, BNNC_MAX(top * s->stride_h - s->pad_top, (top - 1) * s->stride_h + behind));
    int64_t y1 = BNNC_MIN(s->ih, bottom * s->stride_h + behind);
    int64_t from = y0 * s->iw, to = y1 * s->iw;
    if (top == bottom) {
        from += next.first % s->ow * s->stride_w;
        to = BNNC_MIN(to, (y1 - 1) * s->iw + (next.first % s->ow + next.count) * s->stride_w);
    }
    int64_t channel = (int64_t)next.group * (s->ic / s->groups) + next.from / taps;
    ISA(gemm_ask) ask = {
        .row = p->args->x + ((int64_t)next.batch_index * s->ic + channel) * size + from,
        .rows = BNNC_CEIL_DIV(next.to, taps) - next.from / taps,
        .pixels = to - from,
        .stride = size,
    };
    if (ask.pixels <= 0)
        ask.rows = 0;
    ask.lines = BNNC_CEIL_DIV(ask.rows * BNNC_CEIL_DIV(ask.pixels, 16), blocks * ISA(gemm_tiles_of)(t->count));
    return ask;
}

/* Gather the inputs of a tile's products [from, to). */
static void ISA(conv_pack)(const ISA(conv_plan) *p, const ISA(conv_slice) *t, float *panel) {
    const bnnc_conv_shape *s = &p->s;
    int64_t size = (int64_t)s->ih * s->iw, taps = (int64_t)s->kh * s->kw;
    int64_t channel = t->from / taps, ky = t->from % taps / s->kw, kx = t->from % s->kw;
    const float *plane =
        p->args->x + ((int64_t)t->batch_index * s->ic + (int64_t)t->group * (s->ic / s->groups) + channel) * size;
    /* Where outputs follow each other as inputs do, a panel row is one copy. */
    int flat = s->stride_h == 1 && s->stride_w == 1 && s->ow == s->iw;
    int triple = s->kw == 3 && s->stride_w == 2 && s->dilation_w == 1 && (s->pad_left == 0 || s->pad_left == 1);
    for (int64_t k = t->from; k < t->to;) {
        int64_t done = 1;
        if (triple && kx == 0 && k + 3 <= t->to && ISA(conv_pack_3s2)(p, t, plane, ky, panel)) {
            done = 3;
        } else {
            int64_t shift = kx * s->dilation_w - s->pad_left;
            if (flat) {
                int64_t up = ky * s->dilation_h - s->pad_top;
                ISA(flat) row = ISA(plan_flat)(s->ih, s->iw, t->first, t->count, up, shift);
                ISA(take_flat)(&row, panel, plane, p->args->x, p->end);
            } else {
                ISA(span) inside = ISA(span_inside)(s->iw, s->stride_w, shift);
                ISA(conv_pack_rows)(p, t, plane, ky, inside, shift, panel);
            }
        }
        k += done;
        kx += done;
        panel += done * p->stride;
        if (kx == s->kw) {
            kx = 0;
            if (++ky == s->kh) {
                ky = 0;
                plane += size;
            }
        }
    }
}

/* One slice of products for one block of channels; without a panel the input itself is one. */
static void ISA(conv_block)(const ISA(conv_plan) *p, const ISA(conv_slice) *t, int64_t block, const float *panel,
                            float *sums, ISA(gemm_ask) *ask) {
    const bnnc_conv_f32_args *args = p->args;
    int32_t group_channels = p->s.oc / p->s.groups;
    int32_t in_group = (int32_t)(block % p->group_blocks) * 8;
    int32_t channel = t->group * group_channels + in_group, channels = BNNC_MIN(8, group_channels - in_group);
    int last = t->to == p->depth;
    float bias[8] = {0};
    if (args->bias && t->from == 0)
        memcpy(bias, args->bias + channel, (size_t)channels * sizeof(float));
    ISA(gemm_block) b = {
        .w = args->w + (block * p->depth + t->from) * 8,
        .panel = panel ? panel : args->x + ((int64_t)t->batch_index * p->s.ic + t->from) * p->pixels + t->first,
        .taps = p->taps,
        .depth = t->to - t->from,
        .panel_stride = panel ? p->stride : p->pixels,
        .pixels = t->count,
        .channels = channels,
        .start = t->from ? sums : bias,
        .start_stride = t->from ? p->stride : 0,
        .out = sums,
        .out_stride = p->stride,
        .low = -INFINITY,
        .ask = ask,
    };
    if (last && p->direct) {
        b.out = p->direct + ((int64_t)t->batch_index * p->s.oc + channel) * p->pixels + t->first;
        b.out_stride = p->pixels;
        b.low = p->low;
        b.exact = 1;
    }
    if (last) {
        int64_t at = ((int64_t)t->batch_index * p->s.oc + channel) * p->pixels + t->first;
        for (int i = 0; i < 2; i++)
            b.touch[i] = p->touch[i] ? p->touch[i] + at : NULL;
        b.touch_stride = p->pixels;
    }
    const bnnc_epilogue *e = p->direct ? &p->signs : &args->epilogue;
    const bnnc_step *sign = last && p->direct ? ISA(lone_planar_sign)(e) : NULL;
    if (sign) {
        for (int32_t i = channels; i-- > 0;) {
            ISA(row) row = ISA(row_at)(e, t->batch_index, channel + i, t->first, (int32_t)t->count);
            b.bits = ISA(planar_place)(&row, sign->out);
        }
        b.bits_stride = bnnc_planar_plane_bytes(e->height, e->width);
        b.least = (const float *)sign->a + channel;
    }
    ISA(gemm_run)(&b);
    if (!last || sign || e->count == 0)
        return;
    float v[BNNC_TILE] __attribute__((aligned(64)));
    ISA(run_rows)(e, t->batch_index, channel, channels, t->first, (int32_t)t->count, b.out, NULL, b.out_stride, v);
}

static int64_t ISA(conv_f32_units)(const void *args) {
    ISA(conv_plan) p = ISA(plan_conv)(args);
    return p.s.batch * p.tiles * p.splits;
}

/* conv_f32 where input rows are split. */
static void ISA(conv_f32_split)(ISA(conv_plan) p, int64_t begin, int64_t end, float *scratch) {
    const bnnc_conv_shape *s = &p.s;
    int64_t taps[CONV_WHOLE], size = s->ic * p.split_rows * 2 * p.half;
    float *panel = scratch, *sums = panel + size;
    memset(panel, 0, (size_t)size * sizeof *panel);
    ISA(conv_split_taps)(&p, taps);
    p.taps = taps;
    ISA(conv_slice) split = {.count = 0};
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t block = unit % p.splits * p.unit_blocks, stop = BNNC_MIN(p.blocks, block + p.unit_blocks);
        ISA(conv_slice) t = {.to = p.depth};
        ISA(unit_tile)(&p, unit, &t);
        t.group = 0;
        if (memcmp(&t, &split, sizeof t) != 0)
            ISA(conv_split_rows)(&p, &t, panel);
        split = t;
        ISA(gemm_ask) ask = {.rows = 0};
        if (unit + 1 < end)
            ask = ISA(conv_next)(&p, &t, unit + 1, stop - block);
        for (int64_t row = 0; row < t.count / s->ow; row++) {
            ISA(conv_slice) r = t;
            r.first += row * s->ow;
            r.count = s->ow;
            for (int64_t i = block; i < stop; i++)
                ISA(conv_block)(&p, &r, i, panel + row * s->stride_h * 2 * p.half, sums, &ask);
        }
    }
}

static void ISA(conv_f32)(const void *args, int64_t begin, int64_t end, void *scratch) {
    ISA(conv_plan) p = ISA(plan_conv)(args);
    if (p.half) {
        ISA(conv_f32_split)(p, begin, end, scratch);
        return;
    }
    float *panel = scratch, *sums = panel + p.slice * p.stride + 16;
    ISA(conv_slice) packed = {.count = 0};
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t block = unit % p.splits * p.unit_blocks, stop = BNNC_MIN(p.blocks, block + p.unit_blocks);
        ISA(conv_slice) t;
        ISA(unit_tile)(&p, unit, &t);
        while (block < stop) {
            t.group = (int32_t)(block / p.group_blocks);
            int64_t group_end = (t.group + 1) * p.group_blocks;
            int64_t until = BNNC_MIN(BNNC_MIN(stop, group_end), block + p.waiting_blocks);
            for (t.from = 0; t.from < p.depth; t.from = t.to) {
                t.to = BNNC_MIN(p.depth, t.from + p.slice);
                /* Whole vectors of the input can be read as they are. */
                int gather = !p.pointwise || t.count % BNNC_LANES;
                if (gather && memcmp(&t, &packed, sizeof t) != 0) {
                    ISA(conv_pack)(&p, &t, panel);
                    packed = t;
                }
                ISA(gemm_ask) ask = {.rows = 0};
                if (t.to < p.depth || (until == stop && unit + 1 < end))
                    ask = ISA(conv_next)(&p, &t, unit + 1, until - block);
                for (int64_t i = block; i < until; i++)
                    ISA(conv_block)(&p, &t, i, gather ? panel : NULL,
                                    sums + (p.slice == p.depth ? 0 : (i - block) * 8 * p.stride), &ask);
            }
            block = until;
        }
    }
}

#undef CONV_POINTWISE
#undef CONV_PANEL
#undef CONV_SUMS
#undef CONV_SLICE
#undef CONV_WHOLE
#undef CONV_UNITS
#undef CONV_SPLIT
#undef CONV_MARGIN
