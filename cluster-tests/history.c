/* The recorder: a growing array of events, and one pool for all their bytes.
 *
 * Failure modes: it is full (history_begin refuses); a handle that is ended twice is the caller's bug. The
 * file is history_write.c's and history_read.c's. */
#include "cluster-tests/history.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum event_state { EVENT_UNDER_WAY, EVENT_ENDED, EVENT_DROPPED };

/* Bytes of the pool. */
struct history_blob {
    uint64_t hash;
    size_t len;
    uint8_t data[];
};

/* What an event costs beside its bytes: itself, its state, and its place in the free list. */
enum { EVENT_COST = sizeof(struct history_event) + 1 + sizeof(size_t) };

void history_init(struct history *h, size_t bytes_max)
{
    *h = (struct history){.bytes_max = bytes_max};
}

void history_deinit(struct history *h)
{
    for (size_t i = 0; i < h->blobs_cap; i++) {
        free(h->blobs[i]);
    }
    free(h->blobs);
    free(h->events);
    free(h->states);
    free(h->free_list);
    *h = (struct history){0};
}

static void blobs_grow(struct history *h)
{
    size_t cap = h->blobs_cap == 0 ? 64 : h->blobs_cap * 2;
    struct history_blob **grown = xcalloc(cap, sizeof *grown);
    for (size_t i = 0; i < h->blobs_cap; i++) {
        if (h->blobs[i] != NULL) {
            size_t at = h->blobs[i]->hash & (cap - 1);
            while (grown[at] != NULL) {
                at = (at + 1) & (cap - 1);
            }
            grown[at] = h->blobs[i];
        }
    }
    free(h->blobs);
    h->blobs = grown;
    h->blobs_cap = cap;
}

/* The pool's copy of @b. */
static struct bytes keep(struct history *h, struct bytes b)
{
    if (h->n_blobs * 2 >= h->blobs_cap) {
        blobs_grow(h);
    }
    uint64_t hash = bytes_hash(b, 0);
    size_t at = hash & (h->blobs_cap - 1);
    while (h->blobs[at] != NULL) {
        struct history_blob *known = h->blobs[at];
        if (known->hash == hash && bytes_equal(bytes_of(known->data, known->len), b)) {
            return bytes_of(known->data, known->len);
        }
        at = (at + 1) & (h->blobs_cap - 1);
    }
    struct history_blob *blob = xmalloc(sizeof *blob + b.len);
    blob->hash = hash;
    blob->len = b.len;
    if (b.len > 0) {
        memcpy(blob->data, b.data, b.len);
    }
    h->blobs[at] = blob;
    h->n_blobs++;
    h->bytes += sizeof *blob + b.len + 2 * sizeof *h->blobs;
    return bytes_of(blob->data, blob->len);
}

static size_t new_place(struct history *h)
{
    if (h->n_free > 0) {
        return h->free_list[--h->n_free];
    }
    if (h->n_events == h->events_cap) {
        h->events_cap = h->events_cap == 0 ? 64 : h->events_cap * 2;
        h->events = xrealloc(h->events, h->events_cap * sizeof *h->events);
        h->states = xrealloc(h->states, h->events_cap);
    }
    h->bytes += EVENT_COST;
    return h->n_events++;
}

static bool has_value(enum history_op op)
{
    return op == HISTORY_SET || op == HISTORY_APPEND || op == HISTORY_CAS;
}

/* Only what the operation has, so that equal ones are equal and nothing borrowed stays. */
static struct history_arg keep_arg(struct history *h, enum history_op op, const struct history_arg *arg)
{
    struct history_arg kept = {0};
    if (has_value(op)) {
        kept.value = keep(h, arg->value);
    }
    if (op == HISTORY_INCR) {
        kept.delta = arg->delta;
    }
    if (op == HISTORY_CAS) {
        kept.condition = arg->condition;
        kept.if_version = arg->condition == HISTORY_IF_VERSION ? arg->if_version : 0;
    }
    return kept;
}

enum status history_begin(struct history *h, uint64_t client, enum history_op op, struct bytes key,
    const struct history_arg *arg, uint64_t start_ns, size_t *handle)
{
    size_t value_len = has_value(op) ? arg->value.len : 0;
    size_t need = EVENT_COST + 2 * (sizeof(struct history_blob) + 2 * sizeof *h->blobs);
    if (key.len > h->bytes_max || value_len > h->bytes_max ||
        h->bytes + need + key.len + value_len > h->bytes_max) {
        return STATUS_OVERLOADED;
    }
    size_t place = new_place(h);
    struct history_event event = {.client = client, .op = op, .start_ns = start_ns};
    event.key = keep(h, key);
    event.arg = keep_arg(h, op, arg);
    h->events[place] = event;
    h->states[place] = EVENT_UNDER_WAY;
    *handle = place;
    return STATUS_OK;
}

