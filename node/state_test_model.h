/* The obvious model of a cache state, for state_model_test.c: arrays that are searched from end to end, and a
 * database that gets what each flushed batch held when it began. */
#ifndef WB_NODE_STATE_TEST_MODEL_H
#define WB_NODE_STATE_TEST_MODEL_H

#include "node/state_test_help.h"

enum {
    KEYS_MAX = 100,
    QUEUE_MAX = KEYS_MAX,
    BATCHES_MAX = 8,
    VALUE_MAX = 12,
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
    struct model_value taken; /* in a batch: the value that goes to the database */
};

struct model_batch {
    uint64_t id;
    uint32_t n;
    struct model_place places[KEYS_MAX];
};

struct model {
    uint32_t keys;
    uint64_t applied_index;
    uint64_t stamp_ms;
    uint64_t version_base;
    uint64_t last_batch;
    struct model_value newest[KEYS_MAX];   /* by key: what the last write made of it */
    struct model_value database[KEYS_MAX]; /* by key: what was flushed last */
    uint64_t first_unflushed[KEYS_MAX]; /* by key: index of the first write after the one in the database; 0:
                                           none */
    uint64_t next_unflushed[KEYS_MAX];  /* the same, once the batch in flight that holds the key is flushed */
    uint32_t n_queue;
    struct model_place queue[QUEUE_MAX];
    uint32_t n_batches;
    struct model_batch batches[BATCHES_MAX];
};

static inline uint32_t key_len(uint32_t key)
{
    return (uint32_t)snprintf(NULL, 0, "key-%u", key);
}

static inline struct bytes key_bytes(uint32_t key, char room[16])
{
    return bytes_of(room, (size_t)snprintf(room, 16, "key-%u", key));
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
    return queue_find(m, key) >= 0 || in_a_batch(m, key);
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

static inline void model_write(struct model *m, uint32_t key, struct model_value value)
{
    m->newest[key] = value;
    if (m->first_unflushed[key] == 0) {
        m->first_unflushed[key] = m->applied_index;
    }
    if (m->next_unflushed[key] == 0) {
        m->next_unflushed[key] = m->applied_index;
    }
    if (queue_find(m, key) < 0) {
        queue_insert(m, m->n_queue,
            (struct model_place){.key = key, .first_dirty = m->applied_index, .stamp_ms = m->stamp_ms});
    }
}

static inline uint64_t weight(const struct model *m, uint32_t key)
{
    return key_len(key) + m->newest[key].len;
}

static inline bool model_flush_begin(struct model *m, uint32_t rows_max, uint64_t bytes_max)
{
    uint32_t n = 0;
    uint64_t bytes = 0;
    while (n < m->n_queue && n < rows_max && !in_a_batch(m, m->queue[n].key)) {
        bytes += weight(m, m->queue[n].key);
        if (n > 0 && bytes > bytes_max) {
            break;
        }
        n++;
    }
    if (n == 0) {
        return false;
    }
    struct model_batch *b = &m->batches[m->n_batches++];
    b->id = m->applied_index;
    b->n = n;
    for (uint32_t i = 0; i < n; i++) {
        b->places[i] = m->queue[i];
        b->places[i].taken = m->newest[m->queue[i].key];
        m->next_unflushed[m->queue[i].key] = 0; /* what comes from now on is not in this batch */
    }
    m->n_queue -= n;
    memmove(&m->queue[0], &m->queue[n], m->n_queue * sizeof m->queue[0]);
    return true;
}

static inline bool model_flushed(struct model *m, uint64_t batch, uint64_t predecessor)
{
    if (m->n_batches == 0 || m->batches[0].id != batch || m->last_batch != predecessor) {
        return false;
    }
    for (uint32_t i = 0; i < m->batches[0].n; i++) {
        struct model_place *place = &m->batches[0].places[i];
        m->database[place->key] = place->taken;
        m->first_unflushed[place->key] = m->next_unflushed[place->key];
    }
    m->last_batch = batch;
    m->n_batches--;
    memmove(&m->batches[0], &m->batches[1], m->n_batches * sizeof m->batches[0]);
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
                queue_erase(m, (uint32_t)queued);
            }
            queue_insert(m, 0, place);
            m->next_unflushed[place.key] = m->first_unflushed[place.key];
        }
        any = true;
    }
    return any;
}

/* F by its meaning: before the first write that the database neither has nor has superseded. */
static inline uint64_t model_flushed_index(const struct model *m)
{
    uint64_t f = m->applied_index;
    for (uint32_t k = 0; k < m->keys; k++) {
        if (m->newest[k].index > m->database[k].index && m->first_unflushed[k] - 1 < f) {
            f = m->first_unflushed[k] - 1;
        }
    }
    return f;
}

#endif
