/* What linear_search.c and linear_place.c share. */
#ifndef WB_CLUSTER_TESTS_LINEAR_PLACE_H
#define WB_CLUSTER_TESTS_LINEAR_PLACE_H

#include "cluster-tests/linear_cache.h"
#include "cluster-tests/linear_search.h"
#include "cluster-tests/linear_starts.h"

/* Which candidates are looked at: in this order, as unknown ones seldom help. */
enum linear_phase { PHASE_FREE, PHASE_KNOWN, PHASE_UNKNOWN, PHASE_END };

/* An operation by a number: of its end, or of a version. */
struct linear_ranked {
    uint64_t by;
    uint32_t op;
};

/* Known operations by a version of theirs; those before `next` are done. */
struct linear_queue {
    struct linear_ranked *items;
    uint32_t n, next;
};

/* One operation done, and what it takes to undo it. */
struct linear_frame {
    struct linear_state before;
    enum linear_phase phase;
    uint32_t op; /* known: its number; unknown: its class */
    uint32_t r;  /* as they were before */
    uint32_t written_next, seen_next, told_next;
};

struct linear_place {
    struct linear_ops *ops;
    uint32_t goal;
    uint64_t steps, steps_max;
    struct linear_state state;
    /* known operations */
    struct linear_ranked *by_end;
    uint32_t r;                        /* R is by_end[r] */
    uint32_t *rank;                    /* of each: its place in by_end */
    bool *done;                        /* of each, and then of each unknown one */
    uint32_t *next, *prev;             /* a ring of those not done, by start; its head is number n_known */
    uint32_t *bit;                     /* of each */
    struct linear_queue written, seen; /* of those that must be done */
    struct linear_queue told;          /* of all; by twice the version, plus one if it was seen only */
    bool all_told; /* each known operation that needs a value, or leaves one, is in `told` */
    /* unknown operations */
    uint32_t *used; /* of each class: how many are done */
    uint32_t first_bit;
    /* of each value that was known before the search */
    uint32_t n_values;
    uint32_t *needs;  /* operations not done that must be, and need it */
    uint32_t *makers; /* operations not done that could make it */
    struct linear_starts starts;
    /* the way here */
    struct linear_frame *frames;
    uint32_t depth;
    uint64_t *key; /* the place: bits of what is done, then r, value and version */
    size_t bit_words;
    struct linear_cache cache;
    bool full;
    /* where the look for a candidate goes on */
    enum linear_phase phase;
    uint32_t cursor;
};

/* At the first place: nothing is done. @ops is borrowed until deinit. */
void linear_place_init(
    struct linear_place *s, struct linear_ops *ops, uint32_t goal, const struct linear_limits *limits);
void linear_place_deinit(struct linear_place *s);
/* Do one operation more, which leaves @after: number @op of the known ones, or the next one of class @op. */
void linear_place_push(
    struct linear_place *s, enum linear_phase phase, uint32_t op, const struct linear_state *after);
/* Undo the last one. */
void linear_place_pop(struct linear_place *s);

#endif
