#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/frame.h"
#include "proto/pb.h"
#include "rpc/address.h"
#include "rpc/call_rules.h"
#include "rpc/cluster_map.h"
#include "rpc/conn_input.h"
#include "rpc/request_codec.h"

static struct bytes text(const char *s)
{
    return bytes_of(s, strlen(s));
}

/* A constant text as a field of a message that is only read. */
static char *field(const char *s)
{
    return (char *)(uintptr_t)s;
}

/* ---- address ---- */

static void addresses_split_at_the_last_colon(void **state)
{
    (void)state;
    struct {
        const char *in, *host, *port;
    } rows[] = {{"10.0.0.1:7101", "10.0.0.1", "7101"}, {"db.example:0", "db.example", "0"},
        {"[::1]:65535", "::1", "65535"}, {"[fe80::1%eth0]:1", "fe80::1%eth0", "1"}, {":80", "", "80"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct address a;
        assert_int_equal(address_parse(text(rows[i].in), &a), STATUS_OK);
        assert_string_equal(a.host, rows[i].host);
        assert_string_equal(a.port, rows[i].port);
    }
}

static void bad_addresses_are_refused(void **state)
{
    (void)state;
    const char *rows[] = {"", "host", "host:", "host:65536", "host:999999", "host:-1", "host:80a", "::1:80",
        "[]:80", "[::1:80", "[::1]80", "[::1]", "a b:80", "host :80", "a\tb:80", "]:1", "[a]b:1", ":"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct address a;
        assert_int_equal(address_parse(text(rows[i]), &a), STATUS_INVALID);
    }
    char host[ADDRESS_HOST_BYTES + 8];
    struct address a;
    memset(host, 'h', sizeof host);
    memcpy(host + ADDRESS_HOST_BYTES - 1, ":1", 2);
    assert_int_equal(address_parse(bytes_of(host, ADDRESS_HOST_BYTES + 1), &a), STATUS_OK);
    host[ADDRESS_HOST_BYTES - 1] = 'h';
    memcpy(host + ADDRESS_HOST_BYTES, ":1", 2);
    assert_int_equal(address_parse(bytes_of(host, ADDRESS_HOST_BYTES + 2), &a), STATUS_INVALID);
}

static void a_list_gives_every_item_also_empty_ones(void **state)
{
    (void)state;
    struct bytes list = text(" a:1 ,,b:2\n,");
    const char *want[] = {"a:1", "", "b:2", ""};
    struct bytes item;
    size_t n = 0;
    while (address_list_next(&list, &item)) {
        assert_true(n < 4);
        assert_int_equal(item.len, strlen(want[n]));
        assert_memory_equal(item.data, want[n], item.len);
        n++;
    }
    assert_int_equal(n, 4);
}

/* ---- conn_input ---- */

static void feed(struct conn_input *in, struct bytes data)
{
    while (data.len > 0) {
        size_t room;
        uint8_t *at = conn_input_room(in, &room);
        assert_non_null(at);
        size_t n = data.len < room ? data.len : room;
        memcpy(at, data.data, n);
        conn_input_received(in, n);
        data = bytes_of(data.data + n, data.len - n);
    }
}

static void frames_come_out_whole_whatever_the_pieces_are(void **state)
{
    (void)state;
    struct buf stream;
    buf_init(&stream);
    size_t sizes[] = {1, 5, 4092, 4096, 70000, 2};
    for (size_t i = 0; i < 6; i++) {
        frame_begin(&stream, sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++) {
            buf_append_u8(&stream, (uint8_t)(i + k));
        }
    }
    for (size_t piece = 1; piece < stream.len; piece = piece * 3 + 1) {
        struct conn_input in;
        conn_input_init(&in, 100000);
        size_t seen = 0;
        for (size_t at = 0; at < stream.len; at += piece) {
            feed(&in, bytes_of(stream.data + at, stream.len - at < piece ? stream.len - at : piece));
            struct bytes payload;
            enum status s;
            while ((s = conn_input_next(&in, &payload)) == STATUS_OK) {
                assert_int_equal(payload.len, sizes[seen]);
                for (size_t k = 0; k < payload.len; k++) {
                    assert_int_equal(payload.data[k], (uint8_t)(seen + k));
                }
                seen++;
            }
            assert_int_equal(s, STATUS_AGAIN);
        }
        assert_int_equal(seen, 6);
        assert_int_equal(conn_input_pending(&in), 0);
        conn_input_deinit(&in);
    }
    buf_deinit(&stream);
}

static void an_announced_length_allocates_nothing(void **state)
{
    (void)state;
    struct conn_input in;
    conn_input_init(&in, 4 * 1024 * 1024);
    struct bytes payload;
    uint8_t byte = 0;
    feed(&in, bytes_of("\x00\x40\x00\x00", 4));
    for (size_t received = 4; received < 20000; received++) {
        assert_int_equal(conn_input_next(&in, &payload), STATUS_AGAIN);
        assert_true(in.buf.cap <= 2 * received + 2 * CONN_INPUT_FIRST_BYTES);
        feed(&in, bytes_of(&byte, 1));
    }
    conn_input_deinit(&in);
}

static void after_a_bad_length_nothing_is_found(void **state)
{
    (void)state;
    const char *lengths[] = {"\xff\xff\xff\xff", "\x00\x00\x00\x00", "\x00\x00\x00\x65"};
    for (size_t i = 0; i < 3; i++) {
        struct conn_input in;
        struct bytes payload;
        conn_input_init(&in, 100);
        feed(&in, bytes_of("\x00\x00\x00\x01x", 5));
        feed(&in, bytes_of(lengths[i], 4));
        assert_int_equal(conn_input_next(&in, &payload), STATUS_OK);
        assert_int_equal(conn_input_next(&in, &payload), STATUS_TOO_BIG);
        feed(&in, bytes_of("\x00\x00\x00\x01x", 5));
        assert_int_equal(conn_input_next(&in, &payload), STATUS_TOO_BIG);
        conn_input_deinit(&in);
    }
}

/* ---- request_codec ---- */

static void a_request_built_in_two_steps_comes_back(void **state)
{
    (void)state;
    Wbrpc__KeyValue entry = WBRPC__KEY_VALUE__INIT;
    Wbrpc__KeyValue *one = &entry;
    Wbrpc__Set set = WBRPC__SET__INIT;
    entry.key = pb_borrow(text("key"));
    entry.value = pb_borrow(text("value"));
    set.n_entries = 1;
    set.entries = &one;
    struct buf body, frame;
    buf_init(&body);
    buf_init(&frame);
    request_body_level(&body, WBRPC__LEVEL__FLUSHED);
    request_body(&body, WBRPC__REQUEST__OP_SET, &set.base);
    const struct request_once once = {
        .session = 1ull << 40, .sequence = 9, .first_awaited = 7, .retry = true};
    request_frame(&frame, UINT64_MAX, 5000, &once, buf_bytes(&body));

    struct bytes payload;
    size_t consumed;
    assert_int_equal(frame_parse(buf_bytes(&frame), 1000, &payload, &consumed), STATUS_OK);
    assert_int_equal(consumed, frame.len);
    struct arena arena;
    arena_init(&arena);
    const Wbrpc__Request *back;
    uint64_t id;
    assert_int_equal(request_decode(payload, &arena, &back, &id), STATUS_OK);
    assert_true(id == UINT64_MAX && back->id == UINT64_MAX);
    assert_int_equal(back->deadline_ms, 5000);
    assert_int_equal(back->op_case, WBRPC__REQUEST__OP_SET);
    assert_int_equal(back->set->n_entries, 1);
    assert_int_equal(back->once->session, 1ull << 40);
    assert_int_equal(back->once->sequence, 9);
    assert_int_equal(back->once->first_awaited, 7);
    assert_true(back->once->retry);
    assert_int_equal(back->level, WBRPC__LEVEL__FLUSHED);
    assert_memory_equal(back->set->entries[0]->value.data, "value", 5);

    /* No truncation is that request: those that still decode have no operation, or no entries. */
    for (size_t len = 0; len < payload.len; len++) {
        enum status s = request_decode(bytes_of(payload.data, len), &arena, &back, &id);
        assert_true(s == STATUS_INVALID || back->op_case == WBRPC__REQUEST__OP__NOT_SET);
    }
    arena_deinit(&arena);
    buf_deinit(&frame);
    buf_deinit(&body);
}

static void a_write_says_its_place_in_its_session_in_each_attempt_anew(void **state)
{
    (void)state;
    const struct request_once rows[] = {
        {1, 1, 1, false},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, true},
        {77, 300, 12, true},
    };
    Wbrpc__Incr incr = WBRPC__INCR__INIT;
    incr.key = pb_borrow(text("n"));
    incr.delta = INT64_MIN;
    struct buf body;
    buf_init(&body);
    request_body_level(&body, WBRPC__LEVEL__FLUSHED);
    request_body(&body, WBRPC__REQUEST__OP_INCR, &incr.base);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf frame;
        struct arena arena;
        struct bytes payload;
        size_t consumed;
        const Wbrpc__Request *back;
        uint64_t id;
        buf_init(&frame);
        arena_init(&arena);
        request_frame(&frame, UINT64_MAX, UINT32_MAX, &rows[i], buf_bytes(&body));
        assert_int_equal(frame_parse(buf_bytes(&frame), 1000, &payload, &consumed), STATUS_OK);
        assert_int_equal(consumed, frame.len);
        assert_int_equal(request_decode(payload, &arena, &back, &id), STATUS_OK);
        assert_true(back->once->session == rows[i].session && back->once->sequence == rows[i].sequence);
        assert_true(back->once->first_awaited == rows[i].first_awaited && back->once->retry == rows[i].retry);
        assert_int_equal(back->level, WBRPC__LEVEL__FLUSHED);
        assert_int_equal(back->op_case, WBRPC__REQUEST__OP_INCR);
        assert_true(back->incr->delta == INT64_MIN && back->deadline_ms == UINT32_MAX);
        arena_deinit(&arena);
        buf_deinit(&frame);
    }
    buf_deinit(&body);
}

