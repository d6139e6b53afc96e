/* The loops of one SIMD level over losses; included by loss_kernels.h once per level. */

LOOP void LEVEL(exps)(ptrdiff_t n, const double *z, double *out)
{
    SIMD for (ptrdiff_t i = 0; i < n; i++) out[i] = exp_of(z[i]);
}

/* log(1 + exp(z)) - y z. The exponent is cut where exp(-|z|) adds nothing to any sum, before its
 * cube underflows, which would cost a hundred cycles. */
LOOP void LEVEL(log_loss)(ptrdiff_t n, const double *y, const double *z, double *out)
{
    SIMD for (ptrdiff_t i = 0; i < n; i++) {
        const double above = z[i] > 0 ? z[i] : 0, far = z[i] < 0 ? z[i] : -z[i];
        out[i] = log1p_of(exp_of(far < -200 ? -200 : far)) + (above - y[i] * z[i]);
    }
}

LOOP void LEVEL(log_loss_slopes)(ptrdiff_t n, const double *y, const double *z, double *out)
{
    SIMD for (ptrdiff_t i = 0; i < n; i++) {
        const double e = exp_of(z[i] < 0 ? z[i] : -z[i]);
        out[i] = (z[i] < 0 ? e : 1.0) / (1.0 + e) - y[i];
    }
}

LOOP void LEVEL(log_loss_curvatures)(ptrdiff_t n, const double *z, double *out)
{
    SIMD for (ptrdiff_t i = 0; i < n; i++) {
        const double e = exp_of(z[i] < 0 ? z[i] : -z[i]);
        out[i] = e / ((1.0 + e) * (1.0 + e));
    }
}

LOOP void LEVEL(smoothed)(const Kink *kink, ptrdiff_t n, const double *y, const double *z,
                          double *out)
{
    const Kink k = *kink;
    SIMD for (ptrdiff_t i = 0; i < n; i++)
        out[i] = smoothed_value_of(&k, y[2 * i], y[2 * i + 1], z[i]);
}

LOOP void LEVEL(smoothed_slopes)(const Kink *kink, ptrdiff_t n, const double *y, const double *z,
                                 double *out)
{
    const Kink k = *kink;
    SIMD for (ptrdiff_t i = 0; i < n; i++)
        out[i] = smoothed_slope_of(&k, y[2 * i], y[2 * i + 1], z[i]);
}

static const LossLoops LEVEL(losses) = {
    LEVEL(exps), LEVEL(log_loss), LEVEL(log_loss_slopes), LEVEL(log_loss_curvatures),
    LEVEL(smoothed), LEVEL(smoothed_slopes)};

#undef LEVEL
