/* Titles -> the next place in a buffer where one of them stands; of several at one place the one that was named first.

   Wu and Manber, "A fast algorithm for multi-pattern searching" (1994), with pairs of bytes: of each title a window as long as the
   shortest title is looked for, from its end; a pair that is in no window passes over nearly all of it. The window of a title is chosen
   so that it ends in letters, since outputs are full of spaces. */

#ifndef LAMDATA_TITLES_H
#define LAMDATA_TITLES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS = 1 << 16, MOST_TITLES = 200, LONGEST_WINDOW = 200 };

typedef struct {
    char *text;
    Py_ssize_t size, offset; /* bytes; where the window begins */
    int next;                /* title whose window ends in the same pair, or -1 */
} Title;

typedef struct {
    Py_ssize_t window, reach; /* bytes of a window; the largest offset */
    int count;
    Title titles[MOST_TITLES];
    uint8_t shift[PAIRS];  /* bytes that a pair at the end of the window lets it move */
    int16_t first[PAIRS]; /* title whose window ends in the pair, or -1 */
} Titles;

static unsigned pair_at(const char *p) { return (unsigned)(unsigned char)p[0] << 8 | (unsigned char)p[1]; }

static int is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static void free_titles(Titles *all)
{
    for (int i = 0; i < all->count; i++)
        free(all->titles[i].text);
    free(all);
}

/* Where the window of a title begins: the last pair should be of letters. */
static Py_ssize_t choose_offset(const Title *title, Py_ssize_t window)
{
    Py_ssize_t best = 0;
    int most = -1;
    for (Py_ssize_t at = 0; at + window <= title->size; at++) {
        const char *last = title->text + at + window - 2;
        const int letters = is_letter(last[0]) + is_letter(last[1]);
        if (letters > most) {
            most = letters;
            best = at;
        }
    }
    return best;
}

/* Make the tables, once the texts are there; all are of two bytes or more. */
static void prepare(Titles *all)
{
    all->window = LONGEST_WINDOW;
    all->reach = 0;
    for (int i = 0; i < all->count; i++)
        if (all->titles[i].size < all->window)
            all->window = all->titles[i].size;
    memset(all->shift, (int)(all->window - 1), sizeof all->shift);
    memset(all->first, -1, sizeof all->first);
    for (int i = all->count - 1; i >= 0; i--) {
        Title *title = &all->titles[i];
        title->offset = choose_offset(title, all->window);
        if (title->offset > all->reach)
            all->reach = title->offset;
        const char *window = title->text + title->offset;
        for (Py_ssize_t j = 0; j + 2 <= all->window; j++) {
            const uint8_t shift = (uint8_t)(all->window - 2 - j);
            if (shift < all->shift[pair_at(window + j)])
                all->shift[pair_at(window + j)] = shift;
        }
        const unsigned last = pair_at(window + all->window - 2);
        title->next = all->first[last];
        all->first[last] = (int16_t)i;
    }
}

/* The first place from `start` on, and which title; -1 where there is none that ends by `stop`. */
static Py_ssize_t find_title(const Titles *all, const char *text, Py_ssize_t start, Py_ssize_t stop, int *which)
{
    Py_ssize_t best = -1, at = start;
    while (at + all->window <= stop && (best < 0 || at <= best + all->reach)) {
        const unsigned pair = pair_at(text + at + all->window - 2);
        const int shift = all->shift[pair];
        if (shift) {
            at += shift;
            continue;
        }
        for (int i = all->first[pair]; i >= 0; i = all->titles[i].next) {
            const Title *title = &all->titles[i];
            const Py_ssize_t place = at - title->offset;
            if (place < start || place + title->size > stop || (best >= 0 && (place > best || (place == best && i > *which))))
                continue;
            if (memcmp(text + place, title->text, (size_t)title->size) == 0) {
                best = place;
                *which = i;
            }
        }
        at++;
    }
    return best;
}

/* As `find_title`, but a title of which `passing` is set is counted and passed over with its line; `last` is where the last such stood. */
static Py_ssize_t find_past(const Titles *all, const char *text, Py_ssize_t start, Py_ssize_t stop, const char *passing, int *counts,
                            Py_ssize_t *last, int *which)
{
    for (;;) {
        const Py_ssize_t place = find_title(all, text, start, stop, which);
        if (place < 0 || !passing[*which])
            return place;
        counts[*which]++;
        last[*which] = place;
        const char *inside = text + place + (text[place] == '\n');
        const char *end = memchr(inside, '\n', (size_t)(text + stop - inside));
        if (end == NULL)
            return -1;
        start = end - text; /* the break may begin a title */
    }
}

#endif
