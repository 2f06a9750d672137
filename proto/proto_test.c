#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/list.h"
#include "proto/frame.h"
#include "proto/limits.h"
#include "proto/log_entry.h"
#include "proto/pb.h"
#include "proto/slot.h"

/* The published check value of CRC16/XMODEM, and slots that the Redis Cluster documentation names. */
static void slots_match_the_published_vectors(void **state)
{
    (void)state;
    assert_int_equal(crc16_xmodem(bytes_from_text("123456789")), 0x31c3);
    assert_int_equal(slot_of(bytes_from_text("123456789")), 0x31c3);
    assert_int_equal(slot_of(bytes_from_text("foo")), 12182);
    assert_int_equal(slot_of(bytes_from_text("bar")), 5061);
    assert_int_equal(slot_of(bytes_from_text("hello")), 866);
    assert_int_equal(slot_of(bytes_from_text("")), 0);
}

static void only_the_first_whole_tag_is_hashed(void **state)
{
    (void)state;
    uint16_t user = slot_of(bytes_from_text("user1000"));
    assert_int_equal(slot_of(bytes_from_text("{user1000}.following")), user);
    assert_int_equal(slot_of(bytes_from_text("a{user1000}b{zap}")), user);
    assert_int_equal(slot_of(bytes_from_text("foo{{bar}}zap")), slot_of(bytes_from_text("{bar")));
    struct bytes empty_tag = bytes_from_text("foo{}{bar}");
    assert_int_equal(slot_of(empty_tag), crc16_xmodem(empty_tag) % SLOT_COUNT);
    struct bytes open_tag = bytes_from_text("foo{bar");
    assert_int_equal(slot_of(open_tag), crc16_xmodem(open_tag) % SLOT_COUNT);
}

static void every_slot_is_in_exactly_its_groups_range(void **state)
{
    (void)state;
    for (uint32_t groups = 1; groups <= LIMIT_GROUPS; groups++) {
        for (uint32_t slot = 0; slot < SLOT_COUNT; slot++) {
            uint32_t group = slot_group((uint16_t)slot, groups);
            assert_true(group < groups);
            assert_true(slot >= slot_first(group, groups) && slot < slot_first(group + 1, groups));
        }
    }
}

static void every_truncation_of_a_frame_asks_for_more(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b);
    frame_begin(&b, 5);
    buf_append(&b, "hello", 5);
    struct bytes payload;
    size_t consumed;
    for (size_t len = 0; len < b.len; len++) {
        assert_int_equal(frame_parse(bytes_of(b.data, len), 100, &payload, &consumed), STATUS_AGAIN);
        assert_int_equal(consumed, len < FRAME_HEADER_BYTES ? 0 : b.len);
    }
    buf_append(&b, "next", 4);
    assert_int_equal(frame_parse(buf_bytes(&b), 100, &payload, &consumed), STATUS_OK);
    assert_int_equal(consumed, 9);
    assert_true(bytes_equal(payload, bytes_from_text("hello")));
    buf_deinit(&b);
}

static void a_frame_may_have_the_limits_length_and_no_more(void **state)
{
    (void)state;
    struct {
        uint32_t len;
        enum status want;
    } rows[] = {{0, STATUS_TOO_BIG}, {1, STATUS_AGAIN}, {99, STATUS_AGAIN}, {100, STATUS_AGAIN},
        {101, STATUS_TOO_BIG}, {UINT32_MAX, STATUS_TOO_BIG}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b;
        buf_init(&b);
        frame_begin(&b, rows[i].len);
        struct bytes payload;
        size_t consumed;
        assert_int_equal(frame_parse(buf_bytes(&b), 100, &payload, &consumed), rows[i].want);
        buf_deinit(&b);
    }
}

static void encode_write(struct buf *out, const char *key, const char *value)
{
    Wblog__Write write = WBLOG__WRITE__INIT;
    write.key = pb_borrow(bytes_from_text(key));
    write.has_value = 1;
    write.value = pb_borrow(bytes_from_text(value));
    Wblog__Write *list[] = {&write};
    Wblog__Writes writes = WBLOG__WRITES__INIT;
    writes.n_writes = 1;
    writes.writes = list;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    entry.node_id = 1;
    entry.term = 2;
    entry.proposal = 3;
    entry.stamp_ms = 4;
    entry.command_case = WBLOG__ENTRY__COMMAND_WRITES;
    entry.writes = &writes;
    log_entry_encode(&entry, out);
}

