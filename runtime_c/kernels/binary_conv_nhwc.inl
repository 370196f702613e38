/* binary_conv_nhwc: packed popcount convolution of any geometry.
 *
 * The sum of n products of -1 and +1 is n - 2 * (how many are -1), and a product is -1 where the bits
 * differ. So a pixel's window is gathered into words (channels of one tap fill whole words, the rest
 * of the last one 0 here and in the weights) and the sum is n - 2 * popcount(window ^ weights).
 *
 * Windows of a tile of pixels lie as [word][pixel]: vectors are pixels, which all meet the same weight
 * word, and the sums come out in the order the epilogue wants. A padded tap is gathered as ones for
 * +1 and as zeros, that is -1s, otherwise; where it should have counted 0, the sum of that tap's
 * weights is added back.
 *
 * A unit is a tile of pixels and a run of output channels.
 */
#include "popcount.inl"

#define BNNC_NHWC_TILE 128
/* Where in scratch what lies: windows, then sums, then what zero-padding needs. */
#define BNNC_NHWC_WINDOW_BYTES (640 << 10)
#define BNNC_NHWC_SUM_BYTES (256 << 10)

/* Pixels [first, first + count) are a range of one row, whole rows, or any range if rows are whole bytes. */
typedef struct {
    const bnnc_binary_conv_args *args;
    int64_t words, pixel_words; /* of a tap's channels, of all channels of a pixel */
    int64_t window_words, chunk_words;
    int32_t tile, stride;    /* pixels: how many, and from one word of the windows to the next */
    int32_t row_tiles, rows; /* tiles of a row, or rows of a tile */
    int64_t tiles;
    int32_t part, parts; /* output channels of a unit, and how many such runs there are */
} ISA(nhwc_plan);

typedef struct {
    int32_t batch_index, y, x, count, channel, channels;
    int64_t first;
} ISA(nhwc_unit);

static ISA(nhwc_plan) ISA(nhwc_plan_of)(const bnnc_binary_conv_args *args) {
    const bnnc_conv_shape *s = &args->shape;
    ISA(nhwc_plan) p = {.args = args};
    p.words = BNNC_CEIL_DIV(s->ic / s->groups, 64);
    p.pixel_words = BNNC_CEIL_DIV(s->ic, 64);
    p.window_words = (int64_t)s->kh * s->kw * p.words;
    int64_t fitting = BNNC_NHWC_WINDOW_BYTES / 8 / p.window_words / 8 * 8;
    int32_t most = (int32_t)BNNC_MAX(8, BNNC_MIN(BNNC_NHWC_TILE, fitting));
    int64_t pixels = (int64_t)s->oh * s->ow;
    p.rows = p.row_tiles = 1;
    if (s->ow % 8 == 0) {
        p.tile = (int32_t)BNNC_MIN(most, pixels);
        p.tiles = BNNC_CEIL_DIV(pixels, p.tile);
    } else if (s->ow > most) {
        p.tile = most;
        p.row_tiles = BNNC_CEIL_DIV(s->ow, most);
        p.tiles = (int64_t)s->oh * p.row_tiles;
    } else {
        p.rows = BNNC_MIN(s->oh, most / s->ow);
        p.tile = p.rows * s->ow;
        p.tiles = BNNC_CEIL_DIV(s->oh, p.rows);
    }
    p.stride = BNNC_CEIL_DIV(p.tile, 16) * 16;
    p.chunk_words = BNNC_MIN(p.window_words, BNNC_NHWC_WINDOW_BYTES / 8 / p.stride);
    /* Runs are whole words of the next layer's bits_nhwc, so that no two units share one. */
    int32_t blocks = BNNC_CEIL_DIV(s->oc, 64);
    int32_t most_blocks = BNNC_NHWC_SUM_BYTES / 4 / 64 / p.stride;
    int32_t parts = BNNC_CEIL_DIV(blocks, most_blocks);
    if (p.tiles * s->batch * parts < 4)
        parts = BNNC_MIN(4, blocks);
    int32_t part_blocks = BNNC_CEIL_DIV(blocks, parts);
    p.part = part_blocks * 64;
    p.parts = BNNC_CEIL_DIV(blocks, part_blocks);
    return p;
}

