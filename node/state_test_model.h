/* The obvious model of a cache state, for state_model_test.c: arrays that are searched from end to end, and
 * databases. Each batch's commit makes a new version of the database, which gets what the batch held when it
 * began; all versions are kept, and a travel in time makes another one the present one.
 *
 * What a key's rows mean is found from the history of its writes and from the present database, never from
 * the places of the queue and the batches. Nor is it those that tell whether the database has a part of a
 * transaction only: all transactions are remembered. */
#ifndef WB_NODE_STATE_TEST_MODEL_H
#define WB_NODE_STATE_TEST_MODEL_H

#include "node/state_test_help.h"

enum {
    KEYS_MAX = 100,
    BATCHES_MAX = 8,
    VALUE_MAX = 12,
    TRANSACTION_KEYS_MAX = 4,
};

struct model_value {
    bool present;
    uint8_t type;
    uint32_t len;
    char data[VALUE_MAX];
    uint64_t version;
    uint64_t expires_at_ms;
    uint64_t index; /* of the write that made it; 0: none */
};

struct model_place {
    uint32_t key;
    uint64_t first_dirty;
    uint64_t stamp_ms;
    bool tied;                /* a transaction wrote it; in a batch: before that began */
    struct model_value taken; /* in a batch: the value that goes to the database */
};

struct model_batch {
    uint64_t id;
    bool retry;
    uint64_t first_dirty, stamp_ms; /* of its oldest place when it began */
    uint32_t n;
    struct model_place places[KEYS_MAX];
};

struct model_mark {
    uint32_t key;
    uint64_t first_dirty, stamp_ms;
    uint64_t refused_stamp_ms, refused_version;
    uint32_t attempts;
};

/* One that wrote several keys. */
struct model_transaction {
    uint64_t index;
    uint32_t n;
    uint32_t keys[TRANSACTION_KEYS_MAX];
};

/* A version of the database, named by its newest batch. */
struct model_version {
    uint64_t id;
    uint32_t before; /* the version that it came from; of the first one: itself */
    struct model_value rows[KEYS_MAX];
};

struct model_key {
    struct model_value
        newest;       /* what the last write made of it; what the database has once that was given up */
    uint64_t *writes; /* indexes of all of them */
    uint32_t n_writes, writes_cap;
    uint64_t excused; /* what was written up to here may be missing: it was counted as lost, or dropped */
    bool lost;        /* the former */
    uint64_t refused; /* the index at which it left the quarantine last, with what was written until then */
    uint64_t flushed_in, flushed_place, flushed_stamp_ms; /* retention; flushed_in 0: it is not retained */
};

struct model {
    uint32_t keys;
    uint64_t applied_index;
    uint64_t stamp_ms;
    uint64_t version_base;
    uint64_t last_batch, newest_batch;
    struct model_key key[KEYS_MAX];
    uint32_t n_queue;
    struct model_place queue[KEYS_MAX];
    uint32_t n_batches;
    struct model_batch batches[BATCHES_MAX];
    uint32_t n_marks;
    struct model_mark marks[KEYS_MAX];
    uint32_t n_versions, versions_cap, present;
    struct model_version *versions;
    uint64_t flushed_places; /* ever */
    uint64_t retention_ms, retention_bytes;
    uint64_t rewinds, lost;
    struct model_transaction *transactions;
    uint32_t n_transactions, transactions_cap;
    uint64_t recover_index; /* until F is here again, the database lacks what it had before a travel ... */
    uint64_t excused_until; /* ... and may have a part of a transaction that was written up to here */
    uint64_t waited, shorter, longer; /* because of ties: batches not begun, and begun with other rows */
};

static inline void model_init(struct model *m, uint32_t keys, uint64_t version_base)
{
    *m = (struct model){.keys = keys, .version_base = version_base, .n_versions = 1, .versions_cap = 16};
    m->versions = calloc(m->versions_cap, sizeof *m->versions);
    assert_non_null(m->versions);
}

static inline void model_deinit(struct model *m)
{
    for (uint32_t k = 0; k < m->keys; k++) {
        free(m->key[k].writes);
    }
    free(m->versions);
    free(m->transactions);
}

static inline uint32_t key_len(uint32_t key)
{
    return (uint32_t)snprintf(NULL, 0, "key-%u", key);
}

