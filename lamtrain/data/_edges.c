/* Finds the edges of structures, and lays edges out in chunks; what `edge_table.py` says of both.

   A pair that vesin finds is found here, with the same bits: space is cut into cells as vesin cuts it, and what is measured is added up in
   its order. No product may be contracted with a sum (-ffp-contract=off).
   Written to the stable interface of Python 3.11, so that one build serves every later version. Other threads run meanwhile. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { DONE = 0, REFUSED = 1, FULL = 2 }; /* refused: for vesin, which says what is wrong, or knows what to do */
enum { MAX_CELLS = 100000, MAX_CANDIDATES = 1 << 22, BUCKETS = 256, FEW = 32, ALIGNED = 64 };

/* ---------------------------------------------------------------- vectors */

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

/* ---------------------------------------------------------------- the cells that space is cut into */

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

/* ---------------------------------------------------------------- room to work in */

typedef struct {
    double distance;
    int32_t atom, place; /* place: of all that were found, in the order of the search */
} Found;

/* Atoms of a cell, seen from an image of the cell. */
typedef struct {
    int32_t first, last, image[3];
} Block;

typedef struct {
    void *memory[5];
    int64_t natoms, cells, blocks, candidates, hits; /* how many there is room for */
    int32_t *cell, *order, (*outside)[3]; /* of atoms: cell, atoms by cell, how many lattice vectors each lies outside */
    int32_t *first;                       /* (cells + 1) where the atoms of each begin in `order` */
    Block *block;
    double *position[3], *image[3], *offset[3], *square; /* of candidates: Å, lattice vectors to their image, these in Å, Å^2 */
    int32_t *atom, *hit;                                 /* of candidates: which atom, and which of them are near */
    Found *found, *sorted;
    double (*vector)[3];
    uint8_t *bucket;
} Space;

static int allocate(Space *space, int which, int64_t bytes)
{
    free(space->memory[which]);
    space->memory[which] = malloc((size_t)bytes + ALIGNED);
    return space->memory[which] ? DONE : FULL;
}

static int room_for_atoms(Space *space, int64_t natoms)
{
    if (natoms <= space->natoms)
        return DONE;
    space->natoms = 0;
    if (allocate(space, 0, natoms * 5 * (int64_t)sizeof(int32_t)))
        return FULL;
    space->natoms = natoms;
    space->cell = space->memory[0];
    space->order = space->cell + natoms;
    space->outside = (int32_t (*)[3])(space->order + natoms);
    return DONE;
}

static int room_for_cells(Space *space, int64_t cells)
{
    if (cells <= space->cells)
        return DONE;
    space->cells = 0;
    if (allocate(space, 1, (cells + 1) * (int64_t)sizeof(int32_t)))
        return FULL;
    space->cells = cells;
    space->first = space->memory[1];
    return DONE;
}

static int room_for_blocks(Space *space, const Grid *grid)
{
    const double count = (2.0 * grid->reach[0] + 1) * (2.0 * grid->reach[1] + 1) * (2.0 * grid->reach[2] + 1);
    if (count <= (double)space->blocks)
        return DONE;
    if (count > MAX_CANDIDATES)
        return REFUSED;
    space->blocks = 0;
    if (allocate(space, 2, (int64_t)count * (int64_t)sizeof(Block)))
        return FULL;
    space->blocks = (int64_t)count;
    space->block = space->memory[2];
    return DONE;
}

static int room_for_candidates(Space *space, int64_t count)
{
    if (count <= space->candidates)
        return DONE;
    if (count > MAX_CANDIDATES)
        return REFUSED;
    count = (count + count / 2 + ALIGNED) / ALIGNED * ALIGNED;
    space->candidates = 0;
    if (allocate(space, 3, count * (int64_t)(10 * sizeof(double) + 2 * sizeof(int32_t))))
        return FULL;
    space->candidates = count;
    double *at = (double *)(((uintptr_t)space->memory[3] + ALIGNED - 1) / ALIGNED * ALIGNED);
    for (int k = 0; k < 3; k++) {
        space->position[k] = at + k * count;
        space->image[k] = at + (3 + k) * count;
        space->offset[k] = at + (6 + k) * count;
    }
    space->square = at + 9 * count;
    space->atom = (int32_t *)(at + 10 * count);
    space->hit = space->atom + count;
    return DONE;
}

