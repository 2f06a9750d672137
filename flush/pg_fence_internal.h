/* Between pg_fence.c and pg_take.c: what every conversation about the fence rows is made of. */
#ifndef WB_FLUSH_PG_FENCE_INTERNAL_H
#define WB_FLUSH_PG_FENCE_INTERNAL_H

#include "flush/pg_fence.h"

/* A statement's parameters, with room for the numbers among them. Starts with n = 0. */
struct pg_fence_params {
    struct pg_param p[PG_PARAMS_MAX];
    uint8_t numbers[PG_PARAMS_MAX][8];
    int n;
};
/* @data is borrowed until the statement is sent. */
void pg_fence_add(struct pg_fence_params *ps, Oid type, const void *data, size_t len);
/* @type is PG_OID_INT4 or PG_OID_INT8. */
void pg_fence_add_int(struct pg_fence_params *ps, Oid type, uint64_t v);

/* Send a statement; @ps may be NULL. */
void pg_fence_send(
    struct pg_fence *f, struct pg_connection *c, enum schema_sql which, const struct pg_fence_params *ps);
void pg_fence_send_text(struct pg_fence *f, struct pg_connection *c, enum schema_sql which, const char *text);

/* Set the error. Returns PG_FENCE_FAILED. */
enum pg_fence_step pg_fence_fail(struct pg_fence *f, enum flush_error_class class, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same: @table is not as it should be. */
enum pg_fence_step pg_fence_fail_odd(struct pg_fence *f, const char *table);

/* The result of SCHEMA_SERVER: is it a primary that can be written to? */
enum pg_fence_step pg_fence_check_server(struct pg_fence *f, const PGresult *result, bool *table_exists);
/* The first column of the first row is our schema's version? */
enum pg_fence_step pg_fence_check_meta(struct pg_fence *f, const PGresult *result);
/* The last result is a COMMIT's? Then PG_FENCE_DONE. */
enum pg_fence_step pg_fence_check_commit(struct pg_fence *f);
bool pg_fence_same_cluster(const uint8_t a[CLUSTER_ID_BYTES], const uint8_t b[CLUSTER_ID_BYTES]);

/* pg_take.c: the conversation of a take, as pg_fence_begin and pg_fence_synced have it. */
void pg_take_begin(struct pg_fence *f, struct pg_connection *c);
enum pg_fence_step pg_take_synced(struct pg_fence *f, struct pg_connection *c);
/* A statement has failed: does what was answered before explain it better? Then PG_FENCE_FAILED, and the
 * error is set. */
enum pg_fence_step pg_take_explain(struct pg_fence *f);

#endif
