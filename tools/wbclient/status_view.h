/* What a status says, put together for the whole cluster. */
#ifndef WB_TOOLS_WBCLIENT_STATUS_VIEW_H
#define WB_TOOLS_WBCLIENT_STATUS_VIEW_H

#include <jansson.h>

#include "rpc/wbcache.h"

/* One replica with the node that reported it. */
struct view {
    const struct wbcache_node_status *node;
    const struct wbcache_group_status *group; /* NULL: nobody leads */
};
/* The most believable leader's view of @group: the newest term. An old leader that does not know yet that it
 * was replaced has a smaller one. */
struct view status_leader(const struct wbcache_status *status, uint32_t group);
/* 0 when no node answered. */
uint32_t status_group_count(const struct wbcache_status *status);
/* Log entries that PostgreSQL does not have yet. */
uint64_t status_lag(const struct wbcache_group_status *g);
/* What an operator has to do about the group's last error of the database, if something; never NULL. */
const char *status_advice(const struct wbcache_group_status *g);

/* status_json.c: all of it, for programs. The caller releases them. */
json_t *status_json(const struct wbcache_status *status);
json_t *settings_json(const struct wbcache_flush_settings *settings);

#endif
