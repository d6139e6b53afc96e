/* The loops of one SIMD level; included by kernels.h once per level, with LEVEL, WIDTH (bytes of a
 * vector), LOAD_F32, LOAD_U8, LOAD_I8 (a vector of doubles from numbers of those types) and
 * TILE_OUTPUTS (what the registers hold of four rows), NARROWER (the next lower level) and
 * FEWEST_OUTPUTS (below which that is faster) defined.
 *
 * Sums run in several vectors at once, so that they are bound by the loads and not by the latency
 * of an addition. "omp simd" says that the turns of a loop do not depend on each other; a compiler
 * that does not know the pragma builds the plain loop.
 */

#define VEC LEVEL(vec)
#define FLOAT_VEC LEVEL(float_vec)
#define WORD_VEC LEVEL(word_vec)
#if HAS_VECTORS
#define LANES ((ptrdiff_t)(WIDTH / sizeof(double)))
#define FLOATS ((ptrdiff_t)(WIDTH / sizeof(float)))
typedef double VEC __attribute__((vector_size(WIDTH)));
typedef float FLOAT_VEC __attribute__((vector_size(WIDTH)));
typedef uint64_t WORD_VEC __attribute__((vector_size(WIDTH)));
#else
#define LANES ((ptrdiff_t)1)
#define FLOATS ((ptrdiff_t)1)
typedef double VEC;
typedef float FLOAT_VEC;
typedef uint64_t WORD_VEC;
#endif

INLINE VEC LEVEL(load_f64)(const double *x)
{
    VEC v;
    memcpy(&v, x, sizeof v);
    return v;
}
INLINE VEC LEVEL(load_f32)(const float *x) { return LOAD_F32(x); }
INLINE VEC LEVEL(load_u8)(const uint8_t *x) { return LOAD_U8(x); }
INLINE VEC LEVEL(load_i8)(const int8_t *x) { return LOAD_I8(x); }

INLINE void LEVEL(store)(double *out, VEC v) { memcpy(out, &v, sizeof v); }

INLINE VEC LEVEL(zero)(void)
{
    VEC v;
    memset(&v, 0, sizeof v);
    return v;
}

INLINE double LEVEL(total)(VEC v)
{
    double lane[WIDTH / sizeof(double)], sum = 0;
    memcpy(lane, &v, sizeof v);
    for (ptrdiff_t width = LANES / 2; width > 0; width /= 2)
        for (ptrdiff_t j = 0; j < width; j++) lane[j] += lane[j + width];
    sum = lane[0];
    return sum;
}

/* sum over j of VECTOR_TERM, with four vectors under way, to which REST adds what whole vectors leave;
 * BEFORE is said before every four */
#define SUM(n, j, BEFORE, VECTOR_TERM, REST)                                                     \
    double sum;                                                                                  \
    {                                                                                            \
        VEC part[4] = {LEVEL(zero)(), LEVEL(zero)(), LEVEL(zero)(), LEVEL(zero)()};              \
        ptrdiff_t j = 0;                                                                         \
        for (; j + 4 * LANES <= (n);) {                                                          \
            BEFORE                                                                               \
            for (int v = 0; v < 4; v++, j += LANES) part[v] += VECTOR_TERM;                      \
        }                                                                                        \
        if (j + LANES <= (n)) part[0] += VECTOR_TERM, j += LANES;                                \
        if (j + LANES <= (n)) part[1] += VECTOR_TERM, j += LANES;                                \
        if (j + LANES <= (n)) part[2] += VECTOR_TERM, j += LANES;                                \
        if ((n) >= 2 * LANES) /* a single step on a short row waits for these additions */       \
            part[0] = (part[0] + part[1]) + (part[2] + part[3]);                                 \
        sum = REST;                                                                              \
    }

/* What is left after whole vectors: half a vector, a quarter, .. A processor hands what one step
 * stored to the loads of the next only where both have the same width. Products are added to the lower
 * half of the vector that they join, while its upper half is on the way. */
