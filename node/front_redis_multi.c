/* MULTI, EXEC, DISCARD, WATCH and UNWATCH. A transaction is one request to the group of its keys: its
 * commands run one after the other when it is evaluated, after the watched keys' versions were compared. So
 * all of it is one log entry, and nobody comes in between. WATCH is a request, too: it notes the versions. */
#include <stdlib.h>
#include <string.h>

#include "node/front_redis_internal.h"
#include "proto/base/alloc.h"
#include "proto/limits.h"
#include "proto/slot.h"

static const char cross_slot[] = "CROSSSLOT Keys in request don't hash to the same slot";

static void answer_ok(struct redis_take *take)
{
    struct resp_writer w = redis_writer(take);
    resp_simple(&w, "OK");
    redis_answer(take);
}

/* ---- Queueing ---- */

void redis_uncount_multi(struct front_redis *f, struct redis_conn *c)
{
    f->multi_bytes -= c->multi_bytes;
    c->multi_bytes = 0;
}

void redis_count_multi(struct front_redis *f, struct redis_conn *c)
{
    size_t bytes = c->client->multi_arena.bytes + c->client->watch_arena.bytes;
    f->multi_bytes += bytes - c->multi_bytes;
    c->multi_bytes = bytes;
}

void redis_forget_multi(struct redis_take *take)
{
    redis_client_end_multi(take->conn->client);
    redis_count_multi(take->front, take->conn);
}

static void forget_watched(struct redis_take *take)
{
    take->conn->watch_epoch++;
    redis_client_unwatch(take->conn->client);
    redis_count_multi(take->front, take->conn);
}

/* The end of a transaction that is not executed. */
static void discard(struct redis_take *take)
{
    redis_forget_multi(take);
    forget_watched(take);
}

void redis_take_multi(struct redis_take *take)
{
    if (take->conn->client->in_multi) {
        redis_refuse(take, "ERR MULTI calls can not be nested");
        return;
    }
    take->conn->client->in_multi = true;
    answer_ok(take);
}

void redis_take_discard(struct redis_take *take)
{
    if (!take->conn->client->in_multi) {
        redis_refuse(take, "ERR DISCARD without MULTI");
        return;
    }
    discard(take);
    answer_ok(take);
}

/* Are the command's keys, if it has any, in a slot of this node's? If not, it was rejected. */
static bool keys_are_here(struct redis_take *take)
{
    const struct redis_client *client = take->conn->client;
    uint32_t few[8];
    const uint32_t *at;
    uint16_t slot = 0;
    if (take->command->run == NULL) {
        return true;
    }
    if (redis_find_keys(take, &at, few, &slot) == 0) {
        return false;
    }
    struct resp_writer w = redis_writer(take);
    bool may_be_stale = client->readonly && (take->command->flags & REDIS_WRITE) == 0;
    if (may_be_stale || !redis_moved(take->front, slot, &w)) {
        return true;
    }
    take->conn->client->multi_failed = true;
    redis_answer(take);
    return false;
}

/* Is there room to keep @bytes more for the connection? */
static bool has_room(struct redis_take *take, size_t bytes)
{
    if (take->front->multi_bytes + bytes > take->front->config.multi_bytes_max) {
        redis_reject(
            take, "OOM command not allowed: the transactions of all connections take too much memory");
        return false;
    }
    return true;
}

static bool fits_queue(struct redis_take *take)
{
    size_t bytes = sizeof(struct redis_queued) + take->request->n * sizeof(struct bytes);
    for (uint32_t i = 0; i < take->request->n; i++) {
        bytes += take->request->args[i].len;
    }
    if (take->conn->client->multi_arena.bytes + bytes > REDIS_MULTI_BYTES_MAX) {
        redis_reject(take, "ERR the transaction is too big: at most 4 MiB of commands are possible");
        return false;
    }
    return has_room(take, bytes);
}

