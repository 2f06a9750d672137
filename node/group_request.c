/* Evaluating requests against the newest proposed state, and packing their effects into log entries.
 * Happy path of a set: group_eval_update adds a pending write to the open proposal; group_propose_open gives
 * it to the log; its apply answers. Of a get: group_eval_read finds the value, group_prove checks the lease
 * and answers. */
#include <string.h>

#include "node/group_internal.h"
#include "proto/pb.h"

/* Loads outlive the requests that asked for them while the database is slow: so many keys are on their way at
 * most. */
enum { LOADS_MAX = 32768 };

bool group_serves(const struct group *g, enum status *status, const char **message)
{
    if (!g->gate_open) {
        *status = STATUS_NOT_LEADER;
        *message = NULL;
        return false;
    }
    if (!g->state.born || !g->state.claimed) {
        /* Also while a halted session looks again. */
        bool halted =
            g->session.last_error.message[0] != '\0' && g->session.last_error.class == FLUSH_ERROR_HALT;
        *status = halted ? STATUS_HALTED : STATUS_UNAVAILABLE;
        *message = g->session.last_error.message[0] != '\0' ? g->session.last_error.message
                                                            : "the cluster is being set up in the database";
        return false;
    }
    return true;
}

/* ---- Proposing what was collected ---- */

/* Nothing of the open entry ever was. Its writers are told; what was answered from it is evaluated again. */
static void refuse_open(struct group *g, enum status status)
{
    struct proposal *p = overlay_refused(&g->overlay);
    struct list *node;
    while ((node = list_pop_front(&p->writers)) != NULL) {
        group_finish(g, list_entry(node, struct group_request, link), status, NULL);
    }
    while ((node = list_pop_front(&p->readers)) != NULL) {
        struct group_request *r = list_entry(node, struct group_request, link);
        group_clear_results(r);
        r->answered = false;
        group_move(r, AT_READY, &g->ready);
    }
    proposal_destroy(p);
}

static Wblog__Write **encode_writes(struct proposal *p)
{
    Wblog__Write *writes = arena_alloc(&p->arena, p->n_writes * sizeof *writes);
    Wblog__Write **list = arena_alloc(&p->arena, p->n_writes * sizeof(Wblog__Write *));
    uint32_t n = 0;
    for (const struct pending_write *w = p->first; w != NULL; w = w->next, n++) {
        wblog__write__init(&writes[n]);
        writes[n].key = pb_borrow(w->key);
        if (w->value != NULL) {
            writes[n].has_value = 1;
            writes[n].value = pb_borrow(value_bytes(w->value));
        }
        if (w->type != VALUE_STRING) {
            writes[n].has_type = 1;
            writes[n].type = w->type;
        }
        if (w->expires_at_ms != 0) {
            writes[n].has_expires_at_ms = 1;
            writes[n].expires_at_ms = w->expires_at_ms;
        }
        if (w->tied) {
            writes[n].has_tied = 1;
            writes[n].tied = 1;
        }
        list[n] = &writes[n];
    }
    return list;
}

static Wblog__Outcome **encode_outcomes(struct proposal *p)
{
    Wblog__Outcome *outcomes = arena_alloc(&p->arena, p->n_outcomes * sizeof *outcomes);
    Wblog__Outcome **list = arena_alloc(&p->arena, p->n_outcomes * sizeof(Wblog__Outcome *));
    uint32_t n = 0;
    for (const struct pending_outcome *o = p->first_outcome; o != NULL; o = o->next, n++) {
        wblog__outcome__init(&outcomes[n]);
        outcomes[n].session = o->session;
        outcomes[n].sequence = o->sequence;
        outcomes[n].first_awaited = o->first_awaited;
        if (o->status != STATUS_OK) {
            outcomes[n].has_status = 1;
            outcomes[n].status = (uint32_t)o->status;
        }
        if (o->results.len > 0) {
            outcomes[n].has_results = 1;
            outcomes[n].results = pb_borrow(o->results);
        }
        list[n] = &outcomes[n];
    }
    return list;
}

