/* What the loader asks of a connection: a load of keys, or a search for expired rows. */
#ifndef WB_FLUSH_PG_LOAD_REQUEST_H
#define WB_FLUSH_PG_LOAD_REQUEST_H

#include "flush/pg_connection.h"
#include "flush/pg_load_answer.h"
#include "proto/base/list.h"

/* The values of one answer together. Each load asks for no value that is longer than its keys' equal share of
 * this: a sum over the rows would cost each load more than that. A value that is too long for its share is
 * told as `later`, so a long one among many comes with the next load, of fewer keys. (A database in another
 * encoding counts fields in that one, so they can be somewhat longer here.) */
enum { PG_LOAD_ANSWER_BYTES = 8 * 1024 * 1024 };

enum pg_load_kind { PG_LOAD_KEYS, PG_LOAD_EXPIRED };

struct pg_load_request {
    struct list link; /* the owner's, as is error */
    struct flush_error error;
    enum pg_load_kind kind;
    uint64_t token;
    /* keys */
    struct flush_identity id;
    struct buf keys;           /* bytea[]; until the answer, which may leave some for later */
    uint32_t n;                /* keys */
    uint32_t asked;            /* of them, the first, when it was sent */
    uint32_t value_bytes_max;  /* likewise: each one's share of PG_LOAD_ANSWER_BYTES */
    uint32_t fields_bytes_max; /* likewise, where it has fields */
    /* expired: its answer is two results, the first of which is the time limit's and has no rows for us */
    uint64_t before_ms;
    uint32_t keys_max;
    bool limited; /* the first has come; the owner's, as is refused */
    bool refused; /* with an error */
};

/* @keys is borrowed until return; at most LIMIT_REQUEST_KEYS. Heap object, as the next. */
struct pg_load_request *pg_load_request_keys(
    uint64_t token, const struct flush_identity *id, const struct bytes *keys, uint32_t n);
struct pg_load_request *pg_load_request_expired(uint64_t token, uint64_t before_ms, uint32_t keys_max);
void pg_load_request_free(struct pg_load_request *r);

/* Queue the statements that requests execute, by @sql (of enum schema_sql): three results. */
void pg_load_request_prepare(struct pg_connection *c, const char *const *sql);
/* Send it, for no more than @at_once (not 0) of its keys, or with the time limit @limit, as "2000ms". May be
 * sent again, but not for more keys than before. */
void pg_load_request_send(
    struct pg_load_request *r, struct pg_connection *c, uint32_t at_once, const char *limit);
/* Add the keys that were not asked for to `later`. They are borrowed from @r. */
void pg_load_request_unasked(const struct pg_load_request *r, struct pg_load_answer *answer);

#endif
