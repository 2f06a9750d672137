/* PostgreSQL beside what was read through the Redis port: strings in `value`, hashes in `fields`, in the form
 * that docs/redis.md promises. */
#ifndef WB_CLUSTER_TESTS_REDIS_ROWS_H
#define WB_CLUSTER_TESTS_REDIS_ROWS_H

#include <libpq-fe.h>

#include "cluster-tests/redis_call.h"

/* What is at an object: in each of its parts @value, or nothing. */
struct redis_found {
    bool found;
    struct bytes value;
};

struct redis_rows_count {
    uint64_t strings, fields;
};

/* Are the rows whose keys have @common within them exactly what @found says of the @n @objects? *@count gets
 * what is there in PostgreSQL. False: @why is the first difference, or that PostgreSQL cannot be asked. */
bool redis_rows_equal(PGconn *conn, const char *common, const struct redis_object *objects,
    const struct redis_found *found, unsigned n, struct redis_rows_count *count, char *why, size_t why_len);

/* The bytes that a text of `fields` stands for, in @out (cleared first). False: it is none that we write. */
bool redis_rows_decode(struct bytes text, struct buf *out);

#endif
