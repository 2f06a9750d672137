/* Parts of strings: APPEND, GETRANGE, SETRANGE, and SUBSTR, which is GETRANGE's old name. */
#include <stdlib.h>
#include <string.h>

#include "node/redis/number.h"
#include "node/redis/strings_internal.h"
#include "proto/base/alloc.h"
#include "proto/limits.h"

/* False: it is not a number, and that has been replied. */
static bool parse_index(struct redis_call *c, struct bytes text, int64_t *out)
{
    if (!redis_parse_integer(text, out)) {
        resp_error(c->out, redis_error_integer);
        return false;
    }
    return true;
}

void redis_append(struct redis_call *c)
{
    struct transaction_value now;
    if (!redis_get_string(c, c->args[1], &now)) {
        return;
    }
    struct bytes head = now.value != NULL ? value_bytes(now.value) : bytes_of(NULL, 0), tail = c->args[2];
    if (!redis_string_fits(c, head.len + tail.len)) {
        return;
    }
    transaction_put(c->t, c->args[1], VALUE_STRING, value_create_joined(head, tail),
        now.value != NULL ? now.expires_at_ms : 0);
    resp_integer(c->out, (int64_t)(head.len + tail.len));
}

/* @first to @last of a string of @len bytes, where negative ones count from its end. False: nothing is in it.
 */
static bool clip(int64_t len, int64_t *first, int64_t *last)
{
    if (*first < 0 && *last < 0 && *first > *last) { /* before they are made to begin at 0 */
        return false;
    }
    *first += *first < 0 ? len : 0;
    *last += *last < 0 ? len : 0;
    *first = *first < 0 ? 0 : *first;
    *last = *last < 0 ? 0 : *last;
    *last = *last >= len ? len - 1 : *last;
    return *first <= *last;
}

void redis_getrange(struct redis_call *c)
{
    int64_t first, last;
    struct transaction_value now;
    if (!parse_index(c, c->args[2], &first) || !parse_index(c, c->args[3], &last) ||
        !redis_get_string(c, c->args[1], &now)) {
        return;
    }
    if (now.value == NULL || !clip(now.value->len, &first, &last)) {
        resp_bulk(c->out, bytes_of(NULL, 0));
        return;
    }
    resp_bulk(c->out, bytes_of(now.value->data + first, (size_t)(last - first + 1)));
}

void redis_substr(struct redis_call *c)
{
    redis_getrange(c);
}

/* @patch written over @old from @offset on; a gap between them is zeros. At most LIMIT_VALUE_BYTES, all in
 * all. */
static struct value *patched(struct bytes old, size_t offset, struct bytes patch)
{
    size_t len = offset + patch.len > old.len ? offset + patch.len : old.len;
    uint8_t *joined = xcalloc(len, 1);
    if (old.len > 0) {
        memcpy(joined, old.data, old.len);
    }
    memcpy(joined + offset, patch.data, patch.len);
    struct value *value = value_create(bytes_of(joined, len));
    free(joined);
    return value;
}

void redis_setrange(struct redis_call *c)
{
    int64_t offset;
    struct transaction_value now;
    if (!parse_index(c, c->args[2], &offset)) {
        return;
    }
    if (offset < 0) {
        resp_error(c->out, "ERR offset is out of range");
        return;
    }
    if (!redis_get_string(c, c->args[1], &now)) {
        return;
    }
    struct bytes old = now.value != NULL ? value_bytes(now.value) : bytes_of(NULL, 0), patch = c->args[3];
    if (patch.len == 0) { /* writes nothing, wherever */
        resp_integer(c->out, (int64_t)old.len);
        return;
    }
    /* One more than the limit stands for every offset beyond it: the sum can't overflow. */
    size_t from = offset > LIMIT_VALUE_BYTES ? LIMIT_VALUE_BYTES + 1u : (size_t)offset;
    if (!redis_string_fits(c, from + patch.len)) {
        return;
    }
    struct value *value = patched(old, from, patch);
    int64_t len = value->len;
    transaction_put(c->t, c->args[1], VALUE_STRING, value, now.value != NULL ? now.expires_at_ms : 0);
    resp_integer(c->out, len);
}
