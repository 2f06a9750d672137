/* Every order of every subset of the unknown operations, with what was asked of each write's version on a
 * list; at the end versions must be possible that rise along the list. */
#include "cluster-tests/linear_naive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"

enum { OPS_MAX = 16, VALUE_MAX = 256 };

struct world {
    bool present;
    char value[VALUE_MAX];
    size_t len;
    int writes;                 /* how many so far; the last one made `value` */
    uint64_t versions[OPS_MAX]; /* of each write; 0: any */
};

static bool value_is(const struct world *w, struct bytes b)
{
    return w->present && bytes_equal(bytes_of(w->value, w->len), b);
}

static void put(struct world *w, const void *value, size_t len, uint64_t version)
{
    CHECK(len <= VALUE_MAX && w->writes < OPS_MAX);
    if (len > 0) {
        memmove(w->value, value, len);
    }
    w->len = len;
    w->present = true;
    w->versions[w->writes++] = version;
}

static void drop(struct world *w, uint64_t version)
{
    w->present = false;
    w->versions[w->writes++] = version;
}

/* The write that is there has this version. */
static bool look(struct world *w, uint64_t version)
{
    if (version == 0) {
        return true;
    }
    uint64_t *known = &w->versions[w->writes - 1];
    if (*known != 0 && *known != version) {
        return false;
    }
    *known = version;
    return true;
}

static bool number_of(const struct world *w, int64_t *out)
{
    *out = 0;
    if (!w->present) {
        return true;
    }
    size_t i = w->len > 0 && w->value[0] == '-';
    if (i == w->len || w->len > 18 || (w->value[i] == '0' && w->len > 1)) {
        return false;
    }
    for (; i < w->len; i++) {
        if (w->value[i] < '0' || w->value[i] > '9') {
            return false;
        }
        *out = *out * 10 + (w->value[i] - '0');
    }
    *out = w->value[0] == '-' ? -*out : *out;
    return true;
}

static bool do_incr(struct world *w, const struct history_event *e, bool known)
{
    int64_t number;
    if (!number_of(w, &number)) {
        return known && e->result.outcome == HISTORY_NOT_A_NUMBER && look(w, e->result.version);
    }
    number += e->arg.delta; /* tests that use this stay far from the ends */
    if (known && (e->result.outcome != HISTORY_OK || e->result.number != number)) {
        return false;
    }
    char text[32];
    int len = snprintf(text, sizeof text, "%lld", (long long)number);
    put(w, text, (size_t)len, e->result.version);
    return true;
}

static bool do_cas(struct world *w, const struct history_event *e, bool known)
{
    bool fails = known && e->result.outcome == HISTORY_CONDITION_FAILED;
    enum history_condition condition = e->arg.condition;
    if (condition == HISTORY_IF_VERSION && e->arg.if_version == 0) {
        if (fails && (!w->present || e->result.version == 0 || !look(w, e->result.version))) {
            return false;
        }
        condition = HISTORY_IF_ABSENT;
    } else if (condition == HISTORY_IF_VERSION && fails) {
        return e->result.version == 0
                   ? !w->present
                   : w->present && e->result.version != e->arg.if_version && look(w, e->result.version);
    }
    bool holds = condition == HISTORY_IF_ABSENT ? !w->present : w->present;
    if (condition == HISTORY_IF_VERSION) {
        holds = holds && look(w, e->arg.if_version);
    }
    if (fails) {
        return !holds && (!w->present || look(w, e->result.version));
    }
    if (holds) {
        put(w, e->arg.value.data, e->arg.value.len, e->result.version);
    }
    return holds;
}

static bool do_append(struct world *w, const struct history_event *e, bool known)
{
    char joined[2 * VALUE_MAX];
    size_t len = w->present ? w->len : 0;
    memcpy(joined, w->value, len);
    CHECK(e->arg.value.len <= VALUE_MAX);
    memcpy(joined + len, e->arg.value.data, e->arg.value.len);
    len += e->arg.value.len;
    put(w, joined, len, e->result.version);
    return !known || e->result.length == len;
}

static bool apply(struct world *w, const struct history_event *e)
{
    bool known = e->result.outcome != HISTORY_UNKNOWN;
    bool reads = e->op == HISTORY_GET || e->op == HISTORY_GETDEL;
    if (reads && known && (e->result.found ? !value_is(w, e->result.value) : w->present)) {
        return false;
    }
    switch (e->op) {
    case HISTORY_GET:
        return !w->present || look(w, e->result.version);
    case HISTORY_SET:
        put(w, e->arg.value.data, e->arg.value.len, e->result.version);
        return true;
    case HISTORY_DEL:
    case HISTORY_GETDEL:
        if (known && e->result.found != w->present) {
            return false;
        }
        if (w->present) {
            drop(w, e->result.version);
        }
        return true;
    case HISTORY_INCR:
        return do_incr(w, e, known);
    case HISTORY_APPEND:
        return do_append(w, e, known);
    case HISTORY_CAS:
        return do_cas(w, e, known);
    default:
        return false;
    }
}

static bool versions_can_rise(const struct world *w)
{
    uint64_t last = 0;
    for (int i = 0; i < w->writes; i++) {
        if (w->versions[i] != 0 && w->versions[i] <= last) {
            return false;
        }
        last = w->versions[i] != 0 ? w->versions[i] : last + 1;
    }
    return true;
}

/* @done has a bit for each operation that has its place. */
static bool search(const struct history *h, uint32_t done, const struct world *w)
{
    bool complete = true;
    uint64_t first_end = UINT64_MAX;
    for (size_t i = 0; i < h->n_events; i++) {
        const struct history_event *e = &h->events[i];
        if ((done >> i & 1) == 0 && e->result.outcome != HISTORY_UNKNOWN) {
            complete = false;
            first_end = e->end_ns < first_end ? e->end_ns : first_end;
        }
    }
    if (complete) {
        return versions_can_rise(w);
    }
    for (size_t i = 0; i < h->n_events; i++) {
        struct world next = *w;
        if ((done >> i & 1) == 0 && h->events[i].start_ns <= first_end && apply(&next, &h->events[i]) &&
            search(h, done | 1U << i, &next)) {
            return true;
        }
    }
    return false;
}

bool linear_naive_check(const struct history *h)
{
    CHECK(h->n_events <= OPS_MAX);
    struct world w = {0};
    return search(h, 0, &w);
}
