#include "node/group_verify_test_help.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "flush/pg_time.h"

struct row *row_find(struct table *t, struct bytes key)
{
    for (unsigned i = 0; i < t->n; i++) {
        if (bytes_equal(bytes_from_text(t->rows[i].key), key)) {
            return &t->rows[i];
        }
    }
    return NULL;
}

void row_delete(struct table *t, struct bytes key)
{
    struct row *r = row_find(t, key);
    if (r != NULL) {
        *r = t->rows[--t->n];
    }
}

void row_text(char out[TEXT_MAX], struct bytes text)
{
    assert_true(text.len < TEXT_MAX);
    memcpy(out, text.data, text.len);
    out[text.len] = '\0';
}

struct row *row_put(struct table *t, struct bytes key, struct bytes value, uint64_t version)
{
    struct row *r = row_find(t, key);
    if (r == NULL) {
        assert_true(t->n < ROWS_MAX);
        r = &t->rows[t->n++];
    }
    *r = (struct row){.version = version};
    row_text(r->key, key);
    row_text(r->value, value);
    return r;
}

/* The @i'th of an array in PostgreSQL's binary format; no bytes for NULL. */
static struct bytes array_item(const struct buf *array, uint32_t i)
{
    for (size_t at = 20;; i--) {
        int32_t len = (int32_t)load_be32(array->data + at);
        if (i == 0) {
            return bytes_of(array->data + at + 4, len < 0 ? 0 : (size_t)len);
        }
        at += 4 + (len < 0 ? 0 : (size_t)len);
    }
}

/* What the transaction of @b does. */
void table_commit(struct table *t, const struct flush_batch *b)
{
    assert_int_equal(t->last_batch, b->predecessor);
    for (uint32_t i = 0; i < b->upserts; i++) {
        struct row *r = row_put(t, array_item(&b->keys, i), array_item(&b->values, i),
            load_be64(array_item(&b->versions, i).data));
        struct bytes expires = array_item(&b->expires, i);
        r->expires_at_ms = expires.len == 0 ? 0 : pg_time_to_unix_ms((int64_t)load_be64(expires.data));
    }
    for (uint32_t i = 0; i < b->deletes; i++) {
        row_delete(t, array_item(&b->deleted, i));
    }
    t->last_batch = b->id;
}

/* Answer the load @token for @asked as @t is now; of each @later_in keys one is put off (0: none). */
void table_answer(
    struct fixture *f, const struct table *t, uint64_t token, const struct buf *asked, unsigned later_in)
{
    struct load_row rows[ROWS_MAX];
    struct bytes bad[ROWS_MAX], later[ROWS_MAX];
    struct load_result result = {
        .fence_found = true, .last_batch = t->last_batch, .rows = rows, .bad = bad, .later = later};
    struct table copy = *t;
    unsigned i = 0;
    for (size_t at = 0; at < asked->len; i++) {
        struct bytes key = bytes_of(asked->data + at + 4, load_le32(asked->data + at));
        at += 4 + key.len;
        const struct row *r = row_find(&copy, key);
        if (later_in != 0 && i % later_in == later_in - 1) {
            later[result.later_n++] = key;
        } else if (r != NULL && r->bad) {
            bad[result.bad_n++] = key;
        } else if (r != NULL) {
            rows[result.n++] = (struct load_row){.key = key,
                .value = bytes_from_text(r->value),
                .version = r->version,
                .expires_at_ms = r->expires_at_ms};
        }
    }
    group_loader_events.loaded(f->group, token, &result);
    fixture_turn(f);
}

void table_answer_newest(struct fixture *f, const struct table *t)
{
    table_answer(f, t, f->load_token, &f->load_asked, 0);
}

/* Set @key and let it reach the table. */
void store_now(struct fixture *f, struct table *t, const char *key, const char *value)
{
    set_now(f, key, value);
    fixture_pass(f, 100);
    fixture_commit(f, UINT32_MAX);
    while (f->sent_n > 0) {
        table_commit(t, &f->sent[0]);
        settle_batch(f);
    }
}

void delete_now(struct fixture *f, const char *key)
{
    struct ask a;
    ask_del(f, &a, key, 1);
    fixture_turn(f);
    fixture_commit(f, UINT32_MAX);
    assert_done(&a, STATUS_OK);
}

/* Let @key be remembered as absent. */
void miss_now(struct fixture *f, const struct table *t, const char *key)
{
    struct ask a;
    ask_get(f, &a, key, 1);
    fixture_turn(f);
    table_answer_newest(f, t);
    assert_got(&a, NULL);
}

/* ---- Asking ---- */

void verify_begin(struct fixture *f, struct admin_ask *x)
{
    ask_admin_init(x, ADMIN_VERIFY);
    x->a.count = 1000;
    ask_admin(f, x);
    fixture_turn(f);
}

bool verify_is_loading(const struct admin_ask *x, const struct fixture *f)
{
    return !x->done && x->a.token != 0 && x->a.token == f->load_token;
}

/* The kind of difference that @x reports of @key. */
enum admin_difference_kind verify_reported(const struct admin_ask *x, const char *key)
{
    for (uint32_t i = 0; i < x->a.n_differences; i++) {
        const struct admin_difference *d = &x->a.differences[i];
        if (bytes_equal(bytes_of(x->a.names.data + d->key_at, d->key_len), bytes_from_text(key))) {
            return d->kind;
        }
    }
    return DIFFERENCE_NONE;
}
