/* Clients that mean no good: a process of their own, with many connections to a node and no regard for it.
 * What they hold is not the test's memory and not its descriptors, and they end with it, whatever becomes of
 * it.
 *
 * Threading: one thread; the process is a fork of this one and uses nothing of it. */
#ifndef WB_CLUSTER_TESTS_ATTACKER_H
#define WB_CLUSTER_TESTS_ATTACKER_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/types.h>

enum attack_kind {
    ATTACK_SILENT,      /* connect, and say nothing */
    ATTACK_HALF_FRAMES, /* send half of a frame, and stop */
    ATTACK_ANNOUNCE,    /* announce a frame of 4 GiB and begin to send it; when closed, again */
    ATTACK_NOISE,       /* all kinds of junk (junk.h); when closed, again */
    ATTACK_NEVER_READ,  /* ask as long as requests are taken; never read an answer */
    ATTACK_READ_SLOWLY, /* the same, and read one byte a second */
    ATTACK_ASK,         /* ask and read, as fast as it goes */
};

struct attack {
    enum attack_kind kind;
    struct sockaddr_in addresses[2];
    unsigned n_addresses; /* connections are dealt out among them */
    unsigned connections;
    unsigned frame_bytes; /* HALF_FRAMES: what the frame announces; half of it is sent, with the header */
    unsigned pieces_per_second; /* ANNOUNCE, NOISE: new connections and pieces of junk, of all together */
    /* What is asked: GETs of keys PREFIX00000000 to PREFIX plus @keys - 1, in turns. */
    char prefix[32];
    unsigned keys;
    unsigned keys_per_request;
    unsigned deadline_ms; /* of each request; 0: none is given */
    unsigned window;      /* ASK: requests without an answer on one connection */
    uint64_t random;      /* not 0 */
};

enum { ATTACK_STATUSES = 32 };
struct attack_report {
    uint64_t opened;
    uint64_t not_opened; /* nobody accepted */
    uint64_t ended;      /* by the node, in whatever way */
    uint64_t cut;        /* of these, with a reset */
    uint64_t sent_bytes, received_bytes;
    uint64_t most_sent_bytes;             /* on one connection */
    uint64_t answers[ATTACK_STATUSES];    /* by status (proto/base/status.h) */
    uint64_t last_words[ATTACK_STATUSES]; /* answers about the connection itself, by status */
    uint64_t first_end_ms,
        last_end_ms; /* since the connection was opened: the shortest life, and the longest */
    char words[160]; /* of the last of the last words */
};

struct attacker;

/* Start the process; returns when all connections were tried once. Heap object; NULL when there can be none.
 * @attack is copied. Its process runs on until the end, also when all of its connections have ended. */
struct attacker *attacker_start(const struct attack *attack);
/* What has happened so far. */
struct attack_report attacker_report(const struct attacker *a);
/* The process's own CPU time: what it took from the nodes on a small machine. */
uint64_t attacker_cpu_ms(const struct attacker *a);
/* Kill the process, which closes its connections, and wait for its end. NULL is allowed. */
void attacker_stop(struct attacker *a);

#endif
