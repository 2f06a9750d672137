#include "proto/base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

#include "proto/base/alloc.h"

enum { ARENA_BLOCK_BYTES = 1024 };

struct arena_block {
    struct arena_block *older;
    size_t size;
    size_t used;
    alignas(max_align_t) uint8_t data[];
};

void arena_init(struct arena *a)
{
    *a = (struct arena){0};
}

void arena_deinit(struct arena *a)
{
    while (a->blocks != NULL) {
        struct arena_block *block = a->blocks;
        a->blocks = block->older;
        free(block);
    }
    a->bytes = 0;
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = a->blocks;
    if (keep == NULL) {
        return;
    }
    a->blocks = keep->older;
    arena_deinit(a);
    if (keep->size > 64 * ARENA_BLOCK_BYTES) {
        free(keep);
        return;
    }
    keep->older = NULL;
    keep->used = 0;
    a->blocks = keep;
    a->bytes = keep->size;
}

void *arena_alloc(struct arena *a, size_t size)
{
    size_t align = alignof(max_align_t);
    size = (size + align - 1) / align * align;
    struct arena_block *block = a->blocks;
    if (block == NULL || block->size - block->used < size) {
        size_t room = a->bytes < ARENA_BLOCK_BYTES ? ARENA_BLOCK_BYTES : a->bytes;
        if (room > 256 * ARENA_BLOCK_BYTES) {
            room = 256 * ARENA_BLOCK_BYTES;
        }
        if (room < size) {
            room = size;
        }
        block = xmalloc(sizeof *block + room);
        block->older = a->blocks;
        block->size = room;
        block->used = 0;
        a->blocks = block;
        a->bytes += room;
    }
    void *ptr = block->data + block->used;
    block->used += size;
    return ptr;
}

struct arena_mark arena_mark(const struct arena *a)
{
    return (struct arena_mark){.block = a->blocks, .used = a->blocks == NULL ? 0 : a->blocks->used};
}

void arena_rollback(struct arena *a, struct arena_mark mark)
{
    while (a->blocks != mark.block) {
        struct arena_block *block = a->blocks;
        a->blocks = block->older;
        a->bytes -= block->size;
        free(block);
    }
    if (mark.block != NULL) {
        mark.block->used = mark.used;
    }
}
