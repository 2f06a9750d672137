/* Strings that are numbers: INCR and its relatives. A key that is not there counts as 0; its time to live
 * stays. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "node/redis/number.h"
#include "node/redis/strings_internal.h"

static void put_text(
    struct redis_call *c, const char *text, size_t len, const struct transaction_value *before)
{
    transaction_put(c->t, c->args[1], VALUE_STRING, value_create(bytes_of(text, len)),
        before->value != NULL ? before->expires_at_ms : 0);
}

static void add(struct redis_call *c, int64_t delta)
{
    struct transaction_value now;
    int64_t number = 0;
    if (!redis_get_string(c, c->args[1], &now)) {
        return;
    }
    if (now.value != NULL && !redis_parse_integer(value_bytes(now.value), &number)) {
        resp_error(c->out, redis_error_integer);
        return;
    }
    if (delta < 0 ? number < INT64_MIN - delta : number > INT64_MAX - delta) {
        resp_error(c->out, "ERR increment or decrement would overflow");
        return;
    }
    number += delta;
    char text[32];
    int len = snprintf(text, sizeof text, "%" PRId64, number);
    put_text(c, text, (size_t)len, &now);
    resp_integer(c->out, number);
}

/* False: args[2] is not a number, and that has been replied. */
static bool parse_delta(struct redis_call *c, int64_t *delta)
{
    if (!redis_parse_integer(c->args[2], delta)) {
        resp_error(c->out, redis_error_integer);
        return false;
    }
    return true;
}

void redis_incr(struct redis_call *c)
{
    add(c, 1);
}

void redis_decr(struct redis_call *c)
{
    add(c, -1);
}

void redis_incrby(struct redis_call *c)
{
    int64_t delta;
    if (parse_delta(c, &delta)) {
        add(c, delta);
    }
}

void redis_decrby(struct redis_call *c)
{
    int64_t delta;
    if (!parse_delta(c, &delta)) {
        return;
    }
    if (delta == INT64_MIN) { /* it has no negative */
        resp_error(c->out, "ERR decrement would overflow");
        return;
    }
    add(c, -delta);
}

void redis_incrbyfloat(struct redis_call *c)
{
    struct transaction_value now;
    long double number = 0, delta;
    if (!redis_get_string(c, c->args[1], &now)) {
        return;
    }
    if ((now.value != NULL && !redis_parse_float(value_bytes(now.value), &number)) ||
        !redis_parse_float(c->args[2], &delta)) {
        resp_error(c->out, redis_error_float);
        return;
    }
    char text[REDIS_FLOAT_CHARS];
    size_t len = redis_format_float(number + delta, text);
    if (len == 0) {
        resp_error(c->out, "ERR increment would produce NaN or Infinity");
        return;
    }
    put_text(c, text, len, &now);
    resp_bulk(c->out, bytes_of(text, len));
}
