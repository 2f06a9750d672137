/* Transactions: the database gets what one wrote with one batch, whatever the limits. */
#include "node/state_test_help.h"

static void start(struct state *s)
{
    state_init(s, 1);
    state_apply_retention(s, 1000000, UINT64_MAX);
}

/* Write @keys, a letter each, with one transaction. */
static void put_together(struct state *s, uint64_t index, const char *keys)
{
    at(s, index);
    for (uint32_t i = 0; keys[i] != '\0'; i++) {
        state_apply_write(s, i, bytes_of(&keys[i], 1), VALUE_STRING, text_value("1"), 0);
    }
    for (uint32_t i = 0; keys[i] != '\0'; i++) {
        state_apply_tie(s, bytes_of(&keys[i], 1));
    }
}

static bool begin_rows(struct state *s, uint64_t index, uint32_t rows_max)
{
    at(s, index);
    return state_apply_flush_begin(s, rows_max, UINT64_MAX) != NULL;
}

static bool begin_bytes(struct state *s, uint64_t index, uint64_t bytes_max)
{
    at(s, index);
    return state_apply_flush_begin(s, UINT32_MAX, bytes_max) != NULL;
}

static bool begin_cut(struct state *s, uint64_t index, uint32_t rows_max, uint64_t bytes_max)
{
    at(s, index);
    return state_apply_flush_begin_cut(s, rows_max, bytes_max) != NULL;
}

static bool refuse(struct state *s, uint64_t index, uint64_t batch, const char *key)
{
    at(s, index);
    return state_apply_quarantine(s, batch, bytes_from_text(key), "23514", "violates check");
}

static bool retry(struct state *s, uint64_t index, const char *key)
{
    struct bytes keys[] = {bytes_from_text(key)};
    at(s, index);
    return state_apply_flush_retry(s, keys, 1) != NULL;
}

static bool rewind_to(struct state *s, uint64_t index, uint64_t last_batch)
{
    at(s, index);
    return state_apply_rewind(s, last_batch);
}

/* ---- Where a batch ends ---- */

static void the_keys_of_a_transaction_are_in_one_batch_whatever_the_limits(void **unused)
{
    (void)unused;
    for (int by_bytes = 0; by_bytes < 2; by_bytes++) {
        struct state s;
        start(&s);
        put_together(&s, 1, "ab");
        put(&s, 2, "c", "1");
        assert_int_equal(s.tied, 2);
        assert_true(by_bytes ? begin_bytes(&s, 3, 1) : begin_rows(&s, 3, 1));
        assert_flush(&s, "[3: a@1 b@1] c@2");
        assert_int_equal(s.tied, 0);
        state_deinit(&s);
    }
}

static void who_allows_no_row_gets_no_batch(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put_together(&s, 1, "ab");
    assert_false(begin_rows(&s, 2, 0));
    assert_flush(&s, "a@1 b@1");
    state_deinit(&s);
}

/* Each row is of 2 bytes. */
static void a_batch_ends_before_a_transaction_that_it_cannot_hold(void **unused)
{
    (void)unused;
    static const struct {
        uint64_t rows_max;
        const char *want;
    } rows[] = {
        {1, "[5: x@1] y@2 a@3 b@3 z@4"},
        {2, "[5: x@1 y@2] a@3 b@3 z@4"},
        {3, "[5: x@1 y@2] a@3 b@3 z@4"},
        {4, "[5: x@1 y@2 a@3 b@3] z@4"},
        {5, "[5: x@1 y@2 a@3 b@3 z@4]"},
        {100, "[5: x@1 y@2 a@3 b@3 z@4]"},
    };
    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        struct state s;
        start(&s);
        put(&s, 1, "x", "1");
        put(&s, 2, "y", "1");
        put_together(&s, 3, "ab");
        put(&s, 4, "z", "1");
        uint64_t rows_max = rows[i / 2].rows_max;
        assert_true(i % 2 ? begin_bytes(&s, 5, 2 * rows_max + 1) : begin_rows(&s, 5, (uint32_t)rows_max));
        assert_flush(&s, rows[i / 2].want);
        state_deinit(&s);
    }
}

