/* What an answer says: to the history, which judges it against the log, and to the clients' own history,
 * which has nothing but what they asked and heard, and is judged at the end. */
#include <inttypes.h>
#include <string.h>

#include "cluster-tests/sim/sim.h"
#include "proto/base/check.h"

/* The judge of the clients' history gives each write a version of its own. A write of a transaction in whose
 * place is a later one has none, so there is room between those that are told. */
enum { VERSION_SCALE = 4096 };

/* ---- Judging one answer ---- */

static void judge_read(struct sim_try *t)
{
    struct sim_op *op = t->op;
    struct sim_history *h = &op->sim->history;
    for (unsigned i = 0; i < op->n; i++) {
        const struct operation_result *r = &t->results[i];
        struct bytes value = r->value != NULL ? value_bytes(r->value) : bytes_of(NULL, 0);
        if (op->stale) {
            sim_history_stale(h, op->keys[i], t->request.stamp_ms, r->found, r->version, value);
        } else {
            sim_history_read(h, op->keys[i], &op->befores[i], r->found, r->version, value);
        }
    }
    op->sim->result->stale_reads += op->stale;
}

/* Whoever is answered twice, by the first try and by retries, is told the same. */
static void hear(struct sim_op *op, struct sim_told *told, const struct sim_told *now)
{
    if (told->heard) {
        op->sim->result->answers_repeated++;
        if (told->status != now->status || memcmp(told->versions, now->versions, sizeof now->versions) != 0) {
            sim_history_fail(&op->sim->history,
                "session %" PRIu64 ", request %" PRIu64 " was answered twice, and not the same", op->session,
                op->sequence);
        }
    }
    *told = *now;
}

static void judge_repetition(struct sim_try *t)
{
    struct sim_op *op = t->op;
    struct sim_told now = {.heard = true, .status = t->request.status};
    bool wrote = false;
    if (op->session == 0) {
        return;
    }
    if (now.status == STATUS_NOT_FLUSHED || now.status == STATUS_QUARANTINED) {
        now.status = STATUS_OK;
    }
    for (unsigned i = 0; i < op->n && now.status == STATUS_OK; i++) {
        now.versions[i] = t->results[i].written ? t->results[i].version : 0;
        wrote = wrote || t->results[i].written;
    }
    /* What a first try found without writing is not remembered, and may be otherwise by the time of a retry.
     */
    if (wrote || t->request.retry) {
        hear(op, &op->told, &now);
    }
}

static void judge_update(struct sim_try *t)
{
    struct sim_op *op = t->op;
    struct sim_history *h = &op->sim->history;
    for (unsigned i = 0; i < op->n; i++) {
        const struct operation_result *r = &t->results[i];
        sim_history_done(h, op->keys[i], &op->operations[i], &op->befores[i], r);
        if (r->written && op->flushed && t->request.status == STATUS_OK) {
            sim_history_in_database(h, op->keys[i], NULL, r->version);
        }
    }
    op->sim->result->flushed_answers += op->flushed && t->request.status == STATUS_OK;
    judge_repetition(t);
}

static void judge_ok(struct sim_try *t)
{
    struct sim_op *op = t->op;
    struct sim_history *h = &op->sim->history;
    switch (op->kind) {
    case SIM_GET:
    case SIM_EXISTS:
        judge_read(t);
        return;
    case SIM_SCAN:
        t->given = sim_scan_judge(t);
        return;
    case SIM_UPDATE:
        judge_update(t);
        return;
    case SIM_WAIT:
        if (op->wait_index != 0) {
            const struct sim_before *before = &op->befores[op->keys[0]];
            sim_history_in_database(h, op->keys[0], before, before->acknowledged);
        } else {
            sim_history_flushed(h, op->group, op->befores);
        }
        return;
    case SIM_TRANSACTION:
        sim_transaction_judge(t);
        return;
    case SIM_OPEN:
        return;
    }
}

/* The session was forgotten, or what it did under this number: there must be a reason for it. */
static void judge_expired(struct sim_try *t)
{
    struct sim_op *op = t->op;
    op->sim->result->sessions_expired++;
    if (!op->sim->sessions_are_few && !op->resolved) {
        sim_history_fail(&op->sim->history,
            "session %" PRIu64 " is not known any more, or its request %" PRIu64
            ", though there is room, and its answer is awaited",
            op->session, op->sequence);
    }
}

static void judge_status(struct sim_try *t)
{
    for (unsigned i = 0; t->request.status == STATUS_WRONG_TYPE && i < t->op->n; i++) {
        if (t->op->kind == SIM_GET && t->op->sim->history.keys[t->op->keys[i]].kind == SIM_HASH) {
            return;
        }
    }
    switch (t->request.status) {
    case STATUS_UNKNOWN:
    case STATUS_NOT_LEADER:
    case STATUS_UNAVAILABLE:
    case STATUS_TIMEOUT:
    case STATUS_OVERLOADED:
    case STATUS_DATABASE_DOWN:
        return;
    default:
        sim_history_fail(&t->op->sim->history, "a request was answered with %s, for which there is no reason",
            status_name((int)t->request.status));
    }
}

