/* Convolution of NHWC images with OHWI filters and its transpose in the filters, for float and double.
 *
 * Both are products with the matrix of patches, which has a row for each pixel of the result and a column for
 * each tap, and which is never built: its number for a pixel and a tap lies at the place of the pixel's window
 * plus the place of the tap in a window. tile() adds up ROWS x 2 vectors of a product in registers; the loops
 * around it keep what it multiplies with in the first cache. Threads take bands of rows, or parts of a sum, until
 * none are left; no bit depends on which thread takes what.
 */

#ifndef real /* the file includes itself once for each type */

#include <stdint.h>
#include <string.h>

/* Vectors as wide as the machine's; ROWS x 2 sums, 2 factors and ROWS pointers must fit its registers. */
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
#define WIDTH (2 * LANES)
#define DEPTH (20480 / (2 * BYTES)) /* rows of taps that fit the first cache and leave room for windows */
#define HEIGHT (10240 / (2 * BYTES)) /* rows of cotangents: beside each stands a whole cache line of a window */
#define INLINE static inline __attribute__((always_inline))

/* y[n, r, q] sums x[n, r sh + i dh - top, q sw + j dw - left] over the taps (i, j); outside, x is zero. */
typedef struct {
    int64_t h, w, c, oh, ow, o, kh, kw, sh, sw, dh, dw, top, left;
    int64_t y_image, y_row, y_pixel; /* strides of y, which may be part of a larger array */
    int64_t rows, deep;              /* rows of y, counted through all images; so many of them are a band */
    int64_t inputs, scratch;         /* y is the sum of so many convolutions; each has so much room for a band */
    int64_t lists, padded;           /* of taps, see below; whether zeros must be put around images */
} geometry;

INLINE int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

/* How wide and high the part of an image is that the windows of so many rows meet. */
INLINE int64_t wide(const geometry *g) { return (g->ow - 1) * g->sw + (g->kw - 1) * g->dw + 1; }
INLINE int64_t high(const geometry *g, int64_t rows) { return (rows - 1) * g->sh + (g->kh - 1) * g->dh + 1; }

/* The length of a row of the images that windows are in. */
INLINE int64_t line(const geometry *g) { return (g->padded ? wide(g) : g->w) * g->c; }

/* What tile() is to multiply. A list has taps and pixels: all of them, or the taps at one position of the window
 * and those pixels alone whose window meets an image there. The window of pixel p lies at windows[p], its result at
 * places[p], tap t at taps[t] of a window. */
typedef struct {
    int64_t count, room; /* of taps in each list; of windows and places */
    int64_t *taps, *pixels, *windows, *places;
} view;

/* The places of the items of a grid of rows, columns and neighbours. Returns the place behind the last. */
static int64_t *grid(int64_t *at, int64_t start, int64_t rows, int64_t row, int64_t cols, int64_t col,
                     int64_t neighbours)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            for (int64_t k = 0; k < neighbours; k++)
                *at++ = start + i * row + j * col + k;
    return at;
}

/* The last place once more, for a tile that the items do not fill. */
static int64_t *fill(int64_t *at)
{
    for (int p = 1; p < ROWS; p++, at++)
        *at = at[-1];
    return at;
}

/* A view with its taps, and with room for pixels; all in `index`. */
static view views(const geometry *g, int64_t *index)
{
    view s = {.count = g->kh * g->kw * g->c / g->lists, .room = g->deep * g->ow + ROWS, .taps = index};
    if (g->lists > 1)
        s.pixels = grid(index, 0, 1, 0, 1, 0, g->c);
    else
        s.pixels = grid(index, 0, g->kh, g->dh * line(g), g->kw, g->dw * g->c, g->c);
    if (s.count)
        s.pixels = fill(s.pixels);
    s.windows = s.pixels + g->lists;
    s.places = s.windows + g->lists * s.room;
    return s;
}

