/* Requests to one group of a cluster, written by hand, with the session and sequence that the test chooses.
 * For tests of what the library hides. Calls fail the running test when the cluster does not answer in time.
 * Threading: the test's main thread. */
#ifndef WB_CLUSTER_TESTS_ASKER_H
#define WB_CLUSTER_TESTS_ASKER_H

#include "cluster-tests/cluster.h"
#include "cluster-tests/raw_client.h"

enum { ASKER_KEY_BYTES = 64 };

struct asker {
    struct cluster *cluster;
    unsigned group;
    unsigned node; /* that it is connected to; 0: none */
    struct raw_client client;
};

/* The client address of @node: the nodes' places in the list of addresses are their numbers. */
void asker_address(const struct cluster *c, unsigned node, char out[ASKER_KEY_BYTES]);

void asker_init(struct asker *a, struct cluster *cluster, unsigned group);
void asker_deinit(struct asker *a);

/* A key of the group: @name with something behind it. Returns @out. */
const char *asker_key(const struct asker *a, const char *name, char out[ASKER_KEY_BYTES]);

/* Requests, to be asked or sent; they live in @arena, and copy what they are given. */
Wbrpc__Request *asker_get(struct arena *arena, const char *key);
Wbrpc__Request *asker_set(struct arena *arena, const char *key, const char *value);
Wbrpc__Request *asker_del(struct arena *arena, const char *key);
Wbrpc__Request *asker_incr(struct arena *arena, const char *key, int64_t delta);
Wbrpc__Request *asker_append(struct arena *arena, const char *key, const char *value);
/* Add one more key and value to a set. */
void asker_set_also(struct arena *arena, Wbrpc__Request *set, const char *key, const char *value);
/* Give it a session's number. */
void asker_once(struct arena *arena, Wbrpc__Request *request, uint64_t session, uint64_t sequence,
    uint64_t first_awaited, bool retry);

/* Ask the group's leader, whoever it is, again and again until somebody serves: as the protocol wants it,
 * each but the first time as a retry. The answer is valid until the next call. Not for writes without a
 * session. */
const Wbrpc__Response *asker_ask(struct asker *a, Wbrpc__Request *request);
/* Only send it to the leader; returns its id, for raw_client_receive on a->client. */
uint64_t asker_send(struct asker *a, Wbrpc__Request *request);
uint64_t asker_open_session(struct asker *a);
/* SIGKILL for the group's leader; returns when another node leads it and the killed one has been started
 * again. */
void asker_kill_leader(struct asker *a);

/* What an answer says of the operation: status, index, and results; packed, so that answers can be compared.
 */
void asker_essence(const Wbrpc__Response *response, struct buf *out);

#endif
