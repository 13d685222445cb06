/* Batch normalisation and relu, for float and double.
 *
 * A pixel has c channels. Loops run over rows of several pixels, so that they are long, with vectors that repeat
 * what belongs to the channels as often; the pixels that do not fill a row come last, one by one. Sums are added
 * up in single precision over a few rows and in double from there on.
 */

#ifndef real /* the file includes itself once for each type */

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define LANES ((int64_t)(BYTES / sizeof(real)))
#define CHUNK (4 * LANES) /* columns that are added up in registers */
#define SOME 16       /* pixels that say where about a channel lies */
#define INLINE static inline __attribute__((always_inline))

/* The sums over all pixels come in `parts`, each a row of sums and a row of sums of products. */
typedef struct {
    int64_t pixels, c, repeat, parts;
} shape;

INLINE int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

/* Where part k of `parts` begins: whole rows of pixels, and the last also has those that fill none. */
INLINE int64_t start(const shape *s, int64_t k, int64_t parts)
{
    return k == parts ? s->pixels : s->pixels / s->repeat * k / parts * s->repeat;
}

/* The sum of all parts of a channel's sums (0) or sums of products (1). */
INLINE double total(const shape *s, const double *sums, int64_t which, int64_t channel)
{
    double sum = 0;
    for (int64_t k = 0; k < s->parts; k++)
        sum += sums[(2 * k + which) * s->c + channel];
    return sum;
}

/* What is added up: deviations of u from v and their squares; u and u v; or the same with 0 for u where gate is not
 * positive, which is also written to `masked`. */
enum { DEVIATIONS, PRODUCTS, MASKED };

#define real float
#define NAME(f) f##_float32
#include "norm.c"
#undef real
#undef NAME
#define real double
#define NAME(f) f##_float64
#include "norm.c"

#else

#define vector NAME(vector)
typedef real vector __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias));

typedef __typeof__((vector){0} > 0) NAME(bits);
#define bits NAME(bits)

const int64_t NAME(chunk) = CHUNK;

/* Adds to sums[0] and sums[width] what `rows` rows from element `first` on give; v has one row for deviations. */
INLINE void NAME(add_rows)(const int kind, int64_t rows, int64_t width, int64_t first, const real *u,
                           const real *v, const real *gate, real *masked, double *sums)
{
    int64_t k = 0;
    for (; k + CHUNK <= width; k += CHUNK) {
        vector sum[4] = {0}, product[4] = {0};
        for (int64_t r = 0; r < rows; r++)
            for (int i = 0; i < 4; i++) {
                int64_t col = k + i * LANES, at = first + r * width + col;
                vector a = *(const vector *)(u + at), b = *(const vector *)(v + (kind == DEVIATIONS ? col : at));
                if (kind == MASKED) {
                    bits open = *(const vector *)(gate + at) > 0;
                    *(vector *)(masked + at) = a = (vector)((bits)a & open);
                }
                if (kind == DEVIATIONS)
                    a = b = a - b;
                sum[i] += a;
                product[i] += a * b;
            }
        for (int64_t i = 0; i < CHUNK; i++) {
            sums[k + i] += ((const real *)sum)[i];
            sums[width + k + i] += ((const real *)product)[i];
        }
    }
    for (; k < width; k++)
        for (int64_t r = 0, at = first + k; r < rows; r++, at += width) {
            double a = u[at], b = v[kind == DEVIATIONS ? k : at];
            if (kind == MASKED)
                a = masked[at] = gate[at] > 0 ? u[at] : 0;
            if (kind == DEVIATIONS)
                a = b = a - b;
            sums[k] += a;
            sums[width + k] += a * b;
        }
}

/* Parts `from` to `to` of the sums. */
INLINE void NAME(add_parts)(const int kind, const shape *s, const real *u, const real *v, const real *gate,
                            real *masked, double *sums, double *scratch, int64_t from, int64_t to)
{
    int64_t width = s->c * s->repeat, few = max(4, min(32, 4096 / width));
    for (int64_t part = from; part < to; part++) {
        for (int64_t k = 0; k < 2 * width; k++)
            scratch[k] = 0;
        double *own = sums + 2 * part * s->c;
        int64_t pixel = start(s, part, s->parts), last = start(s, part + 1, s->parts);
        for (int64_t count; last - pixel >= s->repeat; pixel += count * s->repeat) {
            count = min(few, (last - pixel) / s->repeat);
            NAME(add_rows)(kind, count, width, pixel * s->c, u, v, gate, masked, scratch);
        }
        for (int64_t k = 0; k < 2 * s->c; k++) {
            own[k] = 0;
            for (int64_t r = 0; r < s->repeat; r++)
                own[k] += scratch[k / s->c * width + r * s->c + k % s->c];
        }
        NAME(add_rows)(kind, last - pixel, s->c, pixel * s->c, u, v, gate, masked, own);
    }
}

