/* Walking over keys: SCAN, KEYS, RANDOMKEY, DBSIZE, CLUSTER COUNTKEYSINSLOT and GETKEYSINSLOT. They see what
 * is in this node's memory: of the groups that it leads, or of all groups for a client that said READONLY. */
#include <stdio.h>
#include <string.h>

#include "node/redis/glob.h"
#include "node/redis/local.h"
#include "node/redis/local_util.h"
#include "node/redis/number.h"
#include "proto/slot.h"
#include "proto/value_type.h"

enum {
    /* One step of a SCAN looks at no more, whatever COUNT says: the node has other work in this turn. */
    SCAN_LOOKS_MAX = LIMIT_SCAN_LOOKS,
    /* What looks at all keys in one go is refused when there are more: the node does nothing else meanwhile.
     * 0.3 to 0.6 us of CPU a key were measured with half a million, so this stays well within raft's election
     * timeout. */
    ALL_KEYS_MAX = 200000,
    /* What all of their names may be. */
    REPLY_BYTES_MAX = 32 * 1024 * 1024,
};

/* What a walk collects: the keys' replies, to be put behind the array's length. */
struct walk {
    const struct bytes *pattern; /* NULL: all */
    int type;                    /* enum value_type; -1: all; -2: none */
    int slot;                    /* -1: all */
    uint64_t most;               /* collect so many */
    uint64_t seen;               /* keys, whether collected or not */
    uint64_t n;
    uint64_t steps; /* that the pattern may still cost */
    bool count_only;
    struct resp_writer keys;
    struct buf replies;
};

static void walk_init(struct walk *walk, unsigned protocol)
{
    *walk = (struct walk){.type = -1, .slot = -1, .most = UINT64_MAX, .steps = REDIS_GLOB_STEPS_MAX};
    buf_init(&walk->replies);
    walk->keys = (struct resp_writer){.out = &walk->replies, .protocol = protocol};
}

static void visit_key(void *data, struct bytes key, uint8_t type)
{
    struct walk *walk = data;
    walk->seen++;
    if (walk->n >= walk->most || (walk->type != -1 && walk->type != type) ||
        (walk->slot != -1 && walk->slot != slot_of(key)) ||
        (walk->pattern != NULL && !redis_glob_within(*walk->pattern, key, &walk->steps))) {
        return;
    }
    walk->n++;
    if (!walk->count_only && walk->replies.len <= REPLY_BYTES_MAX) {
        resp_bulk(&walk->keys, key);
    }
}

static void reply_walk(struct redis_local_call *c, struct walk *walk)
{
    if (walk->steps == 0 || walk->replies.len > REPLY_BYTES_MAX) {
        resp_error(c->out, walk->steps == 0 ? redis_error_glob : "ERR the reply would be too long: use SCAN");
        buf_deinit(&walk->replies);
        return;
    }
    resp_array(c->out, walk->n);
    buf_append(c->out->out, walk->replies.data, walk->replies.len);
    c->out->out->failed = c->out->out->failed || walk->replies.failed;
    buf_deinit(&walk->replies);
}

/* Over all keys. False: there are too many, and the error is said. */
static bool walk_all(struct redis_local_call *c, struct walk *walk, bool all_groups)
{
    if (c->view->key_count(c->view->data, all_groups) > ALL_KEYS_MAX) {
        resp_error_of(c->out, "ERR too many keys to look at all of them at once (more than %d): use SCAN",
            ALL_KEYS_MAX);
        return false;
    }
    uint64_t cursor = 0;
    do {
        cursor = c->view->scan(c->view->data, cursor, SCAN_LOOKS_MAX, all_groups, visit_key, walk);
    } while (cursor != 0 && walk->n < walk->most && walk->steps > 0 && walk->replies.len <= REPLY_BYTES_MAX);
    return true;
}

/* As strtoul in Redis takes it: a sign, and 64 bits. (A minus turns the number round; no cursor is such a
 * one.) */
static bool parse_cursor(struct bytes text, uint64_t *out)
{
    size_t i = 0;
    uint64_t number = 0;
    bool minus = text.len > 0 && text.data[0] == '-';
    if (minus || (text.len > 0 && text.data[0] == '+')) {
        i = 1;
        if (text.len == 1) {
            return false;
        }
    }
    for (; i < text.len; i++) {
        uint8_t digit = (uint8_t)(text.data[i] - '0');
        if (digit > 9 || number > (UINT64_MAX - digit) / 10) {
            return false;
        }
        number = number * 10 + digit;
    }
    *out = minus ? 0 - number : number;
    return true;
}

static int type_of_word(struct bytes word)
{
    return redis_word_is(word, "string") ? VALUE_STRING : redis_word_is(word, "hash") ? VALUE_HASH : -2;
}

