/* Requests that write: evaluated at once against the newest proposed state, so that many of one key can be
 * under way; answered from the apply of the entry that carries their effects. */
#include <string.h>

#include "node/group_internal.h"
#include "node/outcome.h"

/* The rest is for the entry's header and the request's outcome. */
enum { ENTRY_SLACK_BYTES = 1024, OUTCOME_BYTES = 48 };

/* ---- Answering ---- */

/* @r came to r->status by log entry @index, and its results have their versions. */
static void answer_update(struct group *g, struct group_request *r, uint64_t index)
{
    bool wrote = r->op == GROUP_TRANSACTION && r->status == STATUS_OK;
    for (uint32_t i = 0; r->op == GROUP_UPDATE && i < r->n && r->status == STATUS_OK; i++) {
        wrote = wrote || r->results[i].written;
    }
    r->index = wrote ? index : 0;
    if (wrote && r->level == GROUP_FLUSHED) {
        group_wait_flush(g, r, index);
    } else {
        group_finish(g, r, r->status, NULL);
    }
}

/* Ordinals in the entry that had @version_of_first become versions. */
static void settle_versions(struct group_request *r, uint64_t version_of_first)
{
    for (uint32_t i = 0; r->results != NULL && i < r->n; i++) {
        if (r->results[i].written) {
            r->results[i].version += version_of_first;
        }
    }
}

/* The next one is fetched while one is answered: a request is as large as several of the processor's lines.
 */
static void fetch_request(const struct list *link)
{
    enum { LINE_BYTES = 64 };
    const char *at = (const char *)list_entry((struct list *)(uintptr_t)link, struct group_request, link);
    for (size_t i = 0; i < sizeof(struct group_request); i += LINE_BYTES) {
        __builtin_prefetch(at + i, 1);
    }
}

void group_answer_proposal(struct group *g, struct proposal *p, uint64_t index)
{
    uint64_t version_of_first = g->state.version_base + (index << 16);
    struct list *node;
    while ((node = list_pop_front(&p->writers)) != NULL) {
        struct group_request *r = list_entry(node, struct group_request, link);
        fetch_request(p->writers.next);
        if (r->op == GROUP_OPEN_SESSION) {
            r->index = state_session_id(index, (uint32_t)r->index);
            group_finish(g, r, STATUS_OK, NULL);
        } else {
            settle_versions(r, version_of_first);
            answer_update(g, r, index);
        }
    }
    while ((node = list_pop_front(&p->readers)) != NULL) {
        struct group_request *r = list_entry(node, struct group_request, link);
        settle_versions(r, version_of_first);
        for (uint32_t i = 0; r->results != NULL && i < r->n; i++) {
            r->results[i].written = false; /* it was seen only */
        }
        group_move(r, AT_READY, &g->ready);
    }
}

/* ---- Retries ---- */

/* A remembered answer, found in the replicated state: it is true whoever leads by now. */
static void repeat(struct group *g, struct group_request *r, const struct session_result *known)
{
    uint64_t version = g->state.version_base + (known->index << 16);
    if (!outcome_decode(bytes_of(known->data, known->len), version, r->results, r->n)) {
        group_finish(g, r, STATUS_INVALID, "another request had this sequence number before");
        return;
    }
    r->status = (enum status)known->status;
    answer_update(g, r, known->index);
}

/* The first try is in flight: what answers it answers this one. */
static void join(struct group *g, struct group_request *r, struct pending_outcome *first)
{
    if (!outcome_decode(first->results, 0, r->results, r->n)) {
        group_finish(g, r, STATUS_INVALID, "another request had this sequence number before");
        return;
    }
    r->status = first->status;
    group_move(r, AT_WAIT_APPLY, &first->proposal->writers);
}

/* True: @r has been answered, or joined its first try. */
static bool was_tried(struct group *g, struct group_request *r)
{
    const struct session_result *known = NULL;
    struct pending_outcome *first = overlay_find_outcome(&g->overlay, r->session, r->sequence);
    if (first != NULL) {
        join(g, r, first);
        return true;
    }
    switch (sessions_look(&g->state.sessions, r->session, r->sequence, &known)) {
    case SESSION_NEW:
        return false;
    case SESSION_DONE:
        repeat(g, r, known);
        return true;
    case SESSION_EXPIRED:
        group_answer(g, r, STATUS_SESSION_EXPIRED, NULL);
        return true;
    }
    return true;
}

