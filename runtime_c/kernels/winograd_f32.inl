/* Winograd's convolution F(m x m, 3x3): what the kernels that use it share. Of the m x m outputs of a
 * tile each takes (1 + 2/m)² products an input channel instead of 9.
 *
 * A tile needs (m+2) x (m+2) inputs d and is
 *
 *     Y = A' (sum over input channels of (G g G') o (B' d B)) A
 *
 * with o element by element and g the 3x3 weights. For m = 4, from the points 0, +-a, +-b, infinity,
 *
 *     B' = a²b²   0   -s  0  1  0     A' = 1  1   1   1   1   0     s = a² + b²
 *            0  -ab²  -b² a  1  0          0  a  -a   b  -b   0
 *            0   ab²  -b² -a 1  0          0  a²  a²  b²  b²  0
 *            0  -a²b  -a² b  1  0          0  a³ -a³  b³ -b³  1
 *            0   a²b  -a² -b 1  0
 *            0  a²b²   0  -s 0  1
 *
 * The usual points 1 and 2 lose a digit and a half to cancellation. With a = 3/4 and b = 3/2, whose
 * powers are exact, the error is about two and a half times that of summing directly. For m = 2 the
 * points are 0, +-1, infinity, and nothing is lost. G comes from the same points, with the factors
 * that make up for those of B'; most weights have been transformed before they come here.
 *
 * Lanes are tiles that follow each other in a row of tiles. A unit is a block of tiles, and of output
 * channels all or, where blocks are few, some: its inputs are transformed, which gives a panel for each
 * of the (m+2)² positions. For 8 output channels at a time the products of panels and weights follow,
 * and their sums are transformed back to rows of pixels.
 */
#define WINOGRAD_A 0.75f
#define WINOGRAD_B 1.5f
#define WINOGRAD_A2 (WINOGRAD_A * WINOGRAD_A)
#define WINOGRAD_B2 (WINOGRAD_B * WINOGRAD_B)

/* Tiles of a block; floats of a tile's transformed inputs up to which it has so many, and above which
 * it has few; blocks and units wanted. */
#define WINOGRAD_TILES 64
#define WINOGRAD_SMALL 640
#define WINOGRAD_LARGE 4096
#define WINOGRAD_BLOCKS 2
#define WINOGRAD_UNITS 8
/* Eights of channels that are worth transforming a block's inputs for, which every unit may have to. */
#define WINOGRAD_EIGHTS 2
/* Floats of a copy of a channel's pixels: those of the tiles of a block, in rows of at least one tile, with what
 * lies around them. */
#define WINOGRAD_PADDED ((WINOGRAD_TILES * 4 + 2) * (4 + 16) + 16)
/* Weights, in floats, that are asked for ahead; the processor itself stops asking where a page ends. */
#define WINOGRAD_AHEAD 1024

typedef struct {
    const float *x;
    const bnnc_conv_shape *s;
    int64_t oh, ow; /* of a plain convolution of stride 1, padded with pad_top and pad_left */
    int64_t pad_top, pad_left;
    int64_t tiles_y, tiles_x; /* of the output */
    int64_t rows, columns;    /* tiles of a block */
    int64_t pitch;            /* tiles from one row of a block to the next: whole vectors of pixels */
    int64_t row_blocks, column_blocks;
    int64_t lanes;          /* tiles of a panel, whole vectors */
    int64_t input_position; /* floats from one position's panel to the next */
    /* Sums are [channel][vector of tiles][position][lane], so that what is transformed back together stands together:
     * floats from one vector to the next, and from one channel. */
    int64_t sum_vector, sum_channel;
    int64_t block_pixels;
    int32_t splits, unit_channels; /* of a block's output channels */
    float low;
} ISA(winograd_plan);

/* A unit: tiles [ty0, ty1) x [tx0, tx1) of a batch item, how many pixels they are high and wide, and
 * channels [channel, stop) of the output. */
typedef struct {
    int32_t batch_index, channel, stop;
    int64_t ty0, ty1, tx0, tx1, height, width;
} ISA(winograd_block);

