#include "cluster-tests/asker.h"

#include <stdio.h>
#include <string.h>

#include "cluster-tests/scenario.h"
#include "proto/base/clock.h"
#include "proto/base/status.h"
#include "proto/pb.h"
#include "proto/slot.h"

enum { ANSWER_MS = 3000, CONNECT_MS = 500, GIVE_UP_MS = 30000, PAUSE_MS = 20 };

void asker_address(const struct cluster *c, unsigned node, char out[ASKER_KEY_BYTES])
{
    const char *at = c->addresses;
    for (unsigned i = 1; i < node; i++) {
        at = strchr(at, ',') + 1;
    }
    snprintf(out, ASKER_KEY_BYTES, "%.*s", (int)strcspn(at, ","), at);
}

void asker_init(struct asker *a, struct cluster *cluster, unsigned group)
{
    *a = (struct asker){.cluster = cluster, .group = group, .client = {.fd = -1}};
}

void asker_deinit(struct asker *a)
{
    raw_client_close(&a->client);
}

const char *asker_key(const struct asker *a, const char *name, char out[ASKER_KEY_BYTES])
{
    unsigned i = 0;
    do {
        snprintf(out, ASKER_KEY_BYTES, "%s.%u", name, i++);
    } while (slot_group(slot_of(bytes_from_text(out)), a->cluster->groups) != a->group);
    return out;
}

/* ---- Requests ---- */

static ProtobufCBinaryData copy(struct arena *arena, const char *text)
{
    size_t len = strlen(text);
    uint8_t *data = arena_alloc(arena, len + 1);
    memcpy(data, text, len + 1);
    return (ProtobufCBinaryData){.len = len, .data = data};
}

static Wbrpc__Request *new_request(struct arena *arena, Wbrpc__Request__OpCase op)
{
    Wbrpc__Request *request = arena_alloc(arena, sizeof *request);
    wbrpc__request__init(request);
    request->op_case = op;
    request->has_deadline_ms = 1;
    request->deadline_ms = ANSWER_MS;
    return request;
}

static ProtobufCBinaryData *one_key(struct arena *arena, const char *key)
{
    ProtobufCBinaryData *keys = arena_alloc(arena, sizeof *keys);
    *keys = copy(arena, key);
    return keys;
}

Wbrpc__Request *asker_get(struct arena *arena, const char *key)
{
    Wbrpc__Request *request = new_request(arena, WBRPC__REQUEST__OP_GET);
    request->get = arena_alloc(arena, sizeof *request->get);
    wbrpc__keys__init(request->get);
    request->get->n_keys = 1;
    request->get->keys = one_key(arena, key);
    return request;
}

Wbrpc__Request *asker_set(struct arena *arena, const char *key, const char *value)
{
    Wbrpc__Request *request = new_request(arena, WBRPC__REQUEST__OP_SET);
    request->set = arena_alloc(arena, sizeof *request->set);
    wbrpc__set__init(request->set);
    asker_set_also(arena, request, key, value);
    return request;
}

void asker_set_also(struct arena *arena, Wbrpc__Request *set, const char *key, const char *value)
{
    Wbrpc__KeyValue *entry = arena_alloc(arena, sizeof *entry);
    wbrpc__key_value__init(entry);
    entry->key = copy(arena, key);
    entry->value = copy(arena, value);
    size_t n = set->set->n_entries;
    Wbrpc__KeyValue **entries = arena_alloc(arena, (n + 1) * sizeof(Wbrpc__KeyValue *));
    if (n > 0) {
        memcpy(entries, set->set->entries, n * sizeof(Wbrpc__KeyValue *));
    }
    entries[n] = entry;
    set->set->entries = entries;
    set->set->n_entries = n + 1;
}

Wbrpc__Request *asker_del(struct arena *arena, const char *key)
{
    Wbrpc__Request *request = new_request(arena, WBRPC__REQUEST__OP_DEL);
    request->del = arena_alloc(arena, sizeof *request->del);
    wbrpc__del__init(request->del);
    request->del->n_keys = 1;
    request->del->keys = one_key(arena, key);
    return request;
}

Wbrpc__Request *asker_incr(struct arena *arena, const char *key, int64_t delta)
{
    Wbrpc__Request *request = new_request(arena, WBRPC__REQUEST__OP_INCR);
    request->incr = arena_alloc(arena, sizeof *request->incr);
    wbrpc__incr__init(request->incr);
    request->incr->key = copy(arena, key);
    request->incr->delta = delta;
    return request;
}

