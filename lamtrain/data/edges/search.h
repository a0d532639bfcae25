/* The search around one cell: candidates, which of them are near an atom, and these in order. */
#pragma once
#include "room.h"
#include <string.h>

/* Atoms by cell, those of one cell by index. */
static int sort_into_cells(Space *space, const Grid *grid, const double *points, int64_t natoms)
{
    const int64_t cells = (int64_t)grid->shape[0] * grid->shape[1] * grid->shape[2];
    if (room_for_atoms(space, natoms) || room_for_cells(space, cells))
        return FULL;
    memset(space->first, 0, (size_t)(cells + 1) * sizeof(int32_t));
    const double (*inverse)[3] = grid->inverse;
    for (int64_t i = 0; i < natoms; i++) {
        const double *at = points + 3 * i;
        int32_t inside[3];
        for (int k = 0; k < 3; k++) {
            double part = at[0] * inverse[0][k] + at[1] * inverse[1][k] + at[2] * inverse[2][k];
            if (!grid->periodic[k])
                part = (at[k] - grid->low[k]) / grid->between[k];
            part = floor(part * (double)grid->shape[k]);
            if (!(fabs(part) < 1e9))
                return REFUSED;
            space->outside[i][k] = divide((int32_t)part, grid->shape[k], &inside[k]);
        }
        space->cell[i] = (inside[2] * grid->shape[1] + inside[1]) * grid->shape[0] + inside[0];
        space->first[space->cell[i] + 1]++;
    }
    for (int64_t c = 0; c < cells; c++)
        space->first[c + 1] += space->first[c];
    for (int64_t i = natoms - 1; i >= 0; i--) /* from the back: each cell's end moves down to its beginning */
        space->order[--space->first[space->cell[i] + 1]] = (int32_t)i;
    for (int64_t c = 0; c < cells; c++)
        space->first[c] = space->first[c + 1];
    space->first[cells] = (int32_t)natoms;
    return DONE;
}

/* Cell `at` in one direction, and the image it is seen in; 0 where there is nothing. */
static int look(const Grid *grid, int k, int32_t at, int32_t *cell, int32_t *image)
{
    *cell = at;
    *image = 0;
    if (at >= 0 && at < grid->shape[k])
        return 1;
    if (grid->periodic[k])
        *image = divide(at, grid->shape[k], cell);
    return grid->periodic[k];
}

/* Gather the atoms around cell `at` as candidates. Those of one atom come in the order of their images, which is that of vesin.
   The cell's own atoms are candidates from `own` on. */
static int gather(Space *space, const Grid *grid, const int32_t *at, const double *points, int64_t *own, int64_t *count)
{
    int64_t blocks = 0, all = 0;
    const int32_t *reach = grid->reach;
    int32_t cell[3], image[3];
    for (int32_t x = at[0] - reach[0]; x <= at[0] + reach[0]; x++) {
        if (!look(grid, 0, x, &cell[0], &image[0]))
            continue;
        for (int32_t y = at[1] - reach[1]; y <= at[1] + reach[1]; y++) {
            if (!look(grid, 1, y, &cell[1], &image[1]))
                continue;
            for (int32_t z = at[2] - reach[2]; z <= at[2] + reach[2]; z++) {
                if (!look(grid, 2, z, &cell[2], &image[2]))
                    continue;
                const int32_t *first = space->first + (cell[2] * grid->shape[1] + cell[1]) * grid->shape[0] + cell[0];
                const Block block = {first[0], first[1], {image[0], image[1], image[2]}};
                if (x == at[0] && y == at[1] && z == at[2])
                    *own = all;
                if (block.last > block.first)
                    space->block[blocks++] = block;
                all += block.last - block.first;
            }
        }
    }
    const int state = room_for_candidates(space, all);
    if (state)
        return state;
    int64_t k = 0;
    for (int64_t b = 0; b < blocks; b++) {
        const Block block = space->block[b];
        for (int32_t i = block.first; i < block.last; i++, k++) {
            const int32_t atom = space->order[i];
            space->atom[k] = atom;
            for (int axis = 0; axis < 3; axis++) {
                space->position[axis][k] = points[3 * (int64_t)atom + axis];
                space->image[axis][k] = (double)(block.image[axis] - space->outside[atom][axis]);
            }
        }
    }
    *count = all;
    return DONE;
}

