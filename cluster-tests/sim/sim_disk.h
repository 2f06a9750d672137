/* What a simulated server's disk holds for one Raft group: all that survives a crash. Changes here are
 * durable; the time that they take, and what a crash loses of them, is sim_io's business. */
#ifndef WB_SIM_DISK_H
#define WB_SIM_DISK_H

#include <raft.h>

#include "proto/base/buf.h"

struct sim_disk_entry {
    uint64_t term;
    enum raft_entry_type type;
    struct buf data;
};

struct sim_disk {
    uint64_t term;
    uint64_t voted_for;
    uint64_t start_index; /* of entries[0]; of the next entry when there is none */
    struct sim_disk_entry *entries;
    size_t n, capacity;
    /* the newest snapshot; index 0: none */
    uint64_t snapshot_index;
    uint64_t snapshot_term;
    uint64_t configuration_index;
    struct buf configuration; /* encoded */
    struct buf snapshot;
};

void sim_disk_init(struct sim_disk *d);
void sim_disk_deinit(struct sim_disk *d);

/* The index after the last entry. */
uint64_t sim_disk_next_index(const struct sim_disk *d);
/* Append the first @n of @entries (copied); the first one has @index, which must be the next one. */
void sim_disk_append(struct sim_disk *d, uint64_t index, const struct raft_entry *entries, unsigned n);
/* Drop the entries from @index on. */
void sim_disk_truncate(struct sim_disk *d, uint64_t index);
/* Keep @snapshot (copied). @trailing 0 is an installed one: the whole log goes. Otherwise @trailing entries
 * before its index stay. */
void sim_disk_put_snapshot(struct sim_disk *d, const struct raft_snapshot *snapshot, unsigned trailing);
/* A copy on libraft's heap, the caller's; NULL when there is no snapshot. */
struct raft_snapshot *sim_disk_get_snapshot(const struct sim_disk *d);
/* All entries in one batch on libraft's heap, the caller's; NULL when there is none. */
struct raft_entry *sim_disk_load_entries(const struct sim_disk *d);

/* Copies on libraft's heap, payloads in one batch, as libraft wants what it is handed. NULL for none. */
struct raft_entry *sim_entries_copy(const struct raft_entry *entries, unsigned n);

#endif
