/* Commands that have keys: which, of which slot; and their evaluation inside a transaction of the slot's
 * group. */
#include <stdlib.h>
#include <string.h>

#include "node/front_redis_internal.h"
#include "node/redis/number.h"
#include "proto/fields.h"
#include "proto/limits.h"
#include "proto/slot.h"

enum { FEW_KEYS = 8 };

static bool key_fits(struct redis_take *take, struct bytes key, bool first, uint16_t *slot)
{
    if (key.len > LIMIT_KEY_BYTES) {
        redis_reject(take, "ERR key is too long: at most 1024 bytes are possible");
        return false;
    }
    uint16_t its = slot_of(key);
    if (!first && its != *slot) {
        redis_reject(take, "CROSSSLOT Keys in request don't hash to the same slot");
        return false;
    }
    *slot = its;
    return true;
}

uint32_t redis_find_keys(struct redis_take *take, const uint32_t **at, uint32_t few[8], uint16_t *slot)
{
    const struct bytes *args = take->request->args;
    uint32_t n = redis_command_keys(take->command, args, take->request->n, few, FEW_KEYS);
    *at = few;
    if (n == 0) {
        redis_reject(take, redis_error_syntax);
        return 0;
    }
    if (n > LIMIT_REQUEST_KEYS) {
        redis_reject(take, "ERR too many keys: at most 4096 are possible in one command");
        return 0;
    }
    if (n > FEW_KEYS) {
        uint32_t *all = arena_alloc(&take->request->arena, n * sizeof *all);
        redis_command_keys(take->command, args, take->request->n, all, n);
        *at = all;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!key_fits(take, args[(*at)[i]], i == 0, slot)) {
            return 0;
        }
    }
    return n;
}

static int compare_uses(const void *a, const void *b)
{
    return bytes_compare(((const struct redis_key_use *)a)->key, ((const struct redis_key_use *)b)->key);
}

uint32_t redis_merge_keys(struct redis_key_use *uses, uint32_t n)
{
    if (n < 2) {
        return n;
    }
    uint32_t different = 1;
    qsort(uses, n, sizeof *uses, compare_uses);
    for (uint32_t i = 1; i < n; i++) {
        if (bytes_equal(uses[different - 1].key, uses[i].key)) {
            uses[different - 1].blind &= uses[i].blind; /* looked at by one of them, it must be known */
        } else {
            uses[different++] = uses[i];
        }
    }
    return different;
}

void redis_name_keys(struct redis_operation *op, const struct redis_key_use *uses, uint32_t n)
{
    if (n == 1) {
        op->key = uses[0].key;
        op->blind = uses[0].blind;
        op->r.keys = &op->key;
        op->r.blind = op->blind ? &op->blind : NULL;
        op->r.n = 1;
        return;
    }
    struct bytes *keys = arena_alloc(&op->request->arena, n * sizeof *keys);
    bool *blind = arena_alloc(&op->request->arena, n * sizeof *blind);
    for (uint32_t i = 0; i < n; i++) {
        keys[i] = uses[i].key;
        blind[i] = uses[i].blind;
    }
    op->r.keys = keys;
    op->r.blind = blind;
    op->r.n = n;
}

/* A reply can be far larger than what is asked and what is kept, when it tells the same again and again.
 * (Hashes' commands look at that themselves.) */
static bool reply_fits(const struct redis_command *command, const struct bytes *args, uint32_t n,
    struct transaction *t, uint64_t composed)
{
    if (command->run == redis_mget && n > FEW_KEYS) {
        for (uint32_t i = 1; i < n; i++) {
            struct transaction_value v;
            transaction_get(t, args[i], &v);
            composed += v.value != NULL && v.type == VALUE_STRING ? v.value->len : 0;
        }
    }
    return composed <= REDIS_REPLY_BYTES_MAX;
}

enum status redis_run(struct redis_operation *op, const struct redis_command *command,
    const struct bytes *args, uint32_t n, struct transaction *t, struct resp_writer *w)
{
    if (!reply_fits(command, args, n, t, w->out->len)) {
        return STATUS_TOO_BIG;
    }
    struct redis_call call = {
        .command = command, .args = args, .n = n, .t = t, .out = w, .random = op->random};
    command->run(&call);
    return STATUS_OK;
}

static enum status evaluate(struct group_request *r, struct transaction *t)
{
    struct redis_operation *op = list_entry(r, struct redis_operation, r);
    struct resp_writer w = {.out = &op->request->reply, .protocol = op->protocol};
    buf_clear(w.out);
    if (op->conn->closed && r->read_only) {
        return redis_operation_composed(op, STATUS_OK); /* nobody hears it */
    }
    enum status status = redis_run(op, op->command, op->request->args, op->request->n, t, &w);
    return redis_operation_composed(op, status);
}

void redis_take_keyed(struct redis_take *take)
{
    const struct bytes *args = take->request->args;
    uint32_t few[FEW_KEYS];
    const uint32_t *at;
    uint16_t slot = 0;
    uint32_t n = redis_find_keys(take, &at, few, &slot);
    if (n == 0) {
        return;
    }
    struct redis_key_use few_uses[FEW_KEYS], *uses = few_uses;
    if (n > FEW_KEYS) {
        uses = arena_alloc(&take->request->arena, n * sizeof *uses);
    }
    bool blind = take->command->blind != NULL && take->command->blind(args, take->request->n);
    for (uint32_t i = 0; i < n; i++) {
        uses[i] = (struct redis_key_use){.key = args[at[i]], .blind = blind};
    }
    struct redis_operation *op = redis_operation_create(take, slot, GROUP_TRANSACTION);
    op->r.evaluate = evaluate;
    op->r.read_only = (take->command->flags & REDIS_WRITE) == 0;
    redis_name_keys(op, uses, redis_merge_keys(uses, n));
    redis_operation_begin(op);
}
