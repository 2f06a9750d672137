/* Values: immutable bytes with a count of those who hold them. The count is not atomic: a value stays on its
 * loop's thread, as the state that it came from does. */
#include "node/state.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

struct value *value_create(struct bytes content)
{
    CHECK(content.len <= UINT32_MAX);
    struct value *v = xmalloc(sizeof *v + content.len);
    v->refs = 1;
    v->len = (uint32_t)content.len;
    if (content.len > 0) {
        memcpy(v->data, content.data, content.len);
    }
    return v;
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
