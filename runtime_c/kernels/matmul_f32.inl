/* matmul_f32: rows of a times a matrix b whose columns lie in blocks of eight.
 *
 * Lanes are columns; an element of a is broadcast. A tile of several rows x 3 blocks keeps the
 * multipliers busy; a single row takes 8 blocks, so that there are as many independent sums and
 * the weights stream in. A b that is made during the run is packed into such blocks slice by slice.
 */

/* Rows and columns of a unit, products of a slice. */
#define MATMUL_ROWS 64
#define MATMUL_COLUMNS 192
#define MATMUL_SLICE 512

/* Eight columns are this many vectors, of at most 32 bytes. */
#if BNNC_VEC_BYTES > 32
#define MATMUL_BYTES 32
#else
#define MATMUL_BYTES BNNC_VEC_BYTES
#endif
/* Rows of a tile: as many as give 12 sums in vectors. */
#define MATMUL_MR (BNNC_VEC_BYTES > 16 ? 4 : 2)
#define MATMUL_PARTS (32 / MATMUL_BYTES)

typedef float ISA(matmul_vector) __attribute__((vector_size(MATMUL_BYTES)));
typedef float ISA(matmul_any) __attribute__((vector_size(MATMUL_BYTES), aligned(4), may_alias));

typedef struct {
    const float *a; /* [row][product] */
    int64_t a_stride;
    const float *b; /* [block][product][8] */
    int64_t b_stride;
    int64_t depth;
    float *sums; /* [row][column], MATMUL_COLUMNS to a row */
} ISA(matmul_tile);

/* Add to the sums of mr rows and nb blocks. */
BNNC_INLINE void ISA(matmul_run_tile)(const ISA(matmul_tile) *t, int64_t row, int64_t block, const int mr,
                                      const int nb) {
    ISA(matmul_vector) sum[4][8 * MATMUL_PARTS];
    float *sums = t->sums + row * MATMUL_COLUMNS + block * 8;
    const float *a = t->a + row * t->a_stride, *b = t->b + block * t->b_stride;
    const int lanes = MATMUL_BYTES / 4, vectors = nb * MATMUL_PARTS;
    BNNC_UNROLL for (int i = 0; i < mr; i++) BNNC_UNROLL for (int j = 0; j < vectors; j++) sum[i][j] =
        *(const ISA(matmul_any) *)(sums + i * MATMUL_COLUMNS + j * lanes);
    for (int64_t k = 0; k < t->depth; k++) {
        ISA(matmul_vector) w[8 * MATMUL_PARTS];
        BNNC_UNROLL for (int j = 0; j < vectors; j++) w[j] =
            *(const ISA(matmul_any) *)(b + j / MATMUL_PARTS * t->b_stride + k * 8 + j % MATMUL_PARTS * lanes);
        BNNC_UNROLL for (int i = 0; i < mr; i++) {
            ISA(matmul_vector) x = a[i * t->a_stride + k] - (ISA(matmul_vector)){0};
            BNNC_UNROLL for (int j = 0; j < vectors; j++) sum[i][j] = sum[i][j] + w[j] * x;
        }
    }
    BNNC_UNROLL for (int i = 0; i < mr; i++) BNNC_UNROLL for (int j = 0; j < vectors; j++) *
        (ISA(matmul_any) *)(sums + i * MATMUL_COLUMNS + j * lanes) = sum[i][j];
}

#define MATMUL_TILE(mr, nb, name)                                                                                      \
    static void ISA(matmul_##name)(const ISA(matmul_tile) *t, int64_t row, int64_t block) {                            \
        ISA(matmul_run_tile)(t, row, block, mr, nb);                                                                   \
    }
MATMUL_TILE(MATMUL_MR, 3, many_x3)
MATMUL_TILE(MATMUL_MR, 1, many_x1)
MATMUL_TILE(1, 8, one_x8)
MATMUL_TILE(1, 1, one_x1)
#undef MATMUL_TILE

static void ISA(matmul_slice)(const ISA(matmul_tile) *t, int64_t rows, int64_t blocks) {
    int64_t row = 0;
    for (; row + MATMUL_MR <= rows; row += MATMUL_MR) {
        int64_t block = 0;
        for (; block + 3 <= blocks; block += 3)
            ISA(matmul_many_x3)(t, row, block);
        for (; block < blocks; block++)
            ISA(matmul_many_x1)(t, row, block);
    }
    for (; row < rows; row++) {
        int64_t block = 0;
        for (; block + 8 <= blocks; block += 8)
            ISA(matmul_one_x8)(t, row, block);
        for (; block < blocks; block++)
            ISA(matmul_one_x1)(t, row, block);
    }
}

/* Columns [column, column + columns) of products [from, to) of a row-major b, as blocks of eight. */
static void ISA(matmul_pack)(const float *b, int64_t n, int64_t column, int64_t columns, int64_t from, int64_t to,
                             float *packed) {
    for (int64_t j = 0; j < columns; j += 8)
        for (int64_t k = from; k < to; k++, packed += 8)
            for (int64_t i = 0; i < 8; i++)
                packed[i] = j + i < columns ? b[k * n + column + j + i] : 0;
}

