/* Convolution of NHWC images with OHWI filters, its transpose in the filters, and the passes of batch
 * normalisation and of relu, for float and double.
 *
 * The convolutions are matrix products that never build the matrix of patches: its rows are runs of the padded
 * image as it lies in memory. tile() adds up ROWS x 2 vectors of such a product in registers; around it are two
 * loops. No sum depends on how threads share the work.
 */

#ifndef real /* the file includes itself once for each type */

#include <stdint.h>
#include <string.h>

/* Vectors as wide as the machine's; ROWS x 2 sums, 2 factors and a few pointers must fit its registers. */
#if defined(__AVX512F__)
#define BYTES 64
#define ROWS 8
#elif defined(__AVX__)
#define BYTES 32
#define ROWS 6
#elif defined(__aarch64__)
#define BYTES 16
#define ROWS 8
#else
#define BYTES 16
#define ROWS 6
#endif
#define LANES ((int64_t)(BYTES / sizeof(real)))
#define INLINE static inline __attribute__((always_inline))

/* y[n, r, q] sums x[n, r sh + i dh - top, q sw + j dw - left] over the taps (i, j); outside, x is zero. */
typedef struct {
    int64_t h, w, c, oh, ow, o, kh, kw, sh, sw, dh, dw, top, left;
    int64_t y_image, y_row, y_pixel; /* strides of y, which may be part of a larger array */
    int64_t deep;                    /* so many rows of y at a time: their input fits `scratch` */
    int64_t inputs;                  /* y is the sum of so many convolutions */
} geometry;

typedef struct {
    int64_t image, row, count; /* `count` rows of y from `row` on */
} band;

INLINE int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

/* The next band of rows `from` to `to`, counted through all images. */
INLINE band next_band(const geometry *g, int64_t from, int64_t to)
{
    int64_t row = from % g->oh;
    return (band){from / g->oh, row, min(min(g->deep, g->oh - row), to - from)};
}

/* Where the items of a grid of rows, columns and neighbours lie, then the last once more for a tile that it does
 * not fill. Returns the place behind. */
static int64_t *grid(int64_t *at, int64_t rows, int64_t row, int64_t cols, int64_t col, int64_t neighbours)
{
    int64_t last = 0;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            for (int64_t k = 0; k < neighbours; k++)
                *at++ = last = i * row + j * col + k;
    for (int p = 0; p < ROWS; p++)
        *at++ = last;
    return at;
}

#define real float
#define NAME(f) f##_float32
#include "kernels.c"
#undef real
#undef NAME
#define real double
#define NAME(f) f##_float64
#include "kernels.c"

#else

#define vector NAME(vector)
typedef real vector __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias));

const int64_t NAME(lanes) = LANES;

/* ROWS x `vectors` sums of products, of `inputs` left and right factors. In each, the left row p lies at rows[p],
 * in runs of `length` numbers `step` apart; the right rows follow one another, `b_step` apart, from `column` on. */
INLINE void NAME(tile)(const int vectors, vector sum[ROWS][2], int64_t inputs, const real *const *left,
                       const int64_t *rows, const int64_t *runs, int64_t run_count, int64_t length, int64_t step,
                       const real *const *right, int64_t column, int64_t b_step)
{
    vector s[ROWS][2] = {0}; /* in registers, which `sum` could not be */
    for (int64_t k = 0; k < inputs; k++) {
        const real *b = right[k] + column, *a[ROWS];
        for (int p = 0; p < ROWS; p++)
            a[p] = left[k] + rows[p];
        for (int64_t r = 0; r < run_count; r++)
            for (int64_t t = runs[r]; t < runs[r] + length * step; t += step, b += b_step)
                for (int p = 0; p < ROWS; p++)
                    for (int v = 0; v < vectors; v++)
                        s[p][v] += a[p][t] * ((const vector *)b)[v];
    }
    for (int p = 0; p < ROWS; p++)
        for (int v = 0; v < vectors; v++)
            sum[p][v] = s[p][v];
}