static void remember(struct group *g, const struct group_request *r, enum status status)
{
    if (r->session == 0) {
        return;
    }
    buf_clear(&g->outcome_buf);
    outcome_encode(r->results, r->n, &g->outcome_buf);
    overlay_add_outcome(
        &g->overlay, r->session, r->sequence, r->first_awaited, status, buf_bytes(&g->outcome_buf));
}

/* ---- Before evaluating ---- */

/* What @r can add, at most. */
struct estimate {
    size_t bytes;        /* to the entry */
    uint64_t more_bytes; /* to what is dirty */
    uint64_t more_entries;
    struct proposal *seen; /* the newest write in flight that this rests on */
};

static struct estimate estimate(struct group *g, const struct group_request *r, uint64_t stamp_ms)
{
    struct estimate sum = {0};
    size_t values = 0;
    bool olds = false;
    for (uint32_t i = 0; r->n > 1 && i < r->n; i++) {
        values += r->operations[i].value.len; /* what one writes another may append to, or rewrite */
    }
    for (uint32_t i = 0; i < r->n; i++) {
        const struct operation *op = &r->operations[i];
        struct group_current c;
        group_current(g, op->key, stamp_ms, &c);
        size_t len = operation_bytes_max(op, &c.now);
        sum.seen = c.pending == NULL ? sum.seen : group_newer(sum.seen, c.pending->proposal);
        if (op->kind != OPERATION_SET && op->kind != OPERATION_DEL) {
            len += values;
        }
        len = len < LIMIT_VALUE_BYTES ? len : LIMIT_VALUE_BYTES; /* more is refused by the evaluation */
        sum.bytes += overlay_write_bytes(op->key.len, len);
        if (r->session != 0) { /* what it came to is logged, too */
            sum.bytes += OUTCOME_BYTES + (op->return_old && c.now.value != NULL ? c.now.value->len : 0);
            olds = olds || op->return_old;
        }
        group_growth(g, op->key, len, &sum.more_bytes, &sum.more_entries);
    }
    sum.bytes += olds ? values : 0; /* the old value of a key named twice is this request's own */
    return sum;
}

/* ---- Evaluating ---- */

struct evaluation {
    enum status status;
    struct proposal *seen;  /* the newest write in flight that something was read from */
    struct proposal *again; /* AGAIN: the entry whose index is needed */
    bool wrote;
};

/* Nothing is written, but *@result tells of @c's write in the open entry: its version is to be settled with
 * that entry's index. */
static void tell_pending_version(const struct group_current *c, struct operation_result *result)
{
    if (result->found && !c->now.version_known) {
        result->written = true;
        result->version = c->pending->ordinal;
        c->pending->replaceable = false; /* its version is what the client is told */
    }
}

/* Evaluate all of @r's operations, one upon the other, into the open proposal, until one says no. */
static struct evaluation evaluate_all(struct group *g, struct group_request *r, uint64_t stamp_ms)
{
    struct evaluation ev = {.status = STATUS_OK};
    struct overlay_mark mark = overlay_mark(&g->overlay);
    for (uint32_t i = 0; i < r->n; i++) {
        const struct operation *op = &r->operations[i];
        struct operation_result *result = &r->results[i];
        struct operation_effect effect = {.kind = EFFECT_NONE};
        struct group_current c;
        group_current(g, op->key, stamp_ms, &c);
        bool own = c.pending != NULL && c.pending->proposal == g->overlay.open &&
                   c.pending->ordinal >= mark.n_writes;
        ev.seen = c.pending == NULL || own ? ev.seen : group_newer(ev.seen, c.pending->proposal);
        ev.status = operation_evaluate(op, &c.now, stamp_ms, &effect, result);
        if (ev.status != STATUS_OK && own) {
            ev.status = STATUS_INVALID; /* it stumbled over this request's own write */
        }
        if (ev.status != STATUS_OK) {
            ev.again = ev.status == STATUS_AGAIN ? c.pending->proposal : NULL;
            if (ev.wrote) {
                overlay_undo(&g->overlay, mark);
                for (uint32_t k = 0; k < i; k++) {
                    operation_result_clear(&r->results[k]);
                }
                ev.wrote = false;
            }
            if (ev.status != STATUS_INVALID) {
                tell_pending_version(&c, result);
            }
            return ev;
        }
        if (effect.kind != EFFECT_NONE) {
            struct value *value = effect.kind == EFFECT_DELETE ? NULL : effect.value;
            const struct pending_write *w =
                overlay_add(&g->overlay, op->key, effect.type, value, effect.expires_at_ms, r->conn_id);
            loads_key_written(&g->loads, op->key);
            result->written = true;
            result->version = w->ordinal;
            ev.wrote = true;
        } else {
            tell_pending_version(&c, result);
        }
    }
    return ev;
}

