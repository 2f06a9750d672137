/* Writing, expiring, evicting, flushing, losing connections and offices, and comparing, all at once, by
 * chance: no difference is reported where there is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/group_verify_test_help.h"

struct storm {
    struct fixture f;
    struct table t;
    uint32_t random;
    uint64_t term;
    unsigned loads; /* those that were seen */
    /* the verification under way */
    struct admin_ask x;
    bool asking;
    uint64_t token; /* of its load; 0: none */
    struct buf asked;
    bool looked; /* the database has looked, at: */
    struct table snapshot;
    uint64_t compared, dirty, done;
};

static uint32_t chance(struct storm *s, uint32_t n)
{
    s->random = s->random * 1664525 + 1013904223;
    return (s->random >> 8) % n;
}

/* Clients' misses are answered at once, with what the database has now; those of the verification wait. */
static void see_loads(struct storm *s)
{
    while (s->loads != s->f.loads) {
        s->loads = s->f.loads;
        if ((s->f.load_token & UINT64_C(1) << 47) == 0) {
            table_answer_newest(&s->f, &s->t);
        } else {
            s->token = s->f.load_token;
            s->looked = false;
            buf_clear(&s->asked);
            buf_append(&s->asked, s->f.load_asked.data, s->f.load_asked.len);
        }
    }
}

static void turn(struct storm *s, uint64_t ms)
{
    fixture_pass(&s->f, ms);
    see_loads(s);
}

/* One client's request, to its end. */
static void client_step(struct storm *s)
{
    struct fixture *f = &s->f;
    struct ask a;
    char key[TEXT_MAX], value[TEXT_MAX];
    snprintf(key, sizeof key, "k%u", chance(s, 24));
    snprintf(value, sizeof value, "%u", chance(s, 1000));
    struct operation set = {
        .kind = OPERATION_SET, .key = bytes_from_text(key), .value = bytes_from_text(value)};
    set.expires = set.expire_relative = chance(s, 4) == 0;
    set.expire_ms = 1 + chance(s, 300);
    struct operation del = {.kind = OPERATION_DEL, .key = bytes_from_text(key)};
    uint32_t kind = chance(s, 3);
    if (kind == 0) {
        ask_get(f, &a, key, 1);
    } else {
        ask_update(f, &a, kind == 1 ? &set : &del, 1);
    }
    turn(s, 0);
    fixture_commit(f, UINT32_MAX);
    see_loads(s);
    fixture_commit(f, UINT32_MAX);
    assert_done(&a, STATUS_OK);
    value_unref(a.result.value);
}

static void forget_sent(struct fixture *f)
{
    for (unsigned i = 0; i < f->sent_n; i++) {
        flush_batch_deinit(&f->sent[i]);
    }
    f->sent_n = 0;
}

/* The connection is lost. What was sent is done up to some batch, or not, and nobody is told. */
static void cut(struct storm *s)
{
    for (unsigned done = chance(s, s->f.sent_n + 1), i = 0; i < done; i++) {
        table_commit(&s->t, &s->f.sent[i]);
    }
    forget_sent(&s->f);
}

static void database_step(struct storm *s)
{
    struct fixture *f = &s->f;
    if (f->db_call == DB_TAKE) {
        db_taken(f, s->t.last_batch);
    } else if (f->noting) {
        db_noted(f);
    } else if (f->sent_n > 0 && chance(s, 5) == 0) {
        cut(s);
        db_failed(f, FLUSH_ERROR_OUTAGE, "cut");
    } else if (f->sent_n > 0) {
        struct flush_batch b = f->sent[0];
        memmove(&f->sent[0], &f->sent[1], --f->sent_n * sizeof f->sent[0]);
        table_commit(&s->t, &b);
        db_committed(f, b.id);
        flush_batch_deinit(&b);
    }
    see_loads(s);
}

static void verify_ended(struct storm *s, enum status status)
{
    assert_int_equal(s->x.a.n_differences, 0);
    s->compared += s->x.a.compared;
    s->dirty += s->x.a.dirty;
    s->done++;
    assert_admin_done(&s->x, status);
    s->asking = false;
    s->token = 0;
}

