/* What hiredis does not do: commands go to the node that leads their key's slot, as MOVED says. Synchronous,
 * one connection to each node. For the test's own script; not a client to build on. */
#ifndef WB_CLUSTER_TESTS_HIREDIS_ROUTER_H
#define WB_CLUSTER_TESTS_HIREDIS_ROUTER_H

#include <stdbool.h>

#include <hiredis/hiredis.h>

#include "proto/limits.h"

enum { ROUTER_NODES_MAX = 9, ROUTER_ADDRESS_BYTES = 64, ROUTER_ERROR_BYTES = 512 };

struct router_node {
    char address[ROUTER_ADDRESS_BYTES]; /* host:port */
    redisContext *connection;           /* NULL: none */
};

struct router {
    struct router_node nodes[ROUTER_NODES_MAX];
    int count;
    int homes[SLOT_COUNT]; /* a node, as learnt */
    int next;              /* the node to ask when the one that it should be is not there */
    char error[ROUTER_ERROR_BYTES];
};

/* One command; the words are borrowed. */
struct router_command {
    int argc;
    const char **argv;
    const size_t *lengths;
};

/* @addresses: host:port,host:port,... Connects when there is something to send. */
void router_init(struct router *r, const char *addresses);
void router_deinit(struct router *r);

/* Run @command where @key lives, following MOVED and trying again what was certainly not done. Returns a
 * reply (also an error reply), which the caller frees, or NULL when the connection broke behind the command:
 * its outcome is unknown, and r->error has the words. */
redisReply *router_call(struct router *r, const char *key, const struct router_command *command);
/* The same with words of one string, separated by single blanks; the key is the second word, if there is one.
 */
redisReply *router_call_line(struct router *r, const char *line);
/* Run @n commands on keys of any slots: each node gets its own in one pipeline. replies[i] is what
 * router_call would give; those that were told MOVED are run again, alone. */
void router_pipeline(struct router *r, const char *const *keys, const struct router_command *commands, int n,
    redisReply **replies);
/* Run MULTI, @n commands, EXEC where @key lives, in one pipeline. Returns EXEC's reply, or an error reply, or
 * NULL as router_call. */
redisReply *router_transaction(
    struct router *r, const char *key, const struct router_command *commands, int n);
/* A connection to the node where @key lives, after an answer for @key came from there; NULL: r->error.
 * Borrowed. */
redisContext *router_home(struct router *r, const char *key);

#endif
