#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/client.pb-c.h"
#include "proto/frame.h"
#include "proto/pb.h"
#include "tools/wbbench/wire.h"

/* The one whole frame in @raw, decoded by protobuf-c. */
static Wbrpc__Request *decode(const struct buf *raw, struct arena *arena)
{
    struct bytes payload;
    size_t consumed;
    assert_int_equal(frame_parse(buf_bytes(raw), 4 << 20, &payload, &consumed), STATUS_OK);
    assert_int_equal(consumed, raw->len);
    Wbrpc__Request *r = (Wbrpc__Request *)pb_unpack(&wbrpc__request__descriptor, payload, arena);
    assert_non_null(r);
    return r;
}

static void a_patched_set_decodes_to_what_was_meant(void **state)
{
    static const size_t value_lens[] = {0, 1, 100, 127, 128, 20000, 1 << 20};
    static const size_t key_lens[] = {1, 16, 127, 128, 1024};
    static const uint32_t ids[] = {WIRE_ID_FIRST, WIRE_ID_FIRST + 12345, WIRE_ID_END - 1};
    uint8_t *value = malloc(1 << 20);
    assert_non_null(value);
    memset(value, 'v', 1 << 20);
    for (size_t v = 0; v < sizeof value_lens / sizeof *value_lens; v++) {
        for (size_t k = 0; k < sizeof key_lens / sizeof *key_lens; k++) {
            struct wire_template t;
            wire_template_set(&t, key_lens[k], bytes_of(value, value_lens[v]), 5000);
            for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
                char key[1024];
                memset(key, 'a' + (int)i, sizeof key);
                struct buf out;
                struct arena arena;
                buf_init(&out);
                arena_init(&arena);
                wire_request(&t, ids[i], key, &out);
                const Wbrpc__Request *r = decode(&out, &arena);
                assert_int_equal(r->id, ids[i]);
                assert_int_equal(r->deadline_ms, 5000);
                assert_int_equal(r->op_case, WBRPC__REQUEST__OP_SET);
                assert_int_equal(r->set->n_entries, 1);
                assert_int_equal(r->set->entries[0]->key.len, key_lens[k]);
                assert_memory_equal(r->set->entries[0]->key.data, key, key_lens[k]);
                assert_true(bytes_equal(pb_bytes(r->set->entries[0]->value), bytes_of(value, value_lens[v])));
                arena_deinit(&arena);
                buf_deinit(&out);
            }
            wire_template_deinit(&t);
        }
    }
    free(value);
}

static void a_patched_get_decodes_to_what_was_meant(void **state)
{
    struct wire_template t;
    struct buf out;
    struct arena arena;
    wire_template_get(&t, 7, 100);
    buf_init(&out);
    arena_init(&arena);
    wire_request(&t, WIRE_ID_FIRST + 1, "cart:17", &out);
    const Wbrpc__Request *r = decode(&out, &arena);
    assert_int_equal(r->id, WIRE_ID_FIRST + 1);
    assert_int_equal(r->op_case, WBRPC__REQUEST__OP_GET);
    assert_int_equal(r->get->n_keys, 1);
    assert_true(bytes_equal(pb_bytes(r->get->keys[0]), bytes_from_text("cart:17")));
    arena_deinit(&arena);
    buf_deinit(&out);
    wire_template_deinit(&t);
}

static void pack_answer(struct buf *out)
{
    Wbrpc__Result first = WBRPC__RESULT__INIT;
    first.found = 1;
    first.has_value = 1;
    first.value = pb_borrow(bytes_from_text("3 apples"));
    first.has_version = 1;
    first.version = 1ULL << 60;
    Wbrpc__Result second = WBRPC__RESULT__INIT;
    second.found = 0;
    Wbrpc__Result *results[] = {&first, &second};
    Wbrpc__Response r = WBRPC__RESPONSE__INIT;
    r.id = 1ULL << 40;
    r.status = STATUS_NOT_LEADER;
    r.message = (char *)(uintptr_t) "ask another";
    r.leader = (char *)(uintptr_t) "127.0.0.1:7101";
    r.has_group = 1;
    r.group = 2;
    r.has_retry_after_ms = 1;
    r.retry_after_ms = 250;
    r.has_index = 1;
    r.index = 99;
    r.n_results = 2;
    r.results = results;
    pb_pack(&r.base, out);
}

static void reads_what_protobuf_writes(void **state)
{
    struct buf raw;
    struct wire_answer a;
    buf_init(&raw);
    pack_answer(&raw);
    assert_true(wire_answer_parse(buf_bytes(&raw), &a));
    assert_true(a.id == 1ULL << 40);
    assert_int_equal(a.status, STATUS_NOT_LEADER);
    assert_true(bytes_equal(a.message, bytes_from_text("ask another")));
    assert_true(bytes_equal(a.leader, bytes_from_text("127.0.0.1:7101")));
    assert_int_equal(a.retry_after_ms, 250);
    assert_true(a.found);
    assert_false(a.has_topology);
    buf_deinit(&raw);
}

/* A prefix may happen to be a whole, shorter message; it must never be read beyond its end (the sanitizer
 * sees that: each prefix is a block of its own). */
static void every_truncation_is_refused_or_shorter(void **state)
{
    struct buf raw;
    buf_init(&raw);
    pack_answer(&raw);
    unsigned refused = 0;
    for (size_t len = 0; len < raw.len; len++) {
        uint8_t *copy = malloc(len == 0 ? 1 : len);
        assert_non_null(copy);
        memcpy(copy, raw.data, len);
        struct wire_answer a;
        refused += !wire_answer_parse(bytes_of(copy, len), &a);
        free(copy);
    }
    assert_true(refused > raw.len / 2);
    buf_deinit(&raw);
}

static void garbage_is_refused(void **state)
{
    static const char *const garbage[] = {
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", /* a tag without an end */
        "\x0a\x05x",                                    /* longer than what is there */
        "\x0b\x01",                                     /* a group: no longer allowed */
        "\x08\x01\x42\x02\x0a\x7f",                     /* a broken result */
    };
    struct wire_answer a;
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        assert_false(wire_answer_parse(bytes_from_text(garbage[i]), &a));
    }
    assert_false(wire_answer_parse(bytes_of(NULL, 0), &a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_patched_set_decodes_to_what_was_meant),
        cmocka_unit_test(a_patched_get_decodes_to_what_was_meant),
        cmocka_unit_test(reads_what_protobuf_writes),
        cmocka_unit_test(every_truncation_is_refused_or_shorter),
        cmocka_unit_test(garbage_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
