/* Pooling of NHWC images, for float and double: windows one after the other, in each the cells that lie in the
 * image, in each of these all channels. Threads take images.
 */

#ifndef real /* the file includes itself once for each type */

#include <stdint.h>
#include <string.h>

/* Window (r, q) begins at row r sh - top and column q sw - left of an image. */
typedef struct {
    int64_t h, w, c, oh, ow, kh, kw, sh, sw, top, left;
} geometry;

/* Where a window begins, counted in pixels through all images, and which of its cells are in the image. */
typedef struct {
    int64_t cell, i0, i1, j0, j1;
} window;

static inline int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

static inline window nth(const geometry *g, int64_t pixel)
{
    int64_t row = pixel / g->ow % g->oh * g->sh - g->top, col = pixel % g->ow * g->sw - g->left;
    int64_t image = pixel / g->ow / g->oh;
    return (window){(image * g->h + row) * g->w + col, max(0, -row), min(g->kh, g->h - row), max(0, -col),
                    min(g->kw, g->w - col)};
}

#define real float
#define number int32_t
#define NAME(f) f##_float32
#include "pooling.c"
#undef real
#undef number
#undef NAME
#define real double
#define number int64_t
#define NAME(f) f##_float64
#include "pooling.c"

#else

/* The number of the first largest cell of each window; NaN is the largest. `best` is room for two pixels. */
void NAME(pool_index)(const geometry *g, const real *x, uint8_t *index, real *restrict best, int64_t from,
                      int64_t to)
{
    number *restrict found = (number *)(best + g->c); /* as wide as best, so that vectors hold as many */
    for (int64_t pixel = from * g->oh * g->ow; pixel < to * g->oh * g->ow; pixel++) {
        window s = nth(g, pixel);
        memcpy(best, x + (s.cell + s.i0 * g->w + s.j0) * g->c, g->c * sizeof(real));
        for (int64_t k = 0; k < g->c; k++)
            found[k] = s.i0 * g->kw + s.j0;
        for (int64_t i = s.i0; i < s.i1; i++)
            for (int64_t j = s.j0; j < s.j1; j++) {
                const real *restrict cell = x + (s.cell + i * g->w + j) * g->c;
                number here = i * g->kw + j;
                for (int64_t k = 0; k < g->c; k++) {
                    int larger = (cell[k] > best[k]) | ((cell[k] != cell[k]) & (best[k] == best[k]));
                    best[k] = larger ? cell[k] : best[k];
                    found[k] = larger ? here : found[k];
                }
            }
        for (int64_t k = 0; k < g->c; k++)
            index[pixel * g->c + k] = found[k];
    }
}

/* The cell of each window that index names. */
void NAME(pool_gather)(const geometry *g, const real *restrict x, const uint8_t *restrict index, real *restrict y,
                       int64_t from, int64_t to)
{
    for (int64_t pixel = from * g->oh * g->ow; pixel < to * g->oh * g->ow; pixel++)
        for (int64_t k = 0, cell = nth(g, pixel).cell; k < g->c; k++) {
            int64_t at = index[pixel * g->c + k];
            y[pixel * g->c + k] = x[(cell + at / g->kw * g->w + at % g->kw) * g->c + k];
        }
}

/* Adds ct to the cell of each window that index names. */
void NAME(pool_scatter)(const geometry *g, const real *restrict ct, const uint8_t *restrict index,
                        real *restrict dx, int64_t from, int64_t to)
{
    memset(dx + from * g->h * g->w * g->c, 0, (to - from) * g->h * g->w * g->c * sizeof(real));
    for (int64_t pixel = from * g->oh * g->ow; pixel < to * g->oh * g->ow; pixel++)
        for (int64_t k = 0, cell = nth(g, pixel).cell; k < g->c; k++) {
            int64_t at = index[pixel * g->c + k];
            dx[(cell + at / g->kw * g->w + at % g->kw) * g->c + k] += ct[pixel * g->c + k];
        }
}

/* The sum of each window. */
void NAME(window_sum)(const geometry *g, const real *restrict x, real *restrict y, int64_t from, int64_t to)
{
    memset(y + from * g->oh * g->ow * g->c, 0, (to - from) * g->oh * g->ow * g->c * sizeof(real));
    for (int64_t pixel = from * g->oh * g->ow; pixel < to * g->oh * g->ow; pixel++) {
        window s = nth(g, pixel);
        for (int64_t i = s.i0; i < s.i1; i++)
            for (int64_t j = s.j0; j < s.j1; j++)
                for (int64_t k = 0; k < g->c; k++)
                    y[pixel * g->c + k] += x[(s.cell + i * g->w + j) * g->c + k];
    }
}

/* Adds ct to all cells of each window. */
void NAME(window_spread)(const geometry *g, const real *restrict ct, real *restrict dx, int64_t from, int64_t to)
{
    memset(dx + from * g->h * g->w * g->c, 0, (to - from) * g->h * g->w * g->c * sizeof(real));
    for (int64_t pixel = from * g->oh * g->ow; pixel < to * g->oh * g->ow; pixel++) {
        window s = nth(g, pixel);
        for (int64_t i = s.i0; i < s.i1; i++)
            for (int64_t j = s.j0; j < s.j1; j++)
                for (int64_t k = 0; k < g->c; k++)
                    dx[(s.cell + i * g->w + j) * g->c + k] += ct[pixel * g->c + k];
    }
}
#endif
