/* Frames that are written alike -> arrays of many: a template says what each line of one is, and each that is plainly so is taken.

   Kinds of lines: `=` exactly this text; `.` any; `#` the number of atoms and, around it, nothing but these blanks; `n` words by a pattern, of which the numbers are
   values of the frame; `w` the same behind this word; `p` a comment of exactly these pairs; `a` as many lines as there are atoms, by a pattern; `*` as many lines as there
   are that begin with this word, each an atom, by a pattern; `k` no line, but the number of atoms, which is known. In outputs: `>` the next
   line that holds one of some titles, which must be this one; `r` the next of these lines as long as they hold titles that repeat: `c` a title
   of which the lines are counted, as a value of the frame, `t` one of which the last line is noted, `.` one that does not repeat.
   Kinds of pairs: `=` exactly this value; `.` any; `n` numbers by a pattern, which are values of the frame; `t` a text, of which is noted
   where it stands. Of a line with a title a key is what stands before the numbers, `=` that it is all of the line, `t` notes all of it. */

#ifndef LAMDATA_FRAMES_H
#define LAMDATA_FRAMES_H

#include "_pairs.h"
#include "_table.h"
#include "_titles.h"

enum { MOST_LINES = 64, MOST_PAIRS = 64, MOST_OF_FRAME = 1000, MOST_ATOMS = 1000000 };

typedef struct {
    const char *key, *text; /* text: the value, or the pattern of its numbers */
    Py_ssize_t key_size, text_size, width;
    char kind;
} PairOf;

typedef struct {
    const char *text; /* the line, its first word, its title, a letter for each title, blanks, or "" */
    const char *pattern;
    Py_ssize_t size, width; /* of the text; numbers, or atoms */
    Py_ssize_t values, texts; /* of the frame, that it gives */
    PairOf *pairs;
    int count, title; /* of pairs; which of the titles */
    char kind;
} LineOf;

typedef struct {
    PyObject *owner; /* of all texts and of the titles */
    const Titles *titles;
    LineOf lines[MOST_LINES];
    int count;
    Py_ssize_t values, texts, width; /* numbers of a frame, texts of a frame, numbers of an atom */
} Template;

/* What is filled, and how far. */
typedef struct {
    Py_ssize_t frames, atoms, most_frames, most_atoms;
    int64_t *places, *natoms, *texts; /* where a frame begins (F,); its atoms (F,); where its texts begin and end (F, texts, 2) */
    double *values, *table;           /* (F, values), (A, width) */
    uint8_t *numbers;                 /* (A,) */
} Taken;

typedef enum { TAKEN, ENDED, OTHER } Outcome; /* a frame; the text ends within it; it is not plainly so, or there is no room */

/* The number of atoms, and around it nothing but these blanks. */
static int take_count(const char *p, const char *end, const char *blanks, Py_ssize_t *natoms)
{
    Py_ssize_t n = 0;
    while (p < end && *p && strchr(blanks, *p))
        p++;
    const char *first = p;
    for (; p < end && is_digit(*p) && p - first < 9; p++)
        n = 10 * n + (*p - '0');
    const int some = p > first;
    while (p < end && *p && strchr(blanks, *p))
        p++;
    *natoms = n;
    return some && p == end && n > 0 && n <= MOST_ATOMS;
}

/* A line of exactly these pairs. */
static int take_template_pairs(const LineOf *line, Table *t, const char *p, const char *end, double *values, int64_t *texts, const char *text)
{
    Pair pair;
    end = end_of_pairs(p, end);
    for (int i = 0; i < line->count; i++) {
        const PairOf *wanted = &line->pairs[i];
        while (p < end && *p == ' ')
            p++;
        if (!split_pair(&p, end, &pair) || pair.key_end - pair.key != wanted->key_size ||
            memcmp(pair.key, wanted->key, (size_t)wanted->key_size) != 0)
            return 0;
        switch (wanted->kind) {
        case '=':
            if (pair.value_end - pair.value != wanted->text_size || memcmp(pair.value, wanted->text, (size_t)wanted->text_size) != 0)
                return 0;
            break;
        case 'n':
            t->pattern = wanted->text;
            t->table = values;
            if (!take_line(t, pair.value, pair.value_end, 0, wanted->width))
                return 0;
            values += wanted->width;
            break;
        case 't':
            *texts++ = pair.value - text;
            *texts++ = pair.value_end - text;
            break;
        default:
            break;
        }
    }
    return p == end;
}

/* How many lines from `p` on begin with a word; -1 where the text ends before another line. */
static Py_ssize_t lines_of_word(const LineOf *line, const char *p, const char *stop)
{
    for (Py_ssize_t count = 0;; count++) {
        if (stop - p <= line->size)
            return -1;
        if (memcmp(p, line->text, (size_t)line->size) != 0 || !is_blank(p[line->size]))
            return count;
        if ((p = memchr(p, '\n', (size_t)(stop - p))) == NULL)
            return -1;
        p++;
    }
}

/* The lines of the atoms from `*at` on. */
static Outcome take_atoms(const LineOf *line, Table *t, Taken *taken, const char **at, const char *stop, Py_ssize_t natoms)
{
    if (natoms <= 0 || natoms > taken->most_atoms - taken->atoms)
        return OTHER;
    t->pattern = line->pattern;
    t->table = taken->table + taken->atoms * line->width;
    t->numbers = taken->numbers + taken->atoms;
    if (take_lines(t, at, stop, natoms, line->width) == natoms)
        return TAKEN;
    return *at == stop || memchr(*at, '\n', (size_t)(stop - *at)) == NULL ? ENDED : OTHER;
}

