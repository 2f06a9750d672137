/* HSCAN and HRANDFIELD: transcripts where the reply is Redis', and what they promise where it is left to
 * chance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "node/redis/transaction_fake.h"
#include "proto/base/alloc.h"

#define NOW_MS UINT64_C(1700000000000)

static int begin(void **state)
{
    static struct transaction t;
    fake_transaction_init(&t, NOW_MS);
    *state = &t;
    return 0;
}

static int end(void **state)
{
    fake_transaction_deinit(*state);
    return 0;
}

/* ---- HSCAN ---- */

static void a_small_hash_is_scanned_whole(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "HSET h a1 1 b 2 a2 3", ":3");
    assert_says(t, "HSCAN h 0", "*2 $1 0 *6 $2 a1 $1 1 $1 b $1 2 $2 a2 $1 3");
    assert_says(t, "HSCAN h 5 COUNT 1", "*2 $1 0 *6 $2 a1 $1 1 $1 b $1 2 $2 a2 $1 3");
    assert_says(t, "HSCAN h 0 match a* count 100", "*2 $1 0 *4 $2 a1 $1 1 $2 a2 $1 3");
    assert_says(t, "HSCAN h 0 MATCH a* MATCH b", "*2 $1 0 *2 $1 b $1 2");
    assert_says(t, "HSCAN h 0 MATCH x", "*2 $1 0 *0");
    assert_says(t, "HSET h \"\" 4", ":1");
    assert_says(t, "HSCAN h 0 MATCH ** COUNT 1", "*2 $1 0 *6 $2 a1 $1 1 $1 b $1 2 $2 a2 $1 3");
    assert_says(t, "HSCAN h 0 MATCH *", "*2 $1 0 *8 $2 a1 $1 1 $1 b $1 2 $2 a2 $1 3 $0  $1 4");
}

static void what_a_scan_cannot_be_told_is_refused(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "HSET h a 1", ":1");
    assert_says(t, "HSCAN h 1x", "-ERR invalid cursor");
    assert_says(t, "HSCAN h 18446744073709551616", "-ERR invalid cursor");
    assert_says(t, "HSCAN h 18446744073709551615", "*2 $1 0 *2 $1 a $1 1");
    assert_says(t, "HSCAN h \"\"", "*2 $1 0 *2 $1 a $1 1");
    assert_says(t, "HSCAN h 0 COUNT 0", "-ERR syntax error");
    assert_says(t, "HSCAN h 0 COUNT -1", "-ERR syntax error");
    assert_says(t, "HSCAN h 0 COUNT x", "-ERR value is not an integer or out of range");
    assert_says(t, "HSCAN h 0 COUNT", "-ERR syntax error");
    assert_says(t, "HSCAN h 0 MATCH", "-ERR syntax error");
    assert_says(t, "HSCAN h 0 TYPE hash", "-ERR syntax error");
    assert_says(t, "HSCAN h 0 COUNT x NONSENSE", "-ERR value is not an integer or out of range");
}

static void set_numbered(struct transaction *t, unsigned from, unsigned to)
{
    for (unsigned at = from; at < to; at += 500) {
        char texts[500][16];
        struct bytes args[2 + 2 * 500] = {bytes_from_text("HSET"), bytes_from_text("h")};
        uint32_t n = 2;
        for (unsigned i = at; i < to && i < at + 500; i++) {
            snprintf(texts[i - at], sizeof texts[0], "f%u", i);
            args[n++] = bytes_from_text(texts[i - at]);
            args[n++] = bytes_from_text(texts[i - at]);
        }
        fake_run_args(t, 2, args, n);
    }
}

static void remove_numbered(struct transaction *t, unsigned i)
{
    char name[16];
    snprintf(name, sizeof name, "f%u", i);
    fake_run(t, 2, "HDEL", "h", name, NULL);
}

/* The number behind @mark at *at, which moves behind its line. */
static uint64_t take_number(const char **at, char mark)
{
    assert_int_equal(**at, mark);
    char *line_end;
    uint64_t number = strtoull(*at + 1, &line_end, 10);
    assert_memory_equal(line_end, "\r\n", 2);
    *at = line_end + 2;
    return number;
}

/* One step of a scan of the fields f0, f1...: @told counts how often each was told, with the right value.
 * Returns the next cursor; *n is the number of fields. */