/* `whole`: whether a unit must have all channels of its block. */
BNNC_INLINE void ISA(plan_winograd)(ISA(winograd_plan) *p, int whole, const int m) {
    const bnnc_conv_shape *s = p->s;
    const int64_t unit = BNNC_MAX(1, BNNC_LANES / m), positions = (m + 2) * (m + 2);
    p->tiles_y = BNNC_CEIL_DIV(p->oh, m);
    p->tiles_x = BNNC_CEIL_DIV(p->ow, m);
    int64_t inputs = s->ic * positions;
    int64_t most = inputs > WINOGRAD_LARGE ? 16 : inputs > WINOGRAD_SMALL ? 32 : WINOGRAD_TILES;
    while (most > 16 && s->batch * p->tiles_y * p->tiles_x < WINOGRAD_BLOCKS * most)
        most /= 2;
    p->pitch = BNNC_CEIL_DIV(p->tiles_x, unit) * unit;
    p->columns = p->tiles_x;
    if (p->pitch > most)
        p->pitch = p->columns = most;
    p->rows = BNNC_MIN(p->tiles_y, most / p->pitch);
    p->row_blocks = BNNC_CEIL_DIV(p->tiles_y, p->rows);
    p->column_blocks = BNNC_CEIL_DIV(p->tiles_x, p->columns);
    p->lanes = BNNC_CEIL_DIV(p->rows * p->pitch, BNNC_LANES) * BNNC_LANES;
    p->block_pixels = p->rows * p->pitch * m * m;
    /* Not multiples of a page, so that positions do not share cache sets. */
    p->input_position = s->ic * p->lanes + 16;
    p->sum_vector = positions * BNNC_LANES;
    p->sum_channel = p->lanes * positions;
    p->splits = 1;
    p->unit_channels = s->oc;
    if (!whole) {
        int64_t blocks = s->batch * p->row_blocks * p->column_blocks, eights = BNNC_CEIL_DIV(s->oc, 8);
        int64_t least = BNNC_MAX(WINOGRAD_EIGHTS, BNNC_CEIL_DIV(eights * blocks, WINOGRAD_UNITS));
        p->unit_channels = (int32_t)BNNC_MIN(eights, least) * 8;
        p->splits = BNNC_CEIL_DIV(s->oc, p->unit_channels);
    }
}

BNNC_INLINE int64_t ISA(winograd_units)(const ISA(winograd_plan) *p) {
    return p->s->batch * p->row_blocks * p->column_blocks * p->splits;
}

BNNC_INLINE ISA(winograd_block) ISA(winograd_unit)(const ISA(winograd_plan) *p, int64_t unit, const int m) {
    int64_t block = unit / p->splits;
    int32_t channel = (int32_t)(unit % p->splits) * p->unit_channels;
    ISA(winograd_block) t = {
        .batch_index = (int32_t)(block / p->column_blocks / p->row_blocks),
        .channel = channel,
        .stop = BNNC_MIN(p->s->oc, channel + p->unit_channels),
        .ty0 = block / p->column_blocks % p->row_blocks * p->rows,
        .tx0 = block % p->column_blocks * p->columns,
    };
    t.ty1 = BNNC_MIN(p->tiles_y, t.ty0 + p->rows);
    t.tx1 = BNNC_MIN(p->tiles_x, t.tx0 + p->columns);
    t.height = BNNC_MIN(p->oh, t.ty1 * m) - t.ty0 * m;
    t.width = BNNC_MIN(p->ow, t.tx1 * m) - t.tx0 * m;
    return t;
}

