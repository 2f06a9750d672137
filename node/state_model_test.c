/* Random commands against an obvious model: arrays that are searched from end to end. Each seed runs
 *   - the model, with databases of its own: one gets what each flushed batch held when it began, and now and
 * then an older one, or the newer one again, takes its place,
 *   - two replicas that apply the same log but keep different clean copies and absences,
 * and after each step both replicas are checked against the model, F against its meaning, and the replicas'
 * hashes against each other; and no database that a batch made may have a part of a transaction only. Each
 * replica evicts, touches and is scanned on its own: what expires first, and whom a scan must have met, is
 * searched from end to end too. Now and then a replica is replaced by the snapshot of the other. A failure
 * prints its seed; give the seed as the only argument to run that seed alone, or a first seed and a number of
 * them. */
#include "node/state_test_model.h"

enum {
    SEEDS = 48,
    STEPS = 2000,
};

static uint64_t first_seed = 1, seeds = SEEDS; /* set by main, before any test runs */

/* ---- A replica against the model ---- */

/* A scan of one replica, with any of the other steps between its calls. */
struct scan {
    bool running;
    uint64_t cursor;
    bool stayed[KEYS_MAX];   /* present since the first call */
    uint32_t came[KEYS_MAX]; /* how often a key was seen to be there and not to have been there before */
    bool there[KEYS_MAX];    /* after the last step */
    uint32_t seen[KEYS_MAX];
};

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
        assert_int_equal(b->retry, want->retry);
        assert_int_equal(b->first_dirty, want->first_dirty);
        assert_int_equal(b->dirty_stamp_ms, want->stamp_ms);
        assert_ptr_equal(state_batch_find(s, b->id), b);
        uint32_t i = 0;
        list_for_each (place, place_tmp, &b->places) {
            struct state_entry *e = state_batch_entry(place);
            assert_true(i < want->n);
            assert_true(e->tied_batched == want->places[i].tied);
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
        assert_true(e->tied == m->queue[n].tied);
        assert_place(&e->queued, e, &m->queue[n++]);
    }
    assert_int_equal(n, m->n_queue);
    assert_int_equal(s->queued_entries, n);
    assert_int_equal(s->tied, model_tied(m));
}

static void assert_quarantine(const struct state *s, const struct model *m)
{
    uint32_t n = 0;
    list_for_each (link, tmp, &s->quarantine) {
        const struct state_quarantine *q = list_entry(link, struct state_quarantine, link);
        char room[16];
        assert_true(n < m->n_marks);
        const struct model_mark *want = &m->marks[n++];
        assert_true(bytes_equal(state_entry_key(q->entry), key_bytes(want->key, room)));
        assert_int_equal(q->first_dirty, want->first_dirty);
        assert_int_equal(q->dirty_stamp_ms, want->stamp_ms);
        assert_int_equal(q->refused_stamp_ms, want->refused_stamp_ms);
        assert_int_equal(q->refused_version, want->refused_version);
        assert_int_equal(q->attempts, want->attempts);
    }
    assert_int_equal(n, m->n_marks);
    assert_int_equal(s->quarantined, n);
}

static void assert_keys(const struct state *s, const struct model *m)
{
    uint64_t dirty_bytes = 0, retained = 0;
    for (uint32_t k = 0; k < m->keys; k++) {
        char room[16];
        struct state_entry *e = state_find(s, key_bytes(k, room));
        const struct model_key *key = &m->key[k];
        const struct model_value *row = model_row(m, k);
        bool dirty = model_dirty(m, k);
        assert_int_equal(e == NULL || e->flushed == NULL ? 0 : e->flushed->id, key->flushed_in);
        assert_true(e != NULL ? state_entry_dirty(e) == dirty : !dirty);
        retained += key->flushed_in != 0;
        dirty_bytes += dirty ? weight(m, k) : 0;
        if (dirty || key->flushed_in != 0) {
            assert_value(e, &key->newest);
        }
        if (e != NULL && !dirty) { /* a copy: it must be what the database has */
            assert_true(key->newest.index == row->index);
            assert_true(e->absent || e->flushed != NULL || row->present);
            assert_true(!e->absent || !row->present);
            if (!e->absent) {
                assert_value(e, row);
            }
        }
    }
    assert_int_equal(s->dirty_bytes, dirty_bytes);
    assert_int_equal(s->retained, retained);
    assert_int_equal(s->retained_bytes, model_retained_bytes(m));
}

