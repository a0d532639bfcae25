/* Titles and tables of numbers in a text that is still bytes; what `scan.py` says of them.

   Written to the stable interface of Python 3.11, so that one build serves every later version. Other threads run meanwhile. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "_pairs.h"
#include "_table.h"
#include "_template.h"
#include "_titles.h"
#include "_xml.h"

static void release_titles(PyObject *capsule)
{
    free_titles(PyCapsule_GetPointer(capsule, TITLES));
}

static PyObject *titles(PyObject *self, PyObject *texts)
{
    if (!PyTuple_Check(texts) || PyTuple_Size(texts) < 1 || PyTuple_Size(texts) > MOST_TITLES) {
        PyErr_Format(PyExc_ValueError, "titles must be a tuple of 1 to %d", MOST_TITLES);
        return NULL;
    }
    Titles *all = calloc(1, sizeof *all);
    if (all == NULL)
        return PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < PyTuple_Size(texts); i++) {
        char *text;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(texts, i), &text, &size) < 0 || size < 2) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_ValueError, "a title must have two bytes");
            free_titles(all);
            return NULL;
        }
        Title *title = &all->titles[i];
        title->text = malloc((size_t)size);
        if (title->text == NULL) {
            free_titles(all);
            return PyErr_NoMemory();
        }
        memcpy(title->text, text, (size_t)size);
        title->size = size;
        all->count++;
    }
    prepare(all);
    PyObject *capsule = PyCapsule_New(all, TITLES, release_titles);
    if (capsule == NULL)
        free_titles(all);
    return capsule;
}

/* Which title is next, where its line begins and ends (0 where its end is still to come), and what was passed over. */
static PyObject *find(PyObject *self, PyObject *args)
{
    PyObject *capsule, *seen;
    Py_buffer text;
    Py_ssize_t start, stop, count, place = -1, begin = 0, end = 0, last[MOST_TITLES];
    const char *passing;
    int which = -1, counts[MOST_TITLES] = {0};
    if (!PyArg_ParseTuple(args, "Oy*nny#", &capsule, &text, &start, &stop, &passing, &count))
        return NULL;
    const Titles *all = PyCapsule_GetPointer(capsule, TITLES);
    if (all == NULL || start < 0 || stop > text.len || (count && count != all->count)) {
        if (all != NULL)
            PyErr_SetString(PyExc_ValueError, "the part to search lies outside the text, or not every title is said to be passed or not");
        PyBuffer_Release(&text);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    const char *const from = text.buf;
    if (count)
        place = find_past(all, from, start, stop, passing, counts, last, &which);
    else
        place = find_title(all, from, start, stop, &which);
    if (place >= 0) {
        begin = place + (from[place] == '\n');
        const char *const line_end = memchr(from + begin, '\n', (size_t)(stop - begin));
        end = line_end == NULL ? 0 : line_end - from + 1;
        while (begin > start && from[begin - 1] != '\n')
            begin--;
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&text);
    if (place < 0)
        which = -1;
    if (!count)
        return Py_BuildValue("inn()", which, begin, end);
    seen = PyList_New(0);
    for (int i = 0; seen != NULL && i < all->count; i++) {
        PyObject *one = counts[i] ? Py_BuildValue("iin", i, counts[i], last[i]) : NULL;
        if (counts[i] && (one == NULL || PyList_Append(seen, one) < 0))
            Py_CLEAR(seen);
        Py_XDECREF(one);
    }
    return seen == NULL ? NULL : Py_BuildValue("innN", which, begin, end, seen);
}

static PyObject *rows(PyObject *self, PyObject *args)
{
    Table t = {0};
    Py_buffer text, out, numbers, elements;
    Py_ssize_t at, count, done;
    int style, has_elements = 0;
    if (!PyArg_ParseTuple(args, "y*nsnw*w*y*y#ii", &text, &at, &t.pattern, &count, &out, &numbers, &elements, &t.after, &t.after_size,
                          &t.until, &style))
        return NULL;
    const Py_ssize_t width = width_of(t.pattern, &has_elements);
    const int bad = at < 0 || at > text.len || count < 0 || width < 0 || style < PLAIN || style > COLUMNS ||
                    count > PY_SSIZE_T_MAX / (Py_ssize_t)sizeof(double) / (width + 1) || out.len < count * width * (Py_ssize_t)sizeof(double) ||
                    (has_elements && (numbers.len < count || elements.len < LETTERS));
    const char *const begin = text.buf, *p = begin + (bad ? 0 : at);
    if (!bad) {
        t.style = (Style)style;
        t.table = out.buf;
        t.numbers = numbers.buf;
        t.elements = elements.buf;
        t.stop = begin + text.len;
        t.thread = PyEval_SaveThread();
        done = take_lines(&t, &p, begin + text.len, count, width);
        PyEval_RestoreThread(t.thread);
    }
    PyBuffer_Release(&text);
    PyBuffer_Release(&out);
    PyBuffer_Release(&numbers);
    PyBuffer_Release(&elements);
    if (bad) {
        PyErr_SetString(PyExc_ValueError, "pattern, place, count and arrays do not fit together");
        return NULL;
    }
    return Py_BuildValue("nn", done, (Py_ssize_t)(p - begin));
}

static PyObject *skip(PyObject *self, PyObject *args)
{
    Py_buffer text;
    Py_ssize_t at, count, passed = 0;
    if (!PyArg_ParseTuple(args, "y*nn", &text, &at, &count))
        return NULL;
    if (at < 0 || at > text.len) {
        PyBuffer_Release(&text);
        PyErr_SetString(PyExc_ValueError, "the place lies outside the text");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    const char *const begin = text.buf, *const stop = begin + text.len;
    for (const char *end; passed < count && (end = memchr(begin + at, '\n', (size_t)(stop - begin - at))) != NULL; passed++)
        at = end - begin + 1;
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&text);
    return Py_BuildValue("nn", passed, at);
}

/* Pass over frames of a count, a comment and so many lines, as long as they begin before `upto`; how many, and where the next one begins. */
static PyObject *hop(PyObject *self, PyObject *args)
{
    Py_buffer text;
    Py_ssize_t at, upto, frames = 0;
    if (!PyArg_ParseTuple(args, "y*nn", &text, &at, &upto))
        return NULL;
    if (at < 0 || at > text.len) {
        PyBuffer_Release(&text);
        PyErr_SetString(PyExc_ValueError, "the place lies outside the text");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    const char *const begin = text.buf, *const stop = begin + text.len;
    while (at < upto) {
        Py_ssize_t natoms;
        const char *p = begin + at, *end = memchr(p, '\n', (size_t)(stop - p));
        if (end == NULL || !take_count(p, end, " \t\r", &natoms))
            break;
        for (natoms++; natoms >= 0 && end != NULL; natoms--) {
            p = end + 1;
            end = natoms ? memchr(p, '\n', (size_t)(stop - p)) : end;
        }
        if (end == NULL)
            break;
        at = p - begin;
        frames++;
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&text);
    return Py_BuildValue("nn", frames, at);
}

static PyObject *pairs(PyObject *self, PyObject *line)
{
    char *text;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(line, &text, &size) < 0)
        return NULL;
    return take_pairs(text, text + size);
}

/* Paths as "/varray@forces": elements by their names, and the attribute `name` of the last. */
static int read_wanted(PyObject *paths, Wanted *wanted)
{
    const Py_ssize_t count = PyTuple_Check(paths) ? PyTuple_Size(paths) : -1;
    if (count < 0 || count > MOST_WANTED) {
        PyErr_SetString(PyExc_ValueError, "the wanted paths must be a tuple, and not many");
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        char *path;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(paths, i), &path, &size) < 0)
            return -1;
        const char *at = memchr(path, '@', (size_t)size);
        wanted[i].path = path;
        wanted[i].path_size = at == NULL ? size : at - path;
        wanted[i].name = at == NULL ? NULL : at + 1;
        wanted[i].name_size = at == NULL ? 0 : path + size - at - 1;
    }
    return (int)count;
}

