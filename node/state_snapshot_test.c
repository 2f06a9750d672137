#include "node/state_test_help.h"

#include "proto/pb.h"
#include "proto/snapshot.pb-c.h"

enum { HEADER_BYTES = 24 };

static const uint8_t cluster_id[CLUSTER_ID_BYTES] = {1, 2, 3};

static bool remember(struct state *s, uint64_t session, uint64_t sequence, uint64_t first_awaited,
    uint64_t index, enum status status, const char *results)
{
    return sessions_apply_result(
        &s->sessions, session, sequence, first_awaited, index, status, bytes_from_text(results));
}

/* Three sessions, by use 6.0, 2.0 with floor 3, 2.1; their results, by age: 2.1's 1st, 2.0's 4th (which has a
 * status and no bytes), 2.1's 7th. The limits are named. */
static void build_sessions(struct state *s)
{
    sessions_apply_limits(&s->sessions, 3, 2000);
    sessions_apply_open(&s->sessions, state_session_id(2, 0));
    sessions_apply_open(&s->sessions, state_session_id(2, 1));
    sessions_apply_open(&s->sessions, state_session_id(6, 0));
    assert_true(remember(s, state_session_id(2, 1), 1, 1, 3, STATUS_OK, "first"));
    assert_true(remember(s, state_session_id(2, 0), 4, 3, 7, STATUS_CONDITION_FAILED, ""));
    assert_true(remember(s, state_session_id(2, 1), 7, 1, 7, STATUS_OK, "seventh"));
}

/* Everything that a snapshot can hold: batch 4 has a@2 (written again), b@3; batch 6 has c@5 (a delete);
 * queued are a@7, d@8 (with expiry) and e@9 (a delete of another type). last_batch is 1's successor 0. And
 * sessions. */
static void build(struct state *s)
{
    state_init(s, 5);
    build_sessions(s);
    at(s, 1);
    state_apply_genesis(s, cluster_id, 3, UINT64_C(1) << 60);
    put(s, 2, "a", "one");
    put(s, 3, "b", "two");
    begin(s, 4);
    put(s, 5, "c", NULL);
    begin(s, 6);
    put(s, 7, "a", "newer");
    at(s, 8);
    state_apply_write(s, 0, bytes_from_text("d"), 2, text_value(""), 77);
    at(s, 9);
    state_apply_write(s, 3, bytes_from_text("e"), 1, NULL, 0);
    at(s, 10);
    state_apply_claimed(s);
    put_clean(s, "clean", "v");
    put_absent(s, "none");
    assert_flush(s, "[4: a@2 b@3] [6: c@5] a@7 d@8 e@9");
}

static struct buf snapshot_of(const struct state *s)
{
    struct buf out;
    buf_init(&out);
    state_snapshot(s, &out);
    assert_false(out.failed);
    return out;
}

/* Make length and hash of the header true again. */
static void seal(struct buf *snapshot)
{
    size_t len = snapshot->len - HEADER_BYTES;
    store_le64(snapshot->data + 8, len);
    store_le64(snapshot->data + 16, bytes_hash(bytes_of(snapshot->data + HEADER_BYTES, len), 0));
}

static void assert_same_snapshot(const struct state *s, struct bytes want)
{
    struct buf got = snapshot_of(s);
    assert_true(bytes_equal(buf_bytes(&got), want));
    buf_deinit(&got);
}

