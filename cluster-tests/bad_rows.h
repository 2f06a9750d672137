/* Rows that PostgreSQL refuses, batches that hold them, and what it took to find them. A row is bad when its
 * value begins with BAD_ROWS_VALUE, or its key was named. Every call fails the running cmocka test when it
 * cannot do what it says. Threading: the test's main thread.
 *
 * Every statement that inserts into the cache's table counts as a try, also one that fails and is rolled
 * back: the count is a sequence's, which no rollback takes back. */
#ifndef WB_CLUSTER_TESTS_BAD_ROWS_H
#define WB_CLUSTER_TESTS_BAD_ROWS_H

#include <libpq-fe.h>

#include "cluster-tests/cluster.h"
#include "cluster-tests/ledger.h"

#define BAD_ROWS_VALUE "BAD:"
/* PostgreSQL's words and number for it. */
#define BAD_ROWS_MESSAGE  "violates check constraint"
#define BAD_ROWS_SQLSTATE "23514"

/* From now on such rows are refused, and tries are counted. */
void bad_rows_install(PGconn *conn);
/* The constraint is dropped: nothing is bad any more. */
void bad_rows_forgive(PGconn *conn);
/* Name keys: one; or all from PREFIX:%08u with 0 to below @n that leave @rest when divided by @modulus. */
void bad_rows_name(PGconn *conn, const char *key);
void bad_rows_name_many(PGconn *conn, const char *prefix, uint32_t n, uint32_t modulus, uint32_t rest);
/* Tries so far. */
int64_t bad_rows_tries(PGconn *conn);

/* The try number @moment (as bad_rows_tries will count it) waits in the middle of its transaction; with
 * @mirror so does every statement that puts rows into the table that shows the quarantine. The trap is shut
 * as long as @conn, which is the trap's own, holds it. */
void bad_rows_trap(PGconn *conn, int64_t moment, bool mirror);
/* Is somebody in it? */
bool bad_rows_trapped(PGconn *conn);
/* Nobody else walks into it; who is in it stays there. */
void bad_rows_disarm_trap(PGconn *conn);
void bad_rows_open_trap(PGconn *conn);

/* Write the keys [@first, @first + @n) of @l with one call, so that those of one group are one log entry; it
 * must be acknowledged. @n at most 4096. */
void bad_rows_write(struct cluster *c, struct ledger *l, uint32_t first, uint32_t n);

#endif
