/* A libFuzzer target for what a replica reads from its disk and from its leader: log entries and snapshots.
 * Build and run with tools/fuzz.
 *
 * The input is a list of steps: a kind, a length, and that many bytes. Some steps are a leader's commands, so
 * that the state gets somewhere; others are raw bytes as an entry, as a snapshot, or as changes to a snapshot
 * of the state reached. Whatever they are: an entry either decodes or is CORRUPT, and what decodes encodes
 * again to the same meaning; a snapshot is taken whole or not at all; the state stays sound; a snapshot of it
 * restores to the same snapshot; and what a session has executed is never new to it again.
 *
 * Entries that no leader proposes end a process on purpose (see group_on_apply), so they are not applied
 * here. */
#include <string.h>

#include "node/group.h"
#include "node/state_check.h"
#include "proto/base/check.h"
#include "proto/log_entry.h"
#include "proto/pb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SNAPSHOT_HEADER_BYTES = 24, SNAPSHOT_LENGTH_AT = 8, SNAPSHOT_HASH_AT = 16 };
/* Indexes and versions of a log that a cluster can have written: the rest would need more than its lifetime.
 */
static const uint64_t index_sane = UINT64_C(1) << 40, version_base_sane = UINT64_C(1) << 62;

enum step {
    STEP_SET,
    STEP_DELETE,
    STEP_FLUSH_BEGIN,
    STEP_FLUSHED,
    STEP_FLUSH_ABORT,
    STEP_OPEN_SESSIONS,
    STEP_RESULT,
    STEP_LIMITS,
    STEP_QUARANTINE,
    STEP_RETRY,
    STEP_DROP,
    STEP_REWIND,
    STEP_CONTROL,
    STEP_ACKNOWLEDGE,
    STEP_FORGET,
    STEP_RAW_ENTRY,        /* the message; the header is made for it */
    STEP_BARE_ENTRY,       /* header and all */
    STEP_RAW_SNAPSHOT,     /* the message; the header is made for it */
    STEP_BARE_SNAPSHOT,    /* header and all */
    STEP_CHANGED_SNAPSHOT, /* of the state reached: (place, change) pairs; the header is made to fit */
    STEPS
};

/* The latest of them are remembered. */
enum { EXECUTED_MAX = 64 };
struct executed {
    uint64_t session;
    uint64_t sequence;
};

struct run {
    struct group *group;
    struct executed executed[EXECUTED_MAX];
    size_t n_executed;
    struct buf snapshot; /* room for one */
    struct buf entry;
};

static struct group *new_group(void)
{
    static const struct flusher_ops no_flusher;
    static const struct loader_ops no_loader;
    const struct group_config config = {
        .group_count = 3, .node_id = 1, .hash_seed = 1, .flush = {.in_flight = 1}};
    const struct group_env env = {.flusher = &no_flusher, .loader = &no_loader};
    return group_create(&config, &env);
}

static void check_state(const struct group *g)
{
    const struct state *s = group_state(g);
    state_check_invariants(s);
    sessions_check(&s->sessions);
}

static uint64_t number(struct bytes b)
{
    uint64_t n = 0;
    for (size_t i = 0; i < b.len && i < sizeof n; i++) {
        n |= (uint64_t)b.data[i] << (8 * i);
    }
    return n;
}

/* ---- Log entries ---- */

/* A leader looks before it proposes: no sequence is recorded twice. */
static bool outcomes_are_new(const Wblog__Writes *writes, const struct state *s)
{
    for (size_t i = 0; i < writes->n_outcomes; i++) {
        const Wblog__Outcome *o = writes->outcomes[i];
        const struct session_result *known;
        if (sessions_look(&s->sessions, o->session, o->sequence, &known) == SESSION_DONE) {
            return false;
        }
        for (size_t k = 0; k < i; k++) {
            if (writes->outcomes[k]->session == o->session && writes->outcomes[k]->sequence == o->sequence) {
                return false;
            }
        }
    }
    return true;
}

/* Whatever becomes of their answers, these requests must never be executed again. (A session that is not
 * known when its outcome applies is no session of this log.) */
static void note_executed(struct run *r, const Wblog__Writes *writes)
{
    for (size_t i = 0; i < writes->n_outcomes; i++) {
        const Wblog__Outcome *o = writes->outcomes[i];
        if (sessions_known(&group_state(r->group)->sessions, o->session)) {
            r->executed[r->n_executed++ % EXECUTED_MAX] = (struct executed){o->session, o->sequence};
        }
    }
}