static int room_for_hits(Space *space, int64_t count)
{
    if (count <= space->hits)
        return DONE;
    count += count / 2;
    space->hits = 0;
    if (allocate(space, 4, count * (int64_t)(2 * sizeof(Found) + 3 * sizeof(double) + 1)))
        return FULL;
    space->hits = count;
    space->found = space->memory[4];
    space->sorted = space->found + count;
    space->vector = (double (*)[3])(space->sorted + count);
    space->bucket = (uint8_t *)(space->vector + count);
    return DONE;
}

/* ---------------------------------------------------------------- the search */

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

/* ---------------------------------------------------------------- find */

typedef struct {
    Py_buffer positions, starts, cells, pbc, cutoffs, mosts, begins, counts, neighbors, vectors, truncated;
} Find;

typedef struct {
    const double *cutoffs;
    const int64_t *mosts;
    int64_t lists, atoms, edges;          /* edges: written so far */
    int64_t *begins, *counts, *truncated; /* begins (atoms), counts (lists, atoms), truncated (lists) */
    int64_t *neighbors;
    double (*vectors)[3];
} Table;

/* Write down the nearest of what was found of an atom, and how many are within each list's cutoff. */
static void put(Table *table, const Space *space, int64_t found, int64_t atom, int64_t first_atom)
{
    const int64_t kept = found < table->mosts[0] ? found : table->mosts[0];
    table->begins[atom] = table->edges;
    for (int64_t n = 0; n < kept; n++) {
        const Found *one = &space->sorted[n];
        table->neighbors[table->edges + n] = first_atom + one->atom;
        memcpy(table->vectors[table->edges + n], space->vector[one->place], 3 * sizeof(double));
    }
    table->edges += kept;
    for (int64_t l = 0; l < table->lists; l++) {
        int64_t within = found;
        if (l)
            for (within = 0; within < kept && space->sorted[within].distance < table->cutoffs[l];)
                within++;
        table->counts[l * table->atoms + atom] = within < table->mosts[l] ? within : table->mosts[l];
        table->truncated[l] += within > table->mosts[l];
    }
}

static int search_around(Space *space, const Grid *grid, const int32_t *at, const double *points, int64_t first_atom, Table *table)
{
    const int32_t *first = space->first + ((int64_t)at[2] * grid->shape[1] + at[1]) * grid->shape[0] + at[0];
    const int32_t *before = NULL;
    int64_t own = 0, count = 0;
    if (first[0] == first[1])
        return DONE;
    const int state = gather(space, grid, at, points, &own, &count);
    if (state)
        return state;
    for (int32_t n = first[0]; n < first[1]; n++) {
        const int32_t atom = space->order[n], *outside = space->outside[atom];
        const double *from = points + 3 * (int64_t)atom;
        if (!before || memcmp(before, outside, 3 * sizeof(int32_t)))
            for (int axis = 0; axis < 3; axis++)
                set_offsets(space->offset[axis], space->image[0], space->image[1], space->image[2], count, outside, &grid->rows[0][axis],
                            &grid->rows[1][axis], &grid->rows[2][axis]);
        before = outside;
        set_squares(space, count, from);
        space->square[own + n - first[0]] = INFINITY; /* an atom is no neighbour of itself, but its images are */
        const int64_t found = find_near(space, count, from, table->cutoffs[0]);
        if (found < 0)
            return FULL;
        sort_found(space, found, table->cutoffs[0]);
        put(table, space, found, first_atom + atom, first_atom);
    }
    return DONE;
}

static int search(Space *space, const double *points, int64_t natoms, const double *cell, const char *pbc, int64_t first_atom, Table *table)
{
    Grid grid;
    int state = natoms > INT32_MAX ? REFUSED : set_grid(&grid, points, natoms, cell, pbc, table->cutoffs[0]);
    if (!state)
        state = sort_into_cells(space, &grid, points, natoms);
    if (!state)
        state = room_for_blocks(space, &grid);
    int32_t at[3];
    for (at[2] = 0; !state && at[2] < grid.shape[2]; at[2]++)
        for (at[1] = 0; !state && at[1] < grid.shape[1]; at[1]++)
            for (at[0] = 0; !state && at[0] < grid.shape[0]; at[0]++)
                state = search_around(space, &grid, at, points, first_atom, table);
    return state;
}

