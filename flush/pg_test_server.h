/* A private PostgreSQL for tests: its own folder under /tmp, its own unix socket, no TCP port. For any room's
 * tests. initdb refuses root, so as root everything runs as the user postgres. Blocking. Threading: one
 * thread.
 *
 *     struct pg_test_server server;
 *     assert_int_equal(pg_test_server_start(&server), 0);
 *     ... connect to server.dsn ...
 *     pg_test_server_destroy(&server); */
#ifndef WB_FLUSH_PG_TEST_SERVER_H
#define WB_FLUSH_PG_TEST_SERVER_H

#include <stdint.h>
#include <sys/types.h>

struct pg_test_server {
    char dir[64];  /* holds data/, the log and the socket */
    char dsn[160]; /* "host=DIR port=5432 user=postgres dbname=postgres" */
    pid_t pid;     /* of the postmaster; 0 when stopped */
};

/* Make a folder and a cluster in it, start the server, wait until it accepts connections. Returns 0, or -1
 * with a message on stderr. The server dies with this process. */
int pg_test_server_start(struct pg_test_server *s);
/* Stop it: sessions are cut, what is committed stays. Waits for the end. */
void pg_test_server_stop(struct pg_test_server *s);
/* As a crash does: no checkpoint, no farewell. Waits for the end. */
void pg_test_server_kill(struct pg_test_server *s);
/* Start it again on the same folder. Returns 0 or -1. */
int pg_test_server_again(struct pg_test_server *s);
/* Stop it and remove the folder. */
void pg_test_server_destroy(struct pg_test_server *s);

/* Run @sql (one or more statements) as the superuser on a connection of its own. Returns the first column of
 * the first row of the last statement as text, malloc'd; "" when there is none (or it is NULL). NULL with a
 * message on stderr when it fails. */
char *pg_test_server_query(struct pg_test_server *s, const char *sql);
/* The same for a number; INT64_MIN when it fails or is no number. */
int64_t pg_test_server_number(struct pg_test_server *s, const char *sql);

#endif