/* The list of position (i, j): pixels of rows `from` to `to` of y whose window meets an image there. */
static void look_at(const geometry *g, view *s, int64_t i, int64_t j, int64_t from, int64_t to)
{
    int64_t list = i * g->kw + j, *window = s->windows + list * s->room, *place = s->places + list * s->room;
    int64_t *start = window, last = g->w - 1 + g->left - j * g->dw;
    int64_t begin = max(0, (g->left - j * g->dw + g->sw - 1) / g->sw);
    int64_t end = last < 0 ? 0 : min(g->ow, last / g->sw + 1);
    for (; from < to; from++) {
        int64_t image = from / g->oh, row = from % g->oh, x_row = row * g->sh + i * g->dh - g->top;
        if (x_row < 0 || x_row >= g->h || begin >= end)
            continue;
        int64_t x_first = ((image * g->h + x_row) * g->w + begin * g->sw + j * g->dw - g->left) * g->c;
        int64_t y_first = image * g->y_image + row * g->y_row + begin * g->y_pixel;
        window = grid(window, x_first, 1, 0, end - begin, g->sw * g->c, 1);
        place = grid(place, y_first, 1, 0, end - begin, g->y_pixel, 1);
    }
    s->pixels[list] = window - start;
    if (window > start)
        fill(window);
}

#define real float
#define NAME(f) f##_float32
#include "convolution.c"
#undef real
#undef NAME
#define real double
#define NAME(f) f##_float64
#include "convolution.c"

#else

#define vector NAME(vector)
typedef real vector __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias));

const int64_t NAME(width) = WIDTH;
const int64_t NAME(tile_rows) = ROWS;

/* sum[p] = the sum over k of left[rows[p] + cols[k]] times `vectors` vectors of right, which follow each other. */
INLINE void NAME(tile)(const int vectors, vector sum[ROWS][2], const real *left, const int64_t *rows,
                       const int64_t *cols, int64_t count, const real *right)
{
    const real *a[ROWS];
    for (int p = 0; p < ROWS; p++) {
        a[p] = left + rows[p];
        sum[p][0] = sum[p][1] = (vector){0};
    }
    for (int64_t k = 0; k < count; k++, right += vectors * LANES)
        for (int p = 0; p < ROWS; p++)
            for (int v = 0; v < vectors; v++)
                sum[p][v] += a[p][cols[k]] * ((const vector *)right)[v];
}

/* The rows of one image that `rows` rows of y from `row` on meet, with zeros around. */
static void NAME(pad)(const geometry *g, const real *x, int64_t row, int64_t rows, real *padded)
{
    int64_t first = row * g->sh - g->top, line = wide(g) * g->c;
    int64_t begin = min(max(g->left, 0), wide(g)), end = max(min(g->w + g->left, wide(g)), begin);
    for (int64_t r = first; r < first + high(g, rows); r++, padded += line) {
        if (r < 0 || r >= g->h) {
            memset(padded, 0, line * sizeof(real));
            continue;
        }
        memset(padded, 0, begin * g->c * sizeof(real));
        memcpy(padded + begin * g->c, x + (r * g->w + begin - g->left) * g->c,
               (end - begin) * g->c * sizeof(real));
        memset(padded + end * g->c, 0, (line - end * g->c) * sizeof(real));
    }
}

/* Looks at rows `from` to `to` of y: the lists of `s`, and for each x the images that they refer to. */
static void NAME(look)(const geometry *g, view *s, const real *const *x, int64_t from, int64_t to, real *scratch,
                       const real **images)
{
    for (int64_t k = 0; k < g->inputs; k++)
        images[k] = g->padded ? scratch + k * g->scratch : x[k];
    if (g->lists > 1) {
        for (int64_t i = 0; i < g->kh; i++)
            for (int64_t j = 0; j < g->kw; j++)
                look_at(g, s, i, j, from, to);
        return;
    }
    int64_t size = g->h * g->w * g->c, used = 0, *window = s->windows, *place = s->places;
    s->pixels[0] = (to - from) * g->ow;
    for (int64_t count; from < to; from += count) {
        int64_t image = from / g->oh, row = from % g->oh, start = used;
        count = min(g->oh - row, to - from);
        if (g->padded)
            for (int64_t k = 0; k < g->inputs; k++)
                NAME(pad)(g, x[k] + image * size, row, count, scratch + k * g->scratch + used);
        else
            start = image * size + (row * g->sh - g->top) * line(g) - g->left * g->c;
        window = grid(window, start, count, g->sh * line(g), g->ow, g->sw * g->c, 1);
        place = grid(place, image * g->y_image + row * g->y_row, count, g->y_row, g->ow, g->y_pixel, 1);
        used += high(g, count) * line(g);
    }
    fill(window);
}

