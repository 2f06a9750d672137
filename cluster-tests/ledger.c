#include "cluster-tests/ledger.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

struct history {
    uint64_t version;
    uint64_t acknowledged_ms;
};

struct ledger_entry {
    uint64_t version; /* newest acknowledged, 0: none */
    struct mark mark; /* of that version */
    struct mark *unknown;
    uint32_t unknown_count;
    struct history *history; /* by version; [history_first, history_count) is alive */
    size_t history_first;
    size_t history_count;
    size_t history_cap;
};

struct ledger {
    char prefix[32];
    uint32_t n_keys;
    bool keeps_history;
    pthread_mutex_t mutex; /* guards all that follows */
    struct ledger_entry *entries;
    uint64_t sequence;
    struct ledger_totals totals;
    char violation[256];
};

struct ledger *ledger_create(const char *prefix, uint32_t n_keys)
{
    struct ledger *l = xcalloc(1, sizeof *l);
    snprintf(l->prefix, sizeof l->prefix, "%s", prefix);
    l->n_keys = n_keys;
    l->entries = xcalloc(n_keys, sizeof *l->entries);
    pthread_mutex_init(&l->mutex, NULL);
    return l;
}

void ledger_destroy(struct ledger *l)
{
    if (l == NULL) {
        return;
    }
    for (uint32_t i = 0; i < l->n_keys; i++) {
        free(l->entries[i].unknown);
        free(l->entries[i].history);
    }
    pthread_mutex_destroy(&l->mutex);
    free(l->entries);
    free(l);
}

uint32_t ledger_keys(const struct ledger *l)
{
    return l->n_keys;
}

size_t ledger_key(const struct ledger *l, uint32_t key, char out[LEDGER_KEY_BYTES])
{
    return (size_t)snprintf(out, LEDGER_KEY_BYTES, "%s:%08" PRIu32, l->prefix, key);
}

int64_t ledger_key_number(const struct ledger *l, struct bytes name)
{
    size_t prefix_len = strlen(l->prefix);
    if (name.len != prefix_len + 9 || memcmp(name.data, l->prefix, prefix_len) != 0 ||
        name.data[prefix_len] != ':') {
        return -1;
    }
    uint32_t number = 0;
    for (size_t i = prefix_len + 1; i < name.len; i++) {
        if (name.data[i] < '0' || name.data[i] > '9') {
            return -1;
        }
        number = number * 10 + (uint32_t)(name.data[i] - '0');
    }
    return number < l->n_keys ? (int64_t)number : -1;
}

struct mark ledger_mark(struct ledger *l, uint32_t thread, uint64_t now_ms)
{
    pthread_mutex_lock(&l->mutex);
    struct mark mark = {.thread = thread, .sequence = ++l->sequence, .written_ms = now_ms};
    pthread_mutex_unlock(&l->mutex);
    return mark;
}

void ledger_value(const struct ledger *l, uint32_t key, struct mark mark, char *out, size_t len)
{
    CHECK(len >= LEDGER_VALUE_BYTES_MIN);
    char name[LEDGER_KEY_BYTES];
    ledger_key(l, key, name);
    char head[LEDGER_VALUE_BYTES_MIN];
    int head_len =
        snprintf(head, sizeof head, "key=%s thread=%" PRIu32 " sequence=%" PRIu64 " ms=%" PRIu64 ";", name,
            mark.thread, mark.sequence, mark.written_ms);
    CHECK(head_len > 0 && (size_t)head_len < sizeof head);
    memcpy(out, head, (size_t)head_len);
    for (size_t i = (size_t)head_len; i < len; i++) {
        out[i] = (char)('a' + (mark.sequence + i) % 26);
    }
}

bool ledger_value_mark(const struct ledger *l, uint32_t key, struct bytes value, struct mark *out)
{
    if (value.len < LEDGER_VALUE_BYTES_MIN) {
        return false;
    }
    char head[LEDGER_VALUE_BYTES_MIN + 1];
    memcpy(head, value.data, LEDGER_VALUE_BYTES_MIN);
    head[LEDGER_VALUE_BYTES_MIN] = '\0';
    struct mark mark;
    const char *thread = strstr(head, " thread=");
    if (thread == NULL || sscanf(thread, " thread=%" SCNu32 " sequence=%" SCNu64 " ms=%" SCNu64 ";",
                              &mark.thread, &mark.sequence, &mark.written_ms) != 3) {
        return false;
    }
    char *expected = xmalloc(value.len);
    ledger_value(l, key, mark, expected, value.len);
    bool same = memcmp(expected, value.data, value.len) == 0;
    free(expected);
    if (same) {
        *out = mark;
    }
    return same;
}

void ledger_keep_history(struct ledger *l)
{
    l->keeps_history = true;
}

uint64_t ledger_version(struct ledger *l, uint32_t key)
{
    pthread_mutex_lock(&l->mutex);
    uint64_t version = l->entries[key].version;
    pthread_mutex_unlock(&l->mutex);
    return version;
}

static void violate(struct ledger *l, uint32_t key, const char *what, uint64_t version, uint64_t other)
{
    if (l->totals.violations++ == 0) {
        snprintf(l->violation, sizeof l->violation,
            "%s:%08" PRIu32 ": %s: version %" PRIu64 ", other %" PRIu64, l->prefix, key, what, version,
            other);
    }
}

