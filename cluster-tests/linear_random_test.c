/* Random histories. A true object makes them: each operation takes effect at a random moment of its time, and
 * unknown ones perhaps later, or never. So what it answers is linearizable. Then an answer is changed, and
 * the judge must agree with the naive one.
 *
 *     linear_random_test [SEED [CASES]]      one seed a case, counted up */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cluster-tests/linear.h"
#include "cluster-tests/linear_naive.h"
#include "proto/base/alloc.h"

static uint64_t first_seed = 1;
static uint64_t cases = 6000;

struct profile {
    size_t ops;
    uint32_t clients;
    uint32_t unknown_percent;
    uint32_t untold_percent; /* of versions */
    bool values_unique;
    uint32_t weights[HISTORY_OPS];
};

static uint64_t draw(uint64_t *seed, uint64_t below)
{
    *seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = *seed;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (x ^ x >> 31) % below;
}

/* One operation to come, and the moment at which the object does it. */
struct plan {
    uint64_t point_ns;
    size_t handle;
    uint64_t end_ns; /* 0: unknown */
};

struct object {
    struct buf value;
    bool present;
    uint64_t version;
};

static int by_point(const void *a, const void *b)
{
    const struct plan *x = a, *y = b;
    if (x->point_ns != y->point_ns) {
        return x->point_ns < y->point_ns ? -1 : 1;
    }
    return x->handle < y->handle ? -1 : x->handle > y->handle;
}

static void object_put(struct object *o, struct bytes value, bool append, uint64_t *seed)
{
    if (!append || !o->present) {
        buf_clear(&o->value);
    }
    buf_append(&o->value, value.data, value.len);
    o->present = true;
    o->version += 1 + draw(seed, 3);
}

static void object_delete(struct object *o, uint64_t *seed)
{
    o->present = false;
    o->version += 1 + draw(seed, 3);
}

static struct history_result object_incr(struct object *o, int64_t delta, uint64_t *seed)
{
    char text[32] = "0", again[32];
    if (o->present && o->value.len < sizeof text) {
        memcpy(text, o->value.data, o->value.len);
        text[o->value.len] = '\0';
    }
    int64_t number = strtoll(text, NULL, 10);
    snprintf(again, sizeof again, "%" PRId64, number);
    if (strcmp(text, again) != 0 || (o->present && o->value.len >= sizeof text)) {
        return (struct history_result){.outcome = HISTORY_NOT_A_NUMBER, .version = o->version};
    }
    number += delta;
    int len = snprintf(text, sizeof text, "%" PRId64, number);
    object_put(o, bytes_of(text, (size_t)len), false, seed);
    return (struct history_result){.outcome = HISTORY_OK, .number = number, .version = o->version};
}

static struct history_result object_cas(struct object *o, const struct history_arg *arg, uint64_t *seed)
{
    uint64_t there = o->present ? o->version : 0;
    bool holds = arg->condition == HISTORY_IF_ABSENT    ? !o->present
                 : arg->condition == HISTORY_IF_PRESENT ? o->present
                                                        : there == arg->if_version;
    if (!holds) {
        return (struct history_result){.outcome = HISTORY_CONDITION_FAILED, .version = there};
    }
    object_put(o, arg->value, false, seed);
    return (struct history_result){.outcome = HISTORY_OK, .version = o->version};
}

static struct history_result object_do(struct object *o, struct history_event *e, uint64_t *seed)
{
    struct history_result result = {.outcome = HISTORY_OK, .found = o->present, .version = o->version};
    result.value = buf_bytes(&o->value); /* still there after a delete */
    switch (e->op) {
    case HISTORY_GET:
        break;
    case HISTORY_SET:
    case HISTORY_APPEND:
        object_put(o, e->arg.value, e->op == HISTORY_APPEND, seed);
        result.length = o->value.len;
        break;
    case HISTORY_DEL:
    case HISTORY_GETDEL:
        if (o->present) {
            object_delete(o, seed);
        }
        break;
    case HISTORY_INCR:
        return object_incr(o, e->arg.delta, seed);
    default:
        if (e->arg.condition == HISTORY_IF_VERSION && e->arg.if_version == UINT64_MAX) {
            e->arg.if_version = o->present ? o->version : 0; /* as if the client had just read it */
        }
        return object_cas(o, &e->arg, seed);
    }
    if (e->op != HISTORY_GET) {
        result.version = o->version;
    }
    return result;
}

static enum history_op draw_op(const struct profile *p, uint64_t *seed)
{
    uint32_t sum = 0;
    for (int op = 0; op < HISTORY_OPS; op++) {
        sum += p->weights[op];
    }
    uint64_t at = draw(seed, sum);
    int op = 0;
    for (; at >= p->weights[op]; op++) {
        at -= p->weights[op];
    }
    return (enum history_op)op;
}

