/* The commands that Redis does not have: is a key in the database, wait until it is, how far is its group
 * behind. */
#include <string.h>

#include "node/front_redis_internal.h"
#include "node/group_admin.h"
#include "node/redis/number.h"
#include "proto/base/clock.h"

enum { WAIT_MS_MAX = 60 * 60 * 1000 };

static void field(struct resp_writer *w, const char *name, uint64_t number)
{
    resp_text(w, name);
    resp_integer(w, number > INT64_MAX ? INT64_MAX : (int64_t)number);
}

static void text_field(struct resp_writer *w, const char *name, const char *text)
{
    resp_text(w, name);
    if (text == NULL) {
        resp_null(w);
    } else {
        resp_text(w, text);
    }
}

static void group_info_of(const struct redis_operation *op, struct group_info *out)
{
    group_info(redis_group(op->front, op->slot), clock_boot_ms(), out);
}

/* An operation about the command's one key; NULL: it was rejected. */
static struct redis_operation *create(struct redis_take *take, enum group_op kind)
{
    uint32_t few[8];
    const uint32_t *at;
    uint16_t slot = 0;
    if (redis_find_keys(take, &at, few, &slot) == 0) {
        return NULL;
    }
    struct redis_operation *op = redis_operation_create(take, slot, kind);
    op->key = take->request->args[at[0]];
    return op;
}

/* The same as a question for the key's state: what it answers holds as of now, and says that we still lead.
 */
static struct redis_operation *create_question(struct redis_take *take)
{
    struct redis_operation *op = create(take, GROUP_ADMIN);
    if (op != NULL) {
        struct group_admin *admin = arena_alloc(&take->request->arena, sizeof *admin);
        group_admin_init(admin);
        admin->kind = ADMIN_KEY_STATUS;
        admin->keys = &op->key;
        admin->n = 1;
        op->r.admin = admin;
    }
    return op;
}

/* ---- WB.FLUSHED key ---- */

static bool end_flushed(struct redis_operation *op, struct resp_writer *w)
{
    bool answered = op->r.status == STATUS_OK;
    if (answered) {
        const struct admin_key *key = &op->r.admin->results[0];
        bool dirty = key->dirty_index != 0 || key->quarantined;
        struct group_info info;
        group_info_of(op, &info);
        resp_map(w, 9);
        field(w, "version", key->version);
        field(w, "dirty", dirty);
        field(w, "dirty-ms", key->dirty_ms);
        field(w, "dirty-index", key->dirty_index);
        field(w, "in-flight", key->in_flight != 0);
        field(w, "flushed-index", info.flushed_index);
        field(w, "quarantined", key->quarantined);
        text_field(w, "sqlstate", key->quarantined ? key->sqlstate : NULL);
        text_field(w, "message", key->quarantined ? key->message : NULL);
    }
    group_admin_deinit(op->r.admin);
    return answered;
}

void redis_take_flushed(struct redis_take *take)
{
    struct redis_operation *op = create_question(take);
    if (op != NULL) {
        op->end = end_flushed;
        redis_operation_begin(op);
    }
}

/* ---- WB.LAG key ---- */

static bool end_lag(struct redis_operation *op, struct resp_writer *w)
{
    bool answered = op->r.status == STATUS_OK;
    if (answered) {
        struct group_info info;
        group_info_of(op, &info);
        resp_map(w, 10);
        field(w, "group", op->group);
        field(w, "dirty-entries", info.dirty_entries);
        field(w, "dirty-bytes", info.dirty_bytes);
        field(w, "oldest-dirty-ms", info.oldest_dirty_ms);
        field(w, "applied-index", info.applied_index);
        field(w, "flushed-index", info.flushed_index);
        field(w, "fresh-as-of-us", info.fresh_as_of_us > 0 ? (uint64_t)info.fresh_as_of_us : 0);
        field(w, "quarantined", info.quarantined);
        text_field(w, "flush-state", info.flush_state);
        text_field(w, "flush-error", info.flush_error[0] != '\0' ? info.flush_error : NULL);
    }
    group_admin_deinit(op->r.admin);
    return answered;
}

void redis_take_lag(struct redis_take *take)
{
    struct redis_operation *op = create_question(take);
    if (op != NULL) {
        op->end = end_lag;
        redis_operation_begin(op);
    }
}

/* ---- WB.WAITFLUSH key timeout-ms ---- */

static bool end_waitflush(struct redis_operation *op, struct resp_writer *w)
{
    if (op->r.status == STATUS_OK) {
        const struct state_entry *e = state_find(group_state(redis_group(op->front, op->slot)), op->key);
        if (e != NULL && e->quarantine != NULL) {
            resp_error_of(w, "QUARANTINED the database refuses the row: %s %s", e->quarantine->sqlstate,
                e->quarantine->message);
        } else {
            resp_integer(w, 1);
        }
        return true;
    }
    if (op->r.status == STATUS_NOT_FLUSHED || op->r.status == STATUS_TIMEOUT) {
        resp_integer(w, 0);
        return true;
    }
    return false;
}

void redis_take_waitflush(struct redis_take *take)
{
    int64_t timeout_ms;
    if (!redis_parse_integer(take->request->args[2], &timeout_ms)) {
        redis_refuse(take, "ERR timeout is not an integer or out of range");
        return;
    }
    if (timeout_ms < 0) {
        redis_refuse(take, "ERR timeout is negative");
        return;
    }
    struct redis_operation *op = create(take, GROUP_WAIT);
    if (op != NULL) {
        op->end = end_waitflush;
        op->r.deadline_ms =
            take->front->now_ms +
            (uint64_t)(timeout_ms == 0 || timeout_ms > WAIT_MS_MAX ? WAIT_MS_MAX : timeout_ms);
        redis_operation_begin(op);
    }
}
