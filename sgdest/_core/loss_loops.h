/* The loops of one SIMD level over losses and penalties; included by loss_kernels.h once per level. */

LOOP void LEVEL(exps)(ptrdiff_t n, const double *z, double *out)
{
    SIMD for (ptrdiff_t i = 0; i < n; i++) out[i] = exp_of(z[i]);
}

/* For a negative z as exp(z) / (1 + exp(z)), which keeps its relative accuracy. On a single row the
 * sign of z is hard to predict, hence its choice by numbers. */
LOOP double LEVEL(log_loss_slope)(double y, double z)
{
    const double size = fabs(z), e = quick_exp_of(size > 708.0 ? -708.0 : -size);
    const double is_positive = 0.5 + copysign(0.5, z);
    return (e > is_positive ? e : is_positive) / (1.0 + e) - y;
}

/* The loops of a loss by its value, slope and curvature at a target y and a margin z. */
#define BLOCK_LOOP(NAME, FORMULA)                                                                \
    LOOP void LEVEL(NAME)(double p, ptrdiff_t n, const double *ys, const double *zs, double *out) \
    {                                                                                            \
        (void)p;                                                                                 \
        SIMD for (ptrdiff_t i = 0; i < n; i++) {                                                 \
            const double y = ys[i], z = zs[i];                                                   \
            (void)y;                                                                             \
            out[i] = FORMULA;                                                                    \
        }                                                                                        \
    }
#define BLOCK(NAME, VALUE, SLOPE, CURVATURE)                                                     \
    BLOCK_LOOP(NAME##_values, VALUE)                                                             \
    BLOCK_LOOP(NAME##_slopes, SLOPE)                                                             \
    BLOCK_LOOP(NAME##_curvatures, CURVATURE)
#define LOOPS_OF(NAME) {LEVEL(NAME##_values), LEVEL(NAME##_slopes), LEVEL(NAME##_curvatures)}

/* The exponent is cut where exp(-|z|) adds nothing to any sum, before its cube underflows, which
 * would cost a hundred cycles. */
#define CLOSE(z) (z < -200 || z > 200 ? -200 : z < 0 ? z : -z)
BLOCK(log_loss,
      log1p_of(exp_of(CLOSE(z))) + ((z > 0 ? z : 0) - y * z),
      sigmoid_of(z) - y,
      sigmoid_slope_of(z))
#undef CLOSE

BLOCK(huber,
      cut_of(z - y, p) * (z - y - 0.5 * cut_of(z - y, p)),
      cut_of(z - y, p),
      fabs(z - y) <= p ? 1.0 : 0.0)

#define BEYOND (z - y - cut_of(z - y, p))
BLOCK(squared_epsilon_insensitive, BEYOND * BEYOND, 2.0 * BEYOND, fabs(z - y) > p ? 2.0 : 0.0)
#undef BEYOND

BLOCK(poisson, exp_line_of(z) - y * z, exp_slope_of(z) - y, exp_curvature_of(z))
BLOCK(gamma, z + y * exp_line_of(-z), 1.0 - y * exp_slope_of(-z), y * exp_curvature_of(-z))

/* exponents: of the mean, and of what y is multiplied by */
#define UP ((2.0 - p) * z)
#define DOWN ((1.0 - p) * z)
BLOCK(tweedie,
      (p < 2.0 ? exp_line_of(UP) / (2.0 - p) : z)
          - y * (p == 1.0 ? z : exp_line_of(DOWN) / (1.0 - p)),
      exp_slope_of(UP) - y * exp_slope_of(DOWN),
      (2.0 - p) * exp_curvature_of(UP) + y * (p - 1.0) * exp_curvature_of(DOWN))
#undef UP
#undef DOWN

#define SHORT (y * z < 1.0 ? 1.0 - y * z : 0.0)
BLOCK(squared_hinge, SHORT * SHORT, -2.0 * y * SHORT, y * z < 1.0 ? 2.0 : 0.0)
#undef SHORT

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
#define SHRINK(MEAN, SIZE, SIGNED)                                                               \
    SIMD for (ptrdiff_t j = 0; j < n; j++) {                                                     \
        const double x = l2 * length[j], mean = MEAN(x);                                         \
        const double left = SIZE * (1.0 - x * mean) - l1 * length[j] * mean;                     \
        const double kept = left > 0.0 ? left : 0.0; /* 0 where left is NaN, too */              \
        w[j] = SIGNED + 0.0; /* never -0 */                                                      \
    }
#define SHORT_MEAN(x) (1.0 - x * (0.5 - x * (1.0 / 6.0 - x * (1.0 / 24.0 - x * (1.0 / 120.0)))))
#define ANY_MEAN(x) (x < 1e-3 ? SHORT_MEAN(x) : (1.0 - exp_of(-x)) / x)
LOOP void LEVEL(shrink)(ptrdiff_t n, double l1, double l2, int positive, const double *length,
                        double *w)
{
    int n_long = 0;
    SIMD for (ptrdiff_t j = 0; j < n; j++) n_long |= !(l2 * length[j] < 1e-3);
    if (positive && n_long) {
        SHRINK(ANY_MEAN, w[j], kept)
    } else if (positive) {
        SHRINK(SHORT_MEAN, w[j], kept)
    } else if (n_long) {
        SHRINK(ANY_MEAN, fabs(w[j]), copysign(kept, w[j]))
    } else {
        SHRINK(SHORT_MEAN, fabs(w[j]), copysign(kept, w[j]))
    }
}
#undef SHRINK
#undef SHORT_MEAN
#undef ANY_MEAN

static const LossLoops LEVEL(losses) = {
    LEVEL(exps), LEVEL(log_loss_slope), LEVEL(smoothed), LEVEL(smoothed_slopes),
    LEVEL(log_loss_conjugates), LEVEL(shrink), LOOPS_OF(log_loss), LOOPS_OF(huber),
    LOOPS_OF(squared_epsilon_insensitive), LOOPS_OF(poisson), LOOPS_OF(gamma), LOOPS_OF(tweedie),
    LOOPS_OF(squared_hinge)};

#undef BLOCK_LOOP
#undef BLOCK
#undef LOOPS_OF
#undef LEVEL
