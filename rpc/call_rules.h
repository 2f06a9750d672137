/* The rules of retrying, apart from sockets and clocks. Pure.
 *
 * A read may be tried again freely. A write is tried again only when it was certainly not done: some byte of
 * it was never handed to the kernel (a node acts on whole frames only), or the node said that nothing was
 * done, in an answer or by a goodbye for all that it left unanswered. Everything else that is not an answer
 * is UNKNOWN, and the caller's to decide: a second try of a write that was done would undo what others wrote
 * in between. (Exactly-once sessions, when they come, change call_judge_* and nothing else.) */
#ifndef WB_RPC_CALL_RULES_H
#define WB_RPC_CALL_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/status.h"

enum call_next {
    CALL_NEXT_REPORT,   /* the call is over, with `code` */
    CALL_NEXT_REDIRECT, /* ask the leader that the answer names, or look for it */
    CALL_NEXT_RETRY,    /* try again after a pause; `code` is what to report when the deadline comes first */
};
struct call_verdict {
    enum call_next next;
    int code;
};

/* A node answered @status (any number: a newer node may know more). */
struct call_verdict call_judge_answer(bool write, uint32_t status);
/* The connection was lost before the answer. @perhaps_taken: every byte of the request was handed to the
 * kernel, and the node said no goodbye. */
struct call_verdict call_judge_lost(bool write, bool perhaps_taken);
/* The deadline passed. @awaiting: a whole request is out and unanswered. @refusal: the last reason why the
 * call had to wait, STATUS_OK if there was none. Returns what to report. */
int call_judge_deadline(bool write, bool awaiting, int refusal);

/* The @attempt'th pause (from 0): doubles from @min_ms up to @max_ms, of which @random takes away up to a
 * half, so that clients that failed together do not come back together. */
uint32_t backoff_ms(unsigned attempt, uint32_t min_ms, uint32_t max_ms, uint64_t random);

#endif
