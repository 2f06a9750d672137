/* The client of the fake database that writes: a flusher in a simulated node. */
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/sim/fake_server.h"
#include "flush/flush_batch.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

/* ---- Connections, of which a node has so many ---- */

void fake_slots_init(struct fake_slots *slots, unsigned connections)
{
    slots->free = connections;
    list_init(&slots->waiting);
}

static void connect_with(struct fake_flusher *f, struct statement *first)
{
    f->backend = backend_create(f);
    backend_send(f->backend, first);
}

static void give_slot_back(struct fake_flusher *f)
{
    struct fake_slots *slots = f->slots;
    list_remove(&f->slot_link);
    if (!f->has_slot) {
        return;
    }
    f->has_slot = false;
    struct list *first = list_pop_front(&slots->waiting);
    if (first == NULL) {
        slots->free++;
        return;
    }
    struct fake_flusher *other = list_entry(first, struct fake_flusher, slot_link);
    struct statement *st = other->pending;
    other->pending = NULL;
    other->has_slot = true;
    connect_with(other, st);
}

static void forget_answers(struct fake_flusher *f)
{
    while (!list_empty(&f->answers)) {
        struct answer *a = list_entry(f->answers.next, struct answer, link);
        sim_cancel(f->db->clock, &a->event);
        list_remove(&a->link);
        fake_faults_free(a->faults, a->n_faults);
        free(a);
    }
}

static void flusher_disconnect(void *flusher)
{
    struct fake_flusher *f = flusher;
    forget_answers(f);
    f->epoch = 0;
    f->under_way = 0;
    f->noting = false;
    f->isolating = FAKE_NOT_ISOLATING;
    if (f->pending != NULL) {
        statement_free(f->db, f->pending);
        f->pending = NULL;
    }
    if (f->backend != NULL) {
        struct backend *b = f->backend;
        f->backend = NULL;
        backend_detach(b);
    }
    give_slot_back(f);
}

static void flusher_release(void *flusher)
{
    struct fake_flusher *f = flusher;
    CHECK(f->under_way == 0);
    flusher_disconnect(f);
}

static bool flusher_wanted(void *flusher)
{
    const struct fake_flusher *f = flusher;
    return f->slots != NULL && !list_empty(&f->slots->waiting);
}

static void reconnect(struct fake_flusher *f, struct statement *first)
{
    flusher_disconnect(f);
    f->under_way = 1;
    if (f->slots == NULL) {
        connect_with(f, first);
    } else if (f->slots->free > 0) {
        f->slots->free--;
        f->has_slot = true;
        connect_with(f, first);
    } else {
        f->db->slot_waits++;
        f->pending = first;
        list_push_back(&f->slots->waiting, &f->slot_link);
    }
}

/* ---- Answers ---- */

void fake_faults_free(struct fake_fault *faults, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_deinit(&faults[i].key);
    }
    free(faults);
}

static void hear_isolated(struct fake_flusher *f, const struct answer *a)
{
    struct flush_fault *faults = xcalloc(a->n_faults + 1, sizeof *faults);
    for (size_t i = 0; i < a->n_faults; i++) {
        faults[i].key = buf_bytes(&a->faults[i].key);
        memcpy(faults[i].sqlstate, a->faults[i].sqlstate, sizeof faults[i].sqlstate);
        faults[i].message = a->faults[i].message;
    }
    CHECK(f->isolating == FAKE_ISOLATING);
    f->isolating = FAKE_ISOLATED;
    f->events->isolated(f->events_data, a->batch, faults, (uint32_t)a->n_faults);
    free(faults);
}

static void hear(struct sim_event *event)
{
    struct answer a = *list_entry(event, struct answer, event);
    struct fake_flusher *f = a.client;
    struct answer *heap = list_entry(event, struct answer, event);
    list_remove(&heap->link);
    free(heap);
    f->under_way -= a.kind != ANSWER_FAILED;
    switch (a.kind) {
    case ANSWER_INSPECTED:
        f->events->inspected(f->events_data, &a.inspected);
        break;
    case ANSWER_CLAIMED:
        f->events->claimed(f->events_data);
        break;
    case ANSWER_TAKEN:
        f->epoch = a.row.epoch;
        f->lock_timed_out = false;
        f->events->taken(f->events_data, &a.row);
        break;
    case ANSWER_COMMITTED:
        f->isolating = FAKE_NOT_ISOLATING;
        f->events->committed(f->events_data, a.batch, a.clock_us);
        break;
    case ANSWER_ISOLATED:
        hear_isolated(f, &a);
        break;
    case ANSWER_NOTED:
        f->noting = false;
        f->events->noted(f->events_data, a.clock_us);
        break;
    case ANSWER_FAILED:
        flusher_disconnect(f);
        f->lock_timed_out = a.lock_timeout;
        f->events->failed(f->events_data, &a.error);
        break;
    }
    fake_faults_free(a.faults, a.n_faults);
}