void redis_queue(struct redis_take *take)
{
    struct redis_client *client = take->conn->client;
    const struct resp_request *request = take->request;
    if (!keys_are_here(take) || !fits_queue(take)) {
        return;
    }
    struct redis_queued *q = arena_alloc(&client->multi_arena, sizeof *q);
    *q = (struct redis_queued){.command = take->command, .n = request->n};
    q->args = arena_alloc(&client->multi_arena, request->n * sizeof *q->args);
    for (uint32_t i = 0; i < request->n; i++) {
        uint8_t *copy = arena_alloc(&client->multi_arena, request->args[i].len);
        if (request->args[i].len > 0) {
            memcpy(copy, request->args[i].data, request->args[i].len);
        }
        q->args[i] = bytes_of(copy, request->args[i].len);
    }
    if (client->queue_last == NULL) {
        client->queue = q;
    } else {
        client->queue_last->next = q;
    }
    client->queue_last = q;
    client->queued++;
    redis_count_multi(take->front, take->conn);
    struct resp_writer w = redis_writer(take);
    resp_simple(&w, "QUEUED");
    redis_answer(take);
}

/* ---- EXEC ---- */

/* What EXEC has taken from its client. */
struct exec {
    struct arena multi_arena, watch_arena;
    struct redis_queued *queue;
    uint32_t queued;
    struct redis_watched *watched;
    size_t bytes;   /* as counted in front_redis.multi_bytes */
    bool has_local; /* there are commands without a key among them */
};

static void exec_take_over(struct exec *e, struct redis_take *take)
{
    struct redis_client *client = take->conn->client;
    *e = (struct exec){.multi_arena = client->multi_arena,
        .watch_arena = client->watch_arena,
        .queue = client->queue,
        .queued = client->queued,
        .watched = client->watched,
        .bytes = take->conn->multi_bytes};
    arena_init(&client->multi_arena);
    arena_init(&client->watch_arena);
    take->conn->multi_bytes = 0; /* it stays counted, by the operation */
    discard(take);
}

static void exec_release(struct exec *e, struct front_redis *f)
{
    f->multi_bytes -= e->bytes;
    arena_deinit(&e->multi_arena);
    arena_deinit(&e->watch_arena);
}

/* A key that is looked at without a group is about as much work as so many bytes of a hash. */
enum { LOCAL_WORK_BYTES = 1024 };

static void exec_local(
    struct redis_operation *op, const struct redis_queued *q, struct transaction *t, struct resp_writer *w)
{
    uint64_t before = op->front->local_work;
    struct redis_local_call call = {.command = q->command,
        .args = q->args,
        .n = q->n,
        .client = op->conn->client,
        .view = redis_view(op->front),
        .out = w,
        .random = op->random};
    redis_run_local(op->front, &call);
    w->protocol = op->conn->client->protocol; /* HELLO may have changed it */
    if (t != NULL) {
        transaction_add_work(t, (op->front->local_work - before) * LOCAL_WORK_BYTES);
    }
}

static enum status exec_one(
    struct redis_operation *op, const struct redis_queued *q, struct transaction *t, struct resp_writer *w)
{
    const struct redis_command *command = q->command;
    if (command->run != NULL) {
        return redis_run(op, command, q->args, q->n, t, w);
    }
    if (command->local == NULL) {
        resp_simple(w, "OK"); /* UNWATCH: EXEC has forgotten them anyway */
        return STATUS_OK;
    }
    exec_local(op, q, t, w);
    return STATUS_OK;
}

/* Was one of the watched keys written since? A version that is not known yet was known to nobody who watches.
 */
static bool was_changed(const struct exec *e, struct transaction *t)
{
    bool changed = false;
    for (const struct redis_watched *w = e->watched; w != NULL; w = w->next) {
        struct transaction_value v;
        transaction_get(t, w->key, &v);
        changed |= !v.version_known || v.version != w->version;
    }
    return changed;
}

/* @t may be NULL when no command has a key. */
static enum status exec_all(struct redis_operation *op, const struct exec *e, struct transaction *t)
{
    struct resp_writer w = {.out = &op->request->reply, .protocol = op->protocol};
    enum status status = STATUS_OK;
    uint64_t local_before = op->front->local_work;
    buf_clear(w.out);
    if (was_changed(e, t)) {
        resp_null_array(&w);
        return STATUS_OK;
    }
    resp_array(&w, e->queued);
    for (const struct redis_queued *q = e->queue; q != NULL && status == STATUS_OK; q = q->next) {
        uint64_t work =
            t != NULL ? transaction_work(t) : (op->front->local_work - local_before) * LOCAL_WORK_BYTES;
        bool too_big = w.out->len > REDIS_REPLY_BYTES_MAX || work > REDIS_EXEC_WORK_MAX_BYTES;
        status = too_big ? STATUS_TOO_BIG : exec_one(op, q, t, &w);
    }
    return status;
}

