/* What the tests of group_forget.c share: somebody else's changes, flushed keys, the database's answers. */
#ifndef WB_NODE_GROUP_FORGET_TEST_HELP_H
#define WB_NODE_GROUP_FORGET_TEST_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/group_fixture.h"
#include "node/state_check.h"

static inline struct bytes text(const char *s)
{
    return bytes_from_text(s);
}

static inline const struct state_entry *entry(const struct fixture *f, const char *key)
{
    return state_find(group_state(f->group), text(key));
}

static inline void check(const struct fixture *f)
{
    state_check_invariants(group_state(f->group));
}

/* Somebody else changed @key's row. */
static inline void heard(struct fixture *f, const char *key)
{
    group_forget_clean(f->group, text(key));
    check(f);
}

/* What is flushed stays retained, for ever as far as the tests go. */
static inline void retain(struct fixture *f)
{
    Wblog__Limits limits = WBLOG__LIMITS__INIT;
    limits.sessions_max = 100;
    limits.session_bytes_max = 1 << 20;
    limits.has_retention_ms = limits.has_retention_bytes = 1;
    limits.retention_ms = 1000 * 1000;
    limits.retention_bytes = 1 << 20;
    Wblog__Entry e = WBLOG__ENTRY__INIT;
    e.command_case = WBLOG__ENTRY__COMMAND_LIMITS;
    e.limits = &limits;
    fixture_apply(f, &e);
}

/* The newest batch that was sent. */
static inline uint64_t batch(const struct fixture *f)
{
    assert_true(f->sent_n > 0);
    return f->sent[f->sent_n - 1].id;
}

static inline void begin_batch(struct fixture *f)
{
    unsigned before = f->sent_n;
    fixture_pass(f, 200);
    fixture_commit(f, UINT32_MAX);
    assert_int_equal(f->sent_n, before + 1);
}

static inline void end_batch(struct fixture *f)
{
    db_committed(f, batch(f));
    fixture_commit(f, UINT32_MAX);
}

/* Write @key and flush it. */
static inline void set_flushed(struct fixture *f, const char *key, const char *value)
{
    set_now(f, key, value);
    begin_batch(f);
    end_batch(f);
    assert_false(state_entry_dirty(entry(f, key)));
}

/* Answer the newest load: @key has this row (value NULL: none). */
static inline void answer(struct fixture *f, const char *key, const char *value, uint64_t version)
{
    struct load_row row = {.version = version};
    struct load_result result = {.fence_found = true, .last_batch = group_state(f->group)->last_batch};
    if (value != NULL) {
        row.key = text(key);
        row.value = text(value);
        result.rows = &row;
        result.n = 1;
    }
    group_loader_events.loaded(f->group, f->load_token, &result);
    fixture_turn(f);
    fixture_turn(f); /* those who waited are evaluated, then what was overtaken is forgotten */
    check(f);
}

static inline void start_get(struct fixture *f, struct ask *a, const char *key)
{
    ask_get(f, a, key, 1);
    fixture_turn(f);
}

/* A read that is answered from memory. */
static inline void assert_in_memory(struct fixture *f, const char *key, const char *value)
{
    struct ask a;
    unsigned loads = f->loads;
    start_get(f, &a, key);
    assert_int_equal(f->loads, loads);
    assert_got(&a, value);
}

/* A read that must be loaded; the load is under way then. */
static inline void start_miss(struct fixture *f, struct ask *a, const char *key)
{
    unsigned loads = f->loads;
    start_get(f, a, key);
    assert_int_equal(f->loads, loads + 1);
    assert_false(a->done);
}

/* Until nothing is to be done without an event. */
static inline void settle(struct fixture *f)
{
    for (int i = 0; i < 100; i++) {
        fixture_pass(f, 1);
    }
    check(f);
}

#endif
