#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/flush_batch.h"
#include "flush/pg_time.h"

/* A reader of array_send's format that is written from its description, not from our writer. */
struct reader {
    const uint8_t *p;
    size_t left;
};

static uint32_t read_u32(struct reader *r)
{
    assert_true(r->left >= 4);
    uint32_t v = load_be32(r->p);
    r->p += 4;
    r->left -= 4;
    return v;
}

/* Returns the number of elements; *@nulls is the flag. */
static uint32_t read_header(struct reader *r, const struct buf *array, uint32_t type, uint32_t *nulls)
{
    *r = (struct reader){.p = array->data, .left = array->len};
    uint32_t dimensions = read_u32(r);
    *nulls = read_u32(r);
    assert_int_equal(read_u32(r), type);
    if (dimensions == 0) {
        return 0;
    }
    assert_int_equal(dimensions, 1);
    uint32_t n = read_u32(r);
    assert_true(n > 0);
    assert_int_equal(read_u32(r), 1);
    return n;
}

/* False for NULL. */
static bool read_element(struct reader *r, struct bytes *out)
{
    uint32_t len = read_u32(r);
    if (len == UINT32_MAX) {
        return false;
    }
    assert_true(r->left >= len);
    *out = bytes_of(r->p, len);
    r->p += len;
    r->left -= len;
    return true;
}

static int64_t read_int8(struct reader *r)
{
    struct bytes b = {0};
    assert_true(read_element(r, &b));
    assert_int_equal(b.len, 8);
    return (int64_t)load_be64(b.data);
}

static void expect_bytes(struct reader *r, const void *data, size_t len)
{
    struct bytes b = {0};
    assert_true(read_element(r, &b));
    assert_int_equal(b.len, len);
    assert_true(bytes_equal(b, bytes_of(data, len)));
}

static struct flush_row row(
    const char *key, size_t key_len, const char *value, uint64_t version, uint64_t expires)
{
    return (struct flush_row){.key = bytes_of(key, key_len),
        .value = bytes_from_text(value),
        .version = version,
        .expires_at_ms = expires};
}

static void arrays_read_back_as_the_rows_sorted_by_key(void **state)
{
    (void)state;
    struct flush_row rows[] = {
        row("b", 1, "two", 20, 0),
        row("\xff", 1, "", UINT64_C(0x7fffffffffffffff), 1),
        row("a\0b", 3, "zero byte", 12, PG_TIME_EPOCH_MS + 1500),
        row("", 0, "empty key", 1, 0),
        row("gone2", 5, "", 31, 0),
        row("a", 1, "one", 10, 0),
        row("gone1", 5, "", 30, 0),
    };
    rows[4].deleted = rows[6].deleted = true;
    struct flush_batch b;
    flush_batch_init(&b);
    flush_batch_build(&b, 77, 70, rows, 7);
    assert_int_equal(b.id, 77);
    assert_int_equal(b.predecessor, 70);
    assert_int_equal(b.upserts, 5);
    assert_int_equal(b.deletes, 2);

    struct reader keys, values, versions, expires, deleted;
    uint32_t nulls;
    assert_int_equal(read_header(&keys, &b.keys, 17, &nulls), 5);
    assert_int_equal(nulls, 0);
    assert_int_equal(read_header(&values, &b.values, 17, &nulls), 5);
    assert_int_equal(nulls, 0);
    assert_int_equal(read_header(&versions, &b.versions, 20, &nulls), 5);
    assert_int_equal(nulls, 0);
    assert_int_equal(read_header(&expires, &b.expires, 1184, &nulls), 5);
    assert_int_equal(nulls, 1);
    assert_int_equal(read_header(&deleted, &b.deleted, 17, &nulls), 2);
    assert_int_equal(nulls, 0);

    static const struct {
        const char *key;
        size_t key_len;
        const char *value;
        int64_t version;
        bool expires;
        int64_t expires_at;
    } expected[] = {
        {"", 0, "empty key", 1, false, 0},
        {"a", 1, "one", 10, false, 0},
        {"a\0b", 3, "zero byte", 12, true, 1500000},
        {"b", 1, "two", 20, false, 0},
        {"\xff", 1, "", INT64_MAX, true, INT64_C(-946684799999000)},
    };
    for (size_t i = 0; i < 5; i++) {
        expect_bytes(&keys, expected[i].key, expected[i].key_len);
        expect_bytes(&values, expected[i].value, strlen(expected[i].value));
        assert_int_equal(read_int8(&versions), expected[i].version);
        if (expected[i].expires) {
            assert_int_equal(read_int8(&expires), expected[i].expires_at);
        } else {
            struct bytes none;
            assert_false(read_element(&expires, &none));
        }
    }
    expect_bytes(&deleted, "gone1", 5);
    expect_bytes(&deleted, "gone2", 5);
    assert_int_equal(keys.left + values.left + versions.left + expires.left + deleted.left, 0);
    flush_batch_deinit(&b);
}

