/* The cluster's side of `wbbench flush`, through libwbcache: write all rows while the flush is paused, let it
 * go, wait until everything is in PostgreSQL. Blocking; one thread. Functions that return false have said why
 * in `errmsg`. */
#ifndef WB_TOOLS_WBBENCH_FLUSH_CACHE_H
#define WB_TOOLS_WBBENCH_FLUSH_CACHE_H

#include <signal.h>

#include "proto/limits.h"
#include "rpc/wbcache.h"
#include "tools/wbbench/flush_rows.h"

struct flush_cache {
    struct wbcache *handle;
    struct wbcache *of_group[LIMIT_GROUPS]; /* for what is said to all groups at the same time */
    unsigned groups;
    uint32_t batch_rows; /* of the flush */
    bool paused;         /* by us */
    char errmsg[512];
};

/* Connect, and look at how the groups flush: one that is paused or slowed down by an operator is refused.
 * Close it also after a failure. @cluster is borrowed until return. */
bool flush_cache_open(struct flush_cache *c, const char *cluster);
/* Let the flush go on, if we paused it, and disconnect. */
void flush_cache_close(struct flush_cache *c);

/* Pause the flush of all groups, or let it go on: at the same time, as a thread for each says so. */
bool flush_cache_pause(struct flush_cache *c, bool paused);
/* Set every row to @value, in the rows' order. Ends with an error soon after *@stop became true (NULL:
 * never). */
bool flush_cache_write(struct flush_cache *c, const struct flush_rows *rows, struct bytes value,
    const volatile sig_atomic_t *stop);
/* Delete every row. */
bool flush_cache_delete(struct flush_cache *c, const struct flush_rows *rows);
/* Wait until the flushed index of every group has reached the last index that it has now. */
bool flush_cache_await(struct flush_cache *c);

#endif
