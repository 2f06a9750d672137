#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "flush/fields_json.h"
#include "proto/base/alloc.h"
#include "proto/limits.h"

/* The hash of one field. */
static void make_one(struct buf *out, struct bytes name, struct bytes value)
{
    buf_init(out);
    fields_begin(out);
    fields_add(out, name, value);
    fields_end(out, 1);
    assert_false(out->failed);
}

static void assert_json(struct bytes encoded, const char *expected)
{
    struct buf json;
    buf_init(&json);
    fields_json_append(encoded, &json);
    buf_append_u8(&json, '\0');
    assert_string_equal((const char *)json.data, expected);
    buf_deinit(&json);
}

static void text_is_written_as_itself_and_other_bytes_in_digits(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        size_t len;
        const char *json; /* between the quotes */
    } rows[] = {
        {"", 0, ""},
        {"plain text, 42", 14, "plain text, 42"},
        {"a\"b\\c", 5, "a\\\"b\\\\c"},
        {"\n\x1f\x7f", 3, "\\u000a\\u001f\x7f"},
        {"/", 1, "/"},
        {"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", 11, "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xef\xbf\xbf", 3, "\xef\xbf\xbf"},         /* U+FFFF is a character to PostgreSQL */
        {"\xf4\x8f\xbf\xbf", 4, "\xf4\x8f\xbf\xbf"}, /* the last one */
        {"\0", 1, "\\\\x00"},
        {"a\0b", 3, "\\\\x610062"},
        {"\x80", 1, "\\\\x80"},
        {"\xff\xfe", 2, "\\\\xfffe"},
        {"abc\xc3", 4, "\\\\x616263c3"},          /* cut */
        {"\xc0\xaf", 2, "\\\\xc0af"},             /* longer than needed */
        {"\xed\xa0\x80", 3, "\\\\xeda080"},       /* half of a surrogate */
        {"\xf4\x90\x80\x80", 4, "\\\\xf4908080"}, /* above U+10FFFF */
        {"\\x", 2, "\\\\x5c78"},
        {"\\x41", 4, "\\\\x5c783431"},
        {"\\X41", 4, "\\\\X41"},
        {"\\", 1, "\\\\"},
        {" \\x41", 5, " \\\\x41"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bytes text = bytes_of(rows[i].value, rows[i].len);
        struct buf hash;
        char expected[128];
        make_one(&hash, bytes_from_text("f"), text);
        snprintf(expected, sizeof expected, "{\"f\":\"%s\"}", rows[i].json);
        assert_json(buf_bytes(&hash), expected);
        buf_deinit(&hash);
        make_one(&hash, text, bytes_from_text("v")); /* names likewise */
        snprintf(expected, sizeof expected, "{\"%s\":\"v\"}", rows[i].json);
        assert_json(buf_bytes(&hash), expected);
        buf_deinit(&hash);
    }
}

static void fields_stand_in_their_order(void **state)
{
    (void)state;
    const struct field fields[] = {{bytes_from_text("b"), bytes_from_text("1")},
        {bytes_from_text("a"), bytes_from_text("")}, {bytes_from_text(""), bytes_from_text("3")}};
    struct buf hash;
    buf_init(&hash);
    fields_set(bytes_of(NULL, 0), fields, 3, &hash);
    assert_json(buf_bytes(&hash), "{\"b\":\"1\",\"a\":\"\",\"\":\"3\"}");
    buf_deinit(&hash);
}

/* Read one field whose value is @text; the value that it has then must be @expected. */
static void assert_read(const char *text, const void *expected, size_t len)
{
    const struct bytes texts[] = {bytes_from_text("f"), bytes_from_text(text)};
    struct buf hash;
    struct bytes value;
    buf_init(&hash);
    assert_true(fields_json_read(texts, 1, &hash));
    assert_true(fields_valid(buf_bytes(&hash)));
    assert_true(fields_find(buf_bytes(&hash), bytes_from_text("f"), &value));
    assert_true(bytes_equal(value, bytes_of(expected, len)));
    buf_deinit(&hash);
}

static void texts_of_others_are_read_as_bytea_would_be_or_as_they_are(void **state)
{
    (void)state;
    assert_read("", "", 0);
    assert_read("12.5", "12.5", 4);
    assert_read("\\x00fF", "\0\xff", 2);
    assert_read("\\xABCDEF", "\xab\xcd\xef", 3);
    assert_read("\\x41", "A", 1);
    assert_read("\\x", "", 0);
    assert_read("\\x0", "\\x0", 3);
    assert_read("\\x0g", "\\x0g", 4);
    assert_read("\\x00 ", "\\x00 ", 5);
    assert_read("\\xg0", "\\xg0", 4);
    assert_read("\\X00", "\\X00", 4);
    assert_read("\\x@@", "\\x@@", 4); /* beside the digits in ASCII */
    assert_read("\\x`G", "\\x`G", 4);
    assert_read("\\x:/", "\\x:/", 4);
}

static void what_is_no_hash_of_ours_is_refused(void **state)
{
    (void)state;
    struct buf hash;
    buf_init(&hash);
    assert_false(fields_json_read(NULL, 0, &hash));
    buf_clear(&hash);
    /* One name in two spellings. */
    const struct bytes twice[] = {
        bytes_from_text("a"), bytes_from_text("1"), bytes_from_text("\\x61"), bytes_from_text("2")};
    assert_false(fields_json_read(twice, 2, &hash));
    buf_clear(&hash);
    const struct bytes cases[] = {
        bytes_from_text("\\xff"), bytes_from_text("1"), bytes_from_text("\\xFF"), bytes_from_text("2")};
    assert_false(fields_json_read(cases, 2, &hash));
    buf_clear(&hash);
    const struct bytes apart[] = {
        bytes_from_text("\\x62"), bytes_from_text("1"), bytes_from_text("a"), bytes_from_text("2")};
    assert_true(fields_json_read(apart, 2, &hash));
    buf_deinit(&hash);
}