/* The rows of one image that a band of y meets, with zeros around: x itself where none are needed. */
static const real *NAME(padded)(const geometry *g, const real *x, band b, real *scratch, int64_t *stride)
{
    int64_t first = b.row * g->sh - g->top, rows = (b.count - 1) * g->sh + (g->kh - 1) * g->dh + 1;
    int64_t wide = (g->ow - 1) * g->sw + (g->kw - 1) * g->dw + 1;
    x += b.image * g->h * g->w * g->c;
    if (first >= 0 && first + rows <= g->h && g->left <= 0 && wide - g->left <= g->w) {
        *stride = g->w * g->c;
        return x + (first * g->w - g->left) * g->c;
    }
    *stride = wide * g->c;
    int64_t begin = min(max(g->left, 0), wide), end = max(min(g->w + g->left, wide), begin);
    for (int64_t r = 0; r < rows; r++) {
        real *row = scratch + r * *stride;
        if (first + r < 0 || first + r >= g->h || begin == end) {
            memset(row, 0, *stride * sizeof(real));
            continue;
        }
        memset(row, 0, begin * g->c * sizeof(real));
        memcpy(row + begin * g->c, x + ((first + r) * g->w + begin - g->left) * g->c,
               (end - begin) * g->c * sizeof(real));
        memset(row + end * g->c, 0, (wide - end) * g->c * sizeof(real));
    }
    return scratch;
}

/* Rows `from` to `to` of y, the sum of what each x gives with its taps. These lie in blocks of 2 vectors of output channels, the last perhaps of 1: for
 * each block kh kw c rows. A left row is the window of a pixel, its runs are the rows of the window. */
void NAME(conv2d)(const geometry *g, const real *const *x, const real *const *taps, real *y, int64_t from,
                  int64_t to, int64_t *index, real *scratch, int64_t scratch_size)
{
    int64_t fused = g->dw == 1 ? g->kw : 1, run_count = g->kh * g->kw / fused, length = fused * g->c, stride;
    for (band b; from < to; from += b.count) {
        b = next_band(g, from, to);
        const real *images[2];
        for (int64_t k = 0; k < g->inputs; k++)
            images[k] = NAME(padded)(g, x[k], b, scratch + k * scratch_size, &stride);
        real *target = y + b.image * g->y_image + b.row * g->y_row;
        int64_t pixels = b.count * g->ow, *runs = index;
        int64_t *windows = grid(runs, g->kh, g->dh * stride, g->kw / fused, g->dw * g->c, 1);
        int64_t *places = grid(windows, b.count, g->sh * stride, g->ow, g->sw * g->c, 1);
        grid(places, b.count, g->y_row, g->ow, g->y_pixel, 1);
        for (int64_t o = 0; o < g->o; o += 2 * LANES) {
            int64_t block = o * run_count * length, channels = min(g->o - o, 2 * LANES);
            for (int64_t pixel = 0; pixel < pixels; pixel += ROWS) {
                const int64_t *rows = windows + pixel;
                vector sum[ROWS][2];
                if (channels > LANES)
                    NAME(tile)(2, sum, g->inputs, images, rows, runs, run_count, length, 1, taps, block, 2 * LANES);
                else
                    NAME(tile)(1, sum, g->inputs, images, rows, runs, run_count, length, 1, taps, block, LANES);
                for (int p = 0; p < min(ROWS, pixels - pixel); p++)
                    if (channels == 2 * LANES) /* a copy of known size is a pair of instructions */
                        memcpy(target + places[pixel + p] + o, sum[p], 2 * BYTES);
                    else
                        memcpy(target + places[pixel + p] + o, sum[p], channels * sizeof(real));
            }
        }
    }
}

/* Adds what rows `from` to `to` of ct give to dw, (kh kw c, o); o is a multiple of LANES. A left row is one tap of
 * every window, its runs are the rows of ct. */
void NAME(conv2d_filter)(const geometry *g, const real *x, const real *ct, real *dw, int64_t from, int64_t to,
                         int64_t *index, real *scratch)
{
    int64_t all = g->kh * g->kw * g->c, step = g->sw * g->c, stride;
    for (band b; from < to; from += b.count) {
        b = next_band(g, from, to);
        const real *image = NAME(padded)(g, x, b, scratch, &stride), *right = ct + from * g->ow * g->o;
        int64_t *taps = index, *runs = grid(taps, g->kh, g->dh * stride, g->kw, g->dw * g->c, g->c);
        grid(runs, b.count, g->sh * stride, 1, 0, 1);
        for (int64_t o = 0; o < g->o; o += 2 * LANES)
            for (int64_t tap = 0; tap < all; tap += ROWS) {
                const int64_t *rows = taps + tap;
                int vectors = g->o - o > LANES ? 2 : 1;
                vector sum[ROWS][2];
                if (vectors == 2)
                    NAME(tile)(2, sum, 1, &image, rows, runs, b.count, g->ow, step, &right, o, g->o);
                else
                    NAME(tile)(1, sum, 1, &image, rows, runs, b.count, g->ow, step, &right, o, g->o);
                for (int p = 0; p < min(ROWS, all - tap); p++)
                    for (int v = 0; v < vectors; v++)
                        ((vector *)(dw + (tap + p) * g->o + o))[v] += sum[p][v];
            }
    }
}

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

#undef vector
#endif