/* False: the log refused the open entry, and its writes never were. */
static bool propose(struct group *g)
{
    struct proposal *p = g->overlay.open;
    Wblog__Writes body = WBLOG__WRITES__INIT;
    body.n_writes = p->n_writes;
    body.writes = p->n_writes == 0 ? NULL : encode_writes(p);
    body.n_outcomes = p->n_outcomes;
    body.outcomes = p->n_outcomes == 0 ? NULL : encode_outcomes(p);
    if (p->sessions_opened > 0) {
        body.has_sessions_opened = 1;
        body.sessions_opened = p->sessions_opened;
    }
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    entry.command_case = WBLOG__ENTRY__COMMAND_WRITES;
    entry.writes = &body;
    uint64_t index;
    enum status status = group_propose_entry(g, &entry, p->seq, false, &index);
    if (status != STATUS_OK) {
        refuse_open(g, status);
        return false;
    }
    overlay_proposed(&g->overlay, index);
    return true;
}

/* Group commit: with nothing in flight an entry goes at once; else the next one fills meanwhile. */
void group_propose_open(struct group *g)
{
    if (g->overlay.open != NULL && !proposal_empty(g->overlay.open) && g->overlay.in_flight_count == 0) {
        propose(g);
    }
}

bool group_make_room(struct group *g, size_t bytes, uint32_t writes)
{
    const struct proposal *open = g->overlay.open;
    if (open == NULL || proposal_empty(open) ||
        (open->bytes + bytes <= g->config.entry_target_bytes &&
            open->n_writes + open->n_outcomes + open->sessions_opened + writes <= LIMIT_ENTRY_WRITES)) {
        return true;
    }
    if (g->overlay.in_flight_count >= g->config.entries_in_flight) {
        return false;
    }
    return propose(g);
}

/* ---- What evaluations share ---- */

void group_clear_results(struct group_request *r)
{
    for (uint32_t i = 0; r->results != NULL && i < r->n; i++) {
        operation_result_clear(&r->results[i]);
    }
}

bool group_over_budget(const struct group *g, uint64_t bytes, uint64_t entries)
{
    const struct state *s = &g->state;
    return s->dirty_bytes + g->overlay.bytes + bytes > g->config.dirty_bytes_max ||
           s->queued_entries + s->batched_entries + s->quarantined - state_retried(s) + g->overlay.keys +
                   entries >
               g->config.dirty_entries_max;
}

/* Has the time @expires_at_ms come? If by a stamp that is committed, no later leader will think otherwise,
 * and the key is simply gone; if only by @stamp_ms, it is *@due: its delete must be committed before anybody
 * is told. */
static bool is_over(const struct group *g, uint64_t expires_at_ms, uint64_t stamp_ms, bool *due)
{
    bool over = expires_at_ms != 0 && expires_at_ms <= stamp_ms;
    *due = over && expires_at_ms > g->state.stamp_ms;
    return over;
}

bool group_current(struct group *g, struct bytes key, uint64_t stamp_ms, struct group_current *out)
{
    *out = (struct group_current){.pending = overlay_find(&g->overlay, key), .now.version_known = true};
    const struct pending_write *w = out->pending;
    if (w != NULL) {
        if (w->value != NULL && !is_over(g, w->expires_at_ms, stamp_ms, &out->due)) {
            bool known = w->proposal->index != 0;
            out->now = (struct operation_current){.value = w->value,
                .type = w->type,
                .version_known = known,
                .version = known ? g->state.version_base + (w->proposal->index << 16 | w->ordinal) : 0,
                .expires_at_ms = w->expires_at_ms};
        }
        return true;
    }
    const struct state_entry *e = group_known(g, key);
    if (e != NULL && e->value != NULL && !is_over(g, e->expires_at_ms, stamp_ms, &out->due)) {
        out->now = (struct operation_current){.value = e->value,
            .type = e->type,
            .version_known = true,
            .version = e->version,
            .expires_at_ms = e->expires_at_ms};
    }
    return e != NULL;
}

enum evaluated group_expire_key(struct group *g, struct bytes key)
{
    if (!group_make_room(g, overlay_write_bytes(key.len, 0), 1)) {
        return NO_ROOM;
    }
    overlay_add(&g->overlay, key, VALUE_STRING, NULL, 0, 0);
    loads_key_written(&g->loads, key);
    g->expired++;
    return EVALUATED;
}

