/* Random commands against an obvious model: arrays that are searched from end to end. Each seed runs
 *   - the model, with a database of its own that gets what each flushed batch held when it began,
 *   - two replicas that apply the same log but keep different clean copies and absences,
 * and after each step both replicas are checked against the model, F against its meaning, and the replicas'
 * hashes against each other. Now and then a replica is replaced by the snapshot of the other. A failure
 * prints its seed; give the seed as the only argument to run that seed alone. */
#include "node/state_test_help.h"

enum {
    SEEDS = 240,
    STEPS = 3000,
    KEYS_MAX = 100,
    QUEUE_MAX = KEYS_MAX,
    BATCHES_MAX = 8,
    VALUE_MAX = 12,
};

static uint64_t seed_wanted; /* set by main, before any test runs; 0: all of them */

/* ---- The model ---- */

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

static uint32_t key_len(uint32_t key)
{
    return (uint32_t)snprintf(NULL, 0, "key-%u", key);
}

static struct bytes key_bytes(uint32_t key, char room[16])
{
    return bytes_of(room, (size_t)snprintf(room, 16, "key-%u", key));
}

static int queue_find(const struct model *m, uint32_t key)
{
    for (uint32_t i = 0; i < m->n_queue; i++) {
        if (m->queue[i].key == key) {
            return (int)i;
        }
    }
    return -1;
}

static bool in_a_batch(const struct model *m, uint32_t key)
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

static bool model_dirty(const struct model *m, uint32_t key)
{
    return queue_find(m, key) >= 0 || in_a_batch(m, key);
}

static void model_begin(struct model *m, uint64_t index, uint64_t stamp_ms)
{
    m->applied_index = index;
    m->stamp_ms = stamp_ms > m->stamp_ms ? stamp_ms : m->stamp_ms;
}

static void queue_insert(struct model *m, uint32_t at_place, struct model_place place)
{
    memmove(&m->queue[at_place + 1], &m->queue[at_place], (m->n_queue - at_place) * sizeof place);
    m->queue[at_place] = place;
    m->n_queue++;
}

static void queue_erase(struct model *m, uint32_t at_place)
{
    m->n_queue--;
    memmove(&m->queue[at_place], &m->queue[at_place + 1], (m->n_queue - at_place) * sizeof m->queue[0]);
}

static void model_write(struct model *m, uint32_t key, struct model_value value)
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

static uint64_t weight(const struct model *m, uint32_t key)
{
    return key_len(key) + m->newest[key].len;
}

static bool model_flush_begin(struct model *m, uint32_t rows_max, uint64_t bytes_max)
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

static bool model_flushed(struct model *m, uint64_t batch, uint64_t predecessor)
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

static bool model_flush_abort(struct model *m, uint64_t from_batch)
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
static uint64_t model_flushed_index(const struct model *m)
{
    uint64_t f = m->applied_index;
    for (uint32_t k = 0; k < m->keys; k++) {
        if (m->newest[k].index > m->database[k].index && m->first_unflushed[k] - 1 < f) {
            f = m->first_unflushed[k] - 1;
        }
    }
    return f;
}

/* ---- A replica against the model ---- */

static void assert_value(const struct state_entry *e, const struct model_value *want)
{
    assert_true((e->value != NULL) == want->present);
    assert_int_equal(e->version, want->version);
    assert_int_equal(e->expires_at_ms, want->expires_at_ms);
    assert_int_equal(e->type, want->type);
    assert_true(!want->present || bytes_equal(value_bytes(e->value), bytes_of(want->data, want->len)));
}

static void assert_place(
    const struct dirty_place *place, const struct state_entry *e, const struct model_place *want)
{
    char room[16];
    assert_true(bytes_equal(state_entry_key(e), key_bytes(want->key, room)));
    assert_int_equal(place->first_dirty, want->first_dirty);
    assert_int_equal(place->dirty_stamp_ms, want->stamp_ms);
}

