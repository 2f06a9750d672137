#include "flush/flusher_probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "flush/flush_error.h"

static void record(struct probe *p, enum probe_event kind, uint64_t batch)
{
    assert_false(p->in_call);
    assert_true(p->events < 64);
    p->kinds[p->events] = kind;
    p->batches[p->events++] = batch;
    if (p->disconnect_at_once) {
        p->disconnect_at_once = false;
        probe_disconnect(p);
    }
    if (p->in_next != NULL) {
        void (*call)(void *data) = p->in_next;
        p->in_next = NULL;
        call(p->in_next_data);
    }
}

static void on_inspected(void *data, const struct flush_inspected *found)
{
    struct probe *p = data;
    p->inspected = *found;
    record(p, PROBE_INSPECTED, 0);
}

static void on_claimed(void *data)
{
    record(data, PROBE_CLAIMED, 0);
}

static void on_taken(void *data, const struct fence_row *row)
{
    struct probe *p = data;
    p->row = *row;
    record(p, PROBE_TAKEN, 0);
}

static void on_committed(void *data, uint64_t batch, int64_t clock_us)
{
    struct probe *p = data;
    p->clock_us = clock_us;
    record(p, PROBE_COMMITTED, batch);
}

static void on_isolated(void *data, uint64_t batch, const struct flush_fault *faults, uint32_t n)
{
    struct probe *p = data;
    p->n_faults = n;
    for (uint32_t i = 0; i < n && i < PROBE_FAULTS_MAX; i++) {
        struct probe_fault *copy = &p->faults[i];
        snprintf(
            copy->key, sizeof copy->key, "%.*s", (int)faults[i].key.len, (const char *)faults[i].key.data);
        snprintf(copy->sqlstate, sizeof copy->sqlstate, "%s", faults[i].sqlstate);
        snprintf(copy->message, sizeof copy->message, "%s", faults[i].message);
    }
    record(p, PROBE_ISOLATED, batch);
}

static void on_noted(void *data, int64_t clock_us)
{
    struct probe *p = data;
    p->clock_us = clock_us;
    record(p, PROBE_NOTED, 0);
}

static void on_failed(void *data, const struct flush_error *error)
{
    struct probe *p = data;
    p->error = *error;
    record(p, PROBE_FAILED, 0);
}

static const struct flusher_events events = {
    .inspected = on_inspected,
    .claimed = on_claimed,
    .taken = on_taken,
    .committed = on_committed,
    .isolated = on_isolated,
    .noted = on_noted,
    .failed = on_failed,
};

void probe_open(struct probe *p, const char *dsn, uint32_t group, const struct pg_limits *limits)
{
    probe_open_schema(p, dsn, group, limits, NULL);
}

void probe_open_schema(
    struct probe *p, const char *dsn, uint32_t group, const struct pg_limits *limits, const char *schema)
{
    *p = (struct probe){.events = 0};
    assert_int_equal(uv_loop_init(&p->loop), 0);
    struct pg_flusher_config config = {.dsn = dsn, .schema = schema, .node_id = 7, .group = group};
    if (limits != NULL) {
        config.limits = *limits;
    }
    p->flusher = pg_flusher_create(&p->loop, &config, &events, p);
    assert_non_null(p->flusher);
}

static void on_closed(void *data)
{
    struct probe *p = data;
    assert_false(p->in_call);
    p->flusher = NULL;
}

void probe_close(struct probe *p)
{
    unsigned before = p->events;
    p->in_call = true;
    pg_flusher_close(p->flusher, on_closed, p);
    p->in_call = false;
    uv_run(&p->loop, UV_RUN_DEFAULT);
    assert_null(p->flusher);
    assert_int_equal(p->events, before);
    assert_int_equal(uv_loop_close(&p->loop), 0);
}