enum evaluated group_expire_if_due(struct group *g, struct bytes key, uint64_t stamp_ms)
{
    struct group_current c;
    return group_current(g, key, stamp_ms, &c) && c.due ? group_expire_key(g, key) : EVALUATED;
}

bool group_wait_load(struct group *g, struct group_request *r, struct bytes key)
{
    if (g->loads.n >= LOADS_MAX && loads_find(&g->loads, key) == NULL) {
        group_finish(
            g, r, STATUS_UNAVAILABLE, "too many keys are being read from the database already; try again");
        return false;
    }
    loads_wait(&g->loads, key, r);
    return true;
}

/* ---- Misses ---- */

static struct bytes key_of(const struct group_request *r, uint32_t i)
{
    return r->op == GROUP_UPDATE ? r->operations[i].key : r->keys[i];
}

/* Must its @i'th key be known? */
static bool needs(const struct group_request *r, uint32_t i)
{
    return r->op == GROUP_UPDATE ? operation_needs_current(&r->operations[i])
                                 : r->blind == NULL || !r->blind[i];
}

/* Does a request of @conn_id wait for the load of @key? Whoever finds out that one of his own does becomes
 * the last waiter, where the next one finds him at once; for anybody else the key is in the overlay from now
 * on. */
static bool own_load_pending(const struct group *g, struct bytes key, uint64_t conn_id)
{
    const struct load *load = loads_find(&g->loads, key);
    for (const struct list *it = load == NULL ? NULL : load->waits.prev; load != NULL && it != &load->waits;
         it = it->prev) {
        if (list_entry(it, const struct load_wait, of_load)->request->conn_id == conn_id) {
            return true;
        }
    }
    return false;
}

static struct list *overtakable_of(struct group *g, const struct group_request *r)
{
    return &g->overtakable[r->conn_id % GROUP_OVERTAKABLE_LISTS];
}

/* An earlier request of @r's connection that is not evaluated yet, and that waits for the loads of several
 * keys, or for a version, or behind one that does. */
static struct group_request *earlier_of_many(struct group *g, const struct group_request *r)
{
    const struct list *all = overtakable_of(g, r);
    for (struct list *it = all->next; it != all; it = it->next) {
        struct group_request *other = list_entry(it, struct group_request, overtakable);
        if (other->conn_id == r->conn_id && other->number < r->number) {
            return other;
        }
    }
    return NULL;
}

/* Wait for what @earlier waits for; then @r is looked at again, and so is @earlier. */
static void wait_behind(struct group *g, struct group_request *r, const struct group_request *earlier)
{
    if (earlier->where == AT_WAIT_LOAD) {
        const struct load_wait *wait =
            list_entry(earlier->load_waits.next, const struct load_wait, of_request);
        loads_wait(&g->loads, wait->load->key, r);
        group_move(r, AT_WAIT_LOAD, &g->loading);
    } else if (earlier->where == AT_WAIT_OVERLAY) {
        r->where = AT_WAIT_OVERLAY; /* next to it, in the list of the proposal's readers */
        list_remove(&r->link);
        list_push_front((struct list *)(uintptr_t)&earlier->link, &r->link);
    } else {
        group_move(r, AT_READY, &g->ready); /* it is evaluated in this turn, and @r in the next one */
    }
}