static void a_restored_state_is_the_same_and_holds_nothing_else(void **unused)
{
    struct state s, other;
    build(&s);
    struct buf raw = snapshot_of(&s);
    state_init(&other, 99);
    put(&other, 1000, "other", "x");
    begin(&other, 1001);
    sessions_apply_open(&other.sessions, state_session_id(2, 1));
    assert_true(remember(&other, state_session_id(2, 1), 2, 1, 1000, STATUS_OK, "of another log"));
    put_clean(&other, "a", "stale");
    put_absent(&other, "b");
    assert_int_equal(state_restore(&other, buf_bytes(&raw)), STATUS_OK);
    assert_flush(&other, "[4: a@2 b@3] [6: c@5] a@7 d@8 e@9");
    assert_int_equal(other.applied_index, 10);
    assert_int_equal(other.stamp_ms, stamp_of(10));
    assert_true(other.born && other.claimed);
    assert_memory_equal(other.cluster_id, cluster_id, CLUSTER_ID_BYTES);
    assert_int_equal(other.group_count, 3);
    assert_int_equal(other.version_base, UINT64_C(1) << 60);
    assert_int_equal(other.entries, 5);
    assert_int_equal(other.absences, 0);
    assert_int_equal(other.dirty_bytes, s.dirty_bytes);
    assert_null(find(&other, "other"));
    assert_null(find(&other, "clean"));
    const char *keys[] = {"a", "b", "c", "d", "e"};
    for (size_t i = 0; i < 5; i++) {
        struct state_entry *want = find(&s, keys[i]);
        struct state_entry *got = find(&other, keys[i]);
        assert_int_equal(got->version, want->version);
        assert_int_equal(got->expires_at_ms, want->expires_at_ms);
        assert_int_equal(got->type, want->type);
        assert_true((got->value == NULL) == (want->value == NULL));
        assert_true(want->value == NULL || bytes_equal(value_bytes(got->value), value_bytes(want->value)));
    }
    assert_true(other.sessions.limits_named);
    assert_true(other.sessions.sessions_max == 3 && other.sessions.bytes_max == 2000);
    assert_int_equal(other.sessions.bytes, s.sessions.bytes);
    sessions_check(&other.sessions);
    assert_same_snapshot(&other, buf_bytes(&raw));
    /* And it goes on as the other one does. */
    struct state *both[] = {&s, &other};
    for (size_t i = 0; i < 2; i++) {
        assert_true(flushed(both[i], 11, 4, 0));
        assert_true(flush_abort(both[i], 12, 6));
        put(both[i], 13, "b", "again");
        assert_flush(both[i], "c@5 a@7 d@8 e@9 b@13");
        assert_true(remember(both[i], state_session_id(2, 1), 8, 7, 13, STATUS_OK, "eighth"));
        sessions_apply_open(&both[i]->sessions, state_session_id(13, 0)); /* 6.0 goes */
        sessions_check(&both[i]->sessions);
        assert_int_equal(both[i]->sessions.result_count, 3);
        assert_false(sessions_known(&both[i]->sessions, state_session_id(6, 0)));
    }
    assert_int_equal(state_hash(&s), state_hash(&other));
    buf_deinit(&raw);
    state_deinit(&s);
    state_deinit(&other);
}

/* Batch 3 has a@1 and b@2, of which a was tied; queued are a@4 and c@4, tied, and d@5. Quarantined is e@1. */
static void build_tied(struct state *s)
{
    const char *keys[] = {"a", "e"};
    state_init(s, 5);
    at(s, 1);
    for (uint32_t i = 0; i < 2; i++) {
        state_apply_write(s, i, bytes_from_text(keys[i]), VALUE_STRING, text_value("1"), 0);
        state_apply_tie(s, bytes_from_text(keys[i]));
    }
    put(s, 2, "b", "1");
    begin(s, 3);
    at(s, 4);
    assert_true(state_apply_quarantine(s, 3, bytes_from_text("e"), "23514", "bad"));
    state_apply_write(s, 0, bytes_from_text("a"), VALUE_STRING, text_value("2"), 0);
    state_apply_write(s, 1, bytes_from_text("c"), VALUE_STRING, NULL, 0);
    state_apply_tie(s, bytes_from_text("a"));
    state_apply_tie(s, bytes_from_text("c"));
    put(s, 5, "d", "1");
    assert_flush(s, "[3: a@1 b@2] a@4 c@4 d@5");
}