/* v once for each pixel of a row. */
static real *NAME(repeated)(const shape *s, real *v)
{
    for (int64_t k = s->c; k < s->c * s->repeat; k++)
        v[k] = v[k - s->c];
    return v;
}

/* A number near the mean of a channel, from some pixels: the closer, the more digits of the variance are left. One
 * pixel would not do, for it may be an outlier. */
INLINE real NAME(origin)(const shape *s, const real *x, int64_t channel)
{
    double sum = 0;
    for (int64_t k = 0; k < SOME; k++)
        sum += x[s->pixels * k / SOME * s->c + channel];
    return sum / SOME;
}

/* Sums of x less its origin, for each channel, and of its square. `room` is for 3 rows of pixels in double. */
void NAME(deviations)(const shape *s, const real *x, double *sums, double *room, int64_t from, int64_t to)
{
    real *origin = (real *)(room + 2 * s->c * s->repeat);
    for (int64_t k = 0; k < s->c; k++)
        origin[k] = NAME(origin)(s, x, k);
    NAME(add_parts)(DEVIATIONS, s, x, NAME(repeated)(s, origin), 0, 0, sums, room, from, to);
}

/* Sums of u and of u v; those of u where gate > 0, if there is one. */
void NAME(products)(const shape *s, const real *u, const real *v, const real *gate, real *masked, double *sums,
                    double *room, int64_t from, int64_t to)
{
    if (gate)
        NAME(add_parts)(MASKED, s, u, v, gate, masked, sums, room, from, to);
    else
        NAME(add_parts)(PRODUCTS, s, u, v, gate, masked, sums, room, from, to);
}

/* xhat = (x - mean) r, y = gamma xhat + beta, plus shortcut, through relu, where they are wanted. */
INLINE void NAME(normalise_rows)(const int add, const int relu, int64_t rows, int64_t width, const real *restrict x,
                                 const real *const factors[4], const real *restrict shortcut, real *restrict xhat,
                                 real *restrict y)
{
    const real *restrict mean = factors[0], *restrict r = factors[1];
    const real *restrict gamma = factors[2], *restrict beta = factors[3];
    for (int64_t row = 0; row < rows; row++)
        for (int64_t k = 0, at = row * width; k < width; k++, at++) {
            xhat[at] = (x[at] - mean[k]) * r[k];
            real z = gamma[k] * xhat[at] + beta[k];
            z = add ? z + shortcut[at] : z;
            y[at] = relu && z < 0 ? 0 : z; /* NaN stays */
        }
}

/* Parts `from` to `to` of xhat and y, from the sums of deviations from the origin; and mean and r. `room` is for 4 rows. */
void NAME(normalise)(const shape *s, const real *x, const double *sums, const real *gamma, const real *beta,
                     double eps, const real *shortcut, int64_t relu, real *xhat, real *y, real *mean, real *r,
                     real *room, int64_t from, int64_t to)
{
    int64_t width = s->c * s->repeat;
    real *factors[4] = {room, room + width, room + 2 * width, room + 3 * width};
    for (int64_t k = 0; k < s->c; k++) {
        double shift = total(s, sums, 0, k) / s->pixels, var = total(s, sums, 1, k) / s->pixels - shift * shift;
        factors[0][k] = NAME(origin)(s, x, k) + shift;
        factors[1][k] = 1 / __builtin_sqrt((var < 0 ? 0 : var) + eps);
        factors[2][k] = gamma[k];
        factors[3][k] = beta[k];
        if (from == 0) {
            mean[k] = factors[0][k];
            r[k] = factors[1][k];
        }
    }
    for (int i = 0; i < 4; i++)
        NAME(repeated)(s, factors[i]);
    int64_t at = start(s, from, s->parts) * s->c, last = start(s, to, s->parts) * s->c;
    for (int64_t rows; at < last; at += rows * width) {
        width = last - at < width ? s->c : width;
        rows = (last - at) / width;
        const real *const *f = (const real *const *)factors, *beside = shortcut ? shortcut + at : 0;
        if (shortcut && relu)
            NAME(normalise_rows)(1, 1, rows, width, x + at, f, beside, xhat + at, y + at);
        else if (shortcut)
            NAME(normalise_rows)(1, 0, rows, width, x + at, f, beside, xhat + at, y + at);
        else if (relu)
            NAME(normalise_rows)(0, 1, rows, width, x + at, f, beside, xhat + at, y + at);
        else
            NAME(normalise_rows)(0, 0, rows, width, x + at, f, beside, xhat + at, y + at);
    }
}

