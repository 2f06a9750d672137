#include "flush/flush_mirror.h"

#include <stdlib.h>

#include "flush/fields_json.h"
#include "flush/pg_array.h"
#include "flush/pg_time.h"
#include "flush/utf8.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

static void append_text(struct buf *b, const char *text)
{
    struct bytes from = bytes_from_text(text);
    size_t start = b->len;
    pg_array_bytes(b, from);
    uint8_t *at = b->data + start + 4;
    for (size_t i = 0; !b->failed && i < from.len;) {
        size_t n = utf8_character_bytes(at + i, from.len - i);
        if (n == 0) {
            at[i] = '?';
            n = 1;
        }
        i += n;
    }
}

/* What is shown of a row's value. */
enum shown { SHOWN_NOTHING, SHOWN_VALUE, SHOWN_FIELDS };

/* How many bytes are needed to show it. @room is for whatever use. */
static size_t shown_bytes(const struct flush_quarantined *row, struct buf *room)
{
    if (row->type != VALUE_HASH) {
        return row->value.len;
    }
    buf_clear(room);
    fields_json_append(row->value, room);
    return room->len;
}

static void append_row(struct flush_mirror_arrays *a, const struct flush_quarantined *row, enum shown shown)
{
    pg_array_bytes(&a->keys, row->key);
    pg_array_bool(&a->deleted, row->deleted);
    if (shown == SHOWN_VALUE) {
        pg_array_bytes(&a->values, row->value);
    } else {
        pg_array_null(&a->values);
    }
    if (shown == SHOWN_FIELDS) {
        size_t at = pg_array_begin_element(&a->fields);
        fields_json_append(row->value, &a->fields);
        pg_array_end_element(&a->fields, at);
    } else {
        pg_array_null(&a->fields);
    }
    if (row->deleted) {
        pg_array_null(&a->value_bytes);
    } else {
        pg_array_int4(&a->value_bytes, (uint32_t)row->value.len);
    }
    pg_array_int8(&a->versions, (int64_t)row->version);
    append_text(&a->sqlstates, row->sqlstate);
    append_text(&a->messages, row->message);
    pg_array_int4(&a->attempts, row->attempts > INT32_MAX ? INT32_MAX : row->attempts);
    pg_array_int8(&a->since, pg_time_from_unix_ms(row->since_ms));
    pg_array_int8(&a->refused_at, pg_time_from_unix_ms(row->refused_ms));
}

void flush_mirror_init(struct flush_mirror_arrays *a, const struct flush_mirror *mirror)
{
    struct {
        struct buf *array;
        uint32_t type;
    } const arrays[] = {
        {&a->keys, PG_ELEMENT_BYTEA},
        {&a->deleted, PG_ELEMENT_BOOL},
        {&a->values, PG_ELEMENT_BYTEA},
        {&a->value_bytes, PG_ELEMENT_INT4},
        {&a->versions, PG_ELEMENT_INT8},
        {&a->sqlstates, PG_ELEMENT_TEXT},
        {&a->messages, PG_ELEMENT_TEXT},
        {&a->attempts, PG_ELEMENT_INT4},
        {&a->since, PG_ELEMENT_TIMESTAMPTZ},
        {&a->refused_at, PG_ELEMENT_TIMESTAMPTZ},
        {&a->fields, PG_ELEMENT_BYTEA},
    };
    uint32_t n = mirror->n > FLUSH_MIRROR_MAX ? FLUSH_MIRROR_MAX : mirror->n;
    size_t left = FLUSH_MIRROR_VALUE_BYTES_MAX;
    enum shown *shown = xcalloc(n == 0 ? 1 : n, sizeof *shown);
    bool values_null = false, bytes_null = false, fields_null = false;
    struct buf room;
    buf_init(&room);
    for (uint32_t i = 0; i < n; i++) {
        const struct flush_quarantined *row = &mirror->rows[i];
        size_t bytes = row->deleted ? 0 : shown_bytes(row, &room);
        if (!row->deleted && bytes <= left) {
            shown[i] = row->type == VALUE_HASH ? SHOWN_FIELDS : SHOWN_VALUE;
            left -= bytes;
        }
        values_null |= shown[i] != SHOWN_VALUE;
        fields_null |= shown[i] != SHOWN_FIELDS;
        bytes_null |= row->deleted;
    }
    CHECK(!room.failed);
    buf_deinit(&room);
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        struct buf *array = arrays[i].array;
        buf_init(array);
        pg_array_begin(array, arrays[i].type, n,
            (array == &a->values && values_null) || (array == &a->value_bytes && bytes_null) ||
                (array == &a->fields && fields_null));
    }
    for (uint32_t i = 0; i < n; i++) {
        append_row(a, &mirror->rows[i], shown[i]);
    }
    free(shown);
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        CHECK(!arrays[i].array->failed);
    }
}

void flush_mirror_deinit(struct flush_mirror_arrays *a)
{
    struct buf *const arrays[] = {&a->keys, &a->deleted, &a->values, &a->value_bytes, &a->versions,
        &a->sqlstates, &a->messages, &a->attempts, &a->since, &a->refused_at, &a->fields};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        buf_deinit(arrays[i]);
    }
}
