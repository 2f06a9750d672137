/* The fake database's server processes: each runs the statements of one connection, one after the other. */
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/sim/fake_db.h"
#include "flush/flush_batch.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

struct backend {
    struct list link; /* in db->backends */
    struct fake_db *db;
    struct fake_flusher *client; /* NULL when it has gone */
    struct list arriving;        /* statements on the network */
    struct list queue;           /* statements received */
    struct statement *current;
    struct sim_event work; /* the current transaction's end */
    struct list wait_link; /* in fence.waiting; linked to itself when it does not wait */
    bool doomed;           /* the current transaction does not reach its COMMIT */
    uint64_t last_arrival_us;
};

struct backend *backend_create(struct fake_flusher *client)
{
    struct backend *b = xcalloc(1, sizeof *b);
    b->db = client->db;
    b->client = client;
    list_init(&b->arriving);
    list_init(&b->queue);
    list_init(&b->wait_link);
    list_push_back(&b->db->backends, &b->link);
    return b;
}

static void statement_free(struct fake_db *db, struct statement *st)
{
    sim_cancel(db->clock, &st->event);
    list_remove(&st->link);
    flush_batch_deinit(&st->batch);
    free(st);
}

static void begin(struct backend *b);

static struct fake_fence *fence_of(struct backend *b)
{
    return &b->db->fences[b->current->identity.group];
}

static void unlock(struct backend *b)
{
    struct fake_fence *fence = fence_of(b);
    if (fence->holder != b) {
        return;
    }
    fence->holder = NULL;
    struct list *first = list_pop_front(&fence->waiting);
    if (first != NULL) {
        begin(list_entry(first, struct backend, wait_link));
    }
}

static void release_current(struct backend *b)
{
    if (b->current == NULL) {
        return;
    }
    sim_cancel(b->db->clock, &b->work);
    list_remove(&b->wait_link);
    unlock(b);
    statement_free(b->db, b->current);
    b->current = NULL;
}

static void drop_all(struct fake_db *db, struct list *statements)
{
    while (!list_empty(statements)) {
        statement_free(db, list_entry(statements->next, struct statement, link));
    }
}

static void backend_free(struct backend *b)
{
    drop_all(b->db, &b->arriving);
    drop_all(b->db, &b->queue);
    release_current(b);
    list_remove(&b->link);
    free(b);
}

static void free_if_useless(struct backend *b)
{
    if (b->client == NULL && b->current == NULL && list_empty(&b->arriving) && list_empty(&b->queue)) {
        backend_free(b);
    }
}

void backend_detach(struct backend *b)
{
    b->client = NULL;
    if (sim_chance(b->db->clock, 400)) {
        drop_all(b->db, &b->arriving); /* lost with the connection */
    }
    if (sim_chance(b->db->clock, 300)) {
        drop_all(b->db, &b->queue); /* noticed before it got to them */
    }
    free_if_useless(b);
}

static void answer(struct backend *b, const struct answer *content)
{
    if (b->client != NULL) {
        fake_flusher_answer(b->client, content);
    }
}

/* The client notices that its connection is gone; what it was told before reaches it first. */
static void break_connection(struct backend *b)
{
    if (b->client == NULL) {
        return;
    }
    struct answer gone = {.kind = ANSWER_FAILED};
    fake_error(&gone.error, FLUSH_ERROR_OUTAGE, "", "server closed the connection unexpectedly");
    fake_flusher_answer(b->client, &gone);
    b->client->backend = NULL;
    b->client = NULL;
}

void backend_die(struct backend *b)
{
    break_connection(b);
    backend_free(b);
}

static void refuse(struct backend *b, enum flush_error_class class, const char *sqlstate, const char *message)
{
    struct answer failed = {.kind = ANSWER_FAILED};
    fake_error(&failed.error, class, sqlstate, message);
    b->db->refused++;
    answer(b, &failed);
}

static bool ours(const struct fake_fence *fence, const struct flush_identity *id)
{
    return fence->present && fence->group_count == id->group_count &&
           memcmp(fence->cluster_id, id->cluster_id, CLUSTER_ID_BYTES) == 0;
}