static void on_guard(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

enum probe_event probe_next(struct probe *p)
{
    bool late = false;
    uv_timer_t guard;
    uv_timer_init(&p->loop, &guard);
    guard.data = &late;
    uv_update_time(&p->loop);
    uv_timer_start(&guard, on_guard, 60000, 0);
    while (p->seen == p->events && !late) {
        uv_run(&p->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&guard, NULL);
    uv_run(&p->loop, UV_RUN_NOWAIT); /* the guard is on our stack */
    assert_false(late);
    return p->kinds[p->seen++];
}

void probe_assert_committed(struct probe *p, uint64_t batch)
{
    if (probe_next(p) != PROBE_COMMITTED) {
        fail_msg("%s %s: %s", flush_error_class_name(p->error.class), p->error.sqlstate, p->error.message);
    }
    assert_true(p->batches[p->seen - 1] == batch);
}

void probe_assert_failed(struct probe *p, enum flush_error_class class, const char *words)
{
    assert_int_equal(probe_next(p), PROBE_FAILED);
    if (p->error.class != class || strstr(p->error.message, words) == NULL) {
        fail_msg("%s %s: %s", flush_error_class_name(p->error.class), p->error.sqlstate, p->error.message);
    }
}

void probe_turn(struct probe *p)
{
    uv_run(&p->loop, UV_RUN_NOWAIT);
}

void probe_inspect(struct probe *p, const struct flush_identity *id)
{
    p->in_call = true;
    pg_flusher_ops.inspect(p->flusher, id->cluster_id);
    p->in_call = false;
}

void probe_claim(struct probe *p, const struct flush_identity *id, enum flush_inspection expected,
    const struct flush_identity *expected_id)
{
    struct flush_inspected found = {.found = expected};
    if (expected_id != NULL) {
        memcpy(found.cluster_id, expected_id->cluster_id, CLUSTER_ID_BYTES);
        found.group_count = expected_id->group_count;
    }
    p->in_call = true;
    pg_flusher_ops.claim(p->flusher, id, &found);
    p->in_call = false;
}

void probe_take(struct probe *p, const struct flush_identity *id, uint64_t term)
{
    p->in_call = true;
    pg_flusher_ops.take(p->flusher, id, term);
    p->in_call = false;
}

static void send_rows(
    struct probe *p, uint64_t id, uint64_t predecessor, struct flush_row *rows, uint32_t n, bool isolate)
{
    struct flush_batch batch;
    flush_batch_init(&batch);
    flush_batch_build(&batch, id, predecessor, rows, n);
    batch.isolate = isolate;
    p->in_call = true;
    pg_flusher_ops.send(p->flusher, &batch);
    p->in_call = false;
    assert_int_equal(batch.keys.len, 0);
    flush_batch_deinit(&batch);
}

void probe_send(struct probe *p, uint64_t id, uint64_t predecessor, struct flush_row *rows, uint32_t n)
{
    send_rows(p, id, predecessor, rows, n, false);
}

void probe_isolate(
    struct probe *p, uint64_t id, uint64_t predecessor, struct flush_row *rows, uint32_t n, uint32_t refused)
{
    send_rows(p, id, predecessor, rows, n, true);
    if (probe_next(p) != PROBE_ISOLATED) {
        fail_msg("%s %s: %s", flush_error_class_name(p->error.class), p->error.sqlstate, p->error.message);
    }
    assert_true(p->batches[p->seen - 1] == id);
    assert_int_equal(p->n_faults, refused);
}

void probe_finish(struct probe *p, const struct flush_note *note, const struct flush_mirror *mirror)
{
    bool was = p->in_call;
    p->in_call = true;
    pg_flusher_ops.finish(p->flusher, note, mirror);
    p->in_call = was;
}

void probe_note(
    struct probe *p, const struct flush_note *note, const struct flush_mirror *mirror, uint64_t last_batch)
{
    p->in_call = true;
    pg_flusher_ops.note(p->flusher, note, mirror, last_batch);
    p->in_call = false;
}

void probe_disconnect(struct probe *p)
{
    bool was = p->in_call;
    p->in_call = true;
    pg_flusher_ops.disconnect(p->flusher);
    p->in_call = was;
}

struct flush_identity probe_cluster(uint8_t name, uint32_t group, uint64_t version_base)
{
    struct flush_identity id = {.group_count = 3, .group = group, .version_base = version_base};
    memset(id.cluster_id, name, CLUSTER_ID_BYTES);
    return id;
}

struct flush_row probe_row(const char *key, const char *value, uint64_t version)
{
    return (struct flush_row){
        .key = bytes_from_text(key), .value = bytes_from_text(value), .version = version};
}
