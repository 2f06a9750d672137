/* Values: immutable bytes with a count of those who hold them. The count is not atomic: a value stays on its
 * loop's thread, as the state that it came from does. */
#include "node/value.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/fields.h"

struct value *value_create_joined(struct bytes head, struct bytes tail)
{
    CHECK(head.len <= UINT32_MAX && tail.len <= UINT32_MAX - head.len);
    struct value *v = xmalloc(sizeof *v + head.len + tail.len);
    v->refs = 1;
    v->len = (uint32_t)(head.len + tail.len);
    if (head.len > 0) {
        memcpy(v->data, head.data, head.len);
    }
    if (tail.len > 0) {
        memcpy(v->data + head.len, tail.data, tail.len);
    }
    return v;
}

struct value *value_create(struct bytes content)
{
    return value_create_joined(content, bytes_of(NULL, 0));
}

struct value *value_ref(struct value *v)
{
    CHECK(v->refs > 0 && v->refs < UINT32_MAX);
    v->refs++;
    return v;
}

void value_unref(struct value *v)
{
    if (v == NULL) {
        return;
    }
    CHECK(v->refs > 0);
    if (--v->refs == 0) {
        free(v);
    }
}

bool value_same(uint8_t type, struct bytes a, struct bytes b)
{
    return bytes_equal(a, b) || (type == VALUE_HASH && fields_equal(a, b));
}
