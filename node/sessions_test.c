/* The rules of sessions.h one by one; all of them at random are in sessions_model_test.c. */
#include "node/sessions.h"

#include "node/state_test_help.h"

static struct bytes text(const char *t)
{
    return bytes_from_text(t);
}

/* ---- As one line of text ---- */

/* The sessions by use, each with its floor and its results by age, then all results by age:
 * "1>=3[5:five] 2>=1[] | 1.5". */
static void print_sessions(const struct sessions *s, char *out, size_t size)
{
    int len = 0;
    out[0] = '\0';
    list_for_each (link, tmp, &s->by_use) {
        const struct session *session = list_entry(link, struct session, by_use);
        len +=
            snprintf(out + len, size - (size_t)len, "%" PRIu64 ">=%" PRIu64 "[", session->id, session->floor);
        list_for_each (of_session, next, &session->results) {
            const struct session_result *r = list_entry(of_session, struct session_result, of_session);
            len += snprintf(out + len, size - (size_t)len, "%s%" PRIu64 ":%.*s",
                of_session == session->results.next ? "" : " ", r->sequence, (int)r->len,
                (const char *)r->data);
        }
        len += snprintf(out + len, size - (size_t)len, "] ");
    }
    len += snprintf(out + len, size - (size_t)len, "|");
    list_for_each (link, tmp, &s->results) {
        const struct session_result *r = list_entry(link, struct session_result, by_age);
        len += snprintf(out + len, size - (size_t)len, " %" PRIu64 ".%" PRIu64, r->session->id, r->sequence);
    }
    assert_true((size_t)len < size);
}

#define assert_sessions(s, want) assert_sessions_at(s, want, __FILE__, __LINE__)

static void assert_sessions_at(const struct sessions *s, const char *want, const char *file, int line)
{
    char got[2048];
    sessions_check(s);
    print_sessions(s, got, sizeof got);
    if (strcmp(got, want) != 0) {
        print_error("got \"%s\", want \"%s\"\n", got, want);
        _fail(file, line);
    }
}

static enum session_verdict look(const struct sessions *s, uint64_t id, uint64_t sequence)
{
    const struct session_result *unused_result = NULL;
    return sessions_look(s, id, sequence, &unused_result);
}

/* Sessions @first to @last, opened in this order. */
static void open_all(struct sessions *s, uint64_t first, uint64_t last)
{
    for (uint64_t id = first; id <= last; id++) {
        sessions_apply_open(s, id);
    }
}

/* ---- Looking ---- */

static void an_executed_sequence_is_done_with_its_result(void **unused)
{
    struct sessions s;
    const struct session_result *r = NULL;
    sessions_init(&s);
    sessions_apply_open(&s, 7);
    assert_int_equal(sessions_look(&s, 7, 4, &r), SESSION_NEW);
    assert_true(sessions_apply_result(&s, 7, 4, 1, 11, 21, text("four")));
    assert_int_equal(sessions_look(&s, 7, 4, &r), SESSION_DONE);
    assert_true(r->sequence == 4 && r->index == 11 && r->status == 21 && r->session->id == 7);
    assert_true(bytes_equal(bytes_of(r->data, r->len), text("four")));
    assert_int_equal(look(&s, 7, 3), SESSION_NEW);
    assert_int_equal(look(&s, 7, 5), SESSION_NEW);
    assert_true(sessions_apply_result(&s, 7, 5, 1, 11, 0, bytes_of(NULL, 0)));
    assert_int_equal(sessions_look(&s, 7, 5, &r), SESSION_DONE);
    assert_int_equal(r->len, 0);
    assert_sessions(&s, "7>=1[4:four 5:] | 7.4 7.5");
    sessions_deinit(&s);
}

static void an_unknown_session_is_expired_and_its_results_are_ignored(void **unused)
{
    struct sessions s;
    sessions_init(&s);
    assert_int_equal(look(&s, 1, 1), SESSION_EXPIRED);
    assert_false(sessions_known(&s, 1));
    assert_false(sessions_apply_result(&s, 1, 1, 1, 1, 0, text("x")));
    assert_sessions(&s, "|");
    sessions_apply_open(&s, 1);
    assert_true(sessions_known(&s, 1));
    assert_false(sessions_known(&s, 2));
    assert_int_equal(look(&s, 2, 1), SESSION_EXPIRED);
    sessions_deinit(&s);
}

