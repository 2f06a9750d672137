/* Commands that read or write whole strings. Those with options are in strings_set.c. */
#include "node/redis/strings_internal.h"
#include "proto/limits.h"

bool redis_get_string(struct redis_call *c, struct bytes key, struct transaction_value *out)
{
    transaction_get(c->t, key, out);
    if (out->value != NULL && out->type != VALUE_STRING) {
        resp_error(c->out, redis_error_wrongtype);
        return false;
    }
    return true;
}

bool redis_string_fits(struct redis_call *c, size_t bytes)
{
    if (bytes > LIMIT_VALUE_BYTES) {
        resp_error(c->out, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        return false;
    }
    return true;
}

bool redis_reply_string(struct redis_call *c, struct bytes key, struct transaction_value *out)
{
    if (!redis_get_string(c, key, out)) {
        return false;
    }
    if (out->value == NULL) {
        resp_null(c->out);
    } else {
        resp_bulk(c->out, value_bytes(out->value));
    }
    return true;
}

void redis_get(struct redis_call *c)
{
    struct transaction_value now;
    (void)redis_reply_string(c, c->args[1], &now);
}

void redis_getdel(struct redis_call *c)
{
    struct transaction_value now;
    if (redis_reply_string(c, c->args[1], &now) && now.value != NULL) {
        transaction_delete(c->t, c->args[1]);
    }
}

void redis_strlen(struct redis_call *c)
{
    struct transaction_value now;
    if (redis_get_string(c, c->args[1], &now)) {
        resp_integer(c->out, now.value != NULL ? now.value->len : 0);
    }
}

/* Of all commands only this one takes a key of another type as one that is not there. */
void redis_mget(struct redis_call *c)
{
    resp_array(c->out, c->n - 1);
    for (uint32_t i = 1; i < c->n; i++) {
        struct transaction_value now;
        transaction_get(c->t, c->args[i], &now);
        if (now.value == NULL || now.type != VALUE_STRING) {
            resp_null(c->out);
        } else {
            resp_bulk(c->out, value_bytes(now.value));
        }
    }
}

/* Are the arguments pairs of a key and a value that may be stored? False: that they are not has been replied.
 */
static bool pairs_fit(struct redis_call *c)
{
    if (c->n % 2 == 0) {
        redis_error_arity(c->out, c->command);
        return false;
    }
    for (uint32_t i = 2; i < c->n; i += 2) {
        if (!redis_string_fits(c, c->args[i].len)) {
            return false;
        }
    }
    return true;
}

static void put_pairs(struct redis_call *c)
{
    for (uint32_t i = 1; i < c->n; i += 2) {
        transaction_put(c->t, c->args[i], VALUE_STRING, value_create(c->args[i + 1]), 0);
    }
}

void redis_mset(struct redis_call *c)
{
    if (pairs_fit(c)) {
        put_pairs(c);
        resp_simple(c->out, "OK");
    }
}

void redis_msetnx(struct redis_call *c)
{
    if (!pairs_fit(c)) {
        return;
    }
    for (uint32_t i = 1; i < c->n; i += 2) {
        struct transaction_value now;
        transaction_get(c->t, c->args[i], &now);
        if (now.value != NULL) {
            resp_integer(c->out, 0);
            return;
        }
    }
    put_pairs(c);
    resp_integer(c->out, 1);
}