/* Nothing is written. */
static void answer_without_write(struct group *g, struct group_request *r, const struct evaluation *ev)
{
    if (r->session != 0 && r->retry) {
        /* An earlier try may still be on its way to us. It must find what this one is told. */
        remember(g, r, ev->status);
        r->status = ev->status;
        group_move(r, AT_WAIT_APPLY, &g->overlay.open->writers);
    } else {
        group_answer(g, r, ev->status, ev->seen);
    }
}

/* Is there room for @r? If not now or not at all, *@out says what becomes of it. */
static bool has_room(struct group *g, struct group_request *r, uint64_t stamp_ms, enum evaluated *out)
{
    struct estimate need = estimate(g, r, stamp_ms);
    *out = EVALUATED;
    if (need.bytes > LIMIT_ENTRY_BYTES - ENTRY_SLACK_BYTES || r->n > LIMIT_ENTRY_WRITES) {
        struct evaluation ev = {
            .status = STATUS_TOO_BIG, .seen = need.seen}; /* it may depend on what is there */
        answer_without_write(g, r, &ev);
        return false;
    }
    if (need.more_bytes + need.more_entries > 0 && group_over_budget(g, need.more_bytes, need.more_entries)) {
        group_finish(g, r, STATUS_OVERLOADED,
            g->session.last_error.message[0] != '\0' ? g->session.last_error.message : NULL);
        return false;
    }
    if (!group_make_room(g, need.bytes, r->n + 1)) {
        *out = NO_ROOM;
        return false;
    }
    return true;
}

enum evaluated group_eval_update(struct group *g, struct group_request *r)
{
    if ((r->session != 0 && was_tried(g, r)) || group_wait_misses(g, r)) {
        return EVALUATED;
    }
    uint64_t stamp_ms = group_stamp(g);
    for (uint32_t i = 0; i < r->n; i++) {
        if (group_expire_if_due(g, r->operations[i].key, stamp_ms) == NO_ROOM) {
            return NO_ROOM;
        }
    }
    enum evaluated refused;
    if (!has_room(g, r, stamp_ms, &refused)) {
        return refused;
    }
    struct evaluation ev = evaluate_all(g, r, stamp_ms);
    if (ev.status == STATUS_AGAIN) {
        group_clear_results(r);
        group_wait_again(g, r, ev.again);
    } else if (ev.status == STATUS_INVALID) {
        group_finish(g, r, STATUS_INVALID, "a key with a condition is named twice");
    } else if (ev.wrote) {
        remember(g, r, STATUS_OK);
        r->status = STATUS_OK;
        group_move(r, AT_WAIT_APPLY, &g->overlay.open->writers);
    } else {
        answer_without_write(g, r, &ev);
    }
    return EVALUATED;
}

enum evaluated group_eval_open_session(struct group *g, struct group_request *r)
{
    if (!group_make_room(g, ENTRY_SLACK_BYTES, 1)) {
        return NO_ROOM;
    }
    struct proposal *p = overlay_open(&g->overlay);
    r->index = p->sessions_opened++;
    r->status = STATUS_OK;
    group_move(r, AT_WAIT_APPLY, &p->writers);
    return EVALUATED;
}
