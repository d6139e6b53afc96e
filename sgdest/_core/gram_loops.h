/* Products of columns at one SIMD level; a part of row_loops.h, whose macros it uses. */

/* G += A'A, what is above the diagonal and some more: A is (m, n), n a multiple of GRAM_COLUMNS.
 * Four columns by two vectors stay in registers. */
LOOP void LEVEL(gram)(ptrdiff_t m, ptrdiff_t n, const double *A, double *G)
{
    for (ptrdiff_t j = 0; j < n; j += 2 * LANES) {
        for (ptrdiff_t i = 0; i < j + 2 * LANES; i += 4) {
            VEC left[4], right[4];
            for (int v = 0; v < 4; v++) left[v] = right[v] = LEVEL(zero)();
            for (const double *a = A; a < A + m * n; a += n) {
                const VEC x = LEVEL(load_f64)(a + j), y = LEVEL(load_f64)(a + j + LANES);
                for (int v = 0; v < 4; v++) left[v] += a[i + v] * x, right[v] += a[i + v] * y;
            }
            for (int v = 0; v < 4; v++) {
                double *g = G + (i + v) * n + j;
                LEVEL(store)(g, LEVEL(load_f64)(g) + left[v]);
                LEVEL(store)(g + LANES, LEVEL(load_f64)(g + LANES) + right[v]);
            }
        }
    }
}

/* The same in single precision, twice as fast; sums of the m rows, a few hundred at most, are added to G
 * in double. `room`, for m n floats, takes the rows by panels of two vectors, which lie side by side:
 * of many columns the first-level cache would not hold what a tile reads. */
LOOP void LEVEL(gram_single)(ptrdiff_t m, ptrdiff_t n, const double *A, float *room, double *G)
{
    enum { PANEL = 2 * FLOATS, TALL = WIDTH == 64 ? 8 : FLOATS < 4 ? 2 * FLOATS : 4 };
    for (ptrdiff_t j = 0; j < n; j += PANEL)
        for (ptrdiff_t k = 0; k < m; k++)
            for (ptrdiff_t l = 0; l < PANEL; l++)
                room[j * m + k * PANEL + l] = (float)A[k * n + j + l];
    for (ptrdiff_t j = 0; j < n; j += PANEL) {
        const float *b = room + j * m;
        for (ptrdiff_t i = 0; i < j + PANEL; i += TALL) {
            const float *a = room + i / PANEL * PANEL * m + i % PANEL;
            FLOAT_VEC left[TALL], right[TALL], x, y;
            memset(&x, 0, sizeof x);
            for (int v = 0; v < TALL; v++) left[v] = right[v] = x;
            for (ptrdiff_t k = 0; k < m * PANEL; k += PANEL) {
                memcpy(&x, b + k, sizeof x);
                memcpy(&y, b + k + FLOATS, sizeof y);
                for (int v = 0; v < TALL; v++) left[v] += a[k + v] * x, right[v] += a[k + v] * y;
            }
            for (int v = 0; v < TALL; v++) {
                float sums[PANEL];
                double *g = G + (i + v) * n + j;
                memcpy(sums, left + v, sizeof x);
                memcpy(sums + FLOATS, right + v, sizeof y);
                for (ptrdiff_t l = 0; l < PANEL; l += LANES)
                    LEVEL(store)(g + l, LEVEL(load_f64)(g + l) + LEVEL(load_f32)(sums + l));
            }
        }
    }
}
