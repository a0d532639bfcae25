/* Room to work in, which grows and is kept from one structure to the next. */
#pragma once
#include "cells.h"
#include <stdlib.h>

typedef struct {
    double distance;
    int32_t atom, place; /* place: of all that were found, in the order of the search */
} Found;

/* Atoms of a cell, seen from an image of the cell. */
typedef struct {
    int32_t first, last, image[3];
} Block;

typedef struct {
    void *memory[5];
    int64_t natoms, cells, blocks, candidates, hits; /* how many there is room for */
    int32_t *cell, *order, (*outside)[3]; /* of atoms: cell, atoms by cell, how many lattice vectors each lies outside */
    int32_t *first;                       /* (cells + 1) where the atoms of each begin in `order` */
    Block *block;
    double *position[3], *image[3], *offset[3], *square; /* of candidates: Å, lattice vectors to their image, these in Å, Å^2 */
    int32_t *atom, *hit;                                 /* of candidates: which atom, and which of them are near */
    Found *found, *sorted;
    double (*vector)[3];
    uint8_t *bucket;
} Space;

static int allocate(Space *space, int which, int64_t bytes)
{
    free(space->memory[which]);
    space->memory[which] = malloc((size_t)bytes + ALIGNED);
    return space->memory[which] ? DONE : FULL;
}

static int room_for_atoms(Space *space, int64_t natoms)
{
    if (natoms <= space->natoms)
        return DONE;
    space->natoms = 0;
    if (allocate(space, 0, natoms * 5 * (int64_t)sizeof(int32_t)))
        return FULL;
    space->natoms = natoms;
    space->cell = space->memory[0];
    space->order = space->cell + natoms;
    space->outside = (int32_t (*)[3])(space->order + natoms);
    return DONE;
}

static int room_for_cells(Space *space, int64_t cells)
{
    if (cells <= space->cells)
        return DONE;
    space->cells = 0;
    if (allocate(space, 1, (cells + 1) * (int64_t)sizeof(int32_t)))
        return FULL;
    space->cells = cells;
    space->first = space->memory[1];
    return DONE;
}

static int room_for_blocks(Space *space, const Grid *grid)
{
    const double count = (2.0 * grid->reach[0] + 1) * (2.0 * grid->reach[1] + 1) * (2.0 * grid->reach[2] + 1);
    if (count <= (double)space->blocks)
        return DONE;
    if (count > MAX_CANDIDATES)
        return REFUSED;
    space->blocks = 0;
    if (allocate(space, 2, (int64_t)count * (int64_t)sizeof(Block)))
        return FULL;
    space->blocks = (int64_t)count;
    space->block = space->memory[2];
    return DONE;
}

static int room_for_candidates(Space *space, int64_t count)
{
    if (count <= space->candidates)
        return DONE;
    if (count > MAX_CANDIDATES)
        return REFUSED;
    count = (count + count / 2 + ALIGNED) / ALIGNED * ALIGNED;
    space->candidates = 0;
    if (allocate(space, 3, count * (int64_t)(10 * sizeof(double) + 2 * sizeof(int32_t))))
        return FULL;
    space->candidates = count;
    double *at = (double *)(((uintptr_t)space->memory[3] + ALIGNED - 1) / ALIGNED * ALIGNED);
    for (int k = 0; k < 3; k++) {
        space->position[k] = at + k * count;
        space->image[k] = at + (3 + k) * count;
        space->offset[k] = at + (6 + k) * count;
    }
    space->square = at + 9 * count;
    space->atom = (int32_t *)(at + 10 * count);
    space->hit = space->atom + count;
    return DONE;
}

static int room_for_hits(Space *space, int64_t count)
{
    if (count <= space->hits)
        return DONE;
    count += count / 2;
    space->hits = 0;
    if (allocate(space, 4, count * (int64_t)(2 * sizeof(Found) + 3 * sizeof(double) + 1)))
        return FULL;
    space->hits = count;
    space->found = space->memory[4];
    space->sorted = space->found + count;
    space->vector = (double (*)[3])(space->sorted + count);
    space->bucket = (uint8_t *)(space->vector + count);
    return DONE;
}
