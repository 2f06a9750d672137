/* For tests and the bench: several raft_hosts in one process on one loop, over real sockets and temporary
 * folders. Their state machine hashes what it applies, so that equal sequences show as equal hashes. */
#ifndef WB_RAFT_TEST_CLUSTER_H
#define WB_RAFT_TEST_CLUSTER_H

#include "raft/raft_host.h"

enum { TEST_NODES = 3, TEST_GROUPS_MAX = 6 };

struct test_group {
    struct test_node *node;
    uint32_t group;
    /* the replicated state */
    uint64_t count;
    uint64_t hash;
    /* what happened */
    uint64_t last_index;
    bool gate_open;
    unsigned gates_opened;
    unsigned gates_closed;
    unsigned restores;
    unsigned snapshots;
    uint64_t barrier_token;                                     /* the last one done */
    void (*on_apply)(struct test_group *g, struct bytes entry); /* may be NULL */
};

struct test_node {
    struct test_cluster *cluster;
    uint64_t id;
    struct raft_host *host; /* NULL when closed */
    struct test_group groups[TEST_GROUPS_MAX];
    struct logger logger;
    char *log_text; /* all that was logged, valid after each line */
    size_t log_len;
    char dir[160];
    int reserved_fd; /* keeps the port ours while nobody listens */
    char address[32];
    bool handed_over;
};

struct test_cluster {
    uv_loop_t loop;
    uv_check_t check; /* polls the hosts after each turn */
    uv_timer_t guard; /* ends a wait that would never end */
    bool expired;
    char dir[128]; /* below TMPDIR, else /tmp */
    struct replica_peer peers[TEST_NODES];
    struct test_node nodes[TEST_NODES];
    struct raft_host_config config; /* change it before test_node_open */
};

void test_cluster_open(struct test_cluster *c, uint32_t group_count);
/* Closes what is open, and the loop, which must have nothing left; removes the folder. */
void test_cluster_close(struct test_cluster *c);

/* Create and start with c->config, or with @config. Fails the test when that fails. */
void test_node_open(struct test_node *n);
void test_node_open_as(struct test_node *n, const struct raft_host_config *config);
void test_node_close(struct test_node *n);
void test_cluster_open_nodes(struct test_cluster *c);

/* Run the loop until @done holds; fails the test when it never does. */
#define TEST_WAIT(cluster, done)                                                                             \
    do {                                                                                                     \
        test_wait_begin(cluster);                                                                            \
        while (!(done)) {                                                                                    \
            test_wait_turn(cluster, #done, __FILE__, __LINE__);                                              \
        }                                                                                                    \
    } while (0)
void test_wait_begin(struct test_cluster *c);
void test_wait_turn(struct test_cluster *c, const char *what, const char *file, int line);

/* The open node whose gate for @group is open, or NULL. */
struct test_node *test_leader(struct test_cluster *c, uint32_t group);
struct test_node *test_other(struct test_cluster *c, const struct test_node *n);
/* Propose @n entries of @bytes each at the leader; fails the test when one is refused. */
void test_propose(struct test_cluster *c, uint32_t group, unsigned n, size_t bytes);
/* Have all open nodes applied @count entries of @group, the same ones? */
bool test_applied(struct test_cluster *c, uint32_t group, uint64_t count);
bool test_logged(const struct test_node *n, const char *text);

#endif
