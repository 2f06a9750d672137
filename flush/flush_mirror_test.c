#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "flush/flush_mirror.h"
#include "flush/pg_time.h"
#include "proto/base/alloc.h"
#include "proto/fields.h"

/* A reader that is written from the format's description. */
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

static uint32_t read_header(struct reader *r, const struct buf *array, uint32_t type, bool *nulls)
{
    *r = (struct reader){.p = array->data, .left = array->len};
    uint32_t dimensions = read_u32(r);
    uint32_t flag = read_u32(r);
    *nulls = flag == 1;
    assert_true(flag <= 1);
    assert_int_equal(read_u32(r), type);
    if (dimensions == 0) {
        assert_int_equal(r->left, 0);
        return 0;
    }
    assert_int_equal(dimensions, 1);
    uint32_t n = read_u32(r);
    assert_int_equal(read_u32(r), 1);
    return n;
}

/* NULL is data NULL. */
static struct bytes read_element(struct reader *r)
{
    uint32_t len = read_u32(r);
    if (len == UINT32_MAX) {
        return bytes_of(NULL, 0);
    }
    assert_true(r->left >= len);
    struct bytes element = bytes_of(r->p, len);
    r->p += len;
    r->left -= len;
    return element;
}

static void rows_become_arrays_of_their_columns(void **state)
{
    (void)state;
    const struct flush_quarantined rows[] = {
        {.key = bytes_from_text("a"),
            .value = bytes_from_text("one"),
            .version = 7,
            .since_ms = PG_TIME_EPOCH_MS + 5,
            .refused_ms = PG_TIME_EPOCH_MS + 6,
            .attempts = 3,
            .sqlstate = "23514",
            .message = "no"},
        {.key = bytes_from_text("b"),
            .deleted = true,
            .version = 8,
            .since_ms = 1,
            .refused_ms = 2,
            .attempts = UINT32_MAX,
            .sqlstate = "P0001",
            .message = ""},
    };
    struct flush_mirror_arrays a;
    struct reader r;
    bool nulls;
    flush_mirror_init(&a, &(struct flush_mirror){.rows = rows, .n = 2});
    assert_int_equal(read_header(&r, &a.keys, 17, &nulls), 2);
    assert_false(nulls);
    assert_true(bytes_equal(read_element(&r), bytes_from_text("a")));
    assert_true(bytes_equal(read_element(&r), bytes_from_text("b")));
    assert_int_equal(r.left, 0);
    assert_int_equal(read_header(&r, &a.values, 17, &nulls), 2);
    assert_true(nulls);
    assert_true(bytes_equal(read_element(&r), bytes_from_text("one")));
    assert_null(read_element(&r).data);
    assert_int_equal(read_header(&r, &a.value_bytes, 23, &nulls), 2);
    assert_true(nulls);
    assert_int_equal(load_be32(read_element(&r).data), 3);
    assert_null(read_element(&r).data);
    assert_int_equal(read_header(&r, &a.deleted, 16, &nulls), 2);
    assert_int_equal(read_element(&r).data[0], 0);
    assert_int_equal(read_element(&r).data[0], 1);
    assert_int_equal(read_header(&r, &a.versions, 20, &nulls), 2);
    assert_int_equal(load_be64(read_element(&r).data), 7);
    assert_int_equal(read_header(&r, &a.sqlstates, 25, &nulls), 2);
    assert_true(bytes_equal(read_element(&r), bytes_from_text("23514")));
    assert_int_equal(read_header(&r, &a.messages, 25, &nulls), 2);
    assert_true(bytes_equal(read_element(&r), bytes_from_text("no")));
    assert_int_equal(read_header(&r, &a.attempts, 23, &nulls), 2);
    assert_int_equal(load_be32(read_element(&r).data), 3);
    assert_int_equal(load_be32(read_element(&r).data), INT32_MAX);
    assert_int_equal(read_header(&r, &a.since, 1184, &nulls), 2);
    assert_int_equal(load_be64(read_element(&r).data), 5000);
    assert_int_equal(read_header(&r, &a.refused_at, 1184, &nulls), 2);
    assert_int_equal(load_be64(read_element(&r).data), 6000);
    flush_mirror_deinit(&a);
}

