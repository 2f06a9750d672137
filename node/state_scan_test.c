/* Scanning a table that changes between the calls. */
#include "node/state_test_help.h"

#include "node/state_table.h"

enum { KEYS_MAX = 40000 };

struct fixture {
    struct state s;
    uint32_t seen[KEYS_MAX]; /* by key: how often it was visited */
    uint64_t visits;
};

static struct bytes number_key(uint32_t i, char room[16])
{
    return bytes_of(room, (size_t)snprintf(room, 16, "%" PRIu32, i));
}

static void insert(struct state *s, uint32_t i)
{
    char room[16];
    state_put_clean(s, number_key(i, room), VALUE_STRING, text_value("v"), 1, 0);
}

static void erase(struct state *s, uint32_t i)
{
    char room[16];
    state_forget(s, state_find(s, number_key(i, room)));
}

static void see(void *data, const struct state_entry *e)
{
    struct fixture *f = data;
    char text[16] = "";
    assert_true(e->key_len < sizeof text && state_entry_present(e));
    memcpy(text, e->key, e->key_len);
    unsigned long i = strtoul(text, NULL, 10);
    assert_true(i < KEYS_MAX);
    f->seen[i]++;
    f->visits++;
}

static int make_fixture(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    state_init(&f->s, 77);
    *state = f;
    return 0;
}

static int free_fixture(void **state)
{
    struct fixture *f = *state;
    state_deinit(&f->s);
    free(f);
    return 0;
}

static uint64_t scan(struct fixture *f, uint64_t cursor, uint32_t looks)
{
    return state_scan(&f->s, cursor, looks, see, f);
}

/* From the start to the end, with nothing in between. Returns the calls. */
static uint64_t scan_all(struct fixture *f, uint32_t looks)
{
    memset(f->seen, 0, sizeof f->seen);
    uint64_t calls = 0;
    uint64_t cursor = 0;
    do {
        f->visits = 0;
        cursor = scan(f, cursor, looks);
        calls++;
    } while (cursor != 0);
    return calls;
}

static void a_scan_of_an_empty_state_ends(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(scan(f, 0, UINT32_MAX), 0);
    assert_true(scan_all(f, 1) <= STATE_TABLE_BUCKETS_MIN);
    assert_true(scan_all(f, 0) <= STATE_TABLE_BUCKETS_MIN);
    assert_int_equal(f->visits, 0);
}

static void a_scan_visits_every_present_key_once_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    for (uint32_t n = 0; n < 3000; n += 1 + n / 4) {
        for (uint32_t i = (uint32_t)f->s.entries; i < n; i++) {
            insert(&f->s, i);
        }
        for (uint32_t looks = 1; looks <= 1000; looks *= 10) {
            scan_all(f, looks);
            for (uint32_t i = 0; i < KEYS_MAX; i++) {
                assert_int_equal(f->seen[i], i < n);
            }
        }
    }
}

static void tombstones_and_absences_are_not_visited(void **state)
{
    struct fixture *f = *state;
    put(&f->s, 1, "1", "dirty");
    put(&f->s, 2, "2", NULL);
    put_absent(&f->s, "3");
    put_clean(&f->s, "4", "clean");
    begin(&f->s, 5);
    put(&f->s, 6, "5", NULL);
    put(&f->s, 7, "6", "dirty");
    assert_int_equal(scan(f, 0, UINT32_MAX), 0);
    const uint32_t want[] = {0, 1, 0, 0, 1, 0, 1, 0};
    assert_memory_equal(f->seen, want, sizeof want);
}

static void a_call_takes_no_more_looks_than_asked_and_a_last_chain(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 20000; i++) {
        insert(&f->s, i);
        if (i % 501 != 0) {
            continue;
        }
        for (uint32_t looks = 1; looks <= 1000; looks *= 10) {
            f->visits = 0;
            scan(f, 0, looks);
            assert_true(f->visits < looks + 40); /* two chains: 20 of one bucket at load 1 do not happen */
        }
    }
}

/* Every look is an entry or an empty bucket, and an entry of the smaller array is looked at once for each
 * bucket of the bigger one that covers its own: four after shrinking. */
static uint64_t calls_max(const struct state_table *t, uint32_t looks)
{
    return (t->main.count + t->old.count + 4 * (t->main.count + t->old.count) +
               4 * (t->main.used + t->old.used)) /
               looks +
           1;
}

