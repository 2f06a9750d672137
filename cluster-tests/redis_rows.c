#include "cluster-tests/redis_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/arena.h"

/* One string, or one field of a hash. */
struct row {
    struct bytes key, field, value;
    bool is_field;
};

struct rows {
    struct row *list;
    size_t n, cap;
    struct arena arena; /* of all their bytes */
};

static void rows_init(struct rows *r)
{
    *r = (struct rows){0};
    arena_init(&r->arena);
}

static void rows_deinit(struct rows *r)
{
    free(r->list);
    arena_deinit(&r->arena);
}

static struct bytes copy(struct rows *r, struct bytes b)
{
    uint8_t *data = arena_alloc(&r->arena, b.len + 1);
    if (b.len > 0) {
        memcpy(data, b.data, b.len);
    }
    return bytes_of(data, b.len);
}

static void add(struct rows *r, struct bytes key, bool is_field, struct bytes field, struct bytes value)
{
    if (r->n == r->cap) {
        r->cap = r->cap == 0 ? 64 : 2 * r->cap;
        r->list = xrealloc(r->list, r->cap * sizeof *r->list);
    }
    r->list[r->n++] = (struct row){
        .key = copy(r, key), .field = copy(r, field), .value = copy(r, value), .is_field = is_field};
}

static int compare(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int order = bytes_compare(x->key, y->key);
    order = order != 0 ? order : x->is_field - y->is_field;
    return order != 0 ? order : bytes_compare(x->field, y->field);
}

/* ---- What should be there ---- */

static void expect(struct rows *r, const struct redis_object *o, struct bytes value)
{
    struct buf key;
    buf_init(&key);
    for (unsigned k = 0; k < redis_object_keys(o); k++) {
        buf_clear(&key);
        redis_object_key(o, k, &key);
        for (unsigned f = 0; f < redis_object_fields(o); f++) {
            add(r, buf_bytes(&key), true, redis_object_field(o, f), value);
        }
        if (redis_object_fields(o) == 0) {
            add(r, buf_bytes(&key), false, bytes_of(NULL, 0), value);
        }
    }
    buf_deinit(&key);
}

/* ---- What is there ---- */

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool redis_rows_decode(struct bytes text, struct buf *out)
{
    buf_clear(out);
    if (text.len < 2 || memcmp(text.data, "\\x", 2) != 0) {
        buf_append(out, text.data, text.len);
        return true;
    }
    if (text.len % 2 != 0) {
        return false;
    }
    for (size_t i = 2; i < text.len; i += 2) {
        int high = hex_digit(text.data[i]), low = hex_digit(text.data[i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        buf_append_u8(out, (uint8_t)(high << 4 | low));
    }
    return true;
}

static struct bytes column(const PGresult *result, int row, int i)
{
    return bytes_of(PQgetvalue(result, row, i), (size_t)PQgetlength(result, row, i));
}

static bool add_field(struct rows *r, const PGresult *result, int row)
{
    struct buf field, value;
    buf_init(&field);
    buf_init(&value);
    bool ok = redis_rows_decode(column(result, row, 1), &field) &&
              redis_rows_decode(column(result, row, 2), &value);
    if (ok) {
        add(r, column(result, row, 0), true, buf_bytes(&field), buf_bytes(&value));
    }
    buf_deinit(&field);
    buf_deinit(&value);
    return ok;
}

/* All columns and the parameter are bytes. NULL: @why says it. */
static PGresult *ask(PGconn *conn, const char *query, const char *common, char *why, size_t why_len)
{
    const int length = (int)strlen(common), format = 1;
    PGresult *result = PQexecParams(conn, query, 1, NULL, &common, &length, &format, 1);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        snprintf(why, why_len, "PostgreSQL: %.200s", PQerrorMessage(conn));
        PQclear(result);
        return NULL;
    }
    return result;
}

static bool read_strings(PGconn *conn, const char *common, struct rows *r, char *why, size_t why_len)
{
    PGresult *result = ask(conn,
        "SELECT key, value FROM wb.entry WHERE value IS NOT NULL AND position($1::bytea IN key) > 0", common,
        why, why_len);
    for (int row = 0; result != NULL && row < PQntuples(result); row++) {
        add(r, column(result, row, 0), false, bytes_of(NULL, 0), column(result, row, 1));
    }
    PQclear(result);
    return result != NULL;
}

static bool read_fields(PGconn *conn, const char *common, struct rows *r, char *why, size_t why_len)
{
    PGresult *result = ask(conn,
        "SELECT e.key, convert_to(f.key, 'UTF8'), convert_to(f.value, 'UTF8')"
        " FROM wb.entry e, jsonb_each_text(e.fields) f"
        " WHERE e.fields IS NOT NULL AND position($1::bytea IN e.key) > 0",
        common, why, why_len);
    bool ok = result != NULL;
    for (int row = 0; ok && row < PQntuples(result); row++) {
        ok = add_field(r, result, row);
        if (!ok) {
            snprintf(why, why_len, "a field of %.*s is in no form that is documented",
                PQgetlength(result, row, 0), PQgetvalue(result, row, 0));
        }
    }
    PQclear(result);
    return ok;
}

/* ---- The comparison ---- */

static bool difference(const struct row *row, const char *what, char *why, size_t why_len)
{
    snprintf(why, why_len, "%.*s%s: %s: '%.*s'", (int)row->key.len, (const char *)row->key.data,
        row->is_field ? " (a field)" : "", what, (int)(row->value.len < 80 ? row->value.len : 80),
        (const char *)row->value.data);
    return false;
}

static bool equal(const struct rows *expected, const struct rows *got, char *why, size_t why_len)
{
    size_t e = 0, g = 0;
    while (e < expected->n || g < got->n) {
        int order = e == expected->n ? 1 : g == got->n ? -1 : compare(&expected->list[e], &got->list[g]);
        if (order < 0) {
            return difference(&expected->list[e], "only in the cache", why, why_len);
        }
        if (order > 0) {
            return difference(&got->list[g], "only in PostgreSQL", why, why_len);
        }
        if (!bytes_equal(expected->list[e].value, got->list[g].value)) {
            return difference(&got->list[g], "another value in PostgreSQL", why, why_len);
        }
        e++;
        g++;
    }
    return true;
}

static void sort(struct rows *r)
{
    if (r->n > 0) {
        qsort(r->list, r->n, sizeof *r->list, compare);
    }
}

bool redis_rows_equal(PGconn *conn, const char *common, const struct redis_object *objects,
    const struct redis_found *found, unsigned n, struct redis_rows_count *count, char *why, size_t why_len)
{
    struct rows expected, got;
    rows_init(&expected);
    rows_init(&got);
    *count = (struct redis_rows_count){0};
    for (unsigned i = 0; i < n; i++) {
        if (found[i].found) {
            expect(&expected, &objects[i], found[i].value);
        }
    }
    bool same =
        read_strings(conn, common, &got, why, why_len) && read_fields(conn, common, &got, why, why_len);
    for (size_t i = 0; i < got.n; i++) {
        *(got.list[i].is_field ? &count->fields : &count->strings) += 1;
    }
    sort(&expected);
    sort(&got);
    same = same && equal(&expected, &got, why, why_len);
    rows_deinit(&expected);
    rows_deinit(&got);
    return same;
}
