/* Inside of the Redis front door, for the files front_redis*.c only.
 *
 *   command --> TAKE --local, session----------------------------------------------------> replied
 *                ^ |  \--must see what came before it--> HELD (conn.held)
 *                | |                                        |
 *                +-|----- what it waited for is over -------+
 *                  v
 *              SUBMITTED --------done--------------------------------------------------> replied
 *                ^ |  \-- nothing was done, and another node leads ----------------------> MOVED
 *   a leader     | v
 *   is here      +-- WAITING (waiting.ops): nothing was done, and nobody leads --too long-> CLUSTERDOWN
 *
 * What a connection has HELD holds all that comes after it, too. What is WAITING holds what comes after it
 * for the same group; should a later one of its connection be done all the same, it is not tried again: their
 * order would be lost. */
#ifndef WB_NODE_FRONT_REDIS_INTERNAL_H
#define WB_NODE_FRONT_REDIS_INTERNAL_H

#include "node/front_redis.h"
#include "node/redis/command.h"

struct redis_operation;

/* A reply beyond this is refused: it would have to be held in memory as a whole. */
enum { REDIS_REPLY_BYTES_MAX = 32 * 1024 * 1024 };
/* What a transaction may cost, since nothing else is done meanwhile: see transaction_work. */
enum { REDIS_EXEC_WORK_MAX_BYTES = 128 * 1024 * 1024 };
/* What MULTI may queue for one connection. */
enum { REDIS_MULTI_BYTES_MAX = 4 * 1024 * 1024, REDIS_WATCHED_MAX = 1024 };

/* One connection. It outlives its client for as long as operations of its are under way. */
struct redis_conn {
    struct redis_client *client; /* owned */
    unsigned refs;               /* the connection itself, and its operations */
    bool closed;
    bool quitting;       /* QUIT was said: what came behind it is not done any more */
    uint64_t group_conn; /* what the groups know it by */
    struct list
        ops; /* of redis_operation.of_conn, oldest first; without those that only wait for the flush */
    struct list waits;    /* those */
    unsigned settling;    /* EXECs under way whose commands ask for the connection's settings, or change them:
                             what    comes behind must not do so before */
    unsigned watching;    /* WATCH commands that are not answered yet: at most one */
    uint64_t watch_epoch; /* another one when the watched keys were forgotten */
    size_t multi_bytes;   /* what it queues and watches, as counted in front_redis.multi_bytes */
    struct list held;     /* of struct held_request */
    struct list link;     /* in front_redis.holding while something is held */
    bool release;         /* what is held may go on in the next turn */
    bool refused;         /* the server refused a command among those that are held */
};

/* The commands that wait for one group to have a leader. */
struct redis_waiting {
    struct list ops;  /* of redis_operation.link, oldest first */
    uint64_t wake_ms; /* when to look at them at the latest */
};

struct front_redis {
    struct front_redis_config config;
    const struct resp_server *server;
    bool closing;
    bool release; /* some connection's `release` is set */
    uint64_t now_ms;
    uint64_t random;
    uint64_t sequence;             /* of the newest operation */
    struct redis_waiting *waiting; /* of each group */
    uint32_t waiting_n;
    size_t multi_bytes;    /* queued and watched by all connections */
    size_t composed_bytes; /* of replies that are composed, and may not be told yet */
    uint64_t local_work;   /* of commands without a group in this turn, in keys looked at, about */
    struct list holding;
    struct redis_node_view view;
    bool view_fresh; /* filled in this turn */
};

/* A command that is being taken. */
struct redis_take {
    struct front_redis *front;
    struct redis_conn *conn;
    struct resp_request *request;
    const struct redis_command *command; /* the subcommand, where there is one */
    bool silent;                         /* CLIENT REPLY: nothing is said */
};

enum redis_operation_where { REDIS_SUBMITTED, REDIS_WAITING };

/* What a command asks of a group; lives in the request's arena. */
struct redis_operation {
    struct group_request r;
    struct front_redis *front;
    struct redis_conn *conn; /* a reference */
    struct resp_request *request;
    const struct redis_command *command;
    uint32_t group;
    uint16_t slot;
    uint8_t protocol;
    bool silent;
    enum redis_operation_where where;
    uint64_t sequence;
    uint64_t random;
    uint64_t give_up_ms; /* when waiting for a leader ends; 0: it did not wait yet */
    uint64_t retry_ms;   /* not to be tried again before */
    size_t composed;     /* as counted in front->composed_bytes */
    bool crowded;        /* the last evaluation found no memory for its reply */
    struct list of_conn; /* in conn->ops, or in conn->waits */
    struct list link;    /* in waiting.ops */
    /* The end of what is not an ordinary command: composes the reply (@op->r has the outcome), and lets go of
     * what it holds. Returns true when there is a reply; otherwise the outcome is told as for all. NULL: only
     * the latter. */
    bool (*end)(struct redis_operation *op, struct resp_writer *w);
    void *own; /* of what is not an ordinary command */
    struct bytes key;
    bool blind;
};

