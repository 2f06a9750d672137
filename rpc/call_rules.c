#include "rpc/call_rules.h"

static struct call_verdict report(int code)
{
    return (struct call_verdict){CALL_NEXT_REPORT, code};
}

static struct call_verdict retry(int code)
{
    return (struct call_verdict){CALL_NEXT_RETRY, code};
}

struct call_verdict call_judge_answer(bool write, uint32_t status)
{
    switch (status) {
    case STATUS_NOT_LEADER:
        return (struct call_verdict){CALL_NEXT_REDIRECT, STATUS_NOT_LEADER};
    case STATUS_UNAVAILABLE:
    case STATUS_OVERLOADED:
    case STATUS_SHUTTING_DOWN:
    case STATUS_NO_SPACE:
        return retry((int)status); /* nothing was done */
    case STATUS_UNKNOWN:
        return write ? report(STATUS_UNKNOWN) : retry(STATUS_UNAVAILABLE);
    case STATUS_OK:
    case STATUS_NOT_FOUND:
    case STATUS_TIMEOUT:
    case STATUS_INVALID:
    case STATUS_TOO_BIG:
    case STATUS_CROSS_GROUP:
    case STATUS_DATABASE_DOWN:
    case STATUS_HALTED:
        return report((int)status);
    default:
        /* An error that does not say whether something was done. */
        return report(write ? STATUS_UNKNOWN : (int)status);
    }
}

struct call_verdict call_judge_lost(bool write, bool perhaps_taken)
{
    return write && perhaps_taken ? report(STATUS_UNKNOWN) : retry(STATUS_UNAVAILABLE);
}

int call_judge_deadline(bool write, bool awaiting, int refusal)
{
    if (awaiting) {
        return write ? STATUS_UNKNOWN : STATUS_TIMEOUT;
    }
    return refusal == STATUS_OK ? STATUS_TIMEOUT : refusal;
}

uint32_t backoff_ms(unsigned attempt, uint32_t min_ms, uint32_t max_ms, uint64_t random)
{
    uint64_t pause = attempt < 20 ? (uint64_t)min_ms << attempt : max_ms;
    if (pause > max_ms) {
        pause = max_ms;
    }
    return (uint32_t)(pause - random % (pause / 2 + 1));
}