static void check_executed(const struct run *r)
{
    const struct session_result *known;
    for (size_t i = 0; i < r->n_executed && i < EXECUTED_MAX; i++) {
        CHECK(sessions_look(&group_state(r->group)->sessions, r->executed[i].session, r->executed[i].sequence,
                  &known) != SESSION_NEW);
    }
}

static bool a_leader_proposes(const Wblog__Entry *entry, const struct state *s)
{
    switch (entry->command_case) {
    case WBLOG__ENTRY__COMMAND_WRITES:
        for (size_t i = 0; i < entry->writes->n_writes; i++) {
            const Wblog__Write *w = entry->writes->writes[i];
            if (w->key.len > LIMIT_KEY_BYTES || (w->has_value && w->value.len > LIMIT_VALUE_BYTES)) {
                return false;
            }
        }
        return s->born && entry->writes->sessions_opened <= LIMIT_ENTRY_WRITES &&
               outcomes_are_new(entry->writes, s);
    case WBLOG__ENTRY__COMMAND_GENESIS:
        return entry->genesis->cluster_id.len == CLUSTER_ID_BYTES && entry->genesis->group_count >= 1 &&
               entry->genesis->group_count <= LIMIT_GROUPS &&
               entry->genesis->version_base < version_base_sane;
    case WBLOG__ENTRY__COMMAND_CLAIMED:
        return s->born;
    case WBLOG__ENTRY__COMMAND_FLUSH_BEGIN:
    case WBLOG__ENTRY__COMMAND_FLUSHED:
    case WBLOG__ENTRY__COMMAND_FLUSH_ABORT:
    case WBLOG__ENTRY__COMMAND_LIMITS:
    case WBLOG__ENTRY__COMMAND_QUARANTINE:
    case WBLOG__ENTRY__COMMAND_QUARANTINE_DROP:
    case WBLOG__ENTRY__COMMAND_REWIND:
    case WBLOG__ENTRY__COMMAND_FLUSH_CONTROL:
    case WBLOG__ENTRY__COMMAND_LOSS_ACKNOWLEDGED:
    case WBLOG__ENTRY__COMMAND_FORGET:
        return true;
    default:
        return false;
    }
}

static void check_entry(struct run *r, struct bytes raw)
{
    struct arena arena, again;
    arena_init(&arena);
    arena_init(&again);
    Wblog__Entry *entry = NULL;
    enum status status = log_entry_decode(raw, &arena, &entry);
    CHECK(status == STATUS_OK || status == STATUS_CORRUPT);
    CHECK((status == STATUS_OK) == (entry != NULL));
    if (entry != NULL) {
        struct buf packed, packed_again;
        Wblog__Entry *back;
        buf_init(&packed);
        buf_init(&packed_again);
        log_entry_encode(entry, &packed);
        CHECK(packed.len % 8 == 0);
        CHECK(log_entry_decode(buf_bytes(&packed), &again, &back) == STATUS_OK);
        CHECK(back->command_case == entry->command_case && back->proposal == entry->proposal);
        log_entry_encode(back, &packed_again);
        CHECK(bytes_equal(buf_bytes(&packed), buf_bytes(&packed_again)));
        const struct state *s = group_state(r->group);
        if (a_leader_proposes(entry, s)) {
            if (entry->command_case == WBLOG__ENTRY__COMMAND_WRITES) {
                note_executed(r, entry->writes);
            }
            group_on_apply(r->group, s->applied_index + 1, raw, 0);
        }
        buf_deinit(&packed);
        buf_deinit(&packed_again);
    }
    arena_deinit(&arena);
    arena_deinit(&again);
}

static void raw_entry(struct run *r, struct bytes message)
{
    const uint8_t header[LOG_ENTRY_HEADER_BYTES] = {LOG_ENTRY_FORMAT};
    buf_clear(&r->entry);
    buf_append(&r->entry, header, sizeof header);
    buf_append(&r->entry, message.data, message.len);
    CHECK(!r->entry.failed);
    store_le32(r->entry.data + 4, (uint32_t)message.len);
    check_entry(r, buf_bytes(&r->entry));
}