/* Sets or adds a tile to y, whose pixels lie at `places`. */
INLINE void NAME(store)(const int vectors, vector sum[ROWS][2], real *y, const int64_t *places, int64_t pixels,
                        int64_t channels, int add)
{
    if (pixels >= ROWS && channels >= vectors * LANES) {
        for (int p = 0; p < ROWS; p++)
            for (int v = 0; v < vectors; v++) {
                vector *to = (vector *)(y + places[p]) + v;
                if (add)
                    *to += sum[p][v];
                else
                    *to = sum[p][v];
            }
        return;
    }
    vector part[ROWS][2]; /* `sum` itself stays in registers if only known elements of it are named */
    for (int p = 0; p < ROWS; p++)
        for (int v = 0; v < vectors; v++)
            part[p][v] = sum[p][v];
    for (int p = 0; p < min(pixels, ROWS); p++)
        for (int64_t v = 0; v < min(channels, vectors * LANES); v++) {
            real *to = y + places[p] + v, from = ((const real *)part[p])[v];
            *to = add ? *to + from : from;
        }
}

/* Zeros in rows `from` to `to` of y. */
static void NAME(clear)(const geometry *g, real *y, int64_t from, int64_t to)
{
    for (; from < to; from++)
        for (int64_t q = 0; q < g->ow; q++)
            memset(y + from / g->oh * g->y_image + from % g->oh * g->y_row + q * g->y_pixel, 0,
                   g->o * sizeof(real));
}

/* Brings what `count` taps give into `vectors` vectors of channels of y, for the pixels of a list. */
INLINE void NAME(convolve)(const int vectors, const real *image, const int64_t *windows, const int64_t *places,
                           int64_t pixels, const int64_t *taps, int64_t count, const real *right, real *y,
                           int64_t channels, int add)
{
    for (int64_t p = 0; p < pixels; p += ROWS) {
        vector sum[ROWS][2];
        NAME(tile)(vectors, sum, image, windows + p, taps, count, right);
        NAME(store)(vectors, sum, y, places + p, pixels - p, channels, add);
    }
}

/* y, the sum of what each x gives with its taps, as packed by conv2d_pack. Bands are taken from *next on. */
void NAME(conv2d)(const geometry *g, const real *const *x, const real *const *taps, real *y, int64_t *next,
                  int64_t *index, real *scratch)
{
    view s = views(g, index);
    int64_t slab = max(1, (s.count - 1) / ((s.count - 1) / DEPTH + 1) + 1);
    for (int64_t from; (from = __atomic_fetch_add(next, g->deep, __ATOMIC_RELAXED)) < g->rows;) {
        const real *images[2];
        int64_t to = min(from + g->deep, g->rows);
        NAME(look)(g, &s, x, from, to, scratch, images);
        if (g->lists > 1)
            NAME(clear)(g, y, from, to);
        for (int64_t o = 0; o < g->o; o += WIDTH)
            for (int64_t k = 0; k < g->inputs; k++)
                for (int64_t list = 0; list < g->lists; list++)
                    for (int64_t t = 0; t == 0 || t < s.count; t += slab) {
                        const int64_t *windows = s.windows + list * s.room, *places = s.places + list * s.room;
                        int64_t pixels = s.pixels[list], count = min(slab, s.count - t), channels = g->o - o;
                        int64_t width = channels > LANES ? WIDTH : LANES, add = g->lists > 1 || k + t > 0;
                        const real *right = taps[k] + o * s.count * g->lists + (list * s.count + t) * width;
                        if (width == WIDTH)
                            NAME(convolve)(2, images[k], windows, places, pixels, s.taps + t, count, right, y + o,
                                           channels, add);
                        else
                            NAME(convolve)(1, images[k], windows, places, pixels, s.taps + t, count, right, y + o,
                                           channels, add);
                    }
    }
}

/* Taps in blocks of WIDTH output channels, the last of LANES if that is enough: `all` rows for each block. Filters
 * may have any strides; blocks `from` to `to`. */
void NAME(conv2d_pack)(const int64_t shape[4], const int64_t strides[4], const real *w, real *packed, int64_t from,
                       int64_t to)
{
    int64_t o = shape[0], all = shape[1] * shape[2] * shape[3];
    for (int64_t start = from * WIDTH; start < min(to * WIDTH, o); start += WIDTH) {
        int64_t width = o - start > LANES ? WIDTH : LANES, count = min(width, o - start);
        real *row = packed + start * all;
        for (int64_t i = 0; i < shape[1]; i++)
            for (int64_t j = 0; j < shape[2]; j++)
                for (int64_t k = 0; k < shape[3]; k++, row += width) {
                    const real *tap = w + start * strides[0] + i * strides[1] + j * strides[2] + k * strides[3];
                    for (int64_t v = 0; v < width; v++)
                        row[v] = v < count ? tap[v * strides[0]] : 0;
                }
    }
}

