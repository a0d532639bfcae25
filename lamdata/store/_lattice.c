/* Numbers -> the integers that they are on a lattice of decimals, to the bit what NumPy's steps in `lattice.py` give.

   Written to the stable interface of Python 3.11, so that one build serves every later version. Other threads run meanwhile. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <float.h>
#include <stdint.h>

#include "../_levels.h"

#if FLT_EVAL_METHOD != 0
#error "more digits than float64 has would let numbers pass that are not on the lattice: NumPy looks"
#endif

enum { AT_ONCE = 512 };                          /* numbers: they stay in the nearest cache, and those behind one that is off are not looked at */
static const double HALVES = 6755399441055744.0; /* 1.5 * 2**52: added and taken away again it rounds, half to even, what is below 2**51 */

/* A value is (n / scale) * factor, with `low` <= n <= `high`. */
typedef struct {
    double scale, factor, low, high;
} Lattice;

/* The n of some values and their range with 0 among them; whether all are on the lattice. `nan` is not. */
static inline int look(const double *restrict values, double *restrict n, Py_ssize_t count, const Lattice *on, double *least, double *largest,
                       const int plain)
{
    const double scale = on->scale, factor = on->factor;
    double low = *least, high = *largest;
    int64_t off = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        const double number = (plain ? values[i] : values[i] / factor) * scale + HALVES - HALVES;
        const double back = plain ? number / scale : number / scale * factor;
        off += !(back == values[i]);
        low = number < low ? number : low;
        high = number > high ? number : high;
        n[i] = number;
    }
    *least = low;
    *largest = high;
    return off == 0 && low >= on->low && high <= on->high;
}

FOR_EACH_LEVEL static int look_plain(const double *values, double *n, Py_ssize_t count, const Lattice *on, double *least, double *largest)
{
    return look(values, n, count, on, least, largest, 1);
}

FOR_EACH_LEVEL static int look_scaled(const double *values, double *n, Py_ssize_t count, const Lattice *on, double *least, double *largest)
{
    return look(values, n, count, on, least, largest, 0);
}

FOR_EACH_LEVEL static void store_short(const double *n, int32_t *out, Py_ssize_t count, int64_t shift)
{
    for (Py_ssize_t i = 0; i < count; i++)
        out[i] = (int32_t)n[i] + (int32_t)shift;
}

FOR_EACH_LEVEL static void store_long(const double *n, int64_t *out, Py_ssize_t count, int64_t shift)
{
    for (Py_ssize_t i = 0; i < count; i++)
        out[i] = (int64_t)n[i] + shift;
}

static PyObject *onto(PyObject *self, PyObject *args)
{
    Py_buffer values, out;
    Lattice on;
    double least = 0, largest = 0, n[AT_ONCE];
    long long shift;
    int size, fits = 1;
    if (!PyArg_ParseTuple(args, "y*w*iLdddd", &values, &out, &size, &shift, &on.scale, &on.factor, &on.low, &on.high))
        return NULL;
    const Py_ssize_t count = values.len / (Py_ssize_t)sizeof(double);
    if ((size != 0 && size != 4 && size != 8) || out.len != size * count) {
        PyErr_SetString(PyExc_ValueError, "there is an integer of 4 or 8 bytes for each number, or none for any");
        fits = -1;
    } else {
        Py_BEGIN_ALLOW_THREADS
        const double *const from = values.buf;
        for (Py_ssize_t i = 0; fits && i < count; i += AT_ONCE) {
            const Py_ssize_t some = count - i < AT_ONCE ? count - i : AT_ONCE;
            fits = (on.factor == 1.0 ? look_plain : look_scaled)(from + i, n, some, &on, &least, &largest);
            if (fits && size == 4)
                store_short(n, (int32_t *)out.buf + i, some, shift);
            else if (fits && size == 8)
                store_long(n, (int64_t *)out.buf + i, some, shift);
        }
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&values);
    PyBuffer_Release(&out);
    if (fits < 0)
        return NULL;
    if (!fits)
        Py_RETURN_NONE;
    return Py_BuildValue("LL", (long long)least, (long long)largest);
}

static PyMethodDef methods[] = {
    {"onto", onto, METH_VARARGS, "onto(values, out, integer_bytes, shift, scale, factor, low, high)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_lattice", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__lattice(void)
{
    return PyModuleDef_Init(&module);
}