static void what_is_tied_comes_back_tied(void **unused)
{
    struct state s, other;
    build_tied(&s);
    struct buf raw = snapshot_of(&s);
    state_init(&other, 6);
    assert_int_equal(state_restore(&other, buf_bytes(&raw)), STATUS_OK);
    assert_flush(&other, "[3: a@1 b@2] a@4 c@4 d@5");
    assert_int_equal(other.tied, 2);
    assert_true(find(&other, "a")->tied && find(&other, "a")->tied_batched);
    assert_true(find(&other, "c")->tied && !find(&other, "c")->tied_batched);
    assert_true(!find(&other, "b")->tied && !find(&other, "b")->tied_batched);
    assert_true(!find(&other, "d")->tied && !find(&other, "e")->tied);
    assert_same_snapshot(&other, buf_bytes(&raw));
    struct state *both[] = {&s, &other};
    for (size_t i = 0; i < 2; i++) {
        assert_null(begin(both[i], 6));
        assert_true(flushed(both[i], 7, 3, 0));
        at(both[i], 8);
        assert_non_null(state_apply_flush_begin(both[i], 1, UINT64_MAX));
        assert_flush(both[i], "[8: a@4 c@4] d@5");
        put(both[i], 9, "c", "again");
        assert_int_equal(both[i]->tied, 0);
    }
    assert_int_equal(state_hash(&s), state_hash(&other));
    /* Also when its entry is described in the batch, and not in the queue. */
    buf_clear(&raw);
    state_snapshot(&s, &raw);
    assert_int_equal(state_restore(&other, buf_bytes(&raw)), STATUS_OK);
    assert_true(find(&other, "a")->tied_batched && find(&other, "c")->tied_batched);
    assert_true(flush_abort(&other, 10, 8));
    assert_flush(&other, "a@4 c@4 d@5");
    assert_int_equal(other.tied, 2);
    buf_deinit(&raw);
    state_deinit(&s);
    state_deinit(&other);
}

/* The same states but for a tie have other hashes. */
static void a_tie_changes_the_hash(void **unused)
{
    struct state s;
    state_init(&s, 1);
    put(&s, 1, "a", "1");
    uint64_t untied = state_hash(&s);
    state_apply_tie(&s, bytes_from_text("a"));
    uint64_t tied = state_hash(&s);
    begin(&s, 2);
    uint64_t in_flight = state_hash(&s);
    find(&s, "a")->tied_batched = false;
    assert_true(tied != untied && in_flight != tied && in_flight != state_hash(&s));
    state_deinit(&s);
}

static void a_retry_is_answered_as_before_after_a_restore(void **unused)
{
    struct state s, other;
    const struct session_result *r = NULL;
    build(&s);
    struct buf raw = snapshot_of(&s);
    state_init(&other, 6);
    assert_int_equal(state_restore(&other, buf_bytes(&raw)), STATUS_OK);
    const struct sessions *now = &other.sessions;
    assert_int_equal(sessions_look(now, state_session_id(2, 1), 7, &r), SESSION_DONE);
    assert_true(r->index == 7 && r->status == STATUS_OK);
    assert_true(bytes_equal(bytes_of(r->data, r->len), bytes_from_text("seventh")));
    assert_int_equal(sessions_look(now, state_session_id(2, 0), 4, &r), SESSION_DONE);
    assert_true(r->index == 7 && r->status == STATUS_CONDITION_FAILED && r->len == 0);
    assert_int_equal(sessions_look(now, state_session_id(2, 0), 2, &r), SESSION_EXPIRED);
    assert_int_equal(sessions_look(now, state_session_id(2, 0), 3, &r), SESSION_NEW);
    assert_int_equal(sessions_look(now, state_session_id(6, 0), 1, &r), SESSION_NEW);
    assert_int_equal(sessions_look(now, state_session_id(6, 1), 1, &r), SESSION_EXPIRED);
    buf_deinit(&raw);
    state_deinit(&s);
    state_deinit(&other);
}

static void an_empty_state_comes_back(void **unused)
{
    struct state s, other;
    state_init(&s, 1);
    build(&other);
    struct buf raw = snapshot_of(&s);
    uint64_t bytes = s.bytes;
    assert_int_equal(state_restore(&other, buf_bytes(&raw)), STATUS_OK);
    assert_flush(&other, "");
    assert_int_equal(other.applied_index, 0);
    assert_int_equal(other.bytes, bytes);
    assert_false(other.born || other.claimed);
    assert_true(other.sessions.count == 0 && other.sessions.result_count == 0);
    assert_true(!other.sessions.limits_named && other.sessions.sessions_max == SESSIONS_DEFAULT &&
                other.sessions.bytes_max == SESSION_BYTES_DEFAULT);
    assert_int_equal(state_hash(&other), state_hash(&s));
    buf_deinit(&raw);
    state_deinit(&s);
    state_deinit(&other);
}