/* A request of one operation @op with the content @content. */
static enum status decode_raw(Wbrpc__Request__OpCase op, struct bytes content, size_t *memory)
{
    struct buf raw;
    struct arena arena;
    const Wbrpc__Request *msg;
    uint64_t id;
    buf_init(&raw);
    arena_init(&arena);
    buf_append(&raw, "\x08\x05", 2);
    for (uint64_t v = (uint64_t)op << 3 | 2;; v >>= 7) {
        buf_append_u8(&raw, (uint8_t)(v >= 0x80 ? v | 0x80 : v));
        if (v < 0x80) {
            break;
        }
    }
    for (uint64_t v = content.len;; v >>= 7) {
        buf_append_u8(&raw, (uint8_t)(v >= 0x80 ? v | 0x80 : v));
        if (v < 0x80) {
            break;
        }
    }
    buf_append(&raw, content.data, content.len);
    enum status s = request_decode(buf_bytes(&raw), &arena, &msg, &id);
    *memory = arena.bytes;
    arena_deinit(&arena);
    buf_deinit(&raw);
    return s;
}

/* @n fields of @piece, then @more of @other. */
static void fill(struct buf *out, size_t n, struct bytes piece, size_t more, struct bytes other)
{
    buf_clear(out);
    for (size_t i = 0; i < n; i++) {
        buf_append(out, piece.data, piece.len);
    }
    for (size_t i = 0; i < more; i++) {
        buf_append(out, other.data, other.len);
    }
}

