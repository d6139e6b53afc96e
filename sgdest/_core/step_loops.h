/* The steps of one SIMD level; included by step_kernels.h once per level. Loads first, choices in the
 * place of branches: so the loops become vectors. */

LOOP void LEVEL(inverse_roots)(ptrdiff_t n, double eps, const double *x, double *out)
{
    SIMD for (ptrdiff_t p = 0; p < n; p++) out[p] = x[p] > 0 ? 1.0 / (sqrt(x[p]) + eps) : 0.0;
}

LOOP void LEVEL(follow)(ptrdiff_t n, double eta, double beta, const double *g, const double *w,
                        const Leader *leader)
{
    double *const z = leader->z, *const squares = leader->squares;
    double *const inverse_rate = leader->inverse_rate;
    const double first = beta / eta, unit = 1.0 / eta;
    SIMD for (ptrdiff_t p = 0; p < n; p++) {
        const double slope = g[p], at = w[p], known = inverse_rate[p], z_known = z[p];
        const double square = squares[p] + slope * slope;
        const double start = slope != 0 ? first : 0.0;
        const double before = known > 0 ? known : start;
        /* begin such that w is the leader */
        const double z_before = known > 0 ? z_known : -before * at;
        const double grown = (beta + sqrt(square)) * unit;
        const double after = slope != 0 ? grown : before;
        z[p] = z_before + slope - (after - before) * at;
        squares[p] = square;
        inverse_rate[p] = after;
    }
}

#define LEAD(C)                                                                                  \
    SIMD for (ptrdiff_t p = 0; p < n; p++) {                                                     \
        const double at = w[p], force = z[p], rate = inverse_rate[p];                            \
        const double size = fabs(force) - l1 * C, left = size > 0 ? size : 0.0;                  \
        /* + 0.0 makes a zero of -0.0 */                                                         \
        const double found = copysign(left, -force) / (rate + l2 * C * C) + 0.0;                 \
        w[p] = rate > 0 ? found : at;                                                            \
    }
LOOP void LEVEL(lead)(ptrdiff_t n, double l1, double l2, const double *c, const Leader *leader,
                      double *w)
{
    const double *const z = leader->z, *const inverse_rate = leader->inverse_rate;
    if (c == NULL) {
        LEAD(1.0)
    } else {
        LEAD(c[p])
    }
}
#undef LEAD

static const StepLoops LEVEL(steps) = {LEVEL(inverse_roots), LEVEL(follow), LEVEL(lead)};

#undef LEVEL