static void a_snapshot_is_appended_and_is_a_plain_message_behind_its_header(void **unused)
{
    struct state s;
    build(&s);
    struct buf out;
    buf_init(&out);
    buf_append(&out, "before", 6);
    state_snapshot(&s, &out);
    assert_memory_equal(out.data, "beforeWBSNAP\0\3", 14);
    struct bytes message = bytes_of(out.data + 6 + HEADER_BYTES, out.len - 6 - HEADER_BYTES);
    assert_int_equal(load_le64(out.data + 6 + 8), message.len);
    assert_int_equal(load_le64(out.data + 6 + 16), state_hash(&s));
    assert_int_equal(state_hash(&s), bytes_hash(message, 0));
    struct arena arena;
    arena_init(&arena);
    ProtobufCMessage *m = pb_unpack(&wbsnap__snapshot__descriptor, message, &arena);
    assert_non_null(m);
    struct buf packed;
    buf_init(&packed);
    pb_pack(m, &packed);
    assert_true(bytes_equal(buf_bytes(&packed), message));
    buf_deinit(&packed);
    arena_deinit(&arena);
    buf_deinit(&out);
    state_deinit(&s);
}

static void a_few_big_values_are_as_dear_to_hash_as_many_small_ones(void **unused)
{
    struct state s;
    state_init(&s, 1);
    static uint8_t big[LIMIT_VALUE_BYTES];
    for (uint64_t i = 1; i <= 9; i++) {
        assert_true(state_hash_is_cheap(&s) == (i <= 8));
        char key[8];
        snprintf(key, sizeof key, "k%d", (int)i);
        state_apply_begin(&s, i, i);
        state_apply_write(
            &s, 0, bytes_from_text(key), VALUE_STRING, value_create(bytes_of(big, sizeof big)), 0);
    }
    state_deinit(&s);
}

static void sessions_and_their_results_are_dear_to_hash_too(void **unused)
{
    enum { HALF = 5000 };
    struct state s;
    state_init(&s, 1);
    for (uint64_t i = 1; i <= HALF; i++) {
        sessions_apply_open(&s.sessions, state_session_id(i, 0));
        assert_true(remember(&s, state_session_id(i, 0), 1, 1, i, STATUS_OK, "r"));
    }
    assert_true(state_hash_is_cheap(&s));
    sessions_apply_open(&s.sessions, state_session_id(HALF + 1, 0));
    assert_false(state_hash_is_cheap(&s));
    sessions_apply_limits(&s.sessions, 1, SESSION_BYTES_DEFAULT);
    assert_true(state_hash_is_cheap(&s));
    static uint8_t big[LIMIT_VALUE_BYTES];
    for (uint64_t i = 1; i <= 8; i++) {
        assert_true(state_hash_is_cheap(&s));
        assert_true(sessions_apply_result(&s.sessions, state_session_id(HALF + 1, 0), i, 1, HALF + i,
            STATUS_OK, bytes_of(big, sizeof big)));
    }
    assert_false(state_hash_is_cheap(&s));
    state_deinit(&s);
}

static void local_copies_do_not_change_the_hash_and_every_replicated_thing_does(void **unused)
{
    struct state s;
    build(&s);
    uint64_t hash = state_hash(&s);
    put_clean(&s, "more", "v");
    state_forget(&s, find(&s, "clean"));
    put_absent(&s, "nothing");
    assert_int_equal(state_hash(&s), hash);
    uint64_t seen[16];
    size_t n = 0;
    seen[n++] = hash;
    at(&s, 11);
    seen[n++] = state_hash(&s);
    state_apply_write(&s, 0, bytes_from_text("d"), 2, text_value("x"), 77);
    seen[n++] = state_hash(&s);
    state_apply_write(&s, 0, bytes_from_text("d"), 2, text_value("x"), 78);
    seen[n++] = state_hash(&s);
    state_apply_write(&s, 0, bytes_from_text("d"), 3, text_value("x"), 78);
    seen[n++] = state_hash(&s);
    state_apply_flush_abort(&s, 6);
    seen[n++] = state_hash(&s);
    state_apply_flushed(&s, 4, 0);
    seen[n++] = state_hash(&s);
    s.stamp_ms++;
    seen[n++] = state_hash(&s);
    assert_true(remember(&s, state_session_id(6, 0), 1, 1, 11, STATUS_OK, "r")); /* now the last used one */
    seen[n++] = state_hash(&s);
    assert_true(remember(&s, state_session_id(6, 0), 2, 1, 11, STATUS_OK, "s"));
    seen[n++] = state_hash(&s);
    assert_true(remember(&s, state_session_id(6, 0), 9, 9, 11, STATUS_OK, "t"));
    seen[n++] = state_hash(&s);
    sessions_apply_open(&s.sessions, state_session_id(11, 0));
    seen[n++] = state_hash(&s);
    sessions_apply_limits(&s.sessions, 3, 2001);
    seen[n++] = state_hash(&s);
    sessions_apply_limits(&s.sessions, 4, 2001);
    seen[n++] = state_hash(&s);
    assert_true(n <= sizeof seen / sizeof seen[0]);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++) {
            assert_true(seen[i] != seen[k]);
        }
    }
    state_deinit(&s);
}

