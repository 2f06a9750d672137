#include "node/group_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/alloc.h"

static enum status propose(void *data, struct bytes entry, bool essential, uint64_t *index)
{
    struct fixture *f = data;
    if (f->propose_status != STATUS_OK && !(essential && f->propose_status == STATUS_NO_SPACE)) {
        return f->propose_status;
    }
    struct logged *l = xcalloc(1, sizeof *l);
    buf_init(&l->raw);
    buf_append(&l->raw, entry.data, entry.len);
    *index = l->index = ++f->last_index;
    list_push_back(&f->log, &l->link);
    f->proposals++;
    return STATUS_OK;
}

static enum status barrier(void *data, uint64_t token)
{
    struct fixture *f = data;
    f->barrier_token = token;
    f->barriers++;
    f->last_index++;
    return STATUS_OK;
}

static bool lease_valid(void *data)
{
    return ((struct fixture *)data)->lease;
}

static void fixed_random(void *data, void *out, unsigned len)
{
    (void)data;
    memset(out, 7, len);
}

static bool seed(void *data, struct flush_identity *out)
{
    struct fixture *f = data;
    *out = f->seed;
    return f->seed_found;
}

static void inspect(void *data, const uint8_t cluster_id[CLUSTER_ID_BYTES])
{
    (void)cluster_id;
    ((struct fixture *)data)->db_call = DB_INSPECT;
}

static void claim(void *data, const struct flush_identity *id, const struct flush_inspected *expected)
{
    struct fixture *f = data;
    f->db_call = DB_CLAIM;
    f->db_identity = *id;
    f->db_expected = *expected;
}

static void take(void *data, const struct flush_identity *id, uint64_t term)
{
    struct fixture *f = data;
    f->db_call = DB_TAKE;
    f->db_identity = *id;
    f->db_term = term;
}

static void send_batch(void *data, struct flush_batch *batch)
{
    struct fixture *f = data;
    assert_true(f->sent_n < 8);
    f->sent[f->sent_n++] = *batch;
    flush_batch_init(batch);
}

static void said(struct fixture *f, const struct flush_note *note, const struct flush_mirror *mirror)
{
    f->said = *note;
    f->mirrored = mirror == NULL ? UINT32_MAX : mirror->n;
}

static void finish(void *data, const struct flush_note *note, const struct flush_mirror *mirror)
{
    struct fixture *f = data;
    f->finishes++;
    said(f, note, mirror);
}

static void note(
    void *data, const struct flush_note *content, const struct flush_mirror *mirror, uint64_t last_batch)
{
    struct fixture *f = data;
    (void)last_batch;
    assert_false(f->noting); /* one at a time */
    f->notes++;
    f->noting = true;
    said(f, content, mirror);
}

static void disconnect(void *data)
{
    struct fixture *f = data;
    f->disconnects++;
    f->noting = false;
    f->db_call = DB_NONE;
}

static void release(void *data)
{
    ((struct fixture *)data)->releases++;
}

static bool wanted(void *data)
{
    return ((struct fixture *)data)->wanted;
}

static const struct flusher_ops flusher_ops = {.inspect = inspect,
    .claim = claim,
    .take = take,
    .send = send_batch,
    .finish = finish,
    .note = note,
    .disconnect = disconnect,
    .release = release,
    .wanted = wanted};

static void load(
    void *data, uint64_t token, const struct flush_identity *id, const struct bytes *keys, uint32_t n)
{
    struct fixture *f = data;
    (void)id;
    f->loads++;
    f->load_token = token;
    f->load_keys = n;
    buf_clear(&f->load_asked);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t len[4];
        store_le32(len, (uint32_t)keys[i].len);
        buf_append(&f->load_asked, len, sizeof len);
        buf_append(&f->load_asked, keys[i].data, keys[i].len);
    }
}

static void find_expired(void *data, uint64_t token, uint64_t before_ms, uint32_t keys_max)
{
    struct fixture *f = data;
    (void)token;
    (void)before_ms;
    (void)keys_max;
    f->expired_searches++;
}

