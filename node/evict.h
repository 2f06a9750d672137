/* Which clean entry leaves memory first. Pure; this replica's own affair.
 *
 * The policy is S3-FIFO, chosen by the study of cluster-tests/evict: an entry must be used once more soon
 * after it came, or come back soon after it went, to stay for long. So a scan, or a stream of writes that
 * nobody reads, pushes out little of what is used.
 *
 * It knows clean entries only (evict_add ... evict_remove): an entry that becomes dirty is removed, and added
 * again when it is clean; what it was worth before still counts then. It uses of an entry: queued.link (free
 * while clean), evict_hits, evict_queue, hash. */
#ifndef WB_NODE_EVICT_H
#define WB_NODE_EVICT_H

#include <stdint.h>

#include "proto/base/list.h"

struct state_entry;

struct evict; /* private */

enum {
    /* One evict_choose looks at so many entries and then takes one that is worth more: else, when all of
     * millions of entries were used, the first choice would hold up the loop until it had looked at each. */
    EVICT_LOOKS_MAX = 64,
    /* Beyond its struct the policy takes at most so much for each entry that it holds. */
    EVICT_ENTRY_BYTES_MAX = 8,
};

/* Empty; never NULL. */
struct evict *evict_create(void);
void evict_destroy(struct evict *v); /* entries in it are left as they are */
/* @e became clean; it is borrowed until evict_remove. @bytes is what it takes in memory (it stays so until
 * then). Of a new entry evict_hits and evict_queue are 0. */
void evict_add(struct evict *v, struct state_entry *e, uint64_t bytes);
/* @e, which was added, becomes dirty, or goes. @bytes is as it was given to evict_add. */
void evict_remove(struct evict *v, struct state_entry *e, uint64_t bytes);
/* The entry to go next; NULL when there is none. The caller removes it with evict_remove at once, and frees
 * it: its hash may have been noted, so that it is known when it comes back. @bytes_of_entry tells an entry's
 * size, as it was given to evict_add. O(1). */
struct state_entry *evict_choose(struct evict *v, uint64_t (*bytes_of_entry)(const struct state_entry *e));
/* Memory of the policy's own, beyond the entries. Changes with evict_choose and evict_remove. */
uint64_t evict_bytes(const struct evict *v);
/* @e was used: a read hit, or a write. Also while dirty. Not by what brought it into memory (its first write,
 * the read that had to load it): that would make everything look used. */
void evict_touch(struct state_entry *e);

#endif
