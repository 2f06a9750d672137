/* libwbcache: the rows that PostgreSQL refuses. */
#include <stdlib.h>

#include "proto/pb.h"
#include "proto/slot.h"
#include "rpc/client.h"

enum {
    LIST_COUNT = 100,
    LIST_COUNT_MAX = 1000,
    DROP_KEYS_MAX = 256, /* of one request: each is a log entry */
};

/* ---- Looking ---- */

static int show(struct wbcache *cache, const Wbrpc__QuarantineReply *reply, uint32_t group,
    const struct wbcache_quarantined **out)
{
    struct wbcache_quarantined *rows = client_show_rows(cache, reply->n_keys, sizeof *rows);
    if (rows == NULL) {
        return client_fail(cache, WBCACHE_NOMEM, "quarantine list: out of memory");
    }
    for (size_t i = 0; i < reply->n_keys; i++) {
        client_show_quarantined(reply->keys[i], group, &rows[i]);
    }
    *out = rows;
    return WBCACHE_OK;
}

int wbcache_quarantine_list(struct wbcache *cache, struct wbcache_quarantine *list)
{
    client_enter(cache);
    list->rows = NULL;
    list->n = 0;
    if (list->done) {
        return WBCACHE_OK;
    }
    int code = client_check_group(cache, "quarantine list", list->group);
    if (code != WBCACHE_OK) {
        return code;
    }
    unsigned count = list->count == 0 ? LIST_COUNT : list->count;
    Wbrpc__Quarantine question = WBRPC__QUARANTINE__INIT;
    question.group = list->group;
    question.has_skip = list->skip > 0;
    question.skip = (uint32_t)list->skip;
    question.has_count = 1;
    question.count = count < LIST_COUNT_MAX ? count : LIST_COUNT_MAX;
    question.has_values = question.values = list->values;
    const Wbrpc__Response *response;
    code = client_ask_group(cache, "quarantine list", CALL_ADMIN, list->group, WBRPC__REQUEST__OP_QUARANTINE,
        &question.base, &response);
    if (code != WBCACHE_OK) {
        return code;
    }
    const Wbrpc__QuarantineReply *reply = response->quarantine;
    if (reply == NULL) {
        return client_misfit(cache, "quarantine list");
    }
    code = show(cache, reply, list->group, &list->rows);
    if (code != WBCACHE_OK) {
        return code;
    }
    list->n = reply->n_keys;
    list->skip += reply->n_keys;
    if (reply->n_keys == 0 || list->skip >= reply->total) {
        list->skip = 0;
        list->group++;
        list->done = list->group >= cache->map.group_count;
    }
    return WBCACHE_OK;
}

int wbcache_quarantine_get(
    struct wbcache *cache, const void *key, size_t key_len, struct wbcache_quarantined *row)
{
    client_enter(cache);
    *row = (struct wbcache_quarantined){0};
    int code = client_check_key(cache, "quarantine get", key, key_len);
    if (code == WBCACHE_OK) {
        code = client_check_group(cache, "quarantine get", 0); /* a group 0 there is: the topology is known */
    }
    if (code != WBCACHE_OK) {
        return code;
    }
    ProtobufCBinaryData one = pb_borrow(bytes_of(key, key_len));
    uint32_t group = cluster_map_group(&cache->map, slot_of(bytes_of(key, key_len)));
    Wbrpc__Quarantine question = WBRPC__QUARANTINE__INIT;
    question.group = group;
    question.n_keys = 1;
    question.keys = &one;
    question.has_values = question.values = 1;
    const Wbrpc__Response *response;
    code = client_ask_group(
        cache, "quarantine get", CALL_ADMIN, group, WBRPC__REQUEST__OP_QUARANTINE, &question.base, &response);
    if (code != WBCACHE_OK) {
        return code;
    }
    if (response->quarantine == NULL || response->quarantine->n_keys > 1) {
        return client_misfit(cache, "quarantine get");
    }
    if (response->quarantine->n_keys == 0) {
        return client_fail(
            cache, WBCACHE_NOT_FOUND, "quarantine get: NOT_FOUND: the key is not in quarantine");
    }
    client_show_quarantined(response->quarantine->keys[0], group, row);
    return WBCACHE_OK;
}

/* ---- Doing something about them ---- */

static int act(
    struct wbcache *cache, const char *what, Wbrpc__Quarantine *message, uint32_t group, uint64_t *count)
{
    const Wbrpc__Response *response;
    enum call_kind kind = message->action == WBRPC__QUARANTINE_ACTION__DROP ? CALL_ADMIN_ONCE : CALL_ADMIN;
    message->group = group;
    message->has_action = 1;
    int code =
        client_ask_group(cache, what, kind, group, WBRPC__REQUEST__OP_QUARANTINE, &message->base, &response);
    if (code != WBCACHE_OK) {
        return code;
    }
    if (response->quarantine == NULL) {
        return client_misfit(cache, what);
    }
    *count += response->quarantine->total;
    return WBCACHE_OK;
}

/* @action on the keys, group by group; what was done before a failure counts. */
static int act_on_keys(struct wbcache *cache, const char *what, Wbrpc__QuarantineAction action,
    size_t keys_max, const struct wbcache_key *keys, size_t n, uint64_t *count)
{
    struct client_pieces *p;
    int code = client_pieces_begin(cache, what, keys, n, keys_max, &p);
    if (code != WBCACHE_OK) {
        return code;
    }
    while (code == WBCACHE_OK && client_pieces_next(cache, p)) {
        Wbrpc__Quarantine message = WBRPC__QUARANTINE__INIT;
        message.action = action;
        message.n_keys = p->n_at;
        message.keys = p->at;
        code = act(cache, what, &message, p->group, count);
    }
    client_pieces_free(p);
    return code;
}

int wbcache_quarantine_retry(struct wbcache *cache, const struct wbcache_key *keys, size_t n, uint64_t *count)
{
    static const char what[] = "quarantine retry";
    uint64_t unasked = 0;
    count = count != NULL ? count : &unasked;
    *count = 0;
    client_enter(cache);
    if (n > 0) {
        return act_on_keys(cache, what, WBRPC__QUARANTINE_ACTION__RETRY, LIMIT_REQUEST_KEYS, keys, n, count);
    }
    int code = client_check_group(cache, what, 0);
    for (uint32_t group = 0; code == WBCACHE_OK && group < cache->map.group_count; group++) {
        Wbrpc__Quarantine message = WBRPC__QUARANTINE__INIT;
        message.action = WBRPC__QUARANTINE_ACTION__RETRY;
        code = act(cache, what, &message, group, count);
    }
    return code;
}

int wbcache_quarantine_drop(struct wbcache *cache, const struct wbcache_key *keys, size_t n, uint64_t *count)
{
    static const char what[] = "quarantine drop";
    uint64_t unasked = 0;
    count = count != NULL ? count : &unasked;
    *count = 0;
    client_enter(cache);
    if (n == 0) {
        return client_fail(cache, WBCACHE_INVALID, "%s: name the keys", what);
    }
    return act_on_keys(cache, what, WBRPC__QUARANTINE_ACTION__DROP, DROP_KEYS_MAX, keys, n, count);
}
