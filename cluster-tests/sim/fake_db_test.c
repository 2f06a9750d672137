/* The fake database does what the flush relies on in PostgreSQL, and fails in the ways that PostgreSQL fails.
 */
#include "cluster-tests/sim/fake_db_test_help.h"
#include "flush/flush_batch.h"
#include "proto/fields.h"

static void an_empty_database_is_claimed_and_then_ours(void **state)
{
    struct world w;
    world_init(&w, 1);
    fake_flusher_ops.inspect(&w.a.flusher, test_identity.cluster_id);
    assert_int_equal(w.a.inspected, 0); /* never from inside the call */
    run(&w);
    assert_int_equal(w.a.found.found, FLUSH_DB_EMPTY);
    claim(&w);
    fake_flusher_ops.inspect(&w.a.flusher, test_identity.cluster_id);
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
    fake_flusher_ops.take(&w.a.flusher, &test_identity, 1);
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
    fake_flusher_ops.take(&w.a.flusher, &test_identity, 1);
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
    fake_flusher_ops.take(&w.b.flusher, &test_identity, 2);
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
    fake_flusher_ops.take(&w.a.flusher, &test_identity, 1);
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
    uint8_t type;
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
    h->type = result->n > 0 ? result->rows[0].type : 0;
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

/* Of three fields. */
static void make_hash(struct buf *out, const char *const *texts)
{
    buf_init(out);
    fields_begin(out);
    for (int i = 0; i < 3; i++) {
        fields_add(out, bytes_from_text(texts[2 * i]), bytes_from_text(texts[2 * i + 1]));
    }
    fields_end(out, 3);
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
    fake_loader_ops.load(&loader, 77, &test_identity, keys, 2);
    run(&w);
    assert_int_equal(heard.loaded, 1);
    assert_int_equal(heard.n, 1);
    assert_int_equal(heard.version, 10 << 16 | 1);
    assert_int_equal(heard.last_batch, 10);
    assert_true(heard.fence_found);
    fake_db_set_down(&w.db, true);
    fake_loader_ops.load(&loader, 77, &test_identity, keys, 2);
    run(&w);
    assert_int_equal(heard.failed, 1);
    fake_loader_ops.load(&loader, 77, &test_identity, keys, 2);
    fake_loader_deinit(&loader); /* with a load under way: silence */
    run(&w);
    assert_int_equal(heard.loaded + heard.failed, 2);
    world_deinit(&w);
}

/* Nobody may count on the order of a hash's fields: PostgreSQL has one of its own. */
static void a_hash_comes_back_with_its_fields_in_another_order(void **state)
{
    static const char *const written[] = {"long", "1", "b", "\xff", "a", "3"}, *const kept[] = {"a", "3", "b",
                                                                                   "\xff", "long", "1"};
    struct world w;
    struct heard_load heard = {0};
    struct fake_loader loader;
    struct buf hash, expected;
    world_init(&w, 1);
    fake_loader_init(&loader, &w.db, &w.a.gate, &load_events, &heard);
    make_hash(&hash, written);
    make_hash(&expected, kept);
    claim(&w);
    take(&w, &w.a, 1);
    for (uint64_t batch = 10; batch < 13; batch++) { /* a hash, a string, isolating a hash */
        struct flush_row rows[] = {{.key = bytes_from_text("x"),
                                       .value = buf_bytes(&hash),
                                       .type = VALUE_HASH,
                                       .version = batch << 16},
            {.key = bytes_from_text("y"), .value = bytes_from_text("text"), .version = batch << 16 | 1}};
        if (batch == 11) {
            rows[0].type = VALUE_STRING;
            rows[0].value = bytes_from_text("now a text");
        }
        struct flush_batch b;
        flush_batch_init(&b);
        flush_batch_build(&b, batch, batch == 10 ? 0 : batch - 1, rows, 2);
        b.isolate = batch == 12;
        fake_flusher_ops.send(&w.a.flusher, &b);
        run_until(&w, w.clock.now_us + 100000);
        if (batch == 12) {
            fake_flusher_ops.finish(&w.a.flusher, &(struct flush_note){0}, NULL);
            run(&w);
        }
        assert_int_equal(w.a.committed, batch - 9);
        const struct fake_row *x = row(&w, "x");
        assert_int_equal(x->type, batch == 11 ? VALUE_STRING : VALUE_HASH);
        assert_true(bytes_equal(
            buf_bytes(&x->value), batch == 11 ? bytes_from_text("now a text") : buf_bytes(&expected)));
        assert_int_equal(row(&w, "y")->type, VALUE_STRING);
        assert_value(&w, "y", "text");
    }
    const struct bytes key = bytes_from_text("x");
    fake_loader_ops.load(&loader, 77, &test_identity, &key, 1);
    run(&w);
    assert_int_equal(heard.n, 1);
    assert_int_equal(heard.type, VALUE_HASH);
    fake_loader_deinit(&loader);
    world_deinit(&w);
    buf_deinit(&hash);
    buf_deinit(&expected);
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
    fake_loader_ops.load(&loader, 77, &test_identity, keys, 3);
    run(&w);
    assert_int_equal(heard.n, 1); /* though it alone is too long */
    assert_int_equal(heard.later_n, 1);
    assert_string_equal(heard.later[0], "y");
    fake_loader_ops.load(&loader, 77, &test_identity, &keys[2], 1);
    run(&w);
    assert_int_equal(heard.n, 1);
    assert_int_equal(heard.later_n, 0);
    w.db.load_bytes_max = 34;
    fake_loader_ops.load(&loader, 77, &test_identity, keys, 3);
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
        cmocka_unit_test(a_hash_comes_back_with_its_fields_in_another_order),
        cmocka_unit_test(what_does_not_fit_in_a_load_is_later),
        cmocka_unit_test(expired_rows_are_found_the_earliest_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
