#include "node/front_admin.h"

#include <stdlib.h>
#include <string.h>

#include "node/front_internal.h"
#include "node/group_admin.h"
#include "proto/limits.h"
#include "proto/pb.h"

/* What a row of an answer takes beside its key, value and message, at most; and what the rest of a frame
 * does. */
enum { ROW_BYTES = 128, FRAME_REST_BYTES = 4096 };

/* One request on its way through a group; lives in the rpc request's arena. */
struct passage {
    struct group_request r;
    struct group_admin admin;
    struct front *front;
    struct rpc_request *rpc;
    uint32_t group;
};

/* ---- From the group back to the client ---- */

static void fill_quarantined(const struct admin_key *from, Wbrpc__QuarantinedKey *to)
{
    wbrpc__quarantined_key__init(to);
    to->key = pb_borrow(from->key);
    to->version = from->version;
    to->refused_version = from->refused_version;
    to->sqlstate = (char *)(uintptr_t)from->sqlstate;
    to->message = from->message != NULL ? from->message : (char *)(uintptr_t) "";
    to->attempts = from->attempts;
    to->since_ms = from->since_ms;
    to->refused_ms = from->refused_ms;
    to->retry_in_ms = from->retry_in_ms;
    to->length = from->length;
    to->has_deleted = to->deleted = from->deleted;
    if (from->value != NULL) {
        to->has_value = 1;
        to->value = pb_borrow(value_bytes(from->value));
    }
}

static Wbrpc__QuarantinedKey *make_quarantined(struct arena *arena, const struct admin_key *from)
{
    Wbrpc__QuarantinedKey *to = arena_alloc(arena, sizeof *to);
    fill_quarantined(from, to);
    return to;
}

static void fill_key(struct arena *arena, const struct admin_key *from, Wbrpc__KeyState *to)
{
    wbrpc__key_state__init(to);
    to->in_memory = from->in_memory;
    if (!from->in_memory) {
        return;
    }
#define SET(field, value) to->has_##field = 1, to->field = (value)
    SET(present, from->present);
    SET(version, from->version);
    SET(length, from->length);
    SET(queued, from->queued);
    SET(evictable, from->evictable);
    if (from->dirty_index != 0) {
        SET(dirty_index, from->dirty_index);
        SET(dirty_ms, from->dirty_ms);
    }
    if (from->in_flight != 0) {
        SET(in_flight, from->in_flight);
    }
    if (from->flushed_in != 0) {
        SET(flushed_in, from->flushed_in);
    }
    if (from->expires_at_ms != 0) {
        SET(expires_at_ms, from->expires_at_ms);
    }
#undef SET
    to->quarantined = from->quarantined ? make_quarantined(arena, from) : NULL;
}

static void fill_key_status(struct passage *p, Wbrpc__Response *response)
{
    struct arena *arena = &p->rpc->arena;
    const struct group_admin *a = &p->admin;
    response->n_key_states = a->n_results;
    response->key_states = arena_alloc(arena, a->n_results * sizeof(Wbrpc__KeyState *));
    for (uint32_t i = 0; i < a->n_results; i++) {
        response->key_states[i] = arena_alloc(arena, sizeof(Wbrpc__KeyState));
        fill_key(arena, &a->results[i], response->key_states[i]);
    }
}

static size_t row_bytes(const struct admin_key *row)
{
    return ROW_BYTES + row->key.len + (row->message != NULL ? strlen(row->message) : 0) +
           (row->value != NULL ? row->value->len : 0);
}

/* As many rows as fit into a frame; at least the first does. */
static void fill_quarantine(struct passage *p, Wbrpc__Response *response)
{
    struct arena *arena = &p->rpc->arena;
    const struct group_admin *a = &p->admin;
    Wbrpc__QuarantineReply *reply = arena_alloc(arena, sizeof *reply);
    wbrpc__quarantine_reply__init(reply);
    reply->total = a->total;
    reply->keys = arena_alloc(arena, a->n_results * sizeof(Wbrpc__QuarantinedKey *));
    size_t bytes = FRAME_REST_BYTES;
    for (uint32_t i = 0; i < a->n_results; i++) {
        bytes += row_bytes(&a->results[i]);
        if (bytes > LIMIT_FRAME_BYTES) {
            break;
        }
        reply->keys[reply->n_keys++] = make_quarantined(arena, &a->results[i]);
    }
    response->quarantine = reply;
}

