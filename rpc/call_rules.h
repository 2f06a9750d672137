/* The rules of retrying, apart from sockets and clocks. Pure.
 *
 * A read may be tried again freely. A write is tried again when it was certainly not done: some byte of it
 * was never handed to the kernel (a node acts on whole frames only), or the node said that nothing was done,
 * in an answer or by a goodbye for all that it left unanswered. Within a session (docs/protocol.md) a write
 * is also tried again when it may have been done, under the same sequence number: the cluster executes it
 * once. From then on a refusal says nothing about the first try, so it is not reported: at the deadline the
 * outcome is UNKNOWN. Without a session everything that is not an answer is UNKNOWN at once, and the caller's
 * to decide: a second try of a write that was done would undo what others wrote in between. */
#ifndef WB_RPC_CALL_RULES_H
#define WB_RPC_CALL_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/status.h"

/* What the rules must know of a call. */
struct call_kinship {
    bool write;
    bool once;         /* the write has a sequence number in a session */
    bool perhaps_done; /* an earlier try of it may have been executed */
};

enum call_next {
    CALL_NEXT_REPORT,   /* the call is over, with `code` */
    CALL_NEXT_REDIRECT, /* ask the leader that the answer names, or look for it */
    CALL_NEXT_RETRY,    /* try again after a pause; `code` is what to report when the deadline comes first */
    CALL_NEXT_RENUMBER, /* the session is gone, and nothing was done: try again in a new one */
};
struct call_verdict {
    enum call_next next;
    int code;
    bool perhaps_done; /* from now on */
};

/* A node answered @status (any number: a newer node may know more). */
struct call_verdict call_judge_answer(struct call_kinship call, uint32_t status);
/* The connection was lost before the answer. @perhaps_taken: every byte of the request was handed to the
 * kernel, and the node said no goodbye. */
struct call_verdict call_judge_lost(struct call_kinship call, bool perhaps_taken);
/* The deadline passed. @awaiting: a whole request is out and unanswered. @refusal: the last reason why the
 * call had to wait, STATUS_OK if there was none. Returns what to report. */
int call_judge_deadline(struct call_kinship call, bool awaiting, int refusal);

/* The @attempt'th pause (from 0): doubles from @min_ms up to @max_ms, of which @random takes away up to a
 * half, so that clients that failed together do not come back together. */
uint32_t backoff_ms(unsigned attempt, uint32_t min_ms, uint32_t max_ms, uint64_t random);

#endif