/* out = B' in, m + 2 vectors. */
BNNC_INLINE void ISA(winograd_in)(const vf32 *in, vf32 *out, const int m) {
    if (m == 2) {
        out[0] = in[2] - in[0];
        out[1] = in[2] + in[1];
        out[2] = in[2] - in[1];
        out[3] = in[3] - in[1];
        return;
    }
    const vf32 a = f32_set(WINOGRAD_A), b = f32_set(WINOGRAD_B);
    const vf32 a2 = f32_set(-WINOGRAD_A2), b2 = f32_set(-WINOGRAD_B2);
    const vf32 both = f32_set(WINOGRAD_A2 * WINOGRAD_B2), sum = f32_set(-(WINOGRAD_A2 + WINOGRAD_B2));
    vf32 ta = f32_fma(b2, in[2], in[4]), ua = f32_fma(b2, in[1], in[3]);
    vf32 tb = f32_fma(a2, in[2], in[4]), ub = f32_fma(a2, in[1], in[3]);
    out[0] = f32_fma(both, in[0], f32_fma(sum, in[2], in[4]));
    out[1] = f32_fma(a, ua, ta);
    out[2] = f32_fma(-a, ua, ta);
    out[3] = f32_fma(b, ub, tb);
    out[4] = f32_fma(-b, ub, tb);
    out[5] = f32_fma(both, in[1], f32_fma(sum, in[3], in[5]));
}

/* out = A' in, m + 2 vectors to m. */
BNNC_INLINE void ISA(winograd_out)(const vf32 *in, vf32 *out, const int m) {
    vf32 sa = in[1] + in[2], da = in[1] - in[2];
    if (m == 2) {
        out[0] = in[0] + sa;
        out[1] = in[3] + da;
        return;
    }
    const vf32 a = f32_set(WINOGRAD_A), b = f32_set(WINOGRAD_B);
    const vf32 a2 = f32_set(WINOGRAD_A2), b2 = f32_set(WINOGRAD_B2);
    const vf32 a3 = f32_set(WINOGRAD_A * WINOGRAD_A2), b3 = f32_set(WINOGRAD_B * WINOGRAD_B2);
    vf32 sb = in[3] + in[4], db = in[3] - in[4];
    out[0] = in[0] + sa + sb;
    out[1] = f32_fma(b, db, a * da);
    out[2] = f32_fma(b2, sb, a2 * sa);
    out[3] = f32_fma(b3, db, f32_fma(a3, da, in[5]));
}

/* Row `row` of G: what it takes of each of three weights. */
BNNC_INLINE void ISA(winograd_factors)(int row, float *factors, const int m) {
    const float a = m == 2 ? 1 : WINOGRAD_A, points[5] = {0, a, -a, WINOGRAD_B, -WINOGRAD_B};
    if (row == m + 1) {
        factors[0] = factors[1] = 0;
        factors[2] = 1;
        return;
    }
    float p = points[row], scale = 1;
    for (int i = 0; i < m + 1; i++)
        if (i != row)
            scale *= p - points[i];
    factors[0] = 1 / scale;
    factors[1] = p / scale;
    factors[2] = p * p / scale;
}

/* Where in a row a tile's first pixel is: tiles[tile], or side by side if that is NULL. */
BNNC_INLINE int64_t ISA(winograd_first)(const int64_t *tiles, int tile, const int m) {
    return tiles ? tiles[tile] : tile * m;
}

/* Of the pixels of BNNC_LANES tiles, as winograd_pixels loads them: of each tile the first, the second, ...
 * pixel; and back to vectors of pixels that follow each other. With vectors of 32 bytes and tiles of 4
 * pixels, vector i holds tiles i and i + 4, so that nothing but whole halves leaves its half. */
