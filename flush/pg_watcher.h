/* The ear of a node: it hears which rows somebody else than the flush has changed, by LISTEN on the schema's
 * channel (schema.h, schema_channel; <schema>.watch(true) makes PostgreSQL tell). One connection a node,
 * which it makes by itself, and again with back-off and jitter. A shell. Threading: the loop's thread.
 *
 * What is promised: a change that commits while `installed` holds is told soon, by `changed` or `all`, or,
 * when the connection breaks before, by `all` after the next one stands. */
#ifndef WB_FLUSH_PG_WATCHER_H
#define WB_FLUSH_PG_WATCHER_H

#include "flush/pg_connection.h"
#include "proto/base/bytes.h"

struct pg_watcher;

/* None fires from inside a call. All may call pg_watcher_close, after which none fires. */
struct pg_watcher_events {
    /* Somebody may have changed the row of @key (borrowed; of any length, as others write it). */
    void (*changed)(void *data, struct bytes key);
    /* ... of any key: TRUNCATE, a notification that cannot be read, or changes that may have been missed. */
    void (*all)(void *data);
    /* Fires when one of them has changed; both are false at first. @listening: connected. @installed: and the
     * database tells of changes. */
    void (*state)(void *data, bool listening, bool installed);
};

struct pg_watcher_config {
    const char *dsn;    /* of the primary itself, not of a pooler that hands sessions around; copied */
    const char *schema; /* NULL: SCHEMA_DEFAULT_NAME; copied */
    uint64_t node_id;
    struct pg_limits limits;
    unsigned ask_ms; /* how often the server is asked whether it still tells, which also finds a connection
                        that died without a word; 0: 5,000 */
    unsigned backoff_min_ms; /* before the first new attempt; 0: 50. Doubled up to backoff_max_ms; of each, */
    unsigned backoff_max_ms; /* half is by chance. 0: 5,000 */
    const struct logger *logger; /* may be NULL; borrowed */
};

/* Heap object, which begins to connect at once. NULL when the schema's name is not valid (schema.h). The
 * schema need not be there yet. @events and @data are borrowed. */
struct pg_watcher *pg_watcher_create(uv_loop_t *loop, const struct pg_watcher_config *config,
    const struct pg_watcher_events *events, void *data);

/* No event follows. @cb fires once, when every handle is closed and @w is freed. */
void pg_watcher_close(struct pg_watcher *w, void (*cb)(void *data), void *data);

#endif