static void no_sequence_is_the_lowest_or_the_highest_number(void **unused)
{
    struct sessions s;
    sessions_init(&s);
    sessions_apply_open(&s, 1);
    assert_int_equal(look(&s, 1, 0), SESSION_EXPIRED);
    assert_int_equal(look(&s, 1, UINT64_MAX), SESSION_EXPIRED);
    assert_false(sessions_apply_result(&s, 1, 0, 1, 1, 0, text("")));
    assert_false(sessions_apply_result(&s, 1, UINT64_MAX, 1, 1, 0, text("")));
    assert_int_equal(look(&s, 1, UINT64_MAX - 1), SESSION_NEW);
    assert_true(sessions_apply_result(&s, 1, UINT64_MAX - 1, 1, 1, 0, text("last")));
    sessions_apply_limits(&s, 1, 1);
    assert_sessions(&s, "1>=18446744073709551615[] |");
    assert_int_equal(look(&s, 1, UINT64_MAX - 1), SESSION_EXPIRED);
    assert_int_equal(look(&s, 1, UINT64_MAX), SESSION_EXPIRED);
    sessions_deinit(&s);
}

static void the_results_of_one_sequence_in_two_sessions_are_two(void **unused)
{
    struct sessions s;
    const struct session_result *r = NULL;
    sessions_init(&s);
    open_all(&s, 1, 2);
    assert_true(sessions_apply_result(&s, 1, 3, 1, 9, 0, text("one")));
    assert_int_equal(look(&s, 2, 3), SESSION_NEW);
    assert_true(sessions_apply_result(&s, 2, 3, 1, 9, 0, text("two")));
    assert_int_equal(sessions_look(&s, 1, 3, &r), SESSION_DONE);
    assert_true(bytes_equal(bytes_of(r->data, r->len), text("one")));
    assert_int_equal(sessions_look(&s, 2, 3, &r), SESSION_DONE);
    assert_true(bytes_equal(bytes_of(r->data, r->len), text("two")));
    sessions_deinit(&s);
}

/* ---- Forgetting ---- */

static void what_is_not_awaited_any_more_is_forgotten(void **unused)
{
    struct sessions s;
    sessions_init(&s);
    open_all(&s, 1, 2);
    for (uint64_t sequence = 1; sequence <= 4; sequence++) {
        assert_true(sessions_apply_result(&s, 1, sequence, 1, sequence, 0, text("r")));
    }
    assert_true(sessions_apply_result(&s, 2, 1, 1, 4, 0, text("other")));
    assert_true(sessions_apply_result(&s, 1, 5, 3, 5, 0, text("r")));
    assert_sessions(&s, "2>=1[1:other] 1>=3[3:r 4:r 5:r] | 1.3 1.4 2.1 1.5");
    assert_int_equal(look(&s, 1, 2), SESSION_EXPIRED);
    assert_int_equal(look(&s, 1, 3), SESSION_DONE);
    /* A floor never falls: an older request of the session says less. */
    assert_true(sessions_apply_result(&s, 1, 6, 2, 6, 0, text("r")));
    assert_sessions(&s, "2>=1[1:other] 1>=3[3:r 4:r 5:r 6:r] | 1.3 1.4 2.1 1.5 1.6");
    sessions_deinit(&s);
}

static void a_result_behind_an_awaited_one_stays_until_its_turn(void **unused)
{
    struct sessions s;
    sessions_init(&s);
    sessions_apply_open(&s, 1);
    assert_true(sessions_apply_result(&s, 1, 4, 1, 1, 0, text("d")));
    assert_true(sessions_apply_result(&s, 1, 2, 1, 2, 0, text("b")));
    assert_true(sessions_apply_result(&s, 1, 5, 4, 3, 0, text("e")));
    assert_sessions(&s, "1>=4[4:d 2:b 5:e] | 1.4 1.2 1.5");
    assert_int_equal(look(&s, 1, 2), SESSION_DONE);
    assert_int_equal(look(&s, 1, 3), SESSION_EXPIRED);
    assert_true(sessions_apply_result(&s, 1, 6, 5, 4, 0, text("f")));
    assert_sessions(&s, "1>=5[5:e 6:f] | 1.5 1.6");
    sessions_deinit(&s);
}

static void a_result_that_nobody_awaits_is_not_kept(void **unused)
{
    struct sessions s;
    sessions_init(&s);
    sessions_apply_open(&s, 1);
    assert_true(sessions_apply_result(&s, 1, 3, 9, 1, 0, text("x")));
    assert_sessions(&s, "1>=9[] |");
    assert_int_equal(look(&s, 1, 3), SESSION_EXPIRED);
    assert_int_equal(look(&s, 1, 9), SESSION_NEW);
    sessions_deinit(&s);
}