static int search_all(const Find *find, Table *table, int64_t frames)
{
    Space space = {0};
    const int64_t *starts = find->starts.buf;
    int state = DONE;
    for (int64_t f = 0; !state && f < frames; f++)
        if (starts[f + 1] > starts[f])
            state = search(&space, (const double *)find->positions.buf + 3 * starts[f], starts[f + 1] - starts[f],
                           (const double *)find->cells.buf + 9 * f, (const char *)find->pbc.buf + 3 * f, starts[f], table);
    for (int k = 0; k < 5; k++)
        free(space.memory[k]);
    return state;
}

/* What else might be written outside of its array: 1 if all have the sizes that go together. */
static int fits(const Find *find, Table *table, int64_t *frames)
{
    const int64_t number = sizeof(int64_t), *starts = find->starts.buf;
    *frames = find->starts.len / number - 1;
    table->lists = find->mosts.len / number;
    table->atoms = find->positions.len / (3 * (int64_t)sizeof(double));
    if (*frames < 0 || table->lists < 1 || find->cells.len != *frames * 9 * (int64_t)sizeof(double) || find->pbc.len != *frames * 3
        || find->cutoffs.len != table->lists * (int64_t)sizeof(double) || starts[0] != 0 || starts[*frames] != table->atoms)
        return 0;
    for (int64_t f = 0; f < *frames; f++)
        if (starts[f + 1] < starts[f])
            return 0;
    const int64_t most = table->mosts[0];
    return most >= 0 && table->cutoffs[0] > 1e-6 && isfinite(table->cutoffs[0]) && find->begins.len == table->atoms * number
        && find->counts.len == table->lists * table->atoms * number && find->truncated.len == table->lists * number
        && find->neighbors.len >= table->atoms * most * number && find->vectors.len >= table->atoms * most * 3 * (int64_t)sizeof(double);
}

static PyObject *find_edges(PyObject *self, PyObject *args)
{
    Find find;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*w*w*w*w*w*", &find.positions, &find.starts, &find.cells, &find.pbc, &find.cutoffs, &find.mosts,
                          &find.begins, &find.counts, &find.neighbors, &find.vectors, &find.truncated))
        return NULL;
    Table table = {.cutoffs = find.cutoffs.buf, .mosts = find.mosts.buf, .begins = find.begins.buf, .counts = find.counts.buf,
                   .truncated = find.truncated.buf, .neighbors = find.neighbors.buf, .vectors = find.vectors.buf};
    int64_t frames = 0;
    int state = DONE;
    const int right = fits(&find, &table, &frames);
    if (right) {
        memset(table.truncated, 0, (size_t)find.truncated.len);
        Py_BEGIN_ALLOW_THREADS
        state = search_all(&find, &table, frames);
        Py_END_ALLOW_THREADS
    }
    Py_buffer *all = &find.positions;
    for (size_t k = 0; k < sizeof find / sizeof *all; k++)
        PyBuffer_Release(&all[k]);
    if (!right)
        return PyErr_Format(PyExc_ValueError, "find: the sizes of the arrays do not go together");
    if (state == FULL)
        return PyErr_NoMemory();
    return PyLong_FromLongLong(state == REFUSED ? -1 : table.edges);
}

/* ---------------------------------------------------------------- lay out */

typedef struct {
    Py_buffer order, rank, begins, counts, neighbors, vectors, cuts, widths, places, out_vectors, out_neighbors;
} Lay;