#if BNNC_VEC_BYTES == 32
BNNC_INLINE void ISA(winograd_transpose)(vf32 *v) {
    const __m256 v0 = (__m256)v[0], v1 = (__m256)v[1], v2 = (__m256)v[2], v3 = (__m256)v[3];
    __m256 low01 = _mm256_unpacklo_ps(v0, v1), low23 = _mm256_unpacklo_ps(v2, v3);
    __m256 high01 = _mm256_unpackhi_ps(v0, v1), high23 = _mm256_unpackhi_ps(v2, v3);
    v[0] = (vf32)_mm256_shuffle_ps(low01, low23, 0x44);
    v[1] = (vf32)_mm256_shuffle_ps(low01, low23, 0xEE);
    v[2] = (vf32)_mm256_shuffle_ps(high01, high23, 0x44);
    v[3] = (vf32)_mm256_shuffle_ps(high01, high23, 0xEE);
}
#endif
BNNC_INLINE vf32 ISA(winograd_pixels)(const float *row, const int64_t *tiles, int i, const int m) {
#if BNNC_VEC_BYTES == 32
    if (m == 4)
        return ISA(join_halves)(_mm_loadu_ps(row + ISA(winograd_first)(tiles, i, m)),
                                _mm_loadu_ps(row + ISA(winograd_first)(tiles, i + 4, m)));
#endif
    return f32_load(row + ISA(winograd_first)(tiles, i * BNNC_MAX(1, BNNC_LANES / m), m));
}
BNNC_INLINE void ISA(winograd_split)(vf32 *v, const int m) {
#if BNNC_VEC_BYTES == 32
    if (m == 4) {
        ISA(winograd_transpose)(v);
        return;
    }
#endif
    ISA(two) first = ISA(two_of)(v[0], v[1]);
    vf32 even0 = ISA(even)(first), odd0 = ISA(odd)(first);
    if (m == 2) {
        v[0] = even0;
        v[1] = odd0;
        return;
    }
    ISA(two) second = ISA(two_of)(v[2], v[3]);
    ISA(two) even = ISA(two_of)(even0, ISA(even)(second)), odd = ISA(two_of)(odd0, ISA(odd)(second));
    v[0] = ISA(even)(even);
    v[1] = ISA(even)(odd);
    v[2] = ISA(odd)(even);
    v[3] = ISA(odd)(odd);
}
BNNC_INLINE void ISA(winograd_join)(vf32 *v, const int m) {
    if (m == 2) {
        vf32 low = ISA(interleave_low)(v[0], v[1]);
        v[1] = ISA(interleave_high)(v[0], v[1]);
        v[0] = low;
        return;
    }
#if BNNC_VEC_BYTES == 32
    ISA(winograd_transpose)(v);
    ISA(two) left = ISA(two_of)(v[0], v[1]), right = ISA(two_of)(v[2], v[3]);
    v[0] = left.a;
    v[1] = right.a;
    v[2] = left.b;
    v[3] = right.b;
#else
    vf32 low02 = ISA(interleave_low)(v[0], v[2]), high02 = ISA(interleave_high)(v[0], v[2]);
    vf32 low13 = ISA(interleave_low)(v[1], v[3]), high13 = ISA(interleave_high)(v[1], v[3]);
    v[0] = ISA(interleave_low)(low02, low13);
    v[1] = ISA(interleave_high)(low02, low13);
    v[2] = ISA(interleave_low)(high02, high13);
    v[3] = ISA(interleave_high)(high02, high13);
#endif
}

/* The inputs of BNNC_LANES tiles, transformed along columns of pixels, which need not be split for that. */
BNNC_INLINE void ISA(winograd_columns)(const float *const *rows, const int64_t *tiles, vf32 out[6][4], const int m) {
    BNNC_UNROLL for (int i = 0; i < m; i++) {
        vf32 d[6], r[6];
        BNNC_UNROLL for (int j = 0; j < m + 2; j++) d[j] = ISA(winograd_pixels)(rows[j], tiles, i, m);
        ISA(winograd_in)(d, r, m);
        BNNC_UNROLL for (int j = 0; j < m + 2; j++) out[j][i] = r[j];
    }
}

/* What winograd_columns has made of BNNC_LANES tiles, split and transformed along rows of pixels: into the positions'
 * panels. A tile's last two columns are the first ones of what lies beside it: beside[j][k] or, where tiles follow each
 * other (`slide`), those of the vector that begins there, which these tiles' then take the place of. */