static ISA(nhwc_unit) ISA(nhwc_unit_at)(const ISA(nhwc_plan) *p, int64_t unit) {
    const bnnc_conv_shape *s = &p->args->shape;
    ISA(nhwc_unit) u;
    u.channel = (int32_t)(unit % p->parts) * p->part;
    u.channels = BNNC_MIN(p->part, s->oc - u.channel);
    int64_t tile = unit / p->parts % p->tiles;
    u.batch_index = (int32_t)(unit / p->parts / p->tiles);
    if (s->ow % 8 == 0 || p->row_tiles == 1)
        u.first = tile * p->tile;
    else
        u.first = tile / p->row_tiles * s->ow + tile % p->row_tiles * p->tile;
    int64_t stop = p->row_tiles == 1 ? (int64_t)s->oh * s->ow : (u.first / s->ow + 1) * s->ow;
    u.count = (int32_t)BNNC_MIN(p->tile, stop - u.first);
    u.y = (int32_t)(u.first / s->ow);
    u.x = (int32_t)(u.first % s->ow);
    return u;
}

/* The outputs 0 <= i < count whose input i * stride + start lies in [0, size): [*low, *high). */
BNNC_INLINE void ISA(inside)(int32_t count, int32_t stride, int32_t start, int32_t size, int32_t *low, int32_t *high) {
    int32_t first = start < 0 ? BNNC_CEIL_DIV(-start, stride) : 0;
    int32_t stop = start < size ? (size - 1 - start) / stride + 1 : 0;
    *low = BNNC_MIN(first, count);
    *high = BNNC_MAX(*low, BNNC_MIN(stop, count));
}

/* Word `word` of a group's channels, whose first is bit `bit` of the pixel's words at x. */
BNNC_INLINE uint64_t ISA(group_word)(const uint64_t *x, int32_t bit, int32_t channels, int64_t word) {
    int64_t from = bit + word * 64, left = channels - word * 64;
    uint64_t bits = x[from / 64] >> from % 64;
    if (from % 64 && left > 64 - from % 64)
        bits |= x[from / 64 + 1] << (64 - from % 64);
    return left < 64 ? bits & ~(~(uint64_t)0 << left) : bits;
}

/* Words [word, word_stop) of one tap's channels, for `count` outputs from (y, x) on in one row. */
static void ISA(gather_tap)(const ISA(nhwc_plan) *p, int32_t batch_index, int32_t group, int32_t tap, int32_t y,
                            int32_t x, int32_t count, int64_t word, int64_t word_stop, uint64_t *to) {
    const bnnc_conv_shape *s = &p->args->shape;
    const int32_t channels = s->ic / s->groups, bit = group * channels;
    int32_t iy = y * s->stride_h - s->pad_top + tap / s->kw * s->dilation_h;
    int32_t ix = x * s->stride_w - s->pad_left + tap % s->kw * s->dilation_w;
    int32_t low = 0, high = 0;
    if (iy >= 0 && iy < s->ih)
        ISA(inside)(count, s->stride_w, ix, s->iw, &low, &high);
    int64_t row = ((int64_t)batch_index * s->ih + iy) * s->iw, step = s->stride_w * p->pixel_words;
    for (; word < word_stop; word++, to += p->stride) {
        int64_t left = channels - word * 64;
        uint64_t all = left < 64 ? ~(~(uint64_t)0 << left) : ~(uint64_t)0, padded = p->args->pad == 1 ? all : 0;
        for (int32_t i = 0; i < low; i++)
            to[i] = padded;
        if (low < high) {
            const uint64_t *from = (const uint64_t *)p->args->x + (row + ix) * p->pixel_words;
            if (s->groups == 1)
                for (int32_t i = low; i < high; i++)
                    to[i] = from[i * step + word];
            else
                for (int32_t i = low; i < high; i++)
                    to[i] = ISA(group_word)(from + i * step, bit, channels, word);
        }
        for (int32_t i = high; i < count; i++)
            to[i] = padded;
    }
}