/* What a line from `p` to `end` says: 0 where it is not plainly as it should be. */
static int take_plain_line(const LineOf *line, Table *t, const char *p, const char *end, double *values, int64_t *texts, Py_ssize_t *natoms,
                           const char *text)
{
    switch (line->kind) {
    case '=':
        return end - p == line->size && memcmp(p, line->text, (size_t)line->size) == 0;
    case '#':
        return take_count(p, end, line->text, natoms);
    case 'n':
        t->pattern = line->pattern;
        t->table = values;
        return take_line(t, p, end, 0, line->width);
    case 'w':
        if (end - p < line->size || memcmp(p, line->text, (size_t)line->size) != 0 || (end - p > line->size && !is_blank(p[line->size])))
            return 0;
        t->pattern = line->pattern;
        t->table = values;
        return take_line(t, p + line->size, end, 0, line->width);
    case 'p':
        return take_template_pairs(line, t, p, end, values, texts, text);
    default:
        return 1;
    }
}

/* The line of a title, from `p` to `end`. */
static int take_title_line(const LineOf *line, Table *t, const char *p, const char *end, double *values, int64_t *texts, const char *text)
{
    for (int i = 0; i < line->count; i++) {
        const PairOf *wanted = &line->pairs[i];
        if (wanted->kind == '=' && (end - p != wanted->key_size || memcmp(p, wanted->key, (size_t)wanted->key_size) != 0))
            return 0;
        if (wanted->kind == 't') {
            *texts++ = p - text;
            *texts++ = end - text;
        }
        if (wanted->kind == 'n') {
            const char *from = p, *to = end;
            t->pattern = wanted->text;
            t->table = values;
            t->after = wanted->key;
            t->after_size = wanted->key_size;
            const int found = between_marks(t, &from, &to) && take_line(t, from, to, 0, wanted->width);
            t->after_size = 0;
            if (!found)
                return 0;
            values += wanted->width;
        }
    }
    return 1;
}

/* Pass over the lines of titles that repeat; `*at` is then at the start of the line of another. */
static Outcome take_repeated(const LineOf *line, const Titles *titles, const char **at, const char *stop, double *values, int64_t *texts,
                             const char *text)
{
    for (Py_ssize_t i = 0; i < line->values; i++)
        values[i] = 0.0;
    memset(texts, 0, sizeof *texts * (size_t)line->texts * 2);
    for (;;) {
        int which;
        const Py_ssize_t place = find_title(titles, text, *at - text - 1, stop - text, &which);
        if (place < 0)
            return ENDED;
        const char *const inside = text + place + (text[place] == '\n'), *const end = memchr(inside, '\n', (size_t)(stop - inside));
        if (end == NULL)
            return ENDED;
        if (line->text[which] == '.')
            return TAKEN; /* it is found once more, which costs little */
        Py_ssize_t before = 0;
        for (int i = 0; i < which; i++)
            before += line->text[i] == line->text[which];
        if (line->text[which] == 'c')
            values[before]++;
        else {
            const char *begin = inside;
            while (begin > *at && begin[-1] != '\n')
                begin--;
            texts[2 * before] = begin - text;
            texts[2 * before + 1] = end - text;
        }
        *at = end + 1;
    }
}

/* Go to the line of the next title: its start and end; OTHER where it is another title. */
static Outcome seek_title(const LineOf *line, const Titles *titles, const char *at, const char *stop, const char **begin, const char **end,
                          const char *text)
{
    int which;
    const Py_ssize_t place = find_title(titles, text, at - text - 1, stop - text, &which);
    if (place < 0)
        return ENDED;
    *begin = text + place + (text[place] == '\n');
    *end = memchr(*begin, '\n', (size_t)(stop - *begin));
    while (*begin > at && (*begin)[-1] != '\n')
        (*begin)--;
    return *end == NULL ? ENDED : which == line->title ? TAKEN : OTHER;
}

/* One frame from `*at` on, which stays where there is none. */
static Outcome take_frame(const Template *template, Table *t, Taken *taken, const char *text, const char **at, const char *stop)
{
    const char *p = *at;
    double *values = taken->values + taken->frames * template->values;
    int64_t *texts = taken->texts + taken->frames * template->texts * 2;
    Py_ssize_t natoms = 0;
    for (int i = 0; i < template->count; i++) {
        const LineOf *line = &template->lines[i];
        const char *end = NULL;
        Outcome outcome = TAKEN;
        if (line->kind == 'k') {
            natoms = line->width;
            continue;
        }
        if (line->kind == '*' && (natoms = lines_of_word(line, p, stop)) < 0)
            return ENDED;
        if (line->kind == 'a' || line->kind == '*')
            outcome = take_atoms(line, t, taken, &p, stop, natoms);
        else if (line->kind == 'r')
            outcome = take_repeated(line, template->titles, &p, stop, values, texts, text);
        else if (line->kind == '>') {
            outcome = seek_title(line, template->titles, p, stop, &p, &end, text);
            if (outcome == TAKEN && !take_title_line(line, t, p, end, values, texts, text))
                outcome = OTHER;
        } else if (p == stop || (end = memchr(p, '\n', (size_t)(stop - p))) == NULL)
            outcome = ENDED;
        else if (!take_plain_line(line, t, p, end, values, texts, &natoms, text))
            outcome = OTHER;
        if (outcome != TAKEN)
            return outcome;
        p = end == NULL ? p : end + 1;
        values += line->values;
        texts += line->texts * 2;
    }
    taken->places[taken->frames] = *at - text;
    taken->natoms[taken->frames++] = natoms;
    taken->atoms += natoms;
    *at = p;
    return TAKEN;
}

#endif
