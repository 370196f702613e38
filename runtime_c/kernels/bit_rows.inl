/* Bits of a row of pixels, and how they are written in either layout. */

/* Bits of a row: bit i % 8 of byte i / 8 is pixel i. */
typedef struct {
    uint64_t words[BNNC_TILE / 64];
} ISA(row_bits);

/* Where a row lies. */
typedef struct {
    const bnnc_epilogue *epilogue;
    int32_t batch_index, channel;
    int64_t first_pixel;
    int32_t count;
    int64_t offset; /* of its first element in a float tensor */
} ISA(row);

BNNC_INLINE int64_t ISA(pixels)(const bnnc_epilogue *e) {
    return (int64_t)e->height * e->width;
}

BNNC_INLINE ISA(row)
    ISA(row_at)(const bnnc_epilogue *e, int32_t batch_index, int32_t channel, int64_t first_pixel, int32_t count) {
    int64_t plane = (int64_t)batch_index * e->channels + channel;
    return (ISA(row)){e, batch_index, channel, first_pixel, count, plane * ISA(pixels)(e) + first_pixel};
}

/* Lanes' bits at position i (a multiple of BNNC_LANES) of a row of bits. */
BNNC_INLINE void ISA(put_bits)(void *row, int32_t i, uint32_t lanes) {
    uint8_t *byte = (uint8_t *)row + i / 8;
#if BNNC_LANES == 16
    uint16_t part = (uint16_t)lanes;
    memcpy(byte, &part, sizeof part);
#elif BNNC_LANES == 8
    *byte = (uint8_t)lanes;
#else
    *byte = (uint8_t)(i % 8 ? *byte | lanes << 4 : lanes);
#endif
}

/* Bits [from, from + count) of a row as bytes, the last one filled up with ones. */
BNNC_INLINE void ISA(put_row)(uint8_t *out, ISA(row_bits) *bits, int32_t from, int32_t count) {
    if (from == 0 && count == BNNC_TILE) {
        memcpy(out, bits->words, BNNC_TILE / 8);
        return;
    }
    for (int32_t i = 0; i < count; i += 8) {
        int32_t at = from + i, word = at / 64, shift = at % 64;
        uint64_t eight = bits->words[word] >> shift;
        if (shift > 56 && word + 1 < BNNC_TILE / 64)
            eight |= bits->words[word + 1] << (64 - shift);
        out[i / 8] = (uint8_t)(count - i < 8 ? eight | 0xFFu << (count - i) : eight);
    }
}

/* Where a row's bits begin in a planar tensor of the epilogue's shape. Whoever writes a plane's first or
 * last pixels writes the frame around its rows, too. */
static uint8_t *ISA(planar_place)(const ISA(row) *r, void *out) {
    const bnnc_epilogue *e = r->epilogue;
    int64_t plane_bytes = bnnc_planar_plane_bytes(e->height, e->width);
    uint8_t *plane = (uint8_t *)out + ((int64_t)r->batch_index * e->channels + r->channel) * plane_bytes;
    uint8_t *rows = plane + bnnc_planar_first_row(e->width);
    uint8_t *behind = rows + e->height * bnnc_planar_row_bytes(e->width);
    if (r->first_pixel == 0)
        memset(plane, 0xFF, (size_t)(rows - plane));
    if (r->first_pixel + r->count == ISA(pixels)(e))
        memset(behind, 0xFF, (size_t)(plane + plane_bytes - behind));
    return rows + bnnc_planar_byte(e->width, r->first_pixel);
}

/* Store a row's bits in a bit tensor of the epilogue's shape. */
static void ISA(write_planar)(const ISA(row) *r, void *out, ISA(row_bits) *bits) {
    const int32_t width = r->epilogue->width;
    uint8_t *to = ISA(planar_place)(r, out);
    if (width % 8 == 0 || r->count <= width)
        ISA(put_row)(to, bits, 0, r->count);
    else
        for (int32_t i = 0; i < r->count; i += width, to += bnnc_planar_row_bytes(width))
            ISA(put_row)(to, bits, i, width);
}

static void ISA(write_nhwc)(const ISA(row) *r, void *out, const ISA(row_bits) *bits) {
    const bnnc_epilogue *e = r->epilogue;
    int64_t words = (e->channels + 63) / 64;
    uint64_t *to =
        (uint64_t *)out + ((int64_t)r->batch_index * ISA(pixels)(e) + r->first_pixel) * words + r->channel / 64;
    int32_t shift = r->channel % 64;
    for (int32_t i = 0; i < r->count; i++) {
        uint64_t bit = (bits->words[i / 64] >> i % 64 & 1) << shift;
        to[i * words] = shift ? to[i * words] | bit : bit;
    }
}

/* Column i of eight rows of bits as byte i; the rows from `rows` on count as zeros. */
BNNC_INLINE void ISA(columns_of_rows)(const ISA(row_bits) *bits, int32_t rows, int32_t count, uint8_t *columns) {
#if BNNC_VEC_BYTES == 64
    /* Bytes are moved so that the rows' bytes stand together, the last row's first: multiplying such a
     * bit matrix with the unit vectors transposes it. */
    uint8_t order[64];
    for (int i = 0; i < 64; i++)
        order[i] = (uint8_t)(8 * (7 - i % 8) + i / 8);
    for (int32_t i = 0; i < count; i += 64) {
        uint64_t words[8] = {0};
        for (int32_t k = 0; k < rows; k++)
            words[k] = bits[k].words[i / 64];
        __m512i matrix = _mm512_permutexvar_epi8(_mm512_loadu_si512(order), _mm512_loadu_si512(words));
        __m512i units = _mm512_set1_epi64((int64_t)0x8040201008040201u);
        _mm512_storeu_si512(columns + i, _mm512_gf2p8affine_epi64_epi8(units, matrix, 0));
    }
#else
    for (int32_t i = 0; i < count; i += 8) {
        uint64_t x = 0;
        for (int32_t k = 0; k < rows; k++)
            x |= (uint64_t)((const uint8_t *)bits[k].words)[i / 8] << 8 * k;
        x = bnnc_transpose_8x8(x);
        memcpy(columns + i, &x, sizeof x);
    }
#endif
}

/* The same for eight channels, the first a multiple of 8, or as many as the tensor has left. */
static void ISA(write_nhwc_rows)(const ISA(row) *r, void *out, const ISA(row_bits) *bits, int32_t rows) {
    const bnnc_epilogue *e = r->epilogue;
    int64_t words = (e->channels + 63) / 64;
    int64_t first = ((int64_t)r->batch_index * ISA(pixels)(e) + r->first_pixel) * words + r->channel / 64;
    uint64_t *word = (uint64_t *)out + first;
    uint8_t *byte = (uint8_t *)word + r->channel / 8 % 8, columns[BNNC_TILE];
    ISA(columns_of_rows)(bits, rows, r->count, columns);
    if (r->channel % 64 == 0)
        for (int32_t i = 0; i < r->count; i++)
            word[i * words] = columns[i];
    else
        for (int32_t i = 0; i < r->count; i++)
            byte[i * words * 8] = columns[i];
}