/* Room for @sessions and @n results of one byte. */
static uint64_t room_for(uint64_t sessions, uint64_t n)
{
    return sessions * SESSION_BYTES + n * (SESSION_RESULT_BYTES + 1);
}

static void over_the_bytes_the_oldest_result_of_all_sessions_goes(void **unused)
{
    struct sessions s;
    sessions_init(&s);
    sessions_apply_limits(&s, 10, room_for(2, 4));
    open_all(&s, 1, 2);
    assert_true(sessions_apply_result(&s, 1, 6, 1, 1, 0, text("a")));
    assert_true(sessions_apply_result(&s, 2, 1, 1, 2, 0, text("b")));
    assert_true(sessions_apply_result(&s, 1, 2, 1, 3, 0, text("c")));
    assert_true(sessions_apply_result(&s, 2, 2, 1, 4, 0, text("d")));
    assert_int_equal(s.bytes, s.bytes_max);
    assert_sessions(&s, "1>=1[6:a 2:c] 2>=1[1:b 2:d] | 1.6 2.1 1.2 2.2");
    assert_true(sessions_apply_result(&s, 2, 3, 1, 5, 0, text("e")));
    assert_sessions(&s, "1>=7[2:c] 2>=1[1:b 2:d 3:e] | 2.1 1.2 2.2 2.3");
    assert_int_equal(look(&s, 1, 6), SESSION_EXPIRED);
    /* Nobody can say any more whether 5 was executed, but 2 is known. */
    assert_int_equal(look(&s, 1, 5), SESSION_EXPIRED);
    assert_int_equal(look(&s, 1, 2), SESSION_DONE);
    assert_int_equal(look(&s, 1, 7), SESSION_NEW);
    /* What was new when the leader looked, and is below the floor now, is ignored. */
    assert_false(sessions_apply_result(&s, 1, 5, 5, 6, 0, text("f")));
    assert_sessions(&s, "1>=7[2:c] 2>=1[1:b 2:d 3:e] | 2.1 1.2 2.2 2.3");
    /* One of two bytes: two of one byte go. */
    assert_true(sessions_apply_result(&s, 1, 7, 1, 7, 0, text("gg")));
    assert_sessions(&s, "2>=2[2:d 3:e] 1>=7[7:gg] | 2.2 2.3 1.7");
    sessions_deinit(&s);
}

static void a_result_that_can_never_fit_goes_alone(void **unused)
{
    struct sessions s;
    sessions_init(&s);
    sessions_apply_limits(&s, 10, room_for(2, 4));
    open_all(&s, 1, 2);
    assert_true(sessions_apply_result(&s, 2, 1, 1, 1, 0, text("b")));
    assert_true(sessions_apply_result(&s, 1, 1, 1, 2, 0, text("a")));
    uint8_t big[4 * (SESSION_RESULT_BYTES + 1)] = {0};
    size_t most = sizeof big - SESSION_RESULT_BYTES;
    assert_true(sessions_apply_result(&s, 2, 3, 2, 3, 0, bytes_of(big, most + 1)));
    assert_sessions(&s, "1>=1[1:a] 2>=4[] | 1.1"); /* what it says about others holds all the same */
    assert_int_equal(look(&s, 2, 3), SESSION_EXPIRED);
    assert_int_equal(look(&s, 2, 4), SESSION_NEW);
    assert_true(sessions_apply_result(&s, 2, 4, 4, 4, 0, bytes_of(big, most)));
    assert_int_equal(s.bytes, s.bytes_max);
    assert_int_equal(s.result_count, 1);
    assert_int_equal(look(&s, 2, 4), SESSION_DONE);
    assert_int_equal(look(&s, 1, 1), SESSION_EXPIRED);
    sessions_deinit(&s);
}