/* A state that must not change, whatever it is asked to restore. */
struct witness {
    struct state s;
    struct state before; /* its plain numbers */
    struct buf raw;
};

static void witness_init(struct witness *w)
{
    state_init(&w->s, 3);
    put(&w->s, 1, "w", "1");
    put_clean(&w->s, "mine", "2");
    w->before = w->s;
    w->raw = snapshot_of(&w->s);
}

static void witness_refuses(struct witness *w, struct bytes snapshot, const char *what, size_t where)
{
    enum status status = state_restore(&w->s, snapshot);
    bool format =
        snapshot.len >= HEADER_BYTES && memcmp(snapshot.data, "WBSNAP", 7) == 0 && snapshot.data[7] != 3;
    if (status != (format ? STATUS_HALTED : STATUS_CORRUPT)) {
        fail_msg("%s (%zu): %s", what, where, status_name(status));
    }
    assert_memory_equal(&w->s, &w->before, sizeof w->s);
}

static void witness_deinit(struct witness *w)
{
    assert_non_null(find(&w->s, "mine"));
    state_check_invariants(&w->s);
    assert_same_snapshot(&w->s, buf_bytes(&w->raw));
    buf_deinit(&w->raw);
    state_deinit(&w->s);
}

static void every_truncation_and_extension_is_refused(void **unused)
{
    struct state s;
    build(&s);
    struct buf raw = snapshot_of(&s);
    struct witness w;
    witness_init(&w);
    for (size_t len = 0; len < raw.len; len++) {
        uint8_t *exact = malloc(len > 0 ? len : 1); /* so that a read beyond it is seen */
        assert_non_null(exact);
        memcpy(exact, raw.data, len);
        witness_refuses(&w, bytes_of(exact, len), "truncated to", len);
        free(exact);
    }
    buf_append_u8(&raw, 0);
    witness_refuses(&w, buf_bytes(&raw), "extended", 0);
    raw.len--;
    assert_int_equal(state_restore(&s, buf_bytes(&raw)), STATUS_OK);
    buf_deinit(&raw);
    witness_deinit(&w);
    state_deinit(&s);
}

