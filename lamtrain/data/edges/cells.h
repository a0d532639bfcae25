/* The cells that space is cut into, as vesin cuts it: positions and lattice vectors -> a grid, and how space goes on across its borders. */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { DONE = 0, REFUSED = 1, FULL = 2 }; /* refused: for vesin, which says what is wrong, or knows what to do */
enum { MAX_CELLS = 100000, MAX_CANDIDATES = 1 << 22, BUCKETS = 256, FEW = 32, ALIGNED = 64 };

static double dot(const double *u, const double *v)
{
    return u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
}

static void cross(const double *u, const double *v, double *out)
{
    out[0] = u[1] * v[2] - u[2] * v[1];
    out[1] = u[2] * v[0] - u[0] * v[2];
    out[2] = u[0] * v[1] - u[1] * v[0];
}

static void normalize(double *u)
{
    const double factor = 1.0 / sqrt(dot(u, u));
    for (int k = 0; k < 3; k++)
        u[k] = u[k] * factor;
}

static void normal(const double *u, const double *v, double *out)
{
    cross(u, v, out);
    normalize(out);
}

typedef struct {
    double rows[3][3];    /* lattice vectors; a direction that is not periodic is perpendicular to those that are */
    double inverse[3][3];
    double low[3];        /* the smallest coordinates */
    double between[3];    /* Å between the faces; where it is not periodic, what the atoms take up */
    int periodic[3];
    int32_t shape[3];     /* cells in each direction */
    int32_t reach[3];     /* cells to look at to either side */
} Grid;

/* Rows of directions that are not periodic say nothing. */
static void set_rows(Grid *grid, const double *cell)
{
    const int *periodic = grid->periodic, all = periodic[0] + periodic[1] + periodic[2];
    memcpy(grid->rows, cell, sizeof grid->rows);
    if (all == 0) {
        const double one[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
        memcpy(grid->rows, one, sizeof one);
    } else if (all == 1) {
        const int along = periodic[0] ? 0 : periodic[1] ? 1 : 2;
        double a[3], b[3] = {0, 1, 0}, *second = grid->rows[(along + 1) % 3], *third = grid->rows[(along + 2) % 3];
        memcpy(a, grid->rows[along], sizeof a);
        normalize(a);
        if (fabs(dot(a, b)) > 0.9) {
            b[1] = 0;
            b[2] = 1;
        }
        memcpy(a, grid->rows[along], sizeof a);
        normal(a, b, third);
        normal(third, a, second);
    } else if (all == 2) {
        const int open = !periodic[0] ? 0 : !periodic[1] ? 1 : 2, first = open == 0 ? 1 : 0, last = open == 2 ? 1 : 2;
        normal(grid->rows[first], grid->rows[last], grid->rows[open]);
    }
}

static void invert(double (*m)[3], double (*out)[3], double det)
{
    out[0][0] = (m[1][1] * m[2][2] - m[2][1] * m[1][2]) / det;
    out[0][1] = (m[0][2] * m[2][1] - m[0][1] * m[2][2]) / det;
    out[0][2] = (m[0][1] * m[1][2] - m[0][2] * m[1][1]) / det;
    out[1][0] = (m[1][2] * m[2][0] - m[1][0] * m[2][2]) / det;
    out[1][1] = (m[0][0] * m[2][2] - m[0][2] * m[2][0]) / det;
    out[1][2] = (m[1][0] * m[0][2] - m[0][0] * m[1][2]) / det;
    out[2][0] = (m[1][0] * m[2][1] - m[2][0] * m[1][1]) / det;
    out[2][1] = (m[2][0] * m[0][1] - m[0][0] * m[2][1]) / det;
    out[2][2] = (m[0][0] * m[1][1] - m[1][0] * m[0][1]) / det;
}

/* At least as wide as the cutoff, or all of the cell; not too many in a large and empty space. */
static int set_shape(Grid *grid, double cutoff)
{
    const double *between = grid->between;
    double many[3];
    for (int k = 0; k < 3; k++) {
        many[k] = trunc(between[k] / cutoff);
        if (!(many[k] >= 1.0))
            many[k] = 1.0;
    }
    if (many[0] * many[1] * many[2] > MAX_CELLS) {
        const double xy = many[0] / many[1], yz = many[1] / many[2];
        many[2] = trunc(cbrt(MAX_CELLS / (xy * yz * yz)));
        many[1] = trunc(yz * many[2]);
        many[0] = trunc(xy * many[1]);
    }
    const int *periodic = grid->periodic, mixed = (periodic[0] || periodic[1] || periodic[2]) && !(periodic[0] && periodic[1] && periodic[2]);
    for (int k = 0; k < 3; k++) {
        const double reach = ceil(cutoff * many[k] / between[k]);
        if (!(many[k] >= 1.0 && many[k] <= MAX_CELLS && reach <= MAX_CELLS))
            return REFUSED;
        grid->shape[k] = (int32_t)many[k];
        grid->reach[k] = reach < 1.0 ? 1 : (int32_t)reach;
        if (mixed && !periodic[k] && grid->reach[k] < grid->shape[k] - 1)
            grid->reach[k] = grid->shape[k] - 1; /* an image may be shifted along this direction too */
    }
    return DONE;
}

static int set_grid(Grid *grid, const double *points, int64_t natoms, const double *cell, const char *pbc, double cutoff)
{
    for (int k = 0; k < 3; k++)
        grid->periodic[k] = pbc[k] != 0;
    set_rows(grid, cell);
    double (*m)[3] = grid->rows;
    const double det = m[0][0] * (m[1][1] * m[2][2] - m[2][1] * m[1][2]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
                     + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
    if (!(fabs(det) >= 1e-30 && isfinite(det)))
        return REFUSED;
    invert(m, grid->inverse, det);
    for (int k = 0; k < 3; k++) {
        double across[3], high = points[k];
        normal(m[(k + 1) % 3], m[(k + 2) % 3], across);
        grid->between[k] = fabs(dot(across, m[k]));
        grid->low[k] = points[k];
        for (int64_t i = 0; i < natoms; i++) {
            const double x = points[3 * i + k];
            if (!isfinite(x))
                return REFUSED;
            if (x < grid->low[k])
                grid->low[k] = x;
            if (x > high)
                high = x;
        }
        if (high - grid->low[k] < 1e-6)
            high = grid->low[k] + 1;
        if (!grid->periodic[k]) {
            grid->between[k] = (high - grid->low[k]) * 1.01;
            if (grid->between[k] < 1.0)
                grid->between[k] = 1.0;
        }
        if (!isfinite(grid->between[k]))
            return REFUSED;
    }
    return set_shape(grid, cutoff);
}

/* Quotient and remainder, which is never negative. */
static int32_t divide(int32_t a, int32_t b, int32_t *rest)
{
    int32_t whole = a / b;
    *rest = a % b;
    if (*rest < 0) {
        *rest += b;
        whole--;
    }
    return whole;
}