void sim_answer_judge(struct sim_try *t)
{
    struct sim_op *op = t->op;
    struct sim_result *result = op->sim->result;
    enum status status = t->request.status;
    if (status == STATUS_OK) {
        judge_ok(t);
    } else if (status == STATUS_NOT_FLUSHED && op->kind == SIM_WAIT) {
        result->not_flushed++;
    } else if (status == STATUS_NOT_FLUSHED && op->flushed) {
        result->not_flushed++;
        judge_update(t);
    } else if (status == STATUS_QUARANTINED && op->flushed) {
        result->quarantine_answers++;
        judge_update(t);
        sim_history_quarantined(&op->sim->history, op->keys, op->n, op->befores);
    } else if (status == STATUS_CONDITION_FAILED && op->kind == SIM_TRANSACTION && op->watches) {
        sim_transaction_judge(t);
    } else if (status == STATUS_CONDITION_FAILED && op->kind == SIM_UPDATE) {
        result->conditions_failed++;
        for (unsigned i = 0; i < op->n; i++) {
            sim_history_condition_failed(
                &op->sim->history, op->keys[i], &op->operations[i], &op->befores[i], &t->results[i]);
        }
        judge_repetition(t);
    } else if (status == STATUS_SESSION_EXPIRED && op->session != 0) {
        judge_expired(t);
    } else {
        judge_status(t);
    }
}

/* ---- The clients' own history ---- */

static uint64_t now_ns(const struct sim *sim)
{
    return (sim->clock.now_us + 1) * 1000; /* 0 says that there is none */
}

/* How a history calls an operation; *@arg is zero before. */
static enum history_op line_of(const struct operation *op, struct history_arg *arg)
{
    static const enum history_condition conditions[] = {[CONDITION_ABSENT] = HISTORY_IF_ABSENT,
        [CONDITION_PRESENT] = HISTORY_IF_PRESENT,
        [CONDITION_VERSION] = HISTORY_IF_VERSION};
    switch (op->kind) {
    case OPERATION_SET:
        arg->value = op->value;
        if (op->condition == CONDITION_NONE) {
            return HISTORY_SET;
        }
        arg->condition = conditions[op->condition];
        arg->if_version = op->if_version * VERSION_SCALE;
        return HISTORY_CAS;
    case OPERATION_DEL:
        return op->return_old ? HISTORY_GETDEL : HISTORY_DEL;
    case OPERATION_INCR:
        arg->delta = op->delta;
        return HISTORY_INCR;
    case OPERATION_APPEND:
        arg->value = op->value;
        return HISTORY_APPEND;
    case OPERATION_EXPIRE:
        break;
    }
    CHECK(!"an operation that a history can have");
    return HISTORY_OPS;
}

/* Expiries are not part of the model: keys that have some are judged by the log alone. */
static bool has_line(const struct sim_op *op, unsigned i)
{
    if (op->sim->config->outage_minutes != 0) {
        return false; /* they would be too many */
    }
    bool asked = (op->kind == SIM_GET || op->kind == SIM_TRANSACTION) ? !op->stale : op->kind == SIM_UPDATE;
    enum sim_key_kind kind = op->sim->history.keys[op->keys[i]].kind;
    /* What becomes of a hash or a purse is not known before it is done; reads of them alone say nothing. */
    return asked && kind != SIM_EXPIRING && kind != SIM_HASH && kind != SIM_PURSE;
}

static bool looks(const struct sim_op *op, unsigned i)
{
    return op->kind == SIM_GET || (op->kind == SIM_TRANSACTION && op->acts[i] == SIM_LOOK);
}

void sim_answer_begin(struct sim_op *op)
{
    struct sim *sim = op->sim;
    for (unsigned i = 0; i < op->n; i++) {
        if (has_line(op, i)) {
            struct history_arg arg = {0};
            enum history_op what = looks(op, i) ? HISTORY_GET : line_of(&op->operations[i], &arg);
            uint64_t client = op->client == NULL ? SIM_CLIENTS_MAX : op->client->index;
            CHECK(history_begin(&sim->lines, client, what, op->names[i], &arg, now_ns(sim), &op->lines[i]) ==
                  STATUS_OK);
        }
    }
}

static void end_line(struct sim_op *op, unsigned i, const struct sim_try *t, bool done)
{
    struct sim *sim = op->sim;
    bool condition_failed = t != NULL && t->request.status == STATUS_CONDITION_FAILED;
    if (t == NULL && !looks(op, i)) {
        history_end_unknown(&sim->lines, op->lines[i]);
        return;
    }
    if (!done && (!condition_failed || op->kind == SIM_TRANSACTION)) {
        history_end_failed(&sim->lines, op->lines[i]);
        return;
    }
    const struct operation_result *r = &t->results[i];
    struct history_result result = {.outcome = done ? HISTORY_OK : HISTORY_CONDITION_FAILED,
        .found = r->found,
        .value = r->value == NULL ? bytes_of(NULL, 0) : value_bytes(r->value),
        .number = r->number,
        .length = r->length,
        .version = r->version * VERSION_SCALE};
    history_end(&sim->lines, op->lines[i], &result, now_ns(sim));
}

static void count(struct sim_op *op, const struct sim_try *t, bool done)
{
    struct sim_result *result = op->sim->result;
    bool writes =
        op->kind == SIM_UPDATE || (op->kind == SIM_TRANSACTION && t != NULL && !t->request.read_only);
    result->acknowledged += writes && done;
    result->unknown += t == NULL;
    result->refused += t != NULL && !done;
    result->sessions_forgotten += t == NULL && op->forgotten;
}

void sim_answer_record(struct sim_op *op, const struct sim_try *t, bool done)
{
    struct sim_history *h = &op->sim->history;
    count(op, t, done);
    for (unsigned i = 0; i < op->n; i++) {
        if (has_line(op, i)) {
            end_line(op, i, t, done);
        }
        if (op->serials[i] != 0 && !done && t != NULL) {
            sim_history_refused(h, op->keys[i], op->serials[i]);
        }
    }
    if (op->session != 0 && !done && t != NULL) {
        sim_history_never(h, op->group, op->session, op->sequence);
    }
}
