/* The thread pool: a fixed team that starts once, shares the units of one kernel at a time, and
 * sleeps between runs.
 *
 * A job is announced in one word, `state`: a serial number, whether the job is open, and how many
 * workers are in it. A worker joins with a compare-and-swap, so it either counts before the caller
 * closes the job or does not take part; the caller therefore waits for those who work, never for
 * one that the system has not woken yet.
 *
 * Each thread has a share of the units, the same part of every kernel's: what it wrote in one layer it
 * is likely to read in the next, and finds in its own cache. It claims ranges of its share, three
 * quarters of what is left, and then of the others', so that nobody waits long for one that is slow or
 * absent. They are few since every range has its price: kernels prepare for it, and claiming waits for
 * all that was stored before.
 *
 * Why not OpenMP: a library must depend on libc alone, run next to whatever threads its program has
 * without spinning at their cost, be shared by several models, and go on working in a forked child.
 * Its runtimes do none of these; here they are two hundred lines.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernel.h"

#define BNNC_POOL_MOST 1024

/* Looks at `state` before a worker goes to sleep, some 50 microseconds: longer than the gap between
 * two layers, shorter than anyone would notice. */
#define BNNC_POOL_SPINS 2000

#define BNNC_JOB_WORKERS 0xFFFFu
#define BNNC_JOB_OPEN 0x10000u
#define BNNC_JOB_SERIAL 0x20000u /* the lowest bit of the serial number */

/* Units of one thread that nobody has claimed yet: [next, end). */
typedef struct {
    _Alignas(64) _Atomic int64_t next;
    int64_t end;
} bnnc_share;

struct bnnc_pool {
    int threads; /* the caller included, which is number 0 */
    pid_t owner;
    atomic_flag busy;

    const bnnc_kernel *kernel;
    const void *args;
    bnnc_share *shares; /* one for each thread */

    _Alignas(64) _Atomic uint64_t state;

    _Alignas(64) atomic_int sleepers;
    atomic_int stop;
    pthread_mutex_t mutex;
    pthread_cond_t wake;

    int started;
    uint8_t *scratch;
    pthread_t *workers;
};

static void bnnc_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Run ranges of the job's units until none is left, as thread `number`. */
static void bnnc_pool_work(bnnc_pool *pool, int number, void *scratch) {
    for (int k = 0; k < pool->threads; k++) {
        bnnc_share *share = &pool->shares[(number + k) % pool->threads];
        int64_t begin = atomic_load_explicit(&share->next, memory_order_relaxed);
        while (begin < share->end) {
            int64_t end = begin + (3 * (share->end - begin) + 3) / 4;
            if (!atomic_compare_exchange_weak_explicit(&share->next, &begin, end, memory_order_relaxed,
                                                       memory_order_relaxed))
                continue;
            pool->kernel->run(pool->args, begin, end, scratch);
            begin = atomic_load_explicit(&share->next, memory_order_relaxed);
        }
    }
}

/* Whether `state` announces a job that a worker which has seen the job `last` should join. */
static int bnnc_pool_calls(uint64_t state, uint64_t last) {
    return (state & BNNC_JOB_OPEN) && state / BNNC_JOB_SERIAL != last;
}

/* Wait until there is a job newer than `last`, or an end. */
static uint64_t bnnc_pool_wait(bnnc_pool *pool, uint64_t last) {
    for (int spin = 0; spin < BNNC_POOL_SPINS; spin++) {
        uint64_t state = atomic_load_explicit(&pool->state, memory_order_relaxed);
        if (bnnc_pool_calls(state, last) || atomic_load_explicit(&pool->stop, memory_order_relaxed))
            return state;
        bnnc_pause();
    }
    /* The caller opens a job and then looks at `sleepers`; this counts itself and then looks at
     * `state`. In whatever order these fall, one of the two sees the other. */
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    uint64_t state = atomic_load(&pool->state);
    while (!bnnc_pool_calls(state, last) && !atomic_load(&pool->stop)) {
        pthread_cond_wait(&pool->wake, &pool->mutex);
        state = atomic_load(&pool->state);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
    return state;
}

typedef struct {
    bnnc_pool *pool;
    int index;
} bnnc_worker;

static void *bnnc_pool_thread(void *argument) {
    bnnc_worker *worker = argument;
    bnnc_pool *pool = worker->pool;
    const int number = worker->index + 1;
    void *scratch = pool->scratch + (size_t)worker->index * BNNC_SCRATCH_BYTES;
    free(worker);
    uint64_t last = 0;
    for (;;) {
        uint64_t state = bnnc_pool_wait(pool, last);
        if (atomic_load(&pool->stop))
            return NULL;
        while (bnnc_pool_calls(state, last)) {
            if (!atomic_compare_exchange_weak(&pool->state, &state, state + 1))
                continue;
            last = state / BNNC_JOB_SERIAL;
            bnnc_pool_work(pool, number, scratch);
            atomic_fetch_sub(&pool->state, 1);
        }
    }
}

/* Start the next worker with every signal blocked: handlers are the application's threads' business. */
static int bnnc_pool_start(bnnc_pool *pool) {
    bnnc_worker *worker = malloc(sizeof *worker);
    if (!worker)
        return 0;
    *worker = (bnnc_worker){pool, pool->started};
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&pool->workers[pool->started], NULL, bnnc_pool_thread, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        free(worker);
        return 0;
    }
    pool->started++;
    return 1;
}

