/* A node that does what a test tells it: plain sockets in a thread of its own, the real frames and messages.
 * Several share one picture of the cluster, from which they answer Topology by themselves. */
#ifndef WB_RPC_FAKE_NODE_H
#define WB_RPC_FAKE_NODE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/client.pb-c.h"

enum { FAKE_NODES = 3 };

/* A constant text as a field of a message that is only packed. */
static inline char *fake_text(const char *text)
{
    return (char *)(uintptr_t)text;
}

struct fake_node;

enum fake_action {
    FAKE_ANSWER,
    FAKE_SILENCE, /* never answer this one */
    FAKE_DROP,    /* close the connection instead */
    FAKE_GARBAGE, /* send bytes that are no frame */
    FAKE_GOODBYE, /* end the connection in an orderly way instead; what comes after it is discarded */
};

/* What to do with a request that is neither Topology nor OpenSession. @response has the id; its status is OK,
 * and for what names keys it has one found Result per key (value: the key). Called in the node's thread with
 * the cluster locked. */
typedef enum fake_action (*fake_script)(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response);

struct fake_cluster;

struct fake_node {
    struct fake_cluster *cluster;
    unsigned id; /* from 1 */
    unsigned port;
    char address[32];
    pthread_t thread;
    int listener;
    int wake[2];
    bool running;
    /* under the cluster's lock */
    bool stopping;
    bool leaving;         /* to say goodbye on all its connections; then it is false again */
    bool paused;          /* reads nothing, like a stopped process: its kernel still accepts */
    bool topology_silent; /* does not answer Topology */
    unsigned requests;    /* that the script was asked about */
    unsigned topologies;  /* answered */
    size_t discarded;     /* bytes that came after a goodbye */
    unsigned connections; /* accepted since the start */
    uint32_t last_deadline_ms;
};

struct fake_cluster {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* some node's `leaving` */
    struct fake_node nodes[FAKE_NODES];
    unsigned group_count;
    unsigned leaders[8]; /* node ids, 0: not known */
    fake_script script;
    void *data; /* the test's */
    uint64_t version;
    uint64_t sessions;      /* opened; the ids count up */
    bool scripted_sessions; /* OpenSession is the script's, too */
};

/* All nodes run; group g is led by node g % 3 + 1. */
void fake_cluster_start(struct fake_cluster *cluster, unsigned group_count, fake_script script, void *data);
void fake_cluster_stop(struct fake_cluster *cluster);
/* "127.0.0.1:p,127.0.0.1:p,127.0.0.1:p" */
const char *fake_cluster_addresses(const struct fake_cluster *cluster, char out[128]);
/* As if killed: connections are reset, the port refuses. */
void fake_node_kill(struct fake_node *node);
/* It says goodbye on all its connections, as to idle clients, and goes on. Returns when they are sent. */
void fake_node_goodbye(struct fake_node *node);
/* Change what is under the lock. */
void fake_node_pause(struct fake_node *node, bool paused);
void fake_cluster_lead(struct fake_cluster *cluster, unsigned group, unsigned node_id);
unsigned fake_node_requests(struct fake_node *node);

#endif