static void a_hash_has_fields_and_no_value(void **state)
{
    (void)state;
    static const char hash[] = "\1\0\0\0\1f\1\xff"; /* one field, f */
    struct flush_row rows[] = {
        row("c", 1, "string", 3, 0), row("b", 1, "", 2, 0), row("a", 1, "", 1, 0), row("d", 1, "", 4, 0)};
    rows[1].type = rows[3].type = VALUE_HASH;
    rows[1].value = bytes_of(hash, sizeof hash - 1);
    rows[3].deleted = true; /* of which the type means nothing */
    struct flush_batch b;
    struct reader values, fields;
    struct bytes none;
    uint32_t nulls;
    flush_batch_init(&b);
    flush_batch_build(&b, 2, 1, rows, 4);
    assert_int_equal(b.upserts, 3);
    assert_int_equal(b.hashes, 1);
    assert_int_equal(read_header(&values, &b.values, 17, &nulls), 3);
    assert_int_equal(nulls, 1);
    assert_int_equal(read_header(&fields, &b.fields, 17, &nulls), 3);
    assert_int_equal(nulls, 1);
    expect_bytes(&values, "", 0);
    assert_false(read_element(&fields, &none));
    assert_false(read_element(&values, &none));
    expect_bytes(&fields, "{\"f\":\"\\\\xff\"}", 13);
    expect_bytes(&values, "string", 6);
    assert_false(read_element(&fields, &none));
    assert_int_equal(values.left + fields.left, 0);
    flush_batch_deinit(&b);
    /* Hashes only; and none, when the array of fields has no elements. */
    flush_batch_build(&b, 2, 1, rows + 1, 1);
    assert_int_equal(read_header(&fields, &b.fields, 17, &nulls), 1);
    assert_int_equal(nulls, 0);
    flush_batch_deinit(&b);
    flush_batch_build(&b, 2, 1, rows, 1);
    assert_int_equal(b.hashes, 0);
    assert_int_equal(read_header(&fields, &b.fields, 17, &nulls), 0);
    assert_int_equal(nulls, 0);
    read_header(&values, &b.values, 17, &nulls);
    assert_int_equal(nulls, 0);
    flush_batch_deinit(&b);
}

static void an_empty_list_is_an_array_without_dimensions(void **state)
{
    (void)state;
    struct flush_batch b;
    flush_batch_init(&b);
    flush_batch_build(&b, 2, 1, NULL, 0);
    struct reader r;
    uint32_t nulls;
    assert_int_equal(read_header(&r, &b.keys, 17, &nulls), 0);
    assert_int_equal(r.left, 0);
    assert_int_equal(read_header(&r, &b.expires, 1184, &nulls), 0);
    assert_int_equal(nulls, 0);
    assert_int_equal(read_header(&r, &b.deleted, 17, &nulls), 0);
    assert_int_equal(b.upserts + b.deletes, 0);
    flush_batch_deinit(&b);
}

static void the_batch_keeps_its_bytes_when_the_rows_change(void **state)
{
    (void)state;
    char value[] = "before";
    struct flush_row rows[] = {row("k", 1, "", 1, 0)};
    rows[0].value = bytes_of(value, 6);
    struct flush_batch b;
    flush_batch_init(&b);
    flush_batch_build(&b, 2, 1, rows, 1);
    memcpy(value, "after!", 6);
    struct reader r;
    uint32_t nulls;
    read_header(&r, &b.values, 17, &nulls);
    expect_bytes(&r, "before", 6);
    flush_batch_deinit(&b);
}

static void the_flag_for_nulls_is_set_only_when_some_row_lasts(void **state)
{
    (void)state;
    struct flush_row rows[] = {row("a", 1, "", 1, 5), row("b", 1, "", 2, 6)};
    struct flush_batch b;
    flush_batch_init(&b);
    flush_batch_build(&b, 2, 1, rows, 2);
    struct reader r;
    uint32_t nulls;
    assert_int_equal(read_header(&r, &b.expires, 1184, &nulls), 2);
    assert_int_equal(nulls, 0);
    flush_batch_deinit(&b);
}