/* Adds to `total`, a row for each of `taps` and more up to a whole tile, what some pixels of a list give with
 * `vectors` vectors of channels of their cotangents. */
INLINE void NAME(correlate)(const int vectors, const real *image, const int64_t *windows, const int64_t *places,
                            int64_t pixels, const int64_t *taps, int64_t count, const real *ct, int64_t channels,
                            real *total)
{
    real right[HEIGHT * WIDTH], *row = right; /* the cotangents one after the other, with zeros up to a vector */
    for (int64_t p = 0; p < pixels; p++, row += vectors * LANES)
        if (channels >= vectors * LANES)
            memcpy(row, ct + places[p], vectors * BYTES);
        else
            for (int64_t v = 0; v < vectors * LANES; v++)
                row[v] = v < channels ? ct[places[p] + v] : 0;
    for (int64_t t = 0; t < count; t += ROWS) {
        vector sum[ROWS][2];
        NAME(tile)(vectors, sum, image, taps + t, windows, pixels, right);
        for (int p = 0; p < ROWS; p++)
            for (int v = 0; v < vectors; v++, total += LANES)
                *(vector *)total += sum[p][v];
    }
}

/* The derivative in the filters: in each of `parts` parts of the rows of ct, sums for each tap, in blocks like
 * those of conv2d_pack, but with room for whole tiles in each list. Blocks are cut in `cuts`; tasks from *next on. */
void NAME(conv2d_filter)(const geometry *g, const real *const *x, const real *ct, real *sums, int64_t parts,
                         int64_t cuts, int64_t *next, int64_t *index, real *scratch)
{
    view s = views(g, index);
    int64_t blocks = (g->o + WIDTH - 1) / WIDTH, whole = (s.count + ROWS - 1) / ROWS * ROWS;
    for (int64_t task; (task = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED)) < parts * cuts;) {
        int64_t first = blocks * (task % cuts) / cuts * WIDTH, last = blocks * (task % cuts + 1) / cuts * WIDTH;
        int64_t part = task / cuts, from = g->rows * part / parts, stop = g->rows * (part + 1) / parts;
        real *panels = sums + part * blocks * WIDTH * whole * g->lists;
        memset(panels + first * whole * g->lists, 0, (last - first) * whole * g->lists * sizeof(real));
        for (int64_t to; from < stop; from = to) {
            to = min(from + g->deep, stop);
            const real *image;
            NAME(look)(g, &s, x, from, to, scratch, &image);
            for (int64_t o = first; o < min(last, g->o); o += WIDTH)
                for (int64_t list = 0; list < g->lists; list++)
                    for (int64_t p = 0; p < s.pixels[list]; p += HEIGHT) {
                        const int64_t *windows = s.windows + list * s.room + p;
                        const int64_t *places = s.places + list * s.room + p;
                        int64_t pixels = min(HEIGHT, s.pixels[list] - p), channels = g->o - o;
                        int64_t width = channels > LANES ? WIDTH : LANES;
                        real *total = panels + o * whole * g->lists + list * whole * width;
                        if (width == WIDTH)
                            NAME(correlate)(2, image, windows, places, pixels, s.taps, s.count, ct + o, channels,
                                            total);
                        else
                            NAME(correlate)(1, image, windows, places, pixels, s.taps, s.count, ct + o, channels,
                                            total);
                    }
        }
    }
}

/* dw, (o, lists taps), for the blocks `from` to `to`: all parts of `sums` added up. */
void NAME(conv2d_fold)(int64_t o, int64_t lists, int64_t taps, int64_t parts, const real *sums, real *dw,
                       int64_t from, int64_t to)
{
    int64_t whole = (taps + ROWS - 1) / ROWS * ROWS, size = (o + WIDTH - 1) / WIDTH * WIDTH * whole * lists;
    for (int64_t start = from * WIDTH; start < min(to * WIDTH, o); start += WIDTH) {
        int64_t width = o - start > LANES ? WIDTH : LANES;
        for (int64_t t = 0; t < lists * taps; t++) {
            const real *row = sums + start * whole * lists + (t / taps * whole + t % taps) * width;
            vector total[2] = {0};
            for (int64_t part = 0; part < parts; part++)
                for (int v = 0; v < width / LANES; v++)
                    total[v] += ((const vector *)(row + part * size))[v];
            for (int64_t v = 0; v < min(width, o - start); v++)
                dw[(start + v) * lists * taps + t] = ((const real *)total)[v];
        }
    }
}

#undef vector
#endif
