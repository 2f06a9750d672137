/* Commands for keys of any type. A key takes its type and its time to live along when it is renamed or
 * copied. */
#include "node/redis/command.h"
#include "node/redis/number.h"
#include "proto/base/check.h"

static bool is_there(struct redis_call *c, struct bytes key)
{
    struct transaction_value now;
    transaction_get(c->t, key, &now);
    return now.value != NULL;
}

/* DEL and UNLINK: our deletes are never slow enough to be two things. */
void redis_del(struct redis_call *c)
{
    int64_t deleted = 0;
    for (uint32_t i = 1; i < c->n; i++) {
        if (is_there(c, c->args[i])) { /* a key that is named twice is gone by then */
            transaction_delete(c->t, c->args[i]);
            deleted++;
        }
    }
    resp_integer(c->out, deleted);
}

/* A key that is named twice counts twice. */
void redis_exists(struct redis_call *c)
{
    int64_t there = 0;
    for (uint32_t i = 1; i < c->n; i++) {
        there += is_there(c, c->args[i]);
    }
    resp_integer(c->out, there);
}

/* That it was looked at is what it is for. */
void redis_touch(struct redis_call *c)
{
    redis_exists(c);
}

static const char *type_name(uint8_t type)
{
    switch ((enum value_type)type) {
    case VALUE_STRING:
        return "string";
    case VALUE_HASH:
        return "hash";
    }
    CHECK(!"a type of values");
    return "none";
}

void redis_type(struct redis_call *c)
{
    struct transaction_value now;
    transaction_get(c->t, c->args[1], &now);
    resp_simple(c->out, now.value != NULL ? type_name(now.type) : "none");
}

/* Make @to what @from is. */
static void put_as(struct redis_call *c, struct bytes to, const struct transaction_value *from)
{
    transaction_put(c->t, to, from->type, value_ref(from->value), from->expires_at_ms);
}

/* Rename args[1] to args[2]; @only_absent: if that is not there. 1: it is done; 0: it was there (or is the
 * same key, and nothing had to be done); -1: there is no such key, which has been replied. */
static int rename_key(struct redis_call *c, bool only_absent)
{
    struct bytes from = c->args[1], to = c->args[2];
    struct transaction_value now;
    transaction_get(c->t, from, &now);
    if (now.value == NULL) {
        resp_error(c->out, "ERR no such key");
        return -1;
    }
    if (bytes_equal(from, to) || (only_absent && is_there(c, to))) {
        return 0;
    }
    put_as(c, to, &now);
    transaction_delete(c->t, from);
    return 1;
}

void redis_rename(struct redis_call *c)
{
    if (rename_key(c, false) >= 0) {
        resp_simple(c->out, "OK");
    }
}

void redis_renamenx(struct redis_call *c)
{
    int renamed = rename_key(c, true);
    if (renamed >= 0) {
        resp_integer(c->out, renamed);
    }
}

/* So many databases has a server whose configuration doesn't say; only the first one may be used in a
 * cluster. */
enum { DATABASES = 16 };

/* The database that @text names. False: what is wrong with it has been replied. */
static bool parse_database(struct redis_call *c, struct bytes text, int64_t *out)
{
    int64_t number;
    if (!redis_parse_integer(text, &number)) {
        resp_error(c->out, redis_error_integer);
    } else if (number < INT32_MIN || number > INT32_MAX) {
        resp_error(c->out, "ERR value is out of range, value must between -2147483648 and 2147483647");
    } else if (number < 0 || number >= DATABASES) {
        resp_error(c->out, "ERR DB index is out of range");
    } else {
        *out = number;
        return true;
    }
    return false;
}

void redis_copy(struct redis_call *c)
{
    struct bytes from = c->args[1], to = c->args[2];
    bool replace = false;
    int64_t database = 0;
    for (uint32_t i = 3; i < c->n; i++) {
        if (redis_word_is(c->args[i], "replace")) {
            replace = true;
        } else if (redis_word_is(c->args[i], "db") && i + 1 < c->n) {
            if (!parse_database(c, c->args[++i], &database)) {
                return;
            }
        } else {
            resp_error(c->out, redis_error_syntax);
            return;
        }
    }
    if (database != 0) {
        resp_error(c->out, "ERR Copying to another database is not allowed in cluster mode");
        return;
    }
    if (bytes_equal(from, to)) {
        resp_error(c->out, "ERR source and destination objects are the same");
        return;
    }
    struct transaction_value now;
    transaction_get(c->t, from, &now);
    if (now.value == NULL || (!replace && is_there(c, to))) {
        resp_integer(c->out, 0);
        return;
    }
    put_as(c, to, &now);
    resp_integer(c->out, 1);
}