/* Words [begin, end) of the windows of a unit's pixels. */
static void ISA(gather_windows)(const ISA(nhwc_plan) *p, const ISA(nhwc_unit) *u, int32_t group, int64_t begin,
                                int64_t end, uint64_t *windows) {
    const int32_t width = p->args->shape.ow;
    for (int64_t k = begin, stop; k < end; k = stop) {
        int64_t tap = k / p->words;
        stop = BNNC_MIN(end, (tap + 1) * p->words);
        uint64_t *to = windows + (k - begin) * p->stride;
        for (int32_t i = 0, y = u->y, x = u->x, some; i < u->count; i += some, x = 0, y++) {
            some = BNNC_MIN(width - x, u->count - i);
            ISA(gather_tap)(p, u->batch_index, group, (int32_t)tap, y, x, some, k - tap * p->words,
                            stop - tap * p->words, to + i);
        }
        for (; to < windows + (stop - begin) * p->stride; to += p->stride)
            memset(to + u->count, 0, (size_t)(p->stride - u->count) * sizeof *to);
    }
}

/* Sums of the unit's pixels for a few channels, BNNC_COUNT_ROWS at most: `start` less twice the bits in
 * which their windows' words differ from w, or that much less than before if start is negative. */
BNNC_INLINE void ISA(sum_rows)(const ISA(nhwc_plan) *p, const uint64_t *windows, const uint64_t *w, int64_t words,
                               int32_t start, int32_t rows, int32_t count, int32_t *sums) {
    enum { LANES = BNNC_VEC_BYTES / 8 };
    vu64 counts[2 * BNNC_COUNT_ROWS];
    for (int32_t i = 0; i < count; i += 2 * LANES) {
        const vu64 *a = (const vu64 *)(const void *)(windows + i);
        ISA(count_differing)(a, p->stride / LANES, w, rows == 1 ? 0 : p->window_words, words, counts);
        for (int32_t r = 0; r < rows; r++) {
            int32_t *to = sums + r * p->stride + i;
            vi32 before = start < 0 ? i32_load(to) : i32_set(start);
            i32_store(to, before - 2 * ISA(narrow_counts)(counts + 2 * r));
        }
    }
}

/* The same for any number of channels. */
static void ISA(sum_channels)(const ISA(nhwc_plan) *p, const uint64_t *windows, const uint64_t *w, int64_t words,
                              int32_t start, int32_t channels, int32_t count, int32_t *sums) {
    int32_t c = 0;
    for (; c + BNNC_COUNT_ROWS <= channels; c += BNNC_COUNT_ROWS)
        ISA(sum_rows)(p, windows, w + c * p->window_words, words, start, BNNC_COUNT_ROWS, count, sums + c * p->stride);
    for (; c < channels; c++)
        ISA(sum_rows)(p, windows, w + c * p->window_words, words, start, 1, count, sums + c * p->stride);
}

/* ---- padding that counts 0 ---- */

/* A pixel whose window hangs over the input: the taps inside are [y, y_stop) x [x, x_stop). */
typedef struct {
    int32_t pixel;
    int32_t y, y_stop, x, x_stop;
} ISA(hanging);

static int32_t ISA(find_hanging)(const ISA(nhwc_plan) *p, const ISA(nhwc_unit) *u, ISA(hanging) *found) {
    const bnnc_conv_shape *s = &p->args->shape;
    int32_t n = 0, y = u->y, x = u->x;
    for (int32_t i = 0; i < u->count; i++) {
        ISA(hanging) h = {.pixel = i};
        ISA(inside)(s->kh, s->dilation_h, y * s->stride_h - s->pad_top, s->ih, &h.y, &h.y_stop);
        ISA(inside)(s->kw, s->dilation_w, x * s->stride_w - s->pad_left, s->iw, &h.x, &h.x_stop);
        if (h.y_stop - h.y < s->kh || h.x_stop - h.x < s->kw)
            found[n++] = h;
        if (++x == s->ow) {
            x = 0;
            y++;
        }
    }
    return n;
}

/* totals[y][x] = sum of the weights of taps above y and left of x, for one output channel. */
static void ISA(tap_totals)(const ISA(nhwc_plan) *p, const uint64_t *w, int32_t *totals) {
    const bnnc_conv_shape *s = &p->args->shape;
    const int32_t channels = s->ic / s->groups, columns = s->kw + 1;
    memset(totals, 0, (size_t)columns * sizeof *totals);
    for (int32_t y = 0; y < s->kh; y++) {
        int32_t *above = totals + y * columns, *row = above + columns, sum = 0;
        row[0] = 0;
        for (int32_t x = 0; x < s->kw; x++) {
            int32_t ones = 0;
            for (int64_t k = 0; k < p->words; k++)
                for (uint64_t bits = *w++; bits; bits &= bits - 1)
                    ones++;
            sum += 2 * ones - channels;
            row[x + 1] = above[x + 1] + sum;
        }
    }
}