/* Rows `start:stop` as a table of `width` slots; 1 if an edge leads outside of its array. */
#define LAY_ROWS(floating)                                                                                                                 \
    do {                                                                                                                                   \
        floating *to = (floating *)lay->out_vectors.buf + 3 * place;                                                                       \
        for (int64_t row = start; row < stop; row++) {                                                                                     \
            const int64_t atom = order[row];                                                                                               \
            if ((uint64_t)atom >= (uint64_t)atoms)                                                                                         \
                return 1;                                                                                                                  \
            const int64_t begin = begins[atom], count = counts[atom];                                                                      \
            if (count < 0 || count > width || begin < 0 || begin > edges - count)                                                          \
                return 1;                                                                                                                  \
            const double *from = vectors + 3 * begin;                                                                                      \
            for (int64_t n = 0; n < 3 * count; n++)                                                                                        \
                to[n] = (floating)from[n];                                                                                                 \
            for (int64_t n = count; n < width; n++) {                                                                                      \
                to[3 * n] = (floating)far;                                                                                                 \
                to[3 * n + 1] = to[3 * n + 2] = 0;                                                                                         \
            }                                                                                                                              \
            for (int64_t n = 0; n < count; n++) {                                                                                          \
                const int64_t neighbor = neighbors[begin + n];                                                                             \
                if ((uint64_t)neighbor >= (uint64_t)atoms)                                                                                 \
                    return 1;                                                                                                              \
                out[n] = rank[neighbor];                                                                                                   \
            }                                                                                                                              \
            for (int64_t n = count; n < width; n++)                                                                                        \
                out[n] = row;                                                                                                              \
            to += 3 * width;                                                                                                               \
            out += width;                                                                                                                  \
        }                                                                                                                                  \
    } while (0)

static int lay_chunk(const Lay *lay, int64_t chunk, double far, int itemsize)
{
    const int64_t *order = lay->order.buf, *rank = lay->rank.buf, *begins = lay->begins.buf, *counts = lay->counts.buf;
    const int64_t *neighbors = lay->neighbors.buf, *cuts = lay->cuts.buf, number = sizeof(int64_t);
    const double *vectors = lay->vectors.buf;
    const int64_t start = cuts[chunk], stop = cuts[chunk + 1], width = ((const int64_t *)lay->widths.buf)[chunk];
    const int64_t place = ((const int64_t *)lay->places.buf)[chunk], room = lay->out_neighbors.len / number;
    const int64_t atoms = lay->order.len / number, edges = lay->neighbors.len / number;
    if (start < 0 || stop < start || stop > atoms || width < 0 || place < 0 || place > room || (width && stop - start > (room - place) / width))
        return 1;
    int64_t *out = (int64_t *)lay->out_neighbors.buf + place;
    if (itemsize == 4)
        LAY_ROWS(float);
    else
        LAY_ROWS(double);
    return 0;
}

static PyObject *lay_out(PyObject *self, PyObject *args)
{
    Lay lay;
    double far;
    int itemsize;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*y*y*y*w*w*di", &lay.order, &lay.rank, &lay.begins, &lay.counts, &lay.neighbors, &lay.vectors,
                          &lay.cuts, &lay.widths, &lay.places, &lay.out_vectors, &lay.out_neighbors, &far, &itemsize))
        return NULL;
    const int64_t number = sizeof(int64_t), chunks = lay.widths.len / number;
    int wrong = (itemsize != 4 && itemsize != 8) || lay.cuts.len != (chunks + 1) * number || lay.places.len != lay.widths.len
             || lay.rank.len != lay.order.len || lay.begins.len != lay.order.len || lay.counts.len != lay.order.len
             || lay.vectors.len / 24 != lay.neighbors.len / number || lay.out_vectors.len / (3 * itemsize) != lay.out_neighbors.len / number;
    Py_BEGIN_ALLOW_THREADS
    for (int64_t chunk = 0; !wrong && chunk < chunks; chunk++)
        wrong = lay_chunk(&lay, chunk, far, itemsize);
    Py_END_ALLOW_THREADS
    Py_buffer *all = &lay.order;
    for (size_t k = 0; k < sizeof lay / sizeof *all; k++)
        PyBuffer_Release(&all[k]);
    if (wrong)
        return PyErr_Format(PyExc_ValueError, "an edge or a row lies outside its array");
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"find", find_edges, METH_VARARGS,
     "find(positions, starts, cells, pbc, cutoffs, mosts, begins, counts, neighbors, vectors, truncated): how many edges, or -1 for vesin."},
    {"lay_out", lay_out, METH_VARARGS,
     "lay_out(order, rank, begins, counts, neighbors, vectors, cuts, widths, places, out_vectors, out_neighbors, far, itemsize): in chunks."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_edges", "Edges found, and laid out in chunks.", -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__edges(void)
{
    return PyModule_Create(&module);
}
