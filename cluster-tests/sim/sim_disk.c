#include "cluster-tests/sim/sim_disk.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

void sim_disk_init(struct sim_disk *d)
{
    *d = (struct sim_disk){.start_index = 1};
    buf_init(&d->configuration);
    buf_init(&d->snapshot);
}

static void drop_first(struct sim_disk *d, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_deinit(&d->entries[i].data);
    }
    if (n > 0) {
        memmove(d->entries, d->entries + n, (d->n - n) * sizeof *d->entries);
    }
    d->n -= n;
    d->start_index += n;
}

void sim_disk_deinit(struct sim_disk *d)
{
    drop_first(d, d->n);
    free(d->entries);
    buf_deinit(&d->configuration);
    buf_deinit(&d->snapshot);
}

uint64_t sim_disk_next_index(const struct sim_disk *d)
{
    return d->start_index + d->n;
}

void sim_disk_append(struct sim_disk *d, uint64_t index, const struct raft_entry *entries, unsigned n)
{
    CHECK(index == sim_disk_next_index(d));
    if (d->n + n > d->capacity) {
        d->capacity = 2 * (d->n + n);
        d->entries = xrealloc(d->entries, d->capacity * sizeof *d->entries);
    }
    for (unsigned i = 0; i < n; i++) {
        struct sim_disk_entry *e = &d->entries[d->n++];
        e->term = entries[i].term;
        e->type = entries[i].type;
        buf_init(&e->data);
        buf_append(&e->data, entries[i].buf.base, entries[i].buf.len);
    }
}

void sim_disk_truncate(struct sim_disk *d, uint64_t index)
{
    CHECK(index > d->snapshot_index);
    while (d->n > 0 && sim_disk_next_index(d) > index) {
        buf_deinit(&d->entries[--d->n].data);
    }
}

void sim_disk_put_snapshot(struct sim_disk *d, const struct raft_snapshot *snapshot, unsigned trailing)
{
    if (snapshot->index < d->snapshot_index) {
        return; /* of several files the newest counts */
    }
    CHECK(trailing == 0 || snapshot->index < sim_disk_next_index(d)); /* taken of what is on the disk */
    struct raft_buffer encoded;
    CHECK(raft_configuration_encode(&snapshot->configuration, &encoded) == 0);
    buf_clear(&d->configuration);
    buf_append(&d->configuration, encoded.base, encoded.len);
    raft_free(encoded.base);
    buf_clear(&d->snapshot);
    for (unsigned i = 0; i < snapshot->n_bufs; i++) {
        buf_append(&d->snapshot, snapshot->bufs[i].base, snapshot->bufs[i].len);
    }
    d->snapshot_index = snapshot->index;
    d->snapshot_term = snapshot->term;
    d->configuration_index = snapshot->configuration_index;
    if (trailing == 0) {
        drop_first(d, d->n);
        d->start_index = snapshot->index + 1;
    } else if (snapshot->index > trailing && snapshot->index - trailing >= d->start_index) {
        uint64_t stale = snapshot->index - trailing - d->start_index + 1;
        drop_first(d, stale < d->n ? stale : d->n);
    }
}

struct raft_snapshot *sim_disk_get_snapshot(const struct sim_disk *d)
{
    if (d->snapshot_index == 0) {
        return NULL;
    }
    struct raft_snapshot *s = raft_calloc(1, sizeof *s);
    CHECK(s != NULL);
    s->index = d->snapshot_index;
    s->term = d->snapshot_term;
    s->configuration_index = d->configuration_index;
    struct raft_buffer encoded = {.base = d->configuration.data, .len = d->configuration.len};
    raft_configuration_init(&s->configuration);
    CHECK(raft_configuration_decode(&encoded, &s->configuration) == 0);
    s->n_bufs = 1;
    s->bufs = raft_malloc(sizeof *s->bufs);
    CHECK(s->bufs != NULL);
    s->bufs[0].len = d->snapshot.len;
    s->bufs[0].base = raft_malloc(d->snapshot.len > 0 ? d->snapshot.len : 1);
    CHECK(s->bufs[0].base != NULL);
    if (d->snapshot.len > 0) {
        memcpy(s->bufs[0].base, d->snapshot.data, d->snapshot.len);
    }
    return s;
}

struct raft_entry *sim_entries_copy(const struct raft_entry *entries, unsigned n)
{
    if (n == 0) {
        return NULL;
    }
    size_t size = 0;
    for (unsigned i = 0; i < n; i++) {
        size += entries[i].buf.len;
    }
    uint8_t *batch = raft_malloc(size);
    struct raft_entry *copy = raft_calloc(n, sizeof *copy);
    CHECK(batch != NULL && copy != NULL);
    uint8_t *cursor = batch;
    for (unsigned i = 0; i < n; i++) {
        copy[i] = (struct raft_entry){.term = entries[i].term, .type = entries[i].type, .batch = batch};
        copy[i].buf = (struct raft_buffer){.base = cursor, .len = entries[i].buf.len};
        memcpy(cursor, entries[i].buf.base, entries[i].buf.len);
        cursor += entries[i].buf.len;
    }
    return copy;
}

struct raft_entry *sim_disk_load_entries(const struct sim_disk *d)
{
    if (d->n == 0) {
        return NULL;
    }
    struct raft_entry *view = xcalloc(d->n, sizeof *view);
    for (size_t i = 0; i < d->n; i++) {
        view[i].term = d->entries[i].term;
        view[i].type = d->entries[i].type;
        view[i].buf = (struct raft_buffer){.base = d->entries[i].data.data, .len = d->entries[i].data.len};
    }
    struct raft_entry *copy = sim_entries_copy(view, (unsigned)d->n);
    free(view);
    return copy;
}