static void assert_next_expiring(const struct state *s, const struct model *m)
{
    uint64_t want = UINT64_MAX;
    uint32_t n = 0;
    for (uint32_t k = 0; k < m->keys; k++) {
        char room[16];
        struct state_entry *e = state_find(s, key_bytes(k, room));
        if (e != NULL && e->expires_at_ms != 0) {
            want = e->expires_at_ms < want ? e->expires_at_ms : want;
            n++;
        }
    }
    const struct state_entry *next = state_next_expiring(s);
    assert_true((next != NULL) == (n > 0));
    assert_true(next == NULL || next->expires_at_ms == want);
    assert_int_equal(s->expiring_n, n);
}

static void assert_agrees(const struct state *s, const struct model *m)
{
    state_check_invariants(s);
    assert_int_equal(s->applied_index, m->applied_index);
    assert_int_equal(s->stamp_ms, m->stamp_ms);
    assert_int_equal(s->last_batch, m->last_batch);
    assert_int_equal(s->newest_batch, m->newest_batch);
    assert_int_equal(s->rewinds, m->rewinds);
    assert_batches(s, m);
    assert_queue(s, m);
    assert_quarantine(s, m);
    assert_keys(s, m);
    assert_next_expiring(s, m);
    assert_int_equal(state_flushed_index(s), model_flushed_index(m));
    assert_int_equal(
        state_flushed_index_then(s), m->n_queue > 0 ? m->queue[0].first_dirty - 1 : m->applied_index);
}

/* ---- Random steps ---- */

struct run {
    uint64_t random;
    uint64_t empty_bytes;   /* of a state that holds nothing */
    bool travels;           /* other databases take the place of the present one */
    bool wild;              /* ... any of them, not only older ones */
    bool ties;              /* there are transactions; so fewer batches are in flight at a time */
    bool once;              /* each key is written once: so what is lost is counted exactly */
    uint32_t n_written;     /* keys, when once */
    uint64_t flushed_index; /* the highest that F was */
    struct model m;
    struct state replicas[2];
    struct scan scans[2]; /* of the replicas */
    uint32_t judged;      /* the version of the database that was looked at last */
    uint64_t scans_done, evicted, travels_done, refused, dropped;
};

/* Of all seeds. */
static struct {
    uint64_t transactions, waited, shorter, longer;
} ties_met;

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

/* Some keys are hot. None is left when each was written once. */
static bool choose_key(struct run *r, uint32_t *key)
{
    *key = (uint32_t)(pick(r, 2) ? pick(r, r->m.keys) : pick(r, 1 + r->m.keys / 8));
    if (r->once && r->n_written < r->m.keys) {
        *key = r->n_written++;
        return true;
    }
    return !r->once;
}