bool group_wait_misses(struct group *g, struct group_request *r)
{
    bool missing = false, needed = false;
    for (uint32_t i = 0; i < r->n; i++) {
        struct bytes key = key_of(r, i);
        bool known = overlay_find(&g->overlay, key) != NULL || group_known(g, key) != NULL;
        /* It can be known, by somebody else's write, while its own connection waits for its load still. */
        if (known && (g->loads.written_n == 0 || r->loaded || !own_load_pending(g, key, r->conn_id))) {
            continue;
        }
        /* A key that need not be known is waited for, too, when its own connection waits for it already: its
         * requests to a key keep their order. Once is enough: it may be written and loaded all the time. */
        if (!known && !needs(r, i) && (r->load_optional || !own_load_pending(g, key, r->conn_id))) {
            continue;
        }
        if (!group_wait_load(g, r, key)) {
            return true;
        }
        missing = true;
        needed = needed || (needs(r, i) && !known);
    }
    const struct group_request *earlier = missing ? NULL : earlier_of_many(g, r);
    r->load_optional = (missing || earlier != NULL) && !needed;
    if (missing) {
        r->loaded = true;
        g->misses += needed;
        group_move(r, AT_WAIT_LOAD, &g->loading);
    } else if (earlier != NULL) {
        wait_behind(g, r, earlier);
    } else {
        list_remove(&r->overtakable);
        return false;
    }
    /* Who waits for one key only needs no such care: the later ones find that key's load. */
    if ((r->n > 1 || earlier != NULL) && list_empty(&r->overtakable)) {
        list_push_back(overtakable_of(g, r), &r->overtakable);
    }
    return true;
}

void group_wait_again(struct group *g, struct group_request *r, struct proposal *p)
{
    group_move(r, AT_WAIT_OVERLAY, &p->readers);
    if (list_empty(&r->overtakable)) {
        list_push_back(overtakable_of(g, r), &r->overtakable);
    }
}

void group_growth(const struct group *g, struct bytes key, size_t len, uint64_t *bytes, uint64_t *entries)
{
    const struct state_entry *e = state_find(&g->state, key);
    bool dirty = e != NULL && state_entry_dirty(e);
    uint64_t before = dirty ? key.len + (e->value == NULL ? 0 : e->value->len) : 0;
    *bytes += key.len + len > before ? key.len + len - before : 0;
    *entries += !dirty;
}

struct proposal *group_newer(struct proposal *a, struct proposal *b)
{
    if (a == NULL || b == NULL) {
        return a == NULL ? b : a;
    }
    return a->seq > b->seq ? a : b;
}

void group_prove(struct group *g, struct group_request *r)
{
    if (r->lease_proved || g->env.lease_valid(g->env.data)) {
        group_finish(g, r, r->status, r->message);
    } else {
        group_move(r, AT_WAIT_LEASE, &g->lease_next);
    }
}

void group_answer(struct group *g, struct group_request *r, enum status status, struct proposal *seen)
{
    r->status = status;
    r->answered = true;
    r->lease_proved = false; /* what a barrier proved before says nothing about what was found now */
    if (seen != NULL) {
        group_move(r, AT_WAIT_OVERLAY, &seen->readers);
    } else {
        group_prove(g, r);
    }
}

/* ---- Evaluating ---- */

/* So much work, in bytes, is done for reads and transactions in one turn: some milliseconds. A hash of the
 * largest size takes half a millisecond for each look at it, and clients may ask for thousands at once;
 * meanwhile nobody hears that this node still leads. */
enum { TURN_WORK_MAX_BYTES = 8 * 1024 * 1024 };

/* What a read has found and waits to be sent. After a barrier it may be thousands that are proved at once. */
static uint64_t found_bytes(const struct group_request *r)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; r->op == GROUP_READ && i < r->n; i++) {
        bytes += r->results[i].value == NULL ? 0 : r->results[i].value->len;
    }
    return bytes;
}

static enum evaluated evaluate(struct group *g, struct group_request *r)
{
    if (r->stale && r->op == GROUP_TRANSACTION) {
        return group_eval_transaction(g, r);
    }
    if (r->stale && (r->op == GROUP_READ || r->op == GROUP_SCAN)) {
        return r->op == GROUP_READ ? group_eval_stale(g, r) : group_eval_scan(g, r);
    }
    enum status status;
    const char *message;
    if (!group_serves(g, &status, &message)) {
        if (r->op == GROUP_ADMIN) {
            group_admin_end(g, r, status, message); /* a part of it may be in the log */
        } else {
            group_finish(g, r, status, message);
        }
        return EVALUATED;
    }
    if (r->answered) {
        g->turn_work += found_bytes(r);
        group_prove(g, r);
        return EVALUATED;
    }
    switch (r->op) {
    case GROUP_READ:
        return group_eval_read(g, r);
    case GROUP_UPDATE:
        return group_eval_update(g, r);
    case GROUP_TRANSACTION:
        return group_eval_transaction(g, r);
    case GROUP_SCAN:
        return group_eval_scan(g, r);
    case GROUP_WAIT:
        return group_eval_wait(g, r);
    case GROUP_OPEN_SESSION:
        return group_eval_open_session(g, r);
    case GROUP_ADMIN:
        return group_eval_admin(g, r);
    }
    return EVALUATED;
}