BNNC_INLINE void ISA(winograd_panels)(vf32 here[6][4], vf32 beside[6][2], const int slide, float *out, int64_t position,
                                      const int m) {
    BNNC_UNROLL for (int j = 0; j < m + 2; j++) {
        vf32 d[6], r[6];
        ISA(winograd_split)(here[j], m);
        BNNC_UNROLL for (int k = 0; k < m; k++) d[k] = here[j][k];
        BNNC_UNROLL for (int k = 0; k < 2; k++) {
            d[m + k] = slide ? ISA(slide_down)(d[k], beside[j][k]) : beside[j][k];
            if (slide)
                beside[j][k] = d[k];
        }
        ISA(winograd_in)(d, r, m);
        BNNC_UNROLL for (int k = 0; k < m + 2; k++, out += position) f32_store(out, r[k]);
    }
}

/* Both steps where tiles follow each other. Functions of their own, since in a loop addresses of all positions' panels
 * would be kept, in memory. */
static __attribute__((noinline)) void ISA(winograd_tiles_2)(const float *const *rows, vf32 beside[6][2], float *out,
                                                            int64_t position) {
    vf32 here[6][4];
    ISA(winograd_columns)(rows, NULL, here, 2);
    ISA(winograd_panels)(here, beside, 1, out, position, 2);
}
static __attribute__((noinline)) void ISA(winograd_tiles_4)(const float *const *rows, vf32 beside[6][2], float *out,
                                                            int64_t position) {
    vf32 here[6][4];
    ISA(winograd_columns)(rows, NULL, here, 4);
    ISA(winograd_panels)(here, beside, 1, out, position, 4);
}

/* Copies for winograd_columns of rows from pixel `at` on, with zeros for what lies outside their `width`. */
BNNC_INLINE void ISA(winograd_edge)(const float *const *in, int64_t at, int64_t width, float edge[6][4 * BNNC_LANES],
                                    const float **rows, const int m) {
    const vf32 zero = f32_set(0);
    for (int i = 0; i < m * BNNC_LANES; i += BNNC_LANES, at += BNNC_LANES)
        for (int j = 0; j < m + 2; j++) {
            vf32 v = zero;
            if (at == -1 && width >= BNNC_LANES) /* padding of one */
                v = ISA(slide)(zero, f32_load(in[j]));
            else if (at < width)
                v = ISA(load_window)(in[j], at, width, zero);
            f32_store(edge[j] + i, v);
        }
    for (int j = 0; j < m + 2; j++)
        rows[j] = edge[j];
}

/* Of the vectors that begin at pixel `at`, what winograd_panels takes where tiles follow each other: the first tile's
 * first two columns. */
BNNC_INLINE void ISA(winograd_beside)(const float *const *in, int64_t at, int64_t width, vf32 beside[6][2],
                                      const int m) {
    vf32 d[6], r[6];
    BNNC_UNROLL for (int j = 0; j < m + 2; j++) d[j] = (vf32){in[j][at], at + 1 < width ? in[j][at + 1] : 0};
    ISA(winograd_in)(d, r, m);
    BNNC_UNROLL for (int j = 0; j < m + 2; j++) {
        beside[j][0] = r[j];
        beside[j][1] = ISA(slide_down)(r[j], r[j]);
    }
}

/* Transform one channel's inputs of one row of tiles: first along columns of pixels, which need not be
 * split for that, then along rows. A tile's last two columns are the first ones of the next, so
 * vectors go from right to left. */
