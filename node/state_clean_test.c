#include "node/state_test_help.h"

#include "node/state_internal.h"

/* ---- Loaded and forgotten ---- */

static void a_write_turns_an_absence_into_an_entry(void **unused)
{
    struct state s;
    state_init(&s, 1);
    put_absent(&s, "a");
    assert_true(find(&s, "a")->absent);
    assert_false(state_entry_present(find(&s, "a")));
    assert_int_equal(s.absences, 1);
    assert_int_equal(s.entries, 0);
    put(&s, 1, "a", "1");
    assert_true(state_entry_present(find(&s, "a")));
    assert_int_equal(s.absences, 0);
    assert_int_equal(s.entries, 1);
    assert_flush(&s, "a@1");
    state_deinit(&s);
}

static void a_clean_copy_is_put_over_nothing_or_an_absence_only(void **unused)
{
    struct state s;
    state_init(&s, 1);
    put_absent(&s, "absent");
    put_clean(&s, "clean", "kept");
    put(&s, 1, "dirty", "kept");
    put(&s, 2, "tombstone", NULL);
    struct {
        const char *key;
        const char *want;
    } rows[] = {
        {"new", "loaded"}, {"absent", "loaded"}, {"clean", "kept"}, {"dirty", "kept"}, {"tombstone", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct value *value = value_ref(text_value("loaded"));
        state_put_clean(&s, bytes_from_text(rows[i].key), VALUE_STRING, value, 42, 43);
        struct state_entry *e = find(&s, rows[i].key);
        bool taken = rows[i].want != NULL && strcmp(rows[i].want, "loaded") == 0;
        assert_int_equal(value->refs, taken ? 2 : 1); /* otherwise the reference was dropped */
        assert_true(state_entry_present(e) == (rows[i].want != NULL));
        assert_true(
            rows[i].want == NULL || bytes_equal(value_bytes(e->value), bytes_from_text(rows[i].want)));
        assert_true((e->version == 42) == taken && (e->expires_at_ms == 43) == taken);
        assert_false(e->absent);
        value_unref(value);
    }
    assert_int_equal(s.absences, 0);
    assert_flush(&s, "dirty@1 tombstone@2");
    state_deinit(&s);
}

static void an_absence_is_put_over_nothing_only(void **unused)
{
    struct state s;
    state_init(&s, 1);
    put_clean(&s, "clean", "v");
    put(&s, 1, "dirty", "v");
    put(&s, 2, "tombstone", NULL);
    const char *keys[] = {"new", "new", "clean", "dirty", "tombstone"};
    for (size_t i = 0; i < 5; i++) {
        put_absent(&s, keys[i]);
        assert_true(find(&s, keys[i])->absent == (i < 2));
    }
    assert_int_equal(s.absences, 1);
    assert_int_equal(s.entries, 3);
    assert_flush(&s, "dirty@1 tombstone@2");
    state_deinit(&s);
}

static void forget(void *data)
{
    struct state *s = data;
    state_forget(s, find(s, "a"));
}

static void what_is_clean_can_be_forgotten_and_what_is_dirty_cannot(void **unused)
{
    struct state s;
    state_init(&s, 1);
    uint64_t empty = memory(&s);
    put_absent(&s, "a");
    forget(&s);
    put_clean(&s, "a", "1");
    assert_true(memory(&s) > empty);
    forget(&s);
    assert_null(find(&s, "a"));
    assert_int_equal(memory(&s), empty);
    put(&s, 1, "a", "1");
    assert_aborts(forget, &s, "state_entry_evictable");
    begin(&s, 2);
    assert_aborts(forget, &s, "state_entry_evictable");
    flushed(&s, 3, 2, 0);
    forget(&s);
    assert_int_equal(memory(&s), empty);
    state_check_invariants(&s);
    state_deinit(&s);
}

static void the_oldest_absences_are_forgotten_beyond_the_limit(void **unused)
{
    (void)unused;
    struct state s;
    state_init(&s, 1);
    char key[16];
    for (uint32_t i = 0; i < STATE_ABSENCES_MAX + 10; i++) {
        int len = snprintf(key, sizeof key, "%u", i);
        state_put_absent(&s, bytes_of(key, (size_t)len));
    }
    assert_int_equal(s.absences, STATE_ABSENCES_MAX);
    assert_null(state_find(&s, bytes_from_text("9")));
    assert_non_null(state_find(&s, bytes_from_text("10")));
    state_check_invariants(&s);
    state_deinit(&s);
}

/* ---- Evicted ---- */

/* The keys of clean entries in memory among @keys, as one line of text. */
static void assert_in_memory(const struct state *s, const char *keys[], size_t n, const char *want)
{
    char got[256] = "";
    for (size_t i = 0; i < n; i++) {
        if (find(s, keys[i]) != NULL) {
            strcat(strcat(got, got[0] != '\0' ? " " : ""), keys[i]);
        }
    }
    assert_string_equal(got, want);
}

static void clean_bytes_count_what_has_a_value_and_is_not_dirty(void **unused)
{
    struct state s;
    state_init(&s, 1);
#define EXPECT(sum)                                                                                          \
    state_check_invariants(&s);                                                                              \
    assert_int_equal(s.clean_bytes, sum)
    put_absent(&s, "none");
    EXPECT(0);
    put_clean(&s, "a", "loaded");
    uint64_t a = state_entry_bytes(find(&s, "a"));
    EXPECT(a);
    put_clean(&s, "none", "loaded after all");
    uint64_t none = state_entry_bytes(find(&s, "none"));
    EXPECT(a + none);
    put(&s, 1, "a", "written, so it is dirty");
    EXPECT(none);
    put(&s, 2, "b", "new");
    put(&s, 3, "c", NULL);
    EXPECT(none);
    begin(&s, 4);
    EXPECT(none);
    put(&s, 5, "b", "newer");
    flush_abort(&s, 6, 4);
    EXPECT(none);
    begin(&s, 7);
    put(&s, 8, "b", "newest");
    flushed(&s, 9, 7, 0); /* a is clean, b queued again, c gone */
    EXPECT(none + state_entry_bytes(find(&s, "a")));
    put(&s, 10, "a", NULL);
    EXPECT(none);
    state_forget(&s, find(&s, "none"));
    EXPECT(0);
#undef EXPECT
    state_deinit(&s);
}

static void eviction_takes_clean_entries_until_the_bytes_are_given_back(void **unused)
{
    struct {
        uint64_t of_ten; /* asked for: this many tenths of an entry's size, times ten entries */
        uint64_t gone;
    } rows[] = {{0, 0}, {1, 1}, {9, 1}, {10, 1}, {11, 2}, {50, 5}, {99, 10}, {100, 10}, {1000, 10}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct state s;
        state_init(&s, 1);
        char key[2] = "0";
        for (int c = '0'; c <= '9'; c++) {
            key[0] = (char)c;
            put_clean(&s, key, "value");
        }
        uint64_t each = state_entry_bytes(find(&s, "0"));
        uint64_t before = memory(&s);
        uint64_t ask = rows[i].of_ten * each / 10;
        assert_int_equal(state_evict(&s, ask), rows[i].gone);
        assert_int_equal(s.entries, 10 - rows[i].gone);
        assert_int_equal(s.clean_bytes, each * (10 - rows[i].gone));
        assert_int_equal(before - memory(&s), each * rows[i].gone);
        state_check_invariants(&s);
        state_deinit(&s);
    }
}

static void eviction_never_takes_what_is_dirty(void **unused)
{
    const char *keys[] = {"queued", "batched", "both", "tombstone", "flushed", "loaded"};
    struct state s;
    state_init(&s, 1);
    put(&s, 1, "flushed", "v");
    begin(&s, 2);
    flushed(&s, 3, 2, 0);
    put_clean(&s, "loaded", "v");
    put(&s, 4, "batched", "v");
    put(&s, 5, "both", "v");
    begin(&s, 6);
    put(&s, 7, "both", "w");
    put(&s, 8, "queued", "v");
    put(&s, 9, "tombstone", NULL);
    uint64_t hash = state_hash(&s);
    assert_int_equal(state_evict(&s, UINT64_MAX), 2);
    assert_in_memory(&s, keys, 6, "queued batched both tombstone");
    assert_flush(&s, "[6: batched@4 both@5] both@7 queued@8 tombstone@9");
    assert_int_equal(state_hash(&s), hash);
    assert_int_equal(s.clean_bytes, 0);
    assert_int_equal(state_evict(&s, UINT64_MAX), 0);
    flush_abort(&s, 10, 6);
    assert_int_equal(state_evict(&s, UINT64_MAX), 0);
    begin(&s, 11);
    assert_int_equal(state_evict(&s, UINT64_MAX), 0);
    flushed(&s, 12, 11, 2); /* now they may go; the tombstone has gone by itself */
    assert_int_equal(state_evict(&s, UINT64_MAX), 3);
    assert_int_equal(s.entries, 0);
    state_check_invariants(&s);
    state_deinit(&s);
}

static void absences_go_after_the_clean_entries_and_the_oldest_first(void **unused)
{
    const char *keys[] = {"n1", "clean", "n2", "n3"};
    const char *left[] = {"n1 clean n2 n3", "n1 n2 n3", "n2 n3", "n3", ""};
    struct state s;
    state_init(&s, 1);
    uint64_t empty = memory(&s);
    put_absent(&s, "n1");
    put_clean(&s, "clean", "v");
    put_absent(&s, "n2");
    put_absent(&s, "n3");
    for (size_t i = 0; i < 5; i++) {
        assert_in_memory(&s, keys, 4, left[i]);
        state_check_invariants(&s);
        assert_int_equal(state_evict(&s, 1), i < 4);
    }
    assert_int_equal(memory(&s), empty);
    assert_int_equal(s.absences, 0);
    state_deinit(&s);
}

static void what_is_used_stays_longer_than_what_is_not(void **unused)
{
    struct {
        const char *name;
        bool written; /* used by a write of its own, else by a touch */
    } rows[] = {{"touched", false}, {"written again", true}};
    for (size_t i = 0; i < 2; i++) {
        struct state s;
        state_init(&s, 1);
        put(&s, 1, "used", "v");
        for (uint64_t n = 0; rows[i].written && n < 3; n++) {
            put(&s, 2 + n, "used", "w");
        }
        begin(&s, 5);
        flushed(&s, 6, 5, 0);
        char key[8];
        for (uint32_t k = 0; k < 100; k++) {
            snprintf(key, sizeof key, "k%" PRIu32, k);
            put_clean(&s, key, "v");
        }
        for (uint32_t n = 0; !rows[i].written && n < 3; n++) {
            state_touch(find(&s, "used"));
        }
        state_evict(&s, 50 * state_entry_bytes(find(&s, "k0")));
        assert_non_null(find(&s, "used")); /* though it is the oldest */
        assert_int_equal(s.entries, 51);
        state_deinit(&s);
    }
}

static void a_dirty_entry_can_be_touched_and_still_be_flushed_and_evicted(void **unused)
{
    struct state s;
    state_init(&s, 1);
    put(&s, 1, "a", "v");
    state_touch(find(&s, "a"));
    begin(&s, 2);
    state_touch(find(&s, "a"));
    flushed(&s, 3, 2, 0);
    put(&s, 4, "gone", NULL);
    state_touch(find(&s, "gone"));
    state_check_invariants(&s);
    assert_int_equal(state_evict(&s, UINT64_MAX), 1);
    assert_null(find(&s, "a"));
    state_check_invariants(&s);
    state_deinit(&s);
}

/* A reader holds the value of an entry that is evicted under it. */
static void an_evicted_value_lives_as_long_as_its_references(void **unused)
{
    struct state s;
    state_init(&s, 1);
    put_clean(&s, "a", "read");
    struct value *held = value_ref(find(&s, "a")->value);
    assert_int_equal(state_evict(&s, 1), 1);
    assert_true(bytes_equal(value_bytes(held), bytes_from_text("read")));
    assert_int_equal(held->refs, 1);
    value_unref(held);
    state_deinit(&s);
}

static void evicting_everything_gives_all_memory_back(void **unused)
{
    struct state s;
    state_init(&s, 1);
    uint64_t empty = memory(&s);
    for (uint32_t i = 0; i < 20000; i++) {
        char key[16];
        struct bytes name = bytes_of(key, (size_t)snprintf(key, sizeof key, "%" PRIu32, i));
        if (i % 5 == 0) {
            state_put_absent(&s, name);
        } else {
            state_put_clean(&s, name, VALUE_STRING, text_value("value"), 1, i % 3);
        }
    }
    assert_true(s.clean_bytes > 16000 * sizeof(struct state_entry));
    uint64_t gone = 0;
    uint64_t calls = 0;
    while (s.entries + s.absences > 0) {
        uint64_t before = s.entries + s.absences;
        uint64_t now = state_evict(&s, 100000);
        assert_int_equal(now, before - s.entries - s.absences);
        assert_true(now > 0 && now <= 100000 / sizeof(struct state_entry) + 1); /* no more than asked for */
        gone += now;
        if (++calls % 8 == 0) {
            state_check_invariants(&s);
        }
    }
    assert_int_equal(gone, 20000);
    assert_int_equal(memory(&s), empty);
    assert_null(state_next_expiring(&s));
    state_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_turns_an_absence_into_an_entry),
        cmocka_unit_test(a_clean_copy_is_put_over_nothing_or_an_absence_only),
        cmocka_unit_test(an_absence_is_put_over_nothing_only),
        cmocka_unit_test(what_is_clean_can_be_forgotten_and_what_is_dirty_cannot),
        cmocka_unit_test(the_oldest_absences_are_forgotten_beyond_the_limit),
        cmocka_unit_test(clean_bytes_count_what_has_a_value_and_is_not_dirty),
        cmocka_unit_test(eviction_takes_clean_entries_until_the_bytes_are_given_back),
        cmocka_unit_test(eviction_never_takes_what_is_dirty),
        cmocka_unit_test(absences_go_after_the_clean_entries_and_the_oldest_first),
        cmocka_unit_test(what_is_used_stays_longer_than_what_is_not),
        cmocka_unit_test(a_dirty_entry_can_be_touched_and_still_be_flushed_and_evicted),
        cmocka_unit_test(an_evicted_value_lives_as_long_as_its_references),
        cmocka_unit_test(evicting_everything_gives_all_memory_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