static void every_flipped_bit_is_refused(void **unused)
{
    struct state s;
    build(&s);
    struct buf raw = snapshot_of(&s);
    struct witness w;
    witness_init(&w);
    for (size_t bit = 0; bit < raw.len * 8; bit++) {
        raw.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        witness_refuses(&w, buf_bytes(&raw), "flipped bit", bit);
        raw.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buf_deinit(&raw);
    witness_deinit(&w);
    state_deinit(&s);
}

/* A small generator of our own: the same numbers everywhere. */
static uint64_t next_random(uint64_t *seed)
{
    uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void a_snapshot_of_another_format_is_refused(void **unused)
{
    struct state s;
    state_init(&s, 1);
    put(&s, 1, "a", "1"); /* its message is one of format 1 as well */
    struct buf raw = snapshot_of(&s);
    struct witness w;
    witness_init(&w);
    raw.data[7] = 1;
    witness_refuses(&w, buf_bytes(&raw), "format", 1);
    raw.data[7] = 4;
    witness_refuses(&w, buf_bytes(&raw), "format", 4);
    raw.data[7] = 3;
    assert_int_equal(state_restore(&s, buf_bytes(&raw)), STATUS_OK);
    buf_deinit(&raw);
    witness_deinit(&w);
    state_deinit(&s);
}

/* Damage behind a true checksum: what is still accepted is a sound state that gives exactly these bytes. */
static void sealed_damage_is_refused_or_is_another_sound_snapshot(void **unused)
{
    struct state s;
    build(&s);
    struct buf good = snapshot_of(&s);
    struct witness w;
    witness_init(&w);
    unsigned accepted = 0;
    for (uint64_t seed = 1; seed <= 30000; seed++) {
        uint64_t random = seed;
        struct buf raw = snapshot_of(&s);
        for (uint64_t n = next_random(&random) % 3 + 1; n > 0; n--) {
            raw.data[HEADER_BYTES + next_random(&random) % (raw.len - HEADER_BYTES)] =
                (uint8_t)next_random(&random);
        }
        if (next_random(&random) % 4 == 0) {
            raw.len = HEADER_BYTES + next_random(&random) % (raw.len - HEADER_BYTES);
        }
        seal(&raw);
        struct state restored;
        state_init(&restored, seed);
        enum status status = state_restore(&restored, buf_bytes(&raw));
        if (status == STATUS_OK) {
            accepted++;
            state_check_invariants(&restored);
            sessions_check(&restored.sessions);
            assert_same_snapshot(&restored, buf_bytes(&raw));
        } else {
            witness_refuses(&w, buf_bytes(&raw), "sealed damage, seed", seed);
        }
        state_deinit(&restored);
        buf_deinit(&raw);
    }
    assert_true(accepted > 0 && accepted < 30000);
    buf_deinit(&good);
    witness_deinit(&w);
    state_deinit(&s);
}

/* ---- What no replica could have written ---- */

static Wbsnap__Batch no_places = {
    PROTOBUF_C_MESSAGE_INIT(&wbsnap__batch__descriptor), 10, 0, NULL, 0, 0, 0, 0};
static uint8_t big[LIMIT_VALUE_BYTES + 1];
static ProtobufCMessageUnknownField unknown_field = {
    .tag = 99, .wire_type = PROTOBUF_C_WIRE_TYPE_VARINT, .len = 1, .data = (uint8_t *)"\1"};

/* X(what is wrong, how to make it so in the message `m` of build()) */
#define SESSION_DAMAGES(X)                                                                                   \
    X("session 0", m->sessions[0]->id = 0)                                                                   \
    X("session of log entry 0", m->sessions[0]->id = 7)                                                      \
    X("session of the future", m->sessions[0]->id = state_session_id(11, 0))                                 \
    X("session of the far future", m->sessions[0]->id = UINT64_MAX)                                          \
    X("session twice", m->sessions[0]->id = m->sessions[2]->id)                                              \
    X("floor 0", m->sessions[0]->floor = 0)                                                                  \
    X("a session with results is missing", m->n_sessions = 2)                                                \
    X("unknown field of a session", m->sessions[1]->base.n_unknown_fields = 1;                               \
        m->sessions[1]->base.unknown_fields = &unknown_field)                                                \
    X("result of no session", m->outcomes[0]->session = state_session_id(3, 0))                              \
    X("result twice", m->outcomes[2]->sequence = 1)                                                          \
    X("sequence 0", m->outcomes[1]->sequence = 0)                                                            \
    X("sequence too high", m->outcomes[1]->sequence = UINT64_MAX)                                            \
    X("results not in order", m->outcomes[0]->index = 8)                                                     \
    X("result at 0", m->outcomes[0]->index = 0)                                                              \
    X("result before its session", m->outcomes[0]->index = 1)                                                \
    X("result in the future", m->outcomes[2]->index = 11)                                                    \
    X("default status written out", m->outcomes[0]->has_status = 1)                                          \
    X("empty results written out", m->outcomes[1]->has_results = 1)                                          \
    X("no limit of sessions", m->has_sessions_max = 0)                                                       \
    X("no limit of bytes", m->has_session_bytes_max = 0)                                                     \
    X("a limit of 0 sessions", m->sessions_max = 0)                                                          \
    X("a limit of 0 bytes", m->session_bytes_max = 0)                                                        \
    X("both limits 0", m->sessions_max = m->session_bytes_max = 0)                                           \
    X("more sessions than allowed", m->sessions_max = 2)                                                     \
    X("more sessions than half of the bytes", m->n_outcomes = 0;                                             \
        m->session_bytes_max = 6 * SESSION_BYTES - 1)                                                        \
    X("more bytes than allowed", m->session_bytes_max = 2000;                                                \
        m->outcomes[2]->results = pb_borrow(bytes_of(big, 2000)))
#define DAMAGES(X)                                                                                           \
    X("cluster id of 15 bytes", m->cluster_id.len = 15)                                                      \
    X("no cluster id", m->has_cluster_id = 0)                                                                \
    X("no group count", m->has_group_count = 0)                                                              \
    X("no version base", m->has_version_base = 0)                                                            \
    X("no groups", m->group_count = 0)                                                                       \
    X("too many groups", m->group_count = LIMIT_GROUPS + 1)                                                  \
    X("claimed as false", m->claimed = 0)                                                                    \
    X("claimed and not born", m->has_cluster_id = m->has_group_count = m->has_version_base = 0)              \
    X("last_batch in the future", m->n_batches = 0; m->flush->last_batch = 11)                               \
    X("last_batch of a batch in flight", m->flush->last_batch = 4)                                           \
    X("applied before what is queued", m->applied_index = 8)                                                 \
    X("stamp before what is queued", m->stamp_ms = stamp_of(8))                                              \
    SESSION_DAMAGES(X)                                                                                       \
    X("unknown field", m->base.n_unknown_fields = 1; m->base.unknown_fields = &unknown_field)                \
    X("unknown field within", m->queue[0]->base.n_unknown_fields = 1;                                        \
        m->queue[0]->base.unknown_fields = &unknown_field)                                                   \
    X("key twice in the queue", m->queue[2]->key = m->queue[1]->key)                                         \
    X("too big a key", m->queue[2]->key = pb_borrow(bytes_of(big, LIMIT_KEY_BYTES + 1)))                     \
    X("too big a value", m->queue[1]->value = pb_borrow(bytes_of(big, LIMIT_VALUE_BYTES + 1)))               \
    X("too big a type", m->queue[1]->type = 256)                                                             \
    X("default type written out", m->queue[0]->has_type = 1)                                                 \
    X("tied as false", m->queue[0]->has_tied = 1)                                                            \
    X("tied as false in a batch", m->batches[0]->places[0]->has_tied = 1)                                    \
    X("an entry of a batch that is tied",                                                                    \
        m->batches[0]->places[1]->entry->has_tied = m->batches[0]->places[1]->entry->tied = 1)               \
    X("default expiry written out", m->queue[0]->has_expires_at_ms = 1)                                      \
    X("expiry of a delete", m->queue[2]->has_expires_at_ms = 1; m->queue[2]->expires_at_ms = 9)              \
    X("no version", m->queue[1]->version = 0)                                                                \
    X("first_dirty 0 in the queue", m->queue[0]->first_dirty = 0)                                            \
    X("first_dirty not in order", m->queue[1]->first_dirty = 6)                                              \
    X("first_dirty in the future", m->queue[2]->first_dirty = 11)                                            \
    X("stamps not in order", m->queue[1]->dirty_stamp_ms = stamp_of(6))                                      \
    X("stamp in the future", m->queue[2]->dirty_stamp_ms = stamp_of(11))                                     \
    X("two stamps of one index", m->queue[2]->first_dirty = 8)                                               \
    X("queue before the batches", m->batches[1]->id = 9; m->batches[1]->places[0]->first_dirty = 8;          \
        m->batches[1]->places[0]->entry->first_dirty = 8;                                                    \
        m->batches[1]->places[0]->dirty_stamp_ms = m->batches[1]->places[0]->entry->dirty_stamp_ms =         \
            stamp_of(8))                                                                                     \
    X("batch without places", m->batches[1] = &no_places)                                                    \
    X("batch ids not rising", m->batches[1]->id = 4)                                                         \
    X("batch in the future", m->batches[1]->id = 11)                                                         \
    X("batch from before its rows", m->batches[1]->id = 5)                                                   \
    X("place with first_dirty 0", m->batches[0]->places[0]->first_dirty = 0)                                 \
    X("places not in order", m->batches[0]->places[0]->first_dirty = 4; m->batches[0]->id = 5)               \
    X("batches not in order", m->batches[1]->places[0]->first_dirty = 2;                                     \
        m->batches[1]->places[0]->entry->first_dirty = 2)                                                    \
    X("place with the entry missing", m->batches[0]->places[1]->entry = NULL)                                \
    X("place with the entry missing, queued before the batch", m->batches[1]->places[0]->entry = NULL;       \
        m->batches[1]->id = 8; m->batches[1]->places[0]->key = m->queue[0]->key;                             \
        m->batches[0]->places[0] = m->batches[0]->places[1]; m->batches[0]->n_places = 1)                    \
    X("key in two batches", m->batches[1]->places[0]->entry = NULL;                                          \
        m->batches[1]->places[0]->key = m->queue[0]->key)                                                    \
    X("key in two batches, described twice", m->batches[1]->places[0]->key =                                 \
                                                 m->batches[1]->places[0]->entry->key =                      \
                                                     m->batches[0]->places[1]->key)                          \
    X("key described in queue and batch",                                                                    \
        m->batches[0]->places[1]->key = m->batches[0]->places[1]->entry->key = m->queue[1]->key)             \
    X("place and entry of two keys", m->batches[0]->places[1]->key = m->queue[0]->key)                       \
    X("place and entry of two indexes", m->batches[0]->places[1]->entry->first_dirty = 2)                    \
    X("place and entry of two stamps", m->batches[0]->places[1]->entry->dirty_stamp_ms++)

static void what_no_replica_could_have_written_is_refused(void **unused)
{
    struct state s;
    build(&s);
    struct buf good = snapshot_of(&s);
    struct witness w;
    witness_init(&w);
    struct bytes message = bytes_of(good.data + HEADER_BYTES, good.len - HEADER_BYTES);
#define DAMAGE(what, how)                                                                                    \
    {                                                                                                        \
        struct arena arena;                                                                                  \
        arena_init(&arena);                                                                                  \
        Wbsnap__Snapshot *m = (Wbsnap__Snapshot *)pb_unpack(&wbsnap__snapshot__descriptor, message, &arena); \
        assert_non_null(m);                                                                                  \
        how;                                                                                                 \
        struct buf raw;                                                                                      \
        buf_init(&raw);                                                                                      \
        buf_append(&raw, good.data, HEADER_BYTES);                                                           \
        pb_pack(&m->base, &raw);                                                                             \
        seal(&raw);                                                                                          \
        witness_refuses(&w, buf_bytes(&raw), what, 0);                                                       \
        buf_deinit(&raw);                                                                                    \
        arena_deinit(&arena);                                                                                \
    }
    DAMAGES(DAMAGE)
#undef DAMAGE
    buf_deinit(&good);
    witness_deinit(&w);
    state_deinit(&s);
}

static void the_largest_key_and_value_come_back(void **unused)
{
    struct state s, other;
    state_init(&s, 1);
    at(&s, 1);
    state_apply_write(&s, 0, bytes_of(big, LIMIT_KEY_BYTES), VALUE_STRING,
        value_create(bytes_of(big, LIMIT_VALUE_BYTES)), UINT64_MAX);
    struct buf raw = snapshot_of(&s);
    state_init(&other, 2);
    assert_int_equal(state_restore(&other, buf_bytes(&raw)), STATUS_OK);
    assert_int_equal(state_find(&other, bytes_of(big, LIMIT_KEY_BYTES))->value->len, LIMIT_VALUE_BYTES);
    assert_int_equal(state_hash(&other), state_hash(&s));
    buf_deinit(&raw);
    state_deinit(&s);
    state_deinit(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restored_state_is_the_same_and_holds_nothing_else),
        cmocka_unit_test(what_is_tied_comes_back_tied),
        cmocka_unit_test(a_tie_changes_the_hash),
        cmocka_unit_test(a_retry_is_answered_as_before_after_a_restore),
        cmocka_unit_test(an_empty_state_comes_back),
        cmocka_unit_test(a_snapshot_is_appended_and_is_a_plain_message_behind_its_header),
        cmocka_unit_test(a_few_big_values_are_as_dear_to_hash_as_many_small_ones),
        cmocka_unit_test(sessions_and_their_results_are_dear_to_hash_too),
        cmocka_unit_test(local_copies_do_not_change_the_hash_and_every_replicated_thing_does),
        cmocka_unit_test(every_truncation_and_extension_is_refused),
        cmocka_unit_test(every_flipped_bit_is_refused),
        cmocka_unit_test(a_snapshot_of_another_format_is_refused),
        cmocka_unit_test(sealed_damage_is_refused_or_is_another_sound_snapshot),
        cmocka_unit_test(what_no_replica_could_have_written_is_refused),
        cmocka_unit_test(the_largest_key_and_value_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
