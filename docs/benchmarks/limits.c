/* What the machine can do: the barest form of what the races time, one pass over permuted rows.
 * Compiled for this very machine by limits.py; no choice of loss, penalty, rate or weight. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void ask(const char *from, ptrdiff_t n)
{
    for (ptrdiff_t offset = 0; offset < n + 63; offset += 64) __builtin_prefetch(from + offset);
}

static inline double slope(double y, double z) { return 1 / (1 + exp(-z)) - y; }

/* Half of a later row is asked for in each loop over the row at hand. */
#define DENSE(NAME, T)                                                                           \
    void steps_##NAME(ptrdiff_t n, ptrdiff_t d, const T *X, const int64_t *y, const int64_t *order, \
                      ptrdiff_t ahead, double rate, double *w)                                   \
    {                                                                                            \
        const ptrdiff_t bytes = d * sizeof(T), turn = 512 / sizeof(T);                           \
        for (ptrdiff_t t = 0; t < n; t++) {                                                      \
            const T *x = X + order[t] * d;                                                       \
            const ptrdiff_t then = order[t + ahead < n ? t + ahead : n - 1];                     \
            const char *later = (const char *)(X + then * d);                                    \
            double z = 0, step;                                                                  \
            __builtin_prefetch(y + then);                                                        \
            if (bytes < 1024) ask(later, bytes);                                                 \
            for (ptrdiff_t j = 0; j < d; j += turn) {                                            \
                const ptrdiff_t stop = j + turn < d ? j + turn : d;                              \
                if (bytes >= 1024) ask(later + j * sizeof(T) / 2, 256);                          \
                for (ptrdiff_t l = j; l < stop; l++) z += x[l] * w[l];                           \
            }                                                                                    \
            step = rate * slope(y[order[t]], z);                                                 \
            for (ptrdiff_t j = 0; j < d; j += turn) {                                            \
                const ptrdiff_t stop = j + turn < d ? j + turn : d;                              \
                if (bytes >= 1024) ask(later + (d + j) * sizeof(T) / 2, 256);                    \
                for (ptrdiff_t l = j; l < stop; l++) w[l] -= step * x[l];                        \
            }                                                                                    \
        }                                                                                        \
    }                                                                                            \
    /* rows are only read */                                                                     \
    double reads_##NAME(ptrdiff_t n, ptrdiff_t d, const T *X, const int64_t *order,              \
                        ptrdiff_t ahead)                                                         \
    {                                                                                            \
        double sum = 0;                                                                          \
        for (ptrdiff_t t = 0; t < n; t++) {                                                      \
            const T *x = X + order[t] * d;                                                       \
            ask((const char *)(X + order[t + ahead < n ? t + ahead : n - 1] * d), d * sizeof(T));\
            for (ptrdiff_t j = 0; j < d; j++) sum += x[j];                                       \
        }                                                                                        \
        return sum;                                                                              \
    }                                                                                            \
    /* the gradient of all rows in their order */                                                \
    void gradient_##NAME(ptrdiff_t n, ptrdiff_t d, const T *X, const int64_t *y,                 \
                         ptrdiff_t ahead, const double *w, double *g)                            \
    {                                                                                            \
        for (ptrdiff_t i = 0; i < n; i++) {                                                      \
            const T *x = X + i * d;                                                              \
            double z = 0, a;                                                                     \
            if (ahead) ask((const char *)(x + ahead * d), d * sizeof(T));                        \
            for (ptrdiff_t j = 0; j < d; j++) z += x[j] * w[j];                                  \
            a = slope(y[i], z);                                                                  \
            for (ptrdiff_t j = 0; j < d; j++) g[j] += a * x[j];                                  \
        }                                                                                        \
    }                                                                                            \
    /* what finds a number that is not finite */                                                 \
    double squares_##NAME(ptrdiff_t n, const T *x)                                               \
    {                                                                                            \
        double sum = 0;                                                                          \
        for (ptrdiff_t j = 0; j < n; j++) sum += x[j] * x[j];                                    \
        return sum;                                                                              \
    }

DENSE(f64, double)
DENSE(f32, float)

void shuffle(ptrdiff_t n, int64_t *order)
{
    static uint64_t state = 1;
    for (ptrdiff_t i = n - 1; i > 0; i--) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const ptrdiff_t other = (state >> 32) * (uint64_t)(i + 1) >> 32;
        const int64_t kept = order[i];
        order[i] = order[other], order[other] = kept;
    }
}

/* l1 > 0: each weight is first shrunk for the steps since it was last read. */
void steps_csr(ptrdiff_t n, const int32_t *starts, const int32_t *columns, const double *values,
               const int64_t *y, const int64_t *order, ptrdiff_t ahead, double rate, double l1,
               double *w, double *last)
{
    double length = 0;
    for (ptrdiff_t t = 0; t < n; t++) {
        const ptrdiff_t a = starts[order[t]], m = starts[order[t] + 1] - a;
        const ptrdiff_t then = order[t + ahead < n ? t + ahead : n - 1], b = starts[then];
        const int32_t *column = columns + a;
        const double *x = values + a;
        double z = 0, step;
        __builtin_prefetch(y + then);
        __builtin_prefetch(starts + order[t + 2 * ahead < n ? t + 2 * ahead : n - 1]);
        for (ptrdiff_t p = 0; p < m; p++) {
            if (p % 32 == 0) {
                ask((const char *)(values + b) + 4 * p, 64);
                __builtin_prefetch((const char *)(columns + b) + 2 * p);
            }
            if (l1 > 0) {
                const double v = w[column[p]], size = fabs(v) - l1 * (length - last[column[p]]);
                last[column[p]] = length;
                w[column[p]] = copysign(size > 0 ? size : 0, v);
            }
            z += x[p] * w[column[p]];
        }
        step = rate * slope(y[order[t]], z);
        for (ptrdiff_t p = 0; p < m; p++) {
            if (p % 32 == 0) {
                ask((const char *)(values + b) + 4 * (m + p), 64);
                __builtin_prefetch((const char *)(columns + b) + 2 * (m + p));
            }
            w[column[p]] -= step * x[p];
        }
        length += rate;
    }
}

/* The weights of many outputs are read for the margins of a row, read and written for its step. */
void weights_only(ptrdiff_t n, ptrdiff_t m, double *W)
{
    for (ptrdiff_t t = 0; t < n; t++) {
        double z = 0;
        for (ptrdiff_t j = 0; j < m; j++) z += W[j];
        for (ptrdiff_t j = 0; j < m; j++) W[j] += 1e-9 * z;
    }
}