BNNC_INLINE void ISA(winograd_row_inputs)(const ISA(winograd_plan) *p, const ISA(winograd_block) *t, const float *x,
                                          int64_t ty, const float *zeros, float *out, const int m) {
    const bnnc_conv_shape *s = p->s;
    const float *in[6];
    for (int64_t j = 0; j < m + 2; j++) {
        int64_t y = ty * m + j - p->pad_top;
        in[j] = y >= 0 && y < s->ih ? x + y * s->iw : zeros;
    }
    int64_t tiles = t->tx1 - t->tx0, begin = t->tx0 * m - p->pad_left;
    int64_t last = BNNC_CEIL_DIV(tiles, BNNC_LANES) * BNNC_LANES;
    vf32 beside[6][2] = {{{0}}};
    float edge[6][4 * BNNC_LANES] __attribute__((aligned(64)));
    if (begin + m * last < s->iw)
        ISA(winograd_beside)(in, begin + m * last, s->iw, beside, m);
    for (int64_t i = last - BNNC_LANES; i >= 0; i -= BNNC_LANES) {
        const float *rows[6];
        int64_t at = begin + m * i;
        if (at >= 0 && at + m * BNNC_LANES <= s->iw)
            for (int j = 0; j < m + 2; j++)
                rows[j] = in[j] + at;
        else
            ISA(winograd_edge)(in, at, s->iw, edge, rows, m);
        if (m == 4)
            ISA(winograd_tiles_4)(rows, beside, out + i, p->input_position);
        else
            ISA(winograd_tiles_2)(rows, beside, out + i, p->input_position);
    }
}

/* Transform a unit's inputs where a vector holds several whole rows of tiles. A channel's pixels are copied, with
 * zeros around them, so that any row of tiles can be read, and a tile's last two columns as well: where the next one's
 * first ones are, which need not be a tile of its row. */
static void ISA(winograd_narrow_inputs)(const ISA(winograd_plan) *p, const ISA(winograd_block) *t, float *out,
                                        const int m) {
    const bnnc_conv_shape *s = p->s;
    const int64_t stride = p->pitch * m + 16, height = p->lanes / p->pitch * m + 2;
    float padded[WINOGRAD_PADDED] __attribute__((aligned(64)));
    memset(padded, 0, (size_t)(height * stride) * sizeof *padded);
    int64_t tiles[BNNC_LANES];
    for (int64_t i = 0; i < BNNC_LANES; i++)
        tiles[i] = i / p->pitch * m * stride + i % p->pitch * m;
    const int64_t top = t->ty0 * m - p->pad_top, y1 = BNNC_MIN(s->ih, top + height);
    const int64_t width = BNNC_MIN(s->iw, p->pitch * m + 2 - p->pad_left);
    const float *x = p->x + (int64_t)t->batch_index * s->ic * s->ih * s->iw;
    for (int64_t c = 0; c < s->ic; c++, x += (int64_t)s->ih * s->iw, out += p->lanes) {
        for (int64_t y = BNNC_MAX(0, top); y < y1; y++) {
            float *to = padded + (y - top) * stride + p->pad_left;
            /* zeros that go beyond the row fall on those before the next */
            for (int64_t i = 0; i < width; i += BNNC_LANES)
                f32_store(to + i, f32_load_some(x + y * s->iw + i, width - i));
        }
        for (int64_t i = 0; i < p->lanes; i += BNNC_LANES) {
            const float *rows[6];
            vf32 here[6][4], next[6][4], beside[6][2];
            for (int j = 0; j < m + 2; j++)
                rows[j] = padded + (i / p->pitch * m + j) * stride;
            ISA(winograd_columns)(rows, tiles, here, m);
            for (int j = 0; j < m + 2; j++)
                rows[j] += m;
            ISA(winograd_columns)(rows, tiles, next, m);
            BNNC_UNROLL for (int j = 0; j < m + 2; j++) {
                ISA(winograd_split)(next[j], m);
                BNNC_UNROLL for (int k = 0; k < 2; k++) beside[j][k] = next[j][k];
            }
            ISA(winograd_panels)(here, beside, 0, out + i, p->input_position, m);
        }
    }
}

/* Transform a unit's inputs. `zeros`: as many as a row of the input is wide. */
BNNC_INLINE void ISA(winograd_inputs)(const ISA(winograd_plan) *p, const ISA(winograd_block) *t, const float *zeros,
                                      float *out, const int m) {
    const bnnc_conv_shape *s = p->s;
    if (p->pitch < BNNC_LANES && BNNC_LANES % p->pitch == 0) {
        ISA(winograd_narrow_inputs)(p, t, out, m);
        return;
    }
    const float *x = p->x + (int64_t)t->batch_index * s->ic * s->ih * s->iw;
    for (int64_t c = 0; c < s->ic; c++, x += (int64_t)s->ih * s->iw)
        for (int64_t ty = t->ty0; ty < t->ty1; ty++)
            ISA(winograd_row_inputs)(p, t, x, ty, zeros, out + c * p->lanes + (ty - t->ty0) * p->pitch, m);
}

