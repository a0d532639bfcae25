/* Lines of words -> columns of numbers and elements, by a pattern that says what each word of a line is.

   A letter a word: n number, i integer (both go into the table), e chemical symbol (its atomic number goes into the list), w a word that
   is passed over. At the end of a pattern, + lets more numbers follow, * anything. A line that is not plainly so ends the work: the
   caller reads it in its own way, and goes on behind it. */

#ifndef LAMDATA_TABLE_H
#define LAMDATA_TABLE_H

#include "_number.h"

enum { LETTERS = 26 * 27 }; /* chemical symbols: a capital, and a small letter or none */
enum { LONGEST = 400 };     /* characters of a number */

static const double HUGE_NUMBER = 1e100; /* beyond it a number may overflow when a unit is put to it: it is no plain one */

typedef struct {
    const char *stop;            /* the end of the text */
    const char *pattern, *after; /* after: bytes before the first word of a line, or NULL */
    Py_ssize_t after_size;
    int until;             /* the byte that ends a line before its end, or -1 */
    Style style;
    const uint8_t *elements; /* LETTERS atomic numbers, 0 where there is no element */
    double *table;
    uint8_t *numbers;
    PyThreadState *thread;
} Table;

static int is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* The numbers of a row of the table; -1 where the pattern is none, and `*elements` whether there are symbols. */
static Py_ssize_t width_of(const char *pattern, int *elements)
{
    Py_ssize_t width = 0;
    for (const char *p = pattern; *p; p++) {
        if (!strchr("niew", *p) && !(strchr("+*", *p) && p[1] == 0))
            return -1;
        width += *p == 'n' || *p == 'i';
        *elements |= *p == 'e';
    }
    return width;
}

/* A number that is not decided by short arithmetic: by Python, which needs its lock. 0 where it is no number. */
static int read_slowly(Table *t, const char *p, const char *end, double *value)
{
    char copy[LONGEST + 1], *behind;
    const size_t size = (size_t)(end - p);
    if (size > LONGEST)
        return 0;
    for (size_t i = 0; i < size; i++)
        copy[i] = p[i] == 'd' || p[i] == 'D' ? 'e' : p[i];
    copy[size] = 0;
    PyEval_RestoreThread(t->thread);
    *value = PyOS_string_to_double(copy, &behind, NULL);
    const int bad = PyErr_Occurred() != NULL || behind != copy + size || !(*value > -HUGE_NUMBER && *value < HUGE_NUMBER);
    PyErr_Clear();
    t->thread = PyEval_SaveThread();
    return !bad;
}

/* One number from `*at`, read one character after the other; 0 where there is none. Stars are nan in `COLUMNS`. */
static int take_any_number(Table *t, const char **at, const char *end, double *value)
{
    double number;
    const char *p = *at;
    if (t->style == COLUMNS && p < end && *p == '*') {
        while (p < end && *p == '*')
            p++;
        *value = Py_NAN;
        *at = p;
        return p == end || is_blank(*p);
    }
    const Found found = read_number(at, end, t->style, &number);
    if (found == NONE || (found == HARD && !read_slowly(t, p, *at, &number)))
        return 0;
    *value = number;
    return 1;
}

/* Whether what comes behind a number is a blank, the end, or the sign of the next one that has a point: `1.0-103` has an exponent. */
static int ends_well(const Table *t, const char *p, const char *end)
{
    if (p == end || is_blank(*p))
        return 1;
    if (t->style != COLUMNS || !is_sign(*p))
        return 0;
    for (p++; p < end && is_digit(*p); p++)
        ;
    return p < end && *p == '.';
}

/* A number, and with it what ends it. */
static int take_number(Table *t, const char **at, const char *end, double *value)
{
#if EIGHT_AT_ONCE
    if (t->stop - *at >= READS && is_easily_read(at, end, value))
        return 1;
#endif
    return take_any_number(t, at, end, value) && ends_well(t, *at, end);
}

