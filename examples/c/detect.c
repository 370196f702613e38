/* Finds things on a picture, with nothing but a compiled model: ./detect picture.ppm
 *
 * The picture is a binary PPM (P6) as large as the model's input; the Makefile says how to make one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

enum { CAPACITY = 100 };

/* Pixels of a P6 file of exactly this size as blue, green, red, which is what the model takes. */
static unsigned char *read_picture(const char *path, int height, int width) {
    int w = 0, h = 0, most = 0;
    size_t bytes = 3 * (size_t)height * (size_t)width;
    unsigned char *pixels = malloc(bytes);
    FILE *file = fopen(path, "rb");
    int sound = pixels && file && fscanf(file, "P6 %d %d %d", &w, &h, &most) == 3 && fgetc(file) != EOF;
    sound = sound && w == width && h == height && most == 255 && fread(pixels, 1, bytes, file) == bytes;
    if (file)
        fclose(file);
    if (!sound) {
        fprintf(stderr, "%s: is no P6 picture of %d x %d\n", path, width, height);
        free(pixels);
        return NULL;
    }
    for (size_t i = 0; i < bytes; i += 3) {
        unsigned char red = pixels[i];
        pixels[i] = pixels[i + 2];
        pixels[i + 2] = red;
    }
    return pixels;
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: %s picture.ppm\n", arguments[0]);
        return 2;
    }
    /* The first shape in the document is the input's: [1, height, width, 3]. */
    int height = 0, width = 0;
    const char *shape = strstr(bnnc_model_json(), "\"shape\":[");
    if (!shape || sscanf(shape, "\"shape\":[1,%d,%d,3]", &height, &width) != 2) {
        fprintf(stderr, "the model takes no 8-bit picture; compile it with --input-u8\n");
        return 1;
    }
    unsigned char *pixels = read_picture(arguments[1], height, width);
    if (!pixels)
        return 1;
    void *arena = aligned_alloc(64, (bnnc_arena_bytes() + 63) / 64 * 64);
    bnnc_pool *pool = bnnc_pool_create(2);
    bnnc_box boxes[CAPACITY];
    const bnnc_detect_options options = {.score = 0.3f, .max_iou = 0.5f};
    const void *inputs[] = {pixels};
    int found = arena ? bnnc_detect(arena, pool, inputs, boxes, CAPACITY, &options) : -BNNC_E_NULL;
    if (found < 0)
        fprintf(stderr, "%s\n", bnnc_strerror(-found));
    for (int i = 0; i < found; i++)
        printf("class %d  %.2f  [%.0f, %.0f, %.0f, %.0f]\n", (int)boxes[i].label, (double)boxes[i].score,
               (double)boxes[i].x0, (double)boxes[i].y0, (double)boxes[i].x1, (double)boxes[i].y1);
    bnnc_pool_destroy(pool);
    free(arena);
    free(pixels);
    return found < 0;
}
