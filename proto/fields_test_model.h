/* The obvious model of a hash, for fields_test.c and fields_fuzz.c: an array that is searched from end to
 * end. What happens to it comes as a row of bytes, random ones or the fuzzer's. */
#ifndef WB_PROTO_FIELDS_TEST_MODEL_H
#define WB_PROTO_FIELDS_TEST_MODEL_H

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/fields.h"

enum { MODEL_NAMES = 48, MODEL_CHANGES_MAX = 40, MODEL_TEXT_MAX = 140 };

struct model_field {
    uint8_t name, value; /* numbers of texts */
};

struct model {
    uint32_t n;
    struct model_field fields[MODEL_NAMES];
    struct buf encoded; /* what the functions under test made of the same changes */
    /* the source of bytes */
    uint8_t (*next)(void *data);
    void *data;
};

/* The text with this number: the lengths begin at 0, some take two bytes. */
static inline struct bytes model_text(uint8_t number)
{
    static uint8_t texts[256][MODEL_TEXT_MAX];
    size_t len = number < 8 ? (size_t)number / 2 : number % 16 == 0 ? 126u + number % 5 : 2u;
    memset(texts[number], number, len);
    return bytes_of(texts[number], len);
}

/* Texts 0 and 1 are both empty, so names go from 1 on. */
static inline uint8_t model_name(struct model *m)
{
    return (uint8_t)(1 + m->next(m->data) % (MODEL_NAMES - 1));
}

static inline struct model_field *model_find(struct model *m, uint8_t name)
{
    for (uint32_t i = 0; i < m->n; i++) {
        if (m->fields[i].name == name) {
            return &m->fields[i];
        }
    }
    return NULL;
}

static inline uint32_t model_set(struct model *m, struct buf *out)
{
    struct field changes[MODEL_CHANGES_MAX];
    uint32_t n = 1 + m->next(m->data) % MODEL_CHANGES_MAX, added = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t name = model_name(m), value = m->next(m->data);
        struct model_field *there = model_find(m, name);
        if (there == NULL) {
            there = &m->fields[m->n++];
            added++;
        }
        *there = (struct model_field){.name = name, .value = value};
        changes[i] = (struct field){.name = model_text(name), .value = model_text(value)};
    }
    return fields_set(buf_bytes(&m->encoded), changes, n, out) - added;
}

static inline uint32_t model_remove(struct model *m, struct buf *out)
{
    struct bytes names[MODEL_CHANGES_MAX];
    uint32_t n = 1 + m->next(m->data) % MODEL_CHANGES_MAX, removed = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t name = model_name(m);
        struct model_field *there = model_find(m, name);
        names[i] = model_text(name);
        if (there != NULL) {
            m->n--;
            memmove(there, there + 1, (size_t)(&m->fields[m->n] - there) * sizeof *there);
            removed++;
        }
    }
    return fields_remove(buf_bytes(&m->encoded), names, n, out) - removed;
}

/* Are the encoded fields the model's, in its order, however they are asked for? */
static inline bool model_agrees(struct model *m)
{
    struct bytes encoded = buf_bytes(&m->encoded), names[MODEL_NAMES], values[MODEL_NAMES], value;
    if (m->n == 0) {
        return encoded.len == 0;
    }
    bool agrees = fields_valid(encoded) && fields_count(encoded) == m->n;
    struct field field;
    size_t at = 0;
    for (uint32_t i = 0; agrees && i < m->n; i++) {
        agrees = fields_next(encoded, &at, &field) &&
                 bytes_equal(field.name, model_text(m->fields[i].name)) &&
                 bytes_equal(field.value, model_text(m->fields[i].value));
    }
    agrees = agrees && at == encoded.len && !fields_next(encoded, &at, &field);
    for (uint8_t name = 1; name < MODEL_NAMES; name++) {
        names[name - 1] = model_text(name);
    }
    fields_find_all(encoded, names, MODEL_NAMES - 1, values);
    for (uint8_t name = 1; agrees && name < MODEL_NAMES; name++) {
        const struct model_field *there = model_find(m, name);
        agrees = fields_find(encoded, model_text(name), &value) == (there != NULL) &&
                 (values[name - 1].data != NULL) == (there != NULL) &&
                 (there == NULL ||
                     (bytes_equal(value, model_text(there->value)) && bytes_equal(values[name - 1], value)));
    }
    return agrees;
}

/* Another text, of the same length where that can be; the name of no field. */
static inline struct bytes model_changed(struct bytes text, uint8_t *room)
{
    if (text.len == 0) {
        room[0] = 0xff;
        return bytes_of(room, 1);
    }
    memcpy(room, text.data, text.len);
    room[text.len - 1] ^= 0xff;
    return bytes_of(room, text.len);
}

/* The same fields in the other order are equal; with another value, or one under another name, they are not.
 */
static inline bool model_compares(struct model *m)
{
    enum { AS_IT_IS, ANOTHER_VALUE, ANOTHER_NAME, ROUNDS };
    uint8_t room[MODEL_TEXT_MAX];
    bool right = true;
    for (unsigned round = 0; m->n > 0 && round < ROUNDS; round++) {
        uint32_t strange = m->next(m->data) % m->n;
        struct buf other;
        buf_init(&other);
        fields_begin(&other);
        for (uint32_t i = m->n; i-- > 0;) {
            struct bytes name = model_text(m->fields[i].name), value = model_text(m->fields[i].value);
            if (i == strange && round == ANOTHER_VALUE) {
                value = model_changed(value, room);
            } else if (i == strange && round == ANOTHER_NAME) {
                name = model_changed(name, room);
            }
            fields_add(&other, name, value);
        }
        fields_end(&other, m->n);
        right = right && fields_equal(buf_bytes(&m->encoded), buf_bytes(&other)) == (round == AS_IT_IS);
        buf_deinit(&other);
    }
    return right;
}

/* One change of some fields. False: the functions under test made something else of it. */
static inline bool model_step(struct model *m)
{
    struct buf out;
    buf_init(&out);
    bool removes = m->next(m->data) % 3 == 0;
    uint32_t difference = removes ? model_remove(m, &out) : model_set(m, &out);
    buf_deinit(&m->encoded);
    buf_move(&m->encoded, &out);
    return difference == 0 && !m->encoded.failed && model_agrees(m) && model_compares(m);
}

#endif