static PyObject *elements(PyObject *self, PyObject *args)
{
    Wanted wanted[MOST_WANTED];
    PyObject *paths, *out = NULL;
    Py_buffer text;
    Py_ssize_t start, stop;
    if (!PyArg_ParseTuple(args, "y*nnO", &text, &start, &stop, &paths))
        return NULL;
    const int count = read_wanted(paths, wanted);
    Xml *x = count < 0 ? NULL : calloc(1, sizeof *x);
    if (x == NULL || start < 0 || start > stop || stop > text.len) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "the part to read lies outside the text");
        free(x);
        PyBuffer_Release(&text);
        return NULL;
    }
    int plain;
    x->text = text.buf;
    x->p = x->text + start;
    x->stop = x->text + stop;
    x->wanted = wanted;
    x->wanted_count = count;
    Py_BEGIN_ALLOW_THREADS
    plain = take_element_of_xml(x);
    Py_END_ALLOW_THREADS
    if (plain && (out = PyList_New(x->count)) != NULL)
        for (Py_ssize_t i = 0; i < x->count; i++) {
            PyObject *one = Py_BuildValue("inn", x->places[i].which, x->places[i].begin, x->places[i].end);
            if (one == NULL) {
                Py_CLEAR(out);
                break;
            }
            PyList_SetItem(out, i, one);
        }
    free(x->places);
    free(x);
    PyBuffer_Release(&text);
    if (!plain)
        Py_RETURN_NONE;
    return out;
}