static void assert_batches(const struct state *s, const struct model *m)
{
    uint32_t n = 0;
    uint64_t rows = 0;
    list_for_each (link, tmp, &s->batches) {
        struct state_batch *b = list_entry(link, struct state_batch, link);
        assert_true(n < m->n_batches);
        const struct model_batch *want = &m->batches[n++];
        assert_int_equal(b->id, want->id);
        assert_int_equal(b->rows, want->n);
        assert_ptr_equal(state_batch_find(s, b->id), b);
        uint32_t i = 0;
        list_for_each (place, place_tmp, &b->places) {
            struct state_entry *e = state_batch_entry(place);
            assert_true(i < want->n);
            assert_place(&e->batched, e, &want->places[i++]);
        }
        rows += want->n;
    }
    assert_int_equal(n, m->n_batches);
    assert_int_equal(s->batch_count, n);
    assert_int_equal(s->batched_entries, rows);
}

static void assert_queue(const struct state *s, const struct model *m)
{
    uint32_t n = 0;
    list_for_each (link, tmp, &s->queue) {
        struct state_entry *e = state_queue_entry(link);
        assert_true(n < m->n_queue);
        assert_place(&e->queued, e, &m->queue[n++]);
    }
    assert_int_equal(n, m->n_queue);
    assert_int_equal(s->queued_entries, n);
}

static void assert_keys(const struct state *s, const struct model *m)
{
    uint64_t dirty_bytes = 0;
    for (uint32_t k = 0; k < m->keys; k++) {
        char room[16];
        struct state_entry *e = state_find(s, key_bytes(k, room));
        if (model_dirty(m, k)) {
            assert_non_null(e);
            assert_true(state_entry_dirty(e));
            assert_value(e, &m->newest[k]);
            dirty_bytes += weight(m, k);
        } else if (e != NULL) { /* a local copy: it must be what the database has */
            assert_false(state_entry_dirty(e));
            assert_true(e->absent == !m->database[k].present);
            assert_true(e->absent || m->database[k].version == e->version);
            assert_true(e->absent || m->newest[k].index == m->database[k].index);
            if (!e->absent) {
                assert_value(e, &m->database[k]);
            }
        }
    }
    assert_int_equal(s->dirty_bytes, dirty_bytes);
}

static void assert_agrees(const struct state *s, const struct model *m)
{
    state_check_invariants(s);
    assert_int_equal(s->applied_index, m->applied_index);
    assert_int_equal(s->stamp_ms, m->stamp_ms);
    assert_int_equal(s->last_batch, m->last_batch);
    assert_batches(s, m);
    assert_queue(s, m);
    assert_keys(s, m);
    assert_int_equal(state_flushed_index(s), model_flushed_index(m));
}

/* ---- Random steps ---- */

struct run {
    uint64_t random;
    uint64_t empty_bytes; /* of a state that holds nothing */
    uint64_t last_flushed_index;
    struct model m;
    struct state replicas[2];
};