static inline struct bytes key_bytes(uint32_t key, char room[16])
{
    return bytes_of(room, (size_t)snprintf(room, 16, "key-%u", key));
}

static inline const struct model_value *model_row(const struct model *m, uint32_t key)
{
    return &m->versions[m->present].rows[key];
}

static inline int queue_find(const struct model *m, uint32_t key)
{
    for (uint32_t i = 0; i < m->n_queue; i++) {
        if (m->queue[i].key == key) {
            return (int)i;
        }
    }
    return -1;
}

static inline int mark_find(const struct model *m, uint32_t key)
{
    for (uint32_t i = 0; i < m->n_marks; i++) {
        if (m->marks[i].key == key) {
            return (int)i;
        }
    }
    return -1;
}

static inline bool in_a_batch(const struct model *m, uint32_t key)
{
    for (uint32_t b = 0; b < m->n_batches; b++) {
        for (uint32_t i = 0; i < m->batches[b].n; i++) {
            if (m->batches[b].places[i].key == key) {
                return true;
            }
        }
    }
    return false;
}

static inline bool model_dirty(const struct model *m, uint32_t key)
{
    return queue_find(m, key) >= 0 || in_a_batch(m, key) || mark_find(m, key) >= 0;
}

static inline void model_begin(struct model *m, uint64_t index, uint64_t stamp_ms)
{
    m->applied_index = index;
    m->stamp_ms = stamp_ms > m->stamp_ms ? stamp_ms : m->stamp_ms;
}

static inline void queue_insert(struct model *m, uint32_t at_place, struct model_place place)
{
    memmove(&m->queue[at_place + 1], &m->queue[at_place], (m->n_queue - at_place) * sizeof place);
    m->queue[at_place] = place;
    m->n_queue++;
}

static inline void queue_erase(struct model *m, uint32_t at_place)
{
    m->n_queue--;
    memmove(&m->queue[at_place], &m->queue[at_place + 1], (m->n_queue - at_place) * sizeof m->queue[0]);
}

static inline void mark_erase(struct model *m, uint32_t at_place)
{
    m->n_marks--;
    memmove(&m->marks[at_place], &m->marks[at_place + 1], (m->n_marks - at_place) * sizeof m->marks[0]);
}

static inline void model_write(struct model *m, uint32_t key, struct model_value value)
{
    struct model_key *k = &m->key[key];
    k->newest = value;
    if (k->n_writes == 0 || k->writes[k->n_writes - 1] != m->applied_index) {
        if (k->n_writes == k->writes_cap) {
            k->writes_cap = 2 * k->writes_cap + 8;
            k->writes = realloc(k->writes, k->writes_cap * sizeof k->writes[0]);
            assert_non_null(k->writes);
        }
        k->writes[k->n_writes++] = m->applied_index;
    }
    if (queue_find(m, key) < 0 && (mark_find(m, key) < 0 || in_a_batch(m, key))) {
        queue_insert(m, m->n_queue,
            (struct model_place){.key = key, .first_dirty = m->applied_index, .stamp_ms = m->stamp_ms});
    }
}

/* What was written last was a transaction of these keys. */
static inline void model_tie(struct model *m, const uint32_t *keys, uint32_t n)
{
    if (m->n_transactions == m->transactions_cap) {
        m->transactions_cap = 2 * m->transactions_cap + 64;
        m->transactions = realloc(m->transactions, m->transactions_cap * sizeof m->transactions[0]);
        assert_non_null(m->transactions);
    }
    struct model_transaction *t = &m->transactions[m->n_transactions++];
    *t = (struct model_transaction){.index = m->applied_index, .n = n};
    memcpy(t->keys, keys, n * sizeof keys[0]);
    for (uint32_t i = 0; i < n; i++) {
        int queued = queue_find(m, keys[i]);
        if (queued >= 0) {
            m->queue[queued].tied = true;
        }
    }
}

static inline uint64_t model_tied(const struct model *m)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < m->n_queue; i++) {
        n += m->queue[i].tied;
    }
    return n;
}

static inline uint64_t weight(const struct model *m, uint32_t key)
{
    return key_len(key) + m->key[key].newest.len;
}

