/* The fake database's server processes: each runs the statements of one connection, one after the other. */
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/sim/fake_server.h"
#include "flush/flush_batch.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

struct statement *statement_create(enum statement_kind kind, const struct flush_identity *id)
{
    struct statement *st = xcalloc(1, sizeof *st);
    st->kind = kind;
    st->identity = *id;
    list_init(&st->link);
    flush_batch_init(&st->batch);
    return st;
}

void statement_free(struct fake_db *db, struct statement *st)
{
    sim_cancel(db->clock, &st->event);
    list_remove(&st->link);
    for (uint32_t i = 0; st->hashes != NULL && i < st->batch.upserts; i++) {
        buf_deinit(&st->hashes[i]);
    }
    free(st->hashes);
    flush_batch_deinit(&st->batch);
    fake_shown_free(st->mirror, st->n_mirror);
    free(st->writes);
    free(st->refused);
    free(st);
}

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

/* ---- Locks ---- */

static void begin(struct backend *b);
static void work(struct backend *b);
static void next(struct backend *b);

static struct fake_lock *lock_of(struct backend *b)
{
    return &b->db->locks[b->current->identity.group];
}

/* Nobody has @lock: whose turn is it? */
static void pass_on(struct fake_lock *lock)
{
    if (lock->stranger_waits) {
        lock->stranger_waits = false;
        lock->stranger = true;
        return;
    }
    struct list *first = list_pop_front(&lock->waiting);
    if (first != NULL) {
        begin(list_entry(first, struct backend, wait_link));
    }
}

static void unlock(struct backend *b)
{
    struct fake_lock *lock = lock_of(b);
    if (lock->holder == b) {
        lock->holder = NULL;
        pass_on(lock);
    }
}

void fake_db_lock_fence(struct fake_db *db, uint32_t group, bool lock)
{
    struct fake_lock *l = &db->locks[group];
    if (lock) {
        l->stranger_waits = l->holder != NULL;
        l->stranger = l->holder == NULL;
        return;
    }
    bool had = l->stranger;
    l->stranger = false;
    l->stranger_waits = false;
    if (had) {
        pass_on(l);
    }
}

void fake_db_lock_rows(struct fake_db *db, bool lock)
{
    db->rows_locked = lock;
    struct list *first;
    while (!lock && (first = list_pop_front(&db->row_waits)) != NULL) {
        work(list_entry(first, struct backend, wait_link));
    }
}

/* ---- The end of a transaction, or of a process ---- */

static void release_current(struct backend *b)
{
    if (b->current == NULL) {
        return;
    }
    struct statement *st = b->current;
    sim_cancel(b->db->clock, &b->work);
    sim_cancel(b->db->clock, &b->patience);
    list_remove(&b->wait_link);
    unlock(b);
    b->current = NULL;
    statement_free(b->db, st);
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
    bool open = b->current != NULL && b->current->isolated && !sim_scheduled(&b->work);
    if (open && list_empty(&b->arriving) && list_empty(&b->queue) && sim_chance(b->db->clock, 700)) {
        release_current(b); /* noticed; else it waits for a client that has gone */
    }
    free_if_useless(b);
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

/* It is refused, and the client will go: what is in the pipeline behind it fails as well. */
static void give_up(
    struct backend *b, enum flush_error_class class, const char *sqlstate, const char *message)
{
    transaction_refuse(b, class, sqlstate, message);
    release_current(b);
    next(b);
}

/* ---- A transaction ---- */

static void on_lock_timeout(struct sim_event *event)
{
    struct backend *b = list_entry(event, struct backend, patience);
    b->db->lock_timeouts++;
    give_up(b, FLUSH_ERROR_TRANSIENT, "55P03", "canceling statement due to lock timeout");
}

static void on_client_idle(struct sim_event *event)
{
    backend_die(list_entry(event, struct backend, patience));
}

static void wait_in(struct backend *b, struct list *queue)
{
    list_push_back(queue, &b->wait_link);
    sim_schedule(b->db->clock, &b->patience, NULL, b->db->lock_timeout_us, on_lock_timeout);
}

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
    transaction_end(b);
    if (b->current->isolated) {
        if (!list_empty(&b->queue)) {
            next(b);
        } else if (b->client == NULL && list_empty(&b->arriving)) {
            backend_free(b);
        } else {
            sim_schedule(db->clock, &b->patience, NULL, db->idle_timeout_us, on_client_idle);
        }
        return;
    }
    release_current(b);
    next(b);
}

