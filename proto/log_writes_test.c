#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/log_writes.h"
#include "proto/pb.h"

enum { WRITES_MAX = 40, BYTES_MAX = 300 };

struct sample {
    Wblog__Entry entry;
    Wblog__Writes writes;
    Wblog__Write all[WRITES_MAX];
    Wblog__Write *list[WRITES_MAX];
    uint8_t content[BYTES_MAX];
};

static uint32_t next(uint32_t *x)
{
    *x = *x * 1664525u + 1013904223u;
    return *x >> 8;
}

/* A number of any size. */
static uint64_t number(uint32_t *x)
{
    uint64_t wide = (uint64_t)next(x) << 40 | (uint64_t)next(x) << 20 | next(x);
    return wide >> next(x) % 64;
}

static void make(struct sample *s, uint32_t seed)
{
    uint32_t x = seed;
    memset(s, 0, sizeof *s);
    memset(s->content, 'c', sizeof s->content);
    wblog__entry__init(&s->entry);
    wblog__writes__init(&s->writes);
    s->entry.node_id = number(&x);
    s->entry.term = number(&x);
    s->entry.proposal = number(&x);
    s->entry.stamp_ms = number(&x);
    s->entry.command_case = WBLOG__ENTRY__COMMAND_WRITES;
    s->entry.writes = &s->writes;
    s->writes.n_writes = next(&x) % WRITES_MAX;
    s->writes.writes = s->list;
    for (size_t i = 0; i < s->writes.n_writes; i++) {
        Wblog__Write *w = s->list[i] = &s->all[i];
        wblog__write__init(w);
        w->key = pb_borrow(bytes_of(s->content, next(&x) % 20));
        w->has_value = next(&x) % 4 != 0;
        if (w->has_value) {
            w->value = pb_borrow(bytes_of(s->content, next(&x) % BYTES_MAX));
        }
        w->has_type = next(&x) % 4 == 0;
        w->type = w->has_type ? next(&x) : 0;
        w->has_expires_at_ms = next(&x) % 4 == 0;
        w->expires_at_ms = w->has_expires_at_ms ? number(&x) : 0;
        w->has_tied = next(&x) % 4 == 0;
        w->tied = w->has_tied && next(&x) % 4 != 0; /* a false that is written out, too */
    }
}

/* Whatever @raw says to protobuf-c, packed again: nothing when it is no message. */
static void repack(struct bytes raw, struct buf *out)
{
    struct arena arena;
    arena_init(&arena);
    ProtobufCMessage *message = pb_unpack(&wblog__entry__descriptor, raw, &arena);
    if (message != NULL) {
        pb_pack(message, out);
    }
    arena_deinit(&arena);
}

static void assert_same(const struct buf *a, const struct buf *b)
{
    assert_int_equal(a->len, b->len);
    assert_memory_equal(a->data, b->data, a->len);
}

static void gives_protobufs_bytes_and_takes_them_back(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 300; seed++) {
        struct sample s;
        struct buf ours, theirs, again;
        struct arena arena;
        arena_init(&arena);
        buf_init(&ours);
        buf_init(&theirs);
        buf_init(&again);
        make(&s, seed);
        assert_true(log_writes_encode(&s.entry, &ours));
        pb_pack(&s.entry.base, &theirs);
        assert_same(&ours, &theirs);
        Wblog__Entry *back = log_writes_decode(buf_bytes(&ours), &arena);
        assert_non_null(back);
        pb_pack(&back->base, &again);
        assert_same(&ours, &again);
        buf_deinit(&ours);
        buf_deinit(&theirs);
        buf_deinit(&again);
        arena_deinit(&arena);
    }
}

static void takes_damaged_bytes_as_protobuf_does_or_leaves_them_to_it(void **state)
{
    (void)state;
    unsigned taken = 0, taken_tied = 0;
    for (uint32_t seed = 0; seed < 20000; seed++) {
        struct sample s;
        struct buf raw, ours, theirs;
        struct arena arena;
        uint32_t x = seed + 1;
        arena_init(&arena);
        buf_init(&raw);
        buf_init(&ours);
        buf_init(&theirs);
        make(&s, seed % 50);
        s.writes.n_writes = s.writes.n_writes > 3 ? 3 : s.writes.n_writes;
        assert_true(log_writes_encode(&s.entry, &raw));
        raw.data[next(&x) % raw.len] = (uint8_t)next(&x);
        /* A copy of its own length, so that a sanitizer sees each byte read beyond it. */
        size_t len = next(&x) % 3 == 0 ? next(&x) % (raw.len + 1) : raw.len;
        uint8_t *copy = malloc(len + (len == 0));
        memcpy(copy, raw.data, len);
        Wblog__Entry *entry = log_writes_decode(bytes_of(copy, len), &arena);
        if (entry != NULL) {
            taken++;
            taken_tied += entry->writes->n_writes > 0 && entry->writes->writes[0]->tied;
            pb_pack(&entry->base, &ours);
            repack(bytes_of(copy, len), &theirs);
            assert_same(&ours, &theirs);
        }
        free(copy);
        buf_deinit(&raw);
        buf_deinit(&ours);
        buf_deinit(&theirs);
        arena_deinit(&arena);
    }
    assert_true(taken > 1000 && taken < 20000 && taken_tied > 100);
}