static void lists_take_so_many_keys_and_their_options_and_no_more(void **state)
{
    (void)state;
    const struct bytes key = {(const uint8_t *)"\x0a\x00", 2}, option = {(const uint8_t *)"\x20\x01", 2};
    const struct bytes entry = {(const uint8_t *)"\x0a\x04\x0a\x00\x12\x00", 6};
    const struct bytes incr = {(const uint8_t *)"\x0a\x00\x10\x02", 4};
    const struct bytes forgotten = {(const uint8_t *)"\x0a\x00\x11\x01\0\0\0\0\0\0\0", 11};
    const struct bytes control = {(const uint8_t *)"\x08\x01\x12\x02\x20\x01", 6};
    const struct bytes flooded = {(const uint8_t *)"\x08\x01\x12\x22\x20\x01\x20\x01\x20\x01\x20\x01"
                                                   "\x20\x01\x20\x01\x20\x01\x20\x01\x20\x01\x20\x01"
                                                   "\x20\x01\x20\x01\x20\x01\x20\x01\x20\x01\x20\x01"
                                                   "\x20\x01",
        38};
    struct {
        Wbrpc__Request__OpCase op;
        struct bytes piece;
        size_t n, more;
        enum status status;
    } rows[] = {
        {WBRPC__REQUEST__OP_INSPECT, key, LIMIT_REQUEST_KEYS, 0, STATUS_OK},
        {WBRPC__REQUEST__OP_INSPECT, key, LIMIT_REQUEST_KEYS, 1, STATUS_TOO_BIG},
        {WBRPC__REQUEST__OP_DEL, key, LIMIT_REQUEST_KEYS, 16, STATUS_OK},
        {WBRPC__REQUEST__OP_DEL, key, LIMIT_REQUEST_KEYS, 17, STATUS_TOO_BIG},
        {WBRPC__REQUEST__OP_EXPIRE, key, LIMIT_REQUEST_KEYS, 16, STATUS_OK},
        {WBRPC__REQUEST__OP_EXPIRE, key, LIMIT_REQUEST_KEYS, 17, STATUS_TOO_BIG},
        {WBRPC__REQUEST__OP_SET, entry, LIMIT_REQUEST_KEYS, 16, STATUS_OK},
        {WBRPC__REQUEST__OP_SET, entry, LIMIT_REQUEST_KEYS, 17, STATUS_TOO_BIG},
        {WBRPC__REQUEST__OP_INCR, incr, 1, 14, STATUS_OK},
        {WBRPC__REQUEST__OP_INCR, incr, 1, 15, STATUS_TOO_BIG},
        {WBRPC__REQUEST__OP_APPEND, entry, 20, 0, STATUS_TOO_BIG},
        {WBRPC__REQUEST__OP_WAIT, option, 17, 0, STATUS_TOO_BIG},
        {WBRPC__REQUEST__OP_SCAN, option, 17, 0, STATUS_TOO_BIG},
        {WBRPC__REQUEST__OP_OPEN_SESSION, option, 17, 0, STATUS_TOO_BIG},
        {WBRPC__REQUEST__OP_KEY_STATUS, key, LIMIT_REQUEST_KEYS, 0, STATUS_OK},
        {WBRPC__REQUEST__OP_KEY_STATUS, key, LIMIT_REQUEST_KEYS, 1, STATUS_TOO_BIG},
        {WBRPC__REQUEST__OP_QUARANTINE, key, LIMIT_REQUEST_KEYS, 17, STATUS_TOO_BIG},
        {WBRPC__REQUEST__OP_FORGET, forgotten, LIMIT_REQUEST_KEYS, 16, STATUS_OK},
        {WBRPC__REQUEST__OP_FORGET, forgotten, LIMIT_REQUEST_KEYS, 17, STATUS_TOO_BIG},
        {WBRPC__REQUEST__OP_FLUSH_CONTROL, control, 1, 12, STATUS_OK},
        {WBRPC__REQUEST__OP_FLUSH_CONTROL, control, 1, 15, STATUS_TOO_BIG},
        {WBRPC__REQUEST__OP_FLUSH_CONTROL, flooded, 1, 0, STATUS_TOO_BIG},
        {WBRPC__REQUEST__OP_VERIFY, option, 17, 0, STATUS_TOO_BIG},
        {WBRPC__REQUEST__OP_NODE_CONTROL, option, 16, 0, STATUS_OK},
        {WBRPC__REQUEST__OP_NODE_CONTROL, option, 17, 0, STATUS_TOO_BIG},
    };
    struct buf content;
    buf_init(&content);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t memory;
        fill(&content, rows[i].n, rows[i].piece, rows[i].more, option);
        assert_int_equal(decode_raw(rows[i].op, buf_bytes(&content), &memory), rows[i].status);
        assert_true(rows[i].status == STATUS_OK || memory == 0);
    }
    buf_deinit(&content);
}