static enum status evaluate_exec(struct group_request *r, struct transaction *t)
{
    struct redis_operation *op = list_entry(r, struct redis_operation, r);
    return redis_operation_composed(op, exec_all(op, op->own, t));
}

static bool end_exec(struct redis_operation *op, struct resp_writer *w)
{
    (void)w;
    struct exec *e = op->own;
    op->conn->settling -= e->has_local;
    exec_release(e, op->front);
    return false;
}

/* The keys of all of @e. Returns how many (they are in *@uses, merged), or UINT32_MAX: of different slots. */
static uint32_t exec_keys(
    struct redis_take *take, struct exec *e, struct redis_key_use **uses, uint16_t *slot)
{
    uint32_t n = 0;
    for (const struct redis_queued *q = e->queue; q != NULL; q = q->next) {
        e->has_local |= q->command->local != NULL;
        n += q->command->run == NULL ? 0 : redis_command_keys(q->command, q->args, q->n, NULL, 0);
    }
    for (const struct redis_watched *w = e->watched; w != NULL; w = w->next) {
        n++;
    }
    struct redis_key_use *all = *uses = arena_alloc(&take->request->arena, (n + 1) * sizeof *all);
    uint32_t *at = arena_alloc(&take->request->arena, (n + 1) * sizeof *at);
    n = 0;
    for (const struct redis_queued *q = e->queue; q != NULL; q = q->next) {
        uint32_t its =
            q->command->run == NULL ? 0 : redis_command_keys(q->command, q->args, q->n, at, UINT32_MAX);
        bool blind = q->command->blind != NULL && q->command->blind(q->args, q->n);
        for (uint32_t i = 0; i < its; i++) {
            all[n++] = (struct redis_key_use){.key = q->args[at[i]], .blind = blind};
        }
    }
    for (const struct redis_watched *w = e->watched; w != NULL; w = w->next) {
        all[n++] = (struct redis_key_use){.key = w->key};
    }
    for (uint32_t i = 0; i < n; i++) {
        uint16_t its = slot_of(all[i].key);
        if (i > 0 && its != *slot) {
            return UINT32_MAX;
        }
        *slot = its;
    }
    return redis_merge_keys(all, n);
}

static bool exec_reads_only(const struct exec *e)
{
    for (const struct redis_queued *q = e->queue; q != NULL; q = q->next) {
        if (q->command->run != NULL && (q->command->flags & REDIS_WRITE) != 0) {
            return false;
        }
    }
    return true;
}

/* No key, so no group: it is done here. */
static void exec_here(struct redis_take *take, struct exec *e)
{
    struct redis_operation *op = redis_operation_create(take, 0, GROUP_WAIT);
    op->own = e;
    enum status status = exec_all(op, e, NULL);
    exec_release(e, take->front);
    redis_operation_answer(op, status);
}

void redis_take_exec(struct redis_take *take)
{
    struct redis_client *client = take->conn->client;
    if (!client->in_multi) {
        redis_refuse(take, "ERR EXEC without MULTI");
        return;
    }
    bool failed = client->multi_failed;
    struct exec *e = arena_alloc(&take->request->arena, sizeof *e);
    struct redis_key_use *uses;
    uint16_t slot = 0;
    exec_take_over(e, take);
    uint32_t n = exec_keys(take, e, &uses, &slot);
    if (n <= LIMIT_REQUEST_KEYS && !failed && n > 0) {
        struct redis_operation *op = redis_operation_create(take, slot, GROUP_TRANSACTION);
        op->own = e;
        op->end = end_exec;
        op->r.evaluate = evaluate_exec;
        op->r.read_only = exec_reads_only(e);
        redis_name_keys(op, uses, n);
        take->conn->settling += e->has_local;
        redis_operation_begin(op);
    } else if (n == 0 && !failed) {
        exec_here(take, e);
    } else {
        exec_release(e, take->front);
        redis_refuse(take, n == UINT32_MAX ? cross_slot
                           : failed        ? "EXECABORT Transaction discarded because of previous errors."
                                    : "ERR too many keys: at most 4096 are possible in one transaction");
    }
}

