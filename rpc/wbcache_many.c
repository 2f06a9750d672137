/* libwbcache's calls over several groups: mget, mset, mdel. Each is split into parts, one request each, that
 * run side by side; a part is a range of the items' order by group. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/limits.h"
#include "proto/pb.h"
#include "proto/slot.h"
#include "rpc/client.h"

enum {
    MGET_PART_KEYS = 1024, /* answers are larger than requests: a part too big for one is halved */
    MANY_BYTES_MAX = LIMIT_VALUE_BYTES,
};

struct placed {
    struct wbcache_item *item;
    uint32_t group;
    size_t at; /* in the caller's array, to keep its order within a group */
};

struct many {
    struct wbcache *cache;
    const char *what;
    enum wbcache_op_kind kind;
    struct placed *order; /* n items, by group */
    size_t n;
    struct call **parts; /* room for n */
    size_t n_parts;
    uint64_t deadline_ms;
};

static int by_group(const void *left, const void *right)
{
    const struct placed *a = left;
    const struct placed *b = right;
    if (a->group != b->group) {
        return a->group < b->group ? -1 : 1;
    }
    return a->at < b->at ? -1 : a->at > b->at;
}

static int check_items(struct wbcache *cache, const char *what, enum wbcache_op_kind kind,
    const struct wbcache_item *items, size_t n)
{
    if (items == NULL && n > 0) {
        return client_fail(cache, WBCACHE_INVALID, "%s: the items are NULL, but their number is not 0", what);
    }
    for (size_t i = 0; i < n; i++) {
        const struct wbcache_item *item = &items[i];
        if ((item->key == NULL && item->key_len > 0) ||
            (kind == WBCACHE_OP_SET && item->value == NULL && item->value_len > 0)) {
            return client_fail(cache, WBCACHE_INVALID, "%s: item %zu has a length, but no bytes", what, i);
        }
        if (item->key_len > LIMIT_KEY_BYTES ||
            (kind == WBCACHE_OP_SET && item->value_len > LIMIT_VALUE_BYTES)) {
            return client_fail(cache, WBCACHE_TOO_BIG,
                "%s: item %zu has a key above %d or a value above %d bytes", what, i, LIMIT_KEY_BYTES,
                LIMIT_VALUE_BYTES);
        }
    }
    return WBCACHE_OK;
}

static int many_init(struct many *m, struct wbcache *cache, const char *what, enum wbcache_op_kind kind,
    struct wbcache_item *items, size_t n)
{
    CHECK(items != NULL && "check_items refuses it");
    *m = (struct many){.cache = cache, .what = what, .kind = kind, .n = n};
    m->deadline_ms = client_now_ms() + cache->options.deadline_ms;
    int code = client_need_topology(cache, m->deadline_ms);
    if (code != WBCACHE_OK) {
        return code;
    }
    m->order = calloc(n, sizeof *m->order);
    m->parts = calloc(n, sizeof(struct call *));
    if (m->order == NULL || m->parts == NULL) {
        client_fail(cache, WBCACHE_NOMEM, "%s: out of memory", what);
        return WBCACHE_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t slot = slot_of(bytes_of(items[i].key, items[i].key_len));
        m->order[i] = (struct placed){&items[i], cluster_map_group(&cache->map, slot), i};
    }
    qsort(m->order, n, sizeof *m->order, by_group);
    return WBCACHE_OK;
}

static void many_deinit(struct many *m)
{
    free(m->order);
    free(m->parts);
}

static void pack_keys(struct call *call, enum wbcache_op_kind kind, const struct placed *order, size_t n)
{
    ProtobufCBinaryData *keys = malloc(n * sizeof *keys);
    if (keys == NULL) {
        call->body.failed = true;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        keys[i] = pb_borrow(bytes_of(order[i].item->key, order[i].item->key_len));
    }
    if (kind == WBCACHE_OP_GET) {
        Wbrpc__Keys get = WBRPC__KEYS__INIT;
        get.n_keys = n;
        get.keys = keys;
        request_body(&call->body, WBRPC__REQUEST__OP_GET, &get.base);
    } else {
        Wbrpc__Del del = WBRPC__DEL__INIT;
        del.n_keys = n;
        del.keys = keys;
        request_body(&call->body, WBRPC__REQUEST__OP_DEL, &del.base);
    }
    free(keys);
}