static const struct loader_ops loader_ops = {.load = load, .find_expired = find_expired};

static uint64_t contact_age(void *data)
{
    return ((struct fixture *)data)->contact_age_ms;
}

void fixture_init(struct fixture *f, uint32_t group, bool adopt, bool ready)
{
    *f = (struct fixture){.now_ms = 1000000, .lease = true, .propose_status = STATUS_OK};
    list_init(&f->log);
    buf_init(&f->load_asked);
    struct group_config config = {
        .group = group,
        .group_count = 1 + group,
        .node_id = 1,
        .adopt = adopt,
        .flush = {.age_ms = 100,
            .batch_rows = 10,
            .batch_bytes = 1 << 20,
            .in_flight = 2,
            .retry_min_ms = 10,
            .retry_max_ms = 100},
        .dirty_bytes_max = 1 << 20,
        .dirty_entries_max = 10000,
        .expiry_sweep_ms = 5000,
        .random_seed = 42,
    };
    struct group_env env = {
        .data = f,
        .propose = propose,
        .barrier = barrier,
        .lease_valid = lease_valid,
        .contact_age_ms = contact_age,
        .random = fixed_random,
        .seed = seed,
        .flusher = &flusher_ops,
        .flusher_data = f,
        .loader = &loader_ops,
        .loader_data = f,
    };
    f->group = group_create(&config, &env);
    group_on_gate_open(f->group, 1, f->now_ms);
    if (ready) {
        fixture_make_ready(f);
    }
}

void fixture_deinit(struct fixture *f)
{
    group_on_gate_close(f->group);
    fixture_turn(f); /* what is ready is refused */
    group_destroy(f->group);
    list_for_each (it, next, &f->log) {
        struct logged *l = list_entry(it, struct logged, link);
        buf_deinit(&l->raw);
        free(l);
    }
    for (unsigned i = 0; i < f->sent_n; i++) {
        flush_batch_deinit(&f->sent[i]);
    }
    buf_deinit(&f->load_asked);
}

void fixture_turn(struct fixture *f)
{
    group_turn(f->group, f->now_ms, f->now_ms);
}

void fixture_pass(struct fixture *f, uint64_t ms)
{
    f->now_ms += ms;
    fixture_turn(f);
}

unsigned fixture_commit(struct fixture *f, unsigned n)
{
    unsigned applied = 0;
    struct list *node;
    while (applied < n && (node = list_pop_front(&f->log)) != NULL) {
        struct logged *l = list_entry(node, struct logged, link);
        group_on_apply(f->group, l->index, buf_bytes(&l->raw), f->now_ms);
        buf_deinit(&l->raw);
        free(l);
        applied++;
        fixture_turn(f);
    }
    return applied;
}

void fixture_apply(struct fixture *f, Wblog__Entry *entry)
{
    struct buf raw;
    buf_init(&raw);
    entry->node_id = 2;
    entry->term = 1;
    entry->stamp_ms = f->now_ms;
    log_entry_encode(entry, &raw);
    group_on_apply(f->group, ++f->last_index, buf_bytes(&raw), f->now_ms);
    buf_deinit(&raw);
}

void fixture_depose(struct fixture *f)
{
    group_on_gate_close(f->group);
    fixture_turn(f);
}

void fixture_elect(struct fixture *f, uint64_t term, uint64_t last_batch)
{
    group_on_gate_open(f->group, term, f->now_ms);
    fixture_turn(f);
    db_taken(f, last_batch);
    fixture_turn(f);
}

void fixture_make_ready(struct fixture *f)
{
    fixture_turn(f);
    if (f->db_call == DB_INSPECT) {
        db_inspected(f, FLUSH_DB_EMPTY, 0);
        assert_int_equal(fixture_commit(f, 1), 1); /* genesis */
        db_claimed(f);
    }
    fixture_commit(f, UINT32_MAX);
    db_taken(f, 0);
    fixture_turn(f);
    struct group_info info;
    group_info(f->group, f->now_ms, &info);
    assert_string_equal(info.flush_state, "active");
}

