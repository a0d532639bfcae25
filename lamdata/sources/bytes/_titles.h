/* Titles -> the next place in a buffer where one of them stands; of several at one place the one that was named first.

   Wu and Manber, "A fast algorithm for multi-pattern searching" (1994), with pairs of bytes: of each title a window, as long for all, is
   looked for from its end; a pair that is in no window passes over nearly all of it. Outputs are full of spaces, so windows are as long as
   lets a pair of spaces pass over most, and end in letters where they can. */

#ifndef LAMDATA_TITLES_H
#define LAMDATA_TITLES_H

#include <limits.h>
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

/* Where the window of a title begins: with few pairs of spaces in it, and letters at its end. */
static Py_ssize_t choose_offset(const Title *title, Py_ssize_t window)
{
    Py_ssize_t best = 0;
    int most = INT_MIN;
    for (Py_ssize_t at = 0; at + window <= title->size; at++) {
        const char *const p = title->text + at;
        int good = is_letter(p[window - 2]) + is_letter(p[window - 1]);
        for (Py_ssize_t i = 0; i + 1 < window; i++)
            good -= p[i] == ' ' && p[i + 1] == ' ' ? 4 : 0;
        if (good > most) {
            most = good;
            best = at;
        }
    }
    return best;
}

/* Choose the windows of a length, and how far each pair at the end of one lets it move. */
static void choose_windows(Titles *all, Py_ssize_t window)
{
    all->window = window;
    all->reach = 0;
    memset(all->shift, (int)(window - 1), sizeof all->shift);
    for (int i = 0; i < all->count; i++) {
        Title *title = &all->titles[i];
        title->offset = choose_offset(title, window);
        if (title->offset > all->reach)
            all->reach = title->offset;
        for (Py_ssize_t j = 0; j + 2 <= window; j++) {
            const unsigned pair = pair_at(title->text + title->offset + j);
            const uint8_t shift = (uint8_t)(window - 2 - j);
            if (shift < all->shift[pair])
                all->shift[pair] = shift;
        }
    }
}

/* Make the tables, once the texts are there; all are of two bytes or more. */
static void prepare(Titles *all)
{
    Py_ssize_t shortest = LONGEST_WINDOW, best = 2;
    for (int i = 0; i < all->count; i++)
        if (all->titles[i].size < shortest)
            shortest = all->titles[i].size;
    for (Py_ssize_t window = 2, most = -1; window <= shortest; window++) {
        choose_windows(all, window);
        if (all->shift[pair_at("  ")] >= most) {
            most = all->shift[pair_at("  ")];
            best = window;
        }
    }
    choose_windows(all, best);
    memset(all->first, -1, sizeof all->first);
    for (int i = all->count - 1; i >= 0; i--) {
        Title *title = &all->titles[i];
        const unsigned last = pair_at(title->text + title->offset + best - 2);
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