static inline void batch_push(struct model *m, struct model_batch *b, struct model_place place)
{
    place.taken = m->key[place.key].newest;
    if (b->n == 0 || place.first_dirty < b->first_dirty) {
        b->first_dirty = place.first_dirty;
        b->stamp_ms = place.stamp_ms;
    }
    b->places[b->n++] = place;
}

static inline struct model_batch *batch_add(struct model *m, bool retry)
{
    struct model_batch *b = &m->batches[m->n_batches++];
    b->id = m->newest_batch = m->applied_index;
    b->retry = retry;
    b->n = 0;
    return b;
}

/* The first @n of the queue. */
static inline bool within(const struct model *m, uint32_t n, uint32_t rows_max, uint64_t bytes_max)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        bytes += weight(m, m->queue[i].key);
    }
    return n <= rows_max && (n <= 1 || bytes <= bytes_max);
}

/* May a transaction have written one of the first @n of the queue and one of the others? No later one than
 * the last write of the former, and no earlier one than the first write of the latter. */
static inline bool cuts(const struct model *m, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = n; k < m->n_queue; k++) {
            if (m->queue[i].tied && m->queue[k].first_dirty <= m->key[m->queue[i].key].newest.index) {
                return true;
            }
        }
    }
    return false;
}

/* How many rows the limits alone allow. */
static inline uint32_t plain_rows(const struct model *m, uint32_t rows_max, uint64_t bytes_max)
{
    uint32_t n = 0;
    while (n < m->n_queue && !in_a_batch(m, m->queue[n].key) && within(m, n + 1, rows_max, bytes_max)) {
        n++;
    }
    return n;
}

/* The most rows within the limits that cut no transaction; if there are none, the fewest beyond. */
static inline uint32_t whole_rows(struct model *m, uint32_t rows_max, uint64_t bytes_max)
{
    uint32_t plain = plain_rows(m, rows_max, bytes_max), n = plain;
    if (plain == 0 || model_tied(m) == 0) {
        return plain;
    }
    if (m->n_batches > 0) {
        m->waited++;
        return 0;
    }
    while (n > 0 && cuts(m, n)) {
        n--;
    }
    m->shorter += n > 0 && n < plain;
    if (n == 0) {
        for (n = plain; cuts(m, n); n++) {
        }
        m->longer++;
    }
    return n;
}

static inline bool model_flush_begin(struct model *m, uint32_t rows_max, uint64_t bytes_max)
{
    uint32_t n = whole_rows(m, rows_max, bytes_max);
    if (n == 0) {
        return false;
    }
    struct model_batch *b = batch_add(m, false);
    for (uint32_t i = 0; i < n; i++) {
        batch_push(m, b, m->queue[i]);
    }
    m->n_queue -= n;
    memmove(&m->queue[0], &m->queue[n], m->n_queue * sizeof m->queue[0]);
    return true;
}

static inline bool model_flush_retry(struct model *m, const uint32_t *keys, uint32_t n)
{
    struct model_batch *b = NULL;
    for (uint32_t i = 0; i < n; i++) {
        int mark = mark_find(m, keys[i]);
        if (mark < 0 || in_a_batch(m, keys[i])) {
            continue;
        }
        b = b == NULL ? batch_add(m, true) : b;
        batch_push(m, b,
            (struct model_place){.key = keys[i],
                .first_dirty = m->marks[mark].first_dirty,
                .stamp_ms = m->marks[mark].stamp_ms});
    }
    return b != NULL;
}

/* The database commits @b on top of version @on: the new version. */
static inline uint32_t model_commit(struct model *m, uint32_t on, const struct model_batch *b)
{
    if (m->n_versions == m->versions_cap) {
        m->versions_cap *= 2;
        m->versions = realloc(m->versions, m->versions_cap * sizeof m->versions[0]);
        assert_non_null(m->versions);
    }
    struct model_version *v = &m->versions[m->n_versions];
    *v = m->versions[on];
    v->id = b->id;
    v->before = on;
    for (uint32_t i = 0; i < b->n; i++) {
        v->rows[b->places[i].key] = b->places[i].taken;
    }
    return m->n_versions++;
}

/* Did version @of come from @v, or is it the same? */
static inline bool came_from(const struct model *m, uint32_t of, uint32_t v)
{
    while (of > v) {
        of = m->versions[of].before;
    }
    return of == v;
}