static struct history_arg draw_arg(const struct profile *p, char text[32], uint64_t *seed, size_t serial)
{
    static const char *const few[] = {"a", "b", "1", "2", "", "ab"};
    struct history_arg arg = {
        .value = bytes_from_text(few[draw(seed, 6)]), .delta = (int64_t)draw(seed, 3) - 1};
    if (p->values_unique) {
        snprintf(text, 32, "v%zu;", serial);
        arg.value = bytes_from_text(text);
        arg.delta = 1;
    }
    arg.condition = (enum history_condition)draw(seed, p->untold_percent == 100 ? 2 : 3);
    arg.if_version = draw(seed, 2) == 0 ? UINT64_MAX : draw(seed, 8);
    return arg;
}

/* Each client asks one thing after another. */
static void make_history(const struct profile *p, uint64_t seed, struct history *h)
{
    struct plan *plans = xcalloc(p->ops, sizeof *plans);
    uint64_t *free_ns = xcalloc(p->clients, sizeof *free_ns);
    for (size_t i = 0; i < p->ops; i++) {
        uint64_t client = i % p->clients;
        uint64_t start = free_ns[client] + 1 + draw(&seed, 30), took = 1 + draw(&seed, 60);
        char text[32];
        enum history_op op = draw_op(p, &seed);
        struct history_arg arg = draw_arg(p, text, &seed, i);
        struct plan *plan = &plans[i];
        assert_int_equal(
            history_begin(h, client, op, bytes_from_text("k"), &arg, start, &plan->handle), STATUS_OK);
        bool unknown = draw(&seed, 100) < p->unknown_percent;
        plan->end_ns = unknown ? 0 : start + took;
        plan->point_ns = start + draw(&seed, took + 1);
        if (unknown) {
            plan->point_ns = draw(&seed, 2) == 0 ? UINT64_MAX : start + draw(&seed, 10 * took);
        }
        free_ns[client] = start + took;
    }
    qsort(plans, p->ops, sizeof *plans, by_point);
    struct object object = {0};
    buf_init(&object.value);
    for (size_t i = 0; i < p->ops; i++) {
        struct history_event *e = &h->events[plans[i].handle];
        struct history_result result = {0};
        if (plans[i].point_ns != UINT64_MAX) {
            result = object_do(&object, e, &seed);
        } else if (e->arg.if_version == UINT64_MAX) {
            e->arg.if_version = object.version;
        }
        bool must_tell = result.outcome == HISTORY_CONDITION_FAILED && e->arg.condition == HISTORY_IF_VERSION;
        if (draw(&seed, 100) < p->untold_percent && !must_tell) {
            result.version = 0;
        }
        if (plans[i].end_ns == 0) {
            history_end_unknown(h, plans[i].handle);
        } else {
            history_end(h, plans[i].handle, &result, plans[i].end_ns);
        }
    }
    buf_deinit(&object.value);
    free(free_ns);
    free(plans);
}

/* Change something in one event, so that the history still is a valid one. */
static void mutate(struct history *h, uint64_t *seed)
{
    struct history_event *e = &h->events[draw(seed, h->n_events)];
    struct history_result *r = &e->result;
    if (r->outcome == HISTORY_UNKNOWN) {
        e->start_ns += draw(seed, 200);
        return;
    }
    switch (draw(seed, 5)) {
    case 0:
        if (r->version != 0) {
            r->version += draw(seed, 2) == 0 || r->version == 1 ? 1 : UINT64_MAX;
        }
        break;
    case 1:
        r->number += e->op == HISTORY_INCR;
        r->length += e->op == HISTORY_APPEND;
        if (r->found && e->op != HISTORY_DEL) {
            r->value = bytes_from_text(draw(seed, 2) == 0 ? "a" : "1");
        }
        break;
    case 2:
        if (e->op == HISTORY_DEL && r->found) {
            r->found = false;
            r->version = 0;
        } else if (e->op == HISTORY_DEL) {
            r->found = true;
        }
        break;
    case 3:
        if (e->op == HISTORY_CAS && r->outcome == HISTORY_CONDITION_FAILED) {
            r->outcome = HISTORY_OK;
            r->version = 0;
        } else if (e->op == HISTORY_INCR) {
            r->outcome = HISTORY_OK;
            r->version = 0;
        }
        break;
    default:
        e->end_ns = e->start_ns;
    }
}

static void assert_both_agree(const struct history *h, uint64_t seed, uint64_t verdicts[3])
{
    struct linear_report report;
    enum linear_status status = linear_check(h, NULL, &report);
    bool good = linear_naive_check(h);
    verdicts[status]++;
    if (status != (good ? LINEAR_LINEARIZABLE : LINEAR_NOT_LINEARIZABLE)) {
        print_message("%.*s", (int)report.explanation.len, (const char *)report.explanation.data);
        history_write(h, stderr);
        fail_msg("seed %" PRIu64 ": the judge says %s", seed, linear_status_text(status));
    }
    linear_report_deinit(&report);
}

static struct profile draw_small(uint64_t *seed)
{
    struct profile p = {.ops = 2 + draw(seed, 7), .clients = 1 + (uint32_t)draw(seed, 5)};
    p.unknown_percent = (uint32_t)draw(seed, 3) * 25;
    p.untold_percent = (uint32_t)draw(seed, 3) * 50;
    for (int op = 0; op < HISTORY_OPS; op++) {
        p.weights[op] = (uint32_t)draw(seed, 4);
    }
    p.weights[HISTORY_GET] += 1;
    return p;
}

