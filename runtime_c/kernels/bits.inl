/* bits_convert, bits_unpack. A unit is one range of pixels (bnnc_tiling) of up to 64 channels, those
 * of one word of bits_nhwc. */

/* Bit j of word i becomes bit i of word j: six rounds of swapping blocks across the diagonal. */
#define BNNC_SWAP_BLOCKS(m, width, low)                                                                                \
    for (int i = 0; i < 64; i += 2 * (width)) {                                                                        \
        for (int k = i; k < i + (width); k++) {                                                                        \
            uint64_t t = ((m)[k] >> (width) ^ (m)[k + (width)]) & (low);                                               \
            (m)[k] ^= t << (width);                                                                                    \
            (m)[k + (width)] ^= t;                                                                                     \
        }                                                                                                              \
    }
static void ISA(transpose_64x64)(uint64_t *m) {
    BNNC_SWAP_BLOCKS(m, 32, 0x00000000FFFFFFFFu)
    BNNC_SWAP_BLOCKS(m, 16, 0x0000FFFF0000FFFFu)
    BNNC_SWAP_BLOCKS(m, 8, 0x00FF00FF00FF00FFu)
    BNNC_SWAP_BLOCKS(m, 4, 0x0F0F0F0F0F0F0F0Fu)
    BNNC_SWAP_BLOCKS(m, 2, 0x3333333333333333u)
    BNNC_SWAP_BLOCKS(m, 1, 0x5555555555555555u)
}
#undef BNNC_SWAP_BLOCKS

/* The bits of one unit: pixels [start, start + count) of channels [channel, channel + channels). */
typedef struct {
    int32_t batch_index, channel, channels, count;
    int64_t start;
    ISA(row_bits) rows[64]; /* a row a channel */
} ISA(bit_block);

static int64_t ISA(bit_words)(const bnnc_bits_args *b) {
    return (b->channels + 63) / 64;
}

static int64_t ISA(bits_units)(const bnnc_bits_args *b) {
    bnnc_tiling t = bnnc_tiling_of(b->height, b->width);
    return b->batch * ISA(bit_words)(b) * t.count;
}

static void ISA(locate_block)(const bnnc_bits_args *b, int64_t unit, ISA(bit_block) *block) {
    bnnc_tiling t = bnnc_tiling_of(b->height, b->width);
    int64_t range = unit % t.count, words = ISA(bit_words)(b);
    block->batch_index = (int32_t)(unit / t.count / words);
    block->channel = (int32_t)(unit / t.count % words) * 64;
    block->channels = BNNC_MIN(64, b->channels - block->channel);
    block->start = bnnc_range_start(&t, range);
    block->count = bnnc_range_count(&t, range);
}

/* The word of bits_nhwc that holds the block's channels of its first pixel. */
static int64_t ISA(word_index)(const bnnc_bits_args *b, const ISA(bit_block) *block) {
    int64_t pixels = (int64_t)b->height * b->width;
    return (block->batch_index * pixels + block->start) * ISA(bit_words)(b) + block->channel / 64;
}

static void ISA(read_block_nhwc)(const bnnc_bits_args *b, ISA(bit_block) *block) {
    const uint64_t *x = (const uint64_t *)b->x + ISA(word_index)(b, block);
    int64_t words = ISA(bit_words)(b);
    for (int32_t i = 0; i < block->count; i += 64) {
        uint64_t m[64] = {0};
        for (int32_t k = 0; k < BNNC_MIN(64, block->count - i); k++)
            m[k] = x[(i + k) * words];
        ISA(transpose_64x64)(m);
        for (int32_t k = 0; k < block->channels; k++)
            block->rows[k].words[i / 64] = m[k];
    }
}

static void ISA(write_block_nhwc)(const bnnc_bits_args *b, const ISA(bit_block) *block) {
    uint64_t *out = (uint64_t *)b->out + ISA(word_index)(b, block);
    int64_t words = ISA(bit_words)(b);
    for (int32_t i = 0; i < block->count; i += 64) {
        uint64_t m[64] = {0};
        for (int32_t k = 0; k < block->channels; k++)
            m[k] = block->rows[k].words[i / 64];
        ISA(transpose_64x64)(m);
        for (int32_t k = 0; k < BNNC_MIN(64, block->count - i); k++)
            out[(i + k) * words] = m[k];
    }
}

