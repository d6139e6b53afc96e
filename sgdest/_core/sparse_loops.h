/* The loops of one SIMD level over sparse rows; a part of row_loops.h, whose macros it uses. */

/* Turns of 8 and 4 entries. ASK is said before each turn. The columns of a row are distinct, so that
 * four weights may be read before the first of them is stored. */
#define SPARSE_DOT(ASK)                                                                          \
    double s[8] = {0, 0, 0, 0, 0, 0, 0, 0};                                                      \
    ptrdiff_t p = 0;                                                                             \
    for (; p + 8 <= n; p += 8) {                                                                 \
        ASK                                                                                      \
        for (int q = 0; q < 8; q++) s[q] += (double)x[p + q] * w[column[p + q]];                 \
    }                                                                                            \
    for (; p < n; p++) s[0] += (double)x[p] * w[column[p]];
#define SPARSE_TOTAL (((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7])))
#define SPARSE_ADD(ASK)                                                                          \
    ptrdiff_t p = 0;                                                                             \
    for (; p + 4 <= n; p += 4) {                                                                 \
        double *w0 = w + column[p], *w1 = w + column[p + 1];                                     \
        double *w2 = w + column[p + 2], *w3 = w + column[p + 3];                                 \
        ASK                                                                                      \
        const double v0 = *w0 + a * (double)x[p], v1 = *w1 + a * (double)x[p + 1];               \
        const double v2 = *w2 + a * (double)x[p + 2], v3 = *w3 + a * (double)x[p + 3];           \
        *w0 = v0, *w1 = v1, *w2 = v2, *w3 = v3;                                                  \
    }                                                                                            \
    for (; p < n; p++) w[column[p]] += a * (double)x[p];
/* while entry p is read: its share of one half of a later row of m entries */
#define ASK_FOR_HALF(p)                                                                          \
    if (p < m) {                                                                                 \
        if (!(p * sizeof *x / 2 & 63)) ASK(*x, half + p * sizeof *x / 2);                        \
        if (!(p * sizeof *column / 2 & 63)) ASK(*x, half_columns + p * sizeof *column / 2);      \
    }

