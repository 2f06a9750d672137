#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "node/evict.h"
#include "node/state.h"
#include "proto/base/alloc.h"

/* Entries 0..n-1. In these tests key_len is what an entry takes, and version its number. */
struct fixture {
    struct evict *v;
    struct state_entry *entries;
    uint32_t n;
};

static uint32_t sizes_asked;

static uint64_t entry_size(const struct state_entry *e)
{
    sizes_asked++;
    return e->key_len;
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

/* As new: a key that comes into memory, and was not there before. */
static void make_new(struct fixture *f, uint32_t i)
{
    struct state_entry *e = &f->entries[i];
    uint64_t seed = i;
    *e = (struct state_entry){.version = i, .key_len = 100, .hash = next_random(&seed)};
    list_init(&e->queued.link);
}

static void fixture_init(struct fixture *f, uint32_t n)
{
    *f = (struct fixture){.v = evict_create(), .n = n};
    f->entries = xcalloc(n, sizeof *f->entries);
    for (uint32_t i = 0; i < n; i++) {
        make_new(f, i);
    }
}

static void fixture_deinit(struct fixture *f)
{
    evict_destroy(f->v);
    free(f->entries);
}

static void add(struct fixture *f, uint32_t i)
{
    evict_add(f->v, &f->entries[i], f->entries[i].key_len);
}

static void add_range(struct fixture *f, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        add(f, i);
    }
}

static void take_out(struct fixture *f, uint32_t i)
{
    evict_remove(f->v, &f->entries[i], f->entries[i].key_len);
}

static void touch(struct fixture *f, uint32_t i)
{
    evict_touch(&f->entries[i]);
}

/* The number of the entry that went, or -1. It can come back as a new one. */
static int evict_one(struct fixture *f)
{
    struct state_entry *e = evict_choose(f->v, entry_size);
    if (e == NULL) {
        return -1;
    }
    uint32_t i = (uint32_t)e->version;
    take_out(f, i);
    make_new(f, i);
    return (int)i;
}

/* Bring 0..n-1 into the main queue, with no hits, and nothing else. */
static void fill_main(struct fixture *f, uint32_t n)
{
    add_range(f, 0, n);
    for (uint32_t i = 0; i < n; i++) {
        touch(f, i);
    }
    /* To find this one to go, the policy had to look at all before it. */
    add(f, n);
    assert_int_equal(evict_one(f), (int)n);
}

/* ---- Order ---- */

static void nothing_is_chosen_when_nothing_is_held(void **unused)
{
    struct fixture f;
    fixture_init(&f, 1);
    assert_int_equal(evict_one(&f), -1);
    add(&f, 0);
    assert_int_equal(evict_one(&f), 0);
    assert_int_equal(evict_one(&f), -1);
    fixture_deinit(&f);
}

static void what_nobody_uses_goes_in_the_order_in_which_it_came(void **unused)
{
    struct fixture f;
    fixture_init(&f, 40);
    add_range(&f, 0, 40);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(evict_one(&f), i);
    }
    fixture_deinit(&f);
}

static void what_was_used_once_stays_longer_than_newer_ones(void **unused)
{
    struct fixture f;
    fixture_init(&f, 20);
    add_range(&f, 0, 20);
    touch(&f, 0); /* three times is no better: in the main queue it begins anew */
    touch(&f, 0);
    touch(&f, 0);
    touch(&f, 7);
    const int order[] = {1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 0, 7};
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(evict_one(&f), order[i]);
    }
    fixture_deinit(&f);
}

static void up_to_three_uses_are_counted(void **unused)
{
    struct fixture f;
    fixture_init(&f, 10);
    fill_main(&f, 5);
    const uint32_t uses[] = {300, 3, 2, 0, 1};
    for (uint32_t i = 0; i < 5; i++) {
        for (uint32_t k = 0; k < uses[i]; k++) {
            touch(&f, i);
        }
    }
    const int order[] = {3, 4, 2, 0, 1}; /* 0 and 1 are equally worth: the older one first */
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(evict_one(&f), order[i]);
    }
    fixture_deinit(&f);
}