static void write_key(struct run *r, uint32_t ordinal, uint32_t key)
{
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

static void write_some(struct run *r, uint32_t ordinal, uint32_t n)
{
    uint32_t key;
    for (uint32_t end = ordinal + n; ordinal < end && choose_key(r, &key); ordinal++) {
        write_key(r, ordinal, key);
    }
}

static void step_writes(struct run *r)
{
    step_entry(r);
    write_some(r, 0, 1 + (uint32_t)pick(r, 4));
}

/* Two to four keys, each of them once. */
static uint32_t choose_keys(struct run *r, uint32_t keys[TRANSACTION_KEYS_MAX])
{
    uint32_t want = 2 + (uint32_t)pick(r, TRANSACTION_KEYS_MAX - 1), n = 0;
    want = want < r->m.keys ? want : r->m.keys;
    while (n < want && choose_key(r, &keys[n])) {
        bool again = false;
        for (uint32_t i = 0; i < n; i++) {
            again = again || keys[i] == keys[n];
        }
        n += !again;
    }
    return n;
}

/* One or two transactions and other writes, all in one entry. They may be of the same keys. */
static void step_transaction(struct run *r)
{
    uint32_t ordinal = 0, keys[TRANSACTION_KEYS_MAX];
    if (!r->ties) {
        return;
    }
    step_entry(r);
    write_some(r, ordinal++, (uint32_t)pick(r, 2));
    for (uint64_t more = 1 + pick(r, 2); more > 0; more--) {
        uint32_t n = choose_keys(r, keys);
        for (uint32_t i = 0; i < n; i++) {
            write_key(r, ordinal++, keys[i]);
        }
        if (n < 2) {
            return;
        }
        model_tie(&r->m, keys, n);
        for (uint32_t i = 0; i < 2 * n; i++) {
            char room[16];
            state_apply_tie(&r->replicas[i % 2], key_bytes(keys[i / 2], room));
        }
    }
    write_some(r, ordinal, (uint32_t)pick(r, 2));
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

/* Some of the batches that are aborted may have been committed, which nobody has heard. */
static void step_flush_abort(struct run *r)
{
    uint64_t from = pick(r, r->m.applied_index + 2);
    if (r->m.n_batches > 0 && pick(r, 4) != 0) {
        from = r->m.batches[pick(r, r->m.n_batches)].id;
    }
    step_entry(r);
    uint32_t on = r->m.present;
    for (uint32_t n = r->wild && pick(r, 2) ? (uint32_t)pick(r, r->m.n_batches + 1) : 0, i = 0; i < n; i++) {
        on = model_commit(&r->m, on, &r->m.batches[i]);
        from = r->m.batches[0].id;
    }
    bool want = model_flush_abort(&r->m, from);
    for (int i = 0; i < 2; i++) {
        assert_true(state_apply_flush_abort(&r->replicas[i], from) == want);
    }
}

/* A row of a batch in flight is refused; sometimes one that is not there. */
static void step_quarantine(struct run *r)
{
    uint64_t batch = pick(r, r->m.applied_index + 1);
    uint32_t key = (uint32_t)pick(r, r->m.keys);
    if (r->m.n_batches > 0 && pick(r, 8) != 0) {
        const struct model_batch *b = &r->m.batches[pick(r, r->m.n_batches)];
        batch = b->id;
        key = b->n > 0 ? b->places[pick(r, b->n)].key : key;
    }
    step_entry(r);
    bool want = model_quarantine(&r->m, batch, key);
    r->refused += want;
    for (int i = 0; i < 2; i++) {
        char room[16];
        assert_true(
            state_apply_quarantine(&r->replicas[i], batch, key_bytes(key, room), "23514", "bad") == want);
    }
}

static void step_retry(struct run *r)
{
    if (r->m.n_batches == BATCHES_MAX) {
        return;
    }
    step_entry(r);
    char rooms[4][16];
    struct bytes names[4];
    uint32_t keys[4], n = 1 + (uint32_t)pick(r, 4);
    for (uint32_t i = 0; i < n; i++) {
        bool there = r->m.n_marks > 0 && pick(r, 8) != 0;
        keys[i] = there ? r->m.marks[pick(r, r->m.n_marks)].key : (uint32_t)pick(r, r->m.keys);
        names[i] = key_bytes(keys[i], rooms[i]);
    }
    bool want = model_flush_retry(&r->m, keys, n);
    for (int i = 0; i < 2; i++) {
        assert_true((state_apply_flush_retry(&r->replicas[i], names, n) != NULL) == want);
    }
}

static void step_drop(struct run *r)
{
    uint32_t key = r->m.n_marks > 0 && pick(r, 8) != 0 ? r->m.marks[pick(r, r->m.n_marks)].key
                                                       : (uint32_t)pick(r, r->m.keys);
    uint64_t version = r->m.key[key].newest.version + (pick(r, 8) == 0);
    step_entry(r);
    bool want = model_drop(&r->m, key, version);
    r->dropped += want;
    for (int i = 0; i < 2; i++) {
        char room[16];
        assert_true(state_apply_quarantine_drop(&r->replicas[i], key_bytes(key, room), version) == want);
    }
}

/* After a travel: the queue holds what it held, and what was undone. In which order, and since when it counts
 * as dirty, is the state's to say (of the quarantine too): F is checked against its meaning. What was tied
 * and waited still is; of what was undone it may not be. */
static void adopt_queue(struct run *r, const bool again[KEYS_MAX])
{
    struct model *m = &r->m;
    uint32_t want = m->n_queue, n = 0;
    bool wanted[KEYS_MAX], tied[KEYS_MAX];
    for (uint32_t k = 0; k < m->keys; k++) {
        int queued = queue_find(m, k);
        wanted[k] = again[k] || queued >= 0;
        tied[k] = queued >= 0 && m->queue[queued].tied;
        want += again[k] && queued < 0;
    }
    list_for_each (link, tmp, &r->replicas[0].queue) {
        const struct state_entry *e = state_queue_entry(link);
        char text[16] = "";
        memcpy(text, e->key, e->key_len);
        uint32_t key = (uint32_t)strtoul(text + strlen("key-"), NULL, 10);
        assert_true(wanted[key]);
        assert_true(again[key] ? !e->tied || tied[key] : e->tied == tied[key]);
        wanted[key] = false;
        m->queue[n++] = (struct model_place){.key = key,
            .first_dirty = e->queued.first_dirty,
            .stamp_ms = e->queued.dirty_stamp_ms,
            .tied = e->tied};
    }
    assert_int_equal(n, want);
    m->n_queue = n;
    n = 0;
    list_for_each (link, tmp, &r->replicas[0].quarantine) {
        const struct state_quarantine *q = list_entry(link, struct state_quarantine, link);
        struct model_mark *mark = &m->marks[n++];
        assert_true(n <= m->n_marks && q->first_dirty <= mark->first_dirty);
        mark->first_dirty = q->first_dirty;
        mark->stamp_ms = q->dirty_stamp_ms;
    }
}

/* A wild seed goes to any version that there ever was, also to a newer one that was left, or one whose batch
 * was aborted; the others only go back. */
static bool choose_version(struct run *r, uint32_t *to)
{
    const struct model *m = &r->m;
    *to = (uint32_t)pick(r, m->n_versions);
    if (pick(r, 2) && m->present > 0) { /* not far back */
        *to = m->present - 1 - (uint32_t)pick(r, m->present < 8 ? m->present : 8);
    }
    return r->travels && *to != m->present && (r->wild || came_from(m, m->present, *to));
}

/* Another version of the database is there. All clean copies are forgotten then: they may be of the one that
 * was left. Each key that is missing is counted at least once; just once, where each was written once. */
static void step_travel(struct run *r)
{
    uint32_t to;
    if (!choose_version(r, &to)) {
        return;
    }
    step_entry(r);
    bool again[KEYS_MAX] = {false};
    uint64_t had = model_flushed_index(&r->m);
    r->m.recover_index = had > r->m.recover_index ? had : r->m.recover_index;
    uint64_t lost_before = r->replicas[0].lost;
    uint64_t lost = model_travel(&r->m, to, again);
    for (int i = 0; i < 2; i++) {
        assert_true(state_apply_rewind(&r->replicas[i], r->m.last_batch));
        state_evict(&r->replicas[i], UINT64_MAX);
    }
    adopt_queue(r, again);
    uint64_t counted = r->replicas[0].lost - lost_before;
    assert_true(r->replicas[0].lost >= model_missing(&r->m) || r->once);
    assert_true(r->wild || !r->once || counted == lost);
    r->travels_done++;
}

/* An operator acknowledges what was lost, or some of it. */
static void step_acknowledge(struct run *r)
{
    if (!r->once) {
        return;
    }
    uint64_t rows = pick(r, 2) ? UINT64_MAX : pick(r, 30), lost = r->replicas[0].lost;
    step_entry(r);
    for (int i = 0; i < 2; i++) {
        state_apply_loss_acknowledged(&r->replicas[i], rows);
        assert_int_equal(r->replicas[i].lost, rows < lost ? lost - rows : 0);
    }
}

static void name_retention(struct run *r)
{
    static const uint64_t times_ms[] = {0, 60, 400, UINT64_MAX}, bytes[] = {0, 1200, 6000, UINT64_MAX};
    r->m.retention_ms = times_ms[pick(r, 4)];
    r->m.retention_bytes = bytes[pick(r, 4)];
    for (int i = 0; i < 2; i++) {
        state_apply_retention(&r->replicas[i], r->m.retention_ms, r->m.retention_bytes);
    }
}

static void step_retention(struct run *r)
{
    step_entry(r);
    name_retention(r);
}

/* A Forget of the log's: of a key that is retained, for all; of another, what a replica has of it. */
static void step_forget_replicated(struct run *r)
{
    uint32_t key = (uint32_t)pick(r, r->m.keys);
    uint64_t version = r->m.key[key].newest.version + (pick(r, 8) == 0);
    bool known = !model_dirty(&r->m, key) && r->m.key[key].flushed_in != 0;
    step_entry(r);
    for (int i = 0; i < 2; i++) {
        char room[16];
        struct state_entry *e = state_find(&r->replicas[i], key_bytes(key, room));
        bool want = e != NULL && !state_entry_dirty(e) && e->version == version;
        assert_true(!known || want == (version == r->m.key[key].newest.version));
        assert_true(state_apply_forget(&r->replicas[i], key_bytes(key, room), version) == want);
        assert_true(!want || state_find(&r->replicas[i], key_bytes(key, room)) == NULL);
    }
    if (known && version == r->m.key[key].newest.version) {
        r->m.key[key].flushed_in = 0;
    }
}

/* One replica has heard that somebody else may have changed a row. */
static void step_stale(struct run *r)
{
    char room[16];
    struct state_entry *e =
        state_find(&r->replicas[pick(r, 2)], key_bytes((uint32_t)pick(r, r->m.keys), room));
    if (e != NULL && e->flushed != NULL && !state_entry_dirty(e)) {
        e->stale = true;
    }
}

/* One replica loads what the database has: ignored where it has an entry already. */
static void step_load(struct run *r)
{
    struct state *s = &r->replicas[pick(r, 2)];
    uint32_t key = (uint32_t)pick(r, r->m.keys);
    const struct model_value *row = model_row(&r->m, key);
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
    if (e != NULL && state_entry_evictable(e)) {
        state_forget(s, e);
    }
}

static uint64_t clean_entries(const struct state *s, uint32_t keys)
{
    uint64_t n = 0;
    for (uint32_t k = 0; k < keys; k++) {
        char room[16];
        struct state_entry *e = state_find(s, key_bytes(k, room));
        n += state_entry_present(e) && state_entry_evictable(e);
    }
    return n;
}

/* Some bytes' worth, or everything: what is dirty stays, as assert_agrees will see, and absences go last. */
static void step_evict(struct run *r)
{
    struct state *s = &r->replicas[pick(r, 2)];
    uint64_t clean = clean_entries(s, r->m.keys);
    uint64_t entries = s->entries;
    uint64_t absences = s->absences;
    bool all = pick(r, 8) == 0;
    uint64_t gone = state_evict(s, all ? UINT64_MAX : pick(r, 1500));
    r->evicted += gone;
    assert_int_equal(entries - s->entries, gone < clean ? gone : clean);
    assert_int_equal(absences - s->absences, gone < clean ? 0 : gone - clean);
    assert_true(!all || gone == clean + absences);
}

static void step_touch(struct run *r)
{
    struct state *s = &r->replicas[pick(r, 2)];
    for (uint64_t n = pick(r, 10); n > 0; n--) {
        char room[16];
        struct state_entry *e = state_find(s, key_bytes((uint32_t)pick(r, r->m.keys), room));
        if (e != NULL) {
            state_touch(e);
        }
    }
}

static void see_key(void *data, const struct state_entry *e)
{
    struct scan *scan = data;
    char text[16] = "";
    assert_true(state_entry_present(e) && e->key_len < sizeof text);
    memcpy(text, e->key, e->key_len);
    scan->seen[strtoul(text + strlen("key-"), NULL, 10)]++;
}

/* Begin a scan of a replica, or go on with it. */
static void step_scan(struct run *r)
{
    uint64_t i = pick(r, 2);
    struct scan *scan = &r->scans[i];
    if (!scan->running) {
        *scan = (struct scan){.running = true};
        for (uint32_t k = 0; k < r->m.keys; k++) {
            char room[16];
            scan->there[k] = state_entry_present(state_find(&r->replicas[i], key_bytes(k, room)));
            scan->stayed[k] = scan->there[k];
        }
    }
    scan->cursor = state_scan(&r->replicas[i], scan->cursor, (uint32_t)pick(r, 40), see_key, scan);
    if (scan->cursor != 0) {
        return;
    }
    for (uint32_t k = 0; k < r->m.keys; k++) {
        assert_true(!scan->stayed[k] || scan->seen[k] == 1);
        assert_true(scan->seen[k] <= scan->came[k] + 1);
    }
    scan->running = false;
    r->scans_done++;
}

/* After each step: who stayed, and who came, since a scan under way began? */
static void watch_scan(struct scan *scan, const struct state *s, uint32_t keys)
{
    for (uint32_t k = 0; scan->running && k < keys; k++) {
        char room[16];
        bool there = state_entry_present(state_find(s, key_bytes(k, room)));
        scan->came[k] += there && !scan->there[k];
        scan->stayed[k] = scan->stayed[k] && there;
        scan->there[k] = there;
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
    } kinds[] = {{20, step_writes}, {10, step_transaction}, {18, step_flush_begin}, {22, step_flushed},
        {4, step_flush_abort}, {18, step_load}, {8, step_forget}, {2, step_restore}, {1, step_entry},
        {4, step_evict}, {6, step_touch}, {16, step_scan}, {4, step_quarantine}, {4, step_retry},
        {1, step_drop}, {2, step_travel}, {1, step_acknowledge}, {1, step_retention},
        {2, step_forget_replicated}, {2, step_stale}};
    enum { SHARES = 146 };
    uint64_t at_share = pick(r, SHARES);
    size_t i = 0;
    while (at_share >= kinds[i].share) {
        at_share -= kinds[i++].share;
    }
    kinds[i].step(r);
}

static void flush_oldest(struct run *r)
{
    uint64_t batch = r->m.batches[0].id, predecessor = r->m.last_batch;
    step_entry(r);
    assert_true(model_flushed(&r->m, batch, predecessor));
    for (int i = 0; i < 2; i++) {
        assert_true(state_apply_flushed(&r->replicas[i], batch, predecessor));
    }
}

/* Flush everything: then nothing is dirty, F is the applied index, the database has all that is not excused,
 * and all memory comes back with the last copy. */
static void drain(struct run *r)
{
    struct model *m = &r->m;
    step_entry(r);
    model_flush_abort(m, 0);
    for (int i = 0; i < 2; i++) {
        state_apply_flush_abort(&r->replicas[i], 0);
    }
    while (m->n_queue > 0 || m->n_marks > 0) {
        step_entry(r);
        bool retry = m->n_marks > 0;
        char room[16];
        struct bytes name = key_bytes(retry ? m->marks[0].key : 0, room);
        assert_true(
            retry ? model_flush_retry(m, &m->marks[0].key, 1) : model_flush_begin(m, UINT32_MAX, UINT64_MAX));
        for (int i = 0; i < 2; i++) {
            struct state *s = &r->replicas[i];
            assert_non_null(retry ? state_apply_flush_retry(s, &name, 1)
                                  : state_apply_flush_begin(s, UINT32_MAX, UINT64_MAX));
        }
        flush_oldest(r);
    }
    for (uint32_t k = 0; k < m->keys; k++) {
        uint64_t last = m->key[k].n_writes == 0 ? 0 : m->key[k].writes[m->key[k].n_writes - 1];
        assert_true(model_row(m, k)->index == last || m->key[k].excused >= last);
    }
    step_entry(r); /* one more row is flushed, after which nothing is to be retained */
    struct model_value v = {.index = m->applied_index, .version = m->version_base + (m->applied_index << 16)};
    model_write(m, 0, v);
    m->retention_ms = m->retention_bytes = 0;
    for (int i = 0; i < 2; i++) {
        char room[16];
        state_apply_retention(&r->replicas[i], 0, 0);
        state_apply_write(&r->replicas[i], 0, key_bytes(0, room), 0, NULL, 0);
    }
    step_entry(r);
    assert_true(model_flush_begin(m, UINT32_MAX, UINT64_MAX));
    for (int i = 0; i < 2; i++) {
        assert_non_null(state_apply_flush_begin(&r->replicas[i], UINT32_MAX, UINT64_MAX));
    }
    flush_oldest(r);
    for (int i = 0; i < 2; i++) {
        struct state *s = &r->replicas[i];
        assert_agrees(s, m);
        assert_int_equal(state_flushed_index(s), s->applied_index);
        assert_false(state_recovering(s));
        assert_int_equal(s->dirty_bytes, 0);
        assert_int_equal(s->retained, 0);
        state_evict(s, UINT64_MAX);
        assert_int_equal(s->entries, 0);
        assert_int_equal(s->clean_bytes, 0);
        assert_int_equal(memory(s), r->empty_bytes);
    }
    assert_int_equal(state_hash(&r->replicas[0]), state_hash(&r->replicas[1]));
}

static void judge(struct run *r)
{
    if (r->judged != r->m.present) {
        r->judged = r->m.present;
        model_judge(&r->m);
    }
}

static void check_step(struct run *r, bool hashes)
{
    judge(r);
    for (int i = 0; i < 2; i++) {
        assert_agrees(&r->replicas[i], &r->m);
        watch_scan(&r->scans[i], &r->replicas[i], r->m.keys);
    }
    if (hashes) {
        assert_int_equal(state_hash(&r->replicas[0]), state_hash(&r->replicas[1]));
    }
    uint64_t f = state_flushed_index(&r->replicas[0]);
    assert_true(f <= model_true_index(&r->m));
    assert_true(r->travels_done > 0 || f == model_true_index(&r->m));
    /* What F said once is true again only when it is back there. */
    assert_true(f >= r->flushed_index || state_recovering(&r->replicas[0]));
    assert_true(r->travels_done > 0 || !state_recovering(&r->replicas[0]));
    r->flushed_index = f > r->flushed_index ? f : r->flushed_index;
}

static void run_seed(uint64_t seed)
{
    static const uint32_t sizes[] = {3, 8, 24, KEYS_MAX};
    struct run *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->random = seed;
    r->travels = seed % 3 != 0;
    r->wild = seed % 3 == 2;
    r->once = !r->wild && seed % 5 == 0;
    r->ties = seed % 7 > 1;
    model_init(&r->m, r->once ? KEYS_MAX : sizes[seed % 4], seed << 50);
    model_begin(&r->m, 1, 1000);
    for (int i = 0; i < 2; i++) {
        const uint8_t cluster_id[CLUSTER_ID_BYTES] = {9};
        state_init(&r->replicas[i], seed + (uint64_t)i);
        r->empty_bytes = memory(&r->replicas[i]);
        state_apply_begin(&r->replicas[i], 1, 1000);
        state_apply_genesis(&r->replicas[i], cluster_id, 3, r->m.version_base);
    }
    name_retention(r);
    for (uint32_t n = 0; n < STEPS; n++) {
        step(r);
        check_step(r, n % 16 == 0);
    }
    ties_met.transactions += r->m.n_transactions;
    ties_met.waited += r->m.waited;
    ties_met.shorter += r->m.shorter;
    ties_met.longer += r->m.longer;
    assert_true(r->scans_done > 10 && (r->once || r->m.keys <= sizes[1] || r->evicted > 10));
    drain(r);
    for (int i = 0; i < 2; i++) {
        state_deinit(&r->replicas[i]);
    }
    model_deinit(&r->m);
    free(r);
}

static void replicas_agree_with_the_model_after_every_step(void **seed_out)
{
    for (uint64_t i = 0; i < seeds; i++) {
        *(uint64_t *)*seed_out = first_seed + i;
        run_seed(first_seed + i);
    }
    if (seeds >= SEEDS) {
        assert_true(ties_met.transactions > 1000 && ties_met.waited > 100);
        assert_true(ties_met.shorter > 100 && ties_met.longer > 100);
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
    if (argc > 1) {
        first_seed = strtoull(argv[1], NULL, 10);
        seeds = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            replicas_agree_with_the_model_after_every_step, give_seed, print_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
