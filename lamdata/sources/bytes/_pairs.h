/* A line of `key=value` -> a dict of text, where it is as plainly written as it mostly is: words, or words in double quotes. */

#ifndef LAMDATA_PAIRS_H
#define LAMDATA_PAIRS_H

#include <string.h>

static int is_printable(char c) { return c > ' ' && c <= '~'; }

/* Whether a value stands for itself: no array, no JSON, and none of the words for nothing. */
static int is_plain_value(const char *p, const char *end)
{
    static const char *const nothing[] = {"None", "none", "null", "N/A"};
    while (p < end && *p == ' ')
        p++;
    if (p == end || strchr("[({_", *p))
        return p == end;
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++)
        if (end - p == 4 && memcmp(p, nothing[i], 4) == 0)
            return 0;
    return 1;
}

/* Read one pair from `*at` into the dict: 1, or 0 where it is not plain, or -1 with an exception set. */
static int take_pair(const char **at, const char *end, PyObject *pairs)
{
    const char *key = *at, *p = key;
    for (; p < end && *p != '='; p++)
        if (!is_printable(*p) || *p == '"' || *p == '\'')
            return 0;
    const char *key_end = p++, *value = p, *value_end;
    if (key_end == key || p >= end)
        return 0;
    if (*p == '"') {
        value = ++p;
        for (; p < end && *p != '"'; p++)
            if (*p == '\\' || !(is_printable(*p) || *p == ' '))
                return 0;
        value_end = p++;
        if (p > end)
            return 0;
    } else {
        if (*p == '\'')
            return 0;
        for (; p < end && is_printable(*p); p++)
            ;
        value_end = p;
        if (value_end == value)
            return 0;
    }
    if ((p < end && *p != ' ') || !is_plain_value(value, value_end))
        return 0;
    PyObject *name = PyUnicode_FromStringAndSize(key, key_end - key), *text = PyUnicode_FromStringAndSize(value, value_end - value);
    const int failed = name == NULL || text == NULL || PyDict_SetItem(pairs, name, text) < 0;
    Py_XDECREF(name);
    Py_XDECREF(text);
    *at = p;
    return failed ? -1 : 1;
}

/* The pairs of a line; None where a part of it is not plain; NULL with an exception set. */
static PyObject *take_pairs(const char *p, const char *end)
{
    PyObject *pairs = PyDict_New();
    int found = pairs == NULL ? -1 : 1;
    while (end > p && (end[-1] == '\n' || end[-1] == '\r' || end[-1] == ' '))
        end--;
    while (found == 1) {
        while (p < end && *p == ' ')
            p++;
        if (p == end)
            return pairs;
        found = take_pair(&p, end, pairs);
    }
    Py_XDECREF(pairs);
    if (found < 0)
        return NULL;
    Py_RETURN_NONE;
}

#endif
