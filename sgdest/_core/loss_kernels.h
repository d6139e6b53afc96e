/* Losses on blocks of margins, penalties on blocks of coordinates, at three SIMD levels; see levels.h. */
#ifndef SGDEST_LOSS_KERNELS_H
#define SGDEST_LOSS_KERNELS_H

#include <math.h>

#include "levels.h"

/* exp(x) to 1 ulp for x in [-708, 709] and clamped outside; no branch, so that loops over it
 * become vectors. 2^n exp(r) with |r| <= ln(2) / 2: adding 1.5 * 2^52 rounds to an integer, which
 * then stands in the low bits. The series is summed in pairs (Estrin), as the step on a single row
 * waits for it. */
INLINE double exp_of(double x)
{
    const double shift = 6755399441055744.0;
    double t, n, r, r2, r4, p;
    int64_t bits;
    x = x < -708.0 ? -708.0 : x;
    x = x > 709.0 ? 709.0 : x;
    t = x * 1.4426950408889634 + shift;
    n = t - shift;
    r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10;
    r2 = r * r;
    r4 = r2 * r2;
    p = (r * (1.0 / 6227020800.0) + 1.0 / 479001600.0) * r4
        + ((r * (1.0 / 39916800.0) + 1.0 / 3628800.0) * r2 + (r * (1.0 / 362880.0) + 1.0 / 40320.0));
    p = p * (r4 * r4)
        + (((r * (1.0 / 5040.0) + 1.0 / 720.0) * r2 + (r * (1.0 / 120.0) + 1.0 / 24.0)) * r4
           + ((r * (1.0 / 6.0) + 0.5) * r2 + r));
    memcpy(&bits, &t, sizeof bits);
    bits = (int64_t)((uint64_t)bits << 52) + 4607182418800017408; /* n, and the bits of 1.0 */
    memcpy(&t, &bits, sizeof t);
    return p * t + t;
}

/* 2^(i / 64) for i = 0 .. 63 */
#define EIGHT(a)                                                                                 \
    (a), (a) * 1.0108892860517005, (a) * 1.0218971486541166, (a) * 1.0330248790212284,           \
    (a) * 1.0442737824274138, (a) * 1.0556451783605572, (a) * 1.0671404006768237,                \
    (a) * 1.0787607977571199
static const double POWERS[64] = {
    EIGHT(1.0), EIGHT(1.0905077326652577), EIGHT(1.189207115002721), EIGHT(1.2968395546510096),
    EIGHT(1.4142135623730951), EIGHT(1.5422108254079407), EIGHT(1.681792830507429),
    EIGHT(1.8340080864093424)};
#undef EIGHT

/* exp(x) for x in [-708, 0], for one number that is waited for: a table and a short series take 10
 * cycles less than exp_of. Relative error 1e-16 (2 + |x|). */
INLINE double quick_exp_of(double x)
{
    const double shift = 6755399441055744.0;
    const double t = x * 92.33248261689366 + shift, r = x - (t - shift) * 0.010830424696249145;
    const double square = r * r, low = r * (1.0 / 6.0) + 0.5, high = r * (1.0 / 120.0) + 1.0 / 24.0;
    double power;
    int64_t n, bits;
    memcpy(&n, &t, sizeof n);
    memcpy(&bits, POWERS + (n & 63), sizeof bits);
    bits += (int64_t)((uint64_t)(n >> 6) << 52);
    memcpy(&power, &bits, sizeof power);
    return (r + square * (low + square * high)) * power + power;
}

/* log(1 + e) for e in [0, 1], relative error of some ulp: log(1 + f) = 2 atanh(f / (2 + f)), where
 * 1 + f is 1 + e, or half of it (both exact) if that lies nearer to 1. */
INLINE double log1p_of(double e)
{
    const double half = 0.4142135623730950;
    const double f = e > half ? 0.5 * (e - 1.0) : e;
    const double s = f / (2.0 + f), q = s * s;
    double p = 1.0 / 23.0;
    p = p * q + 1.0 / 21.0;
    p = p * q + 1.0 / 19.0;
    p = p * q + 1.0 / 17.0;
    p = p * q + 1.0 / 15.0;
    p = p * q + 1.0 / 13.0;
    p = p * q + 1.0 / 11.0;
    p = p * q + 1.0 / 9.0;
    p = p * q + 1.0 / 7.0;
    p = p * q + 1.0 / 5.0;
    p = p * q + 1.0 / 3.0;
    return (e > half ? 0.6931471805599453 : 0.0) + (2.0 * s + 2.0 * s * q * p);
}

/* x log(x) for x in [0, 1], 0 at 0: x = 2^k (1 + f) with 1 + f about 1 / sqrt(2) .. sqrt(2), and the
 * series of log1p_of. */