/* How many frames and atoms there are, where the next one begins, and whether more text is needed to say what it is. */
static PyObject *frames(PyObject *self, PyObject *args)
{
    PyObject *capsule;
    Py_buffer text, places, natoms, texts, values, table, numbers, elements;
    Py_ssize_t at;
    int style;
    if (!PyArg_ParseTuple(args, "Oy*nw*w*w*w*w*w*y*i", &capsule, &text, &at, &places, &natoms, &texts, &values, &table, &numbers, &elements, &style))
        return NULL;
    const Template *all = PyCapsule_GetPointer(capsule, TEMPLATE);
    const Py_ssize_t word = (Py_ssize_t)sizeof(int64_t), most = places.len / word, atoms = numbers.len;
    const int bad = all == NULL || at < (all->titles != NULL) || at > text.len || style < PLAIN || style > COLUMNS || natoms.len / word < most || elements.len < LETTERS ||
                    texts.len / word / 2 < most * all->texts || values.len / word < most * all->values || table.len / word < atoms * all->width;
    Taken taken = {0, 0, most, atoms, places.buf, natoms.buf, texts.buf, values.buf, table.buf, numbers.buf};
    Outcome outcome = TAKEN;
    const char *const begin = text.buf, *p = begin + (bad ? 0 : at);
    if (!bad) {
        Table t = {.stop = begin + text.len, .until = -1, .style = (Style)style, .elements = elements.buf};
        t.thread = PyEval_SaveThread();
        while (taken.frames < most && outcome == TAKEN)
            outcome = take_frame(all, &t, &taken, begin, &p, begin + text.len);
        PyEval_RestoreThread(t.thread);
    }
    Py_buffer *const buffers[] = {&text, &places, &natoms, &texts, &values, &table, &numbers, &elements};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        PyBuffer_Release(buffers[i]);
    if (bad) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "template, place and arrays do not fit together");
        return NULL;
    }
    return Py_BuildValue("nnni", taken.frames, taken.atoms, (Py_ssize_t)(p - begin), outcome == ENDED);
}

static PyMethodDef methods[] = {
    {"template", template_of, METH_VARARGS, "template(lines, titles)"},
    {"titles", titles, METH_O, "titles(texts)"},
    {"find", find, METH_VARARGS, "find(titles, text, start, stop, passing)"},
    {"elements", elements, METH_VARARGS, "elements(text, start, stop, paths)"},
    {"frames", frames, METH_VARARGS, "frames(template, text, at, places, natoms, texts, values, table, numbers, elements, style)"},
    {"hop", hop, METH_VARARGS, "hop(text, at, upto)"},
    {"pairs", pairs, METH_O, "pairs(line)"},
    {"skip", skip, METH_VARARGS, "skip(text, at, count)"},
    {"rows", rows, METH_VARARGS, "rows(text, at, pattern, count, out, numbers, elements, after, until, style)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_scan", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__scan(void)
{
    make_powers();
    return PyModuleDef_Init(&module);
}