/* How a command uses a key. */
struct redis_key_use {
    struct bytes key;
    bool blind;
};

/* ---- front_redis.c: taking commands ---- */

void redis_conn_unref(struct redis_conn *c);
uint64_t redis_next_random(struct front_redis *f);
/* The end of every command: the reply is composed. */
void redis_say(struct resp_request *request, bool silent);
struct resp_writer redis_writer(const struct redis_take *take);
/* Run a local command, and count what it costs. */
void redis_run_local(struct front_redis *f, struct redis_local_call *call);
/* The end of a command that needs no group: the reply is composed. */
void redis_answer(struct redis_take *take);
void redis_refuse(struct redis_take *take, const char *error);
/* The same, and the transaction that is being queued is spoilt. */
void redis_reject(struct redis_take *take, const char *error);

/* ---- front_redis_operation.c: their life, where they need a group ---- */

extern const char redis_cluster_down[];
/* Make what the command asks of the group of @slot, with what all operations have; the rest of `r` is the
 * caller's. */
struct redis_operation *redis_operation_create(struct redis_take *take, uint16_t slot, enum group_op kind);
/* Give it to its group, or let it wait for a leader, or answer it. */
void redis_operation_begin(struct redis_operation *op);
/* It needs no group after all: it ends with @status, and with OK its reply is composed. */
void redis_operation_answer(struct redis_operation *op, enum status status);
/* The end of each evaluation, which came to @status: is there memory for the reply that it composed? What
 * must be proved before it is told waits, and the server knows of it only when it comes. */
enum status redis_operation_composed(struct redis_operation *op, enum status status);
/* Does another node lead the group of @slot, as far as we know? Then it is said. (READONLY may let a command
 * that reads stay here all the same.) */
bool redis_moved(struct front_redis *f, uint16_t slot, struct resp_writer *w);
struct group *redis_group(const struct front_redis *f, uint16_t slot);

/* What waits for @group to have a leader, in each turn; when that must be looked at; and the end of it. */
void redis_turn_waiting(struct front_redis *f, uint32_t group);
uint64_t redis_waiting_wake_ms(const struct front_redis *f);
void redis_stop_waiting(struct front_redis *f);

/* ---- front_redis_keyed.c ---- */

/* Find the keys of a command in its arguments, and their slot. Returns their number (at least 1), and where
 * they are in *@at (in the arena, or @few). 0: it was rejected. */
uint32_t redis_find_keys(struct redis_take *take, const uint32_t **at, uint32_t few[8], uint16_t *slot);
/* Sort @uses, and make those of one key one. Returns how many are left. */
uint32_t redis_merge_keys(struct redis_key_use *uses, uint32_t n);
/* Name the keys of @uses, which are merged, to @op. */
void redis_name_keys(struct redis_operation *op, const struct redis_key_use *uses, uint32_t n);
/* Run one command of a transaction. TOO_BIG: the reply would be. */
enum status redis_run(struct redis_operation *op, const struct redis_command *command,
    const struct bytes *args, uint32_t n, struct transaction *t, struct resp_writer *w);
void redis_take_keyed(struct redis_take *take);

/* ---- front_redis_multi.c ---- */

void redis_take_multi(struct redis_take *take), redis_take_exec(struct redis_take *take);
void redis_take_discard(struct redis_take *take), redis_take_watch(struct redis_take *take);
void redis_take_unwatch(struct redis_take *take);
/* EXEC with the wrong number of arguments. */
void redis_abort_exec(struct redis_take *take);
/* Put the command behind the others of its transaction. */
void redis_queue(struct redis_take *take);
void redis_forget_multi(struct redis_take *take);
/* What the connection queues and watches is another amount now; or nothing any more. */
void redis_count_multi(struct front_redis *f, struct redis_conn *c);
void redis_uncount_multi(struct front_redis *f, struct redis_conn *c);

/* ---- front_redis_own.c: WB.* ---- */

void redis_take_flushed(struct redis_take *take), redis_take_waitflush(struct redis_take *take);
void redis_take_lag(struct redis_take *take);

/* ---- front_redis_view.c ---- */

/* What local commands may know, as of this turn of the loop. */
const struct redis_node_view *redis_view(struct front_redis *f);

#endif
