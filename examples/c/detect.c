/* Finds things on a picture with a compiled detector, in plain C: ./detect picture.ppm
 *
 * The library was compiled with --input-u8 and --decode centernet, so it takes pixels and gives boxes;
 * the Makefile says how. The picture must have the size of the model's input (`bnnc compile` prints
 * it), and its channels the order in which the model was trained: see bnnc_model_json().
 */
#include "det.h"

#include <stdio.h>
#include <stdlib.h>

enum { WIDTH = 256, HEIGHT = 192, MOST_BOXES = 100, THREADS = 2 };

static const char *const labels[] = {"circle", "square", "triangle"};

/* The pixels of a binary PPM file, blue first; NULL if it is none of the right size. */
static uint8_t *read_ppm(const char *path) {
    FILE *file = fopen(path, "rb");
    int width = 0, height = 0, most = 0;
    uint8_t *pixels = malloc(3 * WIDTH * HEIGHT);
    if (file == NULL || pixels == NULL || fscanf(file, "P6 %d %d %d", &width, &height, &most) != 3 || width != WIDTH ||
        height != HEIGHT || most != 255 || fgetc(file) == EOF || fread(pixels, 3 * WIDTH, HEIGHT, file) != HEIGHT) {
        free(pixels);
        pixels = NULL;
    }
    if (file != NULL)
        fclose(file);
    for (int i = 0; pixels != NULL && i < 3 * WIDTH * HEIGHT; i += 3) {
        const uint8_t red = pixels[i];
        pixels[i] = pixels[i + 2];
        pixels[i + 2] = red;
    }
    return pixels;
}

int main(int count, char **arguments) {
    uint8_t *pixels = count == 2 ? read_ppm(arguments[1]) : NULL;
    if (pixels == NULL) {
        fprintf(stderr, "usage: detect FILE.ppm, %d x %d pixels\n", WIDTH, HEIGHT);
        return 2;
    }
    /* All the memory a run needs, and threads that sleep between runs: both are made once. */
    void *arena = aligned_alloc(64, (bnnc_arena_bytes() + 63) / 64 * 64);
    bnnc_pool *pool = bnnc_pool_create(THREADS);
    const void *inputs[] = {pixels};
    const bnnc_detect_options options = {.score = 0.5f};
    bnnc_box boxes[MOST_BOXES];
    const int found = bnnc_detect(arena, pool, inputs, boxes, MOST_BOXES, &options);
    if (found < 0)
        fprintf(stderr, "detect: %s\n", bnnc_strerror(-found));
    for (int i = 0; i < found; i++)
        printf("%s %.2f [%.0f, %.0f, %.0f, %.0f]\n", labels[boxes[i].label], boxes[i].score, boxes[i].x0, boxes[i].y0,
               boxes[i].x1, boxes[i].y1);
    bnnc_pool_destroy(pool);
    free(arena);
    free(pixels);
    return found < 0;
}