static void verify_step(struct storm *s)
{
    if (!s->asking) {
        s->asking = true;
        verify_begin(&s->f, &s->x);
        see_loads(s);
    } else if (s->token != 0 && !s->looked) {
        s->looked = true;
        s->snapshot = s->t;
    } else if (s->token != 0) {
        uint64_t token = s->token;
        struct buf asked;
        buf_move(&asked, &s->asked);
        s->token = 0;
        table_answer(&s->f, &s->snapshot, token, &asked, chance(s, 2) * 3);
        buf_deinit(&asked);
        see_loads(s);
    }
    if (s->asking && s->x.done) {
        verify_ended(s, STATUS_OK);
    }
}

/* Another term, here again. What was in the log is lost, or not. */
static void office_step(struct storm *s)
{
    struct fixture *f = &s->f;
    fixture_depose(f);
    if (s->asking) {
        verify_ended(s, STATUS_NOT_LEADER);
    }
    cut(s);
    if (chance(s, 2) == 0) {
        fixture_forget_log(f);
    }
    fixture_commit(f, UINT32_MAX);
    fixture_elect(f, ++s->term, s->t.last_batch);
    fixture_commit(f, UINT32_MAX);
    see_loads(s);
}

static void settle(struct storm *s)
{
    for (int i = 0; i < 400; i++) {
        turn(s, 10);
        fixture_commit(&s->f, UINT32_MAX);
        database_step(s);
        if (s->asking) {
            verify_step(s);
        }
    }
    assert_false(s->asking);
    assert_int_equal(group_state(s->f.group)->queued_entries, 0);
    assert_int_equal(group_state(s->f.group)->batched_entries, 0);
}

static uint64_t verify_all(struct storm *s)
{
    verify_begin(&s->f, &s->x);
    see_loads(s);
    if (s->token != 0) {
        table_answer(&s->f, &s->t, s->token, &s->asked, 0);
        s->token = 0;
    }
    assert_true(s->x.done);
    return s->x.a.n_differences;
}

static void one_storm(struct storm *s, uint32_t seed)
{
    *s = (struct storm){.random = seed, .term = 1};
    buf_init(&s->asked);
    fixture_init(&s->f, 0, false, true);
    if (seed % 2 == 0) {
        retain(&s->f, 200, 1 << 20);
    }
    for (int step = 0; step < 2000; step++) {
        switch (chance(s, 8)) {
        case 0:
        case 1:
            client_step(s);
            break;
        case 2:
            turn(s, chance(s, 120));
            break;
        case 3:
        case 4:
            database_step(s);
            break;
        case 5:
            fixture_commit(&s->f, 1 + chance(s, 3));
            see_loads(s);
            break;
        case 6:
            verify_step(s);
            break;
        default:
            if (chance(s, 20) == 0) {
                office_step(s);
            } else if (chance(s, 4) == 0) {
                group_evict(s->f.group, chance(s, 2000));
            }
        }
    }
    settle(s);
    assert_int_equal(verify_all(s), 0);
    assert_admin_done(&s->x, STATUS_OK);
    store_now(&s->f, &s->t, "last", "v");
    row_find(&s->t, bytes_from_text("last"))->version--;
    assert_int_equal(verify_all(s), 1); /* it does look */
    assert_int_equal(verify_reported(&s->x, "last"), DIFFERENCE_OLDER);
    assert_admin_done(&s->x, STATUS_OK);
    buf_deinit(&s->asked);
    fixture_deinit(&s->f);
}

static void writing_flushing_and_verifying_at_once_reports_nothing(void **state)
{
    (void)state;
    uint32_t seed = 20240607;
    uint64_t compared = 0, dirty = 0, done = 0;
    struct storm *s = calloc(1, sizeof *s);
    assert_non_null(s);
    for (unsigned i = 0; i < 40; i++) {
        print_message("seed %u\n", seed + i);
        one_storm(s, seed + i);
        compared += s->compared;
        dirty += s->dirty;
        done += s->done;
    }
    assert_true(done > 100 && compared > 100 && dirty > 100);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writing_flushing_and_verifying_at_once_reports_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