static void mark_done(struct group_request *r)
{
    struct ask *a = list_entry(r, struct ask, r);
    assert_false(a->done); /* exactly once */
    a->done = true;
}

static void submit(struct fixture *f, struct ask *a, enum group_op op, uint32_t n, uint64_t conn)
{
    a->r.op = op;
    a->r.n = n;
    a->r.keys = &a->key;
    a->r.operations = &a->operation;
    a->r.results = &a->result;
    a->r.scan = &a->scan;
    a->r.conn_id = conn;
    a->r.deadline_ms = f->now_ms + 10000;
    a->r.done = mark_done;
    group_submit(f->group, &a->r);
    assert_false(a->done); /* never inside the call */
}

void ask_get(struct fixture *f, struct ask *a, const char *key, uint64_t conn)
{
    *a = (struct ask){.key = bytes_from_text(key)};
    submit(f, a, GROUP_READ, 1, conn);
}

void ask_exists(struct fixture *f, struct ask *a, const char *key, uint64_t conn)
{
    *a = (struct ask){.key = bytes_from_text(key), .r.inspect = true};
    submit(f, a, GROUP_READ, 1, conn);
}

void ask_stale(struct fixture *f, struct ask *a, const char *key)
{
    *a = (struct ask){.key = bytes_from_text(key), .r.stale = true};
    submit(f, a, GROUP_READ, 1, 1);
}

void ask_update(struct fixture *f, struct ask *a, const struct operation *operation, uint64_t conn)
{
    *a = (struct ask){.operation = *operation};
    submit(f, a, GROUP_UPDATE, 1, conn);
}

void ask_once(struct fixture *f, struct ask *a, const struct operation *operation, uint64_t session,
    uint64_t sequence, bool retry)
{
    *a = (struct ask){.operation = *operation,
        .r.session = session,
        .r.sequence = sequence,
        .r.first_awaited = sequence,
        .r.retry = retry};
    submit(f, a, GROUP_UPDATE, 1, 1);
}

void ask_set(struct fixture *f, struct ask *a, const char *key, const char *value, uint64_t conn)
{
    struct operation set = {
        .kind = OPERATION_SET, .key = bytes_from_text(key), .value = bytes_from_text(value)};
    ask_update(f, a, &set, conn);
}

void ask_del(struct fixture *f, struct ask *a, const char *key, uint64_t conn)
{
    struct operation del = {.kind = OPERATION_DEL, .key = bytes_from_text(key)};
    ask_update(f, a, &del, conn);
}

void ask_incr(struct fixture *f, struct ask *a, const char *key, int64_t delta, uint64_t conn)
{
    struct operation incr = {.kind = OPERATION_INCR, .key = bytes_from_text(key), .delta = delta};
    ask_update(f, a, &incr, conn);
}

void ask_flush(struct fixture *f, struct ask *a)
{
    ask_wait(f, a, 0);
}

void ask_wait(struct fixture *f, struct ask *a, uint64_t index)
{
    *a = (struct ask){.r.wait_index = index};
    submit(f, a, GROUP_WAIT, 0, 0);
}

void ask_scan(struct fixture *f, struct ask *a, uint64_t cursor, const char *prefix, uint32_t looks)
{
    *a = (struct ask){.scan = {.cursor = cursor, .prefix = bytes_from_text(prefix), .looks = looks}};
    buf_init(&a->scan.keys);
    submit(f, a, GROUP_SCAN, 0, 1);
}

uint64_t open_session_now(struct fixture *f)
{
    struct ask a = {0};
    submit(f, &a, GROUP_OPEN_SESSION, 0, 1);
    fixture_turn(f);
    fixture_commit(f, UINT32_MAX);
    assert_done(&a, STATUS_OK);
    return a.r.index;
}