static void times_go_to_postgresql_and_back(void **state)
{
    (void)state;
    const uint64_t last = (uint64_t)(PG_TIME_END / 1000) + PG_TIME_EPOCH_MS - 1;
    static const uint64_t times[] = {
        1, 999, PG_TIME_EPOCH_MS - 1, PG_TIME_EPOCH_MS, PG_TIME_EPOCH_MS + 1, UINT64_C(1767225600123)};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        assert_true(pg_time_to_unix_ms(pg_time_from_unix_ms(times[i])) == times[i]);
    }
    assert_true(pg_time_from_unix_ms(PG_TIME_EPOCH_MS) == 0);
    assert_true(pg_time_to_unix_ms(pg_time_from_unix_ms(last)) == last);
    assert_true(pg_time_from_unix_ms(last + 1) == PG_TIME_INFINITY);
    assert_true(pg_time_from_unix_ms(UINT64_MAX) == PG_TIME_INFINITY);
    assert_true(pg_time_to_unix_ms(PG_TIME_INFINITY) == 0);
    assert_true(pg_time_to_unix_ms(PG_TIME_MINUS_INFINITY) == 1);
    assert_true(pg_time_to_unix_ms(-1) == PG_TIME_EPOCH_MS - 1);
}

/* Against an order found by hand, on many random keys. */
static void keys_are_sorted_as_bytea_orders(void **state)
{
    (void)state;
    enum { N = 2000 };
    static struct flush_row rows[N];
    static uint8_t bytes[N][6];
    uint32_t random = 12345;
    for (uint32_t i = 0; i < N; i++) {
        for (int j = 0; j < 6; j++) {
            random = random * 1664525u + 1013904223u;
            bytes[i][j] = (uint8_t)(random >> 24);
        }
        bytes[i][0] &= 0x81; /* many equal beginnings, on both sides of 0x80 */
        bytes[i][4] = (uint8_t)(i >> 8);
        bytes[i][5] = (uint8_t)i; /* distinct */
        rows[i] = (struct flush_row){.key = bytes_of(bytes[i], 6), .version = i};
    }
    struct flush_batch b;
    flush_batch_init(&b);
    flush_batch_build(&b, 2, 1, rows, N);
    struct reader r;
    uint32_t nulls;
    assert_int_equal(read_header(&r, &b.keys, 17, &nulls), N);
    struct bytes before = {0}, now = {0};
    assert_true(read_element(&r, &before));
    for (uint32_t i = 1; i < N; i++) {
        assert_true(read_element(&r, &now));
        assert_true(memcmp(before.data, now.data, 6) < 0);
        before = now;
    }
    assert_int_equal(r.left, 0);
    flush_batch_deinit(&b);
}

/* Where the bytes behind a common beginning decide, or do not, and where one key is the beginning of another.
 */
static void keys_that_begin_alike_are_sorted_by_what_follows(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        size_t len;
    } sorted[] = {
        {"common:", 7},
        {"common:\0", 8},
        {"common:\0\0\0\0\0\0\0\0", 15},
        {"common:\0\0\0\0\0\0\0\0\0", 16},
        {"common:12345678", 15},
        {"common:12345678\0", 16},
        {"common:123456789", 16},
        {"common:1234567890", 17},
        {"common:\x80", 8},
    };
    enum { N = sizeof sorted / sizeof *sorted };
    for (unsigned first = 0; first < N; first++) { /* whatever the order that they come in */
        struct flush_row rows[N];
        for (unsigned i = 0; i < N; i++) {
            unsigned k = (first + i * 5) % N; /* 5 shares no factor with 9 */
            rows[i] = row(sorted[k].key, sorted[k].len, "", k + 1, 0);
        }
        struct flush_batch b;
        flush_batch_init(&b);
        flush_batch_build(&b, 2, 1, rows, N);
        struct reader keys, versions;
        uint32_t nulls;
        assert_int_equal(read_header(&keys, &b.keys, 17, &nulls), N);
        assert_int_equal(read_header(&versions, &b.versions, 20, &nulls), N);
        for (unsigned i = 0; i < N; i++) {
            expect_bytes(&keys, sorted[i].key, sorted[i].len);
            assert_int_equal(read_int8(&versions), i + 1);
        }
        flush_batch_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_read_back_as_the_rows_sorted_by_key),
        cmocka_unit_test(a_hash_has_fields_and_no_value),
        cmocka_unit_test(an_empty_list_is_an_array_without_dimensions),
        cmocka_unit_test(the_batch_keeps_its_bytes_when_the_rows_change),
        cmocka_unit_test(the_flag_for_nulls_is_set_only_when_some_row_lasts),
        cmocka_unit_test(times_go_to_postgresql_and_back),
        cmocka_unit_test(keys_are_sorted_as_bytea_orders),
        cmocka_unit_test(keys_that_begin_alike_are_sorted_by_what_follows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
