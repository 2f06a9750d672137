/* The fake database does what the flush relies on in PostgreSQL, and fails in the ways that PostgreSQL fails.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cluster-tests/sim/fake_db.h"
#include "flush/flush_batch.h"
#include "proto/base/check.h"

/* One client, and what it heard. */
struct client {
    struct fake_flusher flusher;
    struct sim_gate gate;
    unsigned inspected, claimed, taken, committed, isolated, noted, failed;
    struct flush_inspected found;
    struct fence_row row;
    uint64_t batch;
    int64_t clock_us;
    uint32_t n_faults;
    char fault[8], sqlstate[6]; /* the last fault's key and code */
    struct flush_error error;
};

struct world {
    struct sim_clock clock;
    struct fake_db db;
    struct client a, b;
};

static const struct flush_identity id = {
    .cluster_id = {1, 2, 3}, .group_count = 2, .group = 1, .version_base = 0};

static void on_inspected(void *data, const struct flush_inspected *found)
{
    struct client *c = data;
    c->inspected++;
    c->found = *found;
}

static void on_claimed(void *data)
{
    struct client *c = data;
    c->claimed++;
}

static void on_taken(void *data, const struct fence_row *row)
{
    struct client *c = data;
    c->taken++;
    c->row = *row;
}

static void on_committed(void *data, uint64_t batch, int64_t clock_us)
{
    struct client *c = data;
    c->committed++;
    c->batch = batch;
    c->clock_us = clock_us;
}

static void on_isolated(void *data, uint64_t batch, const struct flush_fault *faults, uint32_t n)
{
    struct client *c = data;
    c->isolated++;
    c->batch = batch;
    c->n_faults = n;
    for (uint32_t i = 0; i < n; i++) {
        assert_true(faults[i].key.len < sizeof c->fault);
        memset(c->fault, 0, sizeof c->fault);
        memcpy(c->fault, faults[i].key.data, faults[i].key.len);
        memcpy(c->sqlstate, faults[i].sqlstate, sizeof c->sqlstate);
    }
}

static void on_noted(void *data, int64_t clock_us)
{
    struct client *c = data;
    c->noted++;
    c->clock_us = clock_us;
}

static void on_failed(void *data, const struct flush_error *error)
{
    struct client *c = data;
    c->failed++;
    c->error = *error;
}

static const struct flusher_events events = {.inspected = on_inspected,
    .claimed = on_claimed,
    .taken = on_taken,
    .committed = on_committed,
    .isolated = on_isolated,
    .noted = on_noted,
    .failed = on_failed};

static void world_init(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    sim_clock_init(&w->clock, seed);
    fake_db_init(&w->db, &w->clock);
    sim_gate_init(&w->a.gate, &w->a);
    sim_gate_init(&w->b.gate, &w->b);
    fake_flusher_init(&w->a.flusher, &w->db, NULL, &w->a.gate, &events, &w->a);
    fake_flusher_init(&w->b.flusher, &w->db, NULL, &w->b.gate, &events, &w->b);
}

static void world_deinit(struct world *w)
{
    fake_flusher_deinit(&w->a.flusher);
    fake_flusher_deinit(&w->b.flusher);
    fake_db_deinit(&w->db);
    sim_clock_deinit(&w->clock);
}

/* Until nothing happens any more. */
static void run(struct world *w)
{
    struct sim_gate *gate;
    while (sim_step(&w->clock, &gate)) {
    }
}

static void run_until(struct world *w, uint64_t at_us)
{
    struct sim_gate *gate;
    while (w->clock.n > 0 && w->clock.heap[0]->at_us <= at_us) {
        sim_step(&w->clock, &gate);
    }
    w->clock.now_us = at_us;
}

static void claim(struct world *w)
{
    struct flush_inspected empty = {.found = FLUSH_DB_EMPTY};
    fake_flusher_ops.claim(&w->a.flusher, &id, &empty);
    run(w);
    assert_int_equal(w->a.claimed, 1);
}

static void take(struct world *w, struct client *c, uint64_t term)
{
    unsigned before = c->taken;
    fake_flusher_ops.take(&c->flusher, &id, term);
    run(w);
    assert_int_equal(c->taken, before + 1);
}

