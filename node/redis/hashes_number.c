/* Fields of hashes as numbers: HINCRBY and HINCRBYFLOAT. The order of the errors is Redis'. */
#include <math.h>
#include <stdio.h>

#include "node/redis/hashes.h"
#include "node/redis/number.h"

/* False: too big, and the reply says so. */
static bool set_number(struct redis_call *c, const struct hash *hash, struct bytes text)
{
    struct buf fields;
    buf_init(&fields);
    fields_set(hash->fields, &(struct field){.name = c->args[2], .value = text}, 1, &fields);
    return hash_write(c, hash, &fields);
}

void redis_hincrby(struct redis_call *c)
{
    int64_t number = 0, by;
    struct hash hash;
    struct bytes before;
    if (!redis_parse_integer(c->args[3], &by)) {
        resp_error(c->out, redis_error_integer);
        return;
    }
    if (!hash_read(c, &hash)) {
        return;
    }
    if (fields_find(hash.fields, c->args[2], &before) && !redis_parse_integer(before, &number)) {
        resp_error(c->out, "ERR hash value is not an integer");
        return;
    }
    if (by < 0 ? number < INT64_MIN - by : number > INT64_MAX - by) {
        resp_error(c->out, "ERR increment or decrement would overflow");
        return;
    }
    char text[24];
    int len = snprintf(text, sizeof text, "%lld", (long long)(number + by));
    if (set_number(c, &hash, bytes_of(text, (size_t)len))) {
        resp_integer(c->out, number + by);
    }
}

void redis_hincrbyfloat(struct redis_call *c)
{
    long double number = 0, by;
    struct hash hash;
    struct bytes before;
    if (!redis_parse_float(c->args[3], &by)) {
        resp_error(c->out, redis_error_float);
        return;
    }
    if (isinf(by)) {
        resp_error(c->out, "ERR value is NaN or Infinity");
        return;
    }
    if (!hash_read(c, &hash)) {
        return;
    }
    if (fields_find(hash.fields, c->args[2], &before) && !redis_parse_float(before, &number)) {
        resp_error(c->out, "ERR hash value is not a float");
        return;
    }
    char text[REDIS_FLOAT_CHARS];
    size_t len = redis_format_float(number + by, text);
    if (len == 0) {
        resp_error(c->out, "ERR increment would produce NaN or Infinity");
        return;
    }
    if (set_number(c, &hash, bytes_of(text, len))) {
        resp_bulk(c->out, bytes_of(text, len));
    }
}