/* One of one field, which is @value. */
static void make_hash(struct buf *out, struct bytes value)
{
    buf_init(out);
    fields_begin(out);
    fields_add(out, bytes_from_text("f"), value);
    fields_end(out, 1);
}

static void a_hash_is_shown_by_its_fields(void **state)
{
    (void)state;
    struct buf hash;
    make_hash(&hash, bytes_from_text("\xff"));
    const struct flush_quarantined rows[] = {
        {.key = bytes_from_text("a"), .value = bytes_from_text("one"), .sqlstate = "", .message = ""},
        {.key = bytes_from_text("b"),
            .value = buf_bytes(&hash),
            .type = VALUE_HASH,
            .sqlstate = "",
            .message = ""},
        {.key = bytes_from_text("c"), .type = VALUE_HASH, .deleted = true, .sqlstate = "", .message = ""},
    };
    for (uint32_t first = 0; first < 2; first++) {
        struct flush_mirror_arrays a;
        struct reader r;
        bool nulls;
        flush_mirror_init(&a, &(struct flush_mirror){.rows = rows + first, .n = first == 0 ? 3 : 1});
        assert_int_equal(read_header(&r, &a.fields, 17, &nulls), first == 0 ? 3 : 1);
        assert_true(nulls == (first == 0));
        if (first == 0) {
            assert_null(read_element(&r).data);
        }
        assert_true(bytes_equal(read_element(&r), bytes_from_text("{\"f\":\"\\\\xff\"}")));
        if (first == 0) {
            assert_null(read_element(&r).data);
        }
        assert_int_equal(r.left, 0);
        assert_int_equal(read_header(&r, &a.values, 17, &nulls), first == 0 ? 3 : 1);
        assert_true(nulls);
        assert_int_equal(read_header(&r, &a.value_bytes, 23, &nulls), first == 0 ? 3 : 1);
        if (first == 0) {
            assert_int_equal(load_be32(read_element(&r).data), 3);
        }
        assert_int_equal(load_be32(read_element(&r).data), hash.len);
        flush_mirror_deinit(&a);
    }
    buf_deinit(&hash);
}

/* What counts is what is sent: two digits for each byte. */
static void only_so_much_is_shown_of_hashes(void **state)
{
    (void)state;
    enum { BIG = 1024 * 1024 - 64, FIT = FLUSH_MIRROR_VALUE_BYTES_MAX / (2 * BIG) };
    struct flush_quarantined rows[FIT + 2];
    uint8_t *value = xcalloc(1, BIG);
    struct buf hash;
    make_hash(&hash, bytes_of(value, BIG));
    for (uint32_t i = 0; i < FIT + 2; i++) {
        rows[i] = (struct flush_quarantined){.key = bytes_from_text("k"), .sqlstate = "", .message = ""};
        rows[i].value = i <= FIT ? buf_bytes(&hash) : bytes_from_text("a string");
        rows[i].type = i <= FIT ? VALUE_HASH : VALUE_STRING;
    }
    struct flush_mirror_arrays a;
    struct reader fields, values;
    bool nulls;
    flush_mirror_init(&a, &(struct flush_mirror){.rows = rows, .n = FIT + 2});
    assert_int_equal(read_header(&fields, &a.fields, 17, &nulls), FIT + 2);
    assert_int_equal(read_header(&values, &a.values, 17, &nulls), FIT + 2);
    for (uint32_t i = 0; i < FIT + 2; i++) {
        assert_true((read_element(&fields).data != NULL) == (i < FIT));
        assert_true((read_element(&values).data != NULL) == (i == FIT + 1));
    }
    flush_mirror_deinit(&a);
    buf_deinit(&hash);
    free(value);
}