static void ISA(restore_hanging)(const ISA(nhwc_plan) *p, const uint64_t *w, const ISA(hanging) *h, int32_t count,
                                 int32_t *totals, int32_t *sums) {
    const int32_t kh = p->args->shape.kh, columns = p->args->shape.kw + 1;
    ISA(tap_totals)(p, w, totals);
    for (int32_t i = 0; i < count; i++, h++) {
        const int32_t *top = totals + h->y * columns, *bottom = totals + h->y_stop * columns;
        int32_t in = bottom[h->x_stop] - bottom[h->x] - top[h->x_stop] + top[h->x];
        sums[h->pixel] += totals[kh * columns + columns - 1] - in;
    }
}

/* ---- the kernel ---- */

static int64_t ISA(binary_conv_nhwc_units)(const void *args) {
    ISA(nhwc_plan) p = ISA(nhwc_plan_of)(args);
    return p.args->shape.batch * p.tiles * p.parts;
}

static void ISA(nhwc_output)(const ISA(nhwc_plan) *p, const ISA(nhwc_unit) *u, const int32_t *sums) {
    const bnnc_conv_shape *s = &p->args->shape;
    if (p->args->raw) {
        int64_t pixels = (int64_t)s->oh * s->ow, plane = (int64_t)u->batch_index * s->oc + u->channel;
        for (int32_t c = 0; c < u->channels; c++)
            memcpy(p->args->out + (plane + c) * pixels + u->first, sums + c * p->stride,
                   (size_t)u->count * sizeof *sums);
        return;
    }
    int32_t length = s->ow % 8 && p->row_tiles == 1 ? s->ow : u->count;
    for (int32_t i = 0; i < u->count; i += length)
        ISA(epilogue_run_rows_i32)(&p->args->epilogue, u->batch_index, u->channel, u->channels, u->first + i, length,
                                   sums + i, p->stride);
}

static void ISA(binary_conv_nhwc)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const ISA(nhwc_plan) p = ISA(nhwc_plan_of)(args);
    const bnnc_conv_shape *s = &p.args->shape;
    const int32_t group_channels = s->oc / s->groups;
    uint64_t *windows = scratch;
    int32_t *sums = (int32_t *)(void *)((char *)scratch + BNNC_NHWC_WINDOW_BYTES);
    ISA(hanging) *hanging = (ISA(hanging) *)(void *)((char *)sums + BNNC_NHWC_SUM_BYTES);
    int32_t *totals = (int32_t *)(hanging + BNNC_NHWC_TILE);
    for (int64_t unit = begin; unit < end; unit++) {
        const ISA(nhwc_unit) u = ISA(nhwc_unit_at)(&p, unit);
        const int32_t hanging_count = p.args->pad == 0 ? ISA(find_hanging)(&p, &u, hanging) : 0;
        for (int32_t c = 0; c < u.channels;) {
            int32_t group = (u.channel + c) / group_channels;
            int32_t stop = BNNC_MIN(u.channels, (group + 1) * group_channels - u.channel);
            const uint64_t *w = (const uint64_t *)p.args->w + (int64_t)(u.channel + c) * p.window_words;
            int32_t start = s->kh * s->kw * (s->ic / s->groups);
            for (int64_t k = 0; k < p.window_words; k += p.chunk_words) {
                int64_t words = BNNC_MIN(p.chunk_words, p.window_words - k);
                ISA(gather_windows)(&p, &u, group, k, k + words, windows);
                ISA(sum_channels)(&p, windows, w + k, words, k ? -1 : start, stop - c, u.count, sums + c * p.stride);
            }
            for (; c < stop; c++, w += p.window_words)
                if (hanging_count)
                    ISA(restore_hanging)(&p, w, hanging, hanging_count, totals, sums + c * p.stride);
        }
        ISA(nhwc_output)(&p, &u, sums);
    }
}

#undef BNNC_COUNT_ROWS
#undef BNNC_NHWC_TILE
#undef BNNC_NHWC_WINDOW_BYTES
#undef BNNC_NHWC_SUM_BYTES
