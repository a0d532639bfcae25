/* Finds the edges of structures, and lays edges out in chunks; what `edge_table.py` says of both.

   A pair that vesin finds is found here, with the same bits: space is cut into cells as vesin cuts it, and what is measured is added up in
   its order. No product may be contracted with a sum (-ffp-contract=off).
   Written to the stable interface of Python 3.11, so that one build serves every later version. Other threads run meanwhile. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include "edges/search.h"

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