static void over_the_sessions_the_least_recently_used_goes_with_its_results(void **unused)
{
    struct sessions s;
    sessions_init(&s);
    sessions_apply_limits(&s, 3, SESSION_BYTES_DEFAULT);
    open_all(&s, 1, 3);
    assert_true(sessions_apply_result(&s, 2, 1, 1, 4, 0, text("b")));
    assert_true(sessions_apply_result(&s, 1, 1, 1, 5, 0, text("a")));
    assert_sessions(&s, "3>=1[] 2>=1[1:b] 1>=1[1:a] | 2.1 1.1");
    sessions_apply_open(&s, 4);
    assert_sessions(&s, "2>=1[1:b] 1>=1[1:a] 4>=1[] | 2.1 1.1");
    sessions_apply_open(&s, 5);
    assert_sessions(&s, "1>=1[1:a] 4>=1[] 5>=1[] | 1.1");
    assert_false(sessions_known(&s, 2));
    assert_int_equal(look(&s, 2, 1), SESSION_EXPIRED);
    /* An ignored result is no use: 1 still goes first. */
    assert_false(sessions_apply_result(&s, 1, 0, 1, 6, 0, text("x")));
    sessions_apply_open(&s, 6);
    assert_sessions(&s, "4>=1[] 5>=1[] 6>=1[] |");
    sessions_deinit(&s);
}

static void sessions_leave_half_of_the_bytes_to_results(void **unused)
{
    struct sessions s;
    sessions_init(&s);
    sessions_apply_limits(&s, 100, 4 * SESSION_BYTES);
    open_all(&s, 1, 3);
    assert_sessions(&s, "2>=1[] 3>=1[] |");
    assert_true(sessions_apply_result(&s, 3, 1, 1, 1, 0, text("kept")));
    assert_sessions(&s, "2>=1[] 3>=1[1:kept] | 3.1");
    sessions_deinit(&s);
}

static void limits_that_come_later_trim_at_once(void **unused)
{
    struct sessions s;
    sessions_init(&s);
    assert_false(s.limits_named);
    assert_true(s.sessions_max == SESSIONS_DEFAULT && s.bytes_max == SESSION_BYTES_DEFAULT);
    open_all(&s, 1, 4);
    for (uint64_t i = 1; i <= 8; i++) {
        assert_true(sessions_apply_result(&s, (i - 1) % 4 + 1, i, 1, i, 0, text("r")));
    }
    sessions_apply_limits(&s, 2, SESSION_BYTES_DEFAULT);
    assert_true(s.limits_named);
    assert_sessions(&s, "3>=1[3:r 7:r] 4>=1[4:r 8:r] | 3.3 4.4 3.7 4.8");
    sessions_apply_limits(&s, 2, room_for(2, 3) + 100); /* 97 is what one takes, so 3 and a bit */
    assert_sessions(&s, "3>=1[3:r 7:r] 4>=1[4:r 8:r] | 3.3 4.4 3.7 4.8");
    sessions_apply_limits(&s, 2, 4 * SESSION_BYTES);
    assert_sessions(&s, "3>=4[7:r] 4>=1[4:r 8:r] | 4.4 3.7 4.8");
    sessions_apply_limits(&s, 2, 2 * SESSION_BYTES);
    assert_sessions(&s, "4>=5[8:r] | 4.8");
    sessions_apply_limits(&s, 0, 0);
    assert_true(s.sessions_max == 1 && s.bytes_max == 1);
    assert_sessions(&s, "4>=9[] |");
    /* One session always stays, and can be used without its results. */
    assert_true(sessions_apply_result(&s, 4, 9, 1, 9, 0, text("")));
    assert_sessions(&s, "4>=10[] |");
    sessions_apply_open(&s, 5);
    assert_sessions(&s, "5>=1[] |");
    sessions_deinit(&s);
}

/* ---- Our own bugs ---- */

static void record_twice(void *data)
{
    struct sessions *s = data;
    sessions_apply_result(s, 1, 1, 1, 2, 0, text("again"));
}

static void open_twice(void *data)
{
    sessions_apply_open(data, 1);
}

static void executing_a_sequence_twice_or_opening_an_id_twice_aborts(void **unused)
{
    struct sessions s;
    sessions_init(&s);
    sessions_apply_open(&s, 1);
    assert_true(sessions_apply_result(&s, 1, 1, 1, 1, 0, text("first")));
    assert_aborts(record_twice, &s, "a sequence is executed once");
    assert_aborts(open_twice, &s, "a session's id is its own");
    sessions_deinit(&s);
}

static void check_it(void *data)
{
    sessions_check(data);
}