static struct history_event *under_way(struct history *h, size_t handle)
{
    CHECK(handle < h->n_events);
    CHECK(h->states[handle] == EVENT_UNDER_WAY);
    return &h->events[handle];
}

void history_end(struct history *h, size_t handle, const struct history_result *result, uint64_t end_ns)
{
    struct history_event *event = under_way(h, handle);
    bool ok = result->outcome == HISTORY_OK;
    CHECK(ok || (event->op == HISTORY_CAS && result->outcome == HISTORY_CONDITION_FAILED) ||
          (event->op == HISTORY_INCR &&
              (result->outcome == HISTORY_NOT_A_NUMBER || result->outcome == HISTORY_OUT_OF_RANGE)));
    CHECK(end_ns >= event->start_ns);
    bool finds = event->op == HISTORY_GET || event->op == HISTORY_DEL || event->op == HISTORY_GETDEL;
    struct history_result kept = {.outcome = result->outcome, .version = result->version};
    kept.found = finds && result->found;
    if (kept.found && event->op != HISTORY_DEL) {
        kept.value = keep(h, result->value);
    }
    if (finds && !kept.found) {
        kept.version = 0;
    }
    if (event->op == HISTORY_INCR && ok) {
        kept.number = result->number;
    }
    if (event->op == HISTORY_APPEND) {
        kept.length = result->length;
    }
    if (event->op == HISTORY_CAS && !ok && event->arg.condition == HISTORY_IF_PRESENT) {
        kept.version = 0; /* it failed, so nothing is there */
    }
    event->result = kept;
    event->end_ns = end_ns;
    h->states[handle] = EVENT_ENDED;
}

void history_end_unknown(struct history *h, size_t handle)
{
    under_way(h, handle);
    h->states[handle] = EVENT_ENDED; /* with the outcome it began with: UNKNOWN */
}

void history_end_failed(struct history *h, size_t handle)
{
    under_way(h, handle);
    h->states[handle] = EVENT_DROPPED;
    if (h->n_free == h->free_cap) {
        h->free_cap = h->free_cap == 0 ? 16 : h->free_cap * 2;
        h->free_list = xrealloc(h->free_list, h->free_cap * sizeof *h->free_list);
    }
    h->free_list[h->n_free++] = handle;
}

bool history_event_live(const struct history *h, size_t i)
{
    CHECK(i < h->n_events);
    return h->states[i] != EVENT_DROPPED;
}

enum status history_merge(struct history *h, const struct history *from)
{
    for (size_t i = 0; i < from->n_events; i++) {
        if (!history_event_live(from, i)) {
            continue;
        }
        const struct history_event *event = &from->events[i];
        size_t handle;
        enum status status =
            history_begin(h, event->client, event->op, event->key, &event->arg, event->start_ns, &handle);
        if (status != STATUS_OK) {
            return status;
        }
        if (event->result.outcome == HISTORY_UNKNOWN) {
            history_end_unknown(h, handle);
        } else {
            history_end(h, handle, &event->result, event->end_ns);
        }
    }
    return STATUS_OK;
}

const char *history_op_word(enum history_op op)
{
    static const char *const words[] = {
#define X(name, word) word,
        HISTORY_OP_MAP(X)
#undef X
    };
    CHECK((unsigned)op < HISTORY_OPS);
    return words[op];
}

const char *history_condition_word(enum history_condition condition)
{
    static const char *const words[] = {"absent", "present", "version"};
    CHECK((unsigned)condition < sizeof words / sizeof *words);
    return words[condition];
}

const char *history_error_word(enum history_outcome outcome)
{
    switch (outcome) {
    case HISTORY_UNKNOWN:
    case HISTORY_OK:
        return NULL;
    case HISTORY_CONDITION_FAILED:
        return "condition_failed";
    case HISTORY_NOT_A_NUMBER:
        return "not_a_number";
    case HISTORY_OUT_OF_RANGE:
        return "out_of_range";
    }
    CHECK(!"an outcome");
    return NULL;
}
