/* The statements of a fenced transaction, which a take has prepared (pg_fence.h): their parameters out of our
 * structs. libpq copies them, so that nothing is borrowed after return. A shell. Threading: the loop's
 * thread. */
#ifndef WB_FLUSH_PG_STATEMENTS_H
#define WB_FLUSH_PG_STATEMENTS_H

#include "flush/pg_connection.h"

/* Who asks, as it was when the fence was taken. */
struct pg_holder {
    struct flush_identity id;
    uint64_t epoch;
    uint64_t lock; /* pg_fence_lock() */
};

/* Check that the fence is the holder's and that the last batch is @predecessor, move it to @batch (which may
 * be the same one), and say @note. One statement; its result is the server's clock. */
void pg_send_advance(struct pg_connection *c, const struct pg_holder *holder, uint64_t predecessor,
    uint64_t batch, const struct flush_note *note);
/* Upsert and delete. Returns the number of statements. */
int pg_send_rows(struct pg_connection *c, const struct flush_batch *b);
/* The same, with the rows that fit @refusals (flush_error_row_pattern()) found by the server: the last
 * statement's result. @immediate is the text of SCHEMA_IMMEDIATE. Returns the number of statements. */
int pg_send_isolating(
    struct pg_connection *c, const struct flush_batch *b, const char *immediate, const char *refusals);
/* Replace the group's rows of table quarantine, unless @mirror is NULL. Returns the number of statements. */
int pg_send_mirror(
    struct pg_connection *c, const struct pg_holder *holder, const struct flush_mirror *mirror);

#endif
