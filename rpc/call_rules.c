#include "rpc/call_rules.h"

static struct call_verdict report(int code)
{
    return (struct call_verdict){.next = CALL_NEXT_REPORT, .code = code};
}

static struct call_verdict retry(struct call_kinship call, int code)
{
    return (struct call_verdict){.next = CALL_NEXT_RETRY,
        .code = call.perhaps_done ? STATUS_UNKNOWN : code,
        .perhaps_done = call.perhaps_done};
}

/* Nobody can say whether this try was executed. */
static struct call_verdict doubt(struct call_kinship call)
{
    if (!call.write) {
        return retry(call, STATUS_UNAVAILABLE);
    }
    call.perhaps_done = true;
    return call.once ? retry(call, STATUS_UNKNOWN) : report(STATUS_UNKNOWN);
}

struct call_verdict call_judge_answer(struct call_kinship call, uint32_t status)
{
    switch (status) {
    case STATUS_NOT_LEADER:
        return (struct call_verdict){.next = CALL_NEXT_REDIRECT,
            .code = call.perhaps_done ? STATUS_UNKNOWN : STATUS_NOT_LEADER,
            .perhaps_done = call.perhaps_done};
    case STATUS_UNAVAILABLE:
    case STATUS_OVERLOADED:
    case STATUS_SHUTTING_DOWN:
    case STATUS_NO_SPACE:
        return retry(call, (int)status); /* nothing was done by this try */
    case STATUS_UNKNOWN:
        return doubt(call);
    case STATUS_TIMEOUT:
    case STATUS_DATABASE_DOWN:
    case STATUS_HALTED:
    case STATUS_CORRUPT: /* of a row that had to be read: nodes do not remember it for retries */
        return call.perhaps_done ? retry(call, (int)status) : report((int)status);
    case STATUS_NOT_FLUSHED: /* done: a retry waits on */
        return call.once ? (struct call_verdict){.next = CALL_NEXT_RETRY,
                               .code = STATUS_NOT_FLUSHED,
                               .perhaps_done = true}
                         : report(STATUS_NOT_FLUSHED);
    case STATUS_SESSION_EXPIRED:
        if (call.perhaps_done || !call.once) {
            return report(call.write ? STATUS_UNKNOWN : (int)status);
        }
        return (struct call_verdict){.next = CALL_NEXT_RENUMBER, .code = STATUS_UNAVAILABLE};
    case STATUS_OK:
    case STATUS_NOT_FOUND:
    case STATUS_INVALID:
    case STATUS_TOO_BIG:
    case STATUS_CROSS_GROUP:
    case STATUS_CONDITION_FAILED:
    case STATUS_NOT_A_NUMBER:
    case STATUS_OUT_OF_RANGE:
    case STATUS_WRONG_TYPE:
    case STATUS_QUARANTINED: /* done; and waiting longer would not bring it into the database */
        return report((int)status);
    default:
        /* An error that does not say whether something was done. */
        return report(call.write ? STATUS_UNKNOWN : (int)status);
    }
}

struct call_verdict call_judge_lost(struct call_kinship call, bool perhaps_taken)
{
    return call.write && perhaps_taken ? doubt(call) : retry(call, STATUS_UNAVAILABLE);
}

int call_judge_deadline(struct call_kinship call, bool awaiting, int refusal)
{
    if (refusal == STATUS_NOT_FLUSHED) {
        return refusal; /* known to be done */
    }
    if (call.write && (awaiting || call.perhaps_done)) {
        return STATUS_UNKNOWN;
    }
    return awaiting || refusal == STATUS_OK ? STATUS_TIMEOUT : refusal;
}

uint32_t backoff_ms(unsigned attempt, uint32_t min_ms, uint32_t max_ms, uint64_t random)
{
    uint64_t pause = attempt < 20 ? (uint64_t)min_ms << attempt : max_ms;
    if (pause > max_ms) {
        pause = max_ms;
    }
    return (uint32_t)(pause - random % (pause / 2 + 1));
}
