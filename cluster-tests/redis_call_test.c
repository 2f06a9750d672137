/* What replies mean to the judge: tables of a form, a reply, and what it must come to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "cluster-tests/redis_call.h"

static const struct redis_object counter = {.kind = REDIS_COUNTER, .name = "c"};
static const struct redis_object text = {.kind = REDIS_TEXT, .name = "t"};
static const struct redis_object field = {.kind = REDIS_FIELD, .name = "h"};
static const struct redis_object field_counter = {.kind = REDIS_FIELD_COUNTER, .name = "n"};
static const struct redis_object family = {.kind = REDIS_FAMILY, .name = "f"};
static const struct redis_object record = {.kind = REDIS_RECORD, .name = "r"};

static struct reply scan(const char *raw, size_t len)
{
    struct reply r;
    assert_int_equal(reply_scan(bytes_of(raw, len), &r), REPLY_WHOLE);
    assert_int_equal(r.whole.len, len);
    return r;
}

static struct redis_call call_of(const struct redis_object *o, enum redis_form form)
{
    return (struct redis_call){.object = o, .form = form, .value = bytes_from_text("new"), .delta = 5};
}

#define SETTLE(object, form, raw) settle(&(object), REDIS_FORM_##form, raw, sizeof raw - 1)

static struct redis_call last_call; /* outcomes borrow from it */

static struct redis_outcome settle(
    const struct redis_object *o, enum redis_form form, const char *raw, size_t len)
{
    struct reply r = scan(raw, len);
    last_call = call_of(o, form);
    return redis_call_settle(&last_call, &r);
}

static void expect_one(struct redis_outcome out, enum history_op op)
{
    assert_int_equal(out.answer, REDIS_ANSWER_RESULT);
    assert_int_equal(out.n, 1);
    assert_int_equal(out.effects[0].op, op);
    assert_int_equal(out.effects[0].result.outcome, HISTORY_OK);
}

static void expect_saw(struct redis_outcome out, const char *value)
{
    expect_one(out, HISTORY_GET);
    assert_int_equal(out.effects[0].result.found, value != NULL);
    assert_true(value == NULL || bytes_equal(out.effects[0].result.value, bytes_from_text(value)));
}

static void expect_cas(
    struct redis_outcome out, enum history_condition condition, enum history_outcome outcome)
{
    assert_int_equal(out.answer, REDIS_ANSWER_RESULT);
    assert_int_equal(out.n, 1);
    assert_int_equal(out.effects[0].op, HISTORY_CAS);
    assert_int_equal(out.effects[0].arg.condition, condition);
    assert_int_equal(out.effects[0].result.outcome, outcome);
    assert_true(bytes_equal(out.effects[0].arg.value, bytes_from_text("new")));
}

static void expect_swap(struct redis_outcome out, const char *before)
{
    assert_int_equal(out.answer, REDIS_ANSWER_RESULT);
    assert_int_equal(out.n, 2);
    assert_int_equal(out.effects[0].op, HISTORY_GETDEL);
    assert_true(bytes_equal(out.effects[0].result.value, bytes_from_text(before)));
    assert_int_equal(out.effects[1].op, HISTORY_SET);
    assert_true(bytes_equal(out.effects[1].arg.value, bytes_from_text("new")));
}

static void expect_wrong(struct redis_outcome out)
{
    assert_int_equal(out.answer, REDIS_ANSWER_WRONG);
    assert_int_equal(out.n, 0);
    assert_non_null(out.why);
}

static void a_read_saw_a_value_or_nothing(void **state)
{
    (void)state;
    expect_saw(SETTLE(text, READ, "$3\r\nabc\r\n"), "abc");
    expect_saw(SETTLE(text, READ, "$-1\r\n"), NULL);
    expect_saw(SETTLE(field, READ, "$0\r\n\r\n"), "");
    expect_saw(SETTLE(field, READ_ALL, "*2\r\n$4\r\nname\r\n$1\r\nx\r\n"), "x");
    expect_saw(SETTLE(field, READ_ALL, "*0\r\n"), NULL);
    expect_wrong(SETTLE(text, READ, ":1\r\n"));
    expect_wrong(SETTLE(field, READ_ALL, "*2\r\n$4\r\nelse\r\n$1\r\nx\r\n"));
    expect_wrong(SETTLE(text, READ, "-ERR something\r\n"));
}

