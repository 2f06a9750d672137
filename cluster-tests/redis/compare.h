/* When are two replies to one command the same? Byte for byte, but for the few commands whose answer cannot
 * be: each of these has a named comparer. An error is always compared byte for byte, whatever the comparer
 * is. Pure. */
#ifndef WB_CLUSTER_TESTS_REDIS_COMPARE_H
#define WB_CLUSTER_TESTS_REDIS_COMPARE_H

#include "cluster-tests/redis/reply.h"

enum compare_kind {
    COMPARE_EXACT,     /* byte for byte */
    COMPARE_ANY_ORDER, /* the same children in any order; a map's entries stay together */
    COMPARE_PAIRS,     /* the same, of an array of names and values in turn, as RESP2 has instead of a map */
    COMPARE_SCANNED,   /* [cursor, children in any order] */
    COMPARE_SCANNED_PAIRS, /* [cursor, names and values in turn] */
    COMPARE_SECONDS, /* numbers at most a minute apart, or both beyond the year 9999; exact up to 1000 */
    COMPARE_MILLISECONDS,
    COMPARE_SHAPE, /* the same types, down to the first child of lists of different length */
    COMPARE_KIND,  /* the same type of reply, nothing else */
    COMPARE_DRAWN, /* the same shape, and each scalar of ours occurs in the reply to the command before it */
    COMPARE_HELLO, /* exact but for the connection's id */
    COMPARE_COMMANDS, /* of COMMAND INFO: name, arity and places of keys exact, flags and categories in any
                         order */
    COMPARE_HAS,      /* both have the word that is given with it; the same type */
    COMPARE_GIVES,    /* ours is the line that is given with it, whatever the other one says */
    COMPARE_REFUSED,  /* ours is an error; the other one is not asked */
    COMPARE_ERROR_OF, /* ours is an error that begins with the word given; the other one is not asked */
    COMPARE_KINDS
};

/* The comparer's name in scripts; "" for exact. */
const char *compare_name(enum compare_kind kind);
/* COMPARE_KINDS: there is none of this name. */
enum compare_kind compare_by_name(struct bytes name);

/* Is @ours as good as @reference? @word: of HAS, GIVES and ERROR_OF, else ignored. @before: our reply to the
 * command before, for DRAWN. */
bool compare_replies(enum compare_kind kind, const struct reply *reference, const struct reply *ours,
    struct bytes word, const struct reply *before);

#endif
