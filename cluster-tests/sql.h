/* PostgreSQL as a user of the tables sees it. The functions that end in _or_fail fail the running cmocka
 * test; those may be called from the test's main thread only. The others from any thread, one at a time for
 * each connection. */
#ifndef WB_CLUSTER_TESTS_SQL_H
#define WB_CLUSTER_TESTS_SQL_H

#include <libpq-fe.h>

#include "proto/base/bytes.h"

/* Connect; NULL when that is not possible now. PQfinish it. */
PGconn *sql_connect(const char *dsn);
PGconn *sql_connect_or_fail(const char *dsn);
/* @dsn with another database name, into @out. */
void sql_other_database(const char *dsn, const char *database, char *out, size_t out_len);

/* Run commands without caring for rows. */
void sql_run_or_fail(PGconn *conn, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The first value of the first row as a number; NULL and no row are 0. */
int64_t sql_number_or_fail(PGconn *conn, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same as text in @out, "" for NULL and no row. */
void sql_text_or_fail(PGconn *conn, char *out, size_t out_len, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* One row of the cache's table; borrowed until the call returns. */
struct sql_entry {
    struct bytes key;
    struct bytes value;
    uint64_t version;
};
/* Read the whole table in one snapshot. False when the server cannot be asked. A table that is missing has no
 * rows. */
bool sql_entries(PGconn *conn, void (*each)(void *data, const struct sql_entry *entry), void *data);

#endif
