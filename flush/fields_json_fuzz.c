/* Fuzz hashes on their way to SQL and back. The input is both: a hash, when it is a valid one (its JSON must
 * be read by another's reader, to the same hash), and texts that somebody wrote into a table (they must give
 * a valid hash or none). */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "flush/fields_json.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/limits.h"

static void there_and_back(struct bytes hash)
{
    struct buf json, back;
    buf_init(&json);
    buf_init(&back);
    fields_json_append(hash, &json);
    CHECK(!json.failed && json.len <= FIELDS_JSON_GROWTH_MAX * hash.len);
    json_t *object = json_loadb((const char *)json.data, json.len, JSON_REJECT_DUPLICATES, NULL);
    CHECK(object != NULL && json_object_size(object) == fields_count(hash));
    struct bytes *texts = xcalloc(2 * json_object_size(object), sizeof *texts);
    uint32_t n = 0;
    for (void *it = json_object_iter(object); it != NULL; it = json_object_iter_next(object, it)) {
        const json_t *value = json_object_iter_value(it);
        CHECK(json_is_string(value));
        texts[2 * n] = bytes_from_text(json_object_iter_key(it));
        texts[2 * n + 1] = bytes_of(json_string_value(value), json_string_length(value));
        n++;
    }
    CHECK(fields_json_read(texts, n, &back) && fields_equal(hash, buf_bytes(&back)));
    free(texts);
    json_decref(object);
    buf_deinit(&back);
    buf_deinit(&json);
}

/* Each text ends with a newline. */
static void from_texts(struct bytes in)
{
    struct bytes *texts = xcalloc(in.len + 1, sizeof *texts);
    struct buf hash;
    uint32_t n = 0;
    for (size_t i = 0, from = 0; i < in.len; i++) {
        if (in.data[i] == '\n') {
            texts[n++] = bytes_of(in.data + from, i - from);
            from = i + 1;
        }
    }
    buf_init(&hash);
    bool unlike = true; /* as the names of an object are */
    for (uint32_t i = 0; i < n && unlike; i += 2) {
        for (uint32_t k = 0; k < i && unlike; k += 2) {
            unlike = !bytes_equal(texts[i], texts[k]);
        }
    }
    if (unlike && fields_json_read(texts, n / 2, &hash)) {
        CHECK(fields_valid(buf_bytes(&hash)) && hash.len <= LIMIT_VALUE_BYTES);
        CHECK(fields_count(buf_bytes(&hash)) == n / 2);
        there_and_back(buf_bytes(&hash));
    }
    buf_deinit(&hash);
    free(texts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size); /* libFuzzer calls it */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size);
    if (fields_valid(in)) {
        there_and_back(in);
    }
    from_texts(in);
    return 0;
}
