/* The loops of one SIMD level over the records of a row; included by stream_kernels.h once per
 * level. The default rates make 4 lanes of one output, 8 with Newton's expert: their loops are
 * written for a number that the compiler knows, and the lanes stay in registers. */

#define FOR_LANES(CALL)                                                                          \
    switch (at->lanes) {                                                                         \
    case 4: CALL(4); break;                                                                      \
    case 8: CALL(8); break;                                                                      \
    default: CALL(at->lanes);                                                                    \
    }

INLINE void LEVEL(pay_lanes)(const Records *at, double path, double l2, const double *c,
                             const double *rates, ptrdiff_t lanes)
{
    for (ptrdiff_t p = 0; p < at->n; p++) {
        double *const w = at->experts + at->columns[p] * at->width, *const tail = w + at->lanes;
        const double length = (path - tail[PAID]) * tail[ROOT];
        const double factor = (c == NULL ? 1.0 : c[at->columns[p]]) / tail[LARGEST];
        const double x = l2 * length * factor * factor;
        tail[PAID] = path;
        if (!(length > 0)) continue; /* never seen: no largest value either */
        double largest = 0;
        for (ptrdiff_t k = 0; k < lanes; k++) largest = rates[k] > largest ? rates[k] : largest;
        if (x * largest < 1e-3) { /* four terms of 1 - exp(-x rate) are exact to rounding */
            SIMD for (ptrdiff_t k = 0; k < lanes; k++) {
                const double y = x * rates[k];
                w[k] -= y * (1.0 - y * (0.5 - y * (1.0 / 6.0 - y * (1.0 / 24.0 - y / 120.0)))) * w[k];
            }
        } else {
            for (ptrdiff_t k = 0; k < lanes; k++)
                if (rates[k] > 0) w[k] += expm1(-x * rates[k]) * w[k];
        }
    }
}
#define PAY(lanes) LEVEL(pay_lanes)(at, path, l2, c, rates, lanes)
LOOP void LEVEL(pay)(const Records *at, double path, double l2, const double *c,
                     const double *rates)
{
    FOR_LANES(PAY)
}

INLINE void LEVEL(recall_lanes)(const Records *at, const double *x, double *restrict z,
                                ptrdiff_t lanes)
{
    for (ptrdiff_t p = 0; p < at->n; p++) {
        const double *const w = at->experts + at->columns[p] * at->width;
        SIMD for (ptrdiff_t k = 0; k < lanes; k++) z[k] += x[p] * w[k];
    }
}
#define RECALL(lanes) LEVEL(recall_lanes)(at, x, z, lanes)
LOOP void LEVEL(recall)(const Records *at, const double *x, double *z)
{
    FOR_LANES(RECALL)
}

LOOP int LEVEL(to_units)(const Records *at, double *room, double *x)
{
    int grows = 0;
    for (ptrdiff_t p = 0; p < at->n; p++)
        room[p] = at->experts[at->columns[p] * at->width + at->lanes + LARGEST];
    SIMD for (ptrdiff_t p = 0; p < at->n; p++) grows |= fabs(x[p]) > room[p];
    if (grows) return 0;
    SIMD for (ptrdiff_t p = 0; p < at->n; p++) x[p] /= room[p];
    return 1;
}

/* In `room` the roots and divisions of many features become vectors. */
LOOP double LEVEL(add_squares)(const Records *at, double G, double *room, double *r)
{
    double P = 0;
    for (ptrdiff_t p = 0; p < at->n; p++) {
        double *const tail = at->experts + at->columns[p] * at->width + at->lanes;
        room[p] = tail[SQUARES] += G * r[p] * r[p];
    }
    SIMD for (ptrdiff_t p = 0; p < at->n; p++) {
        const double A = room[p], v = 1.0 / sqrt(A);
        room[p] = A > 0 ? v : 0.0;
    }
    _Pragma("omp simd reduction(+:P)")
    for (ptrdiff_t p = 0; p < at->n; p++) {
        const double moved = r[p] * room[p];
        P += r[p] * moved;
        r[p] = moved;
    }
    for (ptrdiff_t p = 0; p < at->n; p++)
        at->experts[at->columns[p] * at->width + at->lanes + ROOT] = room[p];
    return P;
}

INLINE void LEVEL(move_lanes)(const Records *at, const double *x, const double *restrict d,
                              ptrdiff_t lanes)
{
    for (ptrdiff_t p = 0; p < at->n; p++) {
        double *const w = at->experts + at->columns[p] * at->width;
        SIMD for (ptrdiff_t k = 0; k < lanes; k++) w[k] += x[p] * d[k];
    }
}
#define MOVE(lanes) LEVEL(move_lanes)(at, x, d, lanes)
LOOP void LEVEL(move)(const Records *at, const double *x, const double *d)
{
    FOR_LANES(MOVE)
}

/* Four rows of P at once: q is loaded and stored a quarter as often. */
LOOP void LEVEL(product)(ptrdiff_t n, const ptrdiff_t *columns, const double *x, ptrdiff_t size,
                         const double *P, double *q)
{
    ptrdiff_t p = 0;
    for (ptrdiff_t j = 0; j < size; j++) q[j] = 0;
    for (; p + 4 <= n; p += 4) {
        const double *const a = P + columns[p] * size, *const b = P + columns[p + 1] * size;
        const double *const c = P + columns[p + 2] * size, *const d = P + columns[p + 3] * size;
        const double s = x[p], t = x[p + 1], u = x[p + 2], v = x[p + 3];
        SIMD for (ptrdiff_t j = 0; j < size; j++)
            q[j] += s * a[j] + t * b[j] + (u * c[j] + v * d[j]);
    }
    for (; p < n; p++) {
        const double *const a = P + columns[p] * size;
        SIMD for (ptrdiff_t j = 0; j < size; j++) q[j] += x[p] * a[j];
    }
}

LOOP void LEVEL(add_pairs)(ptrdiff_t size, double a, const double *q, double *P)
{
    for (ptrdiff_t j = 0; j < size; j++) {
        const double b = a * q[j];
        double *const row = P + j * size;
        if (b == 0) continue;
        SIMD for (ptrdiff_t i = 0; i < size; i++) row[i] += b * q[i];
    }
}

static const StreamLoops LEVEL(streams) = {LEVEL(pay), LEVEL(to_units), LEVEL(recall),
                                           LEVEL(add_squares), LEVEL(move), LEVEL(product),
                                           LEVEL(add_pairs)};

#undef FOR_LANES
#undef PAY
#undef RECALL
#undef MOVE
#undef LEVEL