/* Answers of several connections come nearly in the order of versions: look for the place from the end. */
static void history_add(struct ledger_entry *e, uint64_t version, uint64_t now_ms)
{
    if (e->history_count == e->history_cap) {
        size_t alive = e->history_count - e->history_first;
        if (e->history_first > e->history_cap / 2) {
            memmove(e->history, e->history + e->history_first, alive * sizeof *e->history);
            e->history_first = 0;
            e->history_count = alive;
        } else {
            e->history_cap = e->history_cap == 0 ? 64 : e->history_cap * 2;
            e->history = xrealloc(e->history, e->history_cap * sizeof *e->history);
        }
    }
    size_t place = e->history_count++;
    while (place > e->history_first && e->history[place - 1].version > version) {
        e->history[place] = e->history[place - 1];
        place--;
    }
    e->history[place] = (struct history){.version = version, .acknowledged_ms = now_ms};
}

void ledger_acknowledge(struct ledger *l, uint32_t key, struct mark mark, uint64_t version,
    uint64_t version_before, uint64_t now_ms)
{
    pthread_mutex_lock(&l->mutex);
    struct ledger_entry *e = &l->entries[key];
    l->totals.acknowledged++;
    if (version <= version_before) {
        violate(l, key, "a write got no higher version than one acknowledged before it was sent", version,
            version_before);
    } else if (version == e->version) {
        violate(l, key, "two writes got the same version", version, e->version);
    }
    if (l->keeps_history) {
        history_add(e, version, now_ms);
    }
    if (version > e->version) {
        if (e->version == 0) {
            l->totals.keys_written++;
        }
        e->version = version;
        e->mark = mark;
    }
    pthread_mutex_unlock(&l->mutex);
}

void ledger_unknown(struct ledger *l, uint32_t key, struct mark mark)
{
    pthread_mutex_lock(&l->mutex);
    struct ledger_entry *e = &l->entries[key];
    l->totals.unknown++;
    e->unknown = xrealloc(e->unknown, (e->unknown_count + 1) * sizeof *e->unknown);
    e->unknown[e->unknown_count++] = mark;
    pthread_mutex_unlock(&l->mutex);
}

void ledger_refuse(struct ledger *l, uint32_t key, struct mark mark)
{
    pthread_mutex_lock(&l->mutex);
    (void)key;
    (void)mark;
    l->totals.refused++;
    pthread_mutex_unlock(&l->mutex);
}

static bool is_unknown_write(const struct ledger_entry *e, struct mark mark)
{
    for (uint32_t i = 0; i < e->unknown_count; i++) {
        if (e->unknown[i].sequence == mark.sequence) {
            return true;
        }
    }
    return false;
}

static enum ledger_verdict judge_missing(const struct ledger_entry *e, char *why, size_t why_len)
{
    if (e->version == 0) {
        return LEDGER_NEWEST;
    }
    snprintf(why, why_len, "nothing is there, but version %" PRIu64 " (write %" PRIu64 ") was acknowledged",
        e->version, e->mark.sequence);
    return LEDGER_LOST;
}

static enum ledger_verdict judge_found(
    const struct ledger_entry *e, uint64_t version, struct mark mark, char *why, size_t why_len)
{
    if (version < e->version) {
        snprintf(why, why_len,
            "version %" PRIu64 " (write %" PRIu64 ") is there, but version %" PRIu64 " (write %" PRIu64
            ") was acknowledged",
            version, mark.sequence, e->version, e->mark.sequence);
        return LEDGER_LOST;
    }
    if (version == e->version) {
        if (mark.sequence == e->mark.sequence) {
            return LEDGER_NEWEST;
        }
        snprintf(why, why_len,
            "version %" PRIu64 " is write %" PRIu64 ", but it was acknowledged to write %" PRIu64, version,
            mark.sequence, e->mark.sequence);
        return LEDGER_WRONG;
    }
    if (is_unknown_write(e, mark)) {
        return LEDGER_UNKNOWN;
    }
    snprintf(why, why_len,
        "version %" PRIu64 " (write %" PRIu64
        ") is there: neither acknowledged nor unknown; the newest acknowledged is %" PRIu64 " (write %" PRIu64
        ")",
        version, mark.sequence, e->version, e->mark.sequence);
    return LEDGER_WRONG;
}

enum ledger_verdict ledger_judge(struct ledger *l, uint32_t key, bool found, uint64_t version,
    struct bytes value, char *why, size_t why_len)
{
    char unused[256];
    if (why == NULL) {
        why = unused;
        why_len = sizeof unused;
    }
    struct mark mark = {0};
    if (found && !ledger_value_mark(l, key, value, &mark)) {
        snprintf(why, why_len, "%zu bytes that are no value of this key are there", value.len);
        return LEDGER_WRONG;
    }
    pthread_mutex_lock(&l->mutex);
    const struct ledger_entry *e = &l->entries[key];
    enum ledger_verdict verdict =
        found ? judge_found(e, version, mark, why, why_len) : judge_missing(e, why, why_len);
    pthread_mutex_unlock(&l->mutex);
    return verdict;
}

uint64_t ledger_oldest_missing_ms(struct ledger *l, uint32_t key, uint64_t version)
{
    CHECK(l->keeps_history);
    pthread_mutex_lock(&l->mutex);
    struct ledger_entry *e = &l->entries[key];
    while (e->history_first < e->history_count && e->history[e->history_first].version <= version) {
        e->history_first++;
    }
    uint64_t oldest = e->history_first < e->history_count ? e->history[e->history_first].acknowledged_ms : 0;
    pthread_mutex_unlock(&l->mutex);
    return oldest;
}

struct ledger_totals ledger_totals(struct ledger *l)
{
    pthread_mutex_lock(&l->mutex);
    struct ledger_totals totals = l->totals;
    pthread_mutex_unlock(&l->mutex);
    return totals;
}

const char *ledger_violation(struct ledger *l)
{
    return l->violation; /* written once, before the count that makes a caller look */
}