static void fill_control(struct passage *p, Wbrpc__Response *response)
{
    struct arena *arena = &p->rpc->arena;
    const struct group_admin *a = &p->admin;
    Wbrpc__FlushControlReply *reply = arena_alloc(arena, sizeof *reply);
    Wbrpc__FlushSettings *settings = arena_alloc(arena, sizeof *settings);
    Wbrpc__FlushSettings *set = arena_alloc(arena, sizeof *set);
    wbrpc__flush_control_reply__init(reply);
    wbrpc__flush_settings__init(settings);
    wbrpc__flush_settings__init(set);
    settings->has_paused = settings->has_rows_per_second = settings->has_batch_rows = 1;
    settings->has_batch_bytes = settings->has_age_ms = 1;
    settings->paused = a->now.paused;
    settings->rows_per_second = a->rows_per_second;
    settings->batch_rows = a->settings.batch_rows;
    settings->batch_bytes = a->settings.batch_bytes;
    settings->age_ms = a->settings.age_ms;
    set->has_paused = set->paused = a->now.paused;
    set->has_rows_per_second = a->now.has_rows_per_second;
    set->rows_per_second = a->now.rows_per_second;
    set->has_batch_rows = a->now.has_batch_rows;
    set->batch_rows = a->now.batch_rows;
    set->has_batch_bytes = a->now.has_batch_bytes;
    set->batch_bytes = a->now.batch_bytes;
    set->has_age_ms = a->now.has_age_ms;
    set->age_ms = a->now.age_ms;
    reply->settings = settings;
    reply->set = set;
    reply->has_acknowledged = a->acknowledge_loss;
    reply->acknowledged = a->acknowledged;
    response->flush_control = reply;
}

static Wbrpc__Difference *make_difference(
    struct arena *arena, const struct group_admin *a, const struct admin_difference *from)
{
    Wbrpc__Difference *to = arena_alloc(arena, sizeof *to);
    wbrpc__difference__init(to);
    to->key = pb_borrow(bytes_of(a->names.data + from->key_at, from->key_len));
    to->kind = (Wbrpc__DifferenceKind)from->kind;
    to->version = from->version;
    to->has_row_version = from->row_version != 0;
    to->row_version = from->row_version;
    return to;
}

static void fill_verify(struct passage *p, Wbrpc__Response *response)
{
    struct arena *arena = &p->rpc->arena;
    const struct group_admin *a = &p->admin;
    Wbrpc__VerifyReply *reply = arena_alloc(arena, sizeof *reply);
    wbrpc__verify_reply__init(reply);
    reply->cursor = front_cursor_out(p->front, p->group, a->cursor);
    reply->looked = a->looked;
    reply->compared = a->compared;
    reply->dirty = a->dirty;
    reply->n_differences = a->n_differences;
    reply->differences = arena_alloc(arena, a->n_differences * sizeof(Wbrpc__Difference *));
    for (uint32_t i = 0; i < a->n_differences; i++) {
        reply->differences[i] = make_difference(arena, a, &a->differences[i]);
    }
    response->verify = reply;
}

static void fill_count(struct passage *p, Wbrpc__Response *response)
{
    Wbrpc__QuarantineReply *reply = arena_alloc(&p->rpc->arena, sizeof *reply);
    wbrpc__quarantine_reply__init(reply);
    reply->total = p->admin.total;
    response->quarantine = reply;
}

static void fill_nothing(struct passage *p, Wbrpc__Response *response)
{
}

static void done(struct group_request *r)
{
    static void (*const fills[])(struct passage * p, Wbrpc__Response * response) = {
        [ADMIN_KEY_STATUS] = fill_key_status,
        [ADMIN_QUARANTINE_LIST] = fill_quarantine,
        [ADMIN_QUARANTINE_RETRY] = fill_count,
        [ADMIN_QUARANTINE_DROP] = fill_count,
        [ADMIN_CONTROL] = fill_control,
        [ADMIN_VERIFY] = fill_verify,
        [ADMIN_FORGET] = fill_nothing,
    };
    struct passage *p = list_entry(r, struct passage, r);
    Wbrpc__Response response = WBRPC__RESPONSE__INIT;
    front_fill_outcome(p->front, r, p->group, &response);
    if (r->status == STATUS_OK) {
        fills[p->admin.kind](p, &response);
    }
    /* The answer is packed inside rpc_reply, which also frees the passage: what it borrows goes after it. */
    struct group_admin held = p->admin;
    rpc_reply(p->rpc, &response);
    group_admin_deinit(&held);
}