static enum status decode_keys(size_t n, uint64_t *id, size_t *memory)
{
    Wbrpc__Keys keys = WBRPC__KEYS__INIT;
    ProtobufCBinaryData *list = calloc(n, sizeof *list);
    keys.n_keys = n;
    keys.keys = list;
    struct buf body, frame;
    buf_init(&body);
    buf_init(&frame);
    request_body(&body, WBRPC__REQUEST__OP_GET, &keys.base);
    request_frame(&frame, 77, 1, NULL, buf_bytes(&body));
    struct arena arena;
    arena_init(&arena);
    const Wbrpc__Request *msg;
    enum status s = request_decode(
        bytes_of(frame.data + FRAME_HEADER_BYTES, frame.len - FRAME_HEADER_BYTES), &arena, &msg, id);
    *memory = arena.bytes;
    arena_deinit(&arena);
    buf_deinit(&frame);
    buf_deinit(&body);
    free(list);
    return s;
}

static void keys_are_counted_before_anything_is_allocated_for_them(void **state)
{
    (void)state;
    uint64_t id;
    size_t memory;
    assert_int_equal(decode_keys(LIMIT_REQUEST_KEYS, &id, &memory), STATUS_OK);
    assert_int_equal(decode_keys(LIMIT_REQUEST_KEYS + 1, &id, &memory), STATUS_TOO_BIG);
    assert_int_equal(id, 77);
    assert_int_equal(memory, 0);
    assert_int_equal(decode_keys(2 * 1024 * 1024, &id, &memory), STATUS_TOO_BIG);
    assert_int_equal(memory, 0);
}