static void parts_of_one_write_are_seen_together_or_it_is_wrong(void **state)
{
    (void)state;
    expect_saw(SETTLE(family, READ, "*3\r\n$1\r\nx\r\n$1\r\nx\r\n$1\r\nx\r\n"), "x");
    expect_saw(SETTLE(record, READ_MULTI, "*3\r\n$-1\r\n$-1\r\n$-1\r\n"), NULL);
    expect_wrong(SETTLE(family, READ, "*3\r\n$1\r\nx\r\n$1\r\ny\r\n$1\r\nx\r\n"));
    expect_wrong(SETTLE(family, READ_MULTI, "*3\r\n$1\r\nx\r\n$-1\r\n$1\r\nx\r\n"));
    expect_wrong(SETTLE(record, READ, "*2\r\n$1\r\nx\r\n$1\r\nx\r\n"));
    expect_saw(SETTLE(record, READ_ALL,
                   "*6\r\n$4\r\n\\x61\r\n$1\r\nx\r\n$3\r\n\0\xff\"\r\n$1\r\nx\r\n$4\r\nname\r\n$1\r\nx\r\n"),
        "x");
    expect_wrong(SETTLE(record, READ_ALL,
        "*6\r\n$4\r\n\\x61\r\n$1\r\nx\r\n$3\r\n\0\xff\"\r\n$1\r\ny\r\n$4\r\nname\r\n$1\r\nx\r\n"));
    expect_wrong(SETTLE(record, READ_ALL,
        "*6\r\n$4\r\nname\r\n$1\r\nx\r\n$3\r\n\0\xff\"\r\n$1\r\nx\r\n$4\r\nname\r\n$1\r\nx\r\n"));
    expect_wrong(SETTLE(record, READ_ALL, "*2\r\n$4\r\nname\r\n$1\r\nx\r\n"));
}

static void a_follower_may_lack_some_keys_but_not_mix_writes(void **state)
{
    (void)state;
    static const char gap[] = "*3\r\n$1\r\nx\r\n$-1\r\n$1\r\nx\r\n";
    static const char mix[] = "*3\r\n$1\r\nx\r\n$-1\r\n$1\r\ny\r\n";
    static const char none[] = "*3\r\n$-1\r\n$-1\r\n$-1\r\n";
    struct redis_call read = call_of(&family, REDIS_FORM_READ);
    struct reply r = scan(gap, sizeof gap - 1);
    expect_saw(redis_call_settle_stale(&read, &r), "x");
    r = scan(mix, sizeof mix - 1);
    expect_wrong(redis_call_settle_stale(&read, &r));
    r = scan(none, sizeof none - 1);
    struct redis_outcome out = redis_call_settle_stale(&read, &r);
    assert_int_equal(out.answer, REDIS_ANSWER_RESULT);
    assert_int_equal(out.n, 0);
    read = call_of(&record, REDIS_FORM_READ);
    r = scan(gap, sizeof gap - 1);
    expect_wrong(redis_call_settle_stale(&read, &r));
}

