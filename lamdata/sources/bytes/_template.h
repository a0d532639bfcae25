/* The lines of a frame as Python says them -> the template that `_frames.h` reads by. */

#ifndef LAMDATA_TEMPLATE_H
#define LAMDATA_TEMPLATE_H

#include "_frames.h"

static const char *const TITLES = "lamdata.titles"; /* names of capsules */
static const char *const TEMPLATE = "lamdata.template";

static void free_template(Template *all)
{
    for (int i = 0; i < all->count; i++)
        free(all->lines[i].pairs);
    Py_XDECREF(all->owner);
    free(all);
}

static void release_template(PyObject *capsule)
{
    free_template(PyCapsule_GetPointer(capsule, TEMPLATE));
}

/* The pairs of a line: (key, kind, text) each. */
static int read_pairs_of(PyObject *pairs, LineOf *line)
{
    const Py_ssize_t count = PyTuple_Check(pairs) ? PyTuple_Size(pairs) : -1;
    if (count < 0 || count > MOST_PAIRS || (count && (line->pairs = calloc((size_t)count, sizeof *line->pairs)) == NULL))
        return 0;
    for (; line->count < count; line->count++) {
        PairOf *pair = &line->pairs[line->count];
        int kind, elements = 0;
        if (!PyArg_ParseTuple(PyTuple_GetItem(pairs, line->count), "yCy", &pair->key, &kind, &pair->text))
            return 0;
        pair->kind = (char)kind;
        pair->key_size = (Py_ssize_t)strlen(pair->key);
        pair->text_size = (Py_ssize_t)strlen(pair->text);
        pair->width = kind == 'n' ? width_of(pair->text, &elements) : 0;
        if (kind == 0 || strchr("=.nt", kind) == NULL || pair->width < 0 || elements)
            return 0;
        line->values += pair->width;
        line->texts += kind == 't';
    }
    return 1;
}

/* What the kind of a line asks for beside its pairs: 0 where it is not there. */
static int fit_line_of(LineOf *line, Template *all, int elements)
{
    switch (line->kind) {
    case '*':
    case 'a':
        if ((line->kind == '*' && !line->size) || all->width >= 0)
            return 0;
        all->width = line->width;
        return 1;
    case 'n':
    case 'w':
        line->values = line->width;
        return !elements && (line->kind == 'n' || line->size);
    case 'k':
        for (const char *p = line->text; is_digit(*p) && line->width <= MOST_ATOMS; p++)
            line->width = 10 * line->width + (*p - '0');
        return line->width > 0 && line->width <= MOST_ATOMS;
    case '>':
        for (int i = 0; all->titles != NULL && i < all->titles->count; i++)
            if (all->titles->titles[i].size == line->size && memcmp(all->titles->titles[i].text, line->text, (size_t)line->size) == 0) {
                line->title = i;
                return 1;
            }
        return 0;
    case 'r':
        for (const char *p = line->text; *p; p++) {
            line->values += *p == 'c';
            line->texts += *p == 't';
        }
        return all->titles != NULL && line->size == all->titles->count && strspn(line->text, ".ct") == (size_t)line->size && !line->count;
    default:
        return strchr("=.#p", line->kind) != NULL;
    }
}

/* A line: (kind, text, pattern, pairs). */
static int read_line_of(PyObject *item, Template *all, LineOf *line)
{
    PyObject *pairs;
    int kind, elements = 0;
    if (!PyTuple_Check(item) || !PyArg_ParseTuple(item, "CyyO", &kind, &line->text, &line->pattern, &pairs) || kind <= 0 || kind > '~')
        return 0;
    line->kind = (char)kind;
    line->size = (Py_ssize_t)strlen(line->text);
    line->width = width_of(line->pattern, &elements);
    const int fits = line->width >= 0 && read_pairs_of(pairs, line) && (!line->count || strchr("p>", kind)) && fit_line_of(line, all, elements);
    all->values += line->values;
    all->texts += line->texts;
    return fits;
}

static PyObject *template_of(PyObject *self, PyObject *args)
{
    PyObject *lines, *titles;
    if (!PyArg_ParseTuple(args, "OO", &lines, &titles))
        return NULL;
    const Py_ssize_t count = PyTuple_Check(lines) ? PyTuple_Size(lines) : 0;
    Template *all = calloc(1, sizeof *all);
    if (all == NULL)
        return PyErr_NoMemory();
    int fits = count > 0 && count <= MOST_LINES && (titles == Py_None || (all->titles = PyCapsule_GetPointer(titles, TITLES)) != NULL);
    all->owner = args; /* a tuple, as all in it: what it holds stays */
    Py_INCREF(args);
    all->width = -1;
    for (; fits && all->count < count; all->count++)
        fits = read_line_of(PyTuple_GetItem(lines, all->count), all, &all->lines[all->count]);
    PyObject *capsule = NULL;
    if (fits && all->width >= 0 && all->values <= MOST_OF_FRAME && all->texts <= MOST_OF_FRAME)
        capsule = PyCapsule_New(all, TEMPLATE, release_template);
    else if (!PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "lines of a frame are (kind, text, pattern, pairs), one of them of its atoms");
    if (capsule == NULL)
        free_template(all);
    return capsule;
}

#endif
