/* One asynchronous connection to PostgreSQL on a libuv loop, in pipeline mode from its first statement on. It
 * knows nothing of the flush. A shell. Threading: the loop's thread.
 *
 * connecting -> settings sent -> ready -> closed. There is no way back: whatever goes wrong ends in one
 * `lost`, and the owner opens another.
 *
 * Host names are looked up by libpq itself, which blocks: see "Names" in README.md. */
#ifndef WB_FLUSH_PG_CONNECTION_H
#define WB_FLUSH_PG_CONNECTION_H

#include <libpq-fe.h>
#include <stddef.h>
#include <uv.h>

#include "flush/flush.h"
#include "flush/pg_param.h"
#include "proto/base/log.h"

struct pg_connection;

/* Time limits of a session, in milliseconds; 0 takes the default. */
struct pg_limits {
    unsigned
        connect_timeout_ms;   /* from opening until ready, all addresses of the DSN together; default 5,000 */
    unsigned lock_timeout_ms; /* the server gives up waiting for a lock (TRANSIENT); default 5,000 */
    unsigned statement_timeout_ms;   /* the server gives up a statement (TRANSIENT); default 30,000 */
    unsigned idle_in_transaction_ms; /* the server ends a session that stalls inside a transaction; default
                                        15,000 */
    unsigned answer_timeout_ms;   /* something is unanswered, and the socket has not moved for so long: lost.
                                     Catches a server that is frozen; keep it above the limits before; default
                                     45,000 */
    unsigned tcp_user_timeout_ms; /* unacknowledged bytes: the network is gone; default 10,000 */
};

struct pg_connection_config {
    uv_loop_t *loop;
    const char *dsn; /* libpq's connection string or URI; borrowed until pg_connection_open returns */
    const char *application_name; /* likewise */
    const char *setup_sql;        /* a statement to run once before `ready`, or NULL; likewise */
    struct pg_limits limits;
    const struct logger *logger; /* may be NULL; borrowed */
};

/* None fires from inside a call. All but `closed` cease with pg_connection_close(), which every one of them
 * may call. */
struct pg_connection_events {
    /* Statements may be sent. */
    void (*ready)(void *data);
    /* The result of the oldest unanswered statement; errors too. @result is the callee's: PQclear() it. After
     * an error, the results up to the next sync are PGRES_PIPELINE_ABORTED. Results and syncs come in the
     * order of what was sent, one each; a server that answers otherwise is lost. */
    void (*result)(void *data, PGresult *result);
    /* The oldest unanswered sync has been reached: whatever was not in a transaction block is committed. */
    void (*synced)(void *data);
    /* A notification on a channel that this session listens to; both texts are borrowed. NULL: they are
     * dropped. */
    void (*notified)(void *data, const char *channel, const char *payload);
    /* The connection is of no more use (it could not be made, or broke). Close it. Fires at most once. An
     * error while connecting has the server's SQLSTATE and its class: a wrong password or database is HALT.
     */
    void (*lost)(void *data, const struct flush_error *error);
    /* After pg_connection_close(): every handle is gone, and @data is not used any more. */
    void (*closed)(void *data);
};

/* A copy of @from with texts of its own, for an owner that opens one connection after another. */
struct pg_connection_config pg_connection_config_copy(const struct pg_connection_config *from);
/* Free the texts of a copy. */
void pg_connection_config_free(struct pg_connection_config *copy);

/* Start to connect. Heap object; never NULL. Cannot fail: what goes wrong at once is told by `lost` later. */
struct pg_connection *pg_connection_open(
    const struct pg_connection_config *config, const struct pg_connection_events *events, void *data);

/* The connection is over for the caller: no event but `closed` follows, and @c must not be used any more. */
void pg_connection_close(struct pg_connection *c);

enum { PG_PARAMS_MAX = 12 };

/* Queue a statement; results come in binary. Only once ready. Each ends in one `result`, unless the
 * connection is lost or closed first. Nothing is sure to leave before pg_connection_sync(). */
void pg_connection_query(struct pg_connection *c, const char *sql, const struct pg_param *params, int n);
void pg_connection_prepare(
    struct pg_connection *c, const char *name, const char *sql, const Oid *types, int n);
void pg_connection_execute(struct pg_connection *c, const char *name, const struct pg_param *params, int n);
/* The end of a pipeline: an error before it does not spread behind it. Ends in one `synced`. */
void pg_connection_sync(struct pg_connection *c);

/* The server's process, for logs; 0 when not connected. */
int pg_connection_backend_pid(const struct pg_connection *c);

#endif
