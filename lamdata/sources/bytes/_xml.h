/* One element of XML, as plainly written as programs write it -> where the content of the wanted elements in it begins and ends.

   Tags are matched and names and attributes looked at, so that what is taken is well formed; text that is not ASCII, references, comments
   and all that begins with `<!` or `<?` are not plain, and left to a parser of XML. */

#ifndef LAMDATA_XML_H
#define LAMDATA_XML_H

#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 100, LONGEST_PATH = 400, MOST_WANTED = 50, MOST_ATTRIBUTES = 8, MOST_PLACES = 1 << 20 };

typedef struct {
    const char *path, *name; /* "/scstep/energy/i", and the value of its attribute `name`, or NULL */
    Py_ssize_t path_size, name_size;
} Wanted;

typedef struct {
    int which;
    Py_ssize_t begin, end;
} Place;

typedef struct {
    const char *text, *p, *stop;
    const Wanted *wanted;
    int wanted_count, depth;
    char path[LONGEST_PATH];
    Py_ssize_t path_size;
    struct {
        const char *name;
        Py_ssize_t size, path_size, place; /* its name; the path before it; its first place, of `places` in all */
        Py_ssize_t places;
    } open[DEEPEST];
    Place *places;
    Py_ssize_t count, room;
} Xml;

static int is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

static int is_name(char c, int first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && ((c >= '0' && c <= '9') || c == '-' || c == '.'));
}

static Py_ssize_t take_name(Xml *x)
{
    const char *first = x->p;
    while (x->p < x->stop && is_name(*x->p, x->p == first))
        x->p++;
    return x->p - first;
}

static int skip_spaces(Xml *x)
{
    const char *first = x->p;
    while (x->p < x->stop && is_space(*x->p))
        x->p++;
    return x->p > first;
}

/* The attributes of a tag up to its `>` or `/>`: 0 where they are not plain. The value of `name` goes to `*value`. */
static int take_attributes(Xml *x, const char **value, Py_ssize_t *value_size)
{
    const char *names[MOST_ATTRIBUTES];
    Py_ssize_t sizes[MOST_ATTRIBUTES];
    for (int count = 0;; count++) {
        const int spaced = skip_spaces(x);
        if (x->p == x->stop)
            return 0;
        if (*x->p == '>' || *x->p == '/')
            return 1;
        if (!spaced || count == MOST_ATTRIBUTES)
            return 0;
        names[count] = x->p;
        if ((sizes[count] = take_name(x)) == 0 || x->stop - x->p < 2 || x->p[0] != '=' || x->p[1] != '"')
            return 0;
        for (int i = 0; i < count; i++)
            if (sizes[i] == sizes[count] && memcmp(names[i], names[count], (size_t)sizes[i]) == 0)
                return 0;
        const char *const first = x->p += 2;
        for (; x->p < x->stop && *x->p != '"'; x->p++)
            if (*x->p == '<' || *x->p == '&' || *x->p < ' ' || *x->p > '~')
                return 0;
        if (x->p == x->stop)
            return 0;
        if (sizes[count] == 4 && memcmp(names[count], "name", 4) == 0) {
            *value = first;
            *value_size = x->p - first;
        }
        x->p++;
    }
}

static int note_place(Xml *x, int which)
{
    if (x->count == x->room) {
        const Py_ssize_t room = x->room ? 2 * x->room : 64;
        Place *more = room > MOST_PLACES ? NULL : realloc(x->places, (size_t)room * sizeof *more);
        if (more == NULL)
            return 0;
        x->places = more;
        x->room = room;
    }
    x->places[x->count++] = (Place){which, x->p - x->text, -1};
    return 1;
}

/* A tag that opens, behind its `<`. */
static int take_open(Xml *x)
{
    const char *name = x->p, *value = NULL;
    Py_ssize_t value_size = 0;
    const Py_ssize_t size = take_name(x);
    if (size == 0 || x->depth == DEEPEST || !take_attributes(x, &value, &value_size))
        return 0;
    const int empty = *x->p == '/';
    x->p += empty;
    if (x->p == x->stop || *x->p++ != '>')
        return 0;
    const Py_ssize_t before = x->path_size;
    if (x->depth > 0) {
        if (before + 1 + size > LONGEST_PATH)
            return 0;
        x->path[before] = '/';
        memcpy(x->path + before + 1, name, (size_t)size);
        x->path_size += 1 + size;
    }
    const Py_ssize_t first = x->count;
    for (int i = 0; i < x->wanted_count; i++) {
        const Wanted *w = &x->wanted[i];
        if (w->path_size == x->path_size && memcmp(w->path, x->path, (size_t)x->path_size) == 0 &&
            (w->name == NULL || (value != NULL && w->name_size == value_size && memcmp(w->name, value, (size_t)value_size) == 0)) &&
            !note_place(x, i))
            return 0;
    }
    if (empty) {
        for (Py_ssize_t i = first; i < x->count; i++)
            x->places[i].end = x->places[i].begin;
        x->path_size = before;
        return x->depth > 0;
    }
    x->open[x->depth].name = name;
    x->open[x->depth].size = size;
    x->open[x->depth].path_size = before;
    x->open[x->depth].place = first;
    x->open[x->depth].places = x->count - first;
    x->depth++;
    return 1;
}

/* A tag that closes, behind its `</`. */
static int take_close(Xml *x)
{
    const char *name = x->p, *content_end = x->p - 2;
    const Py_ssize_t size = take_name(x);
    skip_spaces(x);
    if (x->p == x->stop || *x->p++ != '>' || x->depth == 0)
        return 0;
    x->depth--;
    if (size != x->open[x->depth].size || memcmp(name, x->open[x->depth].name, (size_t)size) != 0)
        return 0;
    for (Py_ssize_t i = 0; i < x->open[x->depth].places; i++)
        x->places[x->open[x->depth].place + i].end = content_end - x->text;
    x->path_size = x->open[x->depth].path_size;
    return 1;
}

/* Read the one element that is all of the text from `p` to `stop`: 0 where it is not plain. */
static int take_element_of_xml(Xml *x)
{
    while (x->p < x->stop) {
        if (*x->p == '<') {
            x->p++;
            if (x->p == x->stop)
                return 0;
            if (*x->p == '/') {
                x->p++;
                if (!take_close(x))
                    return 0;
                if (x->depth == 0)
                    return x->p == x->stop;
            } else if (!take_open(x))
                return 0;
            continue;
        }
        const char c = *x->p++;
        if (x->depth == 0 || c == '&' || c == '>' || c > '~' || (c < ' ' && !is_space(c)))
            return 0;
    }
    return 0;
}

#endif
