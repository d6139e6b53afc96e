/* The loops of one SIMD level over a column; included by column_kernels.h once per level. */

LOOP double LEVEL(weighted_square)(ptrdiff_t n, const double *h, const double *x)
{
    double sum = 0;
    _Pragma("omp simd reduction(+:sum)")
    for (ptrdiff_t i = 0; i < n; i++) sum += h[i] * x[i] * x[i];
    return sum;
}

LOOP void LEVEL(weighted_add)(ptrdiff_t n, double c, const double *h, const double *x, double *v)
{
    SIMD for (ptrdiff_t i = 0; i < n; i++) v[i] += c * h[i] * x[i];
}

static const ColumnLoops LEVEL(columns) = {LEVEL(weighted_square), LEVEL(weighted_add)};

#undef LEVEL