/* The key that was flushed longest ago of those that are retained; KEYS_MAX: none. */
static inline uint32_t oldest_retained(const struct model *m)
{
    uint32_t oldest = KEYS_MAX;
    for (uint32_t k = 0; k < m->keys; k++) {
        if (m->key[k].flushed_in != 0 &&
            (oldest == KEYS_MAX || m->key[k].flushed_place < m->key[oldest].flushed_place)) {
            oldest = k;
        }
    }
    return oldest;
}

static inline uint64_t model_retained_bytes(const struct model *m)
{
    uint64_t bytes = 0;
    for (uint32_t k = 0; k < m->keys; k++) {
        bytes += m->key[k].flushed_in != 0 ? weight(m, k) + STATE_RETAINED_BYTES : 0;
    }
    return bytes;
}

static inline bool model_flushed(struct model *m, uint64_t batch, uint64_t predecessor)
{
    if (m->n_batches == 0 || m->batches[0].id != batch || m->last_batch != predecessor) {
        return false;
    }
    m->present = model_commit(m, m->present, &m->batches[0]);
    for (uint32_t i = 0; i < m->batches[0].n; i++) {
        uint32_t key = m->batches[0].places[i].key;
        int mark = mark_find(m, key);
        if (mark >= 0) {
            mark_erase(m, (uint32_t)mark);
            m->key[key].refused = m->applied_index;
        }
        m->key[key].flushed_in = batch;
        m->key[key].flushed_place = m->flushed_places++;
        m->key[key].flushed_stamp_ms = m->stamp_ms;
    }
    m->last_batch = batch;
    m->n_batches--;
    memmove(&m->batches[0], &m->batches[1], m->n_batches * sizeof m->batches[0]);
    for (uint32_t k = oldest_retained(m);
         k < KEYS_MAX && (m->stamp_ms - m->key[k].flushed_stamp_ms > m->retention_ms ||
                             model_retained_bytes(m) > m->retention_bytes);
         k = oldest_retained(m)) {
        m->key[k].flushed_in = 0;
    }
    return true;
}

static inline bool model_flush_abort(struct model *m, uint64_t from_batch)
{
    bool any = false;
    while (m->n_batches > 0 && m->batches[m->n_batches - 1].id >= from_batch) {
        struct model_batch *b = &m->batches[--m->n_batches];
        for (uint32_t i = b->n; i > 0; i--) {
            struct model_place place = b->places[i - 1];
            int queued = queue_find(m, place.key);
            if (queued >= 0) {
                place.tied = place.tied || m->queue[queued].tied;
                queue_erase(m, (uint32_t)queued);
            }
            if (mark_find(m, place.key) < 0) {
                queue_insert(m, 0, place);
            }
        }
        any = true;
    }
    return any;
}

static inline bool model_quarantine(struct model *m, uint64_t batch, uint32_t key)
{
    for (uint32_t b = 0; b < m->n_batches; b++) {
        struct model_batch *at = &m->batches[b];
        for (uint32_t i = 0; at->id == batch && i < at->n; i++) {
            if (at->places[i].key != key) {
                continue;
            }
            struct model_mark mark = {.key = key,
                .first_dirty = at->places[i].first_dirty,
                .stamp_ms = at->places[i].stamp_ms,
                .refused_stamp_ms = m->stamp_ms,
                .refused_version = at->places[i].taken.version,
                .attempts = 1};
            int before = mark_find(m, key), queued = queue_find(m, key);
            if (before >= 0) {
                mark.attempts = m->marks[before].attempts + 1;
                mark_erase(m, (uint32_t)before);
            }
            if (queued >= 0) {
                mark.refused_version = 0;
                queue_erase(m, (uint32_t)queued);
            }
            m->marks[m->n_marks++] = mark;
            at->n--;
            memmove(&at->places[i], &at->places[i + 1], (at->n - i) * sizeof at->places[0]);
            return true;
        }
    }
    return false;
}

static inline bool model_drop(struct model *m, uint32_t key, uint64_t version)
{
    int mark = mark_find(m, key);
    if (mark < 0 || in_a_batch(m, key) || m->key[key].newest.version != version) {
        return false;
    }
    mark_erase(m, (uint32_t)mark);
    m->key[key].flushed_in = 0;
    m->key[key].excused = m->applied_index;
    m->key[key].lost = false;
    m->key[key].newest = *model_row(m, key);
    return true;
}