static void a_flood_of_unknown_fields_is_refused(void **state)
{
    (void)state;
    struct buf raw;
    buf_init(&raw);
    buf_append(&raw, "\x08\x05", 2);
    for (int i = 0; i < 1000; i++) {
        buf_append(&raw, "\xf8\x01\x00", 3); /* field 31, varint 0 */
    }
    struct arena arena;
    arena_init(&arena);
    const Wbrpc__Request *msg;
    uint64_t id;
    assert_int_equal(request_decode(buf_bytes(&raw), &arena, &msg, &id), STATUS_TOO_BIG);
    assert_int_equal(id, 5);
    assert_int_equal(arena.bytes, 0);
    arena_deinit(&arena);
    buf_deinit(&raw);
}

static void bytes_that_are_no_fields_are_invalid(void **state)
{
    (void)state;
    struct {
        const char *bytes;
        size_t len;
    } rows[] = {
        {"\x08\x01\x00\x05", 4},                                  /* field number 0 */
        {"\x08\x01\xf8\xff\xff\xff\xff\x01\x00", 9},              /* a field number above 2^29 - 1 */
        {"\x08\x01\x53\x54", 4},                                  /* a group */
        {"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12}, /* a varint of 11 bytes */
        {"\x08\x01\x52\x05\x0a\x01", 6},                          /* keys longer than the message */
        {"\x08\x01\x52\x02\x0a\x05", 6},                          /* a key longer than the keys */
        {"\x08\x01\x5a\x04\x0a\x02\x0a\x05", 8},                  /* an entry that ends in its key */
        {"\x08\x01\x72\x00", 4},                                  /* a flush without its group */
        {"\x08\x01\xa2\x01\x00\xa2\x01\x00", 8},                  /* two operations */
        {"\x08\x01\x52\x02\x0a\x00\xa2\x01\x00", 9},              /* two different ones */
        {"\x08\x01\x1a\x04\x08\x01\x10\x01", 8},                  /* once without first_awaited */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena arena;
        const Wbrpc__Request *msg;
        uint64_t id;
        arena_init(&arena);
        assert_int_equal(
            request_decode(bytes_of(rows[i].bytes, rows[i].len), &arena, &msg, &id), STATUS_INVALID);
        arena_deinit(&arena);
    }
}

/* ---- cluster_map ---- */

struct topology {
    Wbrpc__TopologyReply reply;
    Wbrpc__Node nodes[LIMIT_NODES], *node_list[LIMIT_NODES];
    Wbrpc__GroupLeader groups[8], *group_list[8];
};

/* Nodes 1..n at hosts "n1:1".."nN:N"; leaders[g] is group g's leader id. */
static const Wbrpc__TopologyReply *topology(
    struct topology *t, unsigned n, unsigned groups, const uint64_t *leaders)
{
    static const char *addresses[] = {"n1:1", "n2:2", "n3:3", "n4:4"};
    wbrpc__topology_reply__init(&t->reply);
    t->reply.group_count = groups;
    for (unsigned i = 0; i < n; i++) {
        wbrpc__node__init(&t->nodes[i]);
        t->nodes[i].id = i + 1;
        t->nodes[i].client_address = field(addresses[i]);
        t->nodes[i].peer_address = field("p:1");
        t->node_list[i] = &t->nodes[i];
    }
    for (unsigned g = 0; g < groups; g++) {
        wbrpc__group_leader__init(&t->groups[g]);
        t->groups[g].group = g;
        t->groups[g].leader_id = leaders[g];
        t->group_list[g] = &t->groups[g];
    }
    t->reply.n_nodes = n;
    t->reply.nodes = t->node_list;
    t->reply.n_groups = groups;
    t->reply.groups = t->group_list;
    return &t->reply;
}

static void a_topology_names_nodes_and_leaders(void **state)
{
    (void)state;
    struct cluster_map map;
    struct topology t;
    cluster_map_init(&map);
    int seed = cluster_map_add(&map, text("n2:2"));
    int alias = cluster_map_add(&map, text("localhost:2"));
    assert_int_equal(cluster_map_learn(&map, topology(&t, 3, 3, (uint64_t[]){2, 0, 3})), STATUS_OK);
    assert_int_equal(map.group_count, 3);
    assert_int_equal(map.n_nodes, 4);
    assert_int_equal(cluster_map_leader(&map, 0), seed);
    assert_int_equal(cluster_map_leader(&map, 1), CLUSTER_MAP_NOBODY);
    assert_string_equal(map.nodes[cluster_map_leader(&map, 2)].address, "n3:3");
    assert_true(map.nodes[seed].member);
    assert_false(map.nodes[alias].member);
    assert_int_equal(cluster_map_group(&map, 0), 0);
    assert_int_equal(cluster_map_group(&map, SLOT_COUNT - 1), 2);
}

static void a_redirect_is_believed_until_its_node_cannot_serve(void **state)
{
    (void)state;
    struct cluster_map map;
    struct topology t;
    cluster_map_init(&map);
    assert_int_equal(cluster_map_learn(&map, topology(&t, 3, 1, (uint64_t[]){1})), STATUS_OK);
    int third = cluster_map_redirect(&map, 0, "n3:3");
    assert_int_equal(cluster_map_leader(&map, 0), third);
    assert_int_equal(cluster_map_learn(&map, topology(&t, 3, 1, (uint64_t[]){0})), STATUS_OK);
    assert_int_equal(cluster_map_leader(&map, 0), third);
    /* An older answer changes nothing, until the third node itself could not serve. */
    assert_int_equal(cluster_map_learn(&map, topology(&t, 3, 1, (uint64_t[]){1})), STATUS_OK);
    assert_int_equal(cluster_map_leader(&map, 0), third);
    cluster_map_shake(&map, 0, third);
    assert_int_equal(cluster_map_leader(&map, 0), third);
    assert_int_equal(cluster_map_learn(&map, topology(&t, 3, 1, (uint64_t[]){1})), STATUS_OK);
    assert_string_equal(map.nodes[cluster_map_leader(&map, 0)].address, "n1:1");
    assert_int_equal(cluster_map_redirect(&map, 0, "n3:3"), third);
    cluster_map_forget(&map, 0, cluster_map_add(&map, text("n1:1")));
    assert_int_equal(cluster_map_leader(&map, 0), third);
    cluster_map_forget(&map, 0, third);
    assert_int_equal(cluster_map_leader(&map, 0), CLUSTER_MAP_NOBODY);
    assert_int_equal(cluster_map_redirect(&map, 0, "nonsense"), CLUSTER_MAP_NOBODY);
}

static void an_old_answer_does_not_bring_a_dead_leader_back(void **state)
{
    (void)state;
    struct cluster_map map;
    struct topology t;
    cluster_map_init(&map);
    assert_int_equal(cluster_map_learn(&map, topology(&t, 3, 1, (uint64_t[]){1})), STATUS_OK);
    int first = cluster_map_leader(&map, 0);
    cluster_map_doubt(&map, first, true);
    assert_int_equal(cluster_map_learn(&map, topology(&t, 3, 1, (uint64_t[]){2})), STATUS_OK);
    int second = cluster_map_leader(&map, 0);
    assert_int_not_equal(second, first);
    assert_int_equal(cluster_map_learn(&map, topology(&t, 3, 1, (uint64_t[]){1})), STATUS_OK);
    assert_int_equal(cluster_map_leader(&map, 0), second);
    cluster_map_doubt(&map, first, false);
    assert_int_equal(cluster_map_learn(&map, topology(&t, 3, 1, (uint64_t[]){1})), STATUS_OK);
    assert_int_equal(cluster_map_leader(&map, 0), first);
}

static void a_topology_that_contradicts_itself_changes_nothing(void **state)
{
    (void)state;
    struct cluster_map map, before;
    struct topology t;
    cluster_map_init(&map);
    assert_int_equal(cluster_map_learn(&map, topology(&t, 2, 2, (uint64_t[]){1, 2})), STATUS_OK);
    before = map;
    for (int what = 0; what < 7; what++) {
        topology(&t, 2, 2, (uint64_t[]){2, 1});
        switch (what) {
        case 0:
            t.reply.group_count = 0;
            break;
        case 1:
            t.reply.group_count = 3;
            break; /* it is fixed at bootstrap */
        case 2:
            t.groups[1].group = 2;
            break;
        case 3:
            t.groups[1].leader_id = 9;
            break;
        case 4:
            t.nodes[1].client_address = field(":7");
            break;
        case 5:
            t.nodes[1].client_address = field("host:0");
            break;
        default:
            t.reply.n_nodes = 0;
            break;
        }
        assert_int_equal(cluster_map_learn(&map, &t.reply), STATUS_CORRUPT);
        assert_memory_equal(&map, &before, sizeof map);
    }
}

static void the_map_has_room_for_so_many_nodes_and_no_more(void **state)
{
    (void)state;
    struct cluster_map map;
    cluster_map_init(&map);
    char address[32];
    for (int i = 0; i < CLUSTER_MAP_NODES_MAX; i++) {
        snprintf(address, sizeof address, "h%d:1", i);
        assert_int_equal(cluster_map_add(&map, text(address)), i);
    }
    assert_int_equal(cluster_map_add(&map, text("h3:1")), 3);
    assert_int_equal(cluster_map_add(&map, text("one-more:1")), CLUSTER_MAP_NOBODY);
}

/* ---- call_rules ---- */

static void only_what_was_certainly_not_done_is_tried_again(void **state)
{
    (void)state;
    enum { REPORT = CALL_NEXT_REPORT, REDIRECT = CALL_NEXT_REDIRECT, RETRY = CALL_NEXT_RETRY };
    struct {
        int status, write_next, write_code, read_next, read_code;
    } rows[] = {
        {STATUS_OK, REPORT, STATUS_OK, REPORT, STATUS_OK},
        {STATUS_NOT_LEADER, REDIRECT, STATUS_NOT_LEADER, REDIRECT, STATUS_NOT_LEADER},
        {STATUS_UNAVAILABLE, RETRY, STATUS_UNAVAILABLE, RETRY, STATUS_UNAVAILABLE},
        {STATUS_OVERLOADED, RETRY, STATUS_OVERLOADED, RETRY, STATUS_OVERLOADED},
        {STATUS_SHUTTING_DOWN, RETRY, STATUS_SHUTTING_DOWN, RETRY, STATUS_SHUTTING_DOWN},
        {STATUS_NO_SPACE, RETRY, STATUS_NO_SPACE, RETRY, STATUS_NO_SPACE},
        {STATUS_UNKNOWN, REPORT, STATUS_UNKNOWN, RETRY, STATUS_UNAVAILABLE},
        {STATUS_TIMEOUT, REPORT, STATUS_TIMEOUT, REPORT, STATUS_TIMEOUT},
        {STATUS_DATABASE_DOWN, REPORT, STATUS_DATABASE_DOWN, REPORT, STATUS_DATABASE_DOWN},
        {STATUS_INTERNAL, REPORT, STATUS_UNKNOWN, REPORT, STATUS_INTERNAL},
        {4711, REPORT, STATUS_UNKNOWN, REPORT, 4711},
    };
    const struct call_kinship write = {.write = true}, read = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct call_verdict w = call_judge_answer(write, (uint32_t)rows[i].status);
        struct call_verdict r = call_judge_answer(read, (uint32_t)rows[i].status);
        assert_true((int)w.next == rows[i].write_next && w.code == rows[i].write_code);
        assert_true((int)r.next == rows[i].read_next && r.code == rows[i].read_code);
    }
    assert_int_equal(call_judge_lost(write, true).next, CALL_NEXT_REPORT);
    assert_int_equal(call_judge_lost(write, true).code, STATUS_UNKNOWN);
    assert_int_equal(call_judge_lost(write, false).next, CALL_NEXT_RETRY);
    assert_int_equal(call_judge_lost(read, true).next, CALL_NEXT_RETRY);
    assert_int_equal(call_judge_deadline(write, true, STATUS_OVERLOADED), STATUS_UNKNOWN);
    assert_int_equal(call_judge_deadline(read, true, STATUS_OK), STATUS_TIMEOUT);
    assert_int_equal(call_judge_deadline(write, false, STATUS_OK), STATUS_TIMEOUT);
    assert_int_equal(call_judge_deadline(write, false, STATUS_OVERLOADED), STATUS_OVERLOADED);
}