/* One product for each sum of mr channels x nv vectors of tiles. */
BNNC_INLINE void ISA(winograd_step)(const float *w, const float *panel, vf32 sum[8][3], const int mr, const int nv) {
    vf32 x[3];
    BNNC_UNROLL for (int j = 0; j < nv; j++) x[j] = f32_load(panel + j * BNNC_LANES);
    BNNC_UNROLL for (int m = 0; m < mr; m++) {
        vf32 weight = f32_set(w[m]);
        BNNC_UNROLL for (int j = 0; j < nv; j++) f32_accumulate(&sum[m][j], x[j], weight);
    }
}

/* All products of such a tile of sums: the first one, another where they are even, and pairs. */
BNNC_INLINE void ISA(winograd_tile)(const ISA(winograd_plan) *p, const float *w, const float *panel, float *out,
                                    const int mr, const int nv) {
    const int64_t depth = p->s->ic, lanes = p->lanes;
    vf32 sum[8][3];
    BNNC_UNROLL for (int m = 0; m < mr; m++) BNNC_UNROLL for (int j = 0; j < nv; j++) sum[m][j] =
        f32_load(panel + j * BNNC_LANES) * f32_set(w[m]);
    const float *const stop = w + 8 * depth;
    w += 8;
    panel += lanes;
    if (depth % 2 == 0) {
        ISA(winograd_step)(w, panel, sum, mr, nv);
        w += 8;
        panel += lanes;
    }
    for (; w < stop; w += 16, panel += 2 * lanes) {
        __builtin_prefetch(w + WINOGRAD_AHEAD, 0, 2);
        ISA(winograd_step)(w, panel, sum, mr, nv);
        ISA(winograd_step)(w + 8, panel + lanes, sum, mr, nv);
    }
    BNNC_UNROLL for (int m = 0; m < mr; m++, out += p->sum_channel) BNNC_UNROLL for (int j = 0; j < nv; j++)
        f32_store(out + j * p->sum_vector, sum[m][j]);
}

/* The products of a position's panel with the weights of a block of channels, at least one. Registers:
 * 32 hold 8 x 2 sums and more, 16 hold 4 x 3. */
static void ISA(winograd_products)(const ISA(winograd_plan) *p, const float *panel, const float *w, int32_t channels,
                                   float *sums) {
    const int64_t vectors = p->lanes / BNNC_LANES;
    int64_t i = 0;
#if BNNC_VEC_BYTES == 64
    if (channels > 4) {
        for (; i + 2 <= vectors; i += 2)
            ISA(winograd_tile)(p, w, panel + i * BNNC_LANES, sums + i * p->sum_vector, 8, 2);
        if (i < vectors)
            ISA(winograd_tile)(p, w, panel + i * BNNC_LANES, sums + i * p->sum_vector, 8, 1);
        return;
    }
#endif
    for (int m = 0; m < channels; m += 4, sums += 4 * p->sum_channel, i = 0) {
        for (; i + 3 <= vectors && i + 4 != vectors; i += 3)
            ISA(winograd_tile)(p, w + m, panel + i * BNNC_LANES, sums + i * p->sum_vector, 4, 3);
        for (; i + 2 <= vectors; i += 2)
            ISA(winograd_tile)(p, w + m, panel + i * BNNC_LANES, sums + i * p->sum_vector, 4, 2);
        if (i < vectors)
            ISA(winograd_tile)(p, w + m, panel + i * BNNC_LANES, sums + i * p->sum_vector, 4, 1);
    }
}

/* Transform the sums of one channel at lanes [i, i + BNNC_LANES) back: m rows of every tile's first, second, ...
 * pixels. */
