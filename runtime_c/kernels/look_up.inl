/* look_up: pixels as they come to planes of floats. A table says the same on every instruction set, and
 * a lookup costs no more than the loads and the store that there must be. A unit is a row. */

static int64_t ISA(look_up_units)(const void *args) {
    const bnnc_look_up_args *a = args;
    return (int64_t)a->batch * a->height;
}

static void ISA(look_up)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_look_up_args *a = args;
    const int64_t plane = (int64_t)a->height * a->width;
    (void)scratch;
    for (int64_t row = begin; row < end; row++) {
        const uint8_t *x = a->x + row * a->width * a->channels;
        float *out = a->out + row / a->height * a->channels * plane + row % a->height * a->width;
        if (a->channels == 3) {
            for (int32_t i = 0; i < a->width; i++) {
                out[i] = a->table[x[3 * i]];
                out[plane + i] = a->table[256 + x[3 * i + 1]];
                out[2 * plane + i] = a->table[512 + x[3 * i + 2]];
            }
            continue;
        }
        for (int32_t c = 0; c < a->channels; c++)
            for (int32_t i = 0; i < a->width; i++)
                out[c * plane + i] = a->table[256 * c + x[(int64_t)i * a->channels + c]];
    }
}
