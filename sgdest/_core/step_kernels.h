/* Steps of optimizers on coordinates beside each other, at three SIMD levels; see levels.h. */
#ifndef SGDEST_STEP_KERNELS_H
#define SGDEST_STEP_KERNELS_H

#include <math.h>

#include "levels.h"
#if HAS_LEVELS
#include <immintrin.h>
#endif

/* What follows the leader: z, the sum of the squares of the gradients, the inverse of the rate. */
typedef struct {
    double *z, *squares, *inverse_rate;
} Leader;

typedef struct {
    /* 1 / (sqrt(x) + eps) or, where x is 0, 0 */
    void (*inverse_roots)(ptrdiff_t n, double eps, const double *x, double *out);
    /* a step of FTRL-Proximal, but for w; the rate is eta / (beta + sqrt(squares)) */
    void (*follow)(ptrdiff_t n, double eta, double beta, const double *g, const double *w,
                   const Leader *leader);
    /* w: argmin of z w + inverse_rate w^2 / 2 + l1 c |w| + l2 (c w)^2 / 2; c: NULL for ones.
     * Where there has been no gradient w stays. */
    void (*lead)(ptrdiff_t n, double l1, double l2, const double *c, const Leader *leader,
                 double *w);
} StepLoops;

#define LEVEL(name) name##_baseline
#include "step_loops.h"
#if HAS_LEVELS
BEGIN_LEVEL(AVX2_FEATURES)
#define LEVEL(name) name##_avx2
#include "step_loops.h"
END_LEVEL
BEGIN_LEVEL(AVX512_FEATURES)
#define LEVEL(name) name##_avx512
#define HAS_ESTIMATES
#include "step_loops.h"
#undef HAS_ESTIMATES
END_LEVEL
#endif

static inline const StepLoops *step_loops(int level)
{
    static const StepLoops *const table[N_LEVELS] = EVERY_LEVEL(steps);
    return table[level];
}

#endif