static void a_write_tells_its_condition(void **state)
{
    (void)state;
    expect_one(SETTLE(text, WRITE, "+OK\r\n"), HISTORY_SET);
    expect_one(SETTLE(family, WRITE, "+OK\r\n"), HISTORY_SET);
    expect_one(SETTLE(family, WRITE_MULTI, "*3\r\n+OK\r\n+OK\r\n+OK\r\n"), HISTORY_SET);
    expect_cas(SETTLE(field, WRITE, ":1\r\n"), HISTORY_IF_ABSENT, HISTORY_OK);
    expect_cas(SETTLE(field, WRITE, ":0\r\n"), HISTORY_IF_PRESENT, HISTORY_OK);
    expect_cas(SETTLE(record, WRITE, ":3\r\n"), HISTORY_IF_ABSENT, HISTORY_OK);
    expect_cas(SETTLE(record, WRITE_MULTI, "*3\r\n:0\r\n:0\r\n:0\r\n"), HISTORY_IF_PRESENT, HISTORY_OK);
    expect_wrong(SETTLE(record, WRITE, ":2\r\n"));
    expect_wrong(SETTLE(record, WRITE_MULTI, "*3\r\n:1\r\n:0\r\n:1\r\n"));
    expect_wrong(SETTLE(family, WRITE_MULTI, "*3\r\n+OK\r\n-ERR no\r\n+OK\r\n"));
    expect_cas(SETTLE(text, WRITE_ABSENT, "+OK\r\n"), HISTORY_IF_ABSENT, HISTORY_OK);
    expect_cas(SETTLE(text, WRITE_ABSENT, "$-1\r\n"), HISTORY_IF_ABSENT, HISTORY_CONDITION_FAILED);
    expect_cas(SETTLE(field, WRITE_ABSENT, ":0\r\n"), HISTORY_IF_ABSENT, HISTORY_CONDITION_FAILED);
    expect_cas(SETTLE(family, WRITE_ABSENT, ":1\r\n"), HISTORY_IF_ABSENT, HISTORY_OK);
    expect_wrong(SETTLE(family, WRITE_ABSENT, ":2\r\n"));
    expect_cas(SETTLE(text, WRITE_PRESENT, "+OK\r\n"), HISTORY_IF_PRESENT, HISTORY_OK);
    expect_cas(SETTLE(text, WRITE_PRESENT, "$-1\r\n"), HISTORY_IF_PRESENT, HISTORY_CONDITION_FAILED);
}

static void a_swap_took_what_was_there(void **state)
{
    (void)state;
    expect_swap(SETTLE(text, SWAP, "$3\r\nold\r\n"), "old");
    expect_cas(SETTLE(text, SWAP, "$-1\r\n"), HISTORY_IF_ABSENT, HISTORY_OK);
    expect_swap(SETTLE(text, SWAP_MULTI, "*2\r\n$3\r\nold\r\n+OK\r\n"), "old");
    expect_swap(SETTLE(field, SWAP_MULTI, "*2\r\n$3\r\nold\r\n:0\r\n"), "old");
    expect_cas(SETTLE(field, SWAP_MULTI, "*2\r\n$-1\r\n:1\r\n"), HISTORY_IF_ABSENT, HISTORY_OK);
    expect_wrong(SETTLE(field, SWAP_MULTI, "*2\r\n$-1\r\n:0\r\n"));
    expect_wrong(SETTLE(text, SWAP_MULTI, "*-1\r\n"));
    struct redis_outcome out = SETTLE(text, TAKE, "$3\r\nold\r\n");
    expect_one(out, HISTORY_GETDEL);
    assert_true(out.effects[0].result.found);
}

static struct redis_outcome settle_change(const struct redis_object *o, const char *before, const char *raw)
{
    struct reply r = scan(raw, strlen(raw));
    last_call = call_of(o, REDIS_FORM_CHANGE);
    last_call.found = before != NULL;
    last_call.before = before != NULL ? bytes_from_text(before) : bytes_of(NULL, 0);
    return redis_call_settle(&last_call, &r);
}

static void a_watched_change_is_a_swap_or_a_sum(void **state)
{
    (void)state;
    expect_swap(settle_change(&text, "old", "*1\r\n+OK\r\n"), "old");
    expect_cas(settle_change(&family, NULL, "*1\r\n+OK\r\n"), HISTORY_IF_ABSENT, HISTORY_OK);
    expect_swap(settle_change(&record, "old", "*1\r\n:0\r\n"), "old");
    expect_wrong(settle_change(&record, NULL, "*1\r\n:0\r\n"));
    expect_wrong(settle_change(&record, "old", "*1\r\n:3\r\n"));
    struct redis_outcome out = settle_change(&counter, "17", "*1\r\n+OK\r\n");
    expect_one(out, HISTORY_INCR);
    assert_int_equal(out.effects[0].arg.delta, 5);
    assert_int_equal(out.effects[0].result.number, 22);
    out = settle_change(&field_counter, NULL, "*1\r\n:1\r\n");
    expect_one(out, HISTORY_INCR);
    assert_int_equal(out.effects[0].result.number, 5);
    assert_int_equal(settle_change(&counter, "17", "*-1\r\n").answer, REDIS_ANSWER_CONFLICT);
}