/* Where the blanks from `p` on end. */
static const char *skip_blanks(const char *p, const char *end)
{
#if EIGHT_AT_ONCE
    uint64_t others = 0;
    while (end - p >= 8 && *p == ' ' && others == 0) {
        others = eight_bytes(p) ^ 0x2020202020202020;
        p += others ? __builtin_ctzll(others) >> 3 : 8;
    }
#endif
    while (p < end && is_blank(*p))
        p++;
    return p;
}

static int take_integer(const char **at, const char *end, double *value)
{
    const char *p = *at;
    const int negative = p < end && *p == '-';
    int64_t n = 0;
    p += p < end && is_sign(*p);
    const char *first = p;
    for (; p < end && is_digit(*p) && p - first < 16; p++)
        n = 10 * n + (*p - '0');
    if (p == first || p - first > 15 || !(p == end || is_blank(*p)))
        return 0;
    *value = (double)(negative ? -n : n);
    *at = p;
    return 1;
}

static int take_element(const Table *t, const char **at, const char *end, uint8_t *number)
{
    const char *p = *at;
    if (p == end || *p < 'A' || *p > 'Z')
        return 0;
    int place = (*p++ - 'A') * 27;
    if (p < end && *p >= 'a' && *p <= 'z')
        place += *p++ - 'a' + 1;
    *number = t->elements[place];
    *at = p;
    return *number && (p == end || is_blank(*p));
}

static int take_word(const char **at, const char *end)
{
    const char *p = *at;
    for (; p < end && !is_blank(*p); p++)
        if (*p < '!' || *p > '~') /* what Python may split at, or decode to something else */
            return 0;
    *at = p;
    return 1;
}

/* One line from `p` to `end` into row `row` of the table, `width` numbers; 0 where it is not plainly what the pattern says. */
static int take_line(Table *t, const char *p, const char *end, Py_ssize_t row, Py_ssize_t width)
{
    double *to = t->table + row * width, spare;
    const char *kind = t->pattern;
    for (;;) {
        p = skip_blanks(p, end);
        if (p == end)
            return *kind == 0 || *kind == '+' || *kind == '*';
        switch (*kind) {
        case 'n':
            if (!take_number(t, &p, end, to++))
                return 0;
            break;
        case '+':
            if (!take_number(t, &p, end, &spare))
                return 0;
            continue;
        case 'i':
            if (!take_integer(&p, end, to++))
                return 0;
            break;
        case 'e':
            if (!take_element(t, &p, end, t->numbers + row))
                return 0;
            break;
        case 'w':
        case '*':
            if (!take_word(&p, end))
                return 0;
            if (*kind == '*')
                continue;
            break;
        default:
            return 0;
        }
        kind++;
    }
}

/* Narrow a line to what the marks leave of it; 0 where a mark is not there. */
static int between_marks(const Table *t, const char **from, const char **to)
{
    if (t->after_size) {
        const char *p = *from;
        for (;; p++) {
            p = *to - p >= t->after_size ? memchr(p, t->after[0], (size_t)(*to - p - t->after_size + 1)) : NULL;
            if (p == NULL)
                return 0;
            if (memcmp(p, t->after, (size_t)t->after_size) == 0)
                break;
        }
        *from = p + t->after_size;
    }
    if (t->until >= 0) {
        *to = memchr(*from, t->until, (size_t)(*to - *from));
        return *to != NULL;
    }
    return 1;
}

/* Read up to `count` whole lines; return how many, and set `*at` behind the last of them. */
static Py_ssize_t take_lines(Table *t, const char **at, const char *stop, Py_ssize_t count, Py_ssize_t width)
{
    Py_ssize_t row = 0;
    for (; row < count && *at < stop; row++) {
        const char *from = *at, *line_end = memchr(from, '\n', (size_t)(stop - from));
        if (line_end == NULL)
            break;
        const char *to = line_end;
        if (!between_marks(t, &from, &to) || !take_line(t, from, to, row, width))
            break;
        *at = line_end + 1;
    }
    return row;
}

#endif