/* 4 bytes of count, 1 + 1 of the name, 3 of the value's length. */
enum { LONGEST_VALUE = LIMIT_VALUE_BYTES - 4 - 2 - 3 };

static void the_longest_hash_is_read_and_no_longer_one(void **state)
{
    (void)state;
    uint8_t *text = xmalloc(2 + 2 * (size_t)(LONGEST_VALUE + 1));
    memset(text, 'f', 2 + 2 * (size_t)(LONGEST_VALUE + 1));
    struct bytes texts[] = {bytes_from_text("n"), bytes_of(text, LONGEST_VALUE)};
    struct buf hash;
    buf_init(&hash);
    for (int in_digits = 0; in_digits < 2; in_digits++) {
        buf_clear(&hash);
        assert_true(fields_json_read(texts, 1, &hash));
        assert_int_equal(hash.len, LIMIT_VALUE_BYTES);
        texts[1].len += in_digits ? 2 : 1;
        buf_clear(&hash);
        assert_false(fields_json_read(texts, 1, &hash));
        memcpy(text, "\\x", 2);
        texts[1].len = 2 + 2 * (size_t)LONGEST_VALUE;
    }
    buf_deinit(&hash);
    free(text);
}

/* ---- there and back, with another's reader of JSON ---- */

static uint64_t random_state;

static uint32_t next_random(uint32_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % below;
}

/* Bytes that are text, nearly text, or anything; often with what needs care. */
static size_t random_bytes(uint8_t *out, size_t max)
{
    static const char *const pieces[] = {"\\x", "\\", "\"", "\n", "\xc3\xa9", "\xf0\x9f\x98\x80",
        "\xed\xa0\x80", "abc", "00", "\x01", "\x7f", "/"};
    size_t n = 0;
    for (uint32_t parts = next_random(5); parts > 0; parts--) {
        const char *piece = pieces[next_random(sizeof pieces / sizeof pieces[0])];
        size_t len = strlen(piece);
        if (next_random(8) == 0 && n < max) {
            out[n++] = (uint8_t)next_random(256);
        } else if (n + len <= max) {
            memcpy(out + n, piece, len);
            n += len;
        }
    }
    return n;
}

static void random_hash(struct buf *out)
{
    struct field fields[12];
    uint8_t bytes[24][32];
    uint32_t n = 1 + next_random(12);
    for (uint32_t i = 0; i < n; i++) {
        fields[i].name = bytes_of(bytes[2 * i], random_bytes(bytes[2 * i], 32));
        fields[i].value = bytes_of(bytes[2 * i + 1], random_bytes(bytes[2 * i + 1], 32));
    }
    buf_init(out);
    fields_set(bytes_of(NULL, 0), fields, n, out);
}

static void read_with_jansson(const struct buf *json, struct buf *out)
{
    json_error_t error;
    json_t *object = json_loadb((const char *)json->data, json->len, JSON_REJECT_DUPLICATES, &error), *value;
    if (object == NULL) {
        fail_msg("%s in %.*s", error.text, (int)json->len, (const char *)json->data);
    }
    struct bytes texts[24];
    uint32_t n = 0;
    for (void *it = json_object_iter(object); it != NULL; it = json_object_iter_next(object, it)) {
        value = json_object_iter_value(it);
        assert_true(json_is_string(value));
        texts[2 * n] = bytes_from_text(json_object_iter_key(it)); /* there is no NUL in it */
        texts[2 * n + 1] = bytes_of(json_string_value(value), json_string_length(value));
        n++;
    }
    buf_init(out);
    assert_true(fields_json_read(texts, n, out));
    json_decref(object);
}

static void random_hashes_go_to_json_and_back(void **state)
{
    (void)state;
    const char *seed = getenv("WB_SEED");
    uint64_t first = seed == NULL ? 1 : strtoull(seed, NULL, 10);
    for (uint64_t i = 0; i < 3000; i++) {
        random_state = first + i;
        struct buf hash, json, back;
        random_hash(&hash);
        buf_init(&json);
        fields_json_append(buf_bytes(&hash), &json);
        assert_true(json.len <= FIELDS_JSON_GROWTH_MAX * hash.len);
        read_with_jansson(&json, &back);
        if (!fields_equal(buf_bytes(&hash), buf_bytes(&back))) {
            fail_msg("WB_SEED=%llu: %.*s", (unsigned long long)(first + i), (int)json.len,
                (const char *)json.data);
        }
        buf_deinit(&back);
        buf_deinit(&json);
        buf_deinit(&hash);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_written_as_itself_and_other_bytes_in_digits),
        cmocka_unit_test(fields_stand_in_their_order),
        cmocka_unit_test(texts_of_others_are_read_as_bytea_would_be_or_as_they_are),
        cmocka_unit_test(what_is_no_hash_of_ours_is_refused),
        cmocka_unit_test(the_longest_hash_is_read_and_no_longer_one),
        cmocka_unit_test(random_hashes_go_to_json_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
