/* A real cluster for one test: wbnode processes and a private PostgreSQL in a folder of its own, started and
 * stopped by tools/cluster. Every call here fails the running cmocka test when it cannot do what it says, and
 * shows why. Threading: the test's main thread, except where it is said otherwise. */
#ifndef WB_CLUSTER_TESTS_CLUSTER_H
#define WB_CLUSTER_TESTS_CLUSTER_H

#include <sys/types.h>

#include "proto/base/bytes.h"
#include "rpc/wbcache.h"

enum { CLUSTER_NODES_MAX = 9, CLUSTER_SETTINGS_MAX = 16 };

struct cluster_options {
    const char *database; /* NULL: a private PostgreSQL */
    bool adopt;
    bool no_wait;       /* do not wait for ready leaders */
    bool netns;         /* every node in a network namespace of its own: see netns.h */
    const char *wbnode; /* run this program instead; NULL: the build's wbnode */
    const char *settings[CLUSTER_SETTINGS_MAX]; /* "section.key=value", up to the first NULL */
};

struct cluster {
    bool started;
    unsigned nodes;
    unsigned groups;
    char dir[128];
    char addresses[512]; /* of the nodes' client ports, as wbcache_open takes them */
    char database[512];  /* libpq DSN */
    char netns[32];      /* where clients reach the nodes; "": here */
    pid_t pids[CLUSTER_NODES_MAX +
               1]; /* by node number, from 1; 0: does not run. cluster_refresh() renews them */
    pid_t pg_pid;
    struct wbcache *control; /* for status; opened when needed */
    int guardian_fd;         /* closing it without a word makes the guardian stop the cluster */
};

/* Make a folder and start three nodes, three groups and PostgreSQL in it; returns when each group has a ready
 * leader. */
void cluster_start(struct cluster *c, const struct cluster_options *options);
/* Start what does not run, in the same folder; @options as above (settings are kept from the first start). */
void cluster_start_again(struct cluster *c, const struct cluster_options *options);
/* Stop everything. @keep: leave the folder and print its path, else remove it. Harmless when never started.
 */
void cluster_end(struct cluster *c, bool keep);

void cluster_kill(struct cluster *c, unsigned node);   /* SIGKILL; returns when it is gone */
void cluster_pause(struct cluster *c, unsigned node);  /* SIGSTOP */
void cluster_resume(struct cluster *c, unsigned node); /* SIGCONT */
/* Cut @node off from the other nodes, not from clients and PostgreSQL: whatever they send each other is lost,
 * and nobody is told. With options.netns only. */
void cluster_cut(struct cluster *c, unsigned node);
void cluster_heal(struct cluster *c, unsigned node);
void cluster_stop_node(struct cluster *c, unsigned node);
void cluster_restart(struct cluster *c, unsigned node); /* returns when it answers */
/* SIGKILL for all nodes, and an immediate shutdown for PostgreSQL, in one moment; returns when all are gone.
 */
void cluster_kill_everything(struct cluster *c);
void cluster_pg_stop(struct cluster *c, bool immediate);
void cluster_pg_start(struct cluster *c);
void cluster_pg_restart(struct cluster *c, bool immediate);

/* Run tools/cluster with @arguments (NULL-terminated) for this folder; returns its exit code, output in
 * @output. */
int cluster_tool(struct cluster *c, const char *const *arguments, char *output, size_t output_len);
/* Ask again which processes run. */
void cluster_refresh(struct cluster *c);

/* All nodes' status, or NULL when none answers; wbcache_status_free it. */
struct wbcache_status *cluster_status(struct cluster *c);
/* Of @status, what @node says of @group; NULL when the node did not answer. */
const struct wbcache_group_status *cluster_group(
    const struct wbcache_status *status, unsigned node, unsigned group);
const struct wbcache_node_status *cluster_node(const struct wbcache_status *status, unsigned node);
/* What the ready leader of @group says of it, NULL when there is none. *@node (may be NULL) gets its number.
 */
const struct wbcache_group_status *cluster_leader_of(
    const struct wbcache_status *status, unsigned group, unsigned *node);

/* The node that leads @group and is ready; waits for one. */
unsigned cluster_leader(struct cluster *c, unsigned group);
/* Another node leads @group than @not_node, and is ready; waits for one. */
unsigned cluster_other_leader(struct cluster *c, unsigned group, unsigned not_node);
void cluster_wait_ready(struct cluster *c); /* every group has a ready leader */
/* @node has applied, in every group, what the leader had applied when this was called. */
void cluster_wait_caught_up(struct cluster *c, unsigned node);
/* Nothing is dirty anywhere: every leader's flushed index is its applied index. */
void cluster_wait_clean(struct cluster *c, unsigned timeout_ms);
/* The leader of @group, ready to serve or not, reports the flush state @state. */
void cluster_wait_flush_state(struct cluster *c, unsigned group, const char *state, unsigned timeout_ms);

/* Poll @condition until it holds; fail the test after @timeout_ms with @what and the last status. */
void cluster_wait(struct cluster *c, const char *what, unsigned timeout_ms,
    bool (*condition)(struct cluster *c, void *data), void *data);

/* The size of @node's log (0: PostgreSQL's) now. */
long cluster_log_place(struct cluster *c, unsigned node);
/* Find the first line from @place on that has all of @words (NULL-terminated), whatever their case, and show
 * it in the transcript. Returns the place after it, or -1. */
long cluster_log_find(struct cluster *c, unsigned node, long place, const char *const *words);

/* From /proc; any thread. */
uint64_t process_cpu_ms(pid_t pid);         /* user and system time so far */
uint64_t process_resident_bytes(pid_t pid); /* 0 when it is gone */

#endif
