/* What a row of a stream does to the records of its features, at three SIMD levels; see levels.h
 * and stream.pyx. */
#ifndef SGDEST_STREAM_KERNELS_H
#define SGDEST_STREAM_KERNELS_H

#include <math.h>

#include "levels.h"

/* Numbers behind the weights of a record. */
enum { SQUARES, LARGEST, PAID, ROOT, TAIL };

/* n records of `width` numbers, those of `columns`. Each begins with `lanes` weights, a multiple of
 * 4, behind which is its tail. */
typedef struct {
    ptrdiff_t n, width, lanes;
    const ptrdiff_t *columns;
    double *experts;
} Records;

typedef struct {
    /* The L2 penalty of the path since a feature paid last; c: factors of the features or NULL. */
    void (*pay)(const Records *at, double path, double l2, const double *c, const double *rates);
    /* x /= s of each feature, if no |x| is above its s; else returns 0. room: for n numbers */
    int (*to_units)(const Records *at, double *room, double *x);
    /* z += x w of every lane */
    void (*recall)(const Records *at, const double *x, double *z);
    /* A += G r^2 of each feature; r becomes v r; returns the sum of v r^2 */
    double (*add_squares)(const Records *at, double G, double *room, double *r);
    /* w += x d of every lane */
    void (*move)(const Records *at, const double *x, const double *d);
    /* q = P x, P of shape (size, size), symmetric, for n entries x */
    void (*product)(ptrdiff_t n, const ptrdiff_t *columns, const double *x, ptrdiff_t size,
                    const double *P, double *q);
    /* P += a q q' */
    void (*add_pairs)(ptrdiff_t size, double a, const double *q, double *P);
} StreamLoops;

#define LEVEL(name) name##_baseline
#include "stream_loops.h"
#if HAS_LEVELS
BEGIN_LEVEL(AVX2_FEATURES)
#define LEVEL(name) name##_avx2
#include "stream_loops.h"
END_LEVEL
BEGIN_LEVEL(AVX512_FEATURES)
#define LEVEL(name) name##_avx512
#include "stream_loops.h"
END_LEVEL
#endif

static inline const StreamLoops *stream_loops(int level)
{
    static const StreamLoops *const table[N_LEVELS] = EVERY_LEVEL(streams);
    return table[level];
}

#endif