/* An entry of one write, which has a key only. */
static Wblog__Write *make_one(struct sample *s)
{
    make(s, 1);
    s->writes.n_writes = 1;
    s->list[0] = &s->all[0];
    wblog__write__init(s->list[0]);
    s->list[0]->key = pb_borrow(bytes_from_text("key"));
    return s->list[0];
}

static void a_write_is_tied_exactly_when_protobuf_says_so(void **state)
{
    (void)state;
    static const struct {
        protobuf_c_boolean has, tied, all_fields;
    } rows[] = {{0, 0, 0}, {1, 0, 0}, {1, 1, 0}, {0, 0, 1}, {1, 0, 1}, {1, 1, 1}, {0, 1, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sample s;
        struct buf ours, theirs;
        struct arena arena;
        arena_init(&arena);
        buf_init(&ours);
        buf_init(&theirs);
        Wblog__Write *w = make_one(&s);
        w->has_value = w->has_type = w->has_expires_at_ms = rows[i].all_fields;
        w->value = pb_borrow(bytes_from_text("value"));
        w->type = 1;
        w->expires_at_ms = 99;
        w->has_tied = rows[i].has;
        w->tied = rows[i].tied;
        assert_true(log_writes_encode(&s.entry, &ours));
        pb_pack(&s.entry.base, &theirs);
        assert_same(&ours, &theirs);
        Wblog__Entry *mine = log_writes_decode(buf_bytes(&theirs), &arena);
        Wblog__Entry *other =
            (Wblog__Entry *)pb_unpack(&wblog__entry__descriptor, buf_bytes(&theirs), &arena);
        assert_non_null(mine);
        assert_non_null(other);
        assert_int_equal(mine->writes->writes[0]->has_tied, rows[i].has);
        assert_int_equal(mine->writes->writes[0]->tied, rows[i].has && rows[i].tied);
        assert_int_equal(mine->writes->writes[0]->has_tied, other->writes->writes[0]->has_tied);
        assert_int_equal(mine->writes->writes[0]->tied, other->writes->writes[0]->tied);
        buf_deinit(&ours);
        buf_deinit(&theirs);
        arena_deinit(&arena);
    }
}

/* The flag is the last byte. */
static void a_flag_that_is_neither_0_nor_1_is_left_to_protobuf_or_read_as_it_does(void **state)
{
    (void)state;
    for (unsigned flag = 0; flag < 256; flag++) {
        struct sample s;
        struct buf raw, ours, theirs;
        struct arena arena;
        arena_init(&arena);
        buf_init(&raw);
        buf_init(&ours);
        buf_init(&theirs);
        Wblog__Write *w = make_one(&s);
        w->has_tied = w->tied = 1;
        assert_true(log_writes_encode(&s.entry, &raw));
        assert_int_equal(raw.data[raw.len - 1], 1);
        assert_int_equal(raw.data[raw.len - 2], 5 << 3);
        raw.data[raw.len - 1] = (uint8_t)flag;
        Wblog__Entry *entry = log_writes_decode(buf_bytes(&raw), &arena);
        assert_true(entry != NULL || flag > 1);
        if (entry != NULL) {
            pb_pack(&entry->base, &ours);
            repack(buf_bytes(&raw), &theirs);
            assert_same(&ours, &theirs);
        }
        buf_deinit(&raw);
        buf_deinit(&ours);
        buf_deinit(&theirs);
        arena_deinit(&arena);
    }
}

static void leaves_everything_else_to_protobuf(void **state)
{
    (void)state;
    struct sample s;
    struct buf raw;
    struct arena arena;
    arena_init(&arena);
    buf_init(&raw);
    Wblog__Outcome outcome = WBLOG__OUTCOME__INIT, *outcomes[] = {&outcome};
    make(&s, 1);
    s.writes.n_outcomes = 1;
    s.writes.outcomes = outcomes;
    assert_false(log_writes_encode(&s.entry, &raw));
    pb_pack(&s.entry.base, &raw);
    assert_null(log_writes_decode(buf_bytes(&raw), &arena));
    buf_clear(&raw);
    make(&s, 1);
    s.writes.has_sessions_opened = 1;
    assert_false(log_writes_encode(&s.entry, &raw));
    Wblog__Claimed claimed = WBLOG__CLAIMED__INIT;
    s.entry.command_case = WBLOG__ENTRY__COMMAND_CLAIMED;
    s.entry.claimed = &claimed;
    assert_false(log_writes_encode(&s.entry, &raw));
    pb_pack(&s.entry.base, &raw);
    assert_null(log_writes_decode(buf_bytes(&raw), &arena));
    assert_null(log_writes_decode(bytes_of(NULL, 0), &arena));
    buf_deinit(&raw);
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_protobufs_bytes_and_takes_them_back),
        cmocka_unit_test(takes_damaged_bytes_as_protobuf_does_or_leaves_them_to_it),
        cmocka_unit_test(a_write_is_tied_exactly_when_protobuf_says_so),
        cmocka_unit_test(a_flag_that_is_neither_0_nor_1_is_left_to_protobuf_or_read_as_it_does),
        cmocka_unit_test(leaves_everything_else_to_protobuf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
