/* Products of a panel of pixels with blocks of eight output channels: what convolutions, transposed
 * convolutions and matrix products are made of.
 *
 * A panel has one row of pixels for each of `depth` products; lanes are pixels, and a weight is
 * broadcast. A register tile of MR channels x NV vectors needs NV loads and MR broadcasts for
 * MR * NV multiply-adds, so that loads never limit it. Every result is summed in the panel's order
 * whatever tile it falls into, which makes results independent of how work is divided.
 */

/* Vectors a register tile is wide, and vectors of a cache line. */
#define GEMM_NV 3
#define GEMM_LINE (64 / BNNC_VEC_BYTES)
/* Ways to make a register tile: of a panel's rows, of scattered rows, of twins. */
#define GEMM_ROWS 0
#define GEMM_SCATTERED 1
#define GEMM_TWINS 2

/* Memory to ask for while sums are made: rows of `pixels` floats, `stride` apart. Every tile asks for a
 * few lines, so that they arrive without holding up anything. */
typedef struct {
    const float *row;
    int64_t rows, pixels, stride;
    int64_t at;    /* pixel of the first row to be asked for next */
    int64_t lines; /* to be asked for at a time */
} ISA(gemm_ask);

typedef struct {
    const float *w; /* [depth][8] */
    /* Where it isn't 0, every channel has two sums, whose weights lie that many floats apart, and results take turns:
     * out[channel * out_stride + 2 * pixel + which]. Nothing starts at `start_stride`, and no bits are made. */
    int64_t twin;
    const float *panel;
    const int64_t *taps; /* where each row of the panel begins, or NULL: panel_stride apart */
    int64_t depth, panel_stride;
    int64_t pixels;
    int32_t channels; /* 1 to 8 */
    /* What the sum starts from: start[channel] where start_stride is 0, else start[channel * start_stride + pixel]. */
    const float *start;
    int64_t start_stride;
    /* out[channel * out_stride + pixel] = max(low, sum). Where `exact` is 0, up to a vector behind a
     * row's last pixel may be overwritten. */
    float *out;
    int64_t out_stride;
    float low;
    int32_t exact;
    /* Bit `pixel` of the row at bits + channel * bits_stride is whether that is at least least[channel]; or
     * NULL. Pixels are then a multiple of 8. */
    uint8_t *bits;
    int64_t bits_stride;
    const float *least;
    /* Memory that will be used soon, touch[channel * touch_stride + pixel], or NULL: asked for while
     * the sums are made, since a store that misses the caches would wait. */
    const float *touch[2];
    int64_t touch_stride;
    ISA(gemm_ask) *ask; /* or NULL */
} ISA(gemm_block);

/* One product for each sum of a register tile, and on to the next. */
BNNC_INLINE void ISA(gemm_step)(const ISA(gemm_block) *b, vf32 sum[8][GEMM_NV], const float **w, const float **row,
                                const int64_t **tap, const int mr, const int nv, const int way) {
    const float *from = way == GEMM_SCATTERED ? *row + *(*tap)++ : *row;
    vf32 x[GEMM_NV];
    BNNC_UNROLL for (int j = 0; j < nv; j++) x[j] = f32_load(from + j * BNNC_LANES);
    BNNC_UNROLL for (int m = 0; m < mr; m++) {
        vf32 weight = f32_set(way == GEMM_TWINS ? (*w)[m / 2 + m % 2 * b->twin] : (*w)[m]);
        BNNC_UNROLL for (int j = 0; j < nv; j++) f32_accumulate(&sum[m][j], x[j], weight);
    }
    *row += way == GEMM_SCATTERED ? 0 : b->panel_stride;
    *w += 8;
}

/* mr sums of nv vectors: as many channels, or half as many with twins. What comes before and behind the products counts
 * as much as they do where they are few. */
