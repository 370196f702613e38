/* From a CenterNet's outputs to boxes. */
#ifndef BNNC_CENTERNET_H
#define BNNC_CENTERNET_H

#include "kernel.h"

#ifdef BNNC_PREFIX
#define bnnc_centernet_boxes BNNC_CONCAT(BNNC_PREFIX, centernet_boxes)
#endif

/* Peaks that fit into the scratch of the thread that calls. */
#define BNNC_MOST_PEAKS (BNNC_SCRATCH_BYTES / 8)

/* heatmap is [classes][rows][columns], size and offset are [2][rows][columns], x first, in cells. A
 * model without a decoder has no classes. */
typedef struct {
    const float *heatmap;
    const float *size;
    const float *offset;
    int32_t classes, rows, columns;
    float stride; /* input pixels to a cell */
    int32_t top;  /* peaks kept where nobody asks for another number */
} bnnc_centernet;

/* What bnnc_detect returns, given the outputs. scratch holds BNNC_SCRATCH_BYTES. */
BNNC_INTERNAL int bnnc_centernet_boxes(const bnnc_centernet *net, bnnc_box *boxes, int capacity,
                                       const bnnc_detect_options *options, void *scratch);

#endif
