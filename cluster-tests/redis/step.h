/* One step of a conversation with two servers: a command, on one of two connections, and how its replies are
 * compared. Pure. */
#ifndef WB_CLUSTER_TESTS_REDIS_STEP_H
#define WB_CLUSTER_TESTS_REDIS_STEP_H

#include <stdio.h>

#include "cluster-tests/redis/compare.h"
#include "proto/base/arena.h"
#include "proto/base/buf.h"

enum step_kind {
    STEP_COMMAND,
    STEP_SILENT, /* a command that has no reply */
    STEP_AWAIT,  /* a command that is sent again and again until its reply is nil, 0 or -2 */
    STEP_GATHER, /* SCAN or HSCAN, over all cursors; compared without order and repetitions */
    STEP_RAW,    /* bytes as they are in args[0], that have one reply */
    STEP_CLOSES, /* a command or a line, after which the server closes: all that it says before is compared */
};

struct step {
    enum step_kind kind;
    struct bytes *args;
    uint32_t n;
    enum compare_kind compare;
    struct bytes word;   /* for the comparer */
    unsigned connection; /* 0 or 1 */
    bool wait;           /* its replies are awaited before the next step is sent */
    unsigned line;       /* of the script; 0: generated */
};

/* A growing list, all of it in an arena of the caller's. */
struct steps {
    struct arena *arena;
    struct step *list;
    uint32_t n, cap;
};

/* Add one, with room for @args arguments (step.n stays 0: step_add counts up). */
struct step *steps_add(struct steps *s, uint32_t args);
/* Add an argument, copied. */
void step_arg(struct steps *s, struct step *step, struct bytes arg);
void step_arg_text(struct steps *s, struct step *step, const char *text);
struct bytes bytes_copy(struct arena *arena, struct bytes b);

/* Is its command's name @name (in upper case)? */
bool step_is(const struct step *step, const char *name);
/* The bytes to send. */
void step_encode(const struct step *step, struct buf *out);
/* As one writes it in a script, on one line; long arguments are cut. */
void step_print(FILE *out, const struct step *step);
/* Bytes within quotes, with escapes, at most @max of them. */
void bytes_print(FILE *out, struct bytes b, size_t max);

#endif