/* ---- From the client to the group ---- */

static struct passage *passage_create(
    struct front *front, struct rpc_request *rpc, enum group_admin_kind kind, uint32_t group)
{
    struct passage *p = arena_alloc(&rpc->arena, sizeof *p);
    memset(p, 0, sizeof *p);
    p->front = front;
    p->rpc = rpc;
    p->group = group;
    front_begin(&p->r, rpc, GROUP_ADMIN, done);
    group_admin_init(&p->admin);
    p->admin.kind = kind;
    p->r.admin = &p->admin;
    return p;
}

static void submit(struct passage *p)
{
    group_submit(p->front->ops->group(p->front->data, p->group), &p->r);
}

/* The keys of a message, which lives as long as the request. *@group: theirs. False: the request was
 * answered. */
static bool take_keys(struct front *front, struct rpc_request *rpc, ProtobufCBinaryData *from, size_t n,
    const struct bytes **out, uint32_t *group)
{
    struct bytes *keys = arena_alloc(&rpc->arena, n * sizeof *keys);
    for (size_t i = 0; i < n; i++) {
        keys[i] = pb_bytes(from[i]);
    }
    *out = keys;
    return front_keys_fit(front, rpc, front_key_itself, keys, (uint32_t)n, group);
}

static void take_key_status(struct front *front, struct rpc_request *rpc, const Wbrpc__Keys *msg)
{
    const struct bytes *keys;
    uint32_t group = 0;
    if (!front_count_fits(rpc, msg->n_keys) ||
        !take_keys(front, rpc, msg->keys, msg->n_keys, &keys, &group)) {
        return;
    }
    struct passage *p = passage_create(front, rpc, ADMIN_KEY_STATUS, group);
    p->admin.keys = keys;
    p->admin.n = (uint32_t)msg->n_keys;
    submit(p);
}

/* The action is one that we know, with as many keys as it may have. */
static bool action_fits(struct rpc_request *rpc, const Wbrpc__Quarantine *msg)
{
    if (msg->action > WBRPC__QUARANTINE_ACTION__DROP) {
        front_answer(rpc, STATUS_INVALID, "there is no such action; this node may be older");
        return false;
    }
    if (msg->action == WBRPC__QUARANTINE_ACTION__DROP &&
        (msg->n_keys == 0 || msg->n_keys > ADMIN_DROP_KEYS_MAX)) {
        front_answer(rpc, STATUS_INVALID, "a request drops 1 to 256 keys, by name");
        return false;
    }
    return msg->n_keys == 0 || front_count_fits(rpc, msg->n_keys);
}

static void take_quarantine(struct front *front, struct rpc_request *rpc, const Wbrpc__Quarantine *msg)
{
    static const enum group_admin_kind kinds[] = {
        [WBRPC__QUARANTINE_ACTION__LIST] = ADMIN_QUARANTINE_LIST,
        [WBRPC__QUARANTINE_ACTION__RETRY] = ADMIN_QUARANTINE_RETRY,
        [WBRPC__QUARANTINE_ACTION__DROP] = ADMIN_QUARANTINE_DROP,
    };
    const struct bytes *keys;
    uint32_t group = msg->group;
    if (!front_group_fits(front, rpc, msg->group) || !action_fits(rpc, msg) ||
        !take_keys(front, rpc, msg->keys, msg->n_keys, &keys, &group)) {
        return;
    }
    if (group != msg->group) {
        front_answer(rpc, STATUS_CROSS_GROUP, "the keys are of another group than the one that is named");
        return;
    }
    struct passage *p = passage_create(front, rpc, kinds[msg->action], group);
    p->admin.keys = keys;
    p->admin.n = (uint32_t)msg->n_keys;
    p->admin.skip = msg->skip;
    p->admin.count = msg->count < ADMIN_LIST_COUNT_MAX ? msg->count : ADMIN_LIST_COUNT_MAX;
    p->admin.values = msg->values;
    submit(p);
}

static void take_settings(const Wbrpc__FlushSettings *from, struct group_admin *to)
{
    to->set = true;
    to->has_paused = from->has_paused;
    to->control = (struct state_control){.paused = from->paused,
        .has_rows_per_second = from->has_rows_per_second,
        .has_batch_rows = from->has_batch_rows,
        .has_batch_bytes = from->has_batch_bytes,
        .has_age_ms = from->has_age_ms,
        .rows_per_second = from->rows_per_second,
        .batch_rows = from->batch_rows,
        .batch_bytes = from->batch_bytes,
        .age_ms = from->age_ms};
}