/* Under the lock: may the current transaction go on? */
static bool permitted(struct backend *b)
{
    const struct statement *st = b->current;
    const struct fake_fence *fence = fence_of(b);
    if (st->kind == STATEMENT_TAKE) {
        if (!fence->present) {
            refuse(b, FLUSH_ERROR_HALT, "WB003", "the fence row is missing");
            return false;
        }
        if (!ours(fence, &st->identity)) {
            refuse(b, FLUSH_ERROR_HALT, "WB003", "another cluster's fence row");
            return false;
        }
        if (fence->term > st->term) {
            refuse(b, FLUSH_ERROR_FENCED, "WB001", "a later term holds the fence row");
            return false;
        }
    } else if (st->kind == STATEMENT_BATCH && b->db->defect != FAKE_DB_NO_FENCE) {
        if (!ours(fence, &st->identity) || fence->epoch != st->epoch) {
            refuse(b, FLUSH_ERROR_FENCED, "WB001", "another epoch holds the fence row");
            return false;
        }
        if (fence->last_batch != st->batch.predecessor) {
            refuse(b, FLUSH_ERROR_PREDECESSOR, "WB002", "the batch before this one is not there");
            return false;
        }
    }
    return true;
}

static void commit_take(struct backend *b)
{
    struct fake_fence *fence = fence_of(b);
    fence->term = b->current->term;
    fence->epoch++;
    b->db->takes++;
    struct answer taken = {
        .kind = ANSWER_TAKEN, .row = {.epoch = fence->epoch, .last_batch = fence->last_batch}};
    answer(b, &taken);
}

static void commit_batch(struct backend *b)
{
    struct statement *st = b->current;
    struct fake_fence *fence = fence_of(b);
    fake_db_apply(b->db, st->identity.group, &st->batch);
    fence->last_batch = st->batch.id;
    struct answer committed = {.kind = ANSWER_COMMITTED, .batch = st->batch.id};
    answer(b, &committed);
}

static struct flush_inspected look(const struct fake_db *db, const uint8_t cluster_id[CLUSTER_ID_BYTES])
{
    struct flush_inspected found = {.found = FLUSH_DB_EMPTY};
    for (unsigned g = 0; g < SIM_GROUPS_MAX; g++) {
        const struct fake_fence *fence = &db->fences[g];
        if (fence->present) {
            memcpy(found.cluster_id, fence->cluster_id, CLUSTER_ID_BYTES);
            found.group_count = fence->group_count;
            found.version_ceiling = db->version_ceiling;
            found.found = memcmp(fence->cluster_id, cluster_id, CLUSTER_ID_BYTES) == 0 ? FLUSH_DB_OURS
                                                                                       : FLUSH_DB_FOREIGN;
        }
    }
    return found;
}

static void commit_claim(struct backend *b)
{
    const struct flush_identity *id = &b->current->identity;
    const struct flush_inspected *expected = &b->current->expected;
    struct flush_inspected now = look(b->db, id->cluster_id);
    if (now.found != expected->found && now.found != FLUSH_DB_OURS) {
        refuse(b, FLUSH_ERROR_TRANSIENT, "40001", "the fence rows changed since they were looked at");
        return;
    }
    for (unsigned g = 0; g < SIM_GROUPS_MAX; g++) {
        struct fake_fence *fence = &b->db->fences[g];
        if (g >= id->group_count) {
            fence->present = false;
        } else if (!ours(fence, id)) {
            fence->present = true;
            memcpy(fence->cluster_id, id->cluster_id, CLUSTER_ID_BYTES);
            fence->group_count = id->group_count;
            fence->term = 0;
            fence->epoch++;
            fence->last_batch = 0;
        }
    }
    struct answer claimed = {.kind = ANSWER_CLAIMED};
    answer(b, &claimed);
}

static void next(struct backend *b);