static void the_new_ones_have_a_tenth_of_the_bytes(void **unused)
{
    struct {
        uint32_t size; /* of the new one; 9 entries of 100 bytes are in the main queue */
        int goes;
    } rows[] = {{99, 0}, {50, 0}, {100, 9}, {5000, 9}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture f;
        fixture_init(&f, 10);
        fill_main(&f, 9);
        f.entries[9].hash = 12345; /* another key: not a ghost */
        f.entries[9].key_len = rows[i].size;
        add(&f, 9);
        assert_int_equal(evict_one(&f), rows[i].goes);
        fixture_deinit(&f);
    }
}

/* ---- Entries that become dirty ---- */

static void any_entry_can_be_removed_also_the_next_to_go(void **unused)
{
    for (uint32_t gone = 0; gone < 12; gone++) {
        struct fixture f;
        fixture_init(&f, 12);
        fill_main(&f, 6);
        for (uint32_t i = 6; i < 12; i++) {
            f.entries[i].hash += 999; /* of the one that fill_main used: another key */
            add(&f, i);
        }
        take_out(&f, gone);
        bool seen[12] = {false};
        for (uint32_t i = 0; i < 11; i++) {
            int went = evict_one(&f);
            assert_true(went >= 0 && (uint32_t)went != gone && !seen[went]);
            seen[went] = true;
        }
        assert_int_equal(evict_one(&f), -1);
        fixture_deinit(&f);
    }
}

static void an_entry_that_comes_back_clean_is_worth_what_it_was(void **unused)
{
    struct fixture f;
    fixture_init(&f, 100);
    fill_main(&f, 9);
    touch(&f, 3);
    take_out(&f, 3); /* dirty */
    take_out(&f, 4);
    f.entries[3].key_len = 50; /* with another value */
    add(&f, 3);
    add(&f, 4);
    add_range(&f, 20, 100);
    for (int i = 20; i < 100; i++) {
        assert_int_equal(evict_one(&f), i);
    }
    const int order[] = {0, 1, 2, 5, 6, 7, 8, 4, 3};
    for (uint32_t i = 0; i < 9; i++) {
        assert_int_equal(evict_one(&f), order[i]);
    }
    fixture_deinit(&f);
}

static void uses_while_dirty_count(void **unused)
{
    struct fixture f;
    fixture_init(&f, 20);
    add_range(&f, 0, 20);
    take_out(&f, 0);
    touch(&f, 0);
    add(&f, 0);
    for (int i = 1; i < 20; i++) {
        assert_int_equal(evict_one(&f), i);
    }
    assert_int_equal(evict_one(&f), 0);
    fixture_deinit(&f);
}

/* ---- Ghosts ---- */

static void what_comes_back_soon_after_it_went_stays(void **unused)
{
    enum { HELD = 1000, BACK = 500, LATER = 5000 };
    struct fixture f;
    fixture_init(&f, HELD + BACK + LATER);
    add_range(&f, 0, HELD);
    for (uint32_t i = 0; i < BACK; i++) {
        assert_int_equal(evict_one(&f), i);
        add(&f, HELD + i);
    }
    /* They come back, nobody uses them again, and others come and go. */
    for (uint32_t i = 0; i < BACK; i++) {
        assert_true(evict_one(&f) >= BACK);
        add(&f, i);
    }
    uint32_t lost = 0;
    for (uint32_t i = HELD + BACK; i < HELD + BACK + LATER; i++) {
        lost += evict_one(&f) < BACK;
        add(&f, i);
    }
    assert_in_range(lost, 0, BACK / 50); /* some buckets overflowed */
    fixture_deinit(&f);
}

