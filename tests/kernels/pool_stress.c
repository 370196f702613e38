/* Works a pool hard: many short jobs from two callers at once, pauses long enough for the workers to
 * sleep, and a fork. Every unit must run exactly once. Meant for the thread sanitizer. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel.h"

enum { UNITS = 97, JOBS = 300 };

typedef struct {
    int64_t units;
    int *seen;
} job;

static void run(const void *args, int64_t begin, int64_t end, void *scratch) {
    const job *j = args;
    memset(scratch, (int)begin, 4096);
    for (int64_t i = begin; i < end; i++)
        j->seen[i]++;
}

static int64_t units(const void *args) {
    return ((const job *)args)->units;
}

static const bnnc_kernel kernel = {run, units};

static void *caller(void *pool) {
    int seen[UNITS];
    static _Thread_local unsigned char scratch[4096];
    for (int n = 0; n < JOBS; n++) {
        job j = {n % (UNITS + 1), seen};
        memset(seen, 0, sizeof seen);
        bnnc_parallel(pool, &kernel, &j, scratch);
        for (int i = 0; i < UNITS; i++)
            if (seen[i] != (i < j.units)) {
                fprintf(stderr, "unit %d of %d ran %d times\n", i, (int)j.units, seen[i]);
                exit(1);
            }
        if (n % 100 == 99)
            usleep(20000);
    }
    return NULL;
}

int main(void) {
    for (int threads = 1; threads <= 4; threads++) {
        bnnc_pool *pool = bnnc_pool_create(threads);
        pthread_t other;
        if (!pool || pthread_create(&other, NULL, caller, pool))
            return 2;
        caller(pool);
        pthread_join(other, NULL);
        pid_t child = fork();
        if (child == 0) {
            caller(pool);
            bnnc_pool_destroy(pool);
            _exit(0);
        }
        int status;
        if (waitpid(child, &status, 0) != child || status)
            return 3;
        bnnc_pool_destroy(pool);
    }
    for (int n = 0; n < 50; n++)
        bnnc_pool_destroy(bnnc_pool_create(3));
    puts("done");
    return 0;
}
