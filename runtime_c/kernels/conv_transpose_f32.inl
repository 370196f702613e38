/* conv_transpose_f32: transposed convolution without multiplying the zeros between its inputs.
 *
 * Let u = y + pad_top be an output's row before cropping. Tap ky reaches it from input row iy where
 * u = iy * stride + ky * dilation, so that only taps with ky * dilation = u modulo the stride take
 * part: each residue of u, a phase, is a plain convolution at stride 1 with taps of its own. With
 * u = q * stride + phase its t-th tap reads row q - (first + t * step); first and step follow from
 * the arithmetic progression that the phase's taps are. Columns are alike.
 *
 * A tile is a rectangle of the output. Its phases are computed one by one as products of panels
 * with blocks of 8 channels, into scratch, and woven into rows of the output; but the two phases of
 * columns of two taps at a stride of 2 read the same inputs: such twins are computed beside each other,
 * and a register tile stores both in turns where they belong. Panel rows are ordered
 * [ty][input channel][tx], and phases of different rows begin with the same taps unless dilated, so
 * that one panel serves them all. Weights are [group][ceil(oc/g / 8)][phase of rows][phase of columns]
 * [ty][ic/g][tx][8].
 */
#define TCONV_PANEL (64 << 10)
#define TCONV_SUMS (64 << 10)
#define TCONV_SLICE 512
#define TCONV_WHOLE 1024
#define TCONV_UNITS 8
/* Phases whose sums are kept at a time; with more, a unit computes one phase of rows. */
#define TCONV_PHASES 16
/* Vectors in a row of inputs from which on twin phases are stored at once: tiles end with rows then, and narrow ones
 * have too few sums to keep the multipliers busy. */
#define TCONV_TWINS (BNNC_VEC_BYTES == 64 ? 1 : 3)

typedef struct {
    const bnnc_conv_f32_args *args;
    const bnnc_conv_shape *s;
    int64_t tile_rows, tile_columns; /* of the output */
    int64_t row_tiles, column_tiles;
    int32_t step_h, step_w;
    int32_t row_phases, phase_sets; /* phases of rows a unit computes, and into how many they are cut */
    int32_t phases;                 /* of rows and columns that a unit computes */
    int64_t slice;
    int64_t stride, sum_stride; /* floats from one row of a panel, of sums to the next */
    int64_t group_blocks, blocks, unit_blocks, splits, waiting_blocks;
    float *direct;
    float low;
    int twins; /* the two phases of columns are computed beside each other and stored as they belong */
} ISA(tconv_plan);

/* A phase's taps along one axis, in input rows or columns: count of them, from first on. */
typedef struct {
    int32_t first, count;
} ISA(tconv_taps);

/* One phase within a tile: its taps, its rows [q0, q1) and columns [r0, r1) at stride 1, the number
 * of its products, and where its weights begin in a block. */
typedef struct {
    ISA(tconv_taps) rows, columns;
    int64_t q0, q1, r0, r1;
    int64_t depth, weights;
    int64_t served; /* whether a panel for this phase or another one has been used for it */
} ISA(tconv_phase);

/* A unit's rectangle [y0, y1) x [x0, x1), and its phases by row and column. */
typedef struct {
    int32_t batch_index, row_phase;
    int64_t y0, y1, x0, x1;
    ISA(tconv_phase) *phases;
} ISA(tconv_tile);

/* What lies in the panel: products [from, to) of a phase of a tile. */
typedef struct {
    int64_t tile, group, phase, from, to;
} ISA(tconv_slice);

