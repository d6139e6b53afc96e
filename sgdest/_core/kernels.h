/* Loops over rows of the data: no Python, no threads, no memory of their own.
 *
 * ``row_loops.h`` holds the loops of one level, for every type of data; here they are gathered in
 * tables, one per level and type, so that a row costs one call through a pointer and no test of a
 * type. Parameters and sums are always double (docs/design/0002-data-types.md).
 */
#ifndef SGDEST_KERNELS_H
#define SGDEST_KERNELS_H

#include <math.h>

#include "levels.h"

enum { F64, F32, U8, I8, N_DENSE_TYPES };
enum { GRAM_COLUMNS = 16, SINGLE_COLUMNS = 32 }; /* two vectors of the highest level */
enum { WORDS = 32 };                             /* four of them */

/* x: a row of n numbers. X: the first row; rows[0 .. m-1]: numbers of the rows of a block. */
typedef struct {
    double (*dot)(ptrdiff_t n, const void *x, const double *w);
    void (*add)(ptrdiff_t n, double a, const void *x, double *w);
    double (*dot_ahead)(ptrdiff_t n, const void *x, const double *w, const void *later);
    void (*add_ahead)(ptrdiff_t n, double a, const void *x, double *w, const void *later);
    /* W: (n, K) */
    void (*dots)(ptrdiff_t n, ptrdiff_t K, const void *x, const double *W, double *z);
    void (*adds)(ptrdiff_t n, ptrdiff_t K, const double *d, const void *x, double *W);
    /* adds, then dots of the row that follows */
    void (*adds_dots)(ptrdiff_t n, ptrdiff_t K, const double *d, const void *x, double *W,
                      const void *next, double *z);
    double (*square_norm)(ptrdiff_t n, const void *x);
    void (*read)(ptrdiff_t n, const void *x, double *out);
    /* of `width` columns: first_j += s_i (x_ij - pivot_j), second_j += s_i (x_ij - pivot_j)^2,
     * largest |x_ij| */
    void (*moments)(ptrdiff_t m, ptrdiff_t n, ptrdiff_t width, const void *X,
                    const ptrdiff_t *rows, const double *s, const double *pivot, double *first,
                    double *second, double *largest);
    /* z_i = x_i . w, and g += sum_i d_i x_i; later[0 .. m-1]: rows of which the numbers from .. to-1
     * are asked for */
    void (*margins)(ptrdiff_t m, ptrdiff_t n, const void *X, const ptrdiff_t *rows,
                    const ptrdiff_t *later, ptrdiff_t from, ptrdiff_t to, const double *w,
                    double *z);
    void (*gradient)(ptrdiff_t m, ptrdiff_t n, const void *X, const ptrdiff_t *rows,
                     const ptrdiff_t *later, ptrdiff_t from, ptrdiff_t to, const double *d,
                     double *g);
    /* the same for K outputs; w and g: (K, n), z and d: (m, K) */
    void (*margins_of_many)(ptrdiff_t m, ptrdiff_t n, ptrdiff_t K, const void *X,
                            const ptrdiff_t *rows, const ptrdiff_t *later, const double *w,
                            double *z);
    void (*gradient_of_many)(ptrdiff_t m, ptrdiff_t n, ptrdiff_t K, const void *X,
                             const ptrdiff_t *rows, const double *d, double *g);
    /* margins of m rows, and the gradient of m rows before them */
    void (*margins_and_gradient)(ptrdiff_t m, ptrdiff_t n, const void *X, const ptrdiff_t *rows,
                                 const ptrdiff_t *later, const double *w, double *z,
                                 const ptrdiff_t *past, const double *d, double *g);
    /* rows of out, `stride` apart: c_i (x_i - centre) scale; largest |x_j|, or NULL */
    void (*scaled)(ptrdiff_t m, ptrdiff_t n, const void *X, const ptrdiff_t *rows,
                   const double *c, const double *centre, const double *scale, ptrdiff_t stride,
                   double *out, double *largest);
    /* the upper triangle of G += A'A; A: (m, n), n a multiple of GRAM_COLUMNS */
    void (*gram)(ptrdiff_t m, ptrdiff_t n, const double *A, double *G);
    /* the same in single precision; room: (m, n), n a multiple of SINGLE_COLUMNS */
    void (*gram_single)(ptrdiff_t m, ptrdiff_t n, const double *A, float *room, double *G);
    /* a fingerprint of bytes: n_blocks of WORDS words, folded into `words` */
    void (*fold)(ptrdiff_t n_blocks, const void *data, uint64_t *words);
} DenseLoops;

/* L1 made up for when a weight is read: `last` is the length up to which each has shrunk. */
typedef struct {
    double *last;
    double length, l1;
    int positive;
} Lag;

INLINE double shrunk_one(double w, double last, const Lag *lag)
{
    const double size = (lag->positive ? w : fabs(w)) - lag->l1 * (lag->length - last);
    return copysign(size > 0 ? size : 0, w) + 0.0; /* never -0 */
}

