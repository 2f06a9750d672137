#include "cluster-tests/sim/fake_db_test_help.h"

#include "flush/flush_batch.h"

const struct flush_identity test_identity = {
    .cluster_id = {1, 2, 3}, .group_count = 2, .group = 1, .version_base = 0};

static void on_inspected(void *data, const struct flush_inspected *found)
{
    struct client *c = data;
    c->inspected++;
    c->found = *found;
}

static void on_claimed(void *data)
{
    struct client *c = data;
    c->claimed++;
}

static void on_taken(void *data, const struct fence_row *row)
{
    struct client *c = data;
    c->taken++;
    c->row = *row;
}

static void on_committed(void *data, uint64_t batch, int64_t clock_us)
{
    struct client *c = data;
    c->committed++;
    c->batch = batch;
    c->clock_us = clock_us;
}

static void on_isolated(void *data, uint64_t batch, const struct flush_fault *faults, uint32_t n)
{
    struct client *c = data;
    c->isolated++;
    c->batch = batch;
    c->n_faults = n;
    for (uint32_t i = 0; i < n; i++) {
        assert_true(faults[i].key.len < sizeof c->fault);
        memset(c->fault, 0, sizeof c->fault);
        memcpy(c->fault, faults[i].key.data, faults[i].key.len);
        memcpy(c->sqlstate, faults[i].sqlstate, sizeof c->sqlstate);
    }
}

static void on_noted(void *data, int64_t clock_us)
{
    struct client *c = data;
    c->noted++;
    c->clock_us = clock_us;
}

static void on_failed(void *data, const struct flush_error *error)
{
    struct client *c = data;
    c->failed++;
    c->error = *error;
}

static const struct flusher_events events = {.inspected = on_inspected,
    .claimed = on_claimed,
    .taken = on_taken,
    .committed = on_committed,
    .isolated = on_isolated,
    .noted = on_noted,
    .failed = on_failed};

void world_init(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    sim_clock_init(&w->clock, seed);
    fake_db_init(&w->db, &w->clock);
    sim_gate_init(&w->a.gate, &w->a);
    sim_gate_init(&w->b.gate, &w->b);
    fake_flusher_init(&w->a.flusher, &w->db, NULL, &w->a.gate, &events, &w->a);
    fake_flusher_init(&w->b.flusher, &w->db, NULL, &w->b.gate, &events, &w->b);
}

void world_deinit(struct world *w)
{
    fake_flusher_deinit(&w->a.flusher);
    fake_flusher_deinit(&w->b.flusher);
    fake_db_deinit(&w->db);
    sim_clock_deinit(&w->clock);
}

void run(struct world *w)
{
    struct sim_gate *gate;
    while (sim_step(&w->clock, &gate)) {
    }
}

void run_until(struct world *w, uint64_t at_us)
{
    struct sim_gate *gate;
    while (w->clock.n > 0 && w->clock.heap[0]->at_us <= at_us) {
        sim_step(&w->clock, &gate);
    }
    w->clock.now_us = at_us;
}

void claim(struct world *w)
{
    struct flush_inspected empty = {.found = FLUSH_DB_EMPTY};
    fake_flusher_ops.claim(&w->a.flusher, &test_identity, &empty);
    run(w);
    assert_int_equal(w->a.claimed, 1);
}

void take(struct world *w, struct client *c, uint64_t term)
{
    unsigned before = c->taken;
    fake_flusher_ops.take(&c->flusher, &test_identity, term);
    run(w);
    assert_int_equal(c->taken, before + 1);
}

void send_as(struct client *c, uint64_t batch, uint64_t predecessor, const char *value, bool isolate)
{
    struct flush_row rows[2] = {{.key = bytes_from_text("y")}, {.key = bytes_from_text("x")}};
    for (int i = 0; i < 2; i++) {
        rows[i].deleted = value == NULL;
        rows[i].value = value == NULL ? bytes_of(NULL, 0) : bytes_from_text(value);
        rows[i].version = batch << 16 | (unsigned)i;
        rows[i].expires_at_ms = i == 0 ? 0 : 1700000000000u;
    }
    struct flush_batch b;
    flush_batch_init(&b);
    flush_batch_build(&b, batch, predecessor, rows, 2);
    b.isolate = isolate;
    fake_flusher_ops.send(&c->flusher, &b);
    assert_int_equal(b.keys.len, 0); /* taken */
}

void send(struct client *c, uint64_t batch, uint64_t predecessor, const char *value)
{
    send_as(c, batch, predecessor, value, false);
}

const struct fake_row *row(struct world *w, const char *key)
{
    return fake_db_find(&w->db, bytes_from_text(key));
}

void assert_value(struct world *w, const char *key, const char *value)
{
    assert_non_null(row(w, key));
    assert_true(bytes_equal(buf_bytes(&row(w, key)->value), bytes_from_text(value)));
}

void fill(struct world *w, const char *value)
{
    claim(w);
    take(w, &w->a, 1);
    send(&w->a, 10, 0, value);
    run(w);
    assert_int_equal(w->a.committed, 1);
}