/* Lattice vectors from an atom that lies `outside` its cell to each candidate's image, in Å. */
static void set_offsets(double *restrict to, const double *restrict a, const double *restrict b, const double *restrict c, int64_t count,
                        const int32_t *outside, const double *row_a, const double *row_b, const double *row_c)
{
    const double i = outside[0], j = outside[1], k = outside[2], of_a = *row_a, of_b = *row_b, of_c = *row_c;
    for (int64_t n = 0; n < count; n++)
        to[n] = (a[n] + i) * of_a + (b[n] + j) * of_b + (c[n] + k) * of_c;
}

static void set_squares(const Space *space, int64_t count, const double *from)
{
    const double *restrict x = space->position[0], *restrict y = space->position[1], *restrict z = space->position[2];
    const double *restrict u = space->offset[0], *restrict v = space->offset[1], *restrict w = space->offset[2];
    double *restrict square = space->square;
    const double from_x = from[0], from_y = from[1], from_z = from[2];
    for (int64_t n = 0; n < count; n++) {
        const double a = x[n] - from_x + u[n], b = y[n] - from_y + v[n], c = z[n] - from_z + w[n];
        square[n] = a * a + b * b + c * c;
    }
}

/* The candidates within the cutoff of `from`, how far and where they are; how many, or -1 without memory. */
static int64_t find_near(Space *space, int64_t count, const double *from, double cutoff)
{
    const double limit = cutoff * cutoff;
    int32_t *hit = space->hit;
    int64_t near = 0;
    for (int64_t n = 0; n < count; n++) {
        hit[near] = (int32_t)n;
        near += space->square[n] < limit;
    }
    if (room_for_hits(space, near))
        return -1;
    for (int64_t n = 0; n < near; n++) {
        const int32_t k = hit[n];
        space->found[n] = (Found){sqrt(space->square[k]), space->atom[k], (int32_t)n};
        for (int axis = 0; axis < 3; axis++)
            space->vector[n][axis] = space->position[axis][k] - from[axis] + space->offset[axis][k];
    }
    return near;
}

/* Nearest first; at one distance by index, and images of one atom in the order of the search. */
static int is_before(const Found *a, const Found *b)
{
    if (a->distance != b->distance)
        return a->distance < b->distance;
    return a->atom != b->atom ? a->atom < b->atom : a->place < b->place;
}

static int compare(const void *a, const void *b)
{
    return is_before(a, b) ? -1 : 1;
}

/* Into buckets of equal volume, then each by insertion. */
static void sort_found(Space *space, int64_t count, double cutoff)
{
    Found *sorted = space->sorted;
    const double scale = BUCKETS / (cutoff * cutoff * cutoff);
    int64_t begin[BUCKETS + 1] = {0};
    for (int64_t n = 0; n < count; n++) {
        const double d = space->found[n].distance;
        const int64_t bucket = (int64_t)(d * d * d * scale);
        space->bucket[n] = (uint8_t)(bucket < BUCKETS ? bucket : BUCKETS - 1);
        begin[space->bucket[n] + 1]++;
    }
    for (int b = 0; b < BUCKETS; b++)
        begin[b + 1] += begin[b];
    for (int64_t n = 0; n < count; n++)
        sorted[begin[space->bucket[n]]++] = space->found[n]; /* so that begin[b] becomes the end of bucket b */
    for (int b = 0; b < BUCKETS; b++) {
        const int64_t first = b ? begin[b - 1] : 0, many = begin[b] - first;
        if (many > FEW)
            qsort(sorted + first, (size_t)many, sizeof(Found), compare);
    }
    for (int64_t n = 1; n < count; n++) {
        const Found one = sorted[n];
        int64_t to = n;
        for (; to > 0 && is_before(&one, &sorted[to - 1]); to--)
            sorted[to] = sorted[to - 1];
        sorted[to] = one;
    }
}