BNNC_INLINE void ISA(winograd_outputs)(const float *sums, vf32 bias, vf32 low, vf32 out[4][4], const int m) {
    vf32 half[6][4];
    BNNC_UNROLL for (int j = 0; j < m + 2; j++) {
        vf32 v[6];
        BNNC_UNROLL for (int k = 0; k < m + 2; k++) v[k] = f32_load(sums + ((m + 2) * j + k) * BNNC_LANES);
        ISA(winograd_out)(v, half[j], m);
    }
    BNNC_UNROLL for (int k = 0; k < m; k++) {
        vf32 v[6], r[4];
        BNNC_UNROLL for (int j = 0; j < m + 2; j++) v[j] = half[j][k];
        ISA(winograd_out)(v, r, m);
        BNNC_UNROLL for (int j = 0; j < m; j++) out[j][k] = f32_max(low, r[j] + bias);
    }
}

/* Store what winograd_outputs has made, m vectors of pixels a row: vector k of row j from to[k] + j * stride on. */
BNNC_INLINE void ISA(winograd_store)(float *const *to, int64_t stride, vf32 rows[4][4], const int m) {
    BNNC_UNROLL for (int j = 0; j < m; j++) {
#if BNNC_VEC_BYTES == 32
        if (m == 4) {
            ISA(winograd_transpose)(rows[j]);
            BNNC_UNROLL for (int i = 0; i < 4; i++) {
                const __m256 tiles = (__m256)rows[j][i]; /* i and i + 4 */
                const int64_t at = j * stride + i % 2 * 4;
                _mm_storeu_ps(to[i / 2] + at, _mm256_castps256_ps128(tiles));
                _mm_storeu_ps(to[2 + i / 2] + at, _mm256_extractf128_ps(tiles, 1));
            }
            continue;
        }
#endif
        ISA(winograd_join)(rows[j], m);
        BNNC_UNROLL for (int k = 0; k < m; k++) f32_store(to[k] + j * stride, rows[j][k]);
    }
}

/* The outputs of one channel: row `y` of the block begins at out + y * stride. */
BNNC_INLINE void ISA(winograd_rows)(const ISA(winograd_plan) *p, const ISA(winograd_block) *t, const float *sums,
                                    float bias, float *out, int64_t stride, const int m) {
    vf32 shift = f32_set(bias), low = f32_set(p->low);
    int64_t y = 0, x = 0;
    for (int64_t i = 0; i < p->lanes && y < t->height; i += BNNC_LANES, sums += p->sum_vector) {
        vf32 rows[4][4];
        float *to[4];
        int64_t height[4], width[4];
        int whole = 1;
        BNNC_UNROLL for (int k = 0; k < m; k++) {
            to[k] = out + y * stride + x;
            height[k] = BNNC_MIN(m, t->height - y);
            width[k] = t->width - x;
            whole &= height[k] == m && width[k] >= BNNC_LANES;
            x += BNNC_LANES;
            if (x >= p->pitch * m) {
                x = 0;
                y += m;
            }
        }
        ISA(winograd_outputs)(sums, shift, low, rows, m);
        if (whole) {
            ISA(winograd_store)(to, stride, rows, m);
            continue;
        }
        for (int j = 0; j < m; j++) {
            ISA(winograd_join)(rows[j], m);
            for (int k = 0; k < m; k++)
                if (j < height[k] && width[k] > 0)
                    f32_store_some(to[k] + j * stride, rows[j][k], width[k]);
        }
    }
}

#undef WINOGRAD_A
#undef WINOGRAD_B
#undef WINOGRAD_A2
#undef WINOGRAD_B2
#undef WINOGRAD_TILES
#undef WINOGRAD_SMALL
#undef WINOGRAD_LARGE
#undef WINOGRAD_BLOCKS
#undef WINOGRAD_UNITS
#undef WINOGRAD_EIGHTS
#undef WINOGRAD_PADDED
#undef WINOGRAD_AHEAD
