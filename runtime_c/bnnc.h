/* The interface of a compiled model. Plain C; needs nothing but this file and the library.
 *
 * A run allocates nothing, does no input or output and touches no global state: the caller owns
 * the arena, and a pool if it wants threads. Two threads may run one model at the same time, each
 * with an arena of its own.
 *
 * Where two models are linked into one program, each is generated with a prefix of its own:
 * define BNNC_PREFIX to it before including this file.
 */
#ifndef BNNC_H
#define BNNC_H

#include <stddef.h>
#include <stdint.h>

#ifdef BNNC_PREFIX
#define BNNC_CONCAT_(a, b) a##_##b
#define BNNC_CONCAT(a, b) BNNC_CONCAT_(a, b)
#define bnnc_abi_version BNNC_CONCAT(BNNC_PREFIX, abi_version)
#define bnnc_model_json BNNC_CONCAT(BNNC_PREFIX, model_json)
#define bnnc_arena_bytes BNNC_CONCAT(BNNC_PREFIX, arena_bytes)
#define bnnc_pool_create BNNC_CONCAT(BNNC_PREFIX, pool_create)
#define bnnc_pool_destroy BNNC_CONCAT(BNNC_PREFIX, pool_destroy)
#define bnnc_run BNNC_CONCAT(BNNC_PREFIX, run)
#define bnnc_run_observed BNNC_CONCAT(BNNC_PREFIX, run_observed)
#define bnnc_detect BNNC_CONCAT(BNNC_PREFIX, detect)
#define bnnc_isa BNNC_CONCAT(BNNC_PREFIX, isa)
#define bnnc_set_isa BNNC_CONCAT(BNNC_PREFIX, set_isa)
#define bnnc_calibrate BNNC_CONCAT(BNNC_PREFIX, calibrate)
#define bnnc_strerror BNNC_CONCAT(BNNC_PREFIX, strerror)
#endif

/* What all models share. */
#ifndef BNNC_TYPES
#define BNNC_TYPES

#if defined(_WIN32)
#define BNNC_API __declspec(dllexport)
#else
#define BNNC_API __attribute__((visibility("default")))
#endif

#define BNNC_ABI_VERSION 2u

/* What bnnc_run and bnnc_set_isa return; bnnc_detect returns them with a minus sign. */
enum {
    BNNC_OK = 0,
    BNNC_E_NULL = 1,    /* a pointer that must not be NULL was */
    BNNC_E_ALIGN = 2,   /* the arena is not aligned to 64 bytes */
    BNNC_E_ISA = 3,     /* this instruction set is unknown, not in the library, or not supported here */
    BNNC_E_RUNNING = 4, /* too late: a run has already happened */
    BNNC_E_STOPPED = 5, /* an observer asked to stop */
    BNNC_E_DECODER = 6  /* the model was compiled without --decode */
};

/* Kinds of work for bnnc_calibrate. */
enum { BNNC_CALIBRATE_FLOAT, BNNC_CALIBRATE_BINARY };

/* A team of threads that sleeps between runs; may be shared by models. */
typedef struct bnnc_pool bnnc_pool;

/* One output of a layer, as it lies in memory; its type and layout stand in bnnc_model_json(). */
typedef struct {
    const void *data;
    size_t bytes;
} bnnc_output;

/* Called after each layer on the thread that runs the model; returning nonzero stops the run. */
typedef int bnnc_observer(void *user, int layer, int output_count, const bnnc_output *outputs);

/* A thing found on a picture: its corners in pixels of the model's input, how sure the model is, and
 * its class; the classes' names stand in bnnc_model_json(). */
typedef struct {
    float x0, y0, x1, y1;
    float score;
    int32_t label;
} bnnc_box;

/* What bnnc_detect shall find; zeros, or no options at all, stand for everything. */
typedef struct {
    float score;   /* the least score of a box */
    float max_iou; /* above 0: drop a box if its overlap with a better one of its class exceeds this
                      part of what the two cover together (non-maximum suppression) */
    int32_t top;   /* above 0: how many peaks are looked at, over all classes, at most 131072; else as
                      many as the model says, or 100 */
} bnnc_detect_options;

#endif

#ifdef __cplusplus
extern "C" {
#endif

BNNC_API uint32_t bnnc_abi_version(void);

/* Inputs, outputs, layers, labels, preprocessing and how the model was compiled; UTF-8 JSON. */
BNNC_API const char *bnnc_model_json(void);

/* Bytes of the arena a run needs; it must be aligned to 64 bytes. */
BNNC_API size_t bnnc_arena_bytes(void);

/* A pool of this many threads, the calling one included; NULL if it cannot be made. Passing NULL
 * for a pool means the caller's thread alone. */
BNNC_API bnnc_pool *bnnc_pool_create(int threads);
BNNC_API void bnnc_pool_destroy(bnnc_pool *pool);

/* Run once. Inputs and outputs are dense arrays in the order of bnnc_model_json(), aligned as their type
 * asks; no output may overlap the arena, an input or another output. */
BNNC_API int bnnc_run(void *arena, bnnc_pool *pool, const void *const *inputs, void *const *outputs);
BNNC_API int bnnc_run_observed(void *arena, bnnc_pool *pool, const void *const *inputs, void *const *outputs,
                               bnnc_observer *observer, void *user);

/* Run once and read the outputs as boxes, where the model was compiled with --decode: writes at most
 * `capacity` of them, the best first, and returns how many, or a negative code. A peak of the heatmap
 * is a cell with a score above 0 and no less than its neighbours' (all cells of a plateau; NaN is none,
 * nor is a cell beside it); of equal scores the lower class comes first, then the upper row, then the
 * left column. */
BNNC_API int bnnc_detect(void *arena, bnnc_pool *pool, const void *const *inputs, bnnc_box *boxes, int capacity,
                         const bnnc_detect_options *options);

/* The instruction set in use: "portable", "avx2", "avx512". */
BNNC_API const char *bnnc_isa(void);

/* Force one, before the first run or calibration. */
BNNC_API int bnnc_set_isa(const char *name);

/* Do `units` of pure arithmetic of a kind on the pool, as fast as the processor can, and return how
 * many multiply-adds that was: whoever takes the time knows the ceiling. 0 if an argument is bad. */
BNNC_API int64_t bnnc_calibrate(void *arena, bnnc_pool *pool, int kind, int64_t units);

BNNC_API const char *bnnc_strerror(int code);

#ifdef __cplusplus
}
#endif
#endif