static void what_waited_before_it_is_cut_like_ever_and_it_is_next(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put(&s, 1, "x", "1");
    put_together(&s, 2, "ab");
    assert_true(begin_rows(&s, 3, 2));
    assert_flush(&s, "[3: x@1] a@2 b@2");
    assert_int_equal(s.tied, 2);
    assert_true(flushed(&s, 4, 3, 0));
    assert_true(begin_rows(&s, 5, 1));
    assert_flush(&s, "[5: a@2 b@2]");
    state_deinit(&s);
}

static void transactions_that_share_keys_go_together(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put_together(&s, 1, "ab");
    put_together(&s, 2, "bc");
    put_together(&s, 3, "cd");
    put_together(&s, 4, "ef");
    assert_true(begin_rows(&s, 5, 1));
    assert_flush(&s, "[5: a@1 b@1 c@2 d@3] e@4 f@4");
    assert_int_equal(s.tied, 2);
    state_deinit(&s);
}

/* Its first_dirty is the older write's, and so is its place. */
static void a_key_that_waited_before_takes_along_what_is_between(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put(&s, 1, "w", "1");
    put(&s, 2, "a", "1");
    put(&s, 3, "x", "1");
    put_together(&s, 4, "ab");
    put(&s, 5, "z", "1");
    assert_true(begin_rows(&s, 6, 2));
    assert_flush(&s, "[6: w@1] a@2 x@3 b@4 z@5");
    assert_true(flushed(&s, 7, 6, 0));
    assert_true(begin_rows(&s, 8, 2));
    assert_flush(&s, "[8: a@2 x@3 b@4] z@5");
    state_deinit(&s);
}

static void a_later_write_alone_does_not_untie(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put_together(&s, 1, "ab");
    put(&s, 2, "a", "2");
    put(&s, 3, "b", NULL);
    assert_int_equal(s.tied, 2);
    assert_true(begin_rows(&s, 4, 1));
    assert_flush(&s, "[4: a@1 b@1]");
    state_deinit(&s);
}

/* The versions of a cluster that adopted a database are high. */
static void a_version_base_makes_no_difference(void **unused)
{
    (void)unused;
    const uint8_t cluster_id[CLUSTER_ID_BYTES] = {1};
    struct state s;
    start(&s);
    at(&s, 1);
    assert_true(state_apply_genesis(&s, cluster_id, 3, UINT64_C(1) << 60));
    put_together(&s, 2, "ab");
    put(&s, 3, "c", "1");
    assert_true(begin_rows(&s, 4, 1));
    assert_flush(&s, "[4: a@2 b@2] c@3");
    state_deinit(&s);
}

/* ---- A batch that may cut ---- */