static void the_check_notices(void **unused)
{
    struct sessions s;
    const uint8_t zeros[300] = {0};
    sessions_init(&s);
    open_all(&s, 1, 2);
    assert_true(sessions_apply_result(&s, 1, 1, 1, 5, 0, bytes_of(zeros, sizeof zeros)));
    assert_true(sessions_apply_result(&s, 1, 2, 1, 6, 0, text("b")));
    struct session *second = list_entry(s.by_use.next, struct session, by_use);
    struct session_result *oldest = list_entry(s.results.next, struct session_result, by_age);
    sessions_check(&s);
    s.count++;
    assert_aborts(check_it, &s, "count counts the sessions");
    s.count--;
    s.result_count--;
    assert_aborts(check_it, &s, "result_count counts the results");
    s.result_count++;
    s.bytes++;
    assert_aborts(check_it, &s, "bytes counts sessions and results");
    s.bytes--;
    s.sessions_max = 1;
    assert_aborts(check_it, &s, "no more sessions than the limits allow");
    s.sessions_max = 2;
    s.bytes_max = s.bytes - 1;
    assert_aborts(check_it, &s, "no more results than the limits allow");
    s.bytes_max = SESSION_BYTES_DEFAULT;
    second->id = 1; /* of two with one id, one is not found */
    assert_aborts(check_it, &s, "a session is found by its id");
    second->id = 2;
    second->floor = 0;
    assert_aborts(check_it, &s, "no sequence is 0");
    second->floor = 1;
    oldest->index = 7;
    assert_aborts(check_it, &s, "ordered by age");
    oldest->index = 5;
    oldest->sequence = 2;
    assert_aborts(check_it, &s, "a result and its session are found");
    oldest->sequence = 1;
    oldest->session = second;
    assert_aborts(check_it, &s, "a result in a session's list is that session's");
    oldest->session = list_entry(s.by_use.prev, struct session, by_use);
    s.by_sequence.links++;
    assert_aborts(check_it, &s, "a table has what the lists have");
    s.by_sequence.links--;
    sessions_check(&s);
    sessions_deinit(&s);
}

/* ---- Restoring ---- */

static void what_cannot_be_is_not_restored(void **unused)
{
    struct sessions s;
    sessions_init(&s);
    sessions_apply_limits(&s, 2, room_for(2, 4));
    assert_false(sessions_restore_session(&s, 0, 1));
    assert_false(sessions_restore_session(&s, 1, 0));
    assert_true(sessions_restore_session(&s, 1, 5));
    assert_false(sessions_restore_session(&s, 1, 5));
    assert_true(sessions_restore_session(&s, 2, 1));
    assert_false(sessions_restore_session(&s, 3, 1));
    assert_true(sessions_restore_result(&s, 1, 9, 20, 3, text("x")));
    assert_false(sessions_restore_result(&s, 1, 9, 20, 3, text("x")));
    assert_false(sessions_restore_result(&s, 3, 1, 20, 0, text("x")));
    assert_false(sessions_restore_result(&s, 2, 0, 20, 0, text("x")));
    assert_false(sessions_restore_result(&s, 2, UINT64_MAX, 20, 0, text("x")));
    assert_false(sessions_restore_result(&s, 2, 1, 19, 0, text("x")));
    assert_true(sessions_restore_result(&s, 2, 1, 20, 0, text("y")));
    assert_true(sessions_restore_result(&s, 1, 4, 21, 0, text("z"))); /* below the floor, as it may be */
    assert_false(sessions_restore_result(&s, 1, 5, 21, 0, text("xx")));
    assert_true(sessions_restore_result(&s, 1, 5, 21, 0, text("w")));
    assert_false(sessions_restore_result(&s, 1, 6, 21, 0, bytes_of(NULL, 0)));
    assert_sessions(&s, "1>=5[9:x 4:z 5:w] 2>=1[1:y] | 1.9 2.1 1.4 1.5");
    sessions_deinit(&s);
    sessions_init(&s);
    assert_true(sessions_restore_session(&s, 1, 1));
    assert_false(sessions_restore_result(&s, 1, 1, 0, 0, text("x")));
    assert_sessions(&s, "1>=1[] |");
    sessions_deinit(&s);
}

static void what_was_moved_is_whole_at_its_new_place(void **unused)
{
    struct sessions s, to, none, empty;
    sessions_init(&s);
    s.hash_seed = 99;
    open_all(&s, 1, 2);
    assert_true(sessions_apply_result(&s, 1, 1, 1, 5, 0, text("a")));
    sessions_move(&to, &s);
    memset(&s, 0x5a, sizeof s);
    assert_sessions(&to, "2>=1[] 1>=1[1:a] | 1.1");
    sessions_apply_open(&to, 3);
    assert_sessions(&to, "2>=1[] 1>=1[1:a] 3>=1[] | 1.1");
    sessions_deinit(&to);
    sessions_init(&none);
    sessions_move(&empty, &none);
    assert_sessions(&empty, "|");
    sessions_deinit(&empty);
}

