/* What the front door refuses before the group sees it. */
#include "node/front_test_help.h"

#include <string.h>

/* No such value of an enum that the schema names: what a newer client may send. */
enum { UNKNOWN = 99 };

static void bad_condition(struct words *w)
{
    w->set.has_condition = w->del.has_condition = 1;
    w->set.condition = w->del.condition = (Wbrpc__Condition)UNKNOWN;
}

static void version_without_its_condition(struct words *w)
{
    w->set.has_version = w->del.has_version = 1;
    w->set.version = w->del.version = 1;
}

static void condition_without_its_version(struct words *w)
{
    w->set.has_condition = w->del.has_condition = 1;
    w->set.condition = w->del.condition = WBRPC__CONDITION__VERSION;
}

static void both_expiries(struct words *w)
{
    w->set.has_expire_after_ms = w->set.has_expire_at_ms = 1;
    w->expire.has_after_ms = w->expire.has_at_ms = 1;
}

static void bad_only_if(struct words *w)
{
    w->expire.has_only_if = 1;
    w->expire.only_if = (Wbrpc__ExpireIf)UNKNOWN;
}

static void bad_level(struct words *w)
{
    w->msg.has_level = 1;
    w->msg.level = (Wbrpc__Level)UNKNOWN;
}

static void no_keys(struct words *w)
{
    w->keys.n_keys = w->del.n_keys = w->expire.n_keys = w->set.n_entries = 0;
}

static void stale(struct words *w)
{
    w->msg.has_stale = w->msg.stale = 1;
}

static void once(struct words *w)
{
    w->msg.once = &w->once;
    w->once = (Wbrpc__Once)WBRPC__ONCE__INIT;
    w->once.session = 1 << 16;
    w->once.sequence = w->once.first_awaited = 1;
}

static void once_of_no_session(struct words *w)
{
    once(w);
    w->once.session = 0;
}

static void once_with_sequence_0(struct words *w)
{
    once(w);
    w->once.sequence = w->once.first_awaited = 0;
}

static void once_that_awaits_from_0(struct words *w)
{
    once(w);
    w->once.first_awaited = 0;
}

static void once_below_what_is_awaited(struct words *w)
{
    once(w);
    w->once.sequence = 5;
    w->once.first_awaited = 6;
}

static void no_such_group(struct words *w)
{
    w->flush.group = w->wait.group = w->scan.group = w->open_session.group = 3;
}

static void foreign_cursor(struct words *w)
{
    w->scan.cursor = UINT64_C(0x1230000) | (SCAN_TAG ^ 1);
}

static void untagged_cursor(struct words *w)
{
    w->scan.cursor = UINT64_C(0x1230000);
}

#define OP(name) WBRPC__REQUEST__OP_##name
#define KEYS     "a request names 1 to 4096 keys"
#define ONCE     "a sequence begins at 1 and is not below the first awaited one"
#define MIXED    "`once` goes with writes, `stale` with reads"
#define GROUP    "there is no such group"
#define CURSOR   "the scan was begun at another node"
#define NEWER    "this node may be older"

static const struct {
    Wbrpc__Request__OpCase op;
    void (*spoil)(struct words *w);
    const char *message; /* what the refusal contains */
} invalid[] = {
    {OP(SET), bad_condition, NEWER},
    {OP(DEL), bad_condition, NEWER},
    {OP(SET), version_without_its_condition, "a version goes with the condition VERSION"},
    {OP(DEL), version_without_its_condition, "a version goes with the condition VERSION"},
    {OP(SET), condition_without_its_version, "a version goes with the condition VERSION"},
    {OP(DEL), condition_without_its_version, "a version goes with the condition VERSION"},
    {OP(SET), both_expiries, "not both"},
    {OP(EXPIRE), both_expiries, "not both"},
    {OP(EXPIRE), bad_only_if, NEWER},
    {OP(SET), bad_level, NEWER},
    {OP(DEL), bad_level, NEWER},
    {OP(INCR), bad_level, NEWER},
    {OP(APPEND), bad_level, NEWER},
    {OP(EXPIRE), bad_level, NEWER},
    {OP(GET), no_keys, KEYS},
    {OP(EXISTS), no_keys, KEYS},
    {OP(INSPECT), no_keys, KEYS},
    {OP(SET), no_keys, KEYS},
    {OP(DEL), no_keys, KEYS},
    {OP(EXPIRE), no_keys, KEYS},
    {OP(SET), stale, MIXED},
    {OP(DEL), stale, MIXED},
    {OP(INCR), stale, MIXED},
    {OP(APPEND), stale, MIXED},
    {OP(EXPIRE), stale, MIXED},
    {OP(GET), once, MIXED},
    {OP(EXISTS), once, MIXED},
    {OP(INSPECT), once, MIXED},
    {OP(SCAN), once, MIXED},
    {OP(FLUSH), once, MIXED},
    {OP(WAIT), once, MIXED},
    {OP(OPEN_SESSION), once, MIXED},
    {OP(TOPOLOGY), once, MIXED},
    {OP(STATUS), once, MIXED},
    {OP(SET), once_of_no_session, ONCE},
    {OP(DEL), once_with_sequence_0, ONCE},
    {OP(INCR), once_that_awaits_from_0, ONCE},
    {OP(APPEND), once_below_what_is_awaited, ONCE},
    {OP(FLUSH), no_such_group, GROUP},
    {OP(WAIT), no_such_group, GROUP},
    {OP(SCAN), no_such_group, GROUP},
    {OP(OPEN_SESSION), no_such_group, GROUP},
    {OP(SCAN), foreign_cursor, CURSOR},
    {OP(SCAN), untagged_cursor, CURSOR},
};

