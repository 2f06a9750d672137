/* Values: immutable and counted. Whoever keeps one beyond the call that gave it takes a reference. */
#ifndef WB_NODE_VALUE_H
#define WB_NODE_VALUE_H

#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/value_type.h"

struct value {
    uint32_t refs;
    uint32_t len;
    uint8_t data[];
};

/* A copy of @content; of @head and @tail behind it. The caller has its one reference. */
struct value *value_create(struct bytes content);
struct value *value_create_joined(struct bytes head, struct bytes tail);
/* One reference more (returns @v), one less. The last one to go frees it. */
struct value *value_ref(struct value *v);
void value_unref(struct value *v); /* NULL is allowed */
/* Are two values of @type the same? A hash's fields may come in any order. */
bool value_same(uint8_t type, struct bytes a, struct bytes b);
/* Its bytes, as long as somebody holds it. */
static inline struct bytes value_bytes(const struct value *v)
{
    return bytes_of(v->data, v->len);
}

#endif
