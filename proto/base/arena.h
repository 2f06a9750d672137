/* Bump allocation: many small pieces, all released at once. */
#ifndef WB_PROTO_BASE_ARENA_H
#define WB_PROTO_BASE_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    size_t bytes;               /* total size of all blocks */
};

void arena_init(struct arena *a);
void arena_deinit(struct arena *a);
/* Forget everything, keep one block for the next use. */
void arena_reset(struct arena *a);
/* Memory aligned for any type, until reset or deinit. Never NULL (aborts when out of memory). */
void *arena_alloc(struct arena *a, size_t size);

/* A moment in an arena's life, to which it can go back. */
struct arena_mark {
    struct arena_block *block;
    size_t used;
};
struct arena_mark arena_mark(const struct arena *a);
/* Forget what was allocated since @mark, which must be younger than the last reset. */
void arena_rollback(struct arena *a, struct arena_mark mark);

#endif
