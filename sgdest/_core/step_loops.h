/* The steps of one SIMD level; included by step_kernels.h once per level. Loads first, choices in the
 * place of branches: so the loops become vectors. */

#ifdef HAS_ESTIMATES
/* Estimates of 14 bits, doubled twice by Newton's method: about a third of the time of roots and
 * divisions, and right to 4 units in the last place (docs/design/0007-sparse-batches.md). */
LOOP void LEVEL(inverse_roots)(ptrdiff_t n, double eps, const double *x, double *out)
{
    const __m512d half = _mm512_set1_pd(0.5), one = _mm512_set1_pd(1.0), shift = _mm512_set1_pd(eps);
    for (ptrdiff_t p = 0; p < n; p += 8) {
        const __mmask8 here = n - p < 8 ? (__mmask8)((1 << (n - p)) - 1) : 0xff;
        const __m512d at = _mm512_maskz_loadu_pd(here, x + p);
        const __mmask8 known = _mm512_cmp_pd_mask(at, _mm512_setzero_pd(), _CMP_GT_OQ)
            & _mm512_cmp_pd_mask(at, _mm512_set1_pd(INFINITY), _CMP_LT_OQ);
        const __m512d halved = _mm512_mul_pd(half, at);
        __m512d root = _mm512_maskz_rsqrt14_pd(known, at);
        for (int k = 0; k < 2; k++) {
            const __m512d lack = _mm512_fnmadd_pd(_mm512_mul_pd(halved, root), root, half);
            root = _mm512_fmadd_pd(root, lack, root);
        }
        const __m512d divisor = _mm512_fmadd_pd(shift, root, one);
        __m512d inverse = _mm512_rcp14_pd(divisor);
        for (int k = 0; k < 2; k++) {
            const __m512d lack = _mm512_fnmadd_pd(divisor, inverse, one);
            inverse = _mm512_fmadd_pd(inverse, lack, inverse);
        }
        _mm512_mask_storeu_pd(out + p, here, _mm512_maskz_mul_pd(known, root, inverse));
    }
}
#else
LOOP void LEVEL(inverse_roots)(ptrdiff_t n, double eps, const double *x, double *out)
{
    SIMD for (ptrdiff_t p = 0; p < n; p++) out[p] = x[p] > 0 ? 1.0 / (sqrt(x[p]) + eps) : 0.0;
}
#endif

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