/* In a session, before and after some try may have been executed. */
static void in_a_session_what_may_have_been_done_is_tried_again_until_it_is_known(void **state)
{
    (void)state;
    enum { REPORT = CALL_NEXT_REPORT, REDIRECT = CALL_NEXT_REDIRECT, RETRY = CALL_NEXT_RETRY };
    struct {
        int status, first_next, first_code, again_next, again_code;
    } rows[] = {
        {STATUS_OK, REPORT, STATUS_OK, REPORT, STATUS_OK},
        {STATUS_CONDITION_FAILED, REPORT, STATUS_CONDITION_FAILED, REPORT, STATUS_CONDITION_FAILED},
        {STATUS_NOT_A_NUMBER, REPORT, STATUS_NOT_A_NUMBER, REPORT, STATUS_NOT_A_NUMBER},
        {STATUS_NOT_LEADER, REDIRECT, STATUS_NOT_LEADER, REDIRECT, STATUS_UNKNOWN},
        {STATUS_UNAVAILABLE, RETRY, STATUS_UNAVAILABLE, RETRY, STATUS_UNKNOWN},
        {STATUS_OVERLOADED, RETRY, STATUS_OVERLOADED, RETRY, STATUS_UNKNOWN},
        {STATUS_UNKNOWN, RETRY, STATUS_UNKNOWN, RETRY, STATUS_UNKNOWN},
        {STATUS_TIMEOUT, REPORT, STATUS_TIMEOUT, RETRY, STATUS_UNKNOWN},
        {STATUS_DATABASE_DOWN, REPORT, STATUS_DATABASE_DOWN, RETRY, STATUS_UNKNOWN},
        {STATUS_CORRUPT, REPORT, STATUS_CORRUPT, RETRY, STATUS_UNKNOWN},
        {STATUS_HALTED, REPORT, STATUS_HALTED, RETRY, STATUS_UNKNOWN},
        {STATUS_NO_SPACE, RETRY, STATUS_NO_SPACE, RETRY, STATUS_UNKNOWN},
        {STATUS_NOT_FLUSHED, RETRY, STATUS_NOT_FLUSHED, RETRY, STATUS_NOT_FLUSHED},
        {STATUS_QUARANTINED, REPORT, STATUS_QUARANTINED, REPORT, STATUS_QUARANTINED},
        {STATUS_SESSION_EXPIRED, CALL_NEXT_RENUMBER, STATUS_UNAVAILABLE, REPORT, STATUS_UNKNOWN},
        {4711, REPORT, STATUS_UNKNOWN, REPORT, STATUS_UNKNOWN},
    };
    const struct call_kinship first = {.write = true, .once = true};
    const struct call_kinship again = {.write = true, .once = true, .perhaps_done = true};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct call_verdict f = call_judge_answer(first, (uint32_t)rows[i].status);
        struct call_verdict a = call_judge_answer(again, (uint32_t)rows[i].status);
        assert_true((int)f.next == rows[i].first_next && f.code == rows[i].first_code);
        assert_true((int)a.next == rows[i].again_next && a.code == rows[i].again_code);
        assert_true(a.perhaps_done || a.next == CALL_NEXT_REPORT);
    }
    assert_true(call_judge_answer(first, STATUS_UNKNOWN).perhaps_done);
    assert_false(call_judge_answer(first, STATUS_OVERLOADED).perhaps_done);
    assert_true(
        call_judge_lost(first, true).next == CALL_NEXT_RETRY && call_judge_lost(first, true).perhaps_done);
    assert_false(call_judge_lost(first, false).perhaps_done);
    assert_true(call_judge_lost(again, false).perhaps_done);
    assert_int_equal(call_judge_deadline(again, false, STATUS_UNAVAILABLE), STATUS_UNKNOWN);
    assert_int_equal(call_judge_deadline(again, true, STATUS_NOT_FLUSHED), STATUS_NOT_FLUSHED);
    assert_int_equal(call_judge_deadline(first, false, STATUS_OVERLOADED), STATUS_OVERLOADED);
}