/* Set x and y to @value, or delete both when it is NULL. */
static void send_as(
    struct client *c, uint64_t batch, uint64_t predecessor, const char *value, bool isolate)
{
    struct flush_row rows[2] = {{.key = bytes_from_text("y")}, {.key = bytes_from_text("x")}};
    for (int i = 0; i < 2; i++) {
        rows[i].deleted = value == NULL;
        rows[i].value = value == NULL ? bytes_of(NULL, 0) : bytes_from_text(value);
        rows[i].version = batch << 16 | (unsigned)i;
        rows[i].expires_at_ms = i == 0 ? 0 : 1700000000000u;
    }
    struct flush_batch b;
    flush_batch_init(&b);
    flush_batch_build(&b, batch, predecessor, rows, 2);
    b.isolate = isolate;
    fake_flusher_ops.send(&c->flusher, &b);
    assert_int_equal(b.keys.len, 0); /* taken */
}

static void send(struct client *c, uint64_t batch, uint64_t predecessor, const char *value)
{
    send_as(c, batch, predecessor, value, false);
}

static const struct fake_row *row(struct world *w, const char *key)
{
    return fake_db_find(&w->db, bytes_from_text(key));
}

static void assert_value(struct world *w, const char *key, const char *value)
{
    assert_non_null(row(w, key));
    assert_true(bytes_equal(buf_bytes(&row(w, key)->value), bytes_from_text(value)));
}

static void an_empty_database_is_claimed_and_then_ours(void **state)
{
    struct world w;
    world_init(&w, 1);
    fake_flusher_ops.inspect(&w.a.flusher, id.cluster_id);
    assert_int_equal(w.a.inspected, 0); /* never from inside the call */
    run(&w);
    assert_int_equal(w.a.found.found, FLUSH_DB_EMPTY);
    claim(&w);
    fake_flusher_ops.inspect(&w.a.flusher, id.cluster_id);
    run(&w);
    assert_int_equal(w.a.found.found, FLUSH_DB_OURS);
    fake_flusher_ops.inspect(&w.a.flusher, (const uint8_t[CLUSTER_ID_BYTES]){9});
    run(&w);
    assert_int_equal(w.a.found.found, FLUSH_DB_FOREIGN);
    assert_int_equal(w.a.found.group_count, 2);
    world_deinit(&w);
}

static void a_take_without_a_fence_row_halts(void **state)
{
    struct world w;
    world_init(&w, 1);
    fake_flusher_ops.take(&w.a.flusher, &id, 1);
    run(&w);
    assert_int_equal(w.a.failed, 1);
    assert_int_equal(w.a.error.class, FLUSH_ERROR_HALT);
    world_deinit(&w);
}

static void batches_are_written_in_order(void **state)
{
    struct world w;
    world_init(&w, 1);
    claim(&w);
    take(&w, &w.a, 3);
    assert_int_equal(w.a.row.last_batch, 0);
    send(&w.a, 10, 0, "one");
    send(&w.a, 12, 10, "two");
    run(&w);
    assert_int_equal(w.a.committed, 2);
    assert_value(&w, "x", "two");
    assert_int_equal(row(&w, "x")->version, 12 << 16 | 1);
    assert_int_equal(row(&w, "x")->expires_at_ms, 1700000000000u);
    assert_int_equal(row(&w, "y")->expires_at_ms, 0);
    send(&w.a, 13, 12, NULL);
    run(&w);
    assert_null(row(&w, "x"));
    assert_null(row(&w, "y"));
    take(&w, &w.b, 4);
    assert_int_equal(w.b.row.last_batch, 13);
    assert_int_equal(w.b.row.epoch, w.a.row.epoch + 1);
    world_deinit(&w);
}

