/* Loops over one row of the data: no Python, no threads, no memory of their own.
 *
 * One macro per kind of row writes the same loops for every type of data. Parameters and sums are
 * always double (docs/design/0002-data-types.md). "omp simd" says that the turns of a loop do not
 * depend on each other; a compiler that does not know the pragma builds the plain loop.
 */
#ifndef SGDEST_KERNELS_H
#define SGDEST_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define SIMD _Pragma("omp simd")

/* sum over j of TERM in eight partial sums: independent, so that the sum is bound by the loads and
 * not by the latency of an addition, and in one order whatever the compiler makes of it. */
#define SUM(n, j, TERM)                                                                          \
    double part[8] = {0}, sum;                                                                   \
    ptrdiff_t j = 0;                                                                             \
    for (; j + 8 <= (n); j += 8) {                                                               \
        const ptrdiff_t first = j;                                                               \
        for (ptrdiff_t lane = 0; lane < 8; lane++) {                                             \
            const ptrdiff_t j = first + lane;                                                    \
            part[lane] += TERM;                                                                  \
        }                                                                                        \
    }                                                                                            \
    sum = ((part[0] + part[1]) + (part[2] + part[3]))                                            \
          + ((part[4] + part[5]) + (part[6] + part[7]));                                         \
    for (; j < (n); j++) sum += TERM;

#define DENSE_ROW(NAME, T)                                                                       \
    static inline double dot_##NAME(ptrdiff_t n, const T *x, const double *w)                    \
    {                                                                                            \
        SUM(n, j, (double)x[j] * w[j])                                                           \
        return sum;                                                                              \
    }                                                                                            \
    static inline void add_##NAME(ptrdiff_t n, double a, const T *x, double *w)                  \
    {                                                                                            \
        SIMD for (ptrdiff_t j = 0; j < n; j++) w[j] += a * (double)x[j];                         \
    }                                                                                            \
    static inline void dots_##NAME(ptrdiff_t n, ptrdiff_t K, const T *x, const double *W,        \
                                   double *z)                                                    \
    {                                                                                            \
        for (ptrdiff_t k = 0; k < K; k++) z[k] = 0;                                              \
        for (ptrdiff_t j = 0; j < n; j++) {                                                      \
            const double xj = (double)x[j];                                                      \
            SIMD for (ptrdiff_t k = 0; k < K; k++) z[k] += xj * W[j * K + k];                    \
        }                                                                                        \
    }                                                                                            \
    static inline void adds_##NAME(ptrdiff_t n, ptrdiff_t K, const double *d, const T *x,        \
                                   double *W)                                                    \
    {                                                                                            \
        for (ptrdiff_t j = 0; j < n; j++) {                                                      \
            const double xj = (double)x[j];                                                      \
            SIMD for (ptrdiff_t k = 0; k < K; k++) W[j * K + k] += d[k] * xj;                    \
        }                                                                                        \
    }                                                                                            \
    static inline double square_norm_##NAME(ptrdiff_t n, const T *x)                             \
    {                                                                                            \
        SUM(n, j, (double)x[j] * (double)x[j])                                                   \
        return sum;                                                                              \
    }                                                                                            \
    static inline void read_##NAME(ptrdiff_t n, const T *x, double *out)                         \
    {                                                                                            \
        SIMD for (ptrdiff_t j = 0; j < n; j++) out[j] = (double)x[j];                            \
    }                                                                                            \
    /* first[j] += s (x_j - pivot_j), second[j] += s (x_j - pivot_j)^2, largest |x_j| */         \
    static inline void moments_##NAME(ptrdiff_t n, double s, const T *x, const double *pivot,    \
                                      double *first, double *second, double *largest)            \
    {                                                                                            \
        for (ptrdiff_t j = 0; j < n; j++) {                                                      \
            const double v = (double)x[j] - pivot[j];                                            \
            const double size = (double)x[j] < 0 ? -(double)x[j] : (double)x[j];                 \
            first[j] += s * v;                                                                   \
            second[j] += s * v * v;                                                              \
            if (size > largest[j]) largest[j] = size;                                            \
        }                                                                                        \
    }

/* The columns of a sparse row are distinct (rows.pyx sums duplicates), so writes never collide. */
#define SPARSE_ROW(NAME, T, I)                                                                   \
    static inline double dot_##NAME(ptrdiff_t n, const T *x, const I *column, const double *w)   \
    {                                                                                            \
        SUM(n, p, (double)x[p] * w[column[p]])                                                   \
        return sum;                                                                              \
    }                                                                                            \
    static inline void add_##NAME(ptrdiff_t n, double a, const T *x, const I *column, double *w) \
    {                                                                                            \
        for (ptrdiff_t p = 0; p < n; p++) w[column[p]] += a * (double)x[p];                      \
    }                                                                                            \
    static inline void dots_##NAME(ptrdiff_t n, ptrdiff_t K, const T *x, const I *column,        \
                                   const double *W, double *z)                                   \
    {                                                                                            \
        for (ptrdiff_t k = 0; k < K; k++) z[k] = 0;                                              \
        for (ptrdiff_t p = 0; p < n; p++) {                                                      \
            const double *w = W + (ptrdiff_t)column[p] * K;                                      \
            const double xj = (double)x[p];                                                      \
            SIMD for (ptrdiff_t k = 0; k < K; k++) z[k] += xj * w[k];                            \
        }                                                                                        \
    }                                                                                            \
    static inline void adds_##NAME(ptrdiff_t n, ptrdiff_t K, const double *d, const T *x,        \
                                   const I *column, double *W)                                   \
    {                                                                                            \
        for (ptrdiff_t p = 0; p < n; p++) {                                                      \
            double *w = W + (ptrdiff_t)column[p] * K;                                            \
            const double xj = (double)x[p];                                                      \
            SIMD for (ptrdiff_t k = 0; k < K; k++) w[k] += d[k] * xj;                            \
        }                                                                                        \
    }                                                                                            \
    static inline void moments_##NAME(ptrdiff_t n, double s, const T *x, const I *column,        \
                                      double *first, double *second, double *largest)            \
    {                                                                                            \
        for (ptrdiff_t p = 0; p < n; p++) {                                                      \
            const ptrdiff_t j = (ptrdiff_t)column[p];                                            \
            const double v = (double)x[p];                                                       \
            const double size = v < 0 ? -v : v;                                                  \
            first[j] += s * v;                                                                   \
            second[j] += s * v * v;                                                              \
            if (size > largest[j]) largest[j] = size;                                            \
        }                                                                                        \
    }

DENSE_ROW(f64, double)
DENSE_ROW(f32, float)
DENSE_ROW(u8, uint8_t)
DENSE_ROW(i8, int8_t)
SPARSE_ROW(f64_i32, double, int32_t)
SPARSE_ROW(f64_i64, double, int64_t)
SPARSE_ROW(f32_i32, float, int32_t)
SPARSE_ROW(f32_i64, float, int64_t)

#if defined(__GNUC__) || defined(__clang__)
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define PREFETCH(address) ((void)(address))
#endif

/* Asks for the cache lines of n bytes. Permuted rows are bound by the latency of memory, and
 * hardware follows a row by itself once its first lines have arrived: hence the cap. */
static inline void prefetch(const void *start, ptrdiff_t n)
{
    const char *address = (const char *)start;
    if (n > 2048) n = 2048;
    for (ptrdiff_t offset = 0; offset < n; offset += 64) PREFETCH(address + offset);
}

#endif