/* y = a u + b v + c, plus `plus`, 0 where gate is not positive, where they are given. */
INLINE void NAME(affine_rows)(const int moved, const int add, const int gated, int64_t rows, int64_t width,
                              const real *restrict u, const real *restrict v, const real *const factors[3],
                              const real *restrict plus, const real *restrict gate, real *restrict y)
{
    const real *restrict a = factors[0], *restrict b = factors[1], *restrict c = factors[2];
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t k = 0, at = row * width; k < width; k++, at++) {
            real z = b[k] * v[at] + c[k];
            z = moved ? z + a[k] * u[at] : z;
            y[at] = add ? z + plus[at] : z;
        }
        if (gated) /* in a loop of its own, for in the other one compilers would branch */
            for (int64_t at = row * width; at < (row + 1) * width; at++)
                y[at] = gate[at] > 0 ? y[at] : 0;
    }
}

/* Parts `from` to `to` of gamma r P u + dgamma xhat + dbeta + plus, 0 where gate is not positive: P takes from u what
 * a change of mean and variance would undo, by its sums. Any of u, dgamma, dbeta, plus and gate may be missing.
 * `room` is for 3 rows. */
void NAME(affine)(const shape *s, const real *u, const real *xhat, const double *sums, const real *r,
                  const real *gamma, const real *dgamma, const real *dbeta, const real *plus, const real *gate,
                  real *y, real *room, int64_t from, int64_t to)
{
    int64_t width = s->c * s->repeat;
    real *factors[3] = {room, room + width, room + 2 * width};
    for (int64_t k = 0; k < s->c; k++) {
        double scale = u ? (double)gamma[k] * r[k] : 0, share = scale / s->pixels;
        factors[0][k] = scale;
        factors[1][k] = (dgamma ? dgamma[k] : 0) - (u ? share * total(s, sums, 1, k) : 0);
        factors[2][k] = (dbeta ? dbeta[k] : 0) - (u ? share * total(s, sums, 0, k) : 0);
    }
    for (int i = 0; i < 3; i++)
        NAME(repeated)(s, factors[i]);
    int64_t at = start(s, from, s->parts) * s->c, last = start(s, to, s->parts) * s->c;
    for (int64_t rows; at < last; at += rows * width) {
        width = last - at < width ? s->c : width;
        rows = (last - at) / width;
        const real *const *f = (const real *const *)factors;
        const real *moved = u ? u + at : 0, *beside = plus ? plus + at : 0, *open = gate ? gate + at : 0;
        switch ((u ? 4 : 0) + (plus ? 2 : 0) + (gate ? 1 : 0)) {
#define CASE(n) \
    case n: \
        NAME(affine_rows)(n / 4, n / 2 % 2, n % 2, rows, width, moved, xhat + at, f, beside, open, y + at); \
        break;
            CASE(0) CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7)
#undef CASE
        }
    }
}

/* max(x, 0) for elements `from` to `to`; NaN stays. */
void NAME(relu)(const real *restrict x, real *restrict y, int64_t from, int64_t to)
{
    for (int64_t k = from; k < to; k++)
        y[k] = x[k] < 0 ? 0 : x[k];
}

/* t where y > 0, else 0, for elements `from` to `to`. */
void NAME(relu_mask)(const real *restrict t, const real *restrict y, real *restrict masked, int64_t from, int64_t to)
{
    for (int64_t k = from; k < to; k++)
        masked[k] = y[k] > 0 ? t[k] : 0;
}

#undef vector
#undef bits
#endif