/* L1 by the cumulative penalty: every weight owes `owed`, of which it has `paid` its own share; weights
 * are kept as w / scale. */
typedef struct {
    double *paid;
    double owed, scale, unscale;
} Debt;

/* One weight after `change` was added to it, and what it has paid. No branches: signs are hard to
 * predict, and loops over it become vectors. */
INLINE void truncate_one(double change, double *w, double *paid, const Debt *debt)
{
    const double before = *w + change, due = debt->owed + copysign(1.0, before) * *paid;
    const double left = fabs(before) - 0.5 * (due + fabs(due)) * debt->unscale;
    const double after = copysign(0.5 * (left + fabs(left)), before) + 0.0; /* never -0 */
    *w = after;
    *paid += debt->scale * (after - before);
}

/* A sparse row: n values and their columns, which are distinct (rows.pyx sums duplicates). */
typedef struct {
    double (*dot)(ptrdiff_t n, const void *x, const void *columns, const double *w);
    void (*add)(ptrdiff_t n, double a, const void *x, const void *columns, double *w);
    double (*dot_ahead)(ptrdiff_t n, const void *x, const void *columns, const double *w,
                        ptrdiff_t m, const void *later, const void *later_columns);
    void (*add_ahead)(ptrdiff_t n, double a, const void *x, const void *columns, double *w,
                      ptrdiff_t m, const void *later, const void *later_columns);
    double (*shrunk_dot)(ptrdiff_t n, const void *x, const void *columns, double *w,
                         const Lag *lag, ptrdiff_t m, const void *later,
                         const void *later_columns);
    void (*truncated_add)(ptrdiff_t n, double a, const void *x, const void *columns, double *w,
                          const Debt *debt, ptrdiff_t m, const void *later,
                          const void *later_columns);
    void (*dots)(ptrdiff_t n, ptrdiff_t K, const void *x, const void *columns, const double *W,
                 double *z);
    void (*adds)(ptrdiff_t n, ptrdiff_t K, const double *d, const void *x, const void *columns,
                 double *W);
    void (*moments)(ptrdiff_t n, double s, const void *x, const void *columns, double *first,
                    double *second, double *largest);
} SparseLoops;

#define LEVEL(name) name##_baseline
#define NARROWER(name) name##_baseline
#define WIDTH 16
#define FEWEST_OUTPUTS 2
#define TILE_OUTPUTS 2
#if HAS_VECTORS
#define LOAD_F32(x) ((VEC){(x)[0], (x)[1]})
#else
#define LOAD_F32(x) ((double)*(x))
#endif
#define LOAD_U8(x) LOAD_F32(x)
#define LOAD_I8(x) LOAD_F32(x)
#include "row_loops.h"

#if HAS_LEVELS
#include <immintrin.h>

INLINE __m128i four_bytes(const void *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm_cvtsi32_si128(four);
}

BEGIN_LEVEL(AVX2_FEATURES)
#define LEVEL(name) name##_avx2
#define NARROWER(name) name##_baseline
#define WIDTH 32
#define FEWEST_OUTPUTS 4
#define TILE_OUTPUTS 2
#define LOAD_F32(x) _mm256_cvtps_pd(_mm_loadu_ps(x))
#define LOAD_U8(x) _mm256_cvtepi32_pd(_mm_cvtepu8_epi32(four_bytes(x)))
#define LOAD_I8(x) _mm256_cvtepi32_pd(_mm_cvtepi8_epi32(four_bytes(x)))
#include "row_loops.h"
END_LEVEL

BEGIN_LEVEL(AVX512_FEATURES)
#define LEVEL(name) name##_avx512
#define NARROWER(name) name##_avx2
#define WIDTH 64
#define FEWEST_OUTPUTS 16
#define TILE_OUTPUTS 5
#define LOAD_F32(x) _mm512_cvtps_pd(_mm256_loadu_ps(x))
#define LOAD_8(x) _mm_loadl_epi64((const __m128i *)(x))
#define LOAD_U8(x) _mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(LOAD_8(x)))
#define LOAD_I8(x) _mm512_cvtepi32_pd(_mm256_cvtepi8_epi32(LOAD_8(x)))
#include "row_loops.h"
END_LEVEL
#endif

static inline const DenseLoops *dense_loops(int type, int level)
{
    static const DenseLoops *const table[N_DENSE_TYPES][N_LEVELS] = {
        EVERY_LEVEL(dense_f64), EVERY_LEVEL(dense_f32), EVERY_LEVEL(dense_u8),
        EVERY_LEVEL(dense_i8)};
    return table[type][level];
}

/* single: float32 values; wide: int64 columns */
static inline const SparseLoops *sparse_loops(int single, int wide, int level)
{
    static const SparseLoops *const table[4][N_LEVELS] = {
        EVERY_LEVEL(sparse_f64_i32), EVERY_LEVEL(sparse_f64_i64), EVERY_LEVEL(sparse_f32_i32),
        EVERY_LEVEL(sparse_f32_i64)};
    return table[2 * single + wide][level];
}

#endif