static void the_number_of_calls_is_bounded_by_the_table(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 20000; i++) {
        insert(&f->s, i);
        if (i % 1001 == 0) {
            assert_true(scan_all(f, 100) <= calls_max(f->s.table, 100));
        }
    }
    bool resizing = false;
    for (uint32_t i = 0; i < 20000; i++) {
        erase(&f->s, i);
        resizing = resizing || f->s.table->old.heads != NULL;
        if (i % 1001 == 0) {
            assert_true(scan_all(f, 100) <= calls_max(f->s.table, 100));
        }
    }
    assert_true(resizing);
}

static uint64_t next_random(uint64_t *random)
{
    uint64_t z = (*random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* What a run of scans met: a test of resizes must have had some. */
struct tally {
    uint64_t calls_amid_growth, calls_amid_shrinking; /* with two arrays */
    uint64_t scans_over_growth,
        scans_over_shrinking; /* the table's size changed between the first and last call */
    uint64_t stayed;          /* keys that were there throughout, over all scans */
};

struct keys {
    bool present[KEYS_MAX];
    bool stayed[KEYS_MAX];   /* since the scan's first call */
    uint32_t came[KEYS_MAX]; /* how often since then */
};

/* One key more or less: mostly towards @goal keys. Keys below @kept are never taken out. */
static void change(struct fixture *f, struct keys *k, uint64_t *random, uint64_t goal, uint32_t kept)
{
    bool more = f->s.entries < goal;
    more = next_random(random) % 8 == 0 ? !more : more;
    uint32_t key = (uint32_t)(next_random(random) % KEYS_MAX);
    for (uint32_t tries = 0; tries < 64 && k->present[key] == more; tries++) {
        key = (key + 1) % KEYS_MAX;
    }
    if (k->present[key] == more || (!more && key < kept)) {
        return;
    }
    if (more) {
        insert(&f->s, key);
        k->came[key]++;
    } else {
        erase(&f->s, key);
        k->stayed[key] = false;
    }
    k->present[key] = more;
}

/* One scan while keys come and go between its calls. Who is there from the first call to the last is seen
 * exactly once; who comes meanwhile is seen at most once for each time it came. */
static void scan_among_changes(struct fixture *f, struct keys *k, uint64_t *random, struct tally *tally)
{
    const struct state_table *t = f->s.table;
    memcpy(k->stayed, k->present, sizeof k->stayed);
    memset(k->came, 0, sizeof k->came);
    memset(f->seen, 0, sizeof f->seen);
    uint32_t looks = 1 + (uint32_t)(next_random(random) % (t->main.count / 4));
    uint32_t kept = (uint32_t)(next_random(random) % 1000);
    uint64_t goal = 0;
    size_t least = t->main.count;
    size_t most = least;
    uint64_t cursor = 0;
    uint64_t calls = 0;
    do {
        tally->calls_amid_growth += t->old.count != 0 && t->old.count < t->main.count;
        tally->calls_amid_shrinking += t->old.count > t->main.count;
        cursor = scan(f, cursor, looks);
        assert_true(++calls <= (5 * (65536 + 65536) + 4 * KEYS_MAX) / looks + 1); /* at the table's largest */
        if (calls == 1 || next_random(random) % 8 == 0) {
            goal = next_random(random) % (UINT64_C(32) << next_random(random) % 11);
        }
        for (uint64_t n = next_random(random) % (f->s.entries / 4 + 64); n > 0 && cursor != 0; n--) {
            change(f, k, random, goal, kept);
        }
        least = t->main.count < least ? t->main.count : least;
        most = t->main.count > most ? t->main.count : most;
        tally->scans_over_growth += cursor == 0 && t->main.count > least;
        tally->scans_over_shrinking += cursor == 0 && t->main.count < most;
    } while (cursor != 0);
    for (uint32_t i = 0; i < KEYS_MAX; i++) {
        assert_true(!k->stayed[i] || f->seen[i] == 1);
        assert_true(f->seen[i] <= 1 + k->came[i]);
        tally->stayed += k->stayed[i];
    }
}

static void who_stays_is_seen_once_however_the_table_grows_and_shrinks(void **state)
{
    struct fixture *f = *state;
    struct keys *k = calloc(1, sizeof *k);
    assert_non_null(k);
    struct tally tally = {0};
    uint64_t random = 2024;
    for (uint32_t n = 0; n < 1000; n++) {
        scan_among_changes(f, k, &random, &tally);
        if (n % 20 == 0) {
            state_check_invariants(&f->s);
        }
    }
    assert_true(tally.calls_amid_growth > 100 && tally.calls_amid_shrinking > 100);
    assert_true(tally.scans_over_growth > 50 && tally.scans_over_shrinking > 50);
    assert_true(tally.stayed > 100000);
    free(k);
}

/* All of the sizes that a table goes through, up and down, within one scan each. */
static void a_scan_goes_on_over_many_resizes(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 100; i++) {
        insert(&f->s, i);
    }
    uint32_t high = 100;
    memset(f->seen, 0, sizeof f->seen);
    size_t least = f->s.table->main.count;
    uint64_t cursor = 0;
    uint64_t calls = 0;
    do { /* growing */
        cursor = scan(f, cursor, 64);
        assert_true(++calls < 10000);
        for (uint32_t n = 0; n < 1000 && high < KEYS_MAX; n++) {
            insert(&f->s, high++);
        }
    } while (cursor != 0);
    size_t most = f->s.table->main.count;
    assert_true(most >= 256 * least);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(f->seen[i], 1);
    }
    memset(f->seen, 0, sizeof f->seen);
    do { /* shrinking */
        cursor = scan(f, cursor, 200);
        for (uint32_t n = 0; n < 1000 && high > 100; n++) {
            erase(&f->s, --high);
        }
    } while (cursor != 0);
    assert_true(f->s.table->main.count <= most / 64);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(f->seen[i], 1);
    }
}