static void command(struct run *r, Wblog__Entry *entry, Wblog__Entry__CommandCase command_case)
{
    entry->command_case = command_case;
    entry->stamp_ms = group_state(r->group)->stamp_ms + 1;
    buf_clear(&r->entry);
    log_entry_encode(entry, &r->entry);
    check_entry(r, buf_bytes(&r->entry));
}

/* The first byte is the key, of few, so that they meet; the others are the value. A bit of the first byte
 * says that the write and another one, which deletes the next key, are a transaction. */
static void write_key(struct run *r, struct bytes arg, bool has_value)
{
    enum { TOGETHER = 0x80 };
    uint8_t key = arg.len > 0 ? arg.data[0] % 8 : 0, other_key = (key + 1) % 8;
    Wblog__Write write = WBLOG__WRITE__INIT, other = WBLOG__WRITE__INIT, *list[] = {&write, &other};
    Wblog__Writes writes = WBLOG__WRITES__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    write.key = (ProtobufCBinaryData){.len = 1, .data = &key};
    write.has_value = has_value;
    if (arg.len > 1) {
        write.value = (ProtobufCBinaryData){.len = arg.len - 1, .data = (uint8_t *)(uintptr_t)(arg.data + 1)};
        write.has_expires_at_ms = has_value && arg.data[1] % 2;
        write.expires_at_ms = arg.data[1];
    }
    write.has_tied = write.tied = other.has_tied = other.tied = arg.len > 0 && (arg.data[0] & TOGETHER) != 0;
    other.key = (ProtobufCBinaryData){.len = 1, .data = &other_key};
    writes.n_writes = write.tied ? 2 : 1;
    writes.writes = list;
    entry.writes = &writes;
    command(r, &entry, WBLOG__ENTRY__COMMAND_WRITES);
}

/* The first byte: how many rows, and a bit that says that it may cut transactions. */
static void flush_begin(struct run *r, struct bytes arg)
{
    enum { CUT = 0x80 };
    Wblog__FlushBegin begin = WBLOG__FLUSH_BEGIN__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    begin.rows_max = arg.len > 0 ? arg.data[0] % CUT : 1000;
    begin.has_cut = begin.cut = arg.len > 0 && (arg.data[0] & CUT) != 0;
    begin.bytes_max = arg.len > 1 ? number(bytes_of(arg.data + 1, arg.len - 1)) : 1000;
    entry.flush_begin = &begin;
    command(r, &entry, WBLOG__ENTRY__COMMAND_FLUSH_BEGIN);
}

/* The oldest batch, or the one that @arg says. */
static void flushed(struct run *r, struct bytes arg)
{
    const struct state *s = group_state(r->group);
    Wblog__Flushed done = WBLOG__FLUSHED__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    done.predecessor = s->last_batch;
    if (arg.len > 0) {
        done.batch = number(arg);
    } else if (s->batch_count > 0) {
        done.batch = list_entry(s->batches.next, struct state_batch, link)->id;
    }
    entry.flushed = &done;
    command(r, &entry, WBLOG__ENTRY__COMMAND_FLUSHED);
}

static void flush_abort(struct run *r, struct bytes arg)
{
    Wblog__FlushAbort back = WBLOG__FLUSH_ABORT__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    back.from_batch = number(arg);
    entry.flush_abort = &back;
    command(r, &entry, WBLOG__ENTRY__COMMAND_FLUSH_ABORT);
}

static void open_sessions(struct run *r, struct bytes arg)
{
    Wblog__Writes writes = WBLOG__WRITES__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    writes.has_sessions_opened = 1;
    writes.sessions_opened = arg.len > 0 ? arg.data[0] % 8 : 1;
    entry.writes = &writes;
    command(r, &entry, WBLOG__ENTRY__COMMAND_WRITES);
}

/* The id of the @n'th session by use, or one that is not known. */
static uint64_t session_id(const struct run *r, uint8_t n)
{
    const struct sessions *s = &group_state(r->group)->sessions;
    list_for_each (link, tmp, &s->by_use) {
        if (n-- == 0) {
            return list_entry(link, struct session, by_use)->id;
        }
    }
    return 1;
}

/* Of few sessions and sequences, so that they meet. Its bytes: session, sequence, how many sequences below it
 * are still awaited, status, results. */