static uint64_t scan_step(
    struct transaction *t, uint64_t cursor, const char *count, unsigned *told, uint64_t *n)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, cursor);
    const char *at = fake_run(t, 2, "HSCAN", "h", text, "COUNT", count, NULL);
    assert_int_equal(take_number(&at, '*'), 2);
    uint64_t len = take_number(&at, '$');
    uint64_t next = strtoull(at, NULL, 10);
    at += len + 2;
    *n = take_number(&at, '*') / 2;
    for (uint64_t i = 0; i < *n; i++) {
        size_t name_len = take_number(&at, '$');
        const char *name = at;
        at += name_len + 2;
        assert_int_equal(take_number(&at, '$'), name_len);
        assert_memory_equal(at, name, name_len);
        at += name_len + 2;
        told[strtoul(name + 1, NULL, 10)]++;
    }
    assert_int_equal(*at, '\0');
    return next;
}

static void a_scan_tells_every_field_of_a_large_hash_once(void **state)
{
    enum { FIELDS = 2500 };
    const char *counts[] = {"1", "10", "300", "2400", "2500", "1000000"};
    struct transaction *t = *state;
    set_numbered(t, 0, FIELDS);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        unsigned *told = xcalloc(FIELDS, sizeof *told), steps = 0;
        uint64_t cursor = 0, n, count = strtoull(counts[i], NULL, 10);
        do {
            cursor = scan_step(t, cursor, counts[i], told, &n);
            assert_true(n >= count || cursor == 0);
            assert_true(n > 0);
            steps++;
        } while (cursor != 0);
        assert_true(steps <= 64 && steps <= FIELDS / count + 1);
        assert_true(count < FIELDS ? steps > 1 : steps == 1);
        for (unsigned field = 0; field < FIELDS; field++) {
            assert_int_equal(told[field], 1);
        }
        free(told);
    }
    unsigned none[1] = {0};
    uint64_t n;
    assert_int_equal(scan_step(t, UINT64_MAX, "10", none, &n), 0);
    assert_int_equal(n, 0);
}

static void what_is_there_all_the_time_is_told_whatever_comes_and_goes(void **state)
{
    enum { STAY = 1500, COME = 3000, ALL = 4000 }; /* f0 to f1499 stay, to f2999 go, from f3000 on come */
    struct transaction *t = *state;
    set_numbered(t, STAY, COME);
    set_numbered(t, 0, STAY); /* behind those that go, so that their places move */
    unsigned *told = xcalloc(ALL, sizeof *told), gone = STAY, come = COME;
    uint64_t cursor = 0, n;
    do {
        cursor = scan_step(t, cursor, "40", told, &n);
        for (unsigned i = 0; i < 60 && gone < COME; i++) {
            remove_numbered(t, gone++);
        }
        if (come < ALL) {
            set_numbered(t, come, come + 50);
            come += 50;
        }
    } while (cursor != 0);
    for (unsigned field = 0; field < ALL; field++) {
        assert_true(field < STAY ? told[field] == 1 : told[field] <= 1);
    }
    free(told);
}

static void a_scan_goes_on_when_the_hash_became_small(void **state)
{
    struct transaction *t = *state;
    unsigned told[600] = {0};
    uint64_t n, cursor;
    set_numbered(t, 0, 600);
    cursor = scan_step(t, 0, "100", told, &n);
    assert_true(cursor != 0);
    for (unsigned i = 0; i < 100; i++) {
        remove_numbered(t, i);
    }
    assert_int_equal(scan_step(t, cursor, "100", told, &n), 0);
    for (unsigned field = 100; field < 600; field++) {
        assert_true(told[field] >= 1);
    }
}

static void a_pattern_chooses_among_the_fields_of_a_step(void **state)
{
    struct transaction *t = *state;
    unsigned matches = 0, steps = 0;
    char cursor[24] = "0";
    set_numbered(t, 0, 1000);
    do {
        const char *at = fake_run(t, 2, "HSCAN", "h", cursor, "COUNT", "100", "MATCH", "f??7", NULL);
        take_number(&at, '*');
        take_number(&at, '$');
        snprintf(cursor, sizeof cursor, "%lu", strtoul(at, NULL, 10));
        at = strchr(at, '*');
        matches += (unsigned)take_number(&at, '*') / 2;
        steps++;
    } while (strcmp(cursor, "0") != 0);
    assert_int_equal(matches, 90);
    assert_true(steps > 5 && steps <= 10);
    char pattern[4 * 1024 + 2];
    memset(pattern, '*', sizeof pattern - 1);
    pattern[sizeof pattern - 1] = '\0';
    assert_string_equal(fake_run(t, 2, "HSCAN", "h", "0", "MATCH", pattern, NULL),
        "-ERR pattern is too long: at most 4096 bytes\r\n");
}

