#include "flush/loader_probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/alloc.h"

void loader_probe_load(struct loader_probe *w, uint64_t token, const struct bytes *keys, uint32_t n)
{
    bool was = w->in_call;
    w->in_call = true;
    pg_loader_ops.load(w->loader, token, &w->id, keys, n);
    w->in_call = was;
}

void loader_probe_find(struct loader_probe *w, uint64_t token, uint64_t before_ms, uint32_t keys_max)
{
    w->in_call = true;
    pg_loader_ops.find_expired(w->loader, token, before_ms, keys_max);
    w->in_call = false;
}

static struct loader_answer *answer_of(struct loader_probe *w, uint64_t token)
{
    assert_false(w->in_call);
    assert_true(token < LOADER_PROBE_TOKENS);
    struct loader_answer *a = &w->answers[token];
    *a = (struct loader_answer){.events = a->events + 1};
    w->events++;
    if (w->again > 0) {
        w->again--;
        struct bytes key = bytes_from_text("a");
        loader_probe_load(w, LOADER_PROBE_TOKENS - 1 - w->again, &key, 1);
    }
    return a;
}

static void record_keys(struct loader_answer *a, const struct bytes *keys, uint32_t n)
{
    for (uint32_t i = 0; i < n && a->keys_n < LOADER_PROBE_KEYS; i++) {
        size_t len = keys[i].len < sizeof a->keys[0] - 1 ? keys[i].len : sizeof a->keys[0] - 1;
        memcpy(a->keys[a->keys_n++], keys[i].data, len);
    }
}

static void record_row(struct loader_probe *w, struct loader_answer *a, const struct load_row *row)
{
    a->version_sum += row->version;
    a->value_bytes += row->value.len;
    a->expires_at_ms = row->expires_at_ms;
    a->type = row->type;
    if (w->on_row != NULL) {
        w->on_row(w->on_row_data, row);
    }
    size_t len = row->value.len < sizeof a->value - 1 ? row->value.len : sizeof a->value - 1;
    memcpy(a->value, row->value.data, len);
    a->value[len] = '\0';
    if (w->seen != NULL && row->version < w->seen_n) {
        w->seen[row->version]++;
    }
}

static void on_loaded(void *data, uint64_t token, const struct load_result *result)
{
    struct loader_probe *w = data;
    struct loader_answer *a = answer_of(w, token);
    a->result = *result;
    a->result.rows = NULL;
    a->result.later = NULL;
    a->result.bad = NULL;
    for (uint32_t i = 0; i < result->n; i++) {
        record_row(w, a, &result->rows[i]);
    }
    record_keys(a, result->later, result->later_n);
    record_keys(a, result->bad, result->bad_n);
    buf_clear(&w->later);
    for (uint32_t i = 0; i < result->later_n; i++) {
        buf_append_be32(&w->later, (uint32_t)result->later[i].len);
        buf_append(&w->later, result->later[i].data, result->later[i].len);
    }
}

static void on_load_failed(void *data, uint64_t token, const struct flush_error *error)
{
    struct loader_answer *a = answer_of(data, token);
    a->failed = true;
    a->error = *error;
}

static void on_expired_found(void *data, uint64_t token, const struct bytes *keys, uint32_t n)
{
    record_keys(answer_of(data, token), keys, n);
}

static const struct loader_events events = {
    .loaded = on_loaded, .load_failed = on_load_failed, .expired_found = on_expired_found};

uint32_t loader_probe_load_later(struct loader_probe *w, uint64_t token)
{
    struct bytes *keys = xcalloc(LIMIT_REQUEST_KEYS, sizeof *keys);
    uint32_t n = 0;
    for (size_t at = 0; at < w->later.len; n++) {
        uint32_t len = load_be32(w->later.data + at);
        keys[n] = bytes_of(w->later.data + at + 4, len);
        at += 4 + (size_t)len;
    }
    if (n > 0) {
        loader_probe_load(w, token, keys, n);
    }
    free(keys);
    return n;
}

void loader_probe_open(
    struct loader_probe *w, const char *dsn, const struct flush_identity *id, const struct logger *logger)
{
    *w = (struct loader_probe){.id = *id};
    buf_init(&w->later);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    struct pg_loader_config config = {
        .dsn = dsn, .node_id = 7, .backoff_min_ms = 5, .backoff_max_ms = 40, .logger = logger};
    w->loader = pg_loader_create(&w->loop, &config, &events, w);
    assert_non_null(w->loader);
}

static void on_closed(void *data)
{
    struct loader_probe *w = data;
    assert_false(w->in_call);
    w->loader = NULL;
}

void loader_probe_close(struct loader_probe *w)
{
    w->in_call = true;
    pg_loader_close(w->loader, on_closed, w);
    w->in_call = false;
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_null(w->loader);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    buf_deinit(&w->later);
}

static void on_guard(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

void loader_probe_run(struct loader_probe *w, unsigned wanted)
{
    bool late = false;
    uv_timer_t guard;
    uv_timer_init(&w->loop, &guard);
    guard.data = &late;
    uv_update_time(&w->loop);
    uv_timer_start(&guard, on_guard, 60000, 0);
    while (w->events < wanted && !late) {
        uv_run(&w->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&guard, NULL);
    uv_run(&w->loop, UV_RUN_NOWAIT); /* the guard is on our stack */
    assert_false(late);
    assert_int_equal(w->events, wanted);
}

struct loader_answer *loader_probe_one(struct loader_probe *w, const char *key)
{
    struct bytes k = bytes_from_text(key);
    loader_probe_load(w, 0, &k, 1);
    loader_probe_run(w, w->events + 1);
    return &w->answers[0];
}

static void on_pause(uv_timer_t *timer)
{
    (void)timer;
}

/* Between the tries the loop waits for its next event, or a moment if none comes. */
struct loader_answer *loader_probe_one_until_up(struct loader_probe *w, const char *key)
{
    while (loader_probe_one(w, key)->failed) {
        uv_timer_t pause;
        uv_timer_init(&w->loop, &pause);
        uv_timer_start(&pause, on_pause, 5, 0);
        uv_run(&w->loop, UV_RUN_ONCE);
        uv_close((uv_handle_t *)&pause, NULL);
        uv_run(&w->loop, UV_RUN_NOWAIT);
    }
    return &w->answers[0];
}
