#include "cluster-tests/redis_stale.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { REPLY_MS = 3000, SEEN_MAX = 64 };

/* What one connection has seen of one object. */
struct seen {
    uint64_t opened;           /* of the connection; another one may see older things */
    unsigned n;                /* values, oldest first, at most SEEN_MAX of them */
    uint64_t hashes[SEEN_MAX]; /* of the values */
    int64_t number;            /* of a counter: the newest */
};

struct redis_stale {
    struct redis_client client;
    uint64_t number;
    struct history history;
    bool full;
    const struct redis_object *objects;
    unsigned n_objects;
    uint64_t begun_ns;
    struct seen *seen; /* of each node and object */
    uint64_t reads[CLUSTER_NODES_MAX];
    uint64_t gone_back;
    char error[256];
};

struct redis_stale *redis_stale_create(const char *addresses, uint64_t number, size_t history_bytes_max)
{
    struct redis_stale *s = xcalloc(1, sizeof *s);
    s->number = number;
    redis_client_init(&s->client, addresses, true);
    history_init(&s->history, history_bytes_max);
    s->seen = xcalloc((size_t)s->client.nodes * REDIS_OBJECTS_MAX, sizeof *s->seen);
    return s;
}

void redis_stale_destroy(struct redis_stale *s)
{
    redis_client_deinit(&s->client);
    history_deinit(&s->history);
    free(s->seen);
    free(s);
}

void redis_stale_objects(struct redis_stale *s, const struct redis_object *objects, unsigned n)
{
    CHECK(n <= REDIS_OBJECTS_MAX);
    s->objects = objects;
    s->n_objects = n;
    s->full = false;
    s->begun_ns = clock_boot_ns();
    memset(s->seen, 0, (size_t)s->client.nodes * REDIS_OBJECTS_MAX * sizeof *s->seen);
}

static void note_error(
    struct redis_stale *s, const struct redis_object *o, const char *why, struct bytes value)
{
    if (s->error[0] == '\0') {
        snprintf(s->error, sizeof s->error, "%s on a READONLY connection: %s: '%.*s'", o->name, why,
            (int)(value.len < 100 ? value.len : 100), (const char *)value.data);
    }
}

static int64_t number_of(struct bytes text)
{
    int64_t number = 0;
    for (size_t i = 0; i < text.len; i++) {
        number = number * 10 + (text.data[i] - '0');
    }
    return number;
}

/* Did this connection see @value, and then another one? Each value of these objects is written once. */
static bool is_gone_by(const struct seen *seen, uint64_t hash)
{
    for (unsigned i = 0; i + 1 < seen->n; i++) {
        if (seen->hashes[i] == hash) {
            return true;
        }
    }
    return false;
}

/* True: it is the same as the last time. */
static bool look(struct redis_stale *s, const struct redis_object *o, struct seen *seen, struct bytes value)
{
    uint64_t hash = bytes_hash(value, 0);
    if (seen->n > 0 && seen->hashes[seen->n - 1] == hash) {
        return true;
    }
    if (redis_kind_is_counter(o->kind)) {
        int64_t number = number_of(value);
        s->gone_back += number < seen->number;
        seen->number = number;
    } else if (o->kind == REDIS_FAMILY || o->kind == REDIS_RECORD) {
        s->gone_back += is_gone_by(seen, hash);
    }
    if (seen->n == SEEN_MAX) {
        memmove(seen->hashes, seen->hashes + 1, (SEEN_MAX - 1) * sizeof seen->hashes[0]);
        seen->n--;
    }
    seen->hashes[seen->n++] = hash;
    return false;
}

static void record(struct redis_stale *s, const struct redis_object *o, const struct redis_effect *effect)
{
    size_t event;
    if (history_begin(&s->history, s->number, HISTORY_GET, bytes_from_text(o->name), &effect->arg,
            s->begun_ns, &event) != STATUS_OK) {
        s->full = true;
        return;
    }
    history_end(&s->history, event, &effect->result, clock_boot_ns());
}

void redis_stale_read(struct redis_stale *s, unsigned node, unsigned object)
{
    const struct redis_object *o = &s->objects[object];
    const struct redis_call call = {.object = o, .form = REDIS_FORM_READ};
    if (s->full || !redis_client_connect(&s->client, node)) {
        return;
    }
    struct seen *seen = &s->seen[node * REDIS_OBJECTS_MAX + object];
    if (seen->opened != s->client.node[node].opened) {
        *seen = (struct seen){.opened = s->client.node[node].opened};
    }
    struct buf out;
    struct reply reply;
    buf_init(&out);
    redis_call_encode(&call, &out);
    bool replied = redis_client_send(&s->client, node, buf_bytes(&out)) &&
                   redis_client_receive(&s->client, node, REPLY_MS, &reply);
    buf_deinit(&out);
    if (!replied) {
        return;
    }
    struct redis_outcome outcome = redis_call_settle_stale(&call, &reply);
    if (outcome.answer == REDIS_ANSWER_WRONG) {
        note_error(s, o, outcome.why, reply.whole);
    } else if (outcome.n == 1) {
        s->reads[node]++;
        if (!look(s, o, seen, outcome.effects[0].result.value)) {
            record(s, o, &outcome.effects[0]);
        }
    }
}

unsigned redis_stale_nodes(const struct redis_stale *s)
{
    return s->client.nodes;
}

bool redis_stale_full(const struct redis_stale *s)
{
    return s->full;
}

struct history *redis_stale_history(struct redis_stale *s)
{
    return &s->history;
}

uint64_t redis_stale_reads(const struct redis_stale *s, unsigned node)
{
    return s->reads[node];
}

uint64_t redis_stale_gone_back(const struct redis_stale *s)
{
    return s->gone_back;
}

const char *redis_stale_error(const struct redis_stale *s)
{
    return s->error;
}
