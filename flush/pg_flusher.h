/* The flusher of a node: flusher.h spoken to PostgreSQL. One for each group. A shell. Threading: the loop's
 * thread.
 *
 * `failed` fires also when an idle connection that had been taken is lost (nothing is pending then): the
 * fence must be taken again before the next batch. After inspect or claim an idle connection may go
 * unnoticed; the next call opens another. A call of inspect, claim or take while another one or a batch is
 * pending is a bug (CHECK).
 *
 * With slots it connects when it has one, and gives it back with its connection; until then a call waits. */
#ifndef WB_FLUSH_PG_FLUSHER_H
#define WB_FLUSH_PG_FLUSHER_H

#include "flush/flush_slots.h"
#include "flush/flusher.h"
#include "flush/pg_connection.h"

struct pg_flusher;

struct pg_flusher_config {
    const char *dsn;    /* of the primary itself, not of a pooler that hands sessions around; copied */
    const char *schema; /* NULL: SCHEMA_DEFAULT_NAME; copied */
    uint64_t node_id;
    uint32_t group;
    struct pg_limits limits;
    struct flush_slots *slots;   /* shared with others: how many may be connected. NULL: no limit. Borrowed */
    const struct logger *logger; /* may be NULL; borrowed */
};

/* What to call with a struct pg_flusher as the flusher. */
extern const struct flusher_ops pg_flusher_ops;

/* Heap object. NULL when the schema's name is not valid (schema.h). Opens nothing yet. @events and @data are
 * borrowed. */
struct pg_flusher *pg_flusher_create(
    uv_loop_t *loop, const struct pg_flusher_config *config, const struct flusher_events *events, void *data);

/* As disconnect; nothing may be called afterwards. @cb fires once, when every handle is closed and @f is
 * freed. */
void pg_flusher_close(struct pg_flusher *f, void (*cb)(void *data), void *data);

#endif