static void what_comes_back_late_is_new_again(void **unused)
{
    struct fixture f;
    fixture_init(&f, 20000);
    add_range(&f, 0, 1000);
    assert_int_equal(evict_one(&f), 0);
    for (uint32_t i = 1000; i < 10000; i++) {
        add(&f, i);
        assert_true(evict_one(&f) >= 0);
    }
    add(&f, 0);
    uint32_t rounds = 0;
    for (int went = -1; went != 0; rounds++) {
        add(&f, 10000 + rounds);
        went = evict_one(&f);
    }
    assert_int_equal(rounds, 1000); /* in its turn, after the 999 others that were there before it */
    fixture_deinit(&f);
}

static void the_memory_for_ghosts_is_bounded_and_given_back(void **unused)
{
    struct fixture f;
    fixture_init(&f, 30000);
    uint64_t empty = evict_bytes(f.v);
    uint64_t most = 0;
    for (uint32_t held = 20000; held > 0; held = held * 2 / 3) {
        uint32_t next = 0;
        add_range(&f, 0, held);
        for (uint32_t i = 0; i < 2 * held && i < 10000; i++) {
            next = (uint32_t)evict_one(&f);
            assert_true(evict_bytes(f.v) <= empty + EVICT_ENTRY_BYTES_MAX * (uint64_t)held);
            if (evict_bytes(f.v) - empty > most) {
                most = evict_bytes(f.v) - empty;
            }
            add(&f, next);
        }
        for (uint32_t left = held; left > 0; left--) {
            assert_true(evict_one(&f) >= 0);
            assert_true(evict_bytes(f.v) <= empty + EVICT_ENTRY_BYTES_MAX * (uint64_t)(left - 1));
        }
        assert_int_equal(evict_bytes(f.v), empty);
    }
    assert_true(most >= 4 * 19000); /* it did remember about as many as it held */
    fixture_deinit(&f);
}

static void the_memory_for_ghosts_grows_with_what_is_held(void **unused)
{
    struct fixture f;
    fixture_init(&f, 10000);
    uint64_t empty = evict_bytes(f.v);
    add_range(&f, 0, 100);
    assert_int_equal(evict_one(&f), 0);
    assert_in_range(evict_bytes(f.v), empty + 4 * 80, empty + 4 * 100);
    add_range(&f, 100, 10000);
    assert_int_equal(evict_one(&f), 1);
    assert_in_range(evict_bytes(f.v), empty + 4 * 9000, empty + 4 * 10000);
    fixture_deinit(&f);
}

/* ---- Properties ---- */

/* The used ones are used so seldom that several times as much as all that is held is scanned in between: to a
 * queue in the order of use they look no better than what is scanned. How many of them does the scan push
 * out? */
static uint32_t scan(uint32_t distance_of_used)
{
    enum { HELD = 2000, USED = 500, SCANNED = 200000, USE_EVERY = 16 };
    struct fixture f;
    fixture_init(&f, HELD + SCANNED);
    uint64_t random = 7;
    add_range(&f, 0, HELD);
    for (uint32_t i = 0; i < USED; i++) {
        touch(&f, i * distance_of_used);
    }
    uint32_t lost = 0;
    for (uint32_t i = HELD; i < HELD + SCANNED; i++) {
        add(&f, i);
        uint32_t went = (uint32_t)evict_one(&f);
        lost += went % distance_of_used == 0 && went / distance_of_used < USED;
        uint32_t used = (uint32_t)(next_random(&random) % USED) * distance_of_used;
        if (i % USE_EVERY == 0 && f.entries[used].evict_queue != 0) {
            touch(&f, used);
        }
    }
    fixture_deinit(&f);
    return lost;
}

static void a_scan_pushes_out_nothing_that_is_used(void **unused)
{
    assert_int_equal(scan(4), 0);
    /* One behind another they exhaust the looks of some choices, each of which takes one of them. */
    assert_in_range(scan(1), 0, 500 / (EVICT_LOOKS_MAX - 1));
}