static void sums_of_one_transaction_follow_each_other(void **state)
{
    (void)state;
    struct redis_outcome out = SETTLE(counter, ADD, ":12\r\n");
    expect_one(out, HISTORY_INCR);
    assert_int_equal(out.effects[0].result.number, 12);
    out = SETTLE(counter, ADD_MULTI, "*2\r\n:8\r\n:12\r\n"); /* 1 and 4 */
    expect_one(out, HISTORY_INCR);
    assert_int_equal(out.effects[0].arg.delta, 5);
    assert_int_equal(out.effects[0].result.number, 12);
    expect_wrong(SETTLE(counter, ADD_MULTI, "*2\r\n:8\r\n:13\r\n"));
    out = SETTLE(text, ADD, "-ERR value is not an integer or out of range\r\n");
    assert_int_equal(out.effects[0].result.outcome, HISTORY_NOT_A_NUMBER);
    out = SETTLE(field, ADD, "-ERR hash value is not an integer\r\n");
    assert_int_equal(out.effects[0].result.outcome, HISTORY_NOT_A_NUMBER);
    out = SETTLE(text, ADD, "-ERR increment or decrement would overflow\r\n");
    assert_int_equal(out.effects[0].result.outcome, HISTORY_OUT_OF_RANGE);
    expect_wrong(SETTLE(text, ADD, "-WRONGTYPE Operation against a key\r\n"));
}

static void an_append_tells_the_length(void **state)
{
    (void)state;
    struct redis_outcome out = SETTLE(text, APPEND, ":9\r\n");
    expect_one(out, HISTORY_APPEND);
    assert_int_equal(out.effects[0].result.length, 9);
    expect_wrong(SETTLE(text, APPEND, ":2\r\n")); /* shorter than what was appended */
}

static void a_removal_finds_all_parts_or_none(void **state)
{
    (void)state;
    struct redis_outcome out = SETTLE(family, REMOVE, ":3\r\n");
    expect_one(out, HISTORY_DEL);
    assert_true(out.effects[0].result.found);
    out = SETTLE(record, REMOVE, ":1\r\n");
    assert_true(out.effects[0].result.found);
    out = SETTLE(record, REMOVE_FIELDS, ":0\r\n");
    assert_false(out.effects[0].result.found);
    expect_wrong(SETTLE(family, REMOVE, ":1\r\n"));
    expect_wrong(SETTLE(record, REMOVE_FIELDS, ":2\r\n"));
}

static void errors_that_say_what_became_of_a_call_are_known(void **state)
{
    (void)state;
    assert_int_equal(SETTLE(text, READ, "-MOVED 7 127.0.0.1:7001\r\n").answer, REDIS_ANSWER_MOVED);
    assert_int_equal(
        SETTLE(text, WRITE, "-CLUSTERDOWN The cluster is down\r\n").answer, REDIS_ANSWER_CLUSTERDOWN);
    assert_int_equal(
        SETTLE(text, WRITE_MULTI, "-EXECABORT Transaction discarded\r\n").answer, REDIS_ANSWER_EXECABORT);
    assert_int_equal(SETTLE(counter, ADD, "-OOM command not allowed\r\n").answer, REDIS_ANSWER_OOM);
    assert_int_equal(SETTLE(counter, ADD, "-UNKNOWN the outcome\r\n").answer, REDIS_ANSWER_UNKNOWN);
    assert_int_equal(SETTLE(counter, ADD, "-TIMEOUT it\r\n").answer, REDIS_ANSWER_TIMEOUT);
    for (unsigned answer = 0; answer < REDIS_ANSWERS; answer++) {
        bool open = answer == REDIS_ANSWER_RESULT || answer == REDIS_ANSWER_UNKNOWN ||
                    answer == REDIS_ANSWER_CLOSED || answer == REDIS_ANSWER_WRONG;
        assert_int_equal(redis_answer_not_done((enum redis_answer)answer), !open);
    }
}

static void every_form_that_writes_may_have_done_so_without_a_reply(void **state)
{
    (void)state;
    for (unsigned form = 0; form < REDIS_FORMS; form++) {
        struct redis_call call = call_of(&text, (enum redis_form)form);
        struct redis_effect effect;
        bool reads = form == REDIS_FORM_READ || form == REDIS_FORM_READ_ALL || form == REDIS_FORM_READ_MULTI;
        assert_int_equal(redis_call_unknown(&call, &effect), !reads);
        assert_true(reads || effect.op != HISTORY_GET);
    }
    struct redis_call change = call_of(&counter, REDIS_FORM_CHANGE);
    struct redis_effect effect;
    assert_true(redis_call_unknown(&change, &effect));
    assert_int_equal(effect.op, HISTORY_INCR);
    assert_int_equal(effect.arg.delta, 5);
}