static void an_empty_quarantine_is_arrays_without_elements(void **state)
{
    (void)state;
    struct flush_mirror_arrays a;
    struct reader r;
    bool nulls;
    flush_mirror_init(&a, &(struct flush_mirror){.n = 0});
    assert_int_equal(read_header(&r, &a.keys, 17, &nulls), 0);
    assert_int_equal(read_header(&r, &a.messages, 25, &nulls), 0);
    flush_mirror_deinit(&a);
}

/* Neither rows nor bytes without end go into one statement. */
static void only_so_much_is_shown(void **state)
{
    (void)state;
    enum { N = FLUSH_MIRROR_MAX + 1, BIG = 1024 * 1024, FIT = FLUSH_MIRROR_VALUE_BYTES_MAX / BIG };
    struct flush_quarantined *rows = xcalloc(N, sizeof *rows);
    uint8_t *value = xcalloc(1, BIG);
    for (uint32_t i = 0; i < N; i++) {
        rows[i] = (struct flush_quarantined){.key = bytes_from_text("k"), .sqlstate = "", .message = ""};
        rows[i].value = bytes_of(value, i <= FIT ? BIG : 0);
    }
    struct flush_mirror_arrays a;
    struct reader r;
    bool nulls;
    flush_mirror_init(&a, &(struct flush_mirror){.rows = rows, .n = N});
    assert_int_equal(read_header(&r, &a.keys, 17, &nulls), FLUSH_MIRROR_MAX);
    assert_int_equal(read_header(&r, &a.values, 17, &nulls), FLUSH_MIRROR_MAX);
    assert_true(nulls);
    for (uint32_t i = 0; i < FLUSH_MIRROR_MAX; i++) {
        struct bytes element = read_element(&r);
        assert_int_equal(element.len, i < FIT ? BIG : 0);
        assert_int_equal(element.data == NULL, i == FIT);
    }
    assert_int_equal(read_header(&r, &a.value_bytes, 23, &nulls), FLUSH_MIRROR_MAX);
    assert_false(nulls);
    for (uint32_t i = 0; i <= FIT; i++) {
        assert_int_equal(load_be32(read_element(&r).data), BIG);
    }
    flush_mirror_deinit(&a);
    free(value);
    free(rows);
}

static void what_is_not_utf8_is_replaced(void **state)
{
    (void)state;
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"plain", "plain"},
        {"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"cut \xe2\x82", "cut ??"},
        {"\xf0\x9f\x98x", "???x"},
        {"\x80\xbf\xff\xfe", "????"},
        {"\xc0\xaf long", "?? long"},
        {"\xe0\x9f\xbf \xf0\x8f\xbf\xbf", "??? ????"},
        {"\xed\xa0\x80 surrogate", "??? surrogate"},
        {"\xed\x9f\xbf \xee\x80\x80", "\xed\x9f\xbf \xee\x80\x80"},
        {"\xf4\x90\x80\x80 \xf5\x80\x80\x80", "???? ????"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct flush_quarantined row = {
            .key = bytes_from_text("k"), .sqlstate = "22021", .message = cases[i].text};
        struct flush_mirror_arrays a;
        struct reader r;
        bool nulls;
        flush_mirror_init(&a, &(struct flush_mirror){.rows = &row, .n = 1});
        assert_int_equal(read_header(&r, &a.messages, 25, &nulls), 1);
        struct bytes shown = read_element(&r);
        if (!bytes_equal(shown, bytes_from_text(cases[i].shown))) {
            fail_msg("case %zu: %.*s", i, (int)shown.len, (const char *)shown.data);
        }
        flush_mirror_deinit(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_become_arrays_of_their_columns),
        cmocka_unit_test(a_hash_is_shown_by_its_fields),
        cmocka_unit_test(only_so_much_is_shown_of_hashes),
        cmocka_unit_test(an_empty_quarantine_is_arrays_without_elements),
        cmocka_unit_test(only_so_much_is_shown),
        cmocka_unit_test(what_is_not_utf8_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