/* False: the error is said. */
static bool parse_scan(struct redis_local_call *c, struct walk *walk, uint32_t *looks)
{
    *looks = 10;
    for (uint32_t i = 2; i < c->n; i += 2) {
        bool more = i + 1 < c->n;
        if (more && redis_word_is(c->args[i], "count")) {
            int64_t count;
            if (!redis_parse_integer(c->args[i + 1], &count)) {
                resp_error(c->out, redis_error_integer);
                return false;
            }
            if (count < 1) {
                resp_error(c->out, redis_error_syntax);
                return false;
            }
            *looks = count < SCAN_LOOKS_MAX ? (uint32_t)count : SCAN_LOOKS_MAX;
        } else if (more && redis_word_is(c->args[i], "match")) {
            walk->pattern = &c->args[i + 1];
        } else if (more && redis_word_is(c->args[i], "type")) {
            walk->type = type_of_word(c->args[i + 1]);
        } else {
            resp_error(c->out, redis_error_syntax);
            return false;
        }
    }
    return true;
}

void redis_local_scan(struct redis_local_call *c)
{
    struct walk walk;
    uint64_t cursor;
    uint32_t looks;
    if (!parse_cursor(c->args[1], &cursor)) {
        resp_error(c->out, "ERR invalid cursor");
        return;
    }
    walk_init(&walk, c->out->protocol);
    if (!parse_scan(c, &walk, &looks)) {
        return;
    }
    /* COUNT is of keys; the node's tables have empty places, too, so that a step of few looks would often
     * find nothing. It goes on until it saw so many keys, within its bound. */
    uint32_t left = SCAN_LOOKS_MAX;
    do {
        uint32_t step = looks - (uint32_t)walk.seen < left ? looks - (uint32_t)walk.seen : left;
        cursor = c->view->scan(c->view->data, cursor, step, c->client->readonly, visit_key, &walk);
        left -= step;
    } while (cursor != 0 && walk.seen < looks && left > 0 && walk.steps > 0);
    if (walk.steps == 0) {
        reply_walk(c, &walk); /* which says so */
        return;
    }
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)cursor);
    resp_array(c->out, 2);
    resp_text(c->out, text);
    reply_walk(c, &walk);
}

void redis_local_keys(struct redis_local_call *c)
{
    struct walk walk;
    walk_init(&walk, c->out->protocol);
    walk.pattern = &c->args[1];
    if (walk_all(c, &walk, c->client->readonly)) {
        reply_walk(c, &walk);
    }
}

/* ---- RANDOMKEY ---- */

struct pick {
    struct buf key; /* the one that is picked so far */
    uint64_t seen, random;
};

/* The n-th key that is seen replaces the one before with a chance of 1/n, so that each of them is as likely.
 */
static void visit_for_pick(void *data, struct bytes key, uint8_t type)
{
    struct pick *pick = data;
    (void)type;
    pick->random = pick->random * 6364136223846793005U + 1442695040888963407U;
    pick->seen++;
    if ((pick->random >> 33) % pick->seen == 0) {
        buf_clear(&pick->key);
        buf_append(&pick->key, key.data, key.len);
    }
}

void redis_local_randomkey(struct redis_local_call *c)
{
    enum { LOOKS = 64 };
    struct pick pick = {.random = c->random};
    buf_init(&pick.key);
    bool all = c->client->readonly;
    /* From anywhere; behind the last key the walk begins again. */
    c->view->scan(c->view->data, c->random, LOOKS, all, visit_for_pick, &pick);
    uint64_t cursor = 0;
    while (pick.seen == 0) {
        cursor = c->view->scan(c->view->data, cursor, LOOKS, all, visit_for_pick, &pick);
        if (cursor == 0) {
            break;
        }
    }
    if (pick.seen > 0) {
        resp_bulk(c->out, buf_bytes(&pick.key));
    } else {
        resp_null(c->out);
    }
    buf_deinit(&pick.key);
}

void redis_local_dbsize(struct redis_local_call *c)
{
    resp_integer(c->out, (int64_t)c->view->key_count(c->view->data, c->client->readonly));
}

/* ---- Keys of a slot ---- */

void redis_local_cluster_countkeysinslot(struct redis_local_call *c)
{
    struct walk walk;
    int64_t slot;
    if (!redis_parse_integer(c->args[2], &slot)) {
        resp_error(c->out, redis_error_integer);
        return;
    }
    if (slot < 0 || slot >= SLOT_COUNT) {
        resp_error(c->out, "ERR Invalid slot");
        return;
    }
    walk_init(&walk, c->out->protocol);
    walk.slot = (int)slot;
    walk.count_only = true;
    if (walk_all(c, &walk, true)) {
        resp_integer(c->out, (int64_t)walk.n);
    }
    buf_deinit(&walk.replies);
}

void redis_local_cluster_getkeysinslot(struct redis_local_call *c)
{
    struct walk walk;
    int64_t slot, most;
    if (!redis_parse_integer(c->args[2], &slot) || !redis_parse_integer(c->args[3], &most)) {
        resp_error(c->out, redis_error_integer);
        return;
    }
    if (slot < 0 || slot >= SLOT_COUNT || most < 0) {
        resp_error(c->out, "ERR Invalid slot or number of keys");
        return;
    }
    walk_init(&walk, c->out->protocol);
    walk.slot = (int)slot;
    walk.most = (uint64_t)most;
    if (walk_all(c, &walk, true)) {
        reply_walk(c, &walk);
    }
}
