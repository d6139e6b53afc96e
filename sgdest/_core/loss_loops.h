/* The loops of one SIMD level over losses and penalties; included by loss_kernels.h once per level. */

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

/* For a negative z as exp(z) / (1 + exp(z)), which keeps its relative accuracy. On a single row the
 * sign of z is hard to predict, hence its choice by numbers. */
LOOP double LEVEL(log_loss_slope)(double y, double z)
{
    const double size = fabs(z), e = quick_exp_of(size > 708.0 ? -708.0 : -size);
    const double is_positive = 0.5 + copysign(0.5, z);
    return (e > is_positive ? e : is_positive) / (1.0 + e) - y;
}

LOOP void LEVEL(log_loss_slopes)(ptrdiff_t n, const double *y, const double *z, double *out)
{
    SIMD for (ptrdiff_t i = 0; i < n; i++) {
        const double e = exp_of(-fabs(z[i]));
        out[i] = (z[i] < 0 ? e : 1.0) / (1.0 + e) - y[i];
    }
}

LOOP void LEVEL(log_loss_curvatures)(ptrdiff_t n, const double *z, double *out)
{
    SIMD for (ptrdiff_t i = 0; i < n; i++) {
        const double e = exp_of(-fabs(z[i]));
        out[i] = e / ((1.0 + e) * (1.0 + e));
    }
}

LOOP void LEVEL(log_loss_conjugates)(ptrdiff_t n, const double *y, const double *a, double *out)
{
    SIMD for (ptrdiff_t i = 0; i < n; i++) {
        const double p = a[i] + y[i];
        out[i] = entropy_of(p) + entropy_of(1.0 - p);
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

/* MEAN(x): (1 - exp(-x)) / x */
#define SHRINK(MEAN)                                                                             \
    SIMD for (ptrdiff_t j = 0; j < n; j++) {                                                     \
        const double x = l2 * length[j], mean = MEAN(x);                                         \
        const double size = w[j] < 0 && !positive ? -w[j] : w[j];                                \
        const double left = size * (1.0 - x * mean) - l1 * length[j] * mean;                     \
        const double kept = left > 0 ? left : 0.0;                                               \
        w[j] = w[j] < 0 && !positive ? 0.0 - kept : kept;                                        \
    }
#define SHORT_MEAN(x) (1.0 - x * (0.5 - x * (1.0 / 6.0 - x * (1.0 / 24.0 - x * (1.0 / 120.0)))))
#define ANY_MEAN(x) (x < 1e-3 ? SHORT_MEAN(x) : (1.0 - exp_of(-x)) / x)
LOOP void LEVEL(shrink)(ptrdiff_t n, double l1, double l2, int positive, const double *length,
                        double *w)
{
    int n_long = 0;
    SIMD for (ptrdiff_t j = 0; j < n; j++) n_long |= !(l2 * length[j] < 1e-3);
    if (n_long) {
        SHRINK(ANY_MEAN)
    } else {
        SHRINK(SHORT_MEAN)
    }
}
#undef SHRINK
#undef SHORT_MEAN
#undef ANY_MEAN

static const LossLoops LEVEL(losses) = {
    LEVEL(exps), LEVEL(log_loss), LEVEL(log_loss_slopes), LEVEL(log_loss_slope),
    LEVEL(log_loss_curvatures), LEVEL(smoothed), LEVEL(smoothed_slopes),
    LEVEL(log_loss_conjugates), LEVEL(shrink)};

#undef LEVEL