static void *bnnc_aligned(size_t bytes) {
    void *memory = NULL;
    return posix_memalign(&memory, 64, bytes) ? NULL : memory;
}

static void bnnc_pool_free(bnnc_pool *pool) {
    free(pool->scratch);
    free(pool->shares);
    free(pool->workers);
    free(pool);
}

static void bnnc_pool_end(bnnc_pool *pool) {
    if (!pool)
        return;
    /* In a forked child the workers do not exist, and the lock may be held by one of them. */
    if (pool->owner == getpid()) {
        pthread_mutex_lock(&pool->mutex);
        atomic_store(&pool->stop, 1);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
        for (int i = 0; i < pool->started; i++)
            pthread_join(pool->workers[i], NULL);
        pthread_cond_destroy(&pool->wake);
        pthread_mutex_destroy(&pool->mutex);
    }
    bnnc_pool_free(pool);
}

bnnc_pool *bnnc_pool_create(int threads) {
    if (threads < 1 || threads > BNNC_POOL_MOST)
        return NULL;
    bnnc_pool *pool = bnnc_aligned(sizeof *pool);
    if (!pool)
        return NULL;
    *pool = (bnnc_pool){.threads = threads, .owner = getpid(), .busy = ATOMIC_FLAG_INIT};
    size_t workers = (size_t)threads - 1;
    pool->workers = calloc(workers + 1, sizeof *pool->workers);
    pool->scratch = bnnc_aligned((workers + 1) * BNNC_SCRATCH_BYTES);
    pool->shares = bnnc_aligned((size_t)threads * sizeof *pool->shares);
    if (!pool->workers || !pool->scratch || !pool->shares || pthread_mutex_init(&pool->mutex, NULL)) {
        bnnc_pool_free(pool);
        return NULL;
    }
    if (pthread_cond_init(&pool->wake, NULL)) {
        pthread_mutex_destroy(&pool->mutex);
        bnnc_pool_free(pool);
        return NULL;
    }
    while (pool->started < threads - 1) {
        if (!bnnc_pool_start(pool)) {
            bnnc_pool_end(pool);
            return NULL;
        }
    }
    return pool;
}

void bnnc_pool_destroy(bnnc_pool *pool) {
    bnnc_pool_end(pool);
}

BNNC_INTERNAL void bnnc_parallel(bnnc_pool *pool, const bnnc_kernel *kernel, const void *args, void *scratch) {
    int64_t units = kernel->units(args);
    if (!pool || pool->threads == 1 || units < 2 || pool->owner != getpid() || atomic_flag_test_and_set(&pool->busy)) {
        kernel->run(args, 0, units, scratch);
        return;
    }
    pool->kernel = kernel;
    pool->args = args;
    for (int k = 0; k < pool->threads; k++) {
        atomic_store_explicit(&pool->shares[k].next, units * k / pool->threads, memory_order_relaxed);
        pool->shares[k].end = units * (k + 1) / pool->threads;
    }
    atomic_fetch_add(&pool->state, BNNC_JOB_SERIAL + BNNC_JOB_OPEN);
    if (atomic_load(&pool->sleepers)) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
    bnnc_pool_work(pool, 0, scratch);
    atomic_fetch_and(&pool->state, ~(uint64_t)BNNC_JOB_OPEN);
    for (int spin = 0; atomic_load(&pool->state) & BNNC_JOB_WORKERS; spin++) {
        if (spin < BNNC_POOL_SPINS)
            bnnc_pause();
        else
            sched_yield();
    }
    atomic_flag_clear(&pool->busy);
}
