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

/* One pair as it is written. */
typedef struct {
    const char *key, *key_end, *value, *value_end;
} Pair;

/* Read one pair from `*at`, and set `*at` behind it; 0 where it is not plain. */
static int split_pair(const char **at, const char *end, Pair *pair)
{
    const char *p = pair->key = *at;
    for (; p < end && *p != '='; p++)
        if (!is_printable(*p) || *p == '"' || *p == '\'')
            return 0;
    pair->key_end = p++;
    if (pair->key_end == pair->key || p >= end)
        return 0;
    if (*p == '"') {
        pair->value = ++p;
        for (; p < end && *p != '"'; p++)
            if (*p == '\\' || !(is_printable(*p) || *p == ' '))
                return 0;
        pair->value_end = p++;
        if (p > end)
            return 0;
    } else {
        if (*p == '\'')
            return 0;
        pair->value = p;
        for (; p < end && is_printable(*p); p++)
            ;
        pair->value_end = p;
        if (pair->value_end == pair->value)
            return 0;
    }
    *at = p;
    return (p == end || *p == ' ') && is_plain_value(pair->value, pair->value_end);
}

/* Where the pairs of a line end: behind its last word. */
static const char *end_of_pairs(const char *p, const char *end)
{
    while (end > p && (end[-1] == '\n' || end[-1] == '\r' || end[-1] == ' '))
        end--;
    return end;
}

/* Read one pair from `*at` into the dict: 1, or 0 where it is not plain, or -1 with an exception set. */
static int take_pair(const char **at, const char *end, PyObject *pairs)
{
    Pair pair;
    if (!split_pair(at, end, &pair))
        return 0;
    PyObject *name = PyUnicode_FromStringAndSize(pair.key, pair.key_end - pair.key);
    PyObject *text = PyUnicode_FromStringAndSize(pair.value, pair.value_end - pair.value);
    int taken = name == NULL || text == NULL ? -1 : 1 - PyDict_Contains(pairs, name); /* twice, it is for the caller to judge */
    if (taken == 1 && PyDict_SetItem(pairs, name, text) < 0)
        taken = -1;
    else if (taken > 1) /* it could not be asked */
        taken = -1;
    Py_XDECREF(name);
    Py_XDECREF(text);
    return taken;
}

/* The pairs of a line; None where a part of it is not plain; NULL with an exception set. */
static PyObject *take_pairs(const char *p, const char *end)
{
    PyObject *pairs = PyDict_New();
    int found = pairs == NULL ? -1 : 1;
    end = end_of_pairs(p, end);
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
