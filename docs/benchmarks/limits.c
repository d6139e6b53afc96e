/* What the machine can do: the barest form of what the races time, one pass over permuted rows.
 * Compiled for this very machine by limits.py; no choice of loss, penalty, rate or weight. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* INTO: 3 for the first-level cache, 2 for the second, of which more lines may be on their way */
#define PREFETCH(address) __builtin_prefetch(address, 0, INTO)

static inline void ask(const char *from, ptrdiff_t n)
{
    for (ptrdiff_t offset = 0; offset < n + 63; offset += 64) PREFETCH(from + offset);
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
            PREFETCH(y + then);                                                                  \
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
        const ptrdiff_t line = 64 / sizeof(T);                                                   \
        double sum = 0;                                                                          \
        for (ptrdiff_t t = 0; t < n; t++) {                                                      \
            const T *x = X + order[t] * d, *later = X + order[t + ahead < n ? t + ahead : n - 1] * d; \
            ptrdiff_t j = 0;                                                                     \
            for (; j + line <= d; j += line) {                                                   \
                PREFETCH(later + j);                                                             \
                for (ptrdiff_t l = j; l < j + line; l++) sum += x[l];                            \
            }                                                                                    \
            PREFETCH(later + d - 1);                                                             \
            for (; j < d; j++) sum += x[j];                                                      \
        }                                                                                        \
        return sum;                                                                              \
    }                                                                                            \
    /* the gradient of all rows in their order: each is read while the one `block` rows before it, \
     * which the first-level cache holds, is added */                                            \
    void gradient_##NAME(ptrdiff_t n, ptrdiff_t d, const T *X, const int64_t *y, ptrdiff_t block, \
                         ptrdiff_t ahead, const double *restrict w, double *restrict g)          \
    {                                                                                            \
        const ptrdiff_t turn = 128 / sizeof(T);                                                  \
        double a[64] = {0}, z[64];                                                               \
        for (ptrdiff_t start = 0; start < n + block; start += block) {                           \
            for (ptrdiff_t i = start; i < start + block; i++) {                                  \
                const T *x = X + (i < n ? i : n - 1) * d;                                        \
                const T *old = X + (i < block ? 0 : i - block < n ? i - block : n - 1) * d;      \
                const double factor = a[i - start];                                              \
                double sum = 0;                                                                  \
                for (ptrdiff_t j = 0; j < d; j += turn) {                                        \
                    const ptrdiff_t stop = j + turn < d ? j + turn : d;                          \
                    if (ahead) {                                                                 \
                        PREFETCH(x + ahead * d + j);                                             \
                        PREFETCH(x + ahead * d + j + turn / 2);                                  \
                    }                                                                            \
                    for (ptrdiff_t l = j; l < stop; l++) {                                       \
                        sum += x[l] * w[l];                                                      \
                        g[l] += factor * old[l];                                                 \
                    }                                                                            \
                }                                                                                \
                z[i - start] = sum;                                                              \
            }                                                                                    \
            for (ptrdiff_t i = 0; i < block; i++)                                                \
                a[i] = start + i < n ? slope(y[start + i], z[i]) : 0;                            \
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

/* That of scikit-learn, whose order of rows is to be kept: a division per row. */
void shuffle(ptrdiff_t n, int64_t *order)
{
    static uint32_t state = 1;
    for (ptrdiff_t i = 0; i < n - 1; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        const ptrdiff_t other = i + (state & 0x7fffffff) % (uint32_t)(n - i);
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
        PREFETCH(y + then);
        PREFETCH(starts + order[t + 2 * ahead < n ? t + 2 * ahead : n - 1]);
        for (ptrdiff_t p = 0; p < m; p++) {
            if (p % 32 == 0) {
                ask((const char *)(values + b) + 4 * p, 64);
                PREFETCH((const char *)(columns + b) + 2 * p);
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
                PREFETCH((const char *)(columns + b) + 2 * (m + p));
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