/* ---- HRANDFIELD ---- */

static void what_cannot_be_drawn_is_refused(void **state)
{
    struct transaction *t = *state;
    assert_says(t, "HSET h a 1 b 2", ":2");
    assert_says(t, "HRANDFIELD h 0", "*0");
    assert_says(t, "HRANDFIELD h 0 WITHVALUES", "*0");
    assert_says(t, "HRANDFIELD h 2", "*2 $1 a $1 b");
    assert_says(t, "HRANDFIELD h 9223372036854775807", "*2 $1 a $1 b");
    assert_says(t, "HRANDFIELD h 3 WithValues", "*4 $1 a $1 1 $1 b $1 2");
    assert_says(t, "HRANDFIELD h -9223372036854775808",
        "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
    assert_says(t, "HRANDFIELD h 4611686018427387904 WITHVALUES", "-ERR value is out of range");
    assert_says(t, "HRANDFIELD h -4611686018427387904 WITHVALUES", "-ERR value is out of range");
    assert_says(t, "HRANDFIELD h 4611686018427387903 WITHVALUES", "*4 $1 a $1 1 $1 b $1 2");
    assert_says(t, "HRANDFIELD h 1 WITHVALUES x", "-ERR syntax error");
    assert_says(t, "HRANDFIELD h 1.5", "-ERR value is not an integer or out of range");
}

enum { DRAWN_FROM = 10, DRAWS = 10000 };

/* Draw DRAWS times; @counts[i] is how often f@i was told. Each reply has @n fields in all. */
static void draw(struct transaction *t, const char *count, unsigned n, bool differ, unsigned *counts)
{
    set_numbered(t, 0, DRAWN_FROM);
    for (unsigned i = 0; i < DRAWS; i++) {
        t->writes = 1000 + i; /* so each call has another random number */
        const char *at = fake_run(t, 2, "HRANDFIELD", "h", count, NULL);
        unsigned seen = 0;
        if (count != NULL) {
            assert_int_equal(take_number(&at, '*'), n);
        }
        for (unsigned field = 0; field < n; field++) {
            assert_int_equal(take_number(&at, '$'), 2);
            unsigned number = (unsigned)(at[1] - '0');
            assert_false(differ && (seen & 1u << number) != 0);
            seen |= 1u << number;
            counts[number]++;
            at += 4;
        }
        assert_int_equal(*at, '\0');
    }
}

/* The numbers behind it are the same in each run, so these are not: about six standard deviations. */
static void assert_uniform(const unsigned *counts, unsigned expected, unsigned off_max)
{
    for (unsigned i = 0; i < DRAWN_FROM; i++) {
        assert_in_range(counts[i], expected - off_max, expected + off_max);
    }
}

static void each_field_is_drawn_as_often(void **state)
{
    unsigned counts[DRAWN_FROM] = {0};
    draw(*state, NULL, 1, true, counts);
    assert_uniform(counts, DRAWS / DRAWN_FROM, 180);
}

static void each_field_is_as_often_among_those_that_differ(void **state)
{
    unsigned counts[DRAWN_FROM] = {0};
    draw(*state, "3", 3, true, counts);
    assert_uniform(counts, 3 * DRAWS / DRAWN_FROM, 275);
}

static void each_field_is_as_often_among_those_that_may_repeat(void **state)
{
    unsigned counts[DRAWN_FROM] = {0};
    draw(*state, "-25", 25, false, counts);
    assert_uniform(counts, 25 * DRAWS / DRAWN_FROM, 900);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(a_small_hash_is_scanned_whole),
        TEST(what_a_scan_cannot_be_told_is_refused),
        TEST(a_scan_tells_every_field_of_a_large_hash_once),
        TEST(what_is_there_all_the_time_is_told_whatever_comes_and_goes),
        TEST(a_scan_goes_on_when_the_hash_became_small),
        TEST(a_pattern_chooses_among_the_fields_of_a_step),
        TEST(what_cannot_be_drawn_is_refused),
        TEST(each_field_is_drawn_as_often),
        TEST(each_field_is_as_often_among_those_that_differ),
        TEST(each_field_is_as_often_among_those_that_may_repeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