/* ---- Tables ---- */

/* Many sessions and results come and go: each is found while it is there, and the tables follow. */
static void tables_grow_and_shrink_with_what_is_in_them(void **unused)
{
    enum { MANY = 5000 };
    struct sessions s;
    sessions_init(&s);
    sessions_apply_limits(&s, MANY, UINT64_MAX);
    for (uint64_t i = 1; i <= MANY; i++) {
        sessions_apply_open(&s, i << 16);
        assert_true(sessions_apply_result(&s, i << 16, 1, 1, i, 0, text("r")));
    }
    sessions_check(&s);
    assert_true(s.by_id.cap >= MANY && s.by_id.cap < 2 * MANY);
    for (uint64_t i = 1; i <= MANY; i++) {
        assert_int_equal(look(&s, i << 16, 1), SESSION_DONE);
    }
    for (uint64_t n = MANY; n >= 1; n -= n > 100 ? 100 : 1) {
        sessions_apply_limits(&s, n, UINT64_MAX);
        sessions_check(&s);
        assert_int_equal(s.count, n);
        assert_true(look(&s, (MANY - n + 1) << 16, 1) == SESSION_DONE);
        assert_true(n == MANY || look(&s, (MANY - n) << 16, 1) == SESSION_EXPIRED);
    }
    assert_true(s.by_id.cap <= 64 && s.by_sequence.cap <= 64);
    sessions_deinit(&s);
}

/* Whatever the ids and sequences have in common, few meet in one bucket. */
static size_t longest_chain(const struct session_table *t)
{
    size_t longest = 0;
    for (size_t i = 0; i < t->used; i++) {
        size_t len = 0;
        for (const struct session_link *link = t->buckets[i]; link != NULL; link = link->next) {
            len++;
        }
        longest = len > longest ? len : longest;
    }
    return longest;
}

static void regular_ids_and_sequences_spread_over_the_buckets(void **unused)
{
    for (uint64_t shift = 0; shift < 40; shift += 8) {
        struct sessions s;
        sessions_init(&s);
        sessions_apply_limits(&s, 100, UINT64_MAX);
        for (uint64_t id = 1; id <= 100; id++) {
            sessions_apply_open(&s, id << 16);
        }
        for (uint64_t i = 0; i < 5000; i++) {
            assert_true(sessions_apply_result(
                &s, (i % 100 + 1) << 16, (i / 100 + 1) << shift, 1, i + 1, 0, bytes_of(NULL, 0)));
        }
        assert_true(longest_chain(&s.by_sequence) <= 12);
        assert_true(longest_chain(&s.by_id) <= 12);
        sessions_deinit(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_executed_sequence_is_done_with_its_result),
        cmocka_unit_test(an_unknown_session_is_expired_and_its_results_are_ignored),
        cmocka_unit_test(no_sequence_is_the_lowest_or_the_highest_number),
        cmocka_unit_test(the_results_of_one_sequence_in_two_sessions_are_two),
        cmocka_unit_test(what_is_not_awaited_any_more_is_forgotten),
        cmocka_unit_test(a_result_behind_an_awaited_one_stays_until_its_turn),
        cmocka_unit_test(a_result_that_nobody_awaits_is_not_kept),
        cmocka_unit_test(over_the_bytes_the_oldest_result_of_all_sessions_goes),
        cmocka_unit_test(a_result_that_can_never_fit_goes_alone),
        cmocka_unit_test(over_the_sessions_the_least_recently_used_goes_with_its_results),
        cmocka_unit_test(sessions_leave_half_of_the_bytes_to_results),
        cmocka_unit_test(limits_that_come_later_trim_at_once),
        cmocka_unit_test(executing_a_sequence_twice_or_opening_an_id_twice_aborts),
        cmocka_unit_test(the_check_notices),
        cmocka_unit_test(what_cannot_be_is_not_restored),
        cmocka_unit_test(what_was_moved_is_whole_at_its_new_place),
        cmocka_unit_test(tables_grow_and_shrink_with_what_is_in_them),
        cmocka_unit_test(regular_ids_and_sequences_spread_over_the_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
