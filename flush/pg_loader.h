/* The loader of a node: loader.h spoken to PostgreSQL, over one connection that all groups share. It connects
 * by itself, and again with back-off and jitter. Calls wait for the first connection; while it is known to be
 * down loads fail at once (but never inside the call), as OUTAGE with the last error's words, and searches
 * find nothing. A server in recovery counts as down: its connection is given up, as the next attempt may find
 * another server (the DSN can name several). A shell. Threading: the loop's thread. */
#ifndef WB_FLUSH_PG_LOADER_H
#define WB_FLUSH_PG_LOADER_H

#include "flush/loader.h"
#include "flush/pg_connection.h"

/* The server gives up a search for expired rows after so long (or after the limits' statement timeout, when
 * that is shorter), as loads wait behind it. */
enum { PG_LOADER_FIND_TIMEOUT_MS = 2000 };

struct pg_loader;

struct pg_loader_config {
    const char *dsn;    /* of the primary itself, not of a pooler that hands sessions around; copied */
    const char *schema; /* NULL: SCHEMA_DEFAULT_NAME; copied */
    uint64_t node_id;
    struct pg_limits limits;
    unsigned backoff_min_ms; /* before the first new attempt; 0: 50. Doubled up to backoff_max_ms; of each, */
    unsigned backoff_max_ms; /* half is by chance. 0: 5,000 */
    const struct logger *logger; /* may be NULL; borrowed */
};

/* What to call with a struct pg_loader as the loader. */
extern const struct loader_ops pg_loader_ops;

/* Heap object. NULL when the schema's name is not valid (schema.h). Begins to connect with the first call:
 * before the database is claimed there is nothing to connect for. @events and @data are borrowed. */
struct pg_loader *pg_loader_create(
    uv_loop_t *loop, const struct pg_loader_config *config, const struct loader_events *events, void *data);

/* The database was just reached in another way: if the loader waits before it tries again, it tries now. */
void pg_loader_wake(struct pg_loader *l);

/* Loads under way fail (OUTAGE), searches find nothing; new ones are a bug. @cb fires once, after their
 * events, when every handle is closed and @l is freed. */
void pg_loader_close(struct pg_loader *l, void (*cb)(void *data), void *data);

#endif