static void transaction_ends(struct sim_event *event)
{
    struct backend *b = list_entry(event, struct backend, work);
    struct fake_db *db = b->db;
    if (b->doomed) {
        backend_die(b);
        return;
    }
    /* The answer is lost, but not the COMMIT: the connection breaks just before it is sent. */
    if (b->client != NULL && sim_chance(db->clock, db->cut_permille)) {
        db->lost_answers++;
        break_connection(b);
    }
    switch (b->current->kind) {
    case STATEMENT_INSPECT: {
        struct answer inspected = {
            .kind = ANSWER_INSPECTED, .inspected = look(db, b->current->identity.cluster_id)};
        answer(b, &inspected);
        break;
    }
    case STATEMENT_CLAIM:
        commit_claim(b);
        break;
    case STATEMENT_TAKE:
        commit_take(b);
        break;
    case STATEMENT_BATCH:
        commit_batch(b);
        break;
    }
    release_current(b);
    next(b);
}

static bool wants_lock(const struct backend *b)
{
    return b->current->kind == STATEMENT_TAKE || b->current->kind == STATEMENT_BATCH;
}

/* The current transaction has its lock, if it wants one: check, and work until the COMMIT. */
static void begin(struct backend *b)
{
    struct fake_db *db = b->db;
    if (wants_lock(b) && fence_of(b)->holder == NULL) {
        fence_of(b)->holder = b;
    }
    if (!permitted(b)) {
        release_current(b);
        next(b);
        return;
    }
    if (sim_chance(db->clock, db->transient_permille)) {
        refuse(b, FLUSH_ERROR_TRANSIENT, "40P01", "deadlock detected");
        release_current(b);
        next(b);
        return;
    }
    uint64_t work_us = sim_between(db->clock, db->work_min_us, db->work_max_us);
    b->doomed = sim_chance(db->clock, db->cut_permille);
    if (sim_chance(db->clock, db->slow_permille)) {
        work_us = sim_between(db->clock, work_us, db->slow_max_us);
        b->doomed = b->doomed || sim_chance(db->clock, 300);
    }
    sim_schedule(db->clock, &b->work, NULL, work_us, transaction_ends);
}

static void next(struct backend *b)
{
    struct list *first = b->current == NULL ? list_pop_front(&b->queue) : NULL;
    if (first == NULL) {
        free_if_useless(b);
        return;
    }
    b->current = list_entry(first, struct statement, link);
    if (sim_chance(b->db->clock, b->db->cut_permille)) {
        backend_die(b);
        return;
    }
    if (wants_lock(b) && fence_of(b)->holder != NULL) {
        bool take = b->current->kind == STATEMENT_TAKE;
        b->db->takes_that_waited += take;
        if (!take || b->db->defect != FAKE_DB_TAKE_SKIPS_LOCK) {
            list_push_back(&fence_of(b)->waiting, &b->wait_link);
            return;
        }
    }
    begin(b);
}

static void arrive(struct sim_event *event)
{
    struct statement *st = list_entry(event, struct statement, event);
    struct backend *b = st->backend;
    if (b->db->down) {
        backend_die(b);
        return;
    }
    list_remove(&st->link);
    list_push_back(&b->queue, &st->link);
    if (b->current == NULL) {
        next(b);
    }
}

void backend_send(struct backend *b, struct statement *statement)
{
    struct sim_clock *clock = b->db->clock;
    uint64_t at_us = clock->now_us + fake_db_latency(b->db);
    if (sim_chance(clock, b->db->slow_permille)) {
        at_us += sim_random(clock, b->db->slow_max_us); /* the network lost it, and TCP sent it again */
    }
    if (at_us <= b->last_arrival_us) {
        at_us = b->last_arrival_us + 1;
    }
    b->last_arrival_us = at_us;
    statement->backend = b;
    list_push_back(&b->arriving, &statement->link);
    sim_schedule(clock, &statement->event, NULL, at_us - clock->now_us, arrive);
}

void fake_db_set_down(struct fake_db *db, bool down)
{
    db->down = down;
    if (!down) {
        return;
    }
    for (unsigned g = 0; g < SIM_GROUPS_MAX; g++) { /* nobody gets a lock that a dying one gives up */
        while (list_pop_front(&db->fences[g].waiting) != NULL) {
        }
    }
    while (!list_empty(&db->backends)) {
        backend_die(list_entry(db->backends.next, struct backend, link));
    }
}