Wbrpc__Request *asker_append(struct arena *arena, const char *key, const char *value)
{
    Wbrpc__Request *request = new_request(arena, WBRPC__REQUEST__OP_APPEND);
    request->append = arena_alloc(arena, sizeof *request->append);
    wbrpc__append__init(request->append);
    request->append->key = copy(arena, key);
    request->append->value = copy(arena, value);
    return request;
}

void asker_once(struct arena *arena, Wbrpc__Request *request, uint64_t session, uint64_t sequence,
    uint64_t first_awaited, bool retry)
{
    request->once = arena_alloc(arena, sizeof *request->once);
    wbrpc__once__init(request->once);
    request->once->session = session;
    request->once->sequence = sequence;
    request->once->first_awaited = first_awaited;
    request->once->has_retry = 1;
    request->once->retry = retry;
}

/* ---- Asking ---- */

/* Be connected to a node that said that it leads the group and is ready. */
static bool connect_to_leader(struct asker *a)
{
    if (a->client.fd >= 0) {
        return true;
    }
    char address[ASKER_KEY_BYTES];
    a->node = cluster_leader(a->cluster, a->group);
    asker_address(a->cluster, a->node, address);
    raw_client_close(&a->client); /* what was read before it ended */
    return raw_client_open(&a->client, address, CONNECT_MS);
}

/* Somebody else, or the same node a little later, may say more. */
static bool says_nothing(const Wbrpc__Response *response)
{
    switch (response->status) {
    case STATUS_NOT_LEADER:
    case STATUS_UNAVAILABLE:
    case STATUS_UNKNOWN:
    case STATUS_TIMEOUT:
    case STATUS_SHUTTING_DOWN:
        return true;
    default:
        return false;
    }
}

const Wbrpc__Response *asker_ask(struct asker *a, Wbrpc__Request *request)
{
    uint64_t until_ms = clock_boot_ms() + GIVE_UP_MS;
    while (clock_boot_ms() < until_ms) {
        const Wbrpc__Response *response =
            connect_to_leader(a) ? raw_client_ask(&a->client, request, ANSWER_MS) : NULL;
        if (response != NULL && !says_nothing(response)) {
            return response;
        }
        raw_client_close(&a->client); /* perhaps it does not lead any more */
        if (request->once != NULL) {
            request->once->has_retry = 1;
            request->once->retry = 1;
        }
        pass_ms(PAUSE_MS);
    }
    fail_msg("group %u has not answered for %d ms", a->group, GIVE_UP_MS);
    return NULL;
}

uint64_t asker_send(struct asker *a, Wbrpc__Request *request)
{
    uint64_t id = connect_to_leader(a) ? raw_client_send(&a->client, request) : 0;
    if (id == 0) {
        fail_msg("the leader of group %u does not take a request", a->group);
    }
    return id;
}

uint64_t asker_open_session(struct asker *a)
{
    struct arena arena;
    arena_init(&arena);
    Wbrpc__Request *request = new_request(&arena, WBRPC__REQUEST__OP_OPEN_SESSION);
    Wbrpc__OpenSession open = WBRPC__OPEN_SESSION__INIT;
    open.group = a->group;
    request->open_session = &open;
    const Wbrpc__Response *response = asker_ask(a, request);
    if (response->status != STATUS_OK || response->session == 0) {
        fail_msg("no session: %s", status_name((int)response->status));
    }
    uint64_t session = response->session;
    arena_deinit(&arena);
    return session;
}

void asker_essence(const Wbrpc__Response *response, struct buf *out)
{
    Wbrpc__Response essence = WBRPC__RESPONSE__INIT;
    essence.status = response->status;
    essence.has_index = response->has_index;
    essence.index = response->index;
    essence.n_results = response->n_results;
    essence.results = response->results;
    buf_clear(out);
    pb_pack(&essence.base, out);
}

void asker_kill_leader(struct asker *a)
{
    unsigned node = cluster_leader(a->cluster, a->group);
    cluster_kill(a->cluster, node);
    unsigned next = cluster_other_leader(a->cluster, a->group, node);
    say("  node %u led the group and was killed; now node %u does", node, next);
    cluster_restart(a->cluster, node);
}
