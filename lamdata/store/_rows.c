/* Copies ranges of rows from one array to another, as they are or off their lattice; what `rows.py` says of them.

   Written to the stable interface of Python 3.11, so that one build serves every later version. Other threads run meanwhile. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

#include "../_levels.h"

/* Ask for a line of memory that will be written. On x86-64 GCC's builtin asks for one that will be read, which gains nothing here. */
#if defined(__GNUC__) && defined(__x86_64__)
#define FETCH(address) __asm__ volatile("prefetchw %0" : : "m"(*(address)))
#elif defined(__GNUC__)
#define FETCH(address) __builtin_prefetch(address, 1)
#else
#define FETCH(address)
#endif

enum { AHEAD = 4, LINE = 64 }; /* ranges whose targets are fetched while others are copied; bytes that a processor fetches */

/* The arguments that both functions have. A range is `lengths[i]` rows, from row `begins[i]` of the source to row `targets[i]`. */
typedef struct {
    Py_buffer source, begins, lengths, out, targets;
    Py_ssize_t count;
    const int64_t *begin, *length, *target;
} Ranges;

static void release(Ranges *ranges)
{
    PyBuffer_Release(&ranges->source);
    PyBuffer_Release(&ranges->begins);
    PyBuffer_Release(&ranges->lengths);
    PyBuffer_Release(&ranges->out);
    PyBuffer_Release(&ranges->targets);
}

/* A range of no rows lies nowhere, and so never outside. */
static int outside(int64_t first, int64_t rows, int64_t all)
{
    return rows != 0 && (first < 0 || rows < 0 || rows > all || first > all - rows);
}

/* Look at every range before the first is copied: 0, or -1 with an exception set. */
static int check(Ranges *ranges, int64_t source_row, int64_t out_row)
{
    Py_ssize_t bytes = ranges->lengths.len;
    ranges->count = bytes / (Py_ssize_t)sizeof(int64_t);
    ranges->begin = ranges->begins.buf;
    ranges->length = ranges->lengths.buf;
    ranges->target = ranges->targets.buf;
    if (source_row <= 0 || out_row <= 0 || ranges->begins.len != bytes || ranges->targets.len != bytes || bytes % sizeof(int64_t)) {
        PyErr_SetString(PyExc_ValueError, "begins, lengths and targets must be int64 and equally many");
        return -1;
    }
    const int64_t there = ranges->source.len / source_row, room = ranges->out.len / out_row;
    for (Py_ssize_t i = 0; i < ranges->count; i++)
        if (outside(ranges->begin[i], ranges->length[i], there) || outside(ranges->target[i], ranges->length[i], room)) {
            PyErr_Format(PyExc_ValueError, "range %zd lies outside its arrays", i);
            return -1;
        }
    return 0;
}

/* Targets lie far apart, so a processor does not guess the next one. */
static void fetch(const Ranges *ranges, Py_ssize_t i, int64_t row)
{
    if (i >= ranges->count)
        return;
    const char *target = (const char *)ranges->out.buf + ranges->target[i] * row;
    for (int64_t at = 0; at < ranges->length[i] * row; at += LINE)
        FETCH(target + at);
}

static PyObject *copy(PyObject *self, PyObject *args)
{
    Ranges ranges;
    Py_ssize_t row;
    if (!PyArg_ParseTuple(args, "y*y*y*w*y*n", &ranges.source, &ranges.begins, &ranges.lengths, &ranges.out, &ranges.targets, &row))
        return NULL;
    if (check(&ranges, row, row)) {
        release(&ranges);
        return NULL;
    }
    const char *source = ranges.source.buf;
    char *out = ranges.out.buf;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < ranges.count; i++) {
        fetch(&ranges, i + AHEAD, row);
        if (ranges.length[i])
            memcpy(out + ranges.target[i] * row, source + ranges.begin[i] * row,
                   (size_t)(ranges.length[i] * row));
    }
    Py_END_ALLOW_THREADS
    release(&ranges);
    Py_RETURN_NONE;
}

/* Integers off their lattice: less the shift, one correctly rounded division, then the reader's own multiplication, `Lattice.from_stored` bit for bit.

   Where `fused` says that a processor has fused multiply-add, the quotient is the product with the rounded inverse, corrected twice by its
   remainder, which is exact: so it is the rounded quotient (Markstein, IBM J. Res. Dev. 34, 111, 1990), at a fifth of the time. */
#define DIVIDE(name, integer, unsigned_integer)                                                                          \
    FOR_EACH_LEVEL static void name(const unsigned_integer *from, double *to, int64_t numbers, int64_t shift, double scale,  \
                                    double factor, int fused)                                                            \
    {                                                                                                                    \
        const double inverse = 1.0 / scale;                                                                              \
        const unsigned_integer less = (unsigned_integer)shift; /* of damaged bytes it may be more: then it wraps around */ \
        if (!fused)                                                                                                      \
            for (int64_t j = 0; j < numbers; j++)                                                                        \
                to[j] = (double)(integer)(from[j] - less) / scale * factor;                                              \
        else                                                                                                             \
            for (int64_t j = 0; j < numbers; j++) {                                                                      \
                const double number = (double)(integer)(from[j] - less);                                                 \
                double quotient = number * inverse;                                                                      \
                quotient = __builtin_fma(__builtin_fma(-scale, quotient, number), inverse, quotient);                    \
                quotient = __builtin_fma(__builtin_fma(-scale, quotient, number), inverse, quotient);                    \
                to[j] = quotient * factor;                                                                               \
            }                                                                                                            \
    }

DIVIDE(divide_short, int32_t, uint32_t)
DIVIDE(divide_long, int64_t, uint64_t)

/* Without one, the C library's own would be called for each number. */
static int has_fused(void)
{
#if LEVELS
    return __builtin_cpu_supports("x86-64-v3");
#elif defined(__aarch64__)
    return 1;
#else
    return 0;
#endif
}

static PyObject *divide(PyObject *self, PyObject *args)
{
    Ranges ranges;
    Py_ssize_t columns;
    int size;
    long long shift;
    double scale, factor;
    if (!PyArg_ParseTuple(args, "y*y*y*w*y*niLdd", &ranges.source, &ranges.begins, &ranges.lengths, &ranges.out, &ranges.targets, &columns,
                          &size, &shift, &scale, &factor))
        return NULL;
    if ((size != 4 && size != 8) || check(&ranges, columns * size, columns * (int64_t)sizeof(double))) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "integers have 4 or 8 bytes");
        release(&ranges);
        return NULL;
    }
    const int fused = has_fused();
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < ranges.count; i++) {
        double *to = (double *)ranges.out.buf + ranges.target[i] * columns;
        const int64_t numbers = ranges.length[i] * columns;
        fetch(&ranges, i + AHEAD, columns * (int64_t)sizeof(double));
        const char *from = (const char *)ranges.source.buf + ranges.begin[i] * columns * size;
        if (size == 4)
            divide_short((const uint32_t *)from, to, numbers, shift, scale, factor, fused);
        else
            divide_long((const uint64_t *)from, to, numbers, shift, scale, factor, fused);
    }
    Py_END_ALLOW_THREADS
    release(&ranges);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"copy", copy, METH_VARARGS, "copy(source, begins, lengths, out, targets, row_bytes)"},
    {"divide", divide, METH_VARARGS, "divide(source, begins, lengths, out, targets, columns, integer_bytes, shift, scale, factor)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_rows", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__rows(void)
{
    return PyModuleDef_Init(&module);
}