/* Whole rows of `width` bits, each from a byte of its own on, as one row. */
static void ISA(join_rows)(const uint8_t *bytes, int32_t width, int32_t count, ISA(row_bits) *out) {
    *out = (ISA(row_bits)){{0}};
    for (int32_t from = 0; from < count; from += width) {
        for (int32_t i = 0; i < width; i += 8, bytes++) {
            int32_t at = from + i, some = BNNC_MIN(8, width - i), shift = at % 64;
            uint64_t eight = *bytes & (0xFFu >> (8 - some));
            out->words[at / 64] |= eight << shift;
            if (shift + some > 64)
                out->words[at / 64 + 1] |= eight >> (64 - shift);
        }
    }
}

static void ISA(read_block_planar)(const bnnc_bits_args *b, ISA(bit_block) *block) {
    int64_t plane_bytes = bnnc_planar_plane_bytes(b->height, b->width);
    for (int32_t k = 0; k < block->channels; k++) {
        int64_t plane = (int64_t)block->batch_index * b->channels + block->channel + k;
        const uint8_t *rows = (const uint8_t *)b->x + plane * plane_bytes + bnnc_planar_first_row(b->width);
        const uint8_t *bytes = rows + bnnc_planar_byte(b->width, block->start);
        if (b->width % 8 == 0 || block->count <= b->width)
            memcpy(block->rows[k].words, bytes, (size_t)(block->count + 7) / 8);
        else
            ISA(join_rows)(bytes, b->width, block->count, &block->rows[k]);
    }
}

static void ISA(write_block_planar)(const bnnc_bits_args *b, ISA(bit_block) *block) {
    const bnnc_epilogue shape = {.channels = b->channels, .height = b->height, .width = b->width};
    for (int32_t k = 0; k < block->channels; k++) {
        ISA(row) r = ISA(row_at)(&shape, block->batch_index, block->channel + k, block->start, block->count);
        ISA(write_planar)(&r, b->out, &block->rows[k]);
    }
}

static int64_t ISA(bits_convert_units)(const void *args) {
    return ISA(bits_units)(args);
}

static void ISA(bits_convert)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_bits_args *b = args;
    ISA(bit_block) *block = scratch;
    for (int64_t unit = begin; unit < end; unit++) {
        ISA(locate_block)(b, unit, block);
        if (b->from == BNNC_BITS_NHWC)
            ISA(read_block_nhwc)(b, block);
        else
            ISA(read_block_planar)(b, block);
        if (b->to == BNNC_BITS_NHWC)
            ISA(write_block_nhwc)(b, block);
        else
            ISA(write_block_planar)(b, block);
    }
}

/* ---- unpack ---- */

static int64_t ISA(bits_unpack_units)(const void *args) {
    return ISA(bits_units)(args);
}

/* out[i] = high where bit i of the row is set, else low. */
static void ISA(choose_row)(const ISA(row_bits) *bits, int32_t count, float low, float high, float *out) {
    vi32 lane_bit;
    for (int k = 0; k < BNNC_LANES; k++)
        lane_bit[k] = 1 << k;
    for (int32_t i = 0; i < count; i += BNNC_LANES) {
        vi32 some = i32_set((int32_t)(bits->words[i / 64] >> i % 64 & ((1u << BNNC_LANES) - 1)));
        vf32 v = f32_select((some & lane_bit) == lane_bit, f32_set(high), f32_set(low));
        f32_store_some(out + i, v, count - i);
    }
}

static void ISA(bits_unpack)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_bits_args *b = args;
    const int64_t pixels = (int64_t)b->height * b->width;
    ISA(bit_block) *block = scratch;
    for (int64_t unit = begin; unit < end; unit++) {
        ISA(locate_block)(b, unit, block);
        if (b->from == BNNC_BITS_NHWC)
            ISA(read_block_nhwc)(b, block);
        else
            ISA(read_block_planar)(b, block);
        for (int32_t k = 0; k < block->channels; k++) {
            int32_t channel = block->channel + k;
            float *out =
                (float *)b->out + ((int64_t)block->batch_index * b->channels + channel) * pixels + block->start;
            ISA(choose_row)(&block->rows[k], block->count, b->low[channel], b->high[channel], out);
        }
    }
}
