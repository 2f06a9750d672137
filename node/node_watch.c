/* What the watcher hears goes to the groups: a key to the one that holds it, as the front door finds it. */
#include "node/node_internal.h"
#include "proto/base/check.h"
#include "proto/slot.h"

static void on_changed(void *data, struct bytes key)
{
    const struct node *n = data;
    if (key.len <= LIMIT_KEY_BYTES) { /* else it is none of ours */
        group_forget_clean(n->seats[slot_group(slot_of(key), n->config->groups)].group, key);
    }
}

static void on_all(void *data)
{
    const struct node *n = data;
    for (uint32_t i = 0; i < n->config->groups; i++) {
        group_forget_all_clean(n->seats[i].group);
    }
}

static void on_state(void *data, bool listening, bool installed)
{
    (void)listening;
    ((struct node *)data)->watched = installed;
}

static const struct pg_watcher_events watcher_events = {
    .changed = on_changed, .all = on_all, .state = on_state};

void node_watch(struct node *n)
{
    const struct config *config = n->config;
    if (!config->watch) {
        return;
    }
    const struct pg_watcher_config watcher = {
        .dsn = config->database,
        .schema = config->schema,
        .node_id = config->node_id,
        .limits = node_database_limits(config),
        .backoff_min_ms = config->flush.retry_min_ms,
        .backoff_max_ms = config->flush.retry_max_ms,
        .logger = n->logger,
    };
    n->watcher = pg_watcher_create(n->loop, &watcher, &watcher_events, n);
    CHECK(n->watcher != NULL); /* the schema's name passed the loader */
}