INLINE double entropy_of(double x)
{
    const double sound = x < 1e-300 ? 1e-300 : x;
    int64_t bits, k;
    double m, f, s, q, p;
    memcpy(&bits, &sound, sizeof bits);
    k = (bits - 4604544271217802189) >> 52; /* of 1 / sqrt(2) */
    bits -= (int64_t)((uint64_t)k << 52);
    memcpy(&m, &bits, sizeof m);
    f = m - 1.0;
    s = f / (2.0 + f);
    q = s * s;
    p = 1.0 / 23.0;
    p = p * q + 1.0 / 21.0;
    p = p * q + 1.0 / 19.0;
    p = p * q + 1.0 / 17.0;
    p = p * q + 1.0 / 15.0;
    p = p * q + 1.0 / 13.0;
    p = p * q + 1.0 / 11.0;
    p = p * q + 1.0 / 9.0;
    p = p * q + 1.0 / 7.0;
    p = p * q + 1.0 / 5.0;
    p = p * q + 1.0 / 3.0;
    return x * ((double)k * 0.6931471805599453 + (2.0 * s + 2.0 * s * q * p));
}

/* A piecewise-linear loss: max over a in [low, high] of a u - dead |a|, with u = z - place y; low and
 * high for targets up to 0 and above. Its smoothed form takes (a - c)^2 / (2 sharpness) off. */
typedef struct {
    double place, low_below, high_below, low_above, high_above, dead, sharpness;
} Kink;

/* The maximising a, which is the slope of the smoothed form. Comparisons in the place of fmin and
 * fmax, which mind NaN and so forbid vectors. */
INLINE double smoothed_slope_of(const Kink *kink, double y, double c, double z)
{
    const double low = y > 0 ? kink->low_above : kink->low_below;
    const double high = y > 0 ? kink->high_above : kink->high_below;
    const double shift = kink->sharpness * kink->dead;
    const double free = c + kink->sharpness * (z - kink->place * y);
    const double a = (free > shift ? free - shift : 0.0) + (free < -shift ? free + shift : 0.0);
    return a < low ? low : a > high ? high : a;
}

INLINE double smoothed_value_of(const Kink *kink, double y, double c, double z)
{
    const double a = smoothed_slope_of(kink, y, c, z), size = a < 0 ? -a : a;
    return a * (z - kink->place * y) - kink->dead * size
        - 0.5 / kink->sharpness * (a - c) * (a - c);
}

/* A smooth loss on n targets and margins: its values, first and second derivatives. p is its parameter. */
typedef void LossLoop(double p, ptrdiff_t n, const double *y, const double *z, double *out);
typedef struct {
    LossLoop *values, *slopes, *curvatures;
} LossBlock;

/* exp(z), continued by its tangent beyond 500 as in scalars.pxd, and its derivatives; 0 where exp_of
 * would leave a curvature whose inverse overflows. */
INLINE double exp_slope_of(double z)
{
    return z < -708 ? 0.0 : exp_of(z > 500 ? 500 : z);
}

INLINE double exp_line_of(double z)
{
    return exp_slope_of(z) * (z > 500 ? z - 499 : 1.0);
}

INLINE double exp_curvature_of(double z)
{
    return z > 500 ? 0.0 : exp_slope_of(z);
}

INLINE double sigmoid_of(double z)
{
    const double e = exp_of(-fabs(z));
    return (z < 0 ? e : 1.0) / (1.0 + e);
}

INLINE double sigmoid_slope_of(double z)
{
    const double e = exp_of(-fabs(z));
    return e / ((1.0 + e) * (1.0 + e));
}

/* r, cut to [-p, p]. Not fmin and fmax, which mind NaN and so forbid vectors. */
INLINE double cut_of(double r, double p)
{
    return r < -p ? -p : r > p ? p : r;
}

/* Each on n numbers; y holds n pairs of a target and a centre where there is a kink. */
typedef struct {
    void (*exps)(ptrdiff_t n, const double *z, double *out);
    double (*log_loss_slope)(double y, double z);
    void (*smoothed)(const Kink *kink, ptrdiff_t n, const double *y, const double *z, double *out);
    void (*smoothed_slopes)(const Kink *kink, ptrdiff_t n, const double *y, const double *z,
                            double *out);
    /* of slopes a, with a + y in [0, 1] */
    void (*log_loss_conjugates)(ptrdiff_t n, const double *y, const double *a, double *out);
    /* |w_j| decays by exp(-l2 length_j) while l1 takes off */
    void (*shrink)(ptrdiff_t n, double l1, double l2, int positive, const double *length,
                   double *w);
    LossBlock log_loss, huber, squared_epsilon_insensitive, poisson, gamma, tweedie, squared_hinge;
} LossLoops;

#define LEVEL(name) name##_baseline
#include "loss_loops.h"
#if HAS_LEVELS
BEGIN_LEVEL(AVX2_FEATURES)
#define LEVEL(name) name##_avx2
#include "loss_loops.h"
END_LEVEL
BEGIN_LEVEL(AVX512_FEATURES)
#define LEVEL(name) name##_avx512
#include "loss_loops.h"
END_LEVEL
#endif

static inline const LossLoops *loss_loops(int level)
{
    static const LossLoops *const table[N_LEVELS] = EVERY_LEVEL(losses);
    return table[level];
}

#endif
