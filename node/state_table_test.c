#include "node/state_test_help.h"

#include "node/state_table.h"

static struct bytes key_of(uint32_t i, char *room)
{
    return bytes_of(room, (size_t)snprintf(room, 16, "key:%" PRIu32, i));
}

static void put_number(struct state *s, uint32_t i)
{
    char room[16];
    state_put_clean(s, key_of(i, room), VALUE_STRING, text_value("v"), i, 0);
}

static struct state_entry *find_number(const struct state *s, uint32_t i)
{
    char room[16];
    return state_find(s, key_of(i, room));
}

static void a_growing_table_moves_a_bounded_part_per_insertion(void **unused)
{
    struct state s;
    state_init(&s, 42);
    const struct state_table *t = s.table;
    bool seen_two_arrays = false;
    for (uint32_t i = 0; i < 50000; i++) {
        size_t old_before = t->old.used;
        size_t main_before = t->main.used;
        put_number(&s, i);
        if (t->old.heads == NULL || old_before == 0) {
            continue; /* no resize was under way, or it has ended or begun just now */
        }
        seen_two_arrays = true;
        assert_int_equal(old_before + main_before + 1, t->old.used + t->main.used);
        /* Chains are short: at load 1, ten in one bucket is one in ten million. */
        assert_true(old_before - t->old.used <= STATE_TABLE_STEP_CHAINS * 10);
    }
    assert_true(seen_two_arrays);
    assert_true(t->main.count >= 50000 && t->main.count <= 2 * 65536);
    for (uint32_t i = 0; i < 50000; i++) {
        assert_int_equal(find_number(&s, i)->version, i);
    }
    assert_null(find_number(&s, 50000));
    state_check_invariants(&s);
    state_deinit(&s);
}

static void every_key_is_found_at_every_moment_of_a_resize(void **unused)
{
    struct state s;
    state_init(&s, 43);
    const struct state_table *t = s.table;
    uint32_t resizing = 0;
    for (uint32_t i = 0; i < 3000; i++) {
        put_number(&s, i);
        resizing += t->old.heads != NULL;
        for (uint32_t k = i % 7; k <= i; k += 7) {
            assert_non_null(find_number(&s, k));
        }
        assert_null(find_number(&s, i + 1));
    }
    for (uint32_t i = 0; i < 3000; i++) {
        state_forget(&s, find_number(&s, i));
        resizing += t->old.heads != NULL;
        assert_null(find_number(&s, i));
        for (uint32_t k = i + 1; k < 3000; k += 7) {
            assert_non_null(find_number(&s, k));
        }
    }
    assert_true(resizing > 100);
    state_deinit(&s);
}

static void bytes_come_back_when_everything_is_removed(void **unused)
{
    struct state s;
    state_init(&s, 44);
    uint64_t empty = memory(&s);
    for (uint32_t n = 1; n <= 20000; n = n * 3 + 1) {
        for (uint32_t i = 0; i < n; i++) {
            put_number(&s, i);
        }
        state_check_invariants(&s);
        assert_true(memory(&s) > empty + n * (sizeof(struct state_entry) + sizeof(struct value)));
        for (uint32_t i = 0; i < n; i++) {
            state_forget(&s, find_number(&s, i));
        }
        state_check_invariants(&s);
        assert_int_equal(memory(&s), empty);
        assert_int_equal(s.entries, 0);
    }
    state_deinit(&s);
}

static void a_table_that_lost_most_of_its_keys_shrinks(void **unused)
{
    struct state s;
    state_init(&s, 45);
    for (uint32_t i = 0; i < 40000; i++) {
        put_number(&s, i);
    }
    size_t full = state_table_bytes(s.table);
    for (uint32_t i = 100; i < 40000; i++) {
        state_forget(&s, find_number(&s, i));
    }
    assert_true(state_table_bytes(s.table) < full / 16);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(find_number(&s, i)->version, i);
    }
    state_check_invariants(&s);
    state_deinit(&s);
}

/* Insertions and removals around the size where the table grows: no resize may be left behind unfinished
 * while the next one is due, so chains stay short whatever the mix. */
static void resizes_end_before_the_next_is_due(void **unused)
{
    struct state s;
    state_init(&s, 46);
    const struct state_table *t = s.table;
    uint32_t low = 0;
    uint32_t high = 0;
    for (uint32_t round = 0; round < 12; round++) {
        while (high - low < 9000) {
            put_number(&s, high++);
            assert_true(state_table_count(t) <= t->main.count);
        }
        while (high - low > 50) {
            state_forget(&s, find_number(&s, low++));
            assert_true(state_table_count(t) <= t->main.count);
            assert_true(t->old.heads != NULL || t->main.count == STATE_TABLE_BUCKETS_MIN ||
                        t->main.used >= t->main.count / 8);
        }
        state_check_invariants(&s);
    }
    state_deinit(&s);
}

static void hashes_depend_on_the_seed(void **unused)
{
    struct state a, b;
    state_init(&a, 1);
    state_init(&b, 2);
    put_clean(&a, "k", "v");
    put_clean(&b, "k", "v");
    assert_true(find(&a, "k")->hash != find(&b, "k")->hash);
    assert_int_equal(find(&a, "k")->hash, bytes_hash(bytes_from_text("k"), 1));
    state_deinit(&a);
    state_deinit(&b);
}

static void keys_with_one_hash_are_told_apart(void **unused)
{
    struct state_table *t = state_table_create(0);
    struct state_entry *e[3];
    for (size_t i = 0; i < 3; i++) {
        e[i] = calloc(1, sizeof *e[i] + 1);
        assert_non_null(e[i]);
        e[i]->key_len = 1;
        e[i]->key[0] = (uint8_t)('a' + i);
        e[i]->hash = 5;
        state_table_insert(t, e[i]);
    }
    state_table_remove(t, e[1]);
    assert_ptr_equal(state_table_find(t, bytes_from_text("a"), 5), e[0]);
    assert_null(state_table_find(t, bytes_from_text("b"), 5));
    assert_ptr_equal(state_table_find(t, bytes_from_text("c"), 5), e[2]);
    assert_null(state_table_find(t, bytes_from_text("c"), 6));
    state_table_destroy(t);
    for (size_t i = 0; i < 3; i++) {
        free(e[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_growing_table_moves_a_bounded_part_per_insertion),
        cmocka_unit_test(every_key_is_found_at_every_moment_of_a_resize),
        cmocka_unit_test(bytes_come_back_when_everything_is_removed),
        cmocka_unit_test(a_table_that_lost_most_of_its_keys_shrinks),
        cmocka_unit_test(resizes_end_before_the_next_is_due),
        cmocka_unit_test(hashes_depend_on_the_seed),
        cmocka_unit_test(keys_with_one_hash_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
