/* Peaks of a heatmap, the best of them, their boxes, and non-maximum suppression.
 *
 * The reference is bnnc/detect/centernet.py, which says what a peak is and how ties are settled; this
 * gives the same bits, so the same float32 operations are done in the same order. Nothing here is
 * worth a kernel per instruction set: most cells lie below the least score and cost one comparison.
 */
#include "centernet.h"

typedef struct {
    float score;
    int32_t place; /* (class * rows + row) * columns + column */
} bnnc_peak;

/* Whether a stands behind b: a lower score or, of equal ones, a later place. */
static int bnnc_behind(bnnc_peak a, bnnc_peak b) {
    return a.score < b.score || (a.score == b.score && a.place > b.place);
}

/* In a heap each peak stands behind those below it, so that the last of all is at 0. Let the one at
 * `at` sink to where it belongs. */
static void bnnc_sink(bnnc_peak *heap, int32_t count, int32_t at) {
    const bnnc_peak sinking = heap[at];
    for (int32_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && bnnc_behind(heap[child + 1], heap[child]))
            child++;
        if (!bnnc_behind(heap[child], sinking))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = sinking;
}

/* Whether no neighbour is higher; NaN compares false on either side. */
static int bnnc_is_peak(const float *map, int32_t rows, int32_t columns, int32_t row, int32_t column) {
    const float value = map[row * columns + column];
    for (int32_t y = row > 0 ? row - 1 : 0; y <= row + 1 && y < rows; y++)
        for (int32_t x = column > 0 ? column - 1 : 0; x <= column + 1 && x < columns; x++)
            if (!(value >= map[y * columns + x]))
                return 0;
    return 1;
}

/* The best `top` peaks of at least `least` and above 0, best first; returns how many. */
static int32_t bnnc_best_peaks(const bnnc_centernet *net, float least, int32_t top, bnnc_peak *peaks) {
    const int32_t cells = net->rows * net->columns;
    int32_t count = 0;
    for (int32_t label = 0; label < net->classes; label++) {
        const float *map = net->heatmap + (int64_t)label * cells;
        for (int32_t row = 0; row < net->rows; row++)
            for (int32_t column = 0; column < net->columns; column++) {
                const bnnc_peak peak = {map[row * net->columns + column], label * cells + row * net->columns + column};
                if (!(peak.score >= least && peak.score > 0))
                    continue;
                if (count == top && !bnnc_behind(peaks[0], peak))
                    continue;
                if (!bnnc_is_peak(map, net->rows, net->columns, row, column))
                    continue;
                if (count == top) {
                    peaks[0] = peak;
                    bnnc_sink(peaks, count, 0);
                    continue;
                }
                peaks[count++] = peak;
                if (count == top)
                    for (int32_t i = count / 2 - 1; i >= 0; i--)
                        bnnc_sink(peaks, count, i);
            }
    }
    if (count < top)
        for (int32_t i = count / 2 - 1; i >= 0; i--)
            bnnc_sink(peaks, count, i);
    for (int32_t last = count - 1; last > 0; last--) {
        const bnnc_peak worst = peaks[0];
        peaks[0] = peaks[last];
        peaks[last] = worst;
        bnnc_sink(peaks, last, 0);
    }
    return count;
}

static bnnc_box bnnc_box_at(const bnnc_centernet *net, bnnc_peak peak) {
    const int32_t cells = net->rows * net->columns;
    const int32_t cell = peak.place % cells;
    const float x = (float)(cell % net->columns) + net->offset[cell];
    const float y = (float)(cell / net->columns) + net->offset[cells + cell];
    const float width = net->size[cell], height = net->size[cells + cell];
    /* Volatile, here and below: no product may be fused into the sum that follows. */
    const volatile float half_width = (width > 0 ? width : 0) * 0.5f;
    const volatile float half_height = (height > 0 ? height : 0) * 0.5f;
    const float left = x - half_width, right = x + half_width;
    const float upper = y - half_height, lower = y + half_height;
    const bnnc_box box = {left * net->stride,  upper * net->stride, right * net->stride,
                          lower * net->stride, peak.score,          peak.place / cells};
    return box;
}

static float bnnc_area(const bnnc_box *box) {
    const volatile float area = (box->x1 - box->x0) * (box->y1 - box->y0);
    return area;
}

/* Whether two boxes overlap by more than `limit` of what they cover together. */
static int bnnc_overlap(const bnnc_box *a, const bnnc_box *b, float limit) {
    const float width = (a->x1 < b->x1 ? a->x1 : b->x1) - (a->x0 > b->x0 ? a->x0 : b->x0);
    const float height = (a->y1 < b->y1 ? a->y1 : b->y1) - (a->y0 > b->y0 ? a->y0 : b->y0);
    const volatile float product = width * height;
    const float common = width > 0 && height > 0 ? product : 0;
    return common > limit * (bnnc_area(a) + bnnc_area(b) - common);
}

BNNC_INTERNAL int bnnc_centernet_boxes(const bnnc_centernet *net, bnnc_box *boxes, int capacity,
                                       const bnnc_detect_options *options, void *scratch) {
    static const bnnc_detect_options usual = {0};
    if (net->classes == 0)
        return -BNNC_E_DECODER;
    if (boxes == NULL || scratch == NULL)
        return -BNNC_E_NULL;
    if (options == NULL)
        options = &usual;
    int32_t top = options->top > 0 ? options->top : net->top;
    if (top > BNNC_MOST_PEAKS)
        top = BNNC_MOST_PEAKS;
    bnnc_peak *peaks = scratch;
    const int32_t count = bnnc_best_peaks(net, options->score, top, peaks);
    int kept = 0;
    for (int32_t i = 0; i < count && kept < capacity; i++) {
        const bnnc_box box = bnnc_box_at(net, peaks[i]);
        int covered = 0;
        if (options->max_iou > 0)
            for (int j = 0; j < kept && !covered; j++)
                covered = boxes[j].label == box.label && bnnc_overlap(&box, &boxes[j], options->max_iou);
        if (!covered)
            boxes[kept++] = box;
    }
    return kept;
}
