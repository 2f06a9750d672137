#include "node/state_test_help.h"

#include "node/state_internal.h"

static void write_until(struct state *s, uint64_t index, const char *key, uint64_t expires_at_ms)
{
    at(s, index);
    state_apply_write(s, 0, bytes_from_text(key), VALUE_STRING, text_value("v"), expires_at_ms);
}

/* @key is what expires first, at @expires_at_ms; "" when nothing ever does. */
static void assert_next(const struct state *s, const char *key, uint64_t expires_at_ms)
{
    state_check_invariants(s);
    const struct state_entry *next = state_next_expiring(s);
    if (key[0] == '\0') {
        assert_null(next);
        return;
    }
    assert_non_null(next);
    assert_true(bytes_equal(state_entry_key(next), bytes_from_text(key)));
    assert_int_equal(next->expires_at_ms, expires_at_ms);
}

static void the_next_to_expire_is_the_earliest_whether_clean_or_dirty(void **unused)
{
    struct state s;
    state_init(&s, 1);
    assert_next(&s, "", 0);
    put(&s, 1, "never", "v");
    put_clean(&s, "never either", "v");
    assert_next(&s, "", 0);
    write_until(&s, 2, "queued", 50);
    assert_next(&s, "queued", 50);
    put_clean_until(&s, "clean", "v", 40);
    assert_next(&s, "clean", 40);
    put_clean_until(&s, "late", "v", 60);
    assert_next(&s, "clean", 40);
    write_until(&s, 3, "past", 1); /* whatever the time is */
    assert_next(&s, "past", 1);
    begin(&s, 4);
    assert_next(&s, "past", 1);
    state_deinit(&s);
}

static void an_expiry_that_changes_moves_the_entry(void **unused)
{
    struct state s;
    state_init(&s, 1);
    write_until(&s, 1, "a", 10);
    write_until(&s, 2, "b", 20);
    write_until(&s, 3, "c", 30);
    write_until(&s, 4, "a", 25); /* later */
    assert_next(&s, "b", 20);
    write_until(&s, 5, "c", 5); /* earlier */
    assert_next(&s, "c", 5);
    put(&s, 6, "c", "without"); /* a write without an expiry takes it away */
    assert_next(&s, "b", 20);
    put(&s, 7, "b", NULL); /* a delete too */
    assert_next(&s, "a", 25);
    write_until(&s, 8, "c", 24);
    assert_next(&s, "c", 24);
    write_until(&s, 9, "c", 24); /* the same again */
    assert_next(&s, "c", 24);
    assert_int_equal(s.expiring_n, 2);
    state_deinit(&s);
}

static void what_leaves_memory_expires_no_more(void **unused)
{
    struct state s;
    state_init(&s, 1);
    uint64_t empty = memory(&s);
    put_clean_until(&s, "forgotten", "v", 10);
    put_clean_until(&s, "evicted", "v", 20);
    state_forget(&s, find(&s, "forgotten"));
    assert_next(&s, "evicted", 20);
    state_evict(&s, UINT64_MAX);
    assert_next(&s, "", 0);
    write_until(&s, 1, "flushed away", 30);
    begin(&s, 2);
    put(&s, 3, "flushed away", NULL);
    assert_next(&s, "", 0);
    flushed(&s, 4, 2, 0);
    begin(&s, 5);
    flushed(&s, 6, 5, 2);
    assert_next(&s, "", 0);
    assert_int_equal(memory(&s), empty);
    state_deinit(&s);
}

static void flushing_keeps_the_expiry(void **unused)
{
    struct state s;
    state_init(&s, 1);
    write_until(&s, 1, "a", 30);
    begin(&s, 2);
    flush_abort(&s, 3, 2);
    assert_next(&s, "a", 30);
    begin(&s, 4);
    flushed(&s, 5, 4, 0);
    assert_next(&s, "a", 30);
    assert_false(state_entry_dirty(find(&s, "a")));
    state_deinit(&s);
}

static uint32_t next_random(uint32_t *random)
{
    *random = *random * 1664525 + 1013904223;
    return *random >> 8;
}

static struct bytes number_key(uint32_t i, char room[16])
{
    return bytes_of(room, (size_t)snprintf(room, 16, "%" PRIu32, i));
}

static void entries_come_out_in_the_order_of_their_expiry(void **unused)
{
    enum { KEYS = 20000 };
    struct state s;
    state_init(&s, 1);
    uint64_t empty = memory(&s);
    uint32_t random = 7;
    char room[16];
    at(&s, 1);
    for (uint32_t i = 0; i < KEYS; i++) {
        /* Few different times, so that many are equal. */
        state_put_clean(
            &s, number_key(i, room), VALUE_STRING, text_value("v"), 1, 1 + next_random(&random) % 5000);
    }
    state_check_invariants(&s);
    uint64_t full = s.bytes;
    uint64_t last = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        struct state_entry *e = state_next_expiring(&s);
        assert_non_null(e);
        assert_true(e->expires_at_ms >= last);
        last = e->expires_at_ms;
        state_forget(&s, e);
        if (i % 1000 == 0) {
            state_check_invariants(&s);
        }
        /* The array follows: at most four times what is in it, and never less. */
        assert_true(s.expiring_cap <= 64 || s.expiring_cap < 4 * s.expiring_n);
    }
    assert_null(state_next_expiring(&s));
    assert_null(s.expiring);
    assert_true(full > empty + KEYS * sizeof s.expiring[0]);
    assert_int_equal(memory(&s), empty);
    state_deinit(&s);
}

/* Against a plain search of all times. */
static void the_top_is_the_earliest_after_every_random_change(void **unused)
{
    enum { KEYS = 300, CHANGES = 30000 };
    struct state s;
    state_init(&s, 1);
    static uint64_t times[KEYS]; /* 0: it does not expire, or is not there */
    memset(times, 0, sizeof times);
    uint32_t random = 99;
    char room[16];
    for (uint32_t i = 1; i <= CHANGES; i++) {
        /* First it fills, then it empties, and so on. */
        bool filling = i / 3000 % 2 == 0;
        uint32_t key = next_random(&random) % KEYS;
        uint64_t time = next_random(&random) % 4 < (filling ? 3 : 1) ? next_random(&random) % 1000 : 0;
        at(&s, i);
        if (next_random(&random) % 8 == 0) {
            state_apply_write(&s, 0, number_key(key, room), VALUE_STRING, NULL, 0);
            time = 0;
        } else {
            state_apply_write(&s, 0, number_key(key, room), VALUE_STRING, text_value("v"), time);
        }
        times[key] = time;
        uint64_t want = UINT64_MAX;
        uint32_t n = 0;
        for (uint32_t k = 0; k < KEYS; k++) {
            n += times[k] != 0;
            want = times[k] != 0 && times[k] < want ? times[k] : want;
        }
        assert_int_equal(s.expiring_n, n);
        const struct state_entry *next = state_next_expiring(&s);
        assert_int_equal(next != NULL ? next->expires_at_ms : UINT64_MAX, want);
        if (i % 100 == 0) {
            state_check_invariants(&s);
        }
    }
    state_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_to_expire_is_the_earliest_whether_clean_or_dirty),
        cmocka_unit_test(an_expiry_that_changes_moves_the_entry),
        cmocka_unit_test(what_leaves_memory_expires_no_more),
        cmocka_unit_test(flushing_keeps_the_expiry),
        cmocka_unit_test(entries_come_out_in_the_order_of_their_expiry),
        cmocka_unit_test(the_top_is_the_earliest_after_every_random_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
