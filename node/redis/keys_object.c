/* What Redis tells of how a key is stored. Our values are stored otherwise: the names of encodings are what
 * Redis would choose for a value that was written as a whole, since clients and people judge the size of a
 * key by them. */
#include "node/redis/command.h"
#include "node/redis/number.h"
#include "node/state_internal.h"
#include "proto/fields.h"

enum {
    EMBEDDED_BYTES_MAX = 44,
    LISTPACK_FIELDS_MAX = 512,
    LISTPACK_BYTES_MAX = 64,
    SHARED_INTEGERS = 10000,     /* 0 to 9999 are one object each for the whole of Redis ... */
    SHARED_REFCOUNT = INT32_MAX, /* ... which counts nobody */
};

/* The key args[2]. False: it is not there, and that has been replied. */
static bool look(struct redis_call *c, struct transaction_value *out)
{
    transaction_get(c->t, c->args[2], out);
    if (out->value == NULL) {
        resp_null(c->out);
        return false;
    }
    return true;
}

static const char *string_encoding(struct bytes text)
{
    int64_t number;
    if (redis_parse_integer(text, &number)) {
        return "int";
    }
    return text.len <= EMBEDDED_BYTES_MAX ? "embstr" : "raw";
}

static const char *hash_encoding(struct bytes fields)
{
    if (fields_count(fields) > LISTPACK_FIELDS_MAX) {
        return "hashtable";
    }
    size_t at = 0;
    struct field f;
    while (fields_next(fields, &at, &f)) {
        if (f.name.len > LISTPACK_BYTES_MAX || f.value.len > LISTPACK_BYTES_MAX) {
            return "hashtable";
        }
    }
    return "listpack";
}

void redis_object_encoding(struct redis_call *c)
{
    struct transaction_value now;
    if (look(c, &now)) {
        struct bytes content = value_bytes(now.value);
        resp_text(c->out, now.type == VALUE_HASH ? hash_encoding(content) : string_encoding(content));
    }
}

void redis_object_refcount(struct redis_call *c)
{
    struct transaction_value now;
    int64_t number;
    if (look(c, &now)) {
        bool shared = now.type == VALUE_STRING && redis_parse_integer(value_bytes(now.value), &number) &&
                      number >= 0 && number < SHARED_INTEGERS;
        resp_integer(c->out, shared ? SHARED_REFCOUNT : 1);
    }
}

/* Nothing here keeps the time of a key's last use, and any number would be made up. */
void redis_object_idletime(struct redis_call *c)
{
    struct transaction_value now;
    if (look(c, &now)) {
        resp_error(c->out, "ERR the idle time of keys is not tracked: eviction here does not go by it");
    }
}

void redis_object_freq(struct redis_call *c)
{
    struct transaction_value now;
    if (look(c, &now)) {
        resp_error(c->out,
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that "
            "when "
            "switching between policies at runtime LRU and LFU data will take some time to adjust.");
    }
}

/* SAMPLES has no meaning for values that are one run of bytes. False: what is wrong with it has been replied.
 */
static bool samples_fit(struct redis_call *c)
{
    for (uint32_t i = 3; i < c->n; i += 2) {
        int64_t samples;
        if (!redis_word_is(c->args[i], "samples") || i + 1 == c->n) {
            resp_error(c->out, redis_error_syntax);
            return false;
        }
        if (!redis_parse_integer(c->args[i + 1], &samples)) {
            resp_error(c->out, redis_error_integer);
            return false;
        }
        if (samples < 0) {
            resp_error(c->out, redis_error_syntax);
            return false;
        }
    }
    return true;
}

/* What the key's entry in the cache takes, as the node counts it for its limits. */
void redis_memory_usage(struct redis_call *c)
{
    struct transaction_value now;
    if (samples_fit(c) && look(c, &now)) {
        struct state_entry entry = {
            .key_len = (uint32_t)c->args[2].len, .value = now.value, .value_len = now.value->len};
        resp_integer(c->out, (int64_t)state_entry_bytes(&entry));
    }
}