static void a_wrong_predecessor_writes_nothing(void **state)
{
    struct world w;
    world_init(&w, 1);
    claim(&w);
    take(&w, &w.a, 1);
    send(&w.a, 10, 7, "no");
    send(&w.a, 11, 10, "neither"); /* in the pipeline behind it */
    run(&w);
    assert_int_equal(w.a.failed, 1);
    assert_int_equal(w.a.error.class, FLUSH_ERROR_PREDECESSOR);
    assert_int_equal(w.a.committed, 0);
    assert_null(row(&w, "x"));
    world_deinit(&w);
}

static void an_older_epoch_and_an_older_term_are_fenced(void **state)
{
    struct world w;
    world_init(&w, 1);
    claim(&w);
    take(&w, &w.a, 1);
    take(&w, &w.b, 2);
    send(&w.a, 10, 0, "old");
    run(&w);
    assert_int_equal(w.a.error.class, FLUSH_ERROR_FENCED);
    assert_null(row(&w, "x"));
    fake_flusher_ops.take(&w.a.flusher, &id, 1);
    run(&w);
    assert_int_equal(w.a.failed, 2);
    assert_int_equal(w.a.error.class, FLUSH_ERROR_FENCED);
    world_deinit(&w);
}

static void a_take_waits_for_a_pending_commit(void **state)
{
    struct world w;
    world_init(&w, 1);
    claim(&w);
    take(&w, &w.a, 1);
    w.db.work_min_us = w.db.work_max_us = 1000000;
    send(&w.a, 10, 0, "pending");
    run_until(&w, w.clock.now_us + 100000);
    w.db.work_min_us = w.db.work_max_us = 1000;
    fake_flusher_ops.take(&w.b.flusher, &id, 2);
    run_until(&w, w.clock.now_us + 500000);
    assert_int_equal(w.b.taken, 0);
    run(&w);
    assert_int_equal(w.b.taken, 1);
    assert_int_equal(w.b.row.last_batch, 10); /* what it waited for counts */
    assert_int_equal(w.db.takes_that_waited, 1);
    world_deinit(&w);
}

/* The client dies with its commit pending: the commit may still come, but never after somebody took the
 * fence. */
static void what_a_dead_client_sent_comes_before_a_take_or_never(void **state)
{
    unsigned came = 0, never = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct world w;
        world_init(&w, seed);
        claim(&w);
        take(&w, &w.a, 1);
        send(&w.a, 10, 0, "one");
        send(&w.a, 11, 10, "two");
        run_until(&w, w.clock.now_us + sim_random(&w.clock, 6000));
        fake_flusher_deinit(&w.a.flusher);
        take(&w, &w.b, 2);
        uint64_t known = w.b.row.last_batch;
        assert_true(known == 0 || known == 10 || known == 11);
        if (known == 0) {
            assert_null(row(&w, "x"));
            never++;
        } else {
            assert_value(&w, "x", known == 10 ? "one" : "two");
            came++;
        }
        run(&w);
        assert_int_equal(w.db.content.fences[1].last_batch, known);
        world_deinit(&w);
    }
    assert_true(came > 0 && never > 0);
}

static void an_answer_can_be_lost_but_never_made_up(void **state)
{
    unsigned lost = 0, rolled_back = 0, answered = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct world w;
        world_init(&w, seed);
        claim(&w);
        take(&w, &w.a, 1);
        w.db.cut_permille = 300;
        send(&w.a, 10, 0, "maybe");
        run(&w);
        assert_int_equal(w.a.committed + w.a.failed, 1);
        bool written = row(&w, "x") != NULL;
        assert_true(written || w.a.committed == 0);
        assert_true(written == (row(&w, "y") != NULL)); /* all or nothing */
        assert_true(written == (w.db.content.fences[1].last_batch == 10));
        answered += w.a.committed;
        lost += written && w.a.failed;
        rolled_back += !written;
        world_deinit(&w);
    }
    assert_true(lost > 0 && rolled_back > 0 && answered > 0);
}