/* Everything was used: neither does one choice look at all of it, nor does the work grow in the end. */
static void no_choice_looks_at_more_than_a_few(void **unused)
{
    enum { N = 50000 };
    struct fixture f;
    fixture_init(&f, N);
    add_range(&f, 0, N);
    for (uint32_t i = 0; i < N; i++) {
        touch(&f, i);
        touch(&f, i);
        touch(&f, i);
    }
    uint64_t all = 0;
    for (uint32_t i = 0; i < N; i++) {
        sizes_asked = 0;
        assert_true(evict_one(&f) >= 0);
        assert_true(sizes_asked < EVICT_LOOKS_MAX);
        all += sizes_asked;
    }
    assert_true(all > 0 && all <= 4 * N); /* each look that evicts nothing takes at least one of the uses */
    assert_int_equal(evict_one(&f), -1);
    fixture_deinit(&f);
}

/* What the policy must hold, known from outside. */
struct model {
    bool held[3000];
    uint32_t n;
};

static void model_step(struct fixture *f, struct model *m, uint64_t random)
{
    uint32_t i = (uint32_t)(random >> 32) % f->n;
    switch (random % 8) {
    case 0:
    case 1:
    case 2:
        if (!m->held[i]) {
            if (f->entries[i].evict_queue == 0) {
                f->entries[i].key_len = 1 + (uint32_t)(random >> 8) % 1000;
            }
            add(f, i);
            m->held[i] = true;
            m->n++;
        }
        break;
    case 3:
        if (m->held[i]) {
            take_out(f, i);
            m->held[i] = false;
            m->n--;
            if ((random >> 20) % 2 == 0) { /* deleted; else it was written and comes back */
                make_new(f, i);
            }
        }
        break;
    case 4:
    case 5:
        touch(f, i);
        break;
    default: {
        /* As many evictions as additions, in bursts that empty it now and then. */
        uint32_t burst = (random >> 16) % 1000 == 0 ? m->n + 1 : 1;
        for (uint32_t k = 0; k < burst; k++) {
            int went = evict_one(f);
            assert_int_equal(went == -1, m->n == 0);
            if (went >= 0) {
                assert_true(m->held[went]);
                m->held[went] = false;
                m->n--;
            }
        }
    }
    }
}

static void no_entry_is_lost_or_chosen_twice(void **unused)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct fixture f;
        struct model m = {0};
        fixture_init(&f, 3000);
        uint64_t empty = evict_bytes(f.v);
        uint64_t random = seed;
        print_message("seed %u\n", (unsigned)seed);
        for (uint32_t step = 0; step < 50000; step++) {
            model_step(&f, &m, next_random(&random));
            assert_true(evict_bytes(f.v) <= empty + m.n * EVICT_ENTRY_BYTES_MAX);
        }
        while (m.n > 0) {
            int went = evict_one(&f);
            assert_true(went >= 0 && m.held[went]);
            m.held[went] = false;
            m.n--;
        }
        assert_int_equal(evict_one(&f), -1);
        assert_int_equal(evict_bytes(f.v), empty);
        fixture_deinit(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_chosen_when_nothing_is_held),
        cmocka_unit_test(what_nobody_uses_goes_in_the_order_in_which_it_came),
        cmocka_unit_test(what_was_used_once_stays_longer_than_newer_ones),
        cmocka_unit_test(up_to_three_uses_are_counted),
        cmocka_unit_test(the_new_ones_have_a_tenth_of_the_bytes),
        cmocka_unit_test(any_entry_can_be_removed_also_the_next_to_go),
        cmocka_unit_test(an_entry_that_comes_back_clean_is_worth_what_it_was),
        cmocka_unit_test(uses_while_dirty_count),
        cmocka_unit_test(what_comes_back_soon_after_it_went_stays),
        cmocka_unit_test(what_comes_back_late_is_new_again),
        cmocka_unit_test(the_memory_for_ghosts_is_bounded_and_given_back),
        cmocka_unit_test(the_memory_for_ghosts_grows_with_what_is_held),
        cmocka_unit_test(a_scan_pushes_out_nothing_that_is_used),
        cmocka_unit_test(no_choice_looks_at_more_than_a_few),
        cmocka_unit_test(no_entry_is_lost_or_chosen_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
