#include "node/group_admin_test_help.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/pb.h"

void ask_admin_init(struct admin_ask *x, enum group_admin_kind kind)
{
    *x = (struct admin_ask){0};
    group_admin_init(&x->a);
    x->a.kind = kind;
    x->a.count = 100;
}

static void mark_done(struct group_request *r)
{
    struct admin_ask *x = list_entry(r, struct admin_ask, r);
    assert_false(x->done); /* exactly once */
    x->done = true;
    x->had_message = r->message != NULL;
}

void ask_admin(struct fixture *f, struct admin_ask *x)
{
    x->done = false;
    x->r = (struct group_request){
        .op = GROUP_ADMIN, .admin = &x->a, .deadline_ms = f->now_ms + 10000, .done = mark_done};
    group_submit(f->group, &x->r);
    assert_false(x->done); /* never inside the call */
}

void assert_admin_done(struct admin_ask *x, enum status status)
{
    enum group_admin_kind kind = x->a.kind;
    assert_true(x->done);
    assert_int_equal(x->r.status, status);
    group_admin_deinit(&x->a);
    x->a.kind = kind;
}

void ask_key_status(struct fixture *f, struct admin_ask *x, const struct bytes *keys, uint32_t n)
{
    ask_admin_init(x, ADMIN_KEY_STATUS);
    x->a.keys = keys;
    x->a.n = n;
    ask_admin(f, x);
}

struct admin_key key_status_of(struct fixture *f, const char *text)
{
    struct admin_ask x;
    struct bytes key = bytes_from_text(text);
    ask_key_status(f, &x, &key, 1);
    fixture_turn(f);
    assert_true(x.done);
    assert_int_equal(x.r.status, STATUS_OK);
    assert_int_equal(x.a.n_results, 1);
    struct admin_key k = x.a.results[0];
    assert_true(bytes_equal(k.key, key));
    assert_int_equal(k.quarantined, k.message != NULL);
    k.message = NULL;
    group_admin_deinit(&x.a);
    return k;
}

void ask_quarantine(
    struct fixture *f, struct admin_ask *x, enum group_admin_kind kind, const struct bytes *keys, uint32_t n)
{
    ask_admin_init(x, kind);
    x->a.keys = keys;
    x->a.n = n;
    ask_admin(f, x);
}

void ask_pause(struct fixture *f, struct admin_ask *x, bool paused)
{
    ask_admin_init(x, ADMIN_CONTROL);
    x->a.set = true;
    x->a.has_paused = true;
    x->a.control.paused = paused;
    ask_admin(f, x);
}

void ask_forget(
    struct fixture *f, struct admin_ask *x, const struct bytes *keys, const uint64_t *versions, uint32_t n)
{
    ask_admin_init(x, ADMIN_FORGET);
    x->a.keys = keys;
    x->a.versions = versions;
    x->a.n = n;
    ask_admin(f, x);
}

void retain(struct fixture *f, uint64_t ms, uint64_t bytes)
{
    Wblog__Limits limits = WBLOG__LIMITS__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    limits.sessions_max = 100;
    limits.session_bytes_max = 1 << 20;
    limits.has_retention_ms = limits.has_retention_bytes = 1;
    limits.retention_ms = ms;
    limits.retention_bytes = bytes;
    entry.command_case = WBLOG__ENTRY__COMMAND_LIMITS;
    entry.limits = &limits;
    fixture_apply(f, &entry);
}

void quarantine_now(struct fixture *f, const char *key, const char *value)
{
    struct group_info info;
    assert_int_equal(group_state(f->group)->queued_entries, 0);
    fixture_depose(f);

    Wblog__Write write = WBLOG__WRITE__INIT, *write_list = &write;
    Wblog__Writes writes = WBLOG__WRITES__INIT;
    Wblog__Entry entry = WBLOG__ENTRY__INIT;
    write.key = pb_borrow(bytes_from_text(key));
    write.has_value = 1;
    write.value = pb_borrow(bytes_from_text(value));
    writes.n_writes = 1;
    writes.writes = &write_list;
    entry.command_case = WBLOG__ENTRY__COMMAND_WRITES;
    entry.writes = &writes;
    fixture_apply(f, &entry);

    Wblog__FlushBegin begin = WBLOG__FLUSH_BEGIN__INIT;
    begin.rows_max = 1;
    begin.bytes_max = 1;
    entry.command_case = WBLOG__ENTRY__COMMAND_FLUSH_BEGIN;
    entry.flush_begin = &begin;
    fixture_apply(f, &entry);
    uint64_t batch = f->last_index;

    char sqlstate[] = "23514", message[] = "it does not fit";
    Wblog__Fault fault = WBLOG__FAULT__INIT, *fault_list = &fault;
    Wblog__Quarantine quarantine = WBLOG__QUARANTINE__INIT;
    fault.key = write.key;
    fault.sqlstate = sqlstate;
    fault.message = message;
    quarantine.batch = batch;
    quarantine.n_faults = 1;
    quarantine.faults = &fault_list;
    entry.command_case = WBLOG__ENTRY__COMMAND_QUARANTINE;
    entry.quarantine = &quarantine;
    fixture_apply(f, &entry);

    Wblog__Flushed flushed = WBLOG__FLUSHED__INIT;
    flushed.batch = batch;
    flushed.predecessor = group_state(f->group)->last_batch;
    entry.command_case = WBLOG__ENTRY__COMMAND_FLUSHED;
    entry.flushed = &flushed;
    fixture_apply(f, &entry);

    fixture_elect(f, f->last_index, batch);
    group_info(f->group, f->now_ms, &info);
    assert_string_equal(info.flush_state, "active");
    if (f->noting) {
        db_noted(f);
    }
}

void settle_batch(struct fixture *f)
{
    assert_true(f->sent_n > 0);
    struct flush_batch batch = f->sent[0];
    memmove(&f->sent[0], &f->sent[1], --f->sent_n * sizeof f->sent[0]);
    if (batch.isolate) {
        db_isolated(f, batch.id, NULL, 0);
    }
    db_committed(f, batch.id);
    flush_batch_deinit(&batch);
    fixture_commit(f, UINT32_MAX);
}

void settle_batches(struct fixture *f)
{
    while (f->sent_n > 0) {
        settle_batch(f);
    }
}

void flush_now(struct fixture *f)
{
    unsigned before = f->sent_n;
    fixture_pass(f, 100);
    fixture_commit(f, UINT32_MAX); /* FlushBegin */
    assert_int_equal(f->sent_n, before + 1);
    db_committed(f, f->sent[before].id);
    fixture_commit(f, UINT32_MAX);
    assert_int_equal(group_state(f->group)->queued_entries, 0);
}

void fixture_forget_log(struct fixture *f)
{
    struct list *node;
    while ((node = list_pop_front(&f->log)) != NULL) {
        struct logged *l = list_entry(node, struct logged, link);
        buf_deinit(&l->raw);
        free(l);
        f->last_index--;
    }
}