#define SPARSE_LOOPS(NAME, T, I)                                                                 \
    LOOP double LEVEL(dot_##NAME)(ptrdiff_t n, const void *row, const void *columns,             \
                                  const double *w)                                               \
    {                                                                                            \
        const T *x = row;                                                                        \
        const I *column = columns;                                                               \
        SPARSE_DOT()                                                                             \
        return SPARSE_TOTAL;                                                                     \
    }                                                                                            \
    LOOP void LEVEL(add_##NAME)(ptrdiff_t n, double a, const void *row, const void *columns,     \
                                double *w)                                                       \
    {                                                                                            \
        const T *x = row;                                                                        \
        const I *column = columns;                                                               \
        SPARSE_ADD()                                                                             \
    }                                                                                            \
    LOOP double LEVEL(dot_ahead_##NAME)(ptrdiff_t n, const void *row, const void *columns,       \
                                        const double *w, ptrdiff_t m, const void *later,         \
                                        const void *later_columns)                               \
    {                                                                                            \
        const T *x = row;                                                                        \
        const I *column = columns;                                                               \
        const char *half = later, *half_columns = later_columns;                                 \
        SPARSE_DOT(ASK_FOR_HALF(p))                                                              \
        for (; p < m; p += 8 - p % 8) ASK_FOR_HALF(p)                                            \
        return SPARSE_TOTAL;                                                                     \
    }                                                                                            \
    LOOP void LEVEL(add_ahead_##NAME)(ptrdiff_t n, double a, const void *row,                    \
                                      const void *columns, double *w, ptrdiff_t m,               \
                                      const void *later, const void *later_columns)              \
    {                                                                                            \
        const T *x = row;                                                                        \
        const I *column = columns;                                                               \
        const char *half = (const char *)later + m * sizeof(T) / 2;                              \
        const char *half_columns = (const char *)later_columns + m * sizeof(I) / 2;              \
        SPARSE_ADD(ASK_FOR_HALF(p))                                                              \
        for (; p < m; p += 8 - p % 8) ASK_FOR_HALF(p)                                            \
    }                                                                                            \
    /* L1 takes from w what it has missed, and each entry is multiplied; four at a time, gathered\
     * to arrays of their own that become vectors */                                             \
    LOOP double LEVEL(shrunk_dot_##NAME)(ptrdiff_t n, const void *row, const void *columns,      \
                                         double *w, const Lag *given, ptrdiff_t m,               \
                                         const void *later, const void *later_columns)           \
    {                                                                                            \
        const T *x = row;                                                                        \
        const I *column = columns;                                                               \
        const char *half = later, *half_columns = later_columns;                                 \
        const Lag lag = *given;                                                                  \
        double part[4] = {0, 0, 0, 0}, v[4], last[4];                                            \
        ptrdiff_t p = 0;                                                                         \
        for (; p + 4 <= n; p += 4) {                                                             \
            ASK_FOR_HALF(p)                                                                      \
            for (int k = 0; k < 4; k++) v[k] = w[column[p + k]], last[k] = lag.last[column[p + k]];\
            SIMD for (int k = 0; k < 4; k++) {                                                   \
                v[k] = shrunk_one(v[k], last[k], &lag);                                          \
                part[k] += (double)x[p + k] * v[k];                                              \
            }                                                                                    \
            for (int k = 0; k < 4; k++)                                                          \
                w[column[p + k]] = v[k], lag.last[column[p + k]] = lag.length;                   \
        }                                                                                        \
        for (; p < n; p++) {                                                                     \
            const double one = shrunk_one(w[column[p]], lag.last[column[p]], &lag);              \
            w[column[p]] = one, lag.last[column[p]] = lag.length;                                \
            part[0] += (double)x[p] * one;                                                       \
        }                                                                                        \
        for (p += 7 - (p + 7) % 8; p < m; p += 8) ASK_FOR_HALF(p)                                \
        return (part[0] + part[1]) + (part[2] + part[3]);                                        \
    }                                                                                            \
    /* w += a x, and each entry pays what it owes; likewise */                                   \
    LOOP void LEVEL(truncated_add_##NAME)(ptrdiff_t n, double a, const void *row,                \
                                          const void *columns, double *w, const Debt *given,     \
                                          ptrdiff_t m, const void *later,                        \
                                          const void *later_columns)                             \
    {                                                                                            \
        const T *x = row;                                                                        \
        const I *column = columns;                                                               \
        const char *half = (const char *)later + m * sizeof(T) / 2;                              \
        const char *half_columns = (const char *)later_columns + m * sizeof(I) / 2;              \
        const Debt debt = *given;                                                                \
        double v[4], paid[4];                                                                    \
        ptrdiff_t p = 0;                                                                         \
        for (; p + 4 <= n; p += 4) {                                                             \
            ASK_FOR_HALF(p)                                                                      \
            for (int k = 0; k < 4; k++)                                                          \
                v[k] = w[column[p + k]], paid[k] = debt.paid[column[p + k]];                     \
            SIMD for (int k = 0; k < 4; k++)                                                     \
                truncate_one(a * (double)x[p + k], v + k, paid + k, &debt);                      \
            for (int k = 0; k < 4; k++)                                                          \
                w[column[p + k]] = v[k], debt.paid[column[p + k]] = paid[k];                     \
        }                                                                                        \
        for (; p < n; p++)                                                                       \
            truncate_one(a * (double)x[p], w + column[p], debt.paid + column[p], &debt);         \
        for (p += 7 - (p + 7) % 8; p < m; p += 8) ASK_FOR_HALF(p)                                \
    }                                                                                            \
    LOOP void LEVEL(dots_##NAME)(ptrdiff_t n, ptrdiff_t K, const void *row, const void *columns, \
                                 const double *W, double *z)                                     \
    {                                                                                            \
        const T *x = row;                                                                        \
        const I *column = columns;                                                               \
        if (K > 1 && K < FEWEST_OUTPUTS) {                                                       \
            NARROWER(dots_##NAME)(n, K, row, columns, W, z);                                     \
            return;                                                                              \
        }                                                                                        \
        DOTS(n, p, (double)x[p], W + (ptrdiff_t)column[p] * K)                                   \
    }                                                                                            \
    LOOP void LEVEL(adds_##NAME)(ptrdiff_t n, ptrdiff_t K, const double *d, const void *row,     \
                                 const void *columns, double *W)                                 \
    {                                                                                            \
        const T *x = row;                                                                        \
        const I *column = columns;                                                               \
        if (K > 1 && K < FEWEST_OUTPUTS) {                                                       \
            NARROWER(adds_##NAME)(n, K, d, row, columns, W);                                     \
            return;                                                                              \
        }                                                                                        \
        ADDS(n, p, (double)x[p], W + (ptrdiff_t)column[p] * K)                                   \
    }                                                                                            \
    LOOP void LEVEL(moments_##NAME)(ptrdiff_t n, double s, const void *row, const void *columns, \
                                    double *first, double *second, double *largest)              \
    {                                                                                            \
        const T *x = row;                                                                        \
        const I *column = columns;                                                               \
        for (ptrdiff_t p = 0; p < n; p++) {                                                      \
            const ptrdiff_t j = (ptrdiff_t)column[p];                                            \
            const double v = (double)x[p];                                                       \
            const double size = v < 0 ? -v : v;                                                  \
            first[j] += s * v;                                                                   \
            second[j] += s * v * v;                                                              \
            if (size > largest[j]) largest[j] = size;                                            \
        }                                                                                        \
    }                                                                                            \
    static const SparseLoops LEVEL(sparse_##NAME) = {                                            \
        LEVEL(dot_##NAME), LEVEL(add_##NAME), LEVEL(dot_ahead_##NAME),                           \
        LEVEL(add_ahead_##NAME), LEVEL(shrunk_dot_##NAME), LEVEL(truncated_add_##NAME),          \
        LEVEL(dots_##NAME), LEVEL(adds_##NAME), LEVEL(moments_##NAME)};

SPARSE_LOOPS(f64_i32, double, int32_t)
SPARSE_LOOPS(f64_i64, double, int64_t)
SPARSE_LOOPS(f32_i32, float, int32_t)
SPARSE_LOOPS(f32_i64, float, int64_t)

#undef SPARSE_LOOPS
#undef SPARSE_DOT
#undef SPARSE_TOTAL
#undef SPARSE_ADD
#undef ASK_FOR_HALF