BNNC_INLINE void ISA(gemm_tile)(const ISA(gemm_block) *b, int64_t channel, int64_t pixel, float *out,
                                int64_t out_stride, const int mr, const int nv, const int way) {
    const int turns = way == GEMM_TWINS ? 2 : 1;
    vf32 sum[8][GEMM_NV];
    const float *start = b->start + channel * (b->start_stride ? b->start_stride : 1);
    if (b->start_stride && way != GEMM_TWINS) {
        BNNC_UNROLL for (int i = 0; i < mr; i++) BNNC_UNROLL for (int j = 0; j < nv; j++) sum[i][j] =
            f32_load(start + i * b->start_stride + pixel + j * BNNC_LANES);
    } else {
        BNNC_UNROLL for (int i = 0; i < mr; i++) BNNC_UNROLL for (int j = 0; j < nv; j++) sum[i][j] =
            f32_set(start[i / turns]);
    }
    const float *w = b->w + channel, *row = b->panel + pixel, *const stop = w + 8 * b->depth;
    const int64_t *tap = b->taps;
    /* A channel's memory is asked for before a product. */
    for (int t = 0; t < 2 && b->touch[t]; t++) {
        const float *touch = b->touch[t] + channel * b->touch_stride + turns * pixel;
        for (int i = 0; i < mr / turns && w < stop; i++, touch += b->touch_stride) {
            BNNC_UNROLL for (int j = 0; j < turns * nv; j += GEMM_LINE) __builtin_prefetch(touch + j * BNNC_LANES, 1);
            ISA(gemm_step)(b, sum, &w, &row, &tap, mr, nv, way);
        }
    }
    while (w < stop)
        ISA(gemm_step)(b, sum, &w, &row, &tap, mr, nv, way);
    if (b->low > -INFINITY) {
        const vf32 low = f32_set(b->low);
        BNNC_UNROLL for (int i = 0; i < mr; i++) BNNC_UNROLL for (int j = 0; j < nv; j++) sum[i][j] =
            f32_max(low, sum[i][j]);
    }
    if (way == GEMM_TWINS) {
        BNNC_UNROLL for (int i = 0; i < mr; i += 2) BNNC_UNROLL for (int j = 0; j < nv; j++)
            ISA(store_interleaved)(out + i / 2 * out_stride + 2 * j * BNNC_LANES, sum[i][j], sum[i + 1][j]);
        return;
    }
    BNNC_UNROLL for (int i = 0; i < mr; i++) BNNC_UNROLL for (int j = 0; j < nv; j++)
        f32_store(out + i * out_stride + j * BNNC_LANES, sum[i][j]);
    if (!b->bits)
        return;
    const int64_t bits_stride = b->bits_stride;
    uint8_t *bits = b->bits + channel * bits_stride + (uint64_t)pixel / 8;
    const int32_t at = BNNC_LANES < 8 ? (int32_t)(pixel % 8) : 0;
    vf32 least[8];
    BNNC_UNROLL for (int i = 0; i < mr; i++) least[i] = f32_set(b->least[channel + i]);
    BNNC_UNROLL for (int i = 0; i < mr; i++, bits += bits_stride) BNNC_UNROLL for (int j = 0; j < nv; j++)
        ISA(put_bits)(bits, at + j * BNNC_LANES, f32_compare_bits(sum[i][j], least[i], BNNC_GE));
}

typedef void ISA(gemm_function)(const ISA(gemm_block) *b, int64_t channel, int64_t pixel, float *out,
                                int64_t out_stride);

#define GEMM_WAY(name, mr, nv, way)                                                                                    \
    static void ISA(name##mr##x##nv)(const ISA(gemm_block) *b, int64_t channel, int64_t pixel, float *out,             \
                                     int64_t out_stride) {                                                             \
        ISA(gemm_tile)(b, channel, pixel, out, out_stride, mr, nv, way);                                               \
    }
#define GEMM_TILE(mr, nv)                                                                                              \
    GEMM_WAY(gemm_, mr, nv, GEMM_ROWS)                                                                                 \
    GEMM_WAY(gemm_scattered_, mr, nv, GEMM_SCATTERED)
#define GEMM_TWIN(mr, nv) GEMM_WAY(gemm_twins_, mr, nv, GEMM_TWINS)
/* Registers: 32 hold 8 x 3 sums; 16 hold 4 x 3, and 8 x 1 where few pixels are left. */
GEMM_TILE(1, 1)
GEMM_TILE(1, 2)
GEMM_TILE(1, 3)
GEMM_TILE(2, 1)
GEMM_TILE(2, 2)
GEMM_TILE(2, 3)
GEMM_TILE(4, 1)
GEMM_TILE(4, 2)
GEMM_TILE(4, 3)
GEMM_TILE(8, 1)
GEMM_TWIN(2, 1)
GEMM_TWIN(2, 2)
GEMM_TWIN(2, 3)
GEMM_TWIN(4, 1)
GEMM_TWIN(4, 2)
GEMM_TWIN(4, 3)
GEMM_TWIN(8, 1)
#if BNNC_VEC_BYTES == 64
GEMM_TILE(8, 2)
GEMM_TILE(8, 3)
GEMM_TWIN(8, 2)
GEMM_TWIN(8, 3)
#endif
#undef GEMM_WAY
#undef GEMM_TILE
#undef GEMM_TWIN

