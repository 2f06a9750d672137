/* Objects, and what is asked of them. */
#include "cluster-tests/redis_call.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/check.h"

/* ---- Objects ---- */

/* PostgreSQL sees them as JSON: what begins with "\x" or is no text is written otherwise there. */
static const struct bytes field_names[REDIS_PARTS] = {
    {.data = (const uint8_t *)"name", .len = 4},
    {.data = (const uint8_t *)"\\x61", .len = 4},
    {.data = (const uint8_t *)"\0\xff\"", .len = 3},
};

bool redis_kind_is_hash(enum redis_kind kind)
{
    return kind == REDIS_FIELD_COUNTER || kind == REDIS_FIELD || kind == REDIS_RECORD;
}

bool redis_kind_is_counter(enum redis_kind kind)
{
    return kind == REDIS_COUNTER || kind == REDIS_FIELD_COUNTER;
}

unsigned redis_object_keys(const struct redis_object *o)
{
    return o->kind == REDIS_FAMILY ? REDIS_PARTS : 1;
}

void redis_object_key(const struct redis_object *o, unsigned i, struct buf *out)
{
    if (o->kind != REDIS_FAMILY) {
        buf_append(out, o->name, strlen(o->name));
        return;
    }
    buf_append_u8(out, '{');
    buf_append(out, o->name, strlen(o->name));
    buf_append_u8(out, '}');
    buf_append_u8(out, (uint8_t)('a' + i));
}

unsigned redis_object_fields(const struct redis_object *o)
{
    return o->kind == REDIS_RECORD ? REDIS_PARTS : redis_kind_is_hash(o->kind) ? 1 : 0;
}

struct bytes redis_object_field(const struct redis_object *o, unsigned i)
{
    CHECK(i < redis_object_fields(o));
    return field_names[i];
}

/* ---- Words ---- */

const char *redis_form_words(enum redis_form form)
{
    static const char *const words[] = {
#define X(name, text) text,
        REDIS_FORM_MAP(X)
#undef X
    };
    return words[form];
}

const char *redis_answer_words(enum redis_answer answer)
{
    static const char *const words[] = {
#define X(name, text) text,
        REDIS_ANSWER_MAP(X)
#undef X
    };
    return words[answer];
}

bool redis_answer_not_done(enum redis_answer answer)
{
    return answer != REDIS_ANSWER_RESULT && answer != REDIS_ANSWER_UNKNOWN && answer != REDIS_ANSWER_CLOSED &&
           answer != REDIS_ANSWER_WRONG;
}

unsigned redis_form_percent(enum redis_kind kind, enum redis_form form)
{
    static const uint8_t percent[REDIS_KINDS][REDIS_FORMS] = {
        [REDIS_COUNTER] = {[REDIS_FORM_READ] = 30, [REDIS_FORM_ADD] = 60, [REDIS_FORM_ADD_MULTI] = 10},
        [REDIS_FIELD_COUNTER] = {[REDIS_FORM_READ] = 20,
            [REDIS_FORM_READ_ALL] = 10,
            [REDIS_FORM_ADD] = 60,
            [REDIS_FORM_ADD_MULTI] = 10},
        [REDIS_TEXT] = {[REDIS_FORM_READ] = 25,
            [REDIS_FORM_WRITE] = 10,
            [REDIS_FORM_WRITE_ABSENT] = 8,
            [REDIS_FORM_WRITE_PRESENT] = 8,
            [REDIS_FORM_SWAP] = 10,
            [REDIS_FORM_SWAP_MULTI] = 5,
            [REDIS_FORM_APPEND] = 12,
            [REDIS_FORM_ADD] = 8,
            [REDIS_FORM_REMOVE] = 7,
            [REDIS_FORM_TAKE] = 7},
        [REDIS_FIELD] = {[REDIS_FORM_READ] = 20,
            [REDIS_FORM_READ_ALL] = 10,
            [REDIS_FORM_WRITE] = 25,
            [REDIS_FORM_WRITE_ABSENT] = 10,
            [REDIS_FORM_SWAP_MULTI] = 5,
            [REDIS_FORM_ADD] = 15,
            [REDIS_FORM_REMOVE] = 7,
            [REDIS_FORM_REMOVE_FIELDS] = 8},
        [REDIS_FAMILY] = {[REDIS_FORM_READ] = 30,
            [REDIS_FORM_READ_MULTI] = 12,
            [REDIS_FORM_WRITE] = 28,
            [REDIS_FORM_WRITE_MULTI] = 12,
            [REDIS_FORM_WRITE_ABSENT] = 10,
            [REDIS_FORM_REMOVE] = 8},
        [REDIS_RECORD] = {[REDIS_FORM_READ] = 20,
            [REDIS_FORM_READ_ALL] = 15,
            [REDIS_FORM_READ_MULTI] = 10,
            [REDIS_FORM_WRITE] = 30,
            [REDIS_FORM_WRITE_MULTI] = 10,
            [REDIS_FORM_REMOVE] = 7,
            [REDIS_FORM_REMOVE_FIELDS] = 8},
    };
    return percent[kind][form];
}