static void pack_entries(struct call *call, const struct placed *order, size_t n)
{
    Wbrpc__Set set = WBRPC__SET__INIT;
    Wbrpc__KeyValue *entries = malloc(n * sizeof *entries);
    set.n_entries = n;
    set.entries = malloc(n * sizeof(Wbrpc__KeyValue *));
    if (entries == NULL || set.entries == NULL) {
        call->body.failed = true;
    } else {
        for (size_t i = 0; i < n; i++) {
            const struct wbcache_item *item = order[i].item;
            wbrpc__key_value__init(&entries[i]);
            entries[i].key = pb_borrow(bytes_of(item->key, item->key_len));
            entries[i].value = pb_borrow(bytes_of(item->value, item->value_len));
            set.entries[i] = &entries[i];
        }
        request_body(&call->body, WBRPC__REQUEST__OP_SET, &set.base);
    }
    free(entries);
    free(set.entries);
}

static void set_codes(struct many *m, size_t first, size_t n, int code)
{
    for (size_t i = first; i < first + n; i++) {
        m->order[i].item->code = code;
    }
}

/* Begin the part of @n items from @first, in place @place of parts. Without memory its items say so. */
static void begin_part(struct many *m, size_t place, size_t first, size_t n)
{
    bool read = m->kind == WBCACHE_OP_GET;
    struct call *call = client_call_new(m->cache, read ? CALL_READ : CALL_WRITE, CALL_OF_BLOCKING);
    m->parts[place] = call;
    if (call == NULL) {
        set_codes(m, first, n, WBCACHE_NOMEM);
        return;
    }
    const struct wbcache_item *any = m->order[first].item;
    call->op = m->kind;
    call->slot = slot_of(bytes_of(any->key, any->key_len));
    call->n_results = n;
    call->first = first;
    call->n = n;
    call->deadline_ms = m->deadline_ms;
    if (m->kind == WBCACHE_OP_SET) {
        pack_entries(call, m->order + first, n);
    } else {
        pack_keys(call, m->kind, m->order + first, n);
    }
    if (client_call_begin(m->cache, call, client_now_ms()) != WBCACHE_OK) {
        set_codes(m, first, n, WBCACHE_NOMEM);
        client_call_free(m->cache, call);
        m->parts[place] = NULL;
    }
}

/* How many of the items from @first on belong in one request; *@bytes gets their size. */
static size_t part_length(const struct many *m, size_t first, size_t *bytes)
{
    size_t keys_max = m->kind == WBCACHE_OP_GET ? MGET_PART_KEYS : SIZE_MAX;
    size_t n = 0;
    *bytes = 0;
    while (first + n < m->n && m->order[first + n].group == m->order[first].group && n < keys_max) {
        const struct wbcache_item *item = m->order[first + n].item;
        size_t more = item->key_len + (m->kind == WBCACHE_OP_SET ? item->value_len : 0);
        if (m->kind == WBCACHE_OP_GET && n > 0 && *bytes + more > MANY_BYTES_MAX) {
            break; /* reads are split freely; a group's writes are all or nothing */
        }
        *bytes += more;
        n++;
    }
    return n;
}

static void begin_parts(struct many *m)
{
    size_t n;
    for (size_t first = 0; first < m->n; first += n) {
        size_t bytes;
        n = part_length(m, first, &bytes);
        if (m->kind != WBCACHE_OP_GET && n > 1 && (bytes > MANY_BYTES_MAX || n > LIMIT_REQUEST_KEYS)) {
            set_codes(m, first, n, WBCACHE_TOO_BIG);
            continue;
        }
        begin_part(m, m->n_parts, first, n);
        m->n_parts++;
    }
}