static void small_histories_are_judged_as_by_trying_every_order(void **state)
{
    (void)state;
    uint64_t verdicts[3] = {0};
    for (uint64_t seed = first_seed; seed < first_seed + cases; seed++) {
        uint64_t random = seed;
        struct profile p = draw_small(&random);
        struct history h;
        history_init(&h, 1 << 20);
        make_history(&p, random, &h);
        struct linear_report report;
        if (linear_check(&h, NULL, &report) != LINEAR_LINEARIZABLE) {
            print_message("%.*s", (int)report.explanation.len, (const char *)report.explanation.data);
            fail_msg("seed %" PRIu64 ": a true object's history is not accepted", seed);
        }
        linear_report_deinit(&report);
        assert_both_agree(&h, seed, verdicts);
        for (int i = 0; i < 3; i++) {
            mutate(&h, &random);
            assert_both_agree(&h, seed, verdicts);
        }
        history_deinit(&h);
    }
    print_message("seeds %" PRIu64 "..%" PRIu64 ": %" PRIu64 " linearizable, %" PRIu64 " not\n", first_seed,
        first_seed + cases - 1, verdicts[LINEAR_LINEARIZABLE], verdicts[LINEAR_NOT_LINEARIZABLE]);
    assert_true(cases < 1000 || verdicts[LINEAR_LINEARIZABLE] > cases);
    assert_true(cases < 1000 || verdicts[LINEAR_NOT_LINEARIZABLE] > cases / 2);
}

/* A large history of a true object is accepted; one answer of it is changed to one that it cannot be. */
static void assert_large(const char *name, const struct profile *p)
{
    struct history h;
    history_init(&h, (size_t)1 << 30);
    make_history(p, first_seed, &h);
    struct linear_report report;
    linear_check(&h, NULL, &report);
    print_message("%s: seed %" PRIu64 ", %zu known, %zu unknown (%zu ignored), %" PRIu64 " steps\n", name,
        first_seed, report.known, report.unknown, report.unknown_ignored, report.steps);
    if (report.status != LINEAR_LINEARIZABLE) {
        print_message("%.*s", (int)report.explanation.len, (const char *)report.explanation.data);
    }
    assert_string_equal(linear_status_text(report.status), "linearizable");
    linear_report_deinit(&report);

    /* An old read's answer comes again, a thousand operations later. */
    size_t from = p->ops / 2, to = from + 1000;
    while (h.events[from].op != HISTORY_GET || !h.events[from].result.found) {
        from++;
    }
    while (h.events[to].op != HISTORY_GET || !h.events[to].result.found) {
        to++;
    }
    h.events[to].result = h.events[from].result;
    linear_check(&h, NULL, &report);
    assert_string_equal(linear_status_text(report.status), "not linearizable");
    linear_report_deinit(&report);
    history_deinit(&h);
}

static const struct profile registers = {.ops = 20000,
    .clients = 64,
    .values_unique = true,
    .unknown_percent = 1,
    .weights = {[HISTORY_GET] = 5, [HISTORY_SET] = 4, [HISTORY_DEL] = 1}};
static const struct profile counters = {.ops = 20000,
    .clients = 64,
    .values_unique = true,
    .unknown_percent = 1,
    .weights = {[HISTORY_GET] = 4, [HISTORY_INCR] = 6}};
static const struct profile strings = {.ops = 20000,
    .clients = 64,
    .values_unique = true,
    .unknown_percent = 1,
    .weights = {[HISTORY_GET] = 12, [HISTORY_APPEND] = 12, [HISTORY_GETDEL] = 1}};
static const struct profile mixture = {.ops = 20000,
    .clients = 64,
    .values_unique = true,
    .unknown_percent = 1,
    .weights = {10, 4, 1, 2, 4, 4, 1}};

static void large_histories_of_registers_are_judged(void **state)
{
    (void)state;
    assert_large("registers", &registers);
}

static void large_histories_of_counters_are_judged(void **state)
{
    (void)state;
    assert_large("counters", &counters);
}

static void large_histories_of_strings_are_judged(void **state)
{
    (void)state;
    assert_large("strings", &strings);
}

static void large_histories_of_everything_are_judged(void **state)
{
    (void)state;
    assert_large("mixture", &mixture);
}

int main(int argc, char **argv)
{
    first_seed = argc > 1 ? strtoull(argv[1], NULL, 10) : first_seed;
    cases = argc > 2 ? strtoull(argv[2], NULL, 10) : cases;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_histories_are_judged_as_by_trying_every_order),
        cmocka_unit_test(large_histories_of_registers_are_judged),
        cmocka_unit_test(large_histories_of_counters_are_judged),
        cmocka_unit_test(large_histories_of_strings_are_judged),
        cmocka_unit_test(large_histories_of_everything_are_judged),
    };
    return cmocka_run_group_tests_name("linear_random", tests, NULL, NULL);
}