static void a_server_that_goes_down_commits_nothing_more(void **state)
{
    struct world w;
    world_init(&w, 1);
    claim(&w);
    take(&w, &w.a, 1);
    w.db.work_min_us = w.db.work_max_us = 100000;
    send(&w.a, 10, 0, "no");
    run_until(&w, w.clock.now_us + 50000);
    fake_db_set_down(&w.db, true);
    run(&w);
    assert_int_equal(w.a.failed, 1);
    assert_int_equal(w.a.error.class, FLUSH_ERROR_OUTAGE);
    assert_null(row(&w, "x"));
    fake_flusher_ops.take(&w.a.flusher, &id, 1);
    run(&w);
    assert_int_equal(w.a.failed, 2);
    fake_db_set_down(&w.db, false);
    take(&w, &w.a, 1);
    assert_int_equal(w.a.row.last_batch, 0);
    world_deinit(&w);
}

static void nothing_is_heard_after_disconnect(void **state)
{
    struct world w;
    world_init(&w, 1);
    claim(&w);
    take(&w, &w.a, 1);
    send(&w.a, 10, 0, "x");
    fake_flusher_ops.disconnect(&w.a.flusher);
    run(&w);
    assert_int_equal(w.a.committed + w.a.failed, 0);
    world_deinit(&w);
}

struct heard_load {
    unsigned loaded, failed;
    uint32_t n;
    uint64_t version, last_batch;
    bool fence_found;
    uint32_t later_n;
    char later[4][8]; /* keys, as expired */
    unsigned searched;
    uint32_t expired_n;
    char expired[4][8];
};

static void keep_keys(char (*out)[8], const struct bytes *keys, uint32_t n)
{
    assert_true(n <= 4);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(keys[i].len < sizeof out[0]);
        memset(out[i], 0, sizeof out[0]);
        memcpy(out[i], keys[i].data, keys[i].len);
    }
}

static void on_expired_found(void *data, uint64_t token, const struct bytes *keys, uint32_t n)
{
    struct heard_load *h = data;
    assert_int_equal(token, 78);
    h->searched++;
    h->expired_n = n;
    keep_keys(h->expired, keys, n);
}

static void on_loaded(void *data, uint64_t token, const struct load_result *result)
{
    struct heard_load *h = data;
    assert_int_equal(token, 77);
    h->loaded++;
    h->n = result->n;
    h->version = result->n > 0 ? result->rows[0].version : 0;
    h->last_batch = result->last_batch;
    h->fence_found = result->fence_found;
    h->later_n = result->later_n;
    keep_keys(h->later, result->later, result->later_n);
}

static void on_load_failed(void *data, uint64_t token, const struct flush_error *error)
{
    struct heard_load *h = data;
    h->failed++;
}

static const struct loader_events load_events = {on_loaded, on_load_failed, on_expired_found};

static void a_load_gives_rows_and_the_fence_of_one_moment(void **state)
{
    struct world w;
    struct heard_load heard = {0};
    struct fake_loader loader;
    world_init(&w, 1);
    fake_loader_init(&loader, &w.db, &w.a.gate, &load_events, &heard);
    claim(&w);
    take(&w, &w.a, 1);
    send(&w.a, 10, 0, "v");
    run(&w);
    const struct bytes keys[] = {bytes_from_text("absent"), bytes_from_text("x")};
    fake_loader_ops.load(&loader, 77, &id, keys, 2);
    run(&w);
    assert_int_equal(heard.loaded, 1);
    assert_int_equal(heard.n, 1);
    assert_int_equal(heard.version, 10 << 16 | 1);
    assert_int_equal(heard.last_batch, 10);
    assert_true(heard.fence_found);
    fake_db_set_down(&w.db, true);
    fake_loader_ops.load(&loader, 77, &id, keys, 2);
    run(&w);
    assert_int_equal(heard.failed, 1);
    fake_loader_ops.load(&loader, 77, &id, keys, 2);
    fake_loader_deinit(&loader); /* with a load under way: silence */
    run(&w);
    assert_int_equal(heard.loaded + heard.failed, 2);
    world_deinit(&w);
}

/* The keys y and x, whose rows have the value @value; x expires at 1700000000000. */
static void fill(struct world *w, const char *value)
{
    claim(w);
    take(w, &w->a, 1);
    send(&w->a, 10, 0, value);
    run(w);
    assert_int_equal(w->a.committed, 1);
}

