/* The fields of hashes. The random part prints the seed of a failure; give it as the only argument to run
 * that seed alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <inttypes.h>
#include <stdio.h>
#include <cmocka.h>

#include "proto/fields_test_model.h"

#define BYTES(literal) bytes_of(literal, sizeof(literal) - 1)

static uint64_t seed_wanted; /* set by main, before any test runs; 0: all of them */

static void assert_bytes(struct bytes got, struct bytes expected)
{
    assert_int_equal(got.len, expected.len);
    if (got.len > 0) {
        assert_memory_equal(got.data, expected.data, got.len);
    }
}

/* "a=1 b=2" for a hash, with its fields in their order. */
static const char *shown(struct bytes encoded)
{
    static char text[512];
    size_t len = 0;
    struct field field;
    text[0] = '\0';
    for (size_t at = 0; fields_next(encoded, &at, &field);) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%.*s=%.*s", len > 0 ? " " : "",
            (int)field.name.len, (const char *)field.name.data, (int)field.value.len,
            (const char *)field.value.data);
    }
    return text;
}

/* The pairs of "a 1 b 2". @room: for as many. */
static uint32_t pairs(const char *words, struct field *room)
{
    uint32_t n = 0;
    for (; *words != '\0'; n++) {
        size_t name = strcspn(words, " "), value = strcspn(words + name + 1, " ");
        room[n].name = bytes_of(words, name);
        room[n].value = bytes_of(words + name + 1, value);
        words += name + 1 + value;
        words += *words == ' ';
    }
    return n;
}

static uint32_t set(struct buf *hash, const char *words)
{
    struct field changes[16];
    struct buf out;
    buf_init(&out);
    uint32_t n = pairs(words, changes), added = fields_set(buf_bytes(hash), changes, n, &out);
    buf_deinit(hash);
    buf_move(hash, &out);
    return added;
}

static void the_bytes_are_as_the_header_says(void **state)
{
    struct buf out;
    uint8_t value[300];
    memset(value, 'v', sizeof value);
    buf_init(&out);
    fields_begin(&out);
    fields_add(&out, BYTES("ab"), BYTES("1"));
    fields_add(&out, BYTES(""), bytes_of(value, sizeof value));
    fields_end(&out, 2);
    assert_bytes(bytes_of(out.data, 12), BYTES("\x02\0\0\0\x02"
                                               "ab\x01"
                                               "1\0\xac\x02"));
    assert_int_equal(out.len, 12 + 300);
    assert_true(fields_valid(buf_bytes(&out)));
    buf_deinit(&out);
}