#if WIDTH > 16
#define HALF (LANES / 2)
#define REST_LOOPS(NAME, T)                                                                      \
    INLINE double LEVEL(rest_dot_##NAME)(VEC sums, ptrdiff_t n, const T *x, const double *w)     \
    {                                                                                            \
        NARROWER(vec) half[2];                                                                   \
        memcpy(half, &sums, sizeof sums);                                                        \
        if (n >= HALF) {                                                                         \
            half[0] += NARROWER(load_##NAME)(x) * NARROWER(load_f64)(w);                         \
            x += HALF, w += HALF, n -= HALF;                                                     \
        }                                                                                        \
        return NARROWER(rest_dot_##NAME)(half[0] + half[1], n, x, w);                            \
    }                                                                                            \
    INLINE void LEVEL(rest_add_##NAME)(ptrdiff_t n, double a, const T *x, double *w)             \
    {                                                                                            \
        if (n >= HALF) {                                                                         \
            NARROWER(store)(w, NARROWER(load_f64)(w) + a * NARROWER(load_##NAME)(x));            \
            x += HALF, w += HALF, n -= HALF;                                                     \
        }                                                                                        \
        NARROWER(rest_add_##NAME)(n, a, x, w);                                                   \
    }                                                                                            \
    INLINE void LEVEL(rest_gradient_##NAME)(ptrdiff_t n, const double *d, const T *x0,           \
                                            const T *x1, const T *x2, const T *x3, double *g)    \
    {                                                                                            \
        if (n >= HALF) {                                                                         \
            NARROWER(store)(g, NARROWER(load_f64)(g) + d[0] * NARROWER(load_##NAME)(x0)          \
                                   + d[1] * NARROWER(load_##NAME)(x1)                            \
                                   + d[2] * NARROWER(load_##NAME)(x2)                            \
                                   + d[3] * NARROWER(load_##NAME)(x3));                          \
            x0 += HALF, x1 += HALF, x2 += HALF, x3 += HALF, g += HALF, n -= HALF;                \
        }                                                                                        \
        NARROWER(rest_gradient_##NAME)(n, d, x0, x1, x2, x3, g);                                 \
    }
#else
#define REST_LOOPS(NAME, T)                                                                      \
    INLINE double LEVEL(rest_dot_##NAME)(VEC sums, ptrdiff_t n, const T *x, const double *w)     \
    {                                                                                            \
        double lane[LANES];                                                                      \
        memcpy(lane, &sums, sizeof sums);                                                        \
        if (n) lane[0] += (double)*x * *w;                                                       \
        return LANES > 1 ? lane[0] + lane[LANES - 1] : lane[0];                                  \
    }                                                                                            \
    INLINE void LEVEL(rest_add_##NAME)(ptrdiff_t n, double a, const T *x, double *w)             \
    {                                                                                            \
        if (n) *w += a * (double)*x;                                                             \
    }                                                                                            \
    INLINE void LEVEL(rest_gradient_##NAME)(ptrdiff_t n, const double *d, const T *x0,           \
                                            const T *x1, const T *x2, const T *x3, double *g)    \
    {                                                                                            \
        if (n)                                                                                   \
            *g = *g + d[0] * (double)*x0 + d[1] * (double)*x1 + d[2] * (double)*x2               \
                 + d[3] * (double)*x3;                                                           \
    }
#endif

/* z = sum over j of VALUE w, and w += VALUE d: K numbers beside each other, w those of entry j.
 * Up to four vectors stay in registers. The last one ends with the K-th number and may overlap the
 * one before: both compute the same in the numbers that they share. (Numbers of four vectors before
 * it are done with: their d counts as 0.) */
#define DOTS(n, j, VALUE, ROW)                                                                   \
    if (K == 1) {                                                                                \
        z[0] = 0;                                                                                \
        for (ptrdiff_t j = 0; j < (n); j++) z[0] += VALUE * *(ROW);                              \
        return;                                                                                  \
    }                                                                                            \
    for (ptrdiff_t k = 0; k < K; k += 4 * LANES) {                                               \
        switch (VECTORS_LEFT(K - k)) {                                                           \
            case 1: DOTS_TILE(1, n, j, VALUE, ROW) break;                                        \
            case 2: DOTS_TILE(2, n, j, VALUE, ROW) break;                                        \
            case 3: DOTS_TILE(3, n, j, VALUE, ROW) break;                                        \
            default: DOTS_TILE(4, n, j, VALUE, ROW)                                              \
        }                                                                                        \
    }
#define ADDS(n, j, VALUE, ROW)                                                                   \
    if (K == 1) {                                                                                \
        for (ptrdiff_t j = 0; j < (n); j++) *(ROW) += VALUE * d[0];                              \
        return;                                                                                  \
    }                                                                                            \
    for (ptrdiff_t k = 0; k < K; k += 4 * LANES) {                                               \
        switch (VECTORS_LEFT(K - k)) {                                                           \
            case 1: ADDS_TILE(1, n, j, VALUE, ROW) break;                                        \
            case 2: ADDS_TILE(2, n, j, VALUE, ROW) break;                                        \
            case 3: ADDS_TILE(3, n, j, VALUE, ROW) break;                                        \
            default: ADDS_TILE(4, n, j, VALUE, ROW)                                              \
        }                                                                                        \
    }
#define VECTORS_LEFT(n) (((n) + LANES - 1) / LANES)
#define PLACE(v) (k + (v) * LANES < K - LANES ? k + (v) * LANES : K - LANES)
#define DOTS_TILE(V, n, j, VALUE, ROW)                                                           \
    {                                                                                            \
        VEC even[V], odd[V];                                                                     \
        ptrdiff_t place[V], j = 0;                                                               \
        for (int v = 0; v < V; v++) place[v] = PLACE(v), even[v] = odd[v] = LEVEL(zero)();       \
        for (; j + 2 <= (n); j++) {                                                              \
            const double value = VALUE, *w = ROW;                                                \
            for (int v = 0; v < V; v++) even[v] += value * LEVEL(load_f64)(w + place[v]);        \
            j++;                                                                                 \
            const double value_ = VALUE, *w_ = ROW;                                              \
            for (int v = 0; v < V; v++) odd[v] += value_ * LEVEL(load_f64)(w_ + place[v]);       \
        }                                                                                        \
        if (j < (n)) {                                                                           \
            const double value = VALUE, *w = ROW;                                                \
            for (int v = 0; v < V; v++) even[v] += value * LEVEL(load_f64)(w + place[v]);        \
        }                                                                                        \
        for (int v = 0; v < V; v++) LEVEL(store)(z + place[v], even[v] + odd[v]);                \
    }
#define ADDS_TILE(V, n, j, VALUE, ROW)                                                           \
    {                                                                                            \
        VEC step[V], new[V];                                                                     \
        ptrdiff_t place[V];                                                                      \
        for (int v = 0; v < V; v++) {                                                            \
            double lane[WIDTH / sizeof(double)];                                                 \
            place[v] = PLACE(v);                                                                 \
            for (ptrdiff_t l = 0; l < LANES; l++)                                                \
                lane[l] = place[v] + l < k ? 0 : d[place[v] + l];                                \
            step[v] = LEVEL(load_f64)(lane);                                                     \
        }                                                                                        \
        for (ptrdiff_t j = 0; j < (n); j++) {                                                    \
            const double value = VALUE;                                                          \
            double *w = ROW;                                                                     \
            for (int v = 0; v < V; v++) new[v] = LEVEL(load_f64)(w + place[v]) + value * step[v];\
            for (int v = 0; v < V; v++) LEVEL(store)(w + place[v], new[v]);                      \
        }                                                                                        \
    }

/* Both in one walk over W, for two rows: w += value d, z = sum over j of following w; the sums in the
 * order of DOTS. */
#define ADDS_DOTS_TILE(V)                                                                        \
    {                                                                                            \
        VEC step[V], new[V], even[V], odd[V];                                                    \
        ptrdiff_t place[V], j = 0;                                                               \
        for (int v = 0; v < V; v++) {                                                            \
            place[v] = v * LANES < K - LANES ? v * LANES : K - LANES;                            \
            step[v] = LEVEL(load_f64)(d + place[v]);                                             \
            even[v] = odd[v] = LEVEL(zero)();                                                    \
        }                                                                                        \
        for (; j + 2 <= n; j++) {                                                                \
            ADDS_DOTS_ENTRY(V, even)                                                             \
            j++;                                                                                 \
            ADDS_DOTS_ENTRY(V, odd)                                                              \
        }                                                                                        \
        if (j < n) ADDS_DOTS_ENTRY(V, even)                                                      \
        for (int v = 0; v < V; v++) LEVEL(store)(z + place[v], even[v] + odd[v]);                \
    }
#define ADDS_DOTS_ENTRY(V, sum)                                                                  \
    {                                                                                            \
        const double value = (double)x[j], following = (double)next[j];                          \
        double *w = W + j * K;                                                                   \
        for (int v = 0; v < V; v++) new[v] = LEVEL(load_f64)(w + place[v]) + value * step[v];    \
        for (int v = 0; v < V; v++) LEVEL(store)(w + place[v], new[v]);                          \
        for (int v = 0; v < V; v++) sum[v] += following * new[v];                                \
    }
#include "gram_loops.h"

/* Folds blocks of WORDS words into as many; each step is one-to-one in the word and in what is there.
 * Bytes are asked for 4 kB ahead: 10,000 x 784 took twice as long without, in the same arithmetic. */
LOOP void LEVEL(fold)(ptrdiff_t n_blocks, const void *data, uint64_t *words)
{
    enum { VECTORS = WORDS * sizeof(uint64_t) / sizeof(WORD_VEC) };
    const char *x = data;
    WORD_VEC a[VECTORS], own;
    memcpy(a, words, sizeof a);
    for (ptrdiff_t i = 0; i < n_blocks; i++)
        for (int v = 0; v < VECTORS; v++, x += sizeof own) {
            ASK(uint64_t, x + 4096);
            memcpy(&own, x, sizeof own);
            a[v] = (a[v] ^ own) * 0x9E3779B97F4A7C15u;
            a[v] ^= a[v] >> 32;
        }
    memcpy(words, a, sizeof a);
}

/* Where rows are whole cache lines: the numbers before the first vector that lies in one line, for an
 * X that begins 16 bytes after one, as large arrays of NumPy do. A load from two lines that are still
 * on their way takes twice as long; w and g are laid out alike (`aligned_like` in simd.pyx). It may
 * not depend on where X is: sums would, in their last bits. */
#define HEAD(T, n) ((n) == 0 || (n) * sizeof(T) % 64 ? 0 : (ptrdiff_t)(48 / sizeof(T)) % LANES)
/* x0 .. x3: four rows */
#define FOUR_ROWS(T, x, rows)                                                                    \
    const T *x##0 = (const T *)X + (rows)[0] * n, *x##1 = (const T *)X + (rows)[1] * n;          \
    const T *x##2 = (const T *)X + (rows)[2] * n, *x##3 = (const T *)X + (rows)[3] * n;
/* how far ahead memory that is read in its order is asked for */
#define BYTES_AHEAD 2048
#define LARGER(a, b) ((a) > (b) ? (a) : (b))
#define SIZE(a) ((a) < 0 ? -(a) : (a))
/* whether a line begins with the vector at j: to ask for one twice costs as much as for two */
#define BEGINS_LINE(T, j) (LANES * sizeof(T) >= 64 || (j) * sizeof(T) % 64 == 0)
#define ASK_FOR_FOUR(T, x, j)                                                                    \
    if (BEGINS_LINE(T, j)) {                                                                     \
        ASK(T, x##0 + j);                                                                        \
        ASK(T, x##1 + j);                                                                        \
        ASK(T, x##2 + j);                                                                        \
        ASK(T, x##3 + j);                                                                        \
    }
/* the line in which they end: rows are aligned to their entries, not to lines */
#define ASK_FOR_ENDS(T, x)                                                                       \
    ASK(T, (const char *)(x##0 + n) - 1);                                                        \
    ASK(T, (const char *)(x##1 + n) - 1);                                                        \
    ASK(T, (const char *)(x##2 + n) - 1);                                                        \
    ASK(T, (const char *)(x##3 + n) - 1);
/* the lines that begin with the next so many bytes */
#define ASK_FOR_LINES(T, start, n_bytes)                                                         \
    for (size_t o = 0; o < (n_bytes); o += 64) ASK(T, (start) + o);

#define DENSE_LOOPS(NAME, T)                                                                     \
    REST_LOOPS(NAME, T)                                                                          \
    LOOP double LEVEL(dot_##NAME)(ptrdiff_t n, const void *row, const double *w)                 \
    {                                                                                            \
        const T *x = row;                                                                        \
        SUM(n, j, , LEVEL(load_##NAME)(x + j) * LEVEL(load_f64)(w + j),                          \
            LEVEL(rest_dot_##NAME)(part[0], n - j, x + j, w + j))                                \
        return sum;                                                                              \
    }                                                                                            \
    LOOP void LEVEL(add_##NAME)(ptrdiff_t n, double a, const void *row, double *w)               \
    {                                                                                            \
        const T *x = row;                                                                        \
        ptrdiff_t j = 0;                                                                         \
        for (; j + LANES <= n; j += LANES)                                                       \
            LEVEL(store)(w + j, LEVEL(load_f64)(w + j) + a * LEVEL(load_##NAME)(x + j));         \
        LEVEL(rest_add_##NAME)(n - j, a, x + j, w + j);                                          \
    }                                                                                            \
    /* the same, asking meanwhile for the first and the second half of a later row */            \
    LOOP double LEVEL(dot_ahead_##NAME)(ptrdiff_t n, const void *row, const double *w,           \
                                        const void *later)                                       \
    {                                                                                            \
        const T *x = row;                                                                        \
        const char *half = later;                                                                \
        ASK(T, half + n * sizeof(T) / 2 - 1);                                                    \
        ASK(T, half + n * sizeof(T) / 2 - 65);                                                   \
        SUM(n, j, ASK_FOR_LINES(T, half + j * sizeof(T) / 2, 2 * LANES * sizeof(T)),             \
            LEVEL(load_##NAME)(x + j) * LEVEL(load_f64)(w + j),                                  \
            LEVEL(rest_dot_##NAME)(part[0], n - j, x + j, w + j))                                \
        return sum;                                                                              \
    }                                                                                            \
    LOOP void LEVEL(add_ahead_##NAME)(ptrdiff_t n, double a, const void *row, double *w,         \
                                      const void *later)                                         \
    {                                                                                            \
        const T *x = row;                                                                        \
        const char *half = (const char *)later + n * sizeof(T) / 2;                              \
        ptrdiff_t j = 0;                                                                         \
        ASK(T, (const char *)later + n * sizeof(T) - 1);                                         \
        for (; j + 2 * LANES <= n; j += LANES) {                                                 \
            ASK_FOR_LINES(T, half + j * sizeof(T) / 2, LANES * sizeof(T))                        \
            LEVEL(store)(w + j, LEVEL(load_f64)(w + j) + a * LEVEL(load_##NAME)(x + j));         \
            j += LANES;                                                                          \
            LEVEL(store)(w + j, LEVEL(load_f64)(w + j) + a * LEVEL(load_##NAME)(x + j));         \
        }                                                                                        \
        for (; j + LANES <= n; j += LANES)                                                       \
            LEVEL(store)(w + j, LEVEL(load_f64)(w + j) + a * LEVEL(load_##NAME)(x + j));         \
        LEVEL(rest_add_##NAME)(n - j, a, x + j, w + j);                                          \
    }                                                                                            \
    LOOP void LEVEL(dots_##NAME)(ptrdiff_t n, ptrdiff_t K, const void *row, const double *W,     \
                                 double *z)                                                      \
    {                                                                                            \
        const T *x = row;                                                                        \
        if (K > 1 && K < FEWEST_OUTPUTS) {                                                       \
            NARROWER(dots_##NAME)(n, K, row, W, z);                                              \
            return;                                                                              \
        }                                                                                        \
        DOTS(n, j, (double)x[j], W + j * K)                                                      \
    }                                                                                            \
    LOOP void LEVEL(adds_##NAME)(ptrdiff_t n, ptrdiff_t K, const double *d, const void *row,     \
                                 double *W)                                                      \
    {                                                                                            \
        const T *x = row;                                                                        \
        if (K > 1 && K < FEWEST_OUTPUTS) {                                                       \
            NARROWER(adds_##NAME)(n, K, d, row, W);                                              \
            return;                                                                              \
        }                                                                                        \
        ADDS(n, j, (double)x[j], W + j * K)                                                      \
    }                                                                                            \
    LOOP void LEVEL(adds_dots_##NAME)(ptrdiff_t n, ptrdiff_t K, const double *d, const void *row,\
                                      double *W, const void *next_row, double *z)                \
    {                                                                                            \
        const T *x = row, *next = next_row;                                                      \
        if (K > 1 && K < FEWEST_OUTPUTS) {                                                       \
            NARROWER(adds_dots_##NAME)(n, K, d, row, W, next_row, z);                            \
            return;                                                                              \
        }                                                                                        \
        switch (K > 1 ? VECTORS_LEFT(K) : 0) {                                                   \
            case 1: ADDS_DOTS_TILE(1) break;                                                     \
            case 2: ADDS_DOTS_TILE(2) break;                                                     \
            case 3: ADDS_DOTS_TILE(3) break;                                                     \
            case 4: ADDS_DOTS_TILE(4) break;                                                     \
            default:                                                                             \
                LEVEL(adds_##NAME)(n, K, d, row, W);                                             \
                LEVEL(dots_##NAME)(n, K, next_row, W, z);                                        \
        }                                                                                        \
    }                                                                                            \
    INLINE double LEVEL(rest_square_##NAME)(ptrdiff_t n, const T *x)                             \
    {                                                                                            \
        double sum = 0;                                                                          \
        for (ptrdiff_t j = 0; j < n; j++) sum += (double)x[j] * (double)x[j];                    \
        return sum;                                                                              \
    }                                                                                            \
    LOOP double LEVEL(square_norm_##NAME)(ptrdiff_t n, const void *row)                          \
    {                                                                                            \
        const T *x = row;                                                                        \
        SUM(n, j, ASK_FOR_LINES(T, (const char *)(x + j) + BYTES_AHEAD, 4 * LANES * sizeof(T)),  \
            LEVEL(load_##NAME)(x + j) * LEVEL(load_##NAME)(x + j),                               \
            LEVEL(total)(part[0]) + LEVEL(rest_square_##NAME)(n - j, x + j))                     \
        return sum;                                                                              \
    }                                                                                            \
    LOOP void LEVEL(read_##NAME)(ptrdiff_t n, const void *row, double *out)                      \
    {                                                                                            \
        const T *x = row;                                                                        \
        SIMD for (ptrdiff_t j = 0; j < n; j++) out[j] = (double)x[j];                            \
    }                                                                                            \
    /* four rows at a time: the sums of a column are read and written once for all four */       \
    LOOP void LEVEL(moments_##NAME)(ptrdiff_t m, ptrdiff_t n, ptrdiff_t width, const void *X,    \
                                    const ptrdiff_t *rows, const double *s, const double *pivot, \
                                    double *first, double *second, double *largest)              \
    {                                                                                            \
        ptrdiff_t i = 0;                                                                         \
        for (; i + 4 <= m; i += 4) {                                                             \
            FOUR_ROWS(T, x, rows + i)                                                            \
            const double a = s[i], b = s[i + 1], c = s[i + 2], d = s[i + 3];                     \
            SIMD for (ptrdiff_t j = 0; j < width; j++) {                                         \
                const double x_a = (double)x0[j], x_b = (double)x1[j];                           \
                const double x_c = (double)x2[j], x_d = (double)x3[j];                           \
                const double p = pivot[j], u = x_a - p, v = x_b - p, y = x_c - p, z = x_d - p;   \
                const double size = LARGER(LARGER(SIZE(x_a), SIZE(x_b)),                         \
                                           LARGER(SIZE(x_c), SIZE(x_d)));                        \
                first[j] += (a * u + b * v) + (c * y + d * z);                                   \
                second[j] += (a * u * u + b * v * v) + (c * y * y + d * z * z);                  \
                largest[j] = LARGER(size, largest[j]);                                           \
            }                                                                                    \
        }                                                                                        \
        for (; i < m; i++) {                                                                     \
            const T *x = (const T *)X + rows[i] * n;                                             \
            const double a = s[i];                                                               \
            SIMD for (ptrdiff_t j = 0; j < width; j++) {                                         \
                const double x_j = (double)x[j], u = x_j - pivot[j];                             \
                first[j] += a * u;                                                               \
                second[j] += a * u * u;                                                          \
                largest[j] = LARGER(SIZE(x_j), largest[j]);                                      \
            }                                                                                    \
        }                                                                                        \
    }                                                                                            \
    /* rows of `out`, `stride` apart: c_i (x_i - centre) scale; largest |x_j| where it is asked for */\
    LOOP void LEVEL(scaled_##NAME)(ptrdiff_t m, ptrdiff_t n, const void *X,                      \
                                   const ptrdiff_t *rows, const double *c, const double *centre, \
                                   const double *scale, ptrdiff_t stride, double *out,           \
                                   double *largest)                                              \
    {                                                                                            \
        for (ptrdiff_t i = 0; i < m; i++, out += stride) {                                       \
            const T *x = (const T *)X + rows[i] * n;                                             \
            const double c_i = c[i];                                                             \
            SIMD for (ptrdiff_t j = 0; j < n; j++)                                               \
                out[j] = c_i * (((double)x[j] - centre[j]) * scale[j]);                          \
            if (largest == NULL || c_i == 0) continue;                                           \
            SIMD for (ptrdiff_t j = 0; j < n; j++) {                                             \
                const double size = (double)x[j] < 0 ? -(double)x[j] : (double)x[j];             \
                largest[j] = size > largest[j] ? size : largest[j];                              \
            }                                                                                    \
        }                                                                                        \
    }                                                                                            \
    /* four rows at a time, which read w, and read and write g, once for all four; lines of the  \
     * `later` rows are asked for meanwhile */                                                   \
    LOOP void LEVEL(margins_##NAME)(ptrdiff_t m, ptrdiff_t n, const void *X,                     \
                                    const ptrdiff_t *rows, const ptrdiff_t *later,               \
                                    ptrdiff_t from, ptrdiff_t to, const double *w, double *z)    \
    {                                                                                            \
        ptrdiff_t i = 0;                                                                         \
        for (; i + 4 <= m; i += 4) {                                                             \
            FOUR_ROWS(T, x, rows + i)                                                            \
            FOUR_ROWS(T, ask, later + i)                                                         \
            VEC s0 = LEVEL(zero)(), s1 = s0, s2 = s0, s3 = s0;                                   \
            ptrdiff_t j = 0;                                                                     \
            for (; j + LANES <= n; j += LANES) {                                                 \
                const VEC v = LEVEL(load_f64)(w + j);                                            \
                if (j >= from && j < to) {                                                       \
                    ASK_FOR_FOUR(T, ask, j)                                                      \
                }                                                                                \
                s0 += v * LEVEL(load_##NAME)(x0 + j);                                            \
                s1 += v * LEVEL(load_##NAME)(x1 + j);                                            \
                s2 += v * LEVEL(load_##NAME)(x2 + j);                                            \
                s3 += v * LEVEL(load_##NAME)(x3 + j);                                            \
            }                                                                                    \
            z[i] = LEVEL(rest_dot_##NAME)(s0, n - j, x0 + j, w + j);                             \
            z[i + 1] = LEVEL(rest_dot_##NAME)(s1, n - j, x1 + j, w + j);                         \
            z[i + 2] = LEVEL(rest_dot_##NAME)(s2, n - j, x2 + j, w + j);                         \
            z[i + 3] = LEVEL(rest_dot_##NAME)(s3, n - j, x3 + j, w + j);                         \
        }                                                                                        \
        for (; i < m; i++) z[i] = LEVEL(dot_##NAME)(n, (const T *)X + rows[i] * n, w);           \
    }                                                                                            \
    LOOP void LEVEL(gradient_##NAME)(ptrdiff_t m, ptrdiff_t n, const void *X,                    \
                                     const ptrdiff_t *rows, const ptrdiff_t *later,              \
                                     ptrdiff_t from, ptrdiff_t to, const double *d, double *g)   \
    {                                                                                            \
        ptrdiff_t i = 0;                                                                         \
        for (; i + 4 <= m; i += 4) {                                                             \
            FOUR_ROWS(T, x, rows + i)                                                            \
            FOUR_ROWS(T, ask, later + i)                                                         \
            const double d0 = d[i], d1 = d[i + 1], d2 = d[i + 2], d3 = d[i + 3];                 \
            ptrdiff_t j = 0;                                                                     \
            for (; j + LANES <= n; j += LANES) {                                                 \
                if (j >= from && j < to) {                                                       \
                    ASK_FOR_FOUR(T, ask, j)                                                      \
                }                                                                                \
                LEVEL(store)(g + j, LEVEL(load_f64)(g + j) + d0 * LEVEL(load_##NAME)(x0 + j)     \
                                        + d1 * LEVEL(load_##NAME)(x1 + j)                        \
                                        + d2 * LEVEL(load_##NAME)(x2 + j)                        \
                                        + d3 * LEVEL(load_##NAME)(x3 + j));                      \
            }                                                                                    \
            if (to == n) {                                                                       \
                if (j < n) ASK_FOR_FOUR(T, ask, j)                                               \
                ASK_FOR_ENDS(T, ask)                                                             \
            }                                                                                    \
            LEVEL(rest_gradient_##NAME)(n - j, d + i, x0 + j, x1 + j, x2 + j, x3 + j, g + j);    \
        }                                                                                        \
        for (; i < m; i++) LEVEL(add_##NAME)(n, d[i], (const T *)X + rows[i] * n, g);            \
    }                                                                                            \
    /* the margins of rows while `past` ones, which the cache still holds, are added to g: then  \
     * the memory, which brings the `later` rows, never rests */                                 \
    LOOP void LEVEL(margins_and_gradient_##NAME)(                                                \
        ptrdiff_t m, ptrdiff_t n, const void *X, const ptrdiff_t *rows, const ptrdiff_t *later,  \
        const double *w, double *z, const ptrdiff_t *past, const double *d, double *g)           \
    {                                                                                            \
        const ptrdiff_t head = HEAD(T, n);                                                       \
        for (ptrdiff_t i = 0; i < m; i++) {                                                      \
            const T *x = (const T *)X + rows[i] * n, *old = (const T *)X + past[i] * n;          \
            const char *ask = (const char *)((const T *)X + later[i] * n);                       \
            const double a = d[i];                                                               \
            VEC s0 = LEVEL(zero)(), s1 = s0;                                                     \
            ptrdiff_t j = head;                                                                  \
            double rest = 0;                                                                     \
            if (head > 0) {                                                                      \
                ASK(T, ask);                                                                     \
                rest = LEVEL(rest_dot_##NAME)(s0, head, x, w);                                   \
                LEVEL(rest_add_##NAME)(head, a, old, g);                                         \
            }                                                                                    \
            for (; j + 2 * LANES <= n; j += LANES) {                                             \
                ASK(T, ask + j * sizeof(T));                                                     \
                if (2 * LANES * sizeof(T) > 64) ASK(T, ask + (j + LANES) * sizeof(T));           \
                s0 += LEVEL(load_##NAME)(x + j) * LEVEL(load_f64)(w + j);                        \
                LEVEL(store)(g + j, LEVEL(load_f64)(g + j) + a * LEVEL(load_##NAME)(old + j));   \
                j += LANES;                                                                      \
                s1 += LEVEL(load_##NAME)(x + j) * LEVEL(load_f64)(w + j);                        \
                LEVEL(store)(g + j, LEVEL(load_f64)(g + j) + a * LEVEL(load_##NAME)(old + j));   \
            }                                                                                    \
            if (head == 0 && j < n) ASK(T, ask + j * sizeof(T));                                 \
            if (j + LANES <= n) {                                                                \
                s0 += LEVEL(load_##NAME)(x + j) * LEVEL(load_f64)(w + j);                        \
                LEVEL(store)(g + j, LEVEL(load_f64)(g + j) + a * LEVEL(load_##NAME)(old + j));   \
                j += LANES;                                                                      \
            }                                                                                    \
            ASK(T, ask + n * sizeof(T) - 1);                                                     \
            z[i] = rest + LEVEL(rest_dot_##NAME)(s0 + s1, n - j, x + j, w + j);                  \
            LEVEL(rest_add_##NAME)(n - j, a, old + j, g + j);                                    \
        }                                                                                        \
    }                                                                                            \
    /* z of R rows and C outputs in registers: R loads of X and C of w for R C products */       \
    INLINE void LEVEL(tile_##NAME)(int R, int C, ptrdiff_t n, ptrdiff_t K, const T *const *x,    \
                                   const double *w, double *z, int n_asked, const T *const *ask) \
    {                                                                                            \
        VEC part[4][TILE_OUTPUTS];                                                               \
        ptrdiff_t j = 0;                                                                         \
        for (int r = 0; r < R; r++)                                                              \
            for (int c = 0; c < C; c++) part[r][c] = LEVEL(zero)();                              \
        for (; j + LANES <= n; j += LANES) {                                                     \
            VEC row[4];                                                                          \
            if (BEGINS_LINE(T, j))                                                               \
                for (int r = 0; r < n_asked; r++) ASK(T, ask[r] + j);                            \
            for (int r = 0; r < R; r++) row[r] = LEVEL(load_##NAME)(x[r] + j);                   \
            for (int c = 0; c < C; c++) {                                                        \
                const VEC v = LEVEL(load_f64)(w + c * n + j);                                    \
                for (int r = 0; r < R; r++) part[r][c] += row[r] * v;                            \
            }                                                                                    \
        }                                                                                        \
        for (int r = 0; r < R; r++)                                                              \
            for (int c = 0; c < C; c++) {                                                        \
                double sum = LEVEL(total)(part[r][c]);                                           \
                for (ptrdiff_t l = j; l < n; l++) sum += (double)x[r][l] * w[c * n + l];         \
                z[r * K + c] = sum;                                                              \
            }                                                                                    \
    }                                                                                            \
    /* `later` rows are asked for by the first two tiles, two rows each, or all by an only one */\
    LOOP void LEVEL(margins_of_many_##NAME)(ptrdiff_t m, ptrdiff_t n, ptrdiff_t K,               \
                                            const void *X, const ptrdiff_t *rows,                \
                                            const ptrdiff_t *later, const double *w, double *z)  \
    {                                                                                            \
        const int share = K == TILE_OUTPUTS || K == 1 ? 4 : 2;                                   \
        ptrdiff_t i = 0, k;                                                                      \
        for (; i + 4 <= m; i += 4) {                                                             \
            const T *x[4], *ask[4];                                                              \
            int asked = later == NULL ? 4 : 0;                                                   \
            for (int r = 0; r < 4; r++) {                                                        \
                x[r] = (const T *)X + rows[i + r] * n;                                           \
                ask[r] = later == NULL ? x[r] : (const T *)X + later[i + r] * n;                 \
            }                                                                                    \
            for (k = 0; k + TILE_OUTPUTS <= K; k += TILE_OUTPUTS) {                              \
                LEVEL(tile_##NAME)(4, TILE_OUTPUTS, n, K, x, w + k * n, z + i * K + k,           \
                                   asked < 4 ? share : 0, ask + asked % 4);                      \
                asked += share;                                                                  \
            }                                                                                    \
            for (; k < K; k++) {                                                                 \
                LEVEL(tile_##NAME)(4, 1, n, K, x, w + k * n, z + i * K + k,                      \
                                   asked < 4 ? share : 0, ask + asked % 4);                      \
                asked += share;                                                                  \
            }                                                                                    \
        }                                                                                        \
        for (; i < m; i++)                                                                       \
            for (k = 0; k < K; k++)                                                              \
                z[i * K + k] = LEVEL(dot_##NAME)(n, (const T *)X + rows[i] * n, w + k * n);      \
    }                                                                                            \
    /* g of C outputs and four vectors of features in registers, over all rows of the block */   \
    INLINE void LEVEL(gradient_tile_##NAME)(int C, int V, ptrdiff_t m, ptrdiff_t n, ptrdiff_t K, \
                                            const T *X, const ptrdiff_t *rows, const double *d,  \
                                            double *g)                                           \
    {                                                                                            \
        VEC sum[TILE_OUTPUTS][4];                                                                \
        for (int c = 0; c < C; c++)                                                              \
            for (int v = 0; v < V; v++) sum[c][v] = LEVEL(load_f64)(g + c * n + v * LANES);      \
        for (ptrdiff_t i = 0; i < m; i++) {                                                      \
            const T *x = X + rows[i] * n;                                                        \
            VEC row[4];                                                                          \
            for (int v = 0; v < V; v++) row[v] = LEVEL(load_##NAME)(x + v * LANES);              \
            for (int c = 0; c < C; c++)                                                          \
                for (int v = 0; v < V; v++) sum[c][v] += d[i * K + c] * row[v];                  \
        }                                                                                        \
        for (int c = 0; c < C; c++)                                                              \
            for (int v = 0; v < V; v++) LEVEL(store)(g + c * n + v * LANES, sum[c][v]);          \
    }                                                                                            \
    LOOP void LEVEL(gradient_of_many_##NAME)(ptrdiff_t m, ptrdiff_t n, ptrdiff_t K,              \
                                             const void *data, const ptrdiff_t *rows,            \
                                             const double *d, double *g)                         \
    {                                                                                            \
        const T *X = data;                                                                       \
        ptrdiff_t j = 0, k;                                                                      \
        for (; j + 4 * LANES <= n; j += 4 * LANES) {                                             \
            for (k = 0; k + TILE_OUTPUTS <= K; k += TILE_OUTPUTS)                                \
                LEVEL(gradient_tile_##NAME)(TILE_OUTPUTS, 4, m, n, K, X + j, rows, d + k,        \
                                            g + k * n + j);                                      \
            for (; k < K; k++)                                                                   \
                LEVEL(gradient_tile_##NAME)(1, 4, m, n, K, X + j, rows, d + k, g + k * n + j);   \
        }                                                                                        \
        for (; j + LANES <= n; j += LANES) {                                                     \
            for (k = 0; k + TILE_OUTPUTS <= K; k += TILE_OUTPUTS)                                \
                LEVEL(gradient_tile_##NAME)(TILE_OUTPUTS, 1, m, n, K, X + j, rows, d + k,        \
                                            g + k * n + j);                                      \
            for (; k < K; k++)                                                                   \
                LEVEL(gradient_tile_##NAME)(1, 1, m, n, K, X + j, rows, d + k, g + k * n + j);   \
        }                                                                                        \
        for (; j < n; j++)                                                                       \
            for (ptrdiff_t i = 0; i < m; i++) {                                                  \
                const double xj = (double)X[rows[i] * n + j];                                    \
                for (k = 0; k < K; k++) g[k * n + j] += d[i * K + k] * xj;                       \
            }                                                                                    \
    }                                                                                            \
    static const DenseLoops LEVEL(dense_##NAME) = {                                              \
        LEVEL(dot_##NAME), LEVEL(add_##NAME), LEVEL(dot_ahead_##NAME),                           \
        LEVEL(add_ahead_##NAME), LEVEL(dots_##NAME), LEVEL(adds_##NAME),                         \
        LEVEL(adds_dots_##NAME),                                                                 \
        LEVEL(square_norm_##NAME), LEVEL(read_##NAME), LEVEL(moments_##NAME),                    \
        LEVEL(margins_##NAME), LEVEL(gradient_##NAME), LEVEL(margins_of_many_##NAME),            \
        LEVEL(gradient_of_many_##NAME), LEVEL(margins_and_gradient_##NAME),                      \
        LEVEL(scaled_##NAME), LEVEL(gram), LEVEL(gram_single), LEVEL(fold)};

DENSE_LOOPS(f64, double)
DENSE_LOOPS(f32, float)
DENSE_LOOPS(u8, uint8_t)
DENSE_LOOPS(i8, int8_t)

#include "sparse_loops.h"

#undef DENSE_LOOPS
#undef HEAD
#undef FOUR_ROWS
#undef ASK_FOR_FOUR
#undef ASK_FOR_LINES
#undef BEGINS_LINE
#undef BYTES_AHEAD
#undef LARGER
#undef SIZE
#undef DOTS
#undef ADDS
#undef VECTORS_LEFT
#undef PLACE
#undef DOTS_TILE
#undef ADDS_TILE
#undef ADDS_DOTS_TILE
#undef ADDS_DOTS_ENTRY
#undef SUM
#undef HALF
#undef REST_LOOPS
#undef VEC
#undef FLOAT_VEC
#undef WORD_VEC
#undef LANES
#undef FLOATS
#undef LEVEL
#undef WIDTH
#undef FEWEST_OUTPUTS
#undef NARROWER
#undef TILE_OUTPUTS
#undef LOAD_F32
#undef LOAD_U8
#undef LOAD_I8