static void result(struct run *r, struct bytes arg)
{
    if (arg.len < 4) {
        return;
    }
    Wblog__Outcome outcome = WBLOG__OUTCOME__INIT, *list = &outcome;
    Wblog__Writes writes = WBLOG__WRITES__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    outcome.session = session_id(r, arg.data[0] % 8);
    outcome.sequence = 1 + arg.data[1] % 32;
    outcome.first_awaited = outcome.sequence - arg.data[2] % outcome.sequence;
    outcome.has_status = arg.data[3] != 0;
    outcome.status = arg.data[3];
    outcome.has_results = arg.len > 4;
    outcome.results = pb_borrow(bytes_of(arg.data + 4, arg.len - 4));
    writes.n_outcomes = 1;
    writes.outcomes = &list;
    entry.writes = &writes;
    command(r, &entry, WBLOG__ENTRY__COMMAND_WRITES);
}

/* Few sessions, or few bytes. */
static void name_limits(struct run *r, struct bytes arg)
{
    Wblog__Limits limits = WBLOG__LIMITS__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    limits.sessions_max = arg.len > 0 ? arg.data[0] % 8 : SESSIONS_DEFAULT;
    limits.session_bytes_max = arg.len > 1 ? number(bytes_of(arg.data + 1, arg.len - 1)) : 2000;
    limits.has_retention_ms = limits.has_retention_bytes = arg.len > 2;
    limits.retention_ms = arg.len > 2 ? arg.data[2] : 0;
    limits.retention_bytes = arg.len > 3 ? arg.data[3] * UINT64_C(64) : 0;
    entry.limits = &limits;
    command(r, &entry, WBLOG__ENTRY__COMMAND_LIMITS);
}

/* Of a key and a batch, of few, so that they meet: the first byte is the key, the second the batch's place.
 */
static uint64_t batch_id(const struct run *r, struct bytes arg)
{
    const struct state *s = group_state(r->group);
    unsigned n = arg.len > 1 ? arg.data[1] % 4 : 0;
    list_for_each (link, tmp, &s->batches) {
        if (n-- == 0) {
            return list_entry(link, struct state_batch, link)->id;
        }
    }
    return 1;
}

static void quarantine(struct run *r, struct bytes arg)
{
    uint8_t key = arg.len > 0 ? arg.data[0] % 8 : 0;
    char message[300] = "", sqlstate[] = "23514";
    Wblog__Fault fault = WBLOG__FAULT__INIT, *list = &fault;
    Wblog__Quarantine q = WBLOG__QUARANTINE__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    for (size_t i = 2; i < arg.len && i < sizeof message; i++) {
        message[i - 2] = arg.data[i] == 0 ? '0' : (char)arg.data[i];
    }
    fault.key = pb_borrow(bytes_of(&key, 1));
    fault.sqlstate = sqlstate;
    fault.message = message;
    q.batch = batch_id(r, arg);
    q.n_faults = 1;
    q.faults = &list;
    entry.quarantine = &q;
    command(r, &entry, WBLOG__ENTRY__COMMAND_QUARANTINE);
}

static void retry(struct run *r, struct bytes arg)
{
    uint8_t bytes[8];
    ProtobufCBinaryData keys[8];
    size_t n = arg.len < 8 ? arg.len : 8;
    Wblog__FlushBegin begin = WBLOG__FLUSH_BEGIN__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    for (size_t i = 0; i < n; i++) {
        bytes[i] = arg.data[i] % 8;
        keys[i] = pb_borrow(bytes_of(&bytes[i], 1));
    }
    begin.n_quarantined = n;
    begin.quarantined = keys;
    entry.flush_begin = &begin;
    command(r, &entry, WBLOG__ENTRY__COMMAND_FLUSH_BEGIN);
}

/* The version of the first key that @arg names; another one when it says so. */
static uint64_t version_of(const struct run *r, uint8_t key, struct bytes arg)
{
    const struct state_entry *e = state_find(group_state(r->group), bytes_of(&key, 1));
    return (e == NULL ? 0 : e->version) + (arg.len > 1 ? arg.data[1] % 2 : 0);
}

