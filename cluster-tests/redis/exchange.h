/* The same conversation with two servers, reply by reply: a reference that is right by definition, and ours.
 * Each conversation has up to two connections to each. Threading: one thread each. */
#ifndef WB_CLUSTER_TESTS_REDIS_EXCHANGE_H
#define WB_CLUSTER_TESTS_REDIS_EXCHANGE_H

#include "cluster-tests/redis/step.h"
#include "cluster-tests/redis/wire.h"

enum { EXCHANGE_CONNECTIONS = 2, EXCHANGE_QUEUE_MAX = 256 };

enum exchange_result {
    EXCHANGE_SAME,
    EXCHANGE_DIFFERS,
    EXCHANGE_UNSETTLED, /* ours said that it has no leader, or another one: the cluster's matter, not Redis'
                         */
    EXCHANGE_BROKEN,    /* a server did not answer; difference.error says more */
};

/* What a transaction's queued commands were, to compare EXEC's replies as theirs. */
struct exchange_queue {
    uint32_t n;
    struct exchange_queued {
        enum compare_kind compare;
        struct bytes word;
    } list[EXCHANGE_QUEUE_MAX];
};

struct exchange {
    char addresses[2][WIRE_ADDRESS_BYTES]; /* the reference's, ours */
    unsigned protocol;                     /* 2 or 3; said by HELLO on each new connection */
    bool refuses; /* ours is of this project: REFUSED, ERROR_OF and GIVES are judged; else such steps are left
                     out */
    uint64_t replies; /* compared so far */
    struct exchange_end {
        struct wire wires[2];        /* the reference's, ours */
        struct exchange_queue queue; /* since MULTI */
        struct buf before;           /* our reply to the command before */
    } ends[EXCHANGE_CONNECTIONS];
};

struct exchange_difference {
    uint32_t step;
    struct buf expected, got; /* the replies as they came */
    char error[192];          /* of BROKEN */
};

/* Connections are opened when they are used. */
void exchange_init(
    struct exchange *e, const char *reference, const char *ours, unsigned protocol, bool refuses);
/* Close all connections. It can be used again: they are opened anew. */
void exchange_close(struct exchange *e);
/* Go through @n steps, until the first difference. @out: set unless SAME; deinit it always. */
enum exchange_result exchange_run(
    struct exchange *e, const struct step *steps, uint32_t n, struct exchange_difference *out);

void exchange_difference_init(struct exchange_difference *d);
void exchange_difference_deinit(struct exchange_difference *d);

#endif