static void what_is_not_valid_is_told_at_once_and_changes_nothing(void **state)
{
    struct bench b;
    bench_init(&b, 3);
    unsigned proposals = b.f.proposals;
    for (size_t i = 0; i < sizeof invalid / sizeof invalid[0]; i++) {
        struct words w;
        struct call c;
        words(&w, invalid[i].op, "k", "1");
        invalid[i].spoil(&w);
        bench_send(&b, &c, &w.msg);
        if (c.answer == NULL || c.answer->status != STATUS_INVALID || c.answer->message == NULL ||
            strstr(c.answer->message, invalid[i].message) == NULL) {
            fail_msg("row %zu: %s \"%s\", want \"%s\"", i,
                c.answer ? status_name((int)c.answer->status) : "-",
                c.answer && c.answer->message ? c.answer->message : "", invalid[i].message);
        }
        assert_int_equal(c.answer->n_results, 0);
        wbrpc__response__free_unpacked(c.answer, NULL);
    }
    bench_settle(&b);
    assert_int_equal(b.f.proposals, proposals);
    bench_deinit(&b);
}

/* The library begins such a scan again: it looks at these words. */
static void the_refusal_of_a_foreign_cursor_begins_with_the_scan(void **state)
{
    struct bench b;
    struct words w;
    bench_init(&b, 1);
    WORDS(&w, SCAN, "", "");
    foreign_cursor(&w);
    const Wbrpc__Response *answer = bench_ask(&b, &w.msg);
    assert_int_equal(answer->status, STATUS_INVALID);
    assert_int_equal(strncmp(answer->message, "the scan", 8), 0);
    bench_deinit(&b);
}

static const Wbrpc__Request__OpCase keyed[] = {
    OP(GET), OP(EXISTS), OP(INSPECT), OP(SET), OP(DEL), OP(INCR), OP(APPEND), OP(EXPIRE)};
enum { KEYED = sizeof keyed / sizeof keyed[0] };

static void a_key_has_at_most_1024_bytes_in_every_request(void **state)
{
    struct bench b;
    struct words w;
    char key[LIMIT_KEY_BYTES + 2];
    bench_init(&b, 1);
    for (size_t i = 0; i < KEYED; i++) {
        memset(key, 'a' + (int)i, sizeof key);
        key[LIMIT_KEY_BYTES + 1] = '\0';
        assert_int_equal(bench_ask(&b, words(&w, keyed[i], key, "1"))->status, STATUS_TOO_BIG);
        key[LIMIT_KEY_BYTES] = '\0';
        only_result(bench_ask(&b, words(&w, keyed[i], key, "1")), STATUS_OK);
        only_result(bench_ask(&b, words(&w, keyed[i], "", "1")), STATUS_OK); /* an empty one is a key */
        ASK(&b, DEL, "", "");
    }
    bench_deinit(&b);
}

