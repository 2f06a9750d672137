#include "cluster-tests/sim/fake_fields.h"

#include <stdlib.h>

#include <jansson.h>

#include "flush/fields_json.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

static int compare_pairs(const void *a, const void *b)
{
    const struct bytes *left = a, *right = b; /* a name, and its value behind it */
    if (left->len != right->len) {
        return left->len < right->len ? -1 : 1;
    }
    return bytes_compare(*left, *right);
}

void fake_fields_read(struct bytes json, struct buf *out)
{
    json_t *object = json_loadb((const char *)json.data, json.len, JSON_REJECT_DUPLICATES, NULL);
    CHECK(json_is_object(object));
    struct bytes(*pairs)[2] = xcalloc(json_object_size(object) + 1, sizeof *pairs);
    uint32_t n = 0;
    for (void *it = json_object_iter(object); it != NULL; it = json_object_iter_next(object, it)) {
        const json_t *value = json_object_iter_value(it);
        CHECK(json_is_string(value));
        pairs[n][0] = bytes_from_text(json_object_iter_key(it));
        pairs[n++][1] = bytes_of(json_string_value(value), json_string_length(value));
    }
    qsort(pairs, n, sizeof *pairs, compare_pairs);
    CHECK(fields_json_read(pairs[0], n, out));
    free(pairs);
    json_decref(object);
}