/* By way, the logarithm of MR, and NV - 1. */
#define GEMM_ROW(way, mr) {ISA(way##mr##x1), ISA(way##mr##x2), ISA(way##mr##x3)}
#if BNNC_VEC_BYTES == 64
#define GEMM_LAST_ROW(way) GEMM_ROW(way, 8)
#else
#define GEMM_LAST_ROW(way) {ISA(way##8x1), NULL, NULL}
#endif
#define GEMM_TILES(way, first) {first, GEMM_ROW(way, 2), GEMM_ROW(way, 4), GEMM_LAST_ROW(way)}
static ISA(gemm_function) *const ISA(gemm_tiles)[3][4][GEMM_NV] = {
    GEMM_TILES(gemm_, GEMM_ROW(gemm_, 1)),
    GEMM_TILES(gemm_scattered_, GEMM_ROW(gemm_scattered_, 1)),
    GEMM_TILES(gemm_twins_, {NULL}),
};
#undef GEMM_ROW
#undef GEMM_LAST_ROW
#undef GEMM_TILES

/* Calls of a register tile that gemm_run makes. */
BNNC_INLINE int64_t ISA(gemm_tiles_of)(int64_t pixels) {
    return BNNC_CEIL_DIV(pixels, GEMM_NV * BNNC_LANES);
}

BNNC_INLINE void ISA(gemm_prefetch)(ISA(gemm_ask) *ask, const int write) {
    for (int64_t lines = ask->lines; lines > 0 && ask->rows > 0;) {
        int64_t left = BNNC_CEIL_DIV(ask->pixels - ask->at, 16), some = BNNC_MIN(lines, left);
        const float *from = ask->row + ask->at;
        for (const float *stop = from + 16 * some; from < stop; from += 16) {
            if (write)
                __builtin_prefetch(from, 1);
            else
                __builtin_prefetch(from, 0, 2);
        }
        lines -= some;
        ask->at += 16 * some;
        if (some == left) {
            ask->at = 0;
            ask->row += ask->stride;
            ask->rows--;
        }
    }
}

/* `count` times nv vectors of pixels, all channels: in tiles of as many as there are, the last ones in tiles of 4, 2
 * and 1. What happens between two tiles counts, since the multipliers soon rest. */
static void ISA(gemm_strip)(const ISA(gemm_block) *b, int64_t pixel, int64_t count, int nv, float *out,
                            int64_t out_stride) {
    const int way = b->twin ? GEMM_TWINS : b->taps ? GEMM_SCATTERED : GEMM_ROWS, turns = way == GEMM_TWINS ? 2 : 1;
    const int widest = BNNC_VEC_BYTES == 64 || nv == 1 ? 3 : 2;
    const int32_t channels = b->channels;
    for (; count > 0; count--, pixel += nv * BNNC_LANES, out += turns * nv * BNNC_LANES) {
        ISA(gemm_function) *const(*tile)[GEMM_NV] = &ISA(gemm_tiles)[way][widest];
        float *to = out;
        if (b->ask)
            ISA(gemm_prefetch)(b->ask, 0);
        for (int32_t channel = 0, step = (1 << widest) / turns; channel < channels; step /= 2, tile--)
            for (; channel + step <= channels; channel += step, to += step * out_stride)
                (*tile)[nv - 1](b, channel, pixel, to, out_stride);
    }
}

static void ISA(gemm_run)(const ISA(gemm_block) *b) {
    const int64_t turns = b->twin ? 2 : 1;
    int64_t vectors = b->exact ? b->pixels / BNNC_LANES : BNNC_CEIL_DIV(b->pixels, BNNC_LANES), pixel = 0;
    while (vectors > 0) {
        /* 4 = 2 + 2: a tile one vector wide has too few sums to keep the multipliers busy. */
        int nv = vectors == 4 ? 2 : (int)BNNC_MIN(vectors, GEMM_NV);
        int64_t count = vectors / nv - (nv == 3 && vectors % 3 == 1);
        ISA(gemm_strip)(b, pixel, count, nv, b->out + turns * pixel, b->out_stride);
        vectors -= count * nv;
        pixel += count * nv * BNNC_LANES;
    }
    int64_t left = b->pixels - pixel;
    if (left <= 0)
        return;
    float part[8 * 2 * BNNC_LANES];
    ISA(gemm_block) rest = *b;
    rest.bits = NULL;
    ISA(gemm_strip)(&rest, pixel, 1, 1, part, turns * BNNC_LANES);
    for (int32_t i = 0; i < b->channels; i++) {
        const float *from = part + i * turns * BNNC_LANES;
        memcpy(b->out + i * b->out_stride + turns * pixel, from, (size_t)(turns * left) * sizeof(float));
        for (int64_t k = 0; b->bits && k < left; k++) {
            uint8_t *byte = b->bits + i * b->bits_stride + (pixel + k) / 8;
            *byte = (uint8_t)((k % 8 ? *byte : 0) | (from[k] >= b->least[i]) << k % 8);
        }
    }
}

#undef GEMM_NV
#undef GEMM_LINE
#undef GEMM_ROWS
#undef GEMM_SCATTERED
#undef GEMM_TWINS