static void a_value_has_at_most_one_mebibyte(void **state)
{
    struct bench b;
    struct words w;
    uint8_t *value = calloc(1, LIMIT_VALUE_BYTES + 1);
    Wbrpc__Request__OpCase writes[] = {OP(SET), OP(APPEND)};
    bench_init(&b, 1);
    for (size_t i = 0; i < 2; i++) {
        words(&w, writes[i], "k", "");
        w.entry.value = w.append.value = pb_borrow(bytes_of(value, LIMIT_VALUE_BYTES + 1));
        assert_int_equal(bench_ask(&b, &w.msg)->status, STATUS_TOO_BIG);
        w.entry.value = w.append.value = pb_borrow(bytes_of(value, LIMIT_VALUE_BYTES));
        /* This one gets to the group, whose dirty budget in this test is as large, without the key. */
        assert_int_equal(bench_ask(&b, &w.msg)->status, STATUS_OVERLOADED);
    }
    free(value);
    bench_deinit(&b);
}

static void more_than_4096_keys_are_refused(void **state)
{
    enum { N = LIMIT_REQUEST_KEYS + 1 };
    struct bench b;
    struct words w;
    bench_init(&b, 1);
    words(&w, OP(GET), "k", "v");
    ProtobufCBinaryData *keys = calloc(N, sizeof *keys);
    Wbrpc__KeyValue **entries = calloc(N, sizeof *entries);
    for (int i = 0; i < N; i++) {
        keys[i] = w.key;
        entries[i] = &w.entry;
    }
    Wbrpc__Request__OpCase many[] = {OP(GET), OP(EXISTS), OP(INSPECT), OP(SET), OP(DEL), OP(EXPIRE)};
    for (size_t i = 0; i < sizeof many / sizeof many[0]; i++) {
        words(&w, many[i], "k", "v");
        w.keys.keys = w.del.keys = w.expire.keys = keys;
        w.keys.n_keys = w.del.n_keys = w.expire.n_keys = w.set.n_entries = N;
        w.set.entries = entries;
        const Wbrpc__Response *answer = bench_ask(&b, &w.msg);
        assert_int_equal(answer->status, STATUS_INVALID);
        assert_string_equal(answer->message, KEYS);
    }
    free(keys);
    free(entries);
    bench_deinit(&b);
}

static void keys_of_several_groups_are_refused_and_those_of_one_go_to_it(void **state)
{
    struct bench b;
    struct words w;
    bench_init(&b, 2);
    /* Slots of "a" and "b" are 15495 and 3300: one in each half. */
    ProtobufCBinaryData apart[] = {text("a"), text("b")}, together[] = {text("{b}1"), text("{b}2")};
    Wbrpc__KeyValue first = WBRPC__KEY_VALUE__INIT, second = WBRPC__KEY_VALUE__INIT;
    Wbrpc__KeyValue *entries[] = {&first, &second};
    Wbrpc__Request__OpCase many[] = {OP(GET), OP(EXISTS), OP(INSPECT), OP(SET), OP(DEL), OP(EXPIRE)};
    for (size_t i = 0; i < 2 * sizeof many / sizeof many[0]; i++) {
        bool cross = i % 2 == 0;
        ProtobufCBinaryData *keys = cross ? apart : together;
        words(&w, many[i / 2], "", "");
        w.keys.keys = w.del.keys = w.expire.keys = keys;
        w.keys.n_keys = w.del.n_keys = w.expire.n_keys = w.set.n_entries = 2;
        first.key = first.value = keys[0];
        second.key = second.value = keys[1];
        w.set.entries = entries;
        b.asked_group = UINT32_MAX;
        const Wbrpc__Response *answer = bench_ask(&b, &w.msg);
        assert_int_equal(answer->status, cross ? STATUS_CROSS_GROUP : STATUS_OK);
        assert_int_equal(b.asked_group, cross ? UINT32_MAX : 0);
        assert_int_equal(answer->n_results, cross ? 0 : 2);
    }
    only_result(ASK(&b, SET, "a", "v"), STATUS_OK);
    assert_int_equal(b.asked_group, 1);
    assert_int_equal(ASK(&b, GET, "a", "")->group, 1);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRONT_TEST(what_is_not_valid_is_told_at_once_and_changes_nothing),
        FRONT_TEST(the_refusal_of_a_foreign_cursor_begins_with_the_scan),
        FRONT_TEST(a_key_has_at_most_1024_bytes_in_every_request),
        FRONT_TEST(a_value_has_at_most_one_mebibyte),
        FRONT_TEST(more_than_4096_keys_are_refused),
        FRONT_TEST(keys_of_several_groups_are_refused_and_those_of_one_go_to_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