static void what_is_not_a_hash_is_not_valid(void **state)
{
    const struct {
        const char *why;
        struct bytes bytes;
    } rows[] = {
        {"nothing", BYTES("")},
        {"no whole count", BYTES("\x01\0\0")},
        {"no fields", BYTES("\0\0\0\0")},
        {"a count without its fields", BYTES("\x01\0\0\0")},
        {"a count that is far too large", BYTES("\xff\xff\xff\xff\0\0\0\0")},
        {"a field less", BYTES("\x02\0\0\0\x01"
                               "a\x01"
                               "1")},
        {"a field more", BYTES("\x01\0\0\0\x01"
                               "a\x01"
                               "1\x01"
                               "b\x01"
                               "1")},
        {"a byte more", BYTES("\x01\0\0\0\x01"
                              "a\x01"
                              "1\0")},
        {"a name beyond the end", BYTES("\x01\0\0\0\x05"
                                        "a\x01"
                                        "1")},
        {"a value beyond the end", BYTES("\x01\0\0\0\x01"
                                         "a\x02"
                                         "1")},
        {"a length without an end", BYTES("\x01\0\0\0\x01"
                                          "a\xff\xff\xff\xff")},
        {"a length of six bytes", BYTES("\x01\0\0\0\x81\x80\x80\x80\x80\x01"
                                        "a\0")},
        {"a length over 32 bits", BYTES("\x01\0\0\0\x80\x80\x80\x80\x10"
                                        "a\0")},
        {"a length with a longer spelling", BYTES("\x01\0\0\0\x81\0"
                                                  "a\x01"
                                                  "1")},
        {"a length of 0 with a longer spelling", BYTES("\x01\0\0\0\x80\0\0")},
        {"a field twice", BYTES("\x02\0\0\0\x01"
                                "a\x01"
                                "1\x01"
                                "a\x01"
                                "2")},
        {"the empty field twice", BYTES("\x02\0\0\0\0\0\0\0")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (fields_valid(rows[i].bytes)) {
            fail_msg("valid: %s", rows[i].why);
        }
        struct field field;
        for (size_t at = 0; fields_next(rows[i].bytes, &at, &field);) {
            assert_true(at <= rows[i].bytes.len); /* a walk stays within them all the same */
        }
    }
    assert_true(fields_valid(BYTES("\x01\0\0\0\0\0")));
}

static void no_part_of_a_hash_is_valid(void **state)
{
    struct buf hash;
    buf_init(&hash);
    set(&hash, "a 1 bb 22 ccc 333 d  e 5");
    for (size_t len = 0; len < hash.len; len++) {
        uint8_t *part = xmalloc(len + 1); /* reading past its end is seen */
        memcpy(part + 1, hash.data, len);
        assert_false(fields_valid(bytes_of(part + 1, len)));
        free(part);
    }
    assert_true(fields_valid(buf_bytes(&hash)));
    buf_deinit(&hash);
}

static void fields_keep_their_places(void **state)
{
    struct buf hash;
    buf_init(&hash);
    assert_int_equal(set(&hash, "a 1 b 2 c 3"), 3);
    assert_string_equal(shown(buf_bytes(&hash)), "a=1 b=2 c=3");
    assert_int_equal(set(&hash, "b 22 d 4 a "), 1);
    assert_string_equal(shown(buf_bytes(&hash)), "a= b=22 c=3 d=4");
    assert_int_equal(set(&hash, "c 3"), 0);
    assert_string_equal(shown(buf_bytes(&hash)), "a= b=22 c=3 d=4");
    buf_deinit(&hash);
}

static void the_last_of_several_changes_of_a_field_counts(void **state)
{
    struct buf hash;
    buf_init(&hash);
    assert_int_equal(set(&hash, "a 1 b 2 a 3"), 2);
    assert_string_equal(shown(buf_bytes(&hash)), "a=3 b=2");
    assert_int_equal(set(&hash, "c 1 b 4 c 2 b 5 c 6"), 1);
    assert_string_equal(shown(buf_bytes(&hash)), "a=3 b=5 c=6");
    buf_deinit(&hash);
}

static void a_field_that_went_comes_back_at_the_end(void **state)
{
    struct buf hash, out;
    buf_init(&hash);
    buf_init(&out);
    set(&hash, "a 1 b 2 c 3");
    assert_int_equal(
        fields_remove(buf_bytes(&hash), (struct bytes[]){BYTES("a"), BYTES("x"), BYTES("a")}, 3, &out), 1);
    assert_string_equal(shown(buf_bytes(&out)), "b=2 c=3");
    set(&out, "a 4");
    assert_string_equal(shown(buf_bytes(&out)), "b=2 c=3 a=4");
    buf_deinit(&hash);
    buf_deinit(&out);
}

static void nothing_is_left_of_a_hash_without_fields(void **state)
{
    struct buf hash, out;
    buf_init(&hash);
    buf_init(&out);
    set(&hash, "a 1 b 2");
    assert_int_equal(fields_remove(buf_bytes(&hash), (struct bytes[]){BYTES("b"), BYTES("a")}, 2, &out), 2);
    assert_int_equal(out.len, 0);
    assert_int_equal(fields_remove(bytes_of(NULL, 0), (struct bytes[]){BYTES("a")}, 1, &out), 0);
    assert_int_equal(out.len, 0);
    assert_int_equal(fields_set(bytes_of(NULL, 0), NULL, 0, &out), 0);
    assert_int_equal(out.len, 0);
    buf_deinit(&hash);
    buf_deinit(&out);
}

static void no_hash_has_no_fields(void **state)
{
    struct field field;
    struct bytes value, name = BYTES("");
    size_t at = 0;
    assert_int_equal(fields_count(bytes_of(NULL, 0)), 0);
    assert_false(fields_next(bytes_of(NULL, 0), &at, &field));
    assert_false(fields_find(bytes_of(NULL, 0), name, &value));
    fields_find_all(bytes_of(NULL, 0), &name, 1, &value);
    assert_null(value.data);
    assert_true(fields_equal(bytes_of(NULL, 0), bytes_of(NULL, 0)));
}

static void an_empty_value_is_found(void **state)
{
    struct buf hash;
    struct bytes names[] = {BYTES("b"), BYTES("x"), BYTES("a"), BYTES("b")}, values[4];
    buf_init(&hash);
    set(&hash, "a 1 b ");
    assert_true(fields_find(buf_bytes(&hash), names[0], &values[0]));
    assert_int_equal(values[0].len, 0);
    fields_find_all(buf_bytes(&hash), names, 4, values);
    assert_non_null(values[0].data);
    assert_int_equal(values[0].len, 0);
    assert_null(values[1].data);
    assert_bytes(values[2], BYTES("1"));
    assert_ptr_equal(values[3].data, values[0].data);
    buf_deinit(&hash);
}

static void hashes_are_equal_in_whatever_order(void **state)
{
    const struct {
        const char *a, *b;
        bool equal;
    } rows[] = {
        {"a 1 b 2", "b 2 a 1", true},
        {"a 1 b 2", "b 1 a 2", false},
        {"a 1 b 2", "a 1 c 2", false},
        {"a 1 b 2", "a 1", false},
        {"a 12", "a1 2", false},
        {"a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8 i 9 j 0", "j 0 i 9 h 8 g 7 f 6 e 5 d 4 c 3 b 2 a 1", true},
        {"a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8 i 9 j 0", "j 0 i 9 h 8 g 7 f 6 e 6 d 4 c 3 b 2 a 1", false},
        {"a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8 i 9 j 0", "j 0 i 9 h 8 g 7 f 6 E 5 d 4 c 3 b 2 a 1", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf a, b;
        buf_init(&a);
        buf_init(&b);
        set(&a, rows[i].a);
        set(&b, rows[i].b);
        assert_int_equal(fields_equal(buf_bytes(&a), buf_bytes(&b)), rows[i].equal);
        assert_int_equal(fields_equal(buf_bytes(&b), buf_bytes(&a)), rows[i].equal);
        buf_deinit(&a);
        buf_deinit(&b);
    }
}

/* ---- Many fields ---- */

enum { NAME_CHARS = 12 };

struct names {
    char texts[4000][NAME_CHARS];
    struct field fields[4000];
    uint32_t n;
};

static void add_name(struct names *names, uint32_t number)
{
    int len = snprintf(names->texts[names->n], NAME_CHARS, "%" PRIu32, number);
    struct bytes text = bytes_of(names->texts[names->n], (size_t)len);
    names->fields[names->n++] = (struct field){.name = text, .value = text};
}

/* @n names whose hashes end in the same @bits bits: in the index they all want one place. */
static void add_colliding(struct names *names, uint32_t n, unsigned bits)
{
    static uint32_t number;
    for (uint32_t end = names->n + n; names->n < end; number++) {
        char text[NAME_CHARS];
        int len = snprintf(text, sizeof text, "%" PRIu32, number);
        if ((bytes_hash(bytes_of(text, (size_t)len), 0) & ((UINT64_C(1) << bits) - 1)) == 7) {
            add_name(names, number);
        }
    }
}

/* All of @names are set, found, changed and removed, as any would be. */
static void check_many(const struct names *names)
{
    struct buf hash, again, rest;
    struct bytes *asked = xmalloc(names->n * sizeof *asked), *values = xmalloc(names->n * sizeof *values);
    buf_init(&hash);
    buf_init(&again);
    buf_init(&rest);
    assert_int_equal(fields_set(bytes_of(NULL, 0), names->fields, names->n, &hash), names->n);
    assert_true(fields_valid(buf_bytes(&hash)));
    assert_int_equal(fields_set(buf_bytes(&hash), names->fields, names->n, &again), 0);
    assert_bytes(buf_bytes(&again), buf_bytes(&hash));
    for (uint32_t i = 0; i < names->n; i++) {
        asked[names->n - 1 - i] = names->fields[i].name;
    }
    fields_find_all(buf_bytes(&hash), asked, names->n, values);
    for (uint32_t i = 0; i < names->n; i++) {
        assert_bytes(values[i], asked[i]);
    }
    assert_int_equal(fields_remove(buf_bytes(&hash), asked, names->n - 1, &rest), names->n - 1);
    assert_int_equal(fields_count(buf_bytes(&rest)), 1);
    assert_bytes(bytes_of(rest.data + 5, rest.data[4]), names->fields[0].name);

    /* the same in the other order, and with one field twice */
    buf_clear(&again);
    fields_begin(&again);
    for (uint32_t i = 0; i < names->n; i++) {
        fields_add(&again, asked[i], asked[i]);
    }
    fields_end(&again, names->n);
    assert_true(fields_equal(buf_bytes(&hash), buf_bytes(&again)));
    fields_add(&again, asked[names->n / 2], BYTES(""));
    fields_end(&again, names->n + 1);
    assert_false(fields_valid(buf_bytes(&again)));
    free(asked);
    free(values);
    buf_deinit(&hash);
    buf_deinit(&again);
    buf_deinit(&rest);
}

static void thousands_of_fields_are_as_a_few(void **state)
{
    struct names *names = xcalloc(1, sizeof *names);
    for (uint32_t i = 0; i < 4000; i++) {
        add_name(names, i);
    }
    check_many(names);
    free(names);
}

static void names_that_collide_are_as_any(void **state)
{
    struct names *names = xcalloc(1, sizeof *names);
    add_colliding(names, 600, 11); /* the index of 600 has 2048 places */
    check_many(names);
    free(names);
}

/* The index is made of names that collide too little to matter; those that are looked up use its allowance
 * up. */
static void names_that_collide_with_the_changes_are_as_any(void **state)
{
    struct names *changes = xcalloc(1, sizeof *changes), *there = xcalloc(1, sizeof *there);
    struct buf hash, out;
    buf_init(&hash);
    buf_init(&out);
    for (uint32_t i = 0; i < 220; i++) {
        add_name(changes, 1000000 + i);
    }
    add_colliding(changes, 60, 10); /* the index of 280 has 1024 places */
    add_colliding(there, 200, 10);
    fields_set(bytes_of(NULL, 0), there->fields, there->n, &hash);
    for (uint32_t i = 0; i < changes->n; i += 2) {
        fields_set(buf_bytes(&hash), &changes->fields[i], 1, &out);
        buf_deinit(&hash);
        buf_move(&hash, &out);
    }
    assert_int_equal(fields_count(buf_bytes(&hash)), 200 + 140);
    assert_int_equal(fields_set(buf_bytes(&hash), changes->fields, changes->n, &out), 140);
    assert_true(fields_valid(buf_bytes(&out)));
    assert_int_equal(fields_count(buf_bytes(&out)), 200 + 280);
    assert_memory_equal(out.data + 4, hash.data + 4, hash.len - 4); /* the new ones are behind */
    buf_deinit(&hash);
    buf_deinit(&out);
    free(changes);
    free(there);
}

/* ---- At random ---- */

enum { SEEDS = 200, STEPS = 40 };

static uint8_t next_random(void *data)
{
    uint64_t z = (*(uint64_t *)data += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint8_t)(z ^ (z >> 31));
}

static void changes_are_those_of_a_plain_array(void **state)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t random = seed_wanted != 0 ? seed_wanted : seed;
        struct model m = {.next = next_random, .data = &random};
        for (unsigned step = 0; step < STEPS; step++) {
            if (!model_step(&m)) {
                fail_msg(
                    "step %u differs; the seed is %" PRIu64, step, seed_wanted != 0 ? seed_wanted : seed);
            }
        }
        buf_deinit(&m.encoded);
        if (seed_wanted != 0) {
            break;
        }
    }
}

int main(int argc, char **argv)
{
    seed_wanted = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_as_the_header_says),
        cmocka_unit_test(what_is_not_a_hash_is_not_valid),
        cmocka_unit_test(no_part_of_a_hash_is_valid),
        cmocka_unit_test(fields_keep_their_places),
        cmocka_unit_test(the_last_of_several_changes_of_a_field_counts),
        cmocka_unit_test(a_field_that_went_comes_back_at_the_end),
        cmocka_unit_test(nothing_is_left_of_a_hash_without_fields),
        cmocka_unit_test(no_hash_has_no_fields),
        cmocka_unit_test(an_empty_value_is_found),
        cmocka_unit_test(hashes_are_equal_in_whatever_order),
        cmocka_unit_test(thousands_of_fields_are_as_a_few),
        cmocka_unit_test(names_that_collide_are_as_any),
        cmocka_unit_test(names_that_collide_with_the_changes_are_as_any),
        cmocka_unit_test(changes_are_those_of_a_plain_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