void redis_abort_exec(struct redis_take *take)
{
    discard(take);
    redis_refuse(
        take, "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command");
}

/* ---- WATCH ---- */

struct watch {
    uint64_t epoch;
    uint64_t *versions; /* of the request's keys */
};

static enum status evaluate_watch(struct group_request *r, struct transaction *t)
{
    struct redis_operation *op = list_entry(r, struct redis_operation, r);
    struct resp_writer w = {.out = &op->request->reply, .protocol = op->protocol};
    struct watch *watch = op->own;
    for (uint32_t i = 0; i < r->n; i++) {
        struct transaction_value v;
        transaction_get(t, r->keys[i], &v);
        if (!v.version_known) {
            return STATUS_AGAIN;
        }
        watch->versions[i] = v.version;
    }
    buf_clear(w.out);
    resp_simple(&w, "OK");
    return STATUS_OK;
}

static bool is_watched(const struct redis_client *client, struct bytes key)
{
    for (const struct redis_watched *w = client->watched; w != NULL; w = w->next) {
        if (bytes_equal(w->key, key)) {
            return true;
        }
    }
    return false;
}

/* The first version of a key that is watched twice is the one that counts. */
static void add_watched(struct redis_client *client, struct bytes key, uint64_t version)
{
    if (is_watched(client, key)) {
        return;
    }
    struct redis_watched *w = arena_alloc(&client->watch_arena, sizeof *w);
    uint8_t *copy = arena_alloc(&client->watch_arena, key.len);
    if (key.len > 0) {
        memcpy(copy, key.data, key.len);
    }
    *w = (struct redis_watched){.key = bytes_of(copy, key.len), .version = version, .next = client->watched};
    client->watched = w;
    client->watched_n++;
}

static bool end_watch(struct redis_operation *op, struct resp_writer *w)
{
    (void)w;
    if (op->conn->closed) {
        return false;
    }
    struct redis_conn *c = op->conn;
    const struct watch *watch = op->own;
    c->watching--;
    if (op->r.status != STATUS_OK) {
        /* A transaction that was begun without awaiting this answer must not go on unwatched. */
        c->client->multi_failed |= c->client->in_multi && watch->epoch == c->watch_epoch;
    } else if (watch->epoch == c->watch_epoch) {
        for (uint32_t i = 0; i < op->r.n; i++) {
            add_watched(c->client, op->r.keys[i], watch->versions[i]);
        }
        redis_count_multi(op->front, c);
    }
    return false;
}

void redis_take_watch(struct redis_take *take)
{
    struct redis_conn *c = take->conn;
    uint32_t few[8];
    const uint32_t *at;
    uint16_t slot = 0;
    if (c->client->in_multi) {
        redis_refuse(take, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    uint32_t n = redis_find_keys(take, &at, few, &slot);
    if (n == 0) {
        return;
    }
    if (c->client->watched_n + n > REDIS_WATCHED_MAX) {
        redis_refuse(take, "ERR too many keys: at most 1024 can be watched");
        return;
    }
    struct redis_key_use *uses = arena_alloc(&take->request->arena, n * sizeof *uses);
    size_t bytes = n * sizeof(struct redis_watched);
    for (uint32_t i = 0; i < n; i++) {
        uses[i] = (struct redis_key_use){.key = take->request->args[at[i]]};
        bytes += uses[i].key.len;
    }
    if (!has_room(take, bytes)) {
        return;
    }
    struct redis_operation *op = redis_operation_create(take, slot, GROUP_TRANSACTION);
    struct watch *watch = arena_alloc(&take->request->arena, sizeof *watch);
    *watch = (struct watch){
        .epoch = c->watch_epoch, .versions = arena_alloc(&take->request->arena, n * sizeof *watch->versions)};
    op->own = watch;
    op->end = end_watch;
    op->r.evaluate = evaluate_watch;
    op->r.read_only = true;
    redis_name_keys(op, uses, redis_merge_keys(uses, n));
    c->watching++;
    redis_operation_begin(op);
}

void redis_take_unwatch(struct redis_take *take)
{
    forget_watched(take);
    answer_ok(take);
}