static void take_item(const struct call *call, const Wbrpc__Result *result, struct wbcache_item *item)
{
    item->version = result->version;
    item->code = WBCACHE_OK;
    if (call->op != WBCACHE_OP_GET) {
        return;
    }
    if (!result->found) {
        item->code = WBCACHE_NOT_FOUND;
        return;
    }
    char *copy = malloc(result->value.len + 1);
    if (copy == NULL) {
        item->code = WBCACHE_NOMEM;
        return;
    }
    if (result->value.len > 0) {
        memcpy(copy, result->value.data, result->value.len);
    }
    copy[result->value.len] = '\0';
    item->value = copy;
    item->value_len = result->value.len;
}

/* Run what was begun; halve the reads whose answer was too big for a message, and run again. */
static void run_parts(struct many *m)
{
    bool again = true;
    while (again) {
        client_run_blocking(m->cache);
        again = false;
        for (size_t i = 0, n = m->n_parts; i < n; i++) {
            struct call *call = m->parts[i];
            if (call == NULL || call->code != WBCACHE_TOO_BIG || m->kind != WBCACHE_OP_GET || call->n < 2) {
                continue;
            }
            size_t first = call->first;
            size_t half = call->n / 2;
            size_t rest = call->n - half;
            client_call_free(m->cache, call);
            begin_part(m, i, first, half);
            begin_part(m, m->n_parts++, first + half, rest);
            again = true;
        }
    }
}

static void take_parts(struct many *m)
{
    for (size_t p = 0; p < m->n_parts; p++) {
        struct call *call = m->parts[p];
        if (call == NULL) {
            continue;
        }
        int code = client_outcome(m->cache, m->what, call);
        if (code == WBCACHE_OK) {
            for (size_t i = 0; i < call->n; i++) {
                take_item(call, call->response->results[i], m->order[call->first + i].item);
            }
        } else {
            set_codes(m, call->first, call->n, code);
        }
        client_call_free(m->cache, call);
    }
}

static int many_call(
    struct wbcache *cache, const char *what, enum wbcache_op_kind kind, struct wbcache_item *items, size_t n)
{
    client_enter(cache);
    for (size_t i = 0; items != NULL && i < n; i++) {
        items[i].version = 0;
        items[i].code = WBCACHE_INVALID;
        if (kind == WBCACHE_OP_GET) {
            items[i].value = NULL;
            items[i].value_len = 0;
        }
    }
    int code = check_items(cache, what, kind, items, n);
    struct many m = {0};
    if (code == WBCACHE_OK && n > 0) {
        code = many_init(&m, cache, what, kind, items, n);
    }
    if (code == WBCACHE_OK && n > 0) {
        begin_parts(&m);
        run_parts(&m);
        take_parts(&m);
    } else {
        for (size_t i = 0; items != NULL && i < n; i++) {
            items[i].code = code;
        }
    }
    many_deinit(&m);
    for (size_t i = 0; i < n && code == WBCACHE_OK; i++) {
        code = items[i].code == WBCACHE_NOT_FOUND ? WBCACHE_OK : items[i].code;
    }
    if (code != WBCACHE_OK && cache->errmsg[0] == '\0') {
        client_fail(cache, code, "%s: %s: some items were not %s; see each item's code%s", what,
            wbcache_code_name(code), kind == WBCACHE_OP_GET ? "read" : "written",
            code == WBCACHE_TOO_BIG ? " (a group takes 4096 items and 1 MiB of keys and values)" : "");
    }
    return code;
}

int wbcache_mget(struct wbcache *cache, struct wbcache_item *items, size_t n)
{
    return many_call(cache, "mget", WBCACHE_OP_GET, items, n);
}

int wbcache_mset(struct wbcache *cache, struct wbcache_item *items, size_t n)
{
    return many_call(cache, "mset", WBCACHE_OP_SET, items, n);
}

int wbcache_mdel(struct wbcache *cache, struct wbcache_item *items, size_t n)
{
    return many_call(cache, "mdel", WBCACHE_OP_DEL, items, n);
}