static void what_does_not_fit_in_a_load_is_later(void **state)
{
    struct world w;
    struct heard_load heard = {0};
    struct fake_loader loader;
    world_init(&w, 1);
    fake_loader_init(&loader, &w.db, &w.a.gate, &load_events, &heard);
    fill(&w, "a value of 17 b..");
    const struct bytes keys[] = {bytes_from_text("absent"), bytes_from_text("x"), bytes_from_text("y")};
    fake_loader_ops.load(&loader, 77, &id, keys, 3);
    run(&w);
    assert_int_equal(heard.n, 1); /* though it alone is too long */
    assert_int_equal(heard.later_n, 1);
    assert_string_equal(heard.later[0], "y");
    fake_loader_ops.load(&loader, 77, &id, &keys[2], 1);
    run(&w);
    assert_int_equal(heard.n, 1);
    assert_int_equal(heard.later_n, 0);
    w.db.load_bytes_max = 34;
    fake_loader_ops.load(&loader, 77, &id, keys, 3);
    run(&w);
    assert_int_equal(heard.n, 2);
    assert_int_equal(heard.later_n, 0);
    fake_loader_deinit(&loader);
    world_deinit(&w);
}

static void expired_rows_are_found_the_earliest_first(void **state)
{
    struct world w;
    struct heard_load heard = {0};
    struct fake_loader loader;
    world_init(&w, 1);
    fake_loader_init(&loader, &w.db, &w.a.gate, &load_events, &heard);
    fill(&w, "v");
    struct flush_row rows[] = {
        {.key = bytes_from_text("late"), .version = 1, .expires_at_ms = 1700000000002},
        {.key = bytes_from_text("soon"), .version = 1, .expires_at_ms = 1},
        {.key = bytes_from_text("next"), .version = 1, .expires_at_ms = 1700000000001},
    };
    struct flush_batch batch;
    flush_batch_init(&batch);
    flush_batch_build(&batch, 11, 10, rows, 3);
    fake_flusher_ops.send(&w.a.flusher, &batch);
    run(&w);
    fake_loader_ops.find_expired(&loader, 78, 1700000000002, 4);
    assert_int_equal(heard.searched, 0); /* never from inside the call */
    run(&w);
    assert_int_equal(heard.expired_n, 3); /* not the one of this very millisecond */
    assert_string_equal(heard.expired[0], "soon");
    assert_string_equal(heard.expired[1], "x");
    assert_string_equal(heard.expired[2], "next");
    fake_loader_ops.find_expired(&loader, 78, UINT64_MAX, 2);
    run(&w);
    assert_int_equal(heard.expired_n, 2);
    assert_string_equal(heard.expired[1], "x");
    fake_db_set_down(&w.db, true);
    fake_loader_ops.find_expired(&loader, 78, UINT64_MAX, 4);
    run(&w);
    assert_int_equal(heard.searched, 3);
    assert_int_equal(heard.expired_n, 0);
    fake_loader_ops.find_expired(&loader, 78, UINT64_MAX, 4);
    fake_loader_deinit(&loader); /* under way: silence */
    run(&w);
    assert_int_equal(heard.searched, 3);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_database_is_claimed_and_then_ours),
        cmocka_unit_test(a_take_without_a_fence_row_halts),
        cmocka_unit_test(batches_are_written_in_order),
        cmocka_unit_test(a_wrong_predecessor_writes_nothing),
        cmocka_unit_test(an_older_epoch_and_an_older_term_are_fenced),
        cmocka_unit_test(a_take_waits_for_a_pending_commit),
        cmocka_unit_test(what_a_dead_client_sent_comes_before_a_take_or_never),
        cmocka_unit_test(an_answer_can_be_lost_but_never_made_up),
        cmocka_unit_test(a_server_that_goes_down_commits_nothing_more),
        cmocka_unit_test(nothing_is_heard_after_disconnect),
        cmocka_unit_test(a_load_gives_rows_and_the_fence_of_one_moment),
        cmocka_unit_test(what_does_not_fit_in_a_load_is_later),
        cmocka_unit_test(expired_rows_are_found_the_earliest_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