BNNC_INLINE int32_t ISA(common_divisor)(int32_t a, int32_t b) {
    while (b) {
        int32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static ISA(tconv_taps) ISA(phase_taps)(int32_t kernel, int32_t dilation, int32_t stride, int32_t phase) {
    int32_t period = stride / ISA(common_divisor)(dilation, stride);
    for (int32_t k = 0; k < BNNC_MIN(period, kernel); k++)
        if ((int64_t)k * dilation % stride == phase)
            return (ISA(tconv_taps)){(int32_t)((int64_t)k * dilation / stride), (kernel - k - 1) / period + 1};
    return (ISA(tconv_taps)){0, 0};
}

/* The first q with q * stride + phase - pad >= position. */
BNNC_INLINE int64_t ISA(phase_at)(int64_t position, int32_t pad, int32_t stride, int32_t phase) {
    int64_t distance = position + pad - phase;
    return distance <= 0 ? -(-distance / stride) : (distance + stride - 1) / stride;
}

static ISA(tconv_plan) ISA(plan_tconv)(const bnnc_conv_f32_args *args) {
    const bnnc_conv_shape *s = &args->shape;
    ISA(tconv_plan) p = {.args = args, .s = s, .row_phases = s->stride_h, .phase_sets = 1};
    p.step_h = s->dilation_h / ISA(common_divisor)(s->dilation_h, s->stride_h);
    p.step_w = s->dilation_w / ISA(common_divisor)(s->dilation_w, s->stride_w);
    if ((int64_t)s->stride_h * s->stride_w > TCONV_PHASES) {
        p.row_phases = 1;
        p.phase_sets = s->stride_h;
    }
    p.phases = p.row_phases * s->stride_w;
    int32_t most_rows = 0, most_columns = 0;
    for (int32_t i = 0; i < s->stride_h; i++)
        most_rows = BNNC_MAX(most_rows, ISA(phase_taps)(s->kh, s->dilation_h, s->stride_h, i).count);
    for (int32_t i = 0; i < s->stride_w; i++)
        most_columns = BNNC_MAX(most_columns, ISA(phase_taps)(s->kw, s->dilation_w, s->stride_w, i).count);
    int64_t depth = (int64_t)(s->ic / s->groups) * most_rows * most_columns;

    int64_t pixels = 64;
    p.slice = BNNC_CEIL_DIV(depth, BNNC_CEIL_DIV(depth, TCONV_SLICE));
    if (depth <= TCONV_WHOLE) {
        p.slice = depth;
        pixels = BNNC_MIN(BNNC_TILE, BNNC_MAX(64, TCONV_PANEL / depth));
    }
    pixels = BNNC_MAX(16, BNNC_MIN(pixels, TCONV_SUMS / 8 / p.phases / 16 * 16));
    /* Of a phase, at most. */
    int64_t width = BNNC_CEIL_DIV(s->ow + s->pad_left % s->stride_w, s->stride_w);
    int64_t height = BNNC_CEIL_DIV(s->oh + s->pad_top % s->stride_h, s->stride_h);
    int64_t rows = BNNC_MAX(1, BNNC_MIN(height, pixels / width));
    while (rows > 1 && s->batch * BNNC_CEIL_DIV(height, rows) < TCONV_UNITS && rows * width > 96)
        rows--;
    rows = BNNC_CEIL_DIV(height, BNNC_CEIL_DIV(height, rows));
    p.tile_rows = rows * s->stride_h;
    p.row_tiles = BNNC_CEIL_DIV(s->oh + s->pad_top % s->stride_h, p.tile_rows);
    p.tile_columns = width <= pixels ? s->ow : BNNC_MAX(8, pixels * s->stride_w / 8 * 8);
    p.column_tiles = BNNC_CEIL_DIV(s->ow, p.tile_columns);
    /* Room for a vector behind a panel's row, since rows are not gathered in order; odd as in conv_f32. */
    int64_t vectors = BNNC_CEIL_DIV(rows * BNNC_CEIL_DIV(p.tile_columns, s->stride_w), 16);
    p.stride = ((vectors + 1) | 1) * 16;
    p.sum_stride = vectors * 16;

    p.group_blocks = BNNC_CEIL_DIV(s->oc / s->groups, 8);
    p.blocks = p.group_blocks * s->groups;
    p.waiting_blocks = BNNC_MAX(1, TCONV_SUMS / (8 * p.phases * p.sum_stride));
    int64_t units = s->batch * p.row_tiles * p.column_tiles * p.phase_sets;
    p.unit_blocks = p.blocks;
    if (units < TCONV_UNITS && !ISA(mixes_channels)(&args->epilogue))
        p.unit_blocks = BNNC_MAX(p.slice < depth ? 8 : 2, BNNC_CEIL_DIV(p.blocks * units, TCONV_UNITS));
    p.splits = BNNC_CEIL_DIV(p.blocks, p.unit_blocks);
    p.direct = ISA(plain_store)(&args->epilogue, &p.low, NULL);
    /* Both phases have the same columns, and every phase has products. */
    p.twins = p.direct && s->stride_w == 2 && s->kw == 2 && s->dilation_w == 1 && s->pad_left % 2 == 0 &&
              s->ow % 2 == 0 && s->kh >= s->stride_h && s->dilation_h == 1 && p.slice == depth &&
              s->ow >= 2 * TCONV_TWINS * BNNC_LANES;
    return p;
}

/* Set a tile's rectangle and phases; its number counts phase sets fastest, then columns, rows, items. */
static void ISA(plan_tile)(const ISA(tconv_plan) *p, int64_t number, ISA(tconv_tile) *t) {
    const bnnc_conv_shape *s = p->s;
    int64_t column = number / p->phase_sets % p->column_tiles;
    int64_t row = number / p->phase_sets / p->column_tiles % p->row_tiles;
    t->batch_index = (int32_t)(number / p->phase_sets / p->column_tiles / p->row_tiles);
    t->row_phase = (int32_t)(number % p->phase_sets);
    t->x0 = column * p->tile_columns;
    t->x1 = BNNC_MIN(s->ow, t->x0 + p->tile_columns);
    t->y0 = BNNC_MAX(0, row * p->tile_rows - s->pad_top % s->stride_h);
    t->y1 = BNNC_MIN(s->oh, (row + 1) * p->tile_rows - s->pad_top % s->stride_h);
    int64_t ic = s->ic / s->groups, weights = 0;
    for (int32_t i = 0; i < t->row_phase + p->row_phases; i++) {
        ISA(tconv_taps) rows = ISA(phase_taps)(s->kh, s->dilation_h, s->stride_h, i);
        if (i < t->row_phase) {
            weights += ic * rows.count * s->kw;
            continue;
        }
        for (int32_t j = 0; j < s->stride_w; j++) {
            ISA(tconv_taps) columns = ISA(phase_taps)(s->kw, s->dilation_w, s->stride_w, j);
            ISA(tconv_phase) *phase = &t->phases[(i - t->row_phase) * s->stride_w + j];
            *phase = (ISA(tconv_phase)){
                .rows = rows,
                .columns = columns,
                .q0 = ISA(phase_at)(t->y0, s->pad_top, s->stride_h, i),
                .q1 = ISA(phase_at)(t->y1, s->pad_top, s->stride_h, i),
                .r0 = ISA(phase_at)(t->x0, s->pad_left, s->stride_w, j),
                .r1 = ISA(phase_at)(t->x1, s->pad_left, s->stride_w, j),
                .depth = ic * rows.count * columns.count,
                .weights = weights,
            };
            weights += phase->depth;
        }
    }
}

/* Whether a panel for `a` serves `b`: the same columns, and rows whose taps begin alike. */
BNNC_INLINE int ISA(serves)(const ISA(tconv_phase) *a, const ISA(tconv_phase) *b) {
    return a->r0 == b->r0 && a->r1 == b->r1 && a->columns.first == b->columns.first &&
           a->columns.count == b->columns.count && a->rows.first == b->rows.first && a->rows.count >= b->rows.count;
}

/* Gather inputs for rows [q0, q1) of products [from, to) of a phase. */
static void ISA(tconv_pack)(const ISA(tconv_plan) *p, const ISA(tconv_tile) *t, const ISA(tconv_slice) *slice,
                            int64_t q0, int64_t q1, float *panel) {
    const bnnc_conv_shape *s = p->s;
    const ISA(tconv_phase) *phase = &t->phases[slice->phase];
    int64_t ic = s->ic / s->groups, plane = (int64_t)s->ih * s->iw, width = phase->r1 - phase->r0;
    const float *end = p->args->x + s->batch * s->ic * plane;
    const float *x = p->args->x + (t->batch_index * s->ic + slice->group * ic) * plane;
    for (int64_t ty = 0; ty < phase->rows.count; ty++)
        for (int64_t tx = 0; tx < phase->columns.count; tx++) {
            int64_t shift_x = phase->columns.first + tx * p->step_w, shift_y = phase->rows.first + ty * p->step_h;
            ISA(flat) flat = ISA(plan_flat)(s->ih, s->iw, 0, (q1 - q0) * width, q0 - shift_y, phase->r0 - shift_x);
            ISA(span) inside = ISA(span_inside)(s->iw, 1, -shift_x);
            /* Products of this tap are every columns.count-th from k0 on, one for each channel. */
            int64_t k0 = ty * ic * phase->columns.count + tx, step = phase->columns.count;
            int64_t channel = slice->from <= k0 ? 0 : BNNC_CEIL_DIV(slice->from - k0, step);
            for (int64_t k = k0 + channel * step; channel < ic && k < slice->to; channel++, k += step) {
                const float *from = x + channel * plane;
                float *to = panel + (k - slice->from) * p->stride;
                if (width == s->iw) {
                    ISA(take_flat)(&flat, to, from, p->args->x, end);
                    continue;
                }
                for (int64_t q = q0; q < q1; q++, to += width) {
                    if (q < shift_y || q - shift_y >= s->ih)
                        ISA(fill_row)(to, 0, width);
                    else
                        ISA(padded_row)(to, from + (q - shift_y) * s->iw, end, inside, phase->r0, phase->r1, 1,
                                        -shift_x);
                }
            }
        }
}

/* One slice of products of a tile's i-th phase for one block of channels: to sums, or with its twin to the output.
 * The panel's first row is row q0. */
static void ISA(tconv_block)(const ISA(tconv_plan) *p, const ISA(tconv_tile) *t, int64_t i,
                             const ISA(tconv_slice) *slice, int64_t block, const float *panel, int64_t q0,
                             float *sums) {
    const bnnc_conv_f32_args *args = p->args;
    const ISA(tconv_phase) *phase = &t->phases[i];
    int64_t products = (int64_t)(p->s->ic / p->s->groups) * p->s->kh * p->s->kw;
    int64_t to = BNNC_MIN(slice->to, phase->depth), width = phase->r1 - phase->r0;
    int32_t group_channels = p->s->oc / p->s->groups, in_group = (int32_t)(block % p->group_blocks) * 8;
    int32_t channels = BNNC_MIN(8, group_channels - in_group);
    float bias[8] = {0};
    if (args->bias && slice->from == 0)
        memcpy(bias, args->bias + slice->group * group_channels + in_group, (size_t)channels * sizeof(float));
    ISA(gemm_block) b = {
        .w = args->w + (block * products + phase->weights + slice->from) * 8,
        .panel = panel + (phase->q0 - q0) * width,
        .depth = to - slice->from,
        .panel_stride = p->stride,
        .pixels = (phase->q1 - phase->q0) * width,
        .channels = channels,
        .start = slice->from ? sums : bias,
        .start_stride = slice->from ? p->sum_stride : 0,
        .out = sums,
        .out_stride = p->sum_stride,
        .low = to == phase->depth ? p->low : -INFINITY,
    };
    if (!p->twins) {
        ISA(gemm_run)(&b);
        return;
    }
    const bnnc_conv_shape *s = p->s;
    int64_t y = phase->q0 * s->stride_h + t->row_phase + i / 2 - s->pad_top;
    int64_t channel = (int64_t)t->batch_index * s->oc + slice->group * group_channels + in_group;
    b.twin = phase->depth * 8;
    b.pixels = width;
    b.out = p->direct + (channel * s->oh + y) * s->ow + t->x0;
    b.out_stride = b.touch_stride = (int64_t)s->oh * s->ow;
    b.exact = 1;
    for (int64_t q = phase->q0; q < phase->q1; q++, b.panel += width, b.out += s->stride_h * s->ow) {
        b.touch[0] = b.out;
        ISA(gemm_run)(&b);
    }
}

/* Sums of blocks [block, until), of one group, for every phase of a tile, or all of it where phases are twins. */
static void ISA(tconv_sums)(const ISA(tconv_plan) *p, const ISA(tconv_tile) *t, ISA(tconv_slice) slice, int64_t block,
                            int64_t until, ISA(tconv_slice) *packed, float *panel, float *sums) {
    for (int32_t i = 0; i < p->phases; i++)
        t->phases[i].served = 0;
    for (slice.phase = 0; slice.phase < p->phases; slice.phase++) {
        ISA(tconv_phase) *server = &t->phases[slice.phase];
        if (server->served)
            continue;
        int64_t q0 = server->q0, q1 = server->q1;
        for (int64_t i = slice.phase; i < p->phases; i++)
            if (!t->phases[i].served && ISA(serves)(server, &t->phases[i])) {
                t->phases[i].served = slice.phase + 1;
                q0 = BNNC_MIN(q0, t->phases[i].q0);
                q1 = BNNC_MAX(q1, t->phases[i].q1);
            }
        slice.from = 0;
        do {
            slice.to = BNNC_MIN(server->depth, slice.from + p->slice);
            if (slice.to > slice.from && memcmp(&slice, packed, sizeof slice) != 0) {
                ISA(tconv_pack)(p, t, &slice, q0, q1, panel);
                *packed = slice;
            }
            for (int64_t i = slice.phase; i < p->phases; i += p->twins ? 2 : 1) {
                const ISA(tconv_phase) *phase = &t->phases[i];
                if (phase->served == slice.phase + 1 && (slice.from == 0 || slice.from < phase->depth))
                    for (int64_t b = block; b < until; b++)
                        ISA(tconv_block)(p, t, i, &slice, b, panel, q0,
                                         sums + ((b - block) * p->phases + i) * 8 * p->sum_stride);
            }
            slice.from = slice.to;
        } while (slice.from < server->depth);
    }
}

/* to[i * streams + j] = from[j][i], as far as count goes. */
static void ISA(weave)(float *restrict to, const float *const *from, int32_t streams, int64_t count) {
    int64_t i = 0;
    if (streams == 2)
        for (; i + 2 * BNNC_LANES <= count; i += 2 * BNNC_LANES)
            ISA(store_interleaved)(to + i, f32_load(from[0] + i / 2), f32_load(from[1] + i / 2));
    for (int32_t j = 0; j < streams; j++)
        for (int64_t k = i + j; k < count; k += streams)
            to[k] = from[j][k / streams];
}

/* Weave output row y, columns [x0, x1), of one channel. */
static void ISA(tconv_row)(const ISA(tconv_plan) *p, const ISA(tconv_tile) *t, const float *sums, int64_t y, int64_t x0,
                           int64_t x1, const float **streams, float *to) {
    int32_t stride = p->s->stride_w;
    int64_t q = (y + p->s->pad_top) / p->s->stride_h;
    int64_t row_phase = (y + p->s->pad_top) % p->s->stride_h - t->row_phase;
    for (int32_t j = 0; j < stride; j++) {
        int64_t r = (x0 + j + p->s->pad_left) / stride;
        int64_t place = row_phase * stride + (x0 + j + p->s->pad_left) % stride;
        const ISA(tconv_phase) *phase = &t->phases[place];
        streams[j] = sums + place * 8 * p->sum_stride + (q - phase->q0) * (phase->r1 - phase->r0) + (r - phase->r0);
    }
    ISA(weave)(to, streams, stride, x1 - x0);
}

/* Weave the rows of one channel of a tile, and store them or run the epilogue on them. */
static void ISA(tconv_finish)(const ISA(tconv_plan) *p, const ISA(tconv_tile) *t, int32_t channel, const float *sums,
                              const float **streams) {
    const bnnc_conv_shape *s = p->s;
    int32_t turn = p->phase_sets == 1 ? 1 : s->stride_h;
    int64_t plane = ((int64_t)t->batch_index * s->oc + channel) * s->oh * s->ow;
    int64_t y = t->y0;
    while (turn > 1 && (y + s->pad_top) % turn != t->row_phase)
        y++;
    float rows[BNNC_TILE] __attribute__((aligned(64)));
    int64_t filled = 0;
    for (; y < t->y1; y += turn) {
        if (p->direct) {
            ISA(tconv_row)(p, t, sums, y, t->x0, t->x1, streams, p->direct + plane + y * s->ow + t->x0);
            continue;
        }
        for (int64_t x = t->x0, x1; x < t->x1; x = x1) {
            x1 = BNNC_MIN(t->x1, x + BNNC_TILE);
            ISA(tconv_row)(p, t, sums, y, x, x1, streams, rows + filled);
            filled += x1 - x;
            /* Whole rows that follow each other share a call. */
            if (turn == 1 && x1 - x == s->ow && y + 1 < t->y1 && filled + s->ow <= BNNC_TILE)
                continue;
            int64_t first = y * s->ow + x1 - filled;
            ISA(epilogue_run)(&p->args->epilogue, t->batch_index, channel, first, (int32_t)filled, rows);
            filled = 0;
        }
    }
}

static int64_t ISA(conv_transpose_f32_units)(const void *args) {
    ISA(tconv_plan) p = ISA(plan_tconv)(args);
    return p.s->batch * p.row_tiles * p.column_tiles * p.phase_sets * p.splits;
}

static void ISA(conv_transpose_f32)(const void *args, int64_t begin, int64_t end, void *scratch) {
    ISA(tconv_plan) p = ISA(plan_tconv)(args);
    int32_t group_channels = p.s->oc / p.s->groups;
    float *panel = scratch, *sums = panel + p.slice * p.stride + 16;
    const float **streams = (const float **)(sums + p.waiting_blocks * p.phases * 8 * p.sum_stride);
    ISA(tconv_tile) t = {.phases = (ISA(tconv_phase) *)(streams + p.s->stride_w)};
    ISA(tconv_slice) packed = {.tile = -1};
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t block = unit % p.splits * p.unit_blocks, stop = BNNC_MIN(p.blocks, block + p.unit_blocks);
        ISA(tconv_slice) slice = {.tile = unit / p.splits};
        ISA(plan_tile)(&p, slice.tile, &t);
        for (int64_t until; block < stop; block = until) {
            slice.group = block / p.group_blocks;
            until = BNNC_MIN(BNNC_MIN(stop, (slice.group + 1) * p.group_blocks), block + p.waiting_blocks);
            ISA(tconv_sums)(&p, &t, slice, block, until, &packed, panel, sums);
            if (p.twins)
                continue;
            for (int64_t b = block; b < until; b++) {
                int32_t in_group = (int32_t)(b % p.group_blocks) * 8;
                int32_t channel = (int32_t)slice.group * group_channels + in_group;
                for (int32_t i = 0; i < BNNC_MIN(8, group_channels - in_group); i++)
                    ISA(tconv_finish)(&p, &t, channel + i, sums + ((b - block) * p.phases * 8 + i) * p.sum_stride,
                                      streams);
            }
        }
    }
}

#undef TCONV_PANEL
#undef TCONV_SUMS
#undef TCONV_SLICE
#undef TCONV_WHOLE
#undef TCONV_UNITS
#undef TCONV_PHASES
#undef TCONV_TWINS