/* Let what the requests from @link on ask for come from memory. Returns how many requests that covers. */
static uint32_t fetch_asked(const struct group *g, const struct list *requests)
{
    struct bytes keys[STATE_FETCH_MAX];
    uint32_t n = 0, covered = 0;
    for (const struct list *it = requests->next; it != requests; it = it->next, covered++) {
        const struct group_request *r = list_entry(it, const struct group_request, link);
        bool has_keys = r->op == GROUP_READ || r->op == GROUP_UPDATE || r->op == GROUP_TRANSACTION;
        uint32_t asked = has_keys ? r->n : 0;
        if (n + asked > STATE_FETCH_MAX && covered > 0) {
            break;
        }
        for (uint32_t i = 0; i < asked && n < STATE_FETCH_MAX; i++) {
            keys[n++] = key_of(r, i);
        }
    }
    state_fetch(&g->state, keys, n);
    return covered;
}

/* ---- Whose turn it is ---- */

/* Thousands of requests that are much work each may be ready: the others do not stand in line behind them.
 * Whose requests were such is known for some turns; all that they ask comes behind what the others ask, in
 * its order. */
enum { HEAVY_WORK_BYTES = 64 * 1024, HEAVY_TURNS = 64 };

static uint64_t *heavy_word(struct group *g, const struct group_request *r, uint64_t *bit)
{
    uint64_t hash = r->conn_id * UINT64_C(0x9e3779b97f4a7c15);
    *bit = UINT64_C(1) << (hash >> 58);
    return &g->heavy[(hash >> 48) % GROUP_HEAVY_WORDS];
}

/* Evaluate what is first in @from. False: there was no room for it, and it is the first again. */
static bool evaluate_first(struct group *g, struct list *from, uint32_t *fetched)
{
    *fetched = *fetched > 0 ? *fetched : fetch_asked(g, from);
    --*fetched;
    struct list *node = list_pop_front(from);
    struct group_request *r = list_entry(node, struct group_request, link);
    uint64_t before = g->turn_work, bit, *word = heavy_word(g, r, &bit);
    if (evaluate(g, r) == NO_ROOM) {
        list_push_front(from, node);
        return false;
    }
    *word |= g->turn_work - before >= HEAVY_WORK_BYTES ? bit : 0;
    return true;
}

static bool is_heavy(struct group *g, const struct list *node)
{
    uint64_t bit, *word = heavy_word(g, list_entry(node, const struct group_request, link), &bit);
    return (*word & bit) != 0;
}

void group_evaluate_ready(struct group *g)
{
    /* Only what is ready now: what an answer makes ready comes in the next turn. */
    struct list now, heavy;
    list_init(&now);
    list_init(&heavy);
    list_splice_back(&now, &g->ready);
    g->turn_work = 0;
    if (!list_empty(&now) && ++g->turns % HEAVY_TURNS == 0) {
        memset(g->heavy, 0, sizeof g->heavy);
    }
    uint32_t fetched = 0;
    bool room = true;
    while (room && g->turn_work < TURN_WORK_MAX_BYTES && !list_empty(&now)) {
        if (is_heavy(g, now.next)) {
            list_push_back(&heavy, list_pop_front(&now));
        } else {
            room = evaluate_first(g, &now, &fetched);
        }
    }
    fetched = 0;
    for (bool some = false; room && !list_empty(&heavy) && (!some || g->turn_work < TURN_WORK_MAX_BYTES);) {
        room = evaluate_first(g, &heavy, &fetched);
        some = true;
    }
    list_splice_front(&now, &heavy);
    if (g->turn_work >= TURN_WORK_MAX_BYTES && !list_empty(&now)) {
        group_wake_at(g, g->now_ms); /* at once */
    }
    list_splice_front(&g->ready, &now);
}
