/* Points of many frames -> the shortest distance between two of each, to the bit what the sweep of arrays in `distances.py` gives.

   Written to the stable interface of Python 3.11, so that one build serves every later version. Other threads run meanwhile. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "_levels.h"

#if FLT_EVAL_METHOD != 0
#error "more digits than float64 has would change the last of a distance: NumPy measures it"
#endif

enum { LANES = 8 };                                /* pairs that are measured together */
static const double HALVES = 6755399441055744.0;   /* 1.5 * 2**52: added and taken away again it rounds, half to even, what is below 2**51 */
static const double FAR_OUT = 562949953421312.0;   /* 2**49: differences of what is nearer stay below that */

/* The coordinates of one frame (N,) each, behind them LANES that are nan, and its cell as a lower triangle (3, 3). */
typedef struct {
    const double *x, *y, *z, *cell;
    Py_ssize_t count;
} Points;

/* The least square of a distance, inf where there is no pair, of the nearest images in a `crystal`. `nan` is never less. */
static inline double least(const Points *of, const int crystal)
{
    const double *restrict x = of->x, *restrict y = of->y, *restrict z = of->z, *const cell = of->cell;
    const double xx = crystal ? cell[0] : 0, yx = crystal ? cell[3] : 0, yy = crystal ? cell[4] : 0;
    const double zx = crystal ? cell[6] : 0, zy = crystal ? cell[7] : 0, zz = crystal ? cell[8] : 0;
    double lanes[LANES], best = INFINITY;
    for (int l = 0; l < LANES; l++)
        lanes[l] = INFINITY;
    for (Py_ssize_t i = 0; i + 1 < of->count; i++)
        for (Py_ssize_t j = i + 1; j < of->count; j += LANES)
            for (int l = 0; l < LANES; l++) {
                double a = x[j + l] - x[i], b = y[j + l] - y[i], c = z[j + l] - z[i];
                if (crystal) {
                    a -= a + HALVES - HALVES;
                    b -= b + HALVES - HALVES;
                    c -= c + HALVES - HALVES;
                    a = a * xx + b * yx + c * zx;
                    b = b * yy + c * zy;
                    c = c * zz;
                }
                const double square = a * a + b * b + c * c;
                lanes[l] = square < lanes[l] ? square : lanes[l];
            }
    for (int l = 0; l < LANES; l++)
        best = lanes[l] < best ? lanes[l] : best;
    return best;
}

FOR_EACH_LEVEL static double least_in_crystal(const Points *of) { return least(of, 1); }
FOR_EACH_LEVEL static double least_in_space(const Points *of) { return least(of, 0); }

/* One frame of `count` points (N, 3); nan where one lies too far out to be rounded so. */
static double shortest_of(const double *from, Py_ssize_t count, const double *cell, double *room)
{
    double *const x = room, *const y = x + count + LANES, *const z = y + count + LANES;
    for (Py_ssize_t i = 0; i < count; i++) {
        x[i] = from[3 * i];
        y[i] = from[3 * i + 1];
        z[i] = from[3 * i + 2];
        if (!(fabs(x[i]) < FAR_OUT && fabs(y[i]) < FAR_OUT && fabs(z[i]) < FAR_OUT))
            return NAN;
    }
    for (Py_ssize_t i = count; i < count + LANES; i++)
        x[i] = y[i] = z[i] = NAN;
    const Points points = {x, y, z, cell, count};
    return sqrt(cell == NULL ? least_in_space(&points) : least_in_crystal(&points));
}

static PyObject *shortest(PyObject *self, PyObject *args)
{
    Py_buffer points, natoms, cells, out;
    if (!PyArg_ParseTuple(args, "y*y*y*w*", &points, &natoms, &cells, &out))
        return NULL;
    const Py_ssize_t word = (Py_ssize_t)sizeof(double), count = natoms.len / word, atoms = points.len / (3 * word);
    const int64_t *const sizes = natoms.buf;
    Py_ssize_t all = 0, most = 0;
    int fits = out.len / word == count && (cells.len == 0 || cells.len / (9 * word) == count);
    for (Py_ssize_t f = 0; fits && f < count; f++) {
        fits = sizes[f] >= 0 && sizes[f] <= atoms - all;
        all += fits ? (Py_ssize_t)sizes[f] : 0;
        most = fits && sizes[f] > most ? (Py_ssize_t)sizes[f] : most;
    }
    double *const room = fits ? malloc(3 * sizeof(double) * (size_t)(most + LANES)) : NULL;
    if (room != NULL) {
        Py_BEGIN_ALLOW_THREADS
        const double *from = points.buf, *cell = cells.len ? cells.buf : NULL;
        for (Py_ssize_t f = 0; f < count; f++) {
            ((double *)out.buf)[f] = shortest_of(from, (Py_ssize_t)sizes[f], cell, room);
            from += 3 * sizes[f];
            cell += cell == NULL ? 0 : 9;
        }
        Py_END_ALLOW_THREADS
    } else if (fits)
        PyErr_NoMemory();
    else
        PyErr_SetString(PyExc_ValueError, "points, numbers of atoms, cells and distances do not fit together");
    free(room);
    PyBuffer_Release(&points);
    PyBuffer_Release(&natoms);
    PyBuffer_Release(&cells);
    PyBuffer_Release(&out);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"shortest", shortest, METH_VARARGS, "shortest(points, natoms, cells, out)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_distances", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__distances(void)
{
    return PyModuleDef_Init(&module);
}