static void any_number_is_a_cursor(void **state)
{
    struct fixture *f = *state;
    const uint64_t edges[] = {
        1, 2, UINT64_MAX, UINT64_MAX - 1, UINT64_C(1) << 63, (UINT64_C(1) << 63) - 1, UINT64_MAX << 32};
    uint64_t random = 5;
    for (uint32_t i = 0; i < 5000; i++) {
        insert(&f->s, i);
        if (i % 16 >= 8) {
            continue;
        }
        uint64_t cursor = i % 8 < 7 ? edges[i % 8] : next_random(&random);
        uint64_t calls = 0;
        memset(f->seen, 0, 5000 * sizeof f->seen[0]);
        do {
            uint64_t next = scan(f, cursor, 1000);
            assert_true(next == 0 || next > cursor); /* so it comes to an end */
            assert_true(++calls <= calls_max(f->s.table, 1000));
            cursor = next;
        } while (cursor != 0);
        for (uint32_t k = 0; k <= i; k += 97) {
            assert_true(f->seen[k] <= 1);
        }
    }
    assert_int_equal(scan(f, UINT64_MAX, 1), 0);
}

/* A restore replaces the table, and keeps the seed: a scan under way finds what is in both. */
static void a_scan_goes_on_after_a_restore(void **state)
{
    struct fixture *f = *state;
    char room[16];
    at(&f->s, 1);
    for (uint32_t i = 0; i < 3000; i++) {
        state_apply_write(&f->s, i, number_key(i, room), VALUE_STRING, text_value("v"), 0);
    }
    for (uint32_t i = 3000; i < 30000; i++) {
        insert(&f->s, i); /* these go, so the table is a smaller one then */
    }
    struct buf raw;
    buf_init(&raw);
    state_snapshot(&f->s, &raw);
    uint64_t cursor = scan(f, 0, 9000);
    assert_true(cursor != 0);
    assert_int_equal(state_restore(&f->s, buf_bytes(&raw)), STATUS_OK);
    assert_int_equal(f->s.entries, 3000);
    while (cursor != 0) {
        cursor = scan(f, cursor, 100);
    }
    for (uint32_t i = 0; i < 3000; i++) {
        assert_int_equal(f->seen[i], 1);
    }
    buf_deinit(&raw);
}

int main(void)
{
#define SCAN_TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        SCAN_TEST(a_scan_of_an_empty_state_ends),
        SCAN_TEST(a_scan_visits_every_present_key_once_and_nothing_else),
        SCAN_TEST(tombstones_and_absences_are_not_visited),
        SCAN_TEST(a_call_takes_no_more_looks_than_asked_and_a_last_chain),
        SCAN_TEST(the_number_of_calls_is_bounded_by_the_table),
        SCAN_TEST(who_stays_is_seen_once_however_the_table_grows_and_shrinks),
        SCAN_TEST(a_scan_goes_on_over_many_resizes),
        SCAN_TEST(any_number_is_a_cursor),
        SCAN_TEST(a_scan_goes_on_after_a_restore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