/* ---- Commands ---- */

static void put_begin(struct buf *out, unsigned args)
{
    char text[16];
    buf_append(out, text, (size_t)snprintf(text, sizeof text, "*%u\r\n", args));
}

static void put(struct buf *out, struct bytes arg)
{
    char text[32];
    buf_append(out, text, (size_t)snprintf(text, sizeof text, "$%zu\r\n", arg.len));
    buf_append(out, arg.data, arg.len);
    buf_append(out, "\r\n", 2);
}

static void put_word(struct buf *out, const char *word)
{
    put(out, bytes_from_text(word));
}

static void put_number(struct buf *out, int64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, number);
    put_word(out, text);
}

static void put_key(struct buf *out, const struct redis_object *o, unsigned i)
{
    struct buf key;
    buf_init(&key);
    redis_object_key(o, i, &key);
    put(out, buf_bytes(&key));
    buf_deinit(&key);
}

void redis_command(struct buf *out, const char *const *words, unsigned n)
{
    put_begin(out, n);
    for (unsigned i = 0; i < n; i++) {
        put_word(out, words[i]);
    }
}

static void put_multi(struct buf *out)
{
    redis_command(out, (const char *const[]){"MULTI"}, 1);
}

static void put_exec(struct buf *out)
{
    redis_command(out, (const char *const[]){"EXEC"}, 1);
}

/* A command with only the object's keys. */
static void put_keys(struct buf *out, const char *name, const struct redis_object *o)
{
    put_begin(out, 1 + redis_object_keys(o));
    put_word(out, name);
    for (unsigned i = 0; i < redis_object_keys(o); i++) {
        put_key(out, o, i);
    }
}

/* A command with the key and all fields of a hash. */
static void put_fields(struct buf *out, const char *name, const struct redis_object *o)
{
    put_begin(out, 2 + redis_object_fields(o));
    put_word(out, name);
    put_key(out, o, 0);
    for (unsigned i = 0; i < redis_object_fields(o); i++) {
        put(out, redis_object_field(o, i));
    }
}

static void put_read(struct buf *out, const struct redis_object *o)
{
    if (redis_kind_is_hash(o->kind)) {
        put_fields(out, o->kind == REDIS_RECORD ? "HMGET" : "HGET", o);
    } else {
        put_keys(out, o->kind == REDIS_FAMILY ? "MGET" : "GET", o);
    }
}

/* The parts one by one; returns how many there are. */
static unsigned put_read_parts(struct buf *out, const struct redis_object *o)
{
    for (unsigned i = 0; i < REDIS_PARTS; i++) {
        bool hash = o->kind == REDIS_RECORD;
        put_begin(out, hash ? 3 : 2);
        put_word(out, hash ? "HGET" : "GET");
        put_key(out, o, hash ? 0 : i);
        if (hash) {
            put(out, redis_object_field(o, i));
        }
    }
    return REDIS_PARTS;
}

/* MSET, MSETNX or HSET, of all parts; SET of the only one. */
static void put_write(struct buf *out, const char *name, const struct redis_object *o, struct bytes value)
{
    bool hash = redis_kind_is_hash(o->kind);
    unsigned parts = hash ? redis_object_fields(o) : redis_object_keys(o);
    put_begin(out, (hash ? 2 : 1) + 2 * parts);
    put_word(out, name);
    if (hash) {
        put_key(out, o, 0);
    }
    for (unsigned i = 0; i < parts; i++) {
        if (hash) {
            put(out, redis_object_field(o, i));
        } else {
            put_key(out, o, i);
        }
        put(out, value);
    }
}

static const char *write_name(enum redis_kind kind)
{
    return redis_kind_is_hash(kind) ? "HSET" : kind == REDIS_FAMILY ? "MSET" : "SET";
}

static unsigned put_write_parts(struct buf *out, const struct redis_object *o, struct bytes value)
{
    for (unsigned i = 0; i < REDIS_PARTS; i++) {
        bool hash = o->kind == REDIS_RECORD;
        put_begin(out, hash ? 4 : 3);
        put_word(out, hash ? "HSET" : "SET");
        put_key(out, o, hash ? 0 : i);
        if (hash) {
            put(out, redis_object_field(o, i));
        }
        put(out, value);
    }
    return REDIS_PARTS;
}