/* The bits of a row of channels, from a multiple of 64 on. */
static void ISA(channel_bits)(const bnnc_epilogue *e, const bnnc_step *s, int32_t row, int32_t first, int32_t count,
                              const float *v) {
    ISA(row_bits) bits = {{0}};
    float t[BNNC_TILE + BNNC_LANES];
    memcpy(t, (const float *)s->a + first, (size_t)count * sizeof(float));
    for (int32_t i = 0; i < count; i += BNNC_LANES)
        ISA(put_bits)(&bits, i, f32_compare_bits(f32_load(v + i), f32_load(t + i), s->compare));
    if (count % 64)
        bits.words[count / 64] &= (1ULL << count % 64) - 1;
    if (s->layout == BNNC_BITS_NHWC) {
        uint64_t *out = (uint64_t *)s->out + (int64_t)row * ((e->channels + 63) / 64) + first / 64;
        memcpy(out, bits.words, (size_t)BNNC_CEIL_DIV(count, 64) * 8);
        return;
    }
    for (int32_t i = 0; i < count; i++) {
        ISA(row_bits) one = {{bits.words[i / 64] >> i % 64 & 1}};
        ISA(row) r = ISA(row_at)(e, row, first + i, 0, 1);
        ISA(write_planar)(&r, s->out, &one);
    }
}

/* An epilogue on channels [first, first + count) of a row, which are its pixels: v has room for one
 * vector behind. */
static void ISA(channel_epilogue)(const bnnc_epilogue *e, int32_t row, int32_t first, int32_t count, float *v) {
    int64_t offset = (int64_t)row * e->channels + first;
    for (int32_t k = 0; k < e->count; k++) {
        const bnnc_step *s = e->steps + k;
        const float *vector = (const float *)s->a + first, *tensor = (const float *)s->a + offset;
        switch (s->kind) {
        case BNNC_STEP_AFFINE:
            for (int32_t i = 0; i < count; i++) {
                float product = v[i] * vector[i];
                v[i] = product + ((const float *)s->b)[first + i];
            }
            break;
        case BNNC_STEP_RELU:
            for (int32_t i = 0; i < count; i++)
                v[i] = 0 > v[i] ? 0 : v[i];
            break;
        case BNNC_STEP_PRELU:
            for (int32_t i = 0; i < count; i++)
                v[i] = v[i] >= 0 ? v[i] : v[i] * vector[i];
            break;
        case BNNC_STEP_CLIP:
            for (int32_t i = 0; i < count; i++) {
                float low = s->low > v[i] ? s->low : v[i];
                v[i] = s->high < low ? s->high : low;
            }
            break;
        case BNNC_STEP_UNARY:
            ISA(apply_function)(s->function, s->low, s->high, v, v, count);
            break;
        case BNNC_STEP_ADD:
            for (int32_t i = 0; i < count; i++)
                v[i] += tensor[i];
            break;
        case BNNC_STEP_MUL:
        case BNNC_STEP_SCALE:
            for (int32_t i = 0; i < count; i++)
                v[i] *= tensor[i];
            break;
        case BNNC_STEP_STORE:
            memcpy((float *)s->out + offset, v, (size_t)count * sizeof(float));
            break;
        case BNNC_STEP_SIGN:
            ISA(channel_bits)(e, s, row, first, count, v);
            break;
        default:
            break;
        }
    }
}

static int64_t ISA(matmul_f32_units)(const void *args) {
    const bnnc_matmul_args *m = args;
    return (int64_t)m->batch * BNNC_CEIL_DIV(m->m, MATMUL_ROWS) * BNNC_CEIL_DIV(m->n, MATMUL_COLUMNS);
}

static void ISA(matmul_f32)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_matmul_args *m = args;
    int64_t row_tiles = BNNC_CEIL_DIV(m->m, MATMUL_ROWS), column_tiles = BNNC_CEIL_DIV(m->n, MATMUL_COLUMNS);
    float *sums = scratch, *packed = sums + MATMUL_ROWS * MATMUL_COLUMNS + 16;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t item = unit / row_tiles / column_tiles;
        int64_t row = unit % row_tiles * MATMUL_ROWS, rows = BNNC_MIN(MATMUL_ROWS, m->m - row);
        int64_t column = unit / row_tiles % column_tiles * MATMUL_COLUMNS;
        int64_t columns = BNNC_MIN(MATMUL_COLUMNS, m->n - column), blocks = BNNC_CEIL_DIV(columns, 8);
        const float *a = m->a + item * m->a_stride + row * m->k, *b = m->b + item * m->b_stride;
        for (int64_t i = 0; i < rows; i++) {
            memset(sums + i * MATMUL_COLUMNS, 0, MATMUL_COLUMNS * sizeof(float));
            if (m->bias)
                memcpy(sums + i * MATMUL_COLUMNS, m->bias + column, (size_t)columns * sizeof(float));
        }
        for (int64_t from = 0; from < m->k; from += MATMUL_SLICE) {
            int64_t to = BNNC_MIN(m->k, from + MATMUL_SLICE);
            ISA(matmul_tile) t = {a + from,          m->k,      b + (column / 8 * m->k + from) * 8,
                                  (int64_t)m->k * 8, to - from, sums};
            if (!m->packed_b) {
                ISA(matmul_pack)(b, m->n, column, columns, from, to, packed);
                t.b = packed;
                t.b_stride = (to - from) * 8;
            }
            ISA(matmul_slice)(&t, rows, blocks);
        }
        for (int64_t i = 0; i < rows; i++) {
            int64_t out_row = item * m->m + row + i;
            float *v = sums + i * MATMUL_COLUMNS;
            if (m->epilogue.count)
                ISA(channel_epilogue)(&m->epilogue, (int32_t)out_row, (int32_t)column, (int32_t)columns, v);
            else
                memcpy(m->out + out_row * m->n + column, v, (size_t)columns * sizeof(float));
        }
    }
}

#undef MATMUL_ROWS
#undef MATMUL_COLUMNS
#undef MATMUL_SLICE
#undef MATMUL_BYTES
#undef MATMUL_MR
#undef MATMUL_PARTS
