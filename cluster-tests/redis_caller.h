/* One client that does things to objects through the Redis port and records what it was answered. It follows
 * MOVED, tries again after errors that clients try again after, and after nothing else. Each of these errors
 * is taken at its word, that nothing was done: if something was, the history is not linearizable, or a sum is
 * wrong.
 *
 * What is sent in one piece over one connection is done in its order. For objects of its own the caller
 * records exactly that, so that the judge finds a later reply with an older state. For counters of everybody
 * it looks by itself: they never fall. Threading: one thread each. */
#ifndef WB_CLUSTER_TESTS_REDIS_CALLER_H
#define WB_CLUSTER_TESTS_REDIS_CALLER_H

#include "cluster-tests/redis_call.h"
#include "cluster-tests/redis_client.h"

enum { REDIS_OBJECTS_MAX = 512, REDIS_PIECE_MAX = 64 };

struct redis_caller_numbers {
    uint64_t asked[REDIS_FORMS];
    uint64_t answers[REDIS_ANSWERS];     /* tries */
    uint64_t add_answers[REDIS_ANSWERS]; /* of them: increments */
    uint64_t given_up;                   /* calls that were tried again until there was no more patience */
    uint64_t ordered;                    /* pairs of replies whose order was looked at */
    uint64_t slow;                       /* calls that took longer than a failover needs */
    uint64_t slowest_ms;
    char error[256]; /* the first answer that must not be */
};

struct redis_caller {
    struct redis_client client;
    uint64_t number;
    uint64_t random;
    unsigned patience_ms; /* so long a call is tried again */
    unsigned reply_ms;    /* so long a reply is awaited */
    struct history history;
    bool full; /* the history is: nothing more may be called */
    const struct redis_object *objects;
    unsigned n_objects;
    bool own[REDIS_OBJECTS_MAX];     /* nobody else calls them */
    uint8_t hint[REDIS_OBJECTS_MAX]; /* who led them last */
    uint64_t next_value;
    struct redis_caller_numbers numbers;
};

/* Several calls, sent in one piece. */
struct redis_piece {
    unsigned n;
    struct redis_call calls[REDIS_PIECE_MAX];
    unsigned replies[REDIS_PIECE_MAX];
    enum redis_answer answers[REDIS_PIECE_MAX]; /* when it is over */
    char texts[REDIS_PIECE_MAX][REDIS_VALUE_BYTES];
};

/* @addresses as redis_client takes them. @history_bytes_max as history_init does. */
void redis_caller_init(
    struct redis_caller *c, const char *addresses, uint64_t number, size_t history_bytes_max);
void redis_caller_deinit(struct redis_caller *c);
/* From now on @objects, which are borrowed; it owns none of them; what it draws comes from @seed. Connections
 * stay. */
void redis_caller_objects(
    struct redis_caller *c, const struct redis_object *objects, unsigned n, uint64_t seed);

/* A random number below @n. */
unsigned redis_caller_below(struct redis_caller *c, unsigned n);
/* A form that suits @object, drawn. */
enum redis_form redis_caller_form(struct redis_caller *c, const struct redis_object *object);

/* Nothing is in it. */
void redis_piece_clear(struct redis_piece *p);
/* Add a call with a new value, or delta. */
void redis_caller_add(
    struct redis_caller *c, struct redis_piece *p, const struct redis_object *object, enum redis_form form);
/* Send it to @node, and take all replies. Nothing is tried again. */
void redis_caller_send(struct redis_caller *c, unsigned node, struct redis_piece *p);
/* The one call in @p, until it is answered, or its outcome is unknown, or patience ends. */
enum redis_answer redis_caller_do(struct redis_caller *c, struct redis_piece *p);
/* WATCH and read @object, rest for @rest_ms, and write it in a transaction: one try. */
void redis_caller_change(
    struct redis_caller *c, struct redis_piece *p, const struct redis_object *object, unsigned rest_ms);

#endif
