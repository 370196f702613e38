/* map_f32: an epilogue applied to a stored tensor. A unit is one range of pixels (bnnc_tiling) of
 * every channel: all of them, since a word of bits_nhwc holds many. */

static int64_t ISA(map_f32_units)(const void *args) {
    const bnnc_map_args *m = args;
    bnnc_tiling t = bnnc_tiling_of(m->epilogue.height, m->epilogue.width);
    return m->batch * t.count;
}

static void ISA(map_f32)(const void *args, int64_t begin, int64_t end, void *scratch) {
    const bnnc_map_args *m = args;
    const bnnc_epilogue *e = &m->epilogue;
    const bnnc_tiling t = bnnc_tiling_of(e->height, e->width);
    const int64_t pixels = ISA(pixels)(e);
    for (int64_t unit = begin; unit < end; unit++) {
        int32_t batch_index = (int32_t)(unit / t.count), count = bnnc_range_count(&t, unit % t.count);
        int64_t first = bnnc_range_start(&t, unit % t.count);
        const float *x = m->x + (int64_t)batch_index * e->channels * pixels + first;
        ISA(run_rows)(e, batch_index, 0, e->channels, first, count, x, NULL, pixels, scratch);
    }
}
