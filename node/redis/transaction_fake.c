#include "node/redis/transaction_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/alloc.h"

void fake_transaction_init(struct transaction *t, uint64_t now_ms)
{
    *t = (struct transaction){.now_ms = now_ms};
}

static void drop(struct transaction *t, uint32_t at)
{
    free((void *)(uintptr_t)t->keys[at].key.data);
    value_unref(t->keys[at].value);
    t->keys[at] = t->keys[--t->n];
}

void fake_transaction_deinit(struct transaction *t)
{
    while (t->n > 0) {
        drop(t, 0);
    }
    free(t->keys);
    t->keys = NULL;
    t->cap = 0;
}

/* A key that is due is not there. t->n: none. */
static uint32_t find(struct transaction *t, struct bytes key)
{
    for (uint32_t i = 0; i < t->n; i++) {
        if (bytes_equal(t->keys[i].key, key)) {
            if (t->keys[i].expires_at_ms != 0 && t->keys[i].expires_at_ms <= t->now_ms) {
                drop(t, i);
                return t->n;
            }
            return i;
        }
    }
    return t->n;
}

void transaction_get(struct transaction *t, struct bytes key, struct transaction_value *out)
{
    assert_false(t->blind);
    uint32_t at = find(t, key);
    *out = (struct transaction_value){.version_known = true};
    if (at < t->n) {
        out->value = t->keys[at].value;
        out->type = t->keys[at].type;
        out->expires_at_ms = t->keys[at].expires_at_ms;
        out->version = t->keys[at].version;
    }
}

void transaction_put(
    struct transaction *t, struct bytes key, uint8_t type, struct value *value, uint64_t expires_at_ms)
{
    transaction_delete(t, key);
    if (expires_at_ms != 0 && expires_at_ms <= t->now_ms) {
        value_unref(value);
        return;
    }
    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 8 : t->cap * 2;
        t->keys = xrealloc(t->keys, t->cap * sizeof *t->keys);
    }
    uint8_t *copy = xmalloc(key.len + 1);
    if (key.len > 0) {
        memcpy(copy, key.data, key.len);
    }
    t->keys[t->n++] = (struct fake_key){.key = bytes_of(copy, key.len),
        .value = value,
        .type = type,
        .expires_at_ms = expires_at_ms,
        .version = t->writes};
}

void transaction_delete(struct transaction *t, struct bytes key)
{
    uint32_t at = find(t, key);
    t->writes++;
    if (at < t->n) {
        drop(t, at);
    }
}

uint64_t transaction_now_ms(const struct transaction *t)
{
    return t->now_ms;
}

struct bytes fake_run_args(struct transaction *t, unsigned protocol, const struct bytes *args, uint32_t n)
{
    static struct buf reply;
    const struct redis_command *command = redis_command_find(args[0]);
    assert_non_null(command);
    command = redis_command_sub(command, args, n);
    assert_non_null(command);
    assert_non_null(command->run);
    assert_true(redis_command_arity_fits(command, n));
    buf_deinit(&reply);
    buf_init(&reply);
    struct resp_writer w = {.out = &reply, .protocol = protocol};
    struct redis_call call = {.command = command,
        .args = args,
        .n = n,
        .t = t,
        .out = &w,
        .random = 0x9e3779b97f4a7c15u * (t->writes + 1)};
    const uint64_t writes = t->writes;
    t->blind = command->blind != NULL && command->blind(args, n);
    command->run(&call);
    t->blind = false;
    assert_false(reply.failed);
    assert_true(reply.len > 0);
    if (reply.data[0] == '-' || !(command->flags & REDIS_WRITE)) {
        assert_int_equal(t->writes, writes);
    }
    return buf_bytes(&reply);
}

const char *fake_run(struct transaction *t, unsigned protocol, const char *word, ...)
{
    static char text[64 * 1024];
    struct bytes args[64];
    uint32_t n = 0;
    va_list words;
    va_start(words, word);
    for (; word != NULL; word = va_arg(words, const char *)) {
        assert_true(n < 64);
        args[n++] = bytes_from_text(word);
    }
    va_end(words);
    struct bytes reply = fake_run_args(t, protocol, args, n);
    assert_true(reply.len < sizeof text);
    memcpy(text, reply.data, reply.len);
    text[reply.len] = '\0';
    return text;
}

void fake_assert_says(struct transaction *t, const char *line, const char *want, const char *file, int at)
{
    struct bytes args[64];
    uint32_t n = 0;
    for (const char *word = line; word != NULL;) {
        const char *space = strchr(word, ' ');
        size_t len = space != NULL ? (size_t)(space - word) : strlen(word);
        assert_true(n < 64);
        args[n++] = bytes_of(word, len == 2 && word[0] == '"' && word[1] == '"' ? 0 : len);
        word = space != NULL ? space + 1 : NULL;
    }
    struct bytes reply = fake_run_args(t, 2, args, n);
    struct buf got;
    buf_init(&got);
    for (size_t i = 0; i + 2 < reply.len; i++) { /* without the last line end */
        bool ends = reply.data[i] == '\r' && reply.data[i + 1] == '\n';
        buf_append_u8(&got, ends ? ' ' : reply.data[i]);
        i += ends;
    }
    buf_append_u8(&got, '\0');
    if (strcmp((const char *)got.data, want) != 0) {
        print_error("%s\n  said \"%s\"\n  not  \"%s\"\n", line, (const char *)got.data, want);
        buf_deinit(&got);
        _fail(file, at);
    }
    buf_deinit(&got);
}