/* SET with an option. */
static void put_set(struct buf *out, const struct redis_call *call, const char *option)
{
    put_begin(out, 4);
    put_word(out, "SET");
    put_key(out, call->object, 0);
    put(out, call->value);
    put_word(out, option);
}

static void put_add(struct buf *out, const struct redis_object *o, int64_t delta)
{
    bool hash = redis_kind_is_hash(o->kind);
    put_begin(out, hash ? 4 : 3);
    put_word(out, hash ? "HINCRBY" : "INCRBY");
    put_key(out, o, 0);
    if (hash) {
        put(out, redis_object_field(o, 0));
    }
    put_number(out, delta);
}

static int64_t number_of(struct bytes text)
{
    int64_t number = 0;
    for (size_t i = 0; i < text.len; i++) {
        number = number * 10 + (text.data[i] - '0');
    }
    return number;
}

int64_t redis_call_changed_number(const struct redis_call *call)
{
    return (call->found ? number_of(call->before) : 0) + call->delta;
}

static void put_change(struct buf *out, const struct redis_call *call)
{
    char text[24];
    struct bytes value = call->value;
    if (redis_kind_is_counter(call->object->kind)) {
        snprintf(text, sizeof text, "%" PRId64, redis_call_changed_number(call));
        value = bytes_from_text(text);
    }
    put_write(out, write_name(call->object->kind), call->object, value);
}

/* What is between MULTI and EXEC: so many commands. 0: @call is no transaction. */
static unsigned put_transaction(struct buf *out, const struct redis_call *call)
{
    switch (call->form) {
    case REDIS_FORM_READ_MULTI:
        return put_read_parts(out, call->object);
    case REDIS_FORM_WRITE_MULTI:
        return put_write_parts(out, call->object, call->value);
    case REDIS_FORM_SWAP_MULTI:
        put_read(out, call->object);
        put_write(out, write_name(call->object->kind), call->object, call->value);
        return 2;
    case REDIS_FORM_CHANGE:
        put_change(out, call);
        return 1;
    case REDIS_FORM_ADD_MULTI:
        put_add(out, call->object, 1);
        put_add(out, call->object, call->delta - 1);
        return 2;
    default:
        CHECK(!"a transaction");
        return 0;
    }
}

bool redis_form_is_transaction(enum redis_form form)
{
    return form == REDIS_FORM_READ_MULTI || form == REDIS_FORM_WRITE_MULTI || form == REDIS_FORM_SWAP_MULTI ||
           form == REDIS_FORM_CHANGE || form == REDIS_FORM_ADD_MULTI;
}

static void put_write_absent(struct buf *out, const struct redis_call *call)
{
    if (call->object->kind == REDIS_TEXT) {
        put_set(out, call, "NX");
    } else {
        put_write(out, call->object->kind == REDIS_FAMILY ? "MSETNX" : "HSETNX", call->object, call->value);
    }
}

static void put_append(struct buf *out, const struct redis_call *call)
{
    put_begin(out, 3);
    put_word(out, "APPEND");
    put_key(out, call->object, 0);
    put(out, call->value);
}

static void put_plain(struct buf *out, const struct redis_call *call)
{
    const struct redis_object *o = call->object;
    switch (call->form) {
    case REDIS_FORM_READ:
        put_read(out, o);
        break;
    case REDIS_FORM_READ_ALL:
        put_keys(out, "HGETALL", o);
        break;
    case REDIS_FORM_WRITE:
        put_write(out, write_name(o->kind), o, call->value);
        break;
    case REDIS_FORM_WRITE_ABSENT:
        put_write_absent(out, call);
        break;
    case REDIS_FORM_WRITE_PRESENT:
        put_set(out, call, "XX");
        break;
    case REDIS_FORM_SWAP:
        put_set(out, call, "GET");
        break;
    case REDIS_FORM_APPEND:
        put_append(out, call);
        break;
    case REDIS_FORM_ADD:
        put_add(out, o, call->delta);
        break;
    case REDIS_FORM_REMOVE:
        put_keys(out, "DEL", o);
        break;
    case REDIS_FORM_REMOVE_FIELDS:
        put_fields(out, "HDEL", o);
        break;
    case REDIS_FORM_TAKE:
        put_keys(out, "GETDEL", o);
        break;
    default:
        CHECK(!"a plain command");
    }
}

unsigned redis_call_encode(const struct redis_call *call, struct buf *out)
{
    if (!redis_form_is_transaction(call->form)) {
        put_plain(out, call);
        return 1;
    }
    put_multi(out);
    unsigned commands = put_transaction(out, call);
    put_exec(out);
    return commands + 2;
}

void redis_call_encode_watch(const struct redis_object *object, struct buf *out)
{
    put_keys(out, "WATCH", object);
    put_read(out, object);
}
