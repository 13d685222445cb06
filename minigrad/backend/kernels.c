/* The passes of batch normalisation and of relu, for float and double. */

#ifndef real /* the file includes itself once for each type */

#include <stdint.h>

#define real float
#define NAME(f) f##_float32
#include "kernels.c"
#undef real
#undef NAME
#define real double
#define NAME(f) f##_float64
#include "kernels.c"

#else

/* ----- Batch normalisation: `rows` rows of `width` numbers, some pixels each; a vector of width for each factor.
 * Sums are in double; they are added to what is there. ----- */

/* Sums of x - shift and of its square. */
void NAME(deviations)(int64_t rows, int64_t width, const real *restrict x, const real *restrict shift,
                      double *restrict sum, double *restrict square)
{
    for (int64_t r = 0; r < rows; r++, x += width)
        for (int64_t k = 0; k < width; k++) {
            double d = (double)x[k] - shift[k];
            sum[k] += d;
            square[k] += d * d;
        }
}

/* Sums of u and of u v. */
void NAME(products)(int64_t rows, int64_t width, const real *restrict u, const real *restrict v,
                    double *restrict sum, double *restrict product)
{
    for (int64_t r = 0; r < rows; r++, u += width, v += width)
        for (int64_t k = 0; k < width; k++) {
            sum[k] += u[k];
            product[k] += (double)u[k] * v[k];
        }
}

/* xhat = (x - centre) scale, y = a xhat + b. */
void NAME(normalise)(int64_t rows, int64_t width, const real *restrict x, const real *restrict centre,
                     const real *restrict scale, const real *restrict a, const real *restrict b,
                     real *restrict xhat, real *restrict y)
{
    for (int64_t r = 0; r < rows; r++, x += width, xhat += width, y += width)
        for (int64_t k = 0; k < width; k++) {
            xhat[k] = (x[k] - centre[k]) * scale[k];
            y[k] = a[k] * xhat[k] + b[k];
        }
}

/* y = a u + b v + c. */
void NAME(affine)(int64_t rows, int64_t width, const real *restrict u, const real *restrict v,
                  const real *restrict a, const real *restrict b, const real *restrict c, real *restrict y)
{
    for (int64_t r = 0; r < rows; r++, u += width, v += width, y += width)
        for (int64_t k = 0; k < width; k++)
            y[k] = a[k] * u[k] + (b[k] * v[k] + c[k]);
}

/* t where y > 0, else 0. */
void NAME(relu_mask)(int64_t rows, int64_t width, const real *restrict t, const real *restrict y,
                     real *restrict masked)
{
    for (int64_t k = 0; k < rows * width; k++)
        masked[k] = y[k] > 0 ? t[k] : 0;
}

#endif