void set_now(struct fixture *f, const char *key, const char *value)
{
    struct ask a;
    ask_set(f, &a, key, value, 99);
    fixture_turn(f);
    fixture_commit(f, UINT32_MAX);
    assert_done(&a, STATUS_OK);
}

void assert_got(struct ask *a, const char *value)
{
    assert_done(a, STATUS_OK);
    assert_int_equal(a->result.found, value != NULL);
    if (value != NULL) {
        assert_true(bytes_equal(value_bytes(a->result.value), bytes_from_text(value)));
    }
    value_unref(a->result.value);
    a->result.value = NULL;
}

void assert_done(const struct ask *a, enum status status)
{
    assert_true(a->done);
    assert_int_equal(a->r.status, status);
}

static void expect_call(struct fixture *f, enum db_call call)
{
    assert_int_equal(f->db_call, call);
    f->db_call = DB_NONE;
}

void db_taken(struct fixture *f, uint64_t last_batch)
{
    expect_call(f, DB_TAKE);
    struct fence_row row = {.epoch = 1, .last_batch = last_batch, .clock_us = (int64_t)f->now_ms * 1000};
    group_flusher_events()->taken(group_flusher_events_data(f->group), &row);
    fixture_turn(f);
}

void db_inspected(struct fixture *f, enum flush_inspection found, uint64_t version_ceiling)
{
    expect_call(f, DB_INSPECT);
    struct flush_inspected row = {.found = found, .version_ceiling = version_ceiling, .group_count = 5};
    group_flusher_events()->inspected(group_flusher_events_data(f->group), &row);
    fixture_turn(f);
}

void db_claimed(struct fixture *f)
{
    expect_call(f, DB_CLAIM);
    group_flusher_events()->claimed(group_flusher_events_data(f->group));
    fixture_turn(f);
}

void db_committed(struct fixture *f, uint64_t batch)
{
    group_flusher_events()->committed(group_flusher_events_data(f->group), batch, (int64_t)f->now_ms * 1000);
    fixture_turn(f);
}

void db_isolated(struct fixture *f, uint64_t batch, const struct flush_fault *faults, uint32_t n)
{
    group_flusher_events()->isolated(group_flusher_events_data(f->group), batch, faults, n);
    fixture_turn(f);
}

void db_noted(struct fixture *f)
{
    assert_true(f->noting);
    f->noting = false;
    group_flusher_events()->noted(group_flusher_events_data(f->group), (int64_t)f->now_ms * 1000);
    fixture_turn(f);
}

void db_failed(struct fixture *f, enum flush_error_class class, const char *message)
{
    struct flush_error error = {.class = class};
    f->noting = false;
    strncpy(error.message, message, sizeof error.message - 1);
    f->db_call = DB_NONE;
    group_flusher_events()->failed(group_flusher_events_data(f->group), &error);
    fixture_turn(f);
}

void loader_answer_expiring(
    struct fixture *f, const char *key, const char *value, uint64_t expires_at_ms, uint64_t last_batch)
{
    struct load_row row = {.version = 5, .expires_at_ms = expires_at_ms};
    struct load_result result = {.fence_found = true, .last_batch = last_batch};
    if (key != NULL) {
        row.key = bytes_from_text(key);
        row.value = bytes_from_text(value);
        result.rows = &row;
        result.n = 1;
    }
    group_loader_events.loaded(f->group, f->load_token, &result);
    fixture_turn(f);
}

void loader_answer(struct fixture *f, const char *key, const char *value, uint64_t last_batch)
{
    loader_answer_expiring(f, key, value, 0, last_batch);
}

void loader_fail(struct fixture *f, const char *message)
{
    struct flush_error error = {.class = FLUSH_ERROR_OUTAGE};
    strncpy(error.message, message, sizeof error.message - 1);
    group_loader_events.load_failed(f->group, f->load_token, &error);
    fixture_turn(f);
}