static void a_log_entry_is_padded_and_comes_back(void **state)
{
    (void)state;
    char value[32] = "";
    for (size_t len = 0; len < 17; len++) {
        memset(value, 'v', len);
        value[len] = '\0';
        struct buf raw;
        buf_init(&raw);
        encode_write(&raw, "key", value);
        assert_int_equal(raw.len % 8, 0);
        struct arena arena;
        arena_init(&arena);
        Wblog__Entry *entry = NULL;
        assert_int_equal(log_entry_decode(buf_bytes(&raw), &arena, &entry), STATUS_OK);
        assert_int_equal(entry->proposal, 3);
        assert_int_equal(entry->writes->n_writes, 1);
        assert_true(bytes_equal(pb_bytes(entry->writes->writes[0]->value), bytes_from_text(value)));
        arena_deinit(&arena);
        buf_deinit(&raw);
    }
}

static void a_truncated_or_foreign_log_entry_is_refused(void **state)
{
    (void)state;
    struct buf raw;
    buf_init(&raw);
    encode_write(&raw, "key", "value");
    size_t whole = LOG_ENTRY_HEADER_BYTES + load_le32(raw.data + 4);
    for (size_t len = 0; len < whole; len++) {
        struct arena arena;
        arena_init(&arena);
        Wblog__Entry *entry = NULL;
        assert_int_equal(log_entry_decode(bytes_of(raw.data, len), &arena, &entry), STATUS_CORRUPT);
        arena_deinit(&arena);
    }
    raw.data[0] = LOG_ENTRY_FORMAT + 1;
    struct arena arena;
    arena_init(&arena);
    Wblog__Entry *entry = NULL;
    assert_int_equal(log_entry_decode(buf_bytes(&raw), &arena, &entry), STATUS_CORRUPT);
    arena_deinit(&arena);
    buf_deinit(&raw);
}

static void arena_memory_is_aligned_and_survives_growth(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a);
    for (int round = 0; round < 3; round++) {
        char *first = arena_alloc(&a, 7);
        memcpy(first, "sevenby", 7);
        for (size_t size = 1; size < 20000; size += 777) {
            void *p = arena_alloc(&a, size);
            assert_int_equal((uintptr_t)p % sizeof(long double), 0);
            memset(p, 0xaa, size);
        }
        assert_memory_equal(first, "sevenby", 7);
        arena_reset(&a);
    }
    arena_deinit(&a);
}

static void splicing_keeps_the_order(void **state)
{
    (void)state;
    struct list a, b, nodes[4];
    list_init(&a);
    list_init(&b);
    list_push_back(&a, &nodes[2]);
    list_push_back(&a, &nodes[3]);
    list_push_back(&b, &nodes[0]);
    list_push_back(&b, &nodes[1]);
    list_splice_front(&a, &b);
    assert_true(list_empty(&b));
    int i = 0;
    list_for_each (it, tmp, &a) {
        assert_ptr_equal(it, &nodes[i++]);
    }
    assert_int_equal(i, 4);
    list_splice_back(&b, &a);
    assert_true(list_empty(&a));
    assert_ptr_equal(list_pop_front(&b), &nodes[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_match_the_published_vectors),
        cmocka_unit_test(only_the_first_whole_tag_is_hashed),
        cmocka_unit_test(every_slot_is_in_exactly_its_groups_range),
        cmocka_unit_test(every_truncation_of_a_frame_asks_for_more),
        cmocka_unit_test(a_frame_may_have_the_limits_length_and_no_more),
        cmocka_unit_test(a_log_entry_is_padded_and_comes_back),
        cmocka_unit_test(a_truncated_or_foreign_log_entry_is_refused),
        cmocka_unit_test(arena_memory_is_aligned_and_survives_growth),
        cmocka_unit_test(splicing_keeps_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
