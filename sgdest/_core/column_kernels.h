/* A column of X with weights of the rows, at three SIMD levels; see levels.h. */
#ifndef SGDEST_COLUMN_KERNELS_H
#define SGDEST_COLUMN_KERNELS_H

#include "levels.h"

/* n rows: the sum of h x^2, and v += c h x */
typedef struct {
    double (*weighted_square)(ptrdiff_t n, const double *h, const double *x);
    void (*weighted_add)(ptrdiff_t n, double c, const double *h, const double *x, double *v);
} ColumnLoops;

#define LEVEL(name) name##_baseline
#include "column_loops.h"
#if HAS_LEVELS
BEGIN_LEVEL(AVX2_FEATURES)
#define LEVEL(name) name##_avx2
#include "column_loops.h"
END_LEVEL
BEGIN_LEVEL(AVX512_FEATURES)
#define LEVEL(name) name##_avx512
#include "column_loops.h"
END_LEVEL
#endif

static inline const ColumnLoops *column_loops(int level)
{
    static const ColumnLoops *const table[N_LEVELS] = EVERY_LEVEL(columns);
    return table[level];
}

#endif