/* Each row is of 2 bytes. */
static void a_cut_batch_takes_what_its_limits_allow(void **unused)
{
    (void)unused;
    static const struct {
        uint32_t rows_max;
        uint64_t bytes_max;
        const char *want;
        uint64_t tied;
    } rows[] = {
        {1, UINT64_MAX, "[5: x@1] a@2 b@2 c@2 y@3", 3},
        {2, UINT64_MAX, "[5: x@1 a@2] b@2 c@2 y@3", 2},
        {3, UINT64_MAX, "[5: x@1 a@2 b@2] c@2 y@3", 1},
        {4, UINT64_MAX, "[5: x@1 a@2 b@2 c@2] y@3", 0},
        {UINT32_MAX, 1, "[5: x@1] a@2 b@2 c@2 y@3", 3},
        {UINT32_MAX, 4, "[5: x@1 a@2] b@2 c@2 y@3", 2},
        {UINT32_MAX, 7, "[5: x@1 a@2 b@2] c@2 y@3", 1},
        {3, 4, "[5: x@1 a@2] b@2 c@2 y@3", 2},
        {UINT32_MAX, UINT64_MAX, "[5: x@1 a@2 b@2 c@2 y@3]", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct state s;
        start(&s);
        put(&s, 1, "x", "1");
        put_together(&s, 2, "abc");
        put(&s, 3, "y", "1");
        assert_true(begin_cut(&s, 5, rows[i].rows_max, rows[i].bytes_max));
        assert_flush(&s, rows[i].want);
        assert_int_equal(s.tied, rows[i].tied);
        state_deinit(&s);
    }
}

static void what_a_cut_batch_leaves_is_kept_together(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put_together(&s, 1, "abc");
    assert_true(begin_cut(&s, 2, 1, UINT64_MAX));
    assert_flush(&s, "[2: a@1] b@1 c@1");
    assert_false(begin_rows(&s, 3, 1)); /* and waits until nothing is in flight */
    assert_true(begin_cut(&s, 4, 1, UINT64_MAX));
    assert_flush(&s, "[2: a@1] [4: b@1] c@1");
    assert_true(flush_abort(&s, 5, 4));
    assert_true(flushed(&s, 6, 2, 0));
    assert_int_equal(s.tied, 2);
    assert_true(begin_rows(&s, 7, 1));
    assert_flush(&s, "[7: b@1 c@1]");
    assert_int_equal(s.tied, 0);
    state_deinit(&s);
}

static void an_abort_joins_what_was_cut(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put_together(&s, 1, "abc");
    assert_true(begin_cut(&s, 2, 2, UINT64_MAX));
    assert_flush(&s, "[2: a@1 b@1] c@1");
    assert_int_equal(s.tied, 1);
    assert_true(flush_abort(&s, 3, 2));
    assert_flush(&s, "a@1 b@1 c@1");
    assert_int_equal(s.tied, 3);
    assert_true(begin_rows(&s, 4, 1));
    assert_flush(&s, "[4: a@1 b@1 c@1]");
    state_deinit(&s);
}

static void a_cut_batch_ends_before_a_key_that_is_in_flight(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put(&s, 1, "b", "1");
    begin(&s, 2);
    put_together(&s, 3, "abc");
    assert_true(begin_cut(&s, 4, UINT32_MAX, UINT64_MAX));
    assert_flush(&s, "[2: b@1] [4: a@3] b@3 c@3");
    assert_int_equal(s.tied, 2);
    assert_false(begin_cut(&s, 5, UINT32_MAX, UINT64_MAX));
    state_deinit(&s);
}

/* ---- While something is in flight ---- */

static void nothing_begins_while_another_batch_is_in_flight(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put(&s, 1, "w", "1");
    begin(&s, 2);
    put(&s, 3, "x", "1");
    put_together(&s, 4, "ab");
    assert_null(begin(&s, 5));
    assert_flush(&s, "[2: w@1] x@3 a@4 b@4");
    assert_true(flushed(&s, 6, 2, 0));
    assert_non_null(begin(&s, 7));
    assert_flush(&s, "[7: x@3 a@4 b@4]");
    put(&s, 8, "y", "1"); /* tied is what is in the queue: what is in flight holds nobody up */
    assert_non_null(begin(&s, 9));
    assert_flush(&s, "[7: x@3 a@4 b@4] [9: y@8]");
    state_deinit(&s);
}

static void nothing_begins_while_one_of_the_keys_is_in_flight(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put(&s, 1, "b", "1");
    begin(&s, 2);
    put_together(&s, 3, "ab");
    assert_null(begin(&s, 4));
    assert_flush(&s, "[2: b@1] a@3 b@3");
    assert_true(flushed(&s, 5, 2, 0));
    assert_true(begin_rows(&s, 6, 1));
    assert_flush(&s, "[6: a@3 b@3]");
    state_deinit(&s);
}

static void an_abort_gives_the_tie_back(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put_together(&s, 1, "ab");
    begin(&s, 2);
    put(&s, 3, "b", "2"); /* it has two places, of which the queue's is not tied */
    assert_int_equal(s.tied, 0);
    assert_true(flush_abort(&s, 4, 2));
    assert_flush(&s, "a@1 b@1");
    assert_int_equal(s.tied, 2);
    assert_true(begin_rows(&s, 5, 1));
    assert_flush(&s, "[5: a@1 b@1]");
    state_deinit(&s);
}

static void an_abort_keeps_the_tie_of_what_was_written_meanwhile(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put(&s, 1, "a", "1");
    begin(&s, 2);
    put(&s, 3, "x", "1");
    put_together(&s, 4, "ab");
    assert_true(flush_abort(&s, 5, 2));
    assert_flush(&s, "a@1 x@3 b@4");
    assert_int_equal(s.tied, 2);
    assert_true(begin_rows(&s, 6, 1));
    assert_flush(&s, "[6: a@1 x@3 b@4]");
    state_deinit(&s);
}

static void what_is_in_the_database_is_not_tied_any_more(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put_together(&s, 1, "ab");
    begin(&s, 2);
    assert_true(flushed(&s, 3, 2, 0));
    put(&s, 4, "a", "2");
    put(&s, 5, "b", "2");
    assert_int_equal(s.tied, 0);
    assert_true(begin_rows(&s, 6, 1));
    assert_flush(&s, "[6: a@4] b@5");
    assert_true(flush_abort(&s, 7, 6));
    assert_int_equal(s.tied, 0);
    state_deinit(&s);
}

/* ---- The most that is kept together ---- */

/* Keys "000".. with values that make each row @row_bytes; from the one numbered @tied_from on they are tied.
 * They share one value. */
static void put_large_from(
    struct state *s, uint64_t index, uint32_t n, uint32_t row_bytes, uint32_t tied_from)
{
    uint8_t *content = calloc(1, row_bytes);
    assert_non_null(content);
    at(s, index);
    for (uint32_t i = 0; i < n; i++) {
        char key[16];
        struct bytes name = bytes_of(key, (size_t)snprintf(key, sizeof key, "%03" PRIu32, i));
        struct value *value =
            i == 0 ? value_create(bytes_of(content, row_bytes - name.len)) : value_ref(find(s, "000")->value);
        state_apply_write(s, i, name, VALUE_STRING, value, 0);
        if (i >= tied_from) {
            state_apply_tie(s, name);
        }
    }
    free(content);
}

static void put_large(struct state *s, uint64_t index, uint32_t n, uint32_t row_bytes)
{
    put_large_from(s, index, n, row_bytes, 0);
}

static void more_bytes_than_are_kept_together_are_cut(void **unused)
{
    (void)unused;
    enum { MORE = 2, FIT = STATE_WHOLE_BYTES_MAX / LIMIT_VALUE_BYTES };
    struct state s;
    start(&s);
    put_large(&s, 1, FIT + MORE, LIMIT_VALUE_BYTES);
    assert_true(begin_rows(&s, 2, 1));
    state_check_invariants(&s);
    assert_int_equal(s.batched_entries, FIT);
    assert_int_equal(s.tied, MORE);
    assert_true(flushed(&s, 3, 2, 0));
    assert_true(begin_rows(&s, 4, 1));
    assert_int_equal(s.batched_entries, MORE);
    assert_int_equal(s.queued_entries, 0);
    state_deinit(&s);
}

static void a_byte_more_than_is_kept_together_is_cut(void **unused)
{
    (void)unused;
    enum { ROWS = STATE_WHOLE_BYTES_MAX / LIMIT_VALUE_BYTES };
    for (uint32_t more = 0; more < 2; more++) {
        struct state s;
        start(&s);
        put_large(&s, 1, ROWS, LIMIT_VALUE_BYTES - 1);
        assert_true(s.dirty_bytes == STATE_WHOLE_BYTES_MAX - ROWS);
        char last[2 * ROWS] = ""; /* one more row makes it full, or one byte too much */
        memset(last, 'x', ROWS - 1 + more);
        at(&s, 2);
        state_apply_write(&s, 0, bytes_from_text("z"), VALUE_STRING, text_value(last), 0);
        state_apply_write(&s, 1, bytes_from_text("000"), VALUE_STRING, value_ref(find(&s, "001")->value), 0);
        state_apply_tie(&s, bytes_from_text("z"));
        assert_true(begin_rows(&s, 3, 1));
        assert_int_equal(s.batched_entries, ROWS + 1 - more);
        assert_int_equal(s.tied, more);
        state_deinit(&s);
    }
}

/* The limits come first: what fills them is left for the next batch. */
static void what_waits_before_too_large_a_transaction_goes_alone(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put(&s, 1, "w", "1");
    put_large(&s, 2, 130, LIMIT_VALUE_BYTES);
    at(&s, 3);
    assert_non_null(state_apply_flush_begin(&s, UINT32_MAX, STATE_WHOLE_BYTES_MAX));
    assert_int_equal(s.batched_entries, 1);
    assert_non_null(find(&s, "w")->batch);
    state_deinit(&s);
}

/* Though the limits would allow a row more, of a transaction that does not fit. */
static void what_is_too_much_to_be_kept_together_is_not_cut_where_it_need_not(void **unused)
{
    (void)unused;
    enum { FIT = STATE_WHOLE_BYTES_MAX / LIMIT_VALUE_BYTES, BEFORE = FIT - 1, TOGETHER = 2 };
    struct state s;
    start(&s);
    put_large_from(&s, 1, BEFORE + TOGETHER, LIMIT_VALUE_BYTES, BEFORE);
    assert_int_equal(s.tied, TOGETHER);
    assert_true(begin_rows(&s, 2, UINT32_MAX));
    assert_int_equal(s.batched_entries, BEFORE);
    assert_int_equal(s.tied, TOGETHER);
    assert_true(flushed(&s, 3, 2, 0));
    assert_true(begin_rows(&s, 4, 1));
    assert_int_equal(s.batched_entries, TOGETHER);
    state_deinit(&s);
}

/* Each entry ties its rows to those of the one before, by one key. */
static void more_rows_than_are_kept_together_are_cut(void **unused)
{
    (void)unused;
    enum { MORE = 3 };
    struct state s;
    start(&s);
    uint64_t index = 0;
    for (uint32_t n = 0; n < STATE_WHOLE_ROWS_MAX + MORE; n++) {
        if (n % LIMIT_ENTRY_WRITES == 0) {
            at(&s, ++index);
            state_apply_write(&s, 0, bytes_of("\0\0\0\0", 4), VALUE_STRING, NULL, 0);
            state_apply_tie(&s, bytes_of("\0\0\0\0", 4));
        }
        uint32_t ordinal = 1 + n % LIMIT_ENTRY_WRITES;
        state_apply_write(&s, ordinal, bytes_of(&n, sizeof n), VALUE_STRING, NULL, 0);
        state_apply_tie(&s, bytes_of(&n, sizeof n));
    }
    assert_int_equal(s.tied, STATE_WHOLE_ROWS_MAX + MORE);
    assert_true(begin_rows(&s, index + 1, 1));
    assert_int_equal(s.batched_entries, STATE_WHOLE_ROWS_MAX);
    assert_int_equal(s.tied, MORE);
    state_deinit(&s);
}

/* ---- Quarantine ---- */

static void what_is_refused_is_not_tied_and_the_other_keys_are(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put_together(&s, 1, "abc");
    begin(&s, 2);
    assert_true(refuse(&s, 3, 2, "a"));
    assert_int_equal(s.tied, 0);
    assert_true(flush_abort(&s, 4, 2));
    assert_flush(&s, "b@1 c@1");
    assert_int_equal(s.tied, 2);
    put_together(&s, 5, "ad"); /* the first one's value waits in the quarantine */
    assert_int_equal(s.tied, 3);
    assert_true(begin_rows(&s, 6, 1));
    assert_flush(&s, "[6: b@1 c@1] d@5");
    state_deinit(&s);
}

static void what_was_written_again_before_it_is_refused_is_not_tied(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put(&s, 1, "a", "1");
    begin(&s, 2);
    put_together(&s, 3, "ab");
    assert_int_equal(s.tied, 2);
    assert_true(refuse(&s, 4, 2, "a"));
    assert_flush(&s, "[2:] b@3");
    assert_int_equal(s.tied, 1);
    assert_true(flushed(&s, 5, 2, 0));
    assert_true(begin_rows(&s, 6, 1));
    assert_flush(&s, "[6: b@3]");
    state_deinit(&s);
}

static void what_is_tried_again_is_tied_while_it_is_queued(void **unused)
{
    (void)unused;
    for (int refused = 0; refused < 2; refused++) {
        struct state s;
        start(&s);
        put(&s, 1, "a", "1");
        begin(&s, 2);
        assert_true(refuse(&s, 3, 2, "a"));
        assert_true(flushed(&s, 4, 2, 0));
        assert_true(retry(&s, 5, "a"));
        put_together(&s, 6, "ab");
        assert_flush(&s, "[5: a@1] a@6 b@6");
        assert_int_equal(s.tied, 2);
        assert_null(begin(&s, 7));
        if (refused) {
            assert_true(flush_abort(&s, 8, 5));
            assert_flush(&s, "b@6");
            assert_int_equal(s.tied, 1);
        } else {
            assert_true(flushed(&s, 8, 5, 2));
            assert_true(begin_rows(&s, 9, 1));
            assert_flush(&s, "[9: a@6 b@6]");
        }
        state_deinit(&s);
    }
}

static void what_is_not_queued_is_not_tied(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    at(&s, 1);
    put_clean(&s, "clean", "1");
    put_absent(&s, "absent");
    state_apply_tie(&s, bytes_from_text("clean"));
    state_apply_tie(&s, bytes_from_text("absent"));
    state_apply_tie(&s, bytes_from_text("unknown"));
    assert_int_equal(s.tied, 0);
    assert_flush(&s, "");
    state_deinit(&s);
}

/* ---- A database that goes back ---- */

static void a_rewind_keeps_the_ties_of_what_waited(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put(&s, 1, "x", "1");
    begin(&s, 2);
    assert_true(flushed(&s, 3, 2, 0));
    put_together(&s, 4, "ab");
    begin(&s, 5); /* in flight when it is known */
    put_together(&s, 6, "cd");
    assert_true(rewind_to(&s, 7, 0));
    assert_flush(&s, "x@1 a@1 b@1 c@1 d@1");
    assert_int_equal(s.tied, 4);
    assert_true(begin_rows(&s, 8, 3));
    assert_flush(&s, "[8: x@1] a@1 b@1 c@1 d@1");
    assert_true(flushed(&s, 9, 8, 0));
    assert_true(begin_rows(&s, 10, 1));
    assert_flush(&s, "[10: a@1 b@1 c@1 d@1]");
    assert_int_equal(s.tied, 0);
    state_deinit(&s);
}

/* Until it has recovered the database may have a part of it. Then it is counted like any other. */
static void what_was_undone_is_written_again_and_counted(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put_together(&s, 1, "ab");
    begin(&s, 2);
    assert_true(flushed(&s, 3, 2, 0));
    put_together(&s, 4, "bc"); /* b is in the database, and waits */
    assert_true(rewind_to(&s, 5, 0));
    assert_int_equal(s.queued_entries, 3);
    assert_true(find(&s, "c")->tied);
    state_check_invariants(&s);
    assert_true(state_recovering(&s));
    put_together(&s, 6, "de"); /* of what is written now nothing is excused */
    for (uint64_t index = 7; state_recovering(&s); index += 2) {
        assert_true(begin_rows(&s, index, 1));
        assert_true(flushed(&s, index + 1, index, s.last_batch));
        assert_true((find(&s, "d")->queued.first_dirty == 0) == (find(&s, "e")->queued.first_dirty == 0));
    }
    assert_non_null(find(&s, "c")->flushed);
    begin(&s, 20);
    assert_int_equal(s.queued_entries, 0);
    assert_int_equal(s.tied, 0);
    state_check_invariants(&s);
    state_deinit(&s);
}

/* Of a key that is in the database, and waits with a newer value, it is the latter that the tie is of. */
static void a_tie_survives_the_rewind_for_a_key_that_was_flushed_and_waits(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put(&s, 1, "b", "1");
    begin(&s, 2);
    assert_true(flushed(&s, 3, 2, 0));
    put_together(&s, 4, "bc");
    assert_int_equal(s.tied, 2);
    assert_true(rewind_to(&s, 5, 0));
    assert_flush(&s, "b@1 c@1");
    assert_true(find(&s, "b")->tied && find(&s, "c")->tied);
    assert_int_equal(s.tied, 2);
    assert_true(begin_rows(&s, 6, 1));
    assert_flush(&s, "[6: b@1 c@1]");
    state_deinit(&s);
}

/* Nobody wrote it since: what was tied when it went to the database is not tied any more. */
static void a_rewind_ties_nothing_that_was_flushed(void **unused)
{
    (void)unused;
    struct state s;
    start(&s);
    put_together(&s, 1, "ab");
    begin(&s, 2);
    assert_true(flushed(&s, 3, 2, 0));
    assert_true(rewind_to(&s, 4, 0));
    assert_flush(&s, "a@1 b@1");
    assert_int_equal(s.tied, 0);
    state_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_keys_of_a_transaction_are_in_one_batch_whatever_the_limits),
        cmocka_unit_test(who_allows_no_row_gets_no_batch),
        cmocka_unit_test(a_batch_ends_before_a_transaction_that_it_cannot_hold),
        cmocka_unit_test(what_waited_before_it_is_cut_like_ever_and_it_is_next),
        cmocka_unit_test(transactions_that_share_keys_go_together),
        cmocka_unit_test(a_key_that_waited_before_takes_along_what_is_between),
        cmocka_unit_test(a_later_write_alone_does_not_untie),
        cmocka_unit_test(a_version_base_makes_no_difference),
        cmocka_unit_test(a_cut_batch_takes_what_its_limits_allow),
        cmocka_unit_test(what_a_cut_batch_leaves_is_kept_together),
        cmocka_unit_test(an_abort_joins_what_was_cut),
        cmocka_unit_test(a_cut_batch_ends_before_a_key_that_is_in_flight),
        cmocka_unit_test(nothing_begins_while_another_batch_is_in_flight),
        cmocka_unit_test(nothing_begins_while_one_of_the_keys_is_in_flight),
        cmocka_unit_test(an_abort_gives_the_tie_back),
        cmocka_unit_test(an_abort_keeps_the_tie_of_what_was_written_meanwhile),
        cmocka_unit_test(what_is_in_the_database_is_not_tied_any_more),
        cmocka_unit_test(more_bytes_than_are_kept_together_are_cut),
        cmocka_unit_test(a_byte_more_than_is_kept_together_is_cut),
        cmocka_unit_test(what_waits_before_too_large_a_transaction_goes_alone),
        cmocka_unit_test(what_is_too_much_to_be_kept_together_is_not_cut_where_it_need_not),
        cmocka_unit_test(more_rows_than_are_kept_together_are_cut),
        cmocka_unit_test(what_is_refused_is_not_tied_and_the_other_keys_are),
        cmocka_unit_test(what_was_written_again_before_it_is_refused_is_not_tied),
        cmocka_unit_test(what_is_tried_again_is_tied_while_it_is_queued),
        cmocka_unit_test(what_is_not_queued_is_not_tied),
        cmocka_unit_test(a_rewind_keeps_the_ties_of_what_waited),
        cmocka_unit_test(what_was_undone_is_written_again_and_counted),
        cmocka_unit_test(a_tie_survives_the_rewind_for_a_key_that_was_flushed_and_waits),
        cmocka_unit_test(a_rewind_ties_nothing_that_was_flushed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
