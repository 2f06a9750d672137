/* One connection of an attacker: what it sends, what it reads of the answers. Inside the attacker's process
 * only. */
#ifndef WB_CLUSTER_TESTS_ATTACKER_CONN_H
#define WB_CLUSTER_TESTS_ATTACKER_CONN_H

#include <stdbool.h>

#include "cluster-tests/attacker.h"
#include "proto/base/buf.h"

/* What all connections share. */
struct attack_force {
    const struct attack *attack;
    struct attack_report *report;
    int epoll_fd;
    uint64_t random;
    unsigned next_key;
    uint64_t last_id;
};

enum { ATTACK_HEAD_BYTES = 256 };
struct attack_conn {
    unsigned number;
    int fd; /* -1: closed */
    bool open;
    uint64_t opened_ms;
    uint64_t sent_bytes;
    uint64_t sip_ms;  /* when it reads its next byte */
    unsigned waiting; /* requests without an answer */
    struct buf out;   /* to be sent */
    size_t out_at;
    /* the answer at hand: its first bytes, how many have come, and its length, 0 while that is not known */
    uint8_t head[ATTACK_HEAD_BYTES];
    uint64_t in_bytes;
    uint64_t in_size;
};

/* Connect, and begin. */
void attack_conn_open(struct attack_conn *c, struct attack_force *force);
/* Its socket is ready. */
void attack_conn_event(struct attack_conn *c, struct attack_force *force, uint32_t events);
/* Its turn to send a piece of junk has come; opens it anew if it was closed. */
void attack_conn_piece(struct attack_conn *c, struct attack_force *force);
/* Read one byte, if it is time. */
void attack_conn_sip(struct attack_conn *c, struct attack_force *force);

#endif