static bool wants_lock(const struct backend *b)
{
    return b->current->kind == STATEMENT_TAKE || b->current->kind == STATEMENT_BATCH ||
           b->current->kind == STATEMENT_NOTE;
}

/* It has all that it wants: work until the COMMIT. */
static void work(struct backend *b)
{
    struct fake_db *db = b->db;
    sim_cancel(db->clock, &b->patience);
    uint64_t work_us = sim_between(db->clock, db->work_min_us, db->work_max_us);
    b->doomed = sim_chance(db->clock, db->cut_permille);
    if (sim_chance(db->clock, db->slow_permille)) {
        work_us = sim_between(db->clock, work_us, db->slow_max_us);
        b->doomed = b->doomed || sim_chance(db->clock, 300);
    }
    sim_schedule(db->clock, &b->work, NULL, work_us, transaction_ends);
}

/* The current transaction has its lock, if it wants one: check. */
static void begin(struct backend *b)
{
    struct fake_db *db = b->db;
    sim_cancel(db->clock, &b->patience);
    if (wants_lock(b) && lock_of(b)->holder == NULL) {
        lock_of(b)->holder = b;
    }
    if (!transaction_permitted(b)) {
        release_current(b);
        next(b);
        return;
    }
    if (sim_chance(db->clock, db->transient_permille)) {
        give_up(b, FLUSH_ERROR_TRANSIENT, "40P01", "deadlock detected");
        return;
    }
    if (db->rows_locked && b->current->kind == STATEMENT_BATCH) {
        wait_in(b, &db->row_waits);
        return;
    }
    work(b);
}

/* The isolating batch that waits gets its end. */
static void finish(struct backend *b, struct statement *st)
{
    struct statement *open = b->current;
    open->note = st->note;
    open->mirrors = st->mirrors;
    open->mirror = st->mirror;
    open->n_mirror = st->n_mirror;
    st->mirror = NULL;
    st->n_mirror = 0;
    statement_free(b->db, st);
    work(b);
}

/* End the processes that are in the way of the take that @b begins: those of older leaders of its group that
 * have the lock, or wait for it before us. Only an older term's, by the row as anybody sees it. */
static void terminate_others(struct backend *b)
{
    const struct statement *take = b->current;
    const struct fake_fence *fence = &b->db->content.fences[take->identity.group];
    if (fence->term > take->term) {
        return;
    }
    list_for_each (it, tmp, &b->db->backends) {
        struct backend *other = list_entry(it, struct backend, link);
        if (other != b && other->current != NULL && wants_lock(other) &&
            other->current->identity.group == take->identity.group) {
            b->db->terminated++;
            /* Who gets the lock from it is somebody whom we end as well, or a stranger. */
            list_remove(&other->wait_link);
            backend_die(other);
            tmp = b->db->backends.next; /* the list may be another one now */
        }
    }
}

static void next(struct backend *b)
{
    bool open = b->current != NULL && b->current->isolated;
    struct list *first = b->current == NULL || open ? list_pop_front(&b->queue) : NULL;
    if (first == NULL) {
        free_if_useless(b);
        return;
    }
    struct statement *st = list_entry(first, struct statement, link);
    if (open != (st->kind == STATEMENT_FINISH)) {
        CHECK(st->kind == STATEMENT_FINISH); /* nothing else follows an open transaction */
        statement_free(b->db, st);           /* its batch was refused, or is over */
        next(b);
        return;
    }
    if (sim_chance(b->db->clock, b->db->cut_permille)) {
        statement_free(b->db, st);
        backend_die(b);
        return;
    }
    if (open) {
        finish(b, st);
        return;
    }
    b->current = st;
    if (st->kind == STATEMENT_TAKE && st->terminate) {
        terminate_others(b);
    }
    struct fake_lock *lock = lock_of(b);
    if (wants_lock(b) && (lock->holder != NULL || lock->stranger)) {
        bool take = st->kind == STATEMENT_TAKE;
        b->db->takes_that_waited += take;
        if (!take || b->db->defect != FAKE_DB_TAKE_SKIPS_LOCK) {
            wait_in(b, &lock->waiting);
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
    bool open = b->current != NULL && b->current->isolated && !sim_scheduled(&b->work);
    if (b->current == NULL || open) {
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