static uint64_t pick(struct run *r, uint64_t below)
{
    uint64_t z = (r->random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % below;
}

/* A new log entry, for all three: indexes have gaps, stamps may try to go back. */
static void step_entry(struct run *r)
{
    uint64_t index = r->m.applied_index + 1 + (pick(r, 4) == 0 ? pick(r, 5) : 0);
    uint64_t stamp_ms = r->m.stamp_ms + pick(r, 20) - (r->m.stamp_ms > 100 && pick(r, 8) == 0 ? 30 : 0);
    model_begin(&r->m, index, stamp_ms);
    for (int i = 0; i < 2; i++) {
        state_apply_begin(&r->replicas[i], index, stamp_ms);
    }
}

static void step_writes(struct run *r)
{
    step_entry(r);
    uint32_t n = 1 + (uint32_t)pick(r, 4);
    for (uint32_t ordinal = 0; ordinal < n; ordinal++) {
        uint32_t key =
            (uint32_t)(pick(r, 2) ? pick(r, r->m.keys) : pick(r, 1 + r->m.keys / 8)); /* some are hot */
        struct model_value v = {
            .index = r->m.applied_index, .type = (uint8_t)pick(r, 3), .present = pick(r, 4) != 0};
        v.version = r->m.version_base + (r->m.applied_index << 16 | ordinal);
        if (v.present) {
            v.len = (uint32_t)pick(r, VALUE_MAX + 1);
            v.expires_at_ms = pick(r, 3) == 0 ? pick(r, 1000) : 0;
            memset(v.data, (int)('a' + pick(r, 26)), v.len);
        }
        model_write(&r->m, key, v);
        for (int i = 0; i < 2; i++) {
            char room[16];
            uint64_t version = state_apply_write(&r->replicas[i], ordinal, key_bytes(key, room), v.type,
                v.present ? value_create(bytes_of(v.data, v.len)) : NULL, v.expires_at_ms);
            assert_int_equal(version, v.version);
        }
    }
}

static void step_flush_begin(struct run *r)
{
    if (r->m.n_batches == BATCHES_MAX) {
        return;
    }
    step_entry(r);
    uint32_t rows_max = (uint32_t)pick(r, 12);
    uint64_t bytes_max = pick(r, 2) ? pick(r, 100) : UINT64_MAX;
    bool want = model_flush_begin(&r->m, rows_max, bytes_max);
    for (int i = 0; i < 2; i++) {
        struct state_batch *b = state_apply_flush_begin(&r->replicas[i], rows_max, bytes_max);
        assert_true((b != NULL) == want);
        if (b != NULL) {
            const struct model_batch *last = &r->m.batches[r->m.n_batches - 1];
            uint64_t bytes = 0;
            for (uint32_t k = 0; k < last->n; k++) {
                bytes += weight(&r->m, last->places[k].key);
            }
            assert_int_equal(b->bytes, bytes);
        }
    }
}

/* Mostly the oldest batch; sometimes another id or predecessor, which must change nothing. */
static void step_flushed(struct run *r)
{
    uint64_t batch = r->m.n_batches > 0 ? r->m.batches[0].id : 1;
    uint64_t predecessor = r->m.last_batch;
    if (pick(r, 6) == 0) {
        batch = r->m.n_batches > 0 ? r->m.batches[pick(r, r->m.n_batches)].id + pick(r, 2) : 0;
        predecessor = pick(r, 2) ? predecessor : pick(r, r->m.applied_index + 1);
    }
    step_entry(r);
    bool want = model_flushed(&r->m, batch, predecessor);
    for (int i = 0; i < 2; i++) {
        assert_true(state_apply_flushed(&r->replicas[i], batch, predecessor) == want);
    }
}

static void step_flush_abort(struct run *r)
{
    uint64_t from = pick(r, r->m.applied_index + 2);
    if (r->m.n_batches > 0 && pick(r, 4) != 0) {
        from = r->m.batches[pick(r, r->m.n_batches)].id;
    }
    step_entry(r);
    bool want = model_flush_abort(&r->m, from);
    for (int i = 0; i < 2; i++) {
        assert_true(state_apply_flush_abort(&r->replicas[i], from) == want);
    }
}

/* One replica loads what the database has: ignored where it has an entry already. */
static void step_load(struct run *r)
{
    struct state *s = &r->replicas[pick(r, 2)];
    uint32_t key = (uint32_t)pick(r, r->m.keys);
    const struct model_value *row = &r->m.database[key];
    char room[16];
    struct bytes name = key_bytes(key, room);
    if (row->present) {
        state_put_clean(s, name, row->type, value_create(bytes_of(row->data, row->len)), row->version,
            row->expires_at_ms);
    } else {
        state_put_absent(s, name);
    }
    assert_non_null(state_find(s, name));
}

static void step_forget(struct run *r)
{
    struct state *s = &r->replicas[pick(r, 2)];
    char room[16];
    struct state_entry *e = state_find(s, key_bytes((uint32_t)pick(r, r->m.keys), room));
    if (e != NULL && !state_entry_dirty(e)) {
        state_forget(s, e);
    }
}

static void step_restore(struct run *r)
{
    uint64_t from = pick(r, 2);
    struct state *to = &r->replicas[pick(r, 2)]; /* the other one, or itself */
    struct buf raw;
    buf_init(&raw);
    state_snapshot(&r->replicas[from], &raw);
    assert_int_equal(state_restore(to, buf_bytes(&raw)), STATUS_OK);
    assert_int_equal(to->absences, 0);
    struct buf again;
    buf_init(&again);
    state_snapshot(to, &again);
    assert_true(bytes_equal(buf_bytes(&raw), buf_bytes(&again)));
    buf_deinit(&raw);
    buf_deinit(&again);
}

static void step(struct run *r)
{
    static const struct {
        uint32_t share;
        void (*step)(struct run *r);
    } kinds[] = {{30, step_writes}, {18, step_flush_begin}, {20, step_flushed}, {4, step_flush_abort},
        {18, step_load}, {8, step_forget}, {2, step_restore}, {1, step_entry}};
    uint64_t at_share = pick(r, 101);
    size_t i = 0;
    while (at_share >= kinds[i].share) {
        at_share -= kinds[i++].share;
    }
    kinds[i].step(r);
}

/* Flush everything: then nothing is dirty, F is the applied index, and all memory comes back with the last
 * copy. */
static void drain(struct run *r)
{
    step_entry(r);
    model_flush_abort(&r->m, 0);
    for (int i = 0; i < 2; i++) {
        state_apply_flush_abort(&r->replicas[i], 0);
    }
    while (r->m.n_queue > 0) {
        step_entry(r);
        assert_true(model_flush_begin(&r->m, UINT32_MAX, UINT64_MAX));
        for (int i = 0; i < 2; i++) {
            assert_non_null(state_apply_flush_begin(&r->replicas[i], UINT32_MAX, UINT64_MAX));
        }
        uint64_t batch = r->m.batches[0].id;
        uint64_t predecessor = r->m.last_batch;
        step_entry(r);
        assert_true(model_flushed(&r->m, batch, predecessor));
        for (int i = 0; i < 2; i++) {
            assert_true(state_apply_flushed(&r->replicas[i], batch, predecessor));
        }
    }
    for (int i = 0; i < 2; i++) {
        struct state *s = &r->replicas[i];
        assert_agrees(s, &r->m);
        assert_int_equal(state_flushed_index(s), s->applied_index);
        assert_int_equal(s->dirty_bytes, 0);
        for (uint32_t k = 0; k < r->m.keys; k++) {
            char room[16];
            struct state_entry *e = state_find(s, key_bytes(k, room));
            assert_true(r->m.newest[k].index == r->m.database[k].index);
            if (e != NULL) {
                state_forget(s, e);
            }
        }
        assert_int_equal(s->bytes, r->empty_bytes);
    }
    assert_int_equal(state_hash(&r->replicas[0]), state_hash(&r->replicas[1]));
}

static void run_seed(uint64_t seed)
{
    static const uint32_t sizes[] = {3, 8, 24, KEYS_MAX};
    struct run *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->random = seed;
    r->m.keys = sizes[seed % 4];
    r->m.version_base = seed << 50;
    model_begin(&r->m, 1, 1000);
    for (int i = 0; i < 2; i++) {
        const uint8_t cluster_id[CLUSTER_ID_BYTES] = {9};
        state_init(&r->replicas[i], seed + (uint64_t)i);
        r->empty_bytes = r->replicas[i].bytes;
        state_apply_begin(&r->replicas[i], 1, 1000);
        state_apply_genesis(&r->replicas[i], cluster_id, 3, r->m.version_base);
    }
    for (uint32_t n = 0; n < STEPS; n++) {
        step(r);
        assert_agrees(&r->replicas[0], &r->m);
        assert_agrees(&r->replicas[1], &r->m);
        if (n % 16 == 0) {
            assert_int_equal(state_hash(&r->replicas[0]), state_hash(&r->replicas[1]));
        }
        uint64_t f = state_flushed_index(&r->replicas[0]);
        assert_true(f >= r->last_flushed_index);
        r->last_flushed_index = f;
    }
    drain(r);
    state_deinit(&r->replicas[0]);
    state_deinit(&r->replicas[1]);
    free(r);
}

static void replicas_agree_with_the_model_after_every_step(void **seed_out)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        *(uint64_t *)*seed_out = seed_wanted != 0 ? seed_wanted : seed;
        run_seed(*(uint64_t *)*seed_out);
        if (seed_wanted != 0) {
            return;
        }
    }
    *(uint64_t *)*seed_out = 0;
}

static uint64_t seed_running;

static int give_seed(void **state)
{
    *state = &seed_running;
    return 0;
}

/* Runs after a failure too: says which seed it was. */
static int print_seed(void **state)
{
    if (seed_running != 0) {
        print_message(
            "the last seed was %" PRIu64 ": give it as the argument to run it alone\n", seed_running);
    }
    return 0;
}

int main(int argc, char **argv)
{
    seed_wanted = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            replicas_agree_with_the_model_after_every_step, give_seed, print_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