/* Keys of which the present database has less than another one had. */
static inline uint64_t model_missing(const struct model *m)
{
    uint64_t n = 0;
    for (uint32_t k = 0; k < m->keys; k++) {
        n += m->key[k].lost && model_row(m, k)->index < m->key[k].excused && !model_dirty(m, k);
    }
    return n;
}

/* Another version is the present one. Left to the caller: the queue, which must have got the keys for which
 * *@again is set. Returns how many keys the database has lost and memory does not have. */
static inline uint64_t model_travel(struct model *m, uint32_t to, bool again[KEYS_MAX])
{
    model_flush_abort(m, 0);
    uint64_t lost = 0;
    uint32_t from = m->present;
    m->present = to;
    for (uint32_t k = 0; k < m->keys; k++) {
        struct model_key *key = &m->key[k];
        bool undone = key->flushed_in > m->versions[to].id;
        again[k] = undone && mark_find(m, k) < 0;
        key->flushed_in = undone ? 0 : key->flushed_in;
        const struct model_value *was = &m->versions[from].rows[k], *is = &m->versions[to].rows[k];
        if (!again[k] && !model_dirty(m, k) && is->index != was->index) {
            assert_int_equal(key->flushed_in, 0); /* a copy that is remembered must be the database's */
            key->newest = *is;
            if (is->index < was->index) {
                key->excused = was->index > key->excused ? was->index : key->excused;
                key->lost = true;
                lost++;
            }
        }
    }
    m->excused_until = m->applied_index;
    m->rewinds += m->versions[to].id < m->last_batch;
    m->last_batch = m->versions[to].id;
    m->lost += lost;
    return lost;
}

/* F as the places say it: those of retries don't count. */
static inline uint64_t model_flushed_index(const struct model *m)
{
    for (uint32_t b = 0; b < m->n_batches; b++) {
        if (!m->batches[b].retry && m->batches[b].n > 0) {
            return m->batches[b].places[0].first_dirty - 1;
        }
    }
    return m->n_queue > 0 ? m->queue[0].first_dirty - 1 : m->applied_index;
}

/* F by its meaning: before the first write that the present database neither has nor has superseded, and that
 * is neither given up nor waits in quarantine. (A key that was written while it is tried again is queued like
 * any other.) */
static inline uint64_t model_true_index(const struct model *m)
{
    uint64_t f = m->applied_index;
    for (uint32_t k = 0; k < m->keys; k++) {
        const struct model_key *key = &m->key[k];
        int queued = queue_find(m, k);
        if (mark_find(m, k) >= 0) {
            f = queued >= 0 && m->queue[queued].first_dirty <= f ? m->queue[queued].first_dirty - 1 : f;
            continue;
        }
        uint64_t has = model_row(m, k)->index > key->excused ? model_row(m, k)->index : key->excused;
        for (uint32_t i = key->n_writes; i > 0 && key->writes[i - 1] > has; i--) {
            f = key->writes[i - 1] <= f ? key->writes[i - 1] - 1 : f;
        }
    }
    return f;
}

/* Is nothing promised of what @t wrote of @key? It is or was in quarantine since, or was given up. */
static inline bool model_excused(const struct model *m, const struct model_transaction *t, uint32_t key)
{
    const struct model_key *k = &m->key[key];
    return mark_find(m, key) >= 0 || k->refused >= t->index || k->excused >= t->index;
}

/* Has the present database one row of @t and lacks another? */
static inline bool model_shows_half(const struct model *m, const struct model_transaction *t)
{
    uint32_t has = 0, lacks = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        bool written = model_row(m, t->keys[i])->index >= t->index;
        bool excused = model_excused(m, t, t->keys[i]);
        has += written && !excused;
        lacks += !written && !excused;
    }
    return has > 0 && lacks > 0;
}

/* After a travel, what was written before is judged again when F is where it was. */
static inline void model_judge(struct model *m)
{
    if (model_flushed_index(m) >= m->recover_index) {
        m->excused_until = 0;
    }
    for (uint32_t i = 0; i < m->n_transactions; i++) {
        const struct model_transaction *t = &m->transactions[i];
        if (t->index > m->excused_until && model_shows_half(m, t)) {
            fail_msg("the database has a part of the transaction of %" PRIu64 " only", t->index);
        }
    }
}

#endif