void fake_flusher_answer(struct fake_flusher *client, const struct answer *content)
{
    struct sim_clock *clock = client->db->clock;
    struct answer *a = xmalloc(sizeof *a);
    *a = *content;
    memset(&a->event, 0, sizeof a->event);
    a->client = client;
    list_push_back(&client->answers, &a->link);
    uint64_t at_us = clock->now_us + fake_db_latency(client->db);
    if (at_us <= client->last_answer_us) {
        at_us = client->last_answer_us + 1;
    }
    client->last_answer_us = at_us;
    sim_schedule(clock, &a->event, client->gate, at_us - clock->now_us, hear);
}

/* ---- Calls ---- */

static void flusher_inspect(void *flusher, const uint8_t cluster_id[CLUSTER_ID_BYTES])
{
    struct flush_identity asked = {0};
    memcpy(asked.cluster_id, cluster_id, CLUSTER_ID_BYTES);
    reconnect(flusher, statement_create(STATEMENT_INSPECT, &asked));
}

static void flusher_claim(
    void *flusher, const struct flush_identity *id, const struct flush_inspected *expected)
{
    struct statement *st = statement_create(STATEMENT_CLAIM, id);
    st->expected = *expected;
    reconnect(flusher, st);
}

static void flusher_take(void *flusher, const struct flush_identity *id, uint64_t term)
{
    struct fake_flusher *f = flusher;
    struct statement *st = statement_create(STATEMENT_TAKE, id);
    st->term = term;
    st->terminate = f->lock_timed_out;
    f->identity = *id;
    reconnect(f, st);
}

/* To the connection that there is. If it is broken, we are about to hear of it. */
static void send_more(struct fake_flusher *f, struct statement *st)
{
    f->under_way++;
    if (f->backend == NULL) {
        CHECK(!list_empty(&f->answers));
        statement_free(f->db, st);
    } else {
        backend_send(f->backend, st);
    }
}

static void flusher_send(void *flusher, struct flush_batch *batch)
{
    struct fake_flusher *f = flusher;
    CHECK(f->epoch != 0 && "only after taken");
    CHECK(f->isolating == FAKE_NOT_ISOLATING && (!batch->isolate || f->under_way == 0));
    struct statement *st = statement_create(STATEMENT_BATCH, &f->identity);
    st->epoch = f->epoch;
    st->batch = *batch;
    flush_batch_init(batch);
    f->isolating = st->batch.isolate ? FAKE_ISOLATING : FAKE_NOT_ISOLATING;
    send_more(f, st);
}

static void take_mirror(struct statement *st, const struct flush_mirror *mirror)
{
    if (mirror == NULL) {
        return;
    }
    st->mirrors = true;
    st->n_mirror = mirror->n;
    st->mirror = xcalloc((size_t)mirror->n + 1, sizeof *st->mirror);
    for (uint32_t i = 0; i < mirror->n; i++) {
        const struct flush_quarantined *row = &mirror->rows[i];
        struct fake_shown *shown = &st->mirror[i];
        CHECK(row->sqlstate != NULL && row->message != NULL);
        shown->group = st->identity.group;
        buf_append(&shown->key, row->key.data, row->key.len);
        shown->version = row->version;
        shown->attempts = row->attempts;
        strncpy(shown->sqlstate, row->sqlstate, sizeof shown->sqlstate - 1);
    }
}

static void flusher_finish(void *flusher, const struct flush_note *note, const struct flush_mirror *mirror)
{
    struct fake_flusher *f = flusher;
    CHECK(f->isolating == FAKE_ISOLATED);
    f->isolating = FAKE_FINISHING;
    struct statement *st = statement_create(STATEMENT_FINISH, &f->identity);
    st->note = *note;
    take_mirror(st, mirror);
    send_more(f, st);
}

static void flusher_note(
    void *flusher, const struct flush_note *note, const struct flush_mirror *mirror, uint64_t last_batch)
{
    struct fake_flusher *f = flusher;
    CHECK(f->epoch != 0 && !f->noting && f->isolating == FAKE_NOT_ISOLATING);
    f->noting = true;
    struct statement *st = statement_create(STATEMENT_NOTE, &f->identity);
    st->epoch = f->epoch;
    st->note = *note;
    st->last_batch = last_batch;
    take_mirror(st, mirror);
    send_more(f, st);
}

const struct flusher_ops fake_flusher_ops = {
    .inspect = flusher_inspect,
    .claim = flusher_claim,
    .take = flusher_take,
    .send = flusher_send,
    .finish = flusher_finish,
    .note = flusher_note,
    .disconnect = flusher_disconnect,
    .release = flusher_release,
    .wanted = flusher_wanted,
};

void fake_flusher_init(struct fake_flusher *f, struct fake_db *db, struct fake_slots *slots,
    struct sim_gate *gate, const struct flusher_events *events, void *events_data)
{
    *f = (struct fake_flusher){
        .db = db, .slots = slots, .gate = gate, .events = events, .events_data = events_data};
    list_init(&f->answers);
    list_init(&f->slot_link);
}

void fake_flusher_deinit(struct fake_flusher *f)
{
    flusher_disconnect(f);
}