static void pauses_double_up_to_their_limit_and_differ(void **state)
{
    (void)state;
    for (unsigned attempt = 0; attempt < 100; attempt++) {
        uint32_t whole = attempt < 4 ? 10u << attempt : 100;
        for (uint64_t random = 0; random < 200; random++) {
            uint32_t ms = backoff_ms(attempt, 10, 100, random);
            assert_true(ms <= whole && ms >= whole / 2);
        }
        assert_int_equal(backoff_ms(attempt, 10, 100, 0), whole);
        assert_int_equal(backoff_ms(attempt, 10, 100, whole / 2), whole - whole / 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_split_at_the_last_colon),
        cmocka_unit_test(bad_addresses_are_refused),
        cmocka_unit_test(a_list_gives_every_item_also_empty_ones),
        cmocka_unit_test(frames_come_out_whole_whatever_the_pieces_are),
        cmocka_unit_test(an_announced_length_allocates_nothing),
        cmocka_unit_test(after_a_bad_length_nothing_is_found),
        cmocka_unit_test(a_request_built_in_two_steps_comes_back),
        cmocka_unit_test(a_write_says_its_place_in_its_session_in_each_attempt_anew),
        cmocka_unit_test(lists_take_so_many_keys_and_their_options_and_no_more),
        cmocka_unit_test(keys_are_counted_before_anything_is_allocated_for_them),
        cmocka_unit_test(a_flood_of_unknown_fields_is_refused),
        cmocka_unit_test(bytes_that_are_no_fields_are_invalid),
        cmocka_unit_test(a_topology_names_nodes_and_leaders),
        cmocka_unit_test(a_redirect_is_believed_until_its_node_cannot_serve),
        cmocka_unit_test(an_old_answer_does_not_bring_a_dead_leader_back),
        cmocka_unit_test(a_topology_that_contradicts_itself_changes_nothing),
        cmocka_unit_test(the_map_has_room_for_so_many_nodes_and_no_more),
        cmocka_unit_test(only_what_was_certainly_not_done_is_tried_again),
        cmocka_unit_test(in_a_session_what_may_have_been_done_is_tried_again_until_it_is_known),
        cmocka_unit_test(pauses_double_up_to_their_limit_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