static void take_flush_control(struct front *front, struct rpc_request *rpc, const Wbrpc__FlushControl *msg)
{
    if (!front_group_fits(front, rpc, msg->group)) {
        return;
    }
    struct passage *p = passage_create(front, rpc, ADMIN_CONTROL, msg->group);
    if (msg->set != NULL) {
        take_settings(msg->set, &p->admin);
    }
    p->admin.reset = msg->reset;
    p->admin.acknowledge_loss = msg->acknowledge_loss;
    submit(p);
}

static void take_verify(struct front *front, struct rpc_request *rpc, const Wbrpc__Verify *msg)
{
    uint64_t cursor;
    if (!front_group_fits(front, rpc, msg->group) ||
        !front_cursor_in(front, rpc, msg->group, msg->cursor, &cursor)) {
        return;
    }
    struct passage *p = passage_create(front, rpc, ADMIN_VERIFY, msg->group);
    p->admin.cursor = cursor;
    p->admin.prefix = msg->has_prefix ? pb_bytes(msg->prefix) : bytes_of(NULL, 0);
    p->admin.count = msg->count < 1 ? 1 : msg->count > LIMIT_SCAN_LOOKS ? LIMIT_SCAN_LOOKS : msg->count;
    p->admin.one_in = msg->one_in < 1 ? 1 : msg->one_in;
    submit(p);
}

static void take_forget(struct front *front, struct rpc_request *rpc, const Wbrpc__Forget *msg)
{
    const struct bytes *keys;
    uint32_t group = 0;
    if (!front_count_fits(rpc, msg->n_keys)) {
        return;
    }
    if (msg->n_versions != msg->n_keys) {
        front_answer(rpc, STATUS_INVALID, "each key to forget has its version");
        return;
    }
    if (!take_keys(front, rpc, msg->keys, msg->n_keys, &keys, &group)) {
        return;
    }
    struct passage *p = passage_create(front, rpc, ADMIN_FORGET, group);
    p->admin.keys = keys;
    p->admin.n = (uint32_t)msg->n_keys;
    p->admin.versions = msg->versions;
    submit(p);
}

static void take_node_control(struct front *front, struct rpc_request *rpc, const Wbrpc__NodeControl *msg)
{
    if (!msg->has_database_connections) {
        front_answer(rpc, STATUS_INVALID, "it says nothing that this version knows to change");
    } else if (msg->database_connections < 1 || msg->database_connections > FRONT_CONNECTIONS_MAX) {
        front_answer(rpc, STATUS_INVALID, "a node has 1 to 256 connections to the database for its flushes");
    } else if (front->ops->set_database_connections == NULL) {
        front_answer(rpc, STATUS_INVALID,
            "this node cannot change its connections while it runs: set flush.connections and restart it");
    } else {
        front->ops->set_database_connections(front->data, msg->database_connections);
        front_answer(rpc, STATUS_OK, NULL);
    }
}

bool front_admin_knows(Wbrpc__Request__OpCase op)
{
    return op == WBRPC__REQUEST__OP_KEY_STATUS || op == WBRPC__REQUEST__OP_QUARANTINE ||
           op == WBRPC__REQUEST__OP_FLUSH_CONTROL || op == WBRPC__REQUEST__OP_VERIFY ||
           op == WBRPC__REQUEST__OP_FORGET || op == WBRPC__REQUEST__OP_NODE_CONTROL;
}

void front_admin_take(struct front *front, struct rpc_request *rpc)
{
    const Wbrpc__Request *msg = rpc->msg;
    switch (msg->op_case) {
    case WBRPC__REQUEST__OP_KEY_STATUS:
        take_key_status(front, rpc, msg->key_status);
        return;
    case WBRPC__REQUEST__OP_QUARANTINE:
        take_quarantine(front, rpc, msg->quarantine);
        return;
    case WBRPC__REQUEST__OP_FLUSH_CONTROL:
        take_flush_control(front, rpc, msg->flush_control);
        return;
    case WBRPC__REQUEST__OP_VERIFY:
        take_verify(front, rpc, msg->verify);
        return;
    case WBRPC__REQUEST__OP_FORGET:
        take_forget(front, rpc, msg->forget);
        return;
    default:
        take_node_control(front, rpc, msg->node_control);
    }
}