static void drop_or_forget(struct run *r, struct bytes arg, bool drop)
{
    uint8_t key = arg.len > 0 ? arg.data[0] % 8 : 0;
    Wblog__QuarantineDrop d = WBLOG__QUARANTINE_DROP__INIT;
    Wblog__ForgetKey one = WBLOG__FORGET_KEY__INIT, *list = &one;
    Wblog__Forget f = WBLOG__FORGET__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    if (drop) {
        d.key = pb_borrow(bytes_of(&key, 1));
        d.version = version_of(r, key, arg);
        entry.quarantine_drop = &d;
        command(r, &entry, WBLOG__ENTRY__COMMAND_QUARANTINE_DROP);
        return;
    }
    one.key = pb_borrow(bytes_of(&key, 1));
    one.version = version_of(r, key, arg);
    f.n_keys = 1;
    f.keys = &list;
    entry.forget = &f;
    command(r, &entry, WBLOG__ENTRY__COMMAND_FORGET);
}

/* To so many batches ago, or to the one that the argument says. */
static void go_back(struct run *r, struct bytes arg)
{
    const struct state *s = group_state(r->group);
    Wblog__Rewind rewind = WBLOG__REWIND__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    rewind.last_batch = arg.len > 1 ? number(bytes_of(arg.data + 1, arg.len - 1)) : 0;
    unsigned back = arg.len > 0 ? arg.data[0] % 8 : 0;
    for (struct list *link = s->flushed.prev; arg.len <= 1 && link != &s->flushed; link = link->prev) {
        rewind.last_batch = list_entry(link, struct state_flushed, link)->id;
        if (back-- == 0) {
            break;
        }
    }
    entry.rewind = &rewind;
    command(r, &entry, WBLOG__ENTRY__COMMAND_REWIND);
}

static void control(struct run *r, struct bytes arg)
{
    Wblog__FlushControl c = WBLOG__FLUSH_CONTROL__INIT;
    Wblog__LossAcknowledged seen = WBLOG__LOSS_ACKNOWLEDGED__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    if (arg.len == 0) {
        seen.rows = group_state(r->group)->lost;
        entry.loss_acknowledged = &seen;
        command(r, &entry, WBLOG__ENTRY__COMMAND_LOSS_ACKNOWLEDGED);
        return;
    }
    c.has_paused = arg.data[0] & 1;
    c.paused = arg.data[0] & 2;
    c.has_rows_per_second = arg.data[0] & 4;
    c.rows_per_second = arg.data[0];
    c.has_batch_rows = arg.data[0] & 8;
    c.batch_rows = arg.data[0];
    entry.flush_control = &c;
    command(r, &entry, WBLOG__ENTRY__COMMAND_FLUSH_CONTROL);
}

static void genesis(struct run *r)
{
    uint8_t cluster_id[CLUSTER_ID_BYTES] = {7};
    Wblog__Genesis birth = WBLOG__GENESIS__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    birth.cluster_id = (ProtobufCBinaryData){.len = sizeof cluster_id, .data = cluster_id};
    birth.group_count = 3;
    entry.genesis = &birth;
    command(r, &entry, WBLOG__ENTRY__COMMAND_GENESIS);
}

/* ---- Snapshots ---- */

static void check_restores_to(struct bytes snapshot)
{
    struct group *g = new_group();
    struct buf again;
    buf_init(&again);
    CHECK(group_on_restore(g, snapshot) == STATUS_OK);
    group_on_snapshot(g, &again);
    CHECK(bytes_equal(snapshot, buf_bytes(&again)));
    check_state(g);
    buf_deinit(&again);
    group_destroy(g);
}

/* Another replica, with something in it, is given @snapshot. Where it took it, it takes over the run. */
static void check_snapshot(struct run *r, struct bytes snapshot)
{
    struct run other = {.group = new_group()};
    buf_init(&other.entry);
    genesis(&other);
    write_key(&other, bytes_of((const uint8_t *)"\1kept", 5), true);
    open_sessions(&other, bytes_of(NULL, 0));
    result(&other, bytes_of((const uint8_t *)"\0\1\0\0kept", 8));
    uint64_t before = state_hash(group_state(other.group));
    enum status status = group_on_restore(other.group, snapshot);
    const struct state *s = group_state(other.group);
    check_state(other.group);
    CHECK(status == STATUS_OK || status == STATUS_CORRUPT || status == STATUS_HALTED);
    if (status == STATUS_OK) {
        check_restores_to(snapshot);
    } else {
        CHECK(state_hash(s) == before);
    }
    if (status == STATUS_OK && s->applied_index < index_sane && s->version_base < version_base_sane) {
        struct group *old = r->group;
        r->group = other.group;
        other.group = old;
        r->n_executed = 0; /* in another log */
    }
    group_destroy(other.group);
    buf_deinit(&other.entry);
}