static void expect_bytes(struct buf *out, const char *raw, size_t len)
{
    assert_int_equal(out->len, len);
    assert_memory_equal(out->data, raw, len);
    buf_clear(out);
}
#define EXPECT_BYTES(out, raw) expect_bytes(out, raw, sizeof raw - 1)

static void commands_are_encoded_with_all_parts(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out);
    struct redis_call call = call_of(&family, REDIS_FORM_WRITE);
    assert_int_equal(redis_call_encode(&call, &out), 1);
    EXPECT_BYTES(&out, "*7\r\n$4\r\nMSET\r\n$4\r\n{f}a\r\n$3\r\nnew\r\n$4\r\n{f}b\r\n$3\r\nnew\r\n"
                       "$4\r\n{f}c\r\n$3\r\nnew\r\n");
    call = call_of(&record, REDIS_FORM_REMOVE_FIELDS);
    assert_int_equal(redis_call_encode(&call, &out), 1);
    EXPECT_BYTES(&out, "*5\r\n$4\r\nHDEL\r\n$1\r\nr\r\n$4\r\nname\r\n$4\r\n\\x61\r\n$3\r\n\0\xff\"\r\n");
    call = call_of(&counter, REDIS_FORM_ADD_MULTI);
    assert_int_equal(redis_call_encode(&call, &out), 4);
    EXPECT_BYTES(&out, "*1\r\n$5\r\nMULTI\r\n*3\r\n$6\r\nINCRBY\r\n$1\r\nc\r\n$1\r\n1\r\n"
                       "*3\r\n$6\r\nINCRBY\r\n$1\r\nc\r\n$1\r\n4\r\n*1\r\n$4\r\nEXEC\r\n");
    call = call_of(&counter, REDIS_FORM_CHANGE);
    call.found = true;
    call.before = bytes_from_text("17");
    assert_int_equal(redis_call_encode(&call, &out), 3);
    EXPECT_BYTES(&out, "*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nc\r\n$2\r\n22\r\n*1\r\n$4\r\nEXEC\r\n");
    redis_call_encode_watch(&field, &out);
    EXPECT_BYTES(&out, "*2\r\n$5\r\nWATCH\r\n$1\r\nh\r\n*3\r\n$4\r\nHGET\r\n$1\r\nh\r\n$4\r\nname\r\n");
    buf_deinit(&out);
}

static void every_kind_is_used_in_forms_that_add_up(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < REDIS_KINDS; kind++) {
        unsigned sum = 0;
        for (unsigned form = 0; form < REDIS_FORMS; form++) {
            sum += redis_form_percent((enum redis_kind)kind, (enum redis_form)form);
        }
        assert_int_equal(sum, 100);
        assert_int_equal(redis_form_percent((enum redis_kind)kind, REDIS_FORM_CHANGE), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_saw_a_value_or_nothing),
        cmocka_unit_test(parts_of_one_write_are_seen_together_or_it_is_wrong),
        cmocka_unit_test(a_follower_may_lack_some_keys_but_not_mix_writes),
        cmocka_unit_test(a_write_tells_its_condition),
        cmocka_unit_test(a_swap_took_what_was_there),
        cmocka_unit_test(a_watched_change_is_a_swap_or_a_sum),
        cmocka_unit_test(sums_of_one_transaction_follow_each_other),
        cmocka_unit_test(an_append_tells_the_length),
        cmocka_unit_test(a_removal_finds_all_parts_or_none),
        cmocka_unit_test(errors_that_say_what_became_of_a_call_are_known),
        cmocka_unit_test(every_form_that_writes_may_have_done_so_without_a_reply),
        cmocka_unit_test(commands_are_encoded_with_all_parts),
        cmocka_unit_test(every_kind_is_used_in_forms_that_add_up),
    };
    return cmocka_run_group_tests_name("redis_call", tests, NULL, NULL);
}
