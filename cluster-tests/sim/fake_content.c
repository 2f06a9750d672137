#include "cluster-tests/sim/fake_content.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

void fake_shown_free(struct fake_shown *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_deinit(&rows[i].key);
    }
    free(rows);
}

void fake_content_deinit(struct fake_content *c)
{
    for (size_t i = 0; i < c->n_rows; i++) {
        buf_deinit(&c->rows[i].key);
        buf_deinit(&c->rows[i].value);
    }
    free(c->rows);
    fake_shown_free(c->shown, c->n_shown);
    for (unsigned g = 0; g < SIM_GROUPS_MAX; g++) {
        free(c->fences[g].batches);
    }
    *c = (struct fake_content){0};
}

static void buf_copy(struct buf *to, const struct buf *from)
{
    buf_init(to);
    buf_append(to, from->data, from->len);
}

static void copy_rows(struct fake_content *to, const struct fake_content *from)
{
    to->n_rows = to->rows_capacity = from->n_rows;
    to->rows = xcalloc(from->n_rows + 1, sizeof *to->rows);
    for (size_t i = 0; i < from->n_rows; i++) {
        to->rows[i] = from->rows[i];
        buf_copy(&to->rows[i].key, &from->rows[i].key);
        buf_copy(&to->rows[i].value, &from->rows[i].value);
    }
}

void fake_content_copy(struct fake_content *to, const struct fake_content *from)
{
    *to = *from;
    copy_rows(to, from);
    to->shown = xcalloc(from->n_shown + 1, sizeof *to->shown);
    for (size_t i = 0; i < from->n_shown; i++) {
        to->shown[i] = from->shown[i];
        buf_copy(&to->shown[i].key, &from->shown[i].key);
    }
    for (unsigned g = 0; g < SIM_GROUPS_MAX; g++) {
        const struct fake_fence *fence = &from->fences[g];
        to->fences[g].batches_capacity = fence->n_batches;
        to->fences[g].batches = xmalloc((fence->n_batches + 1) * sizeof *fence->batches);
        if (fence->n_batches > 0) {
            memcpy(to->fences[g].batches, fence->batches, fence->n_batches * sizeof *fence->batches);
        }
    }
}

struct fake_row *fake_content_find(const struct fake_content *c, struct bytes key)
{
    for (size_t i = 0; i < c->n_rows; i++) {
        if (bytes_equal(buf_bytes(&c->rows[i].key), key)) {
            return &c->rows[i];
        }
    }
    return NULL;
}

void fake_content_upsert(struct fake_content *c, const struct flush_row *new)
{
    struct fake_row *row = fake_content_find(c, new->key);
    if (row == NULL) {
        if (c->n_rows == c->rows_capacity) {
            c->rows_capacity = c->rows_capacity == 0 ? 64 : 2 * c->rows_capacity;
            c->rows = xrealloc(c->rows, c->rows_capacity * sizeof *c->rows);
        }
        row = &c->rows[c->n_rows++];
        *row = (struct fake_row){0};
        buf_append(&row->key, new->key.data, new->key.len);
    }
    buf_clear(&row->value);
    buf_append(&row->value, new->value.data, new->value.len);
    row->type = new->type;
    row->version = new->version;
    row->expires_at_ms = new->expires_at_ms;
    if (new->version >= c->version_ceiling) {
        c->version_ceiling = new->version + 1;
    }
}

void fake_content_erase(struct fake_content *c, struct bytes key)
{
    struct fake_row *row = fake_content_find(c, key);
    if (row != NULL) {
        buf_deinit(&row->key);
        buf_deinit(&row->value);
        *row = c->rows[--c->n_rows];
    }
}

void fake_fence_advance(struct fake_fence *fence, uint64_t batch)
{
    if (fence->n_batches == fence->batches_capacity) {
        fence->batches_capacity = fence->batches_capacity == 0 ? 64 : 2 * fence->batches_capacity;
        fence->batches = xrealloc(fence->batches, fence->batches_capacity * sizeof *fence->batches);
    }
    CHECK(fence->batches != NULL);
    fence->batches[fence->n_batches++] = batch;
    fence->last_batch = batch;
}

bool fake_fence_has(const struct fake_fence *fence, uint64_t batch)
{
    for (size_t i = fence->n_batches; i > 0 && fence->batches[i - 1] >= batch; i--) {
        if (fence->batches[i - 1] == batch) {
            return true;
        }
    }
    return batch == 0;
}

void fake_content_show(struct fake_content *c, uint32_t group, struct fake_shown *rows, size_t n)
{
    struct fake_shown *all = xcalloc(c->n_shown + n + 1, sizeof *all);
    size_t kept = 0;
    for (size_t i = 0; i < c->n_shown; i++) {
        if (c->shown[i].group == group) {
            buf_deinit(&c->shown[i].key);
        } else {
            all[kept++] = c->shown[i];
        }
    }
    for (size_t i = 0; i < n; i++) {
        all[kept++] = rows[i];
    }
    free(rows);
    free(c->shown);
    c->shown = all;
    c->n_shown = kept;
}