/* Make the header in r->snapshot fit what follows it. */
static void fit_header(struct run *r)
{
    struct bytes message =
        bytes_of(r->snapshot.data + SNAPSHOT_HEADER_BYTES, r->snapshot.len - SNAPSHOT_HEADER_BYTES);
    store_le64(r->snapshot.data + SNAPSHOT_LENGTH_AT, message.len);
    store_le64(r->snapshot.data + SNAPSHOT_HASH_AT, bytes_hash(message, 0));
}

static void raw_snapshot(struct run *r, struct bytes message)
{
    buf_clear(&r->snapshot);
    group_on_snapshot(r->group, &r->snapshot);
    r->snapshot.len = SNAPSHOT_HEADER_BYTES;
    buf_append(&r->snapshot, message.data, message.len);
    CHECK(!r->snapshot.failed);
    fit_header(r);
    check_snapshot(r, buf_bytes(&r->snapshot));
}

static void changed_snapshot(struct run *r, struct bytes changes)
{
    buf_clear(&r->snapshot);
    group_on_snapshot(r->group, &r->snapshot);
    size_t len = r->snapshot.len - SNAPSHOT_HEADER_BYTES;
    for (size_t i = 0; i + 1 < changes.len && len > 0; i += 2) {
        r->snapshot.data[SNAPSHOT_HEADER_BYTES + changes.data[i] % len] ^= changes.data[i + 1];
    }
    fit_header(r);
    check_snapshot(r, buf_bytes(&r->snapshot));
}

/* ---- The run ---- */

static void take_step(struct run *r, enum step kind, struct bytes arg)
{
    switch (kind) {
    case STEP_SET:
    case STEP_DELETE:
        write_key(r, arg, kind == STEP_SET);
        return;
    case STEP_FLUSH_BEGIN:
        flush_begin(r, arg);
        return;
    case STEP_FLUSHED:
        flushed(r, arg);
        return;
    case STEP_FLUSH_ABORT:
        flush_abort(r, arg);
        return;
    case STEP_OPEN_SESSIONS:
        open_sessions(r, arg);
        return;
    case STEP_RESULT:
        result(r, arg);
        return;
    case STEP_LIMITS:
        name_limits(r, arg);
        return;
    case STEP_QUARANTINE:
        quarantine(r, arg);
        return;
    case STEP_RETRY:
        retry(r, arg);
        return;
    case STEP_DROP:
    case STEP_FORGET:
        drop_or_forget(r, arg, kind == STEP_DROP);
        return;
    case STEP_REWIND:
        go_back(r, arg);
        return;
    case STEP_CONTROL:
        control(r, arg);
        return;
    case STEP_ACKNOWLEDGE:
        control(r, bytes_of(NULL, 0));
        return;
    case STEP_RAW_ENTRY:
        raw_entry(r, arg);
        return;
    case STEP_BARE_ENTRY:
        check_entry(r, arg);
        return;
    case STEP_RAW_SNAPSHOT:
        raw_snapshot(r, arg);
        return;
    case STEP_BARE_SNAPSHOT:
        check_snapshot(r, arg);
        return;
    case STEP_CHANGED_SNAPSHOT:
    case STEPS:
        changed_snapshot(r, arg);
        return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run r = {.group = new_group()};
    buf_init(&r.snapshot);
    buf_init(&r.entry);
    if (size > 0 && data[0] % 8 != 0) {
        genesis(&r); /* else the input must bring its own */
    }
    size_t at = 1;
    while (at + 2 <= size) {
        enum step kind = (enum step)(data[at] % STEPS);
        size_t len = data[at + 1];
        at += 2;
        len = len < size - at ? len : size - at;
        take_step(&r, kind, bytes_of(data + at, len));
        check_state(r.group);
        check_executed(&r);
        at += len;
    }
    buf_clear(&r.snapshot);
    group_on_snapshot(r.group, &r.snapshot);
    check_restores_to(buf_bytes(&r.snapshot));
    buf_deinit(&r.snapshot);
    buf_deinit(&r.entry);
    group_destroy(r.group);
    return 0;
}
