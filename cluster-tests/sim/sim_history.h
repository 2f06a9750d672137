/* What the simulated cluster has promised so far, and the checks that it keeps it.
 *
 * The history is written by the first replica that applies an entry; every other replica must then agree.
 * From it follows what the database may hold, what the flushed index means, and what a read may answer. The
 * first promise that breaks is kept as a sentence; the run ends there. */
#ifndef WB_SIM_HISTORY_H
#define WB_SIM_HISTORY_H

#include "cluster-tests/sim/fake_db.h"
#include "node/state.h"

enum { SIM_KEYS_MAX = 32, SIM_KEY_BYTES = 16 };

/* One write of one key, as the log has it. */
struct sim_record {
    uint64_t index;
    uint64_t version;
    uint64_t serial; /* of its value; 0: a delete */
};

struct sim_key {
    char name[SIM_KEY_BYTES];
    uint32_t group;
    struct sim_record *records; /* by version */
    size_t n, capacity;
    uint64_t floor;      /* no read that starts now may be older than this version */
    uint64_t db_version; /* newest version that the database wrote or deleted */
};

/* One log index, as the first replica left it. */
struct sim_point {
    uint64_t entry_hash; /* 0: not seen */
    uint64_t state_hash;
    uint64_t flushed_index;
};

struct sim_group_history {
    struct sim_point *points; /* by log index */
    size_t n;
    uint64_t newest; /* index of the newest one seen */
    uint64_t flushed_index;
    uint64_t many_keys; /* entries with more than one write */
    uint64_t version_base;
};

struct sim_history {
    struct sim_key keys[SIM_KEYS_MAX];
    unsigned n_keys;
    struct sim_group_history groups[SIM_GROUPS_MAX];
    bool *refused; /* by serial: the client was told that nothing was done */
    uint64_t serials, serials_capacity;
    uint64_t writes, acknowledged, reads, flushed_rows, flush_waits;
    bool failed;
    char failure[512];
};

void sim_history_init(struct sim_history *h, unsigned n_keys, uint32_t group_count);
void sim_history_deinit(struct sim_history *h);

/* The serial number of a new value; values are unique. */
uint64_t sim_history_serial(struct sim_history *h);
/* The value with that number, as text in @out (32 bytes). Returns its length. */
size_t sim_value_text(uint64_t serial, char *out);

/* A replica of @group has applied @entry at @index, and its state is now @state. */
void sim_history_applied(
    struct sim_history *h, uint32_t group, uint64_t index, struct bytes entry, const struct state *state);
/* A replica was restored to @state. */
void sim_history_restored(struct sim_history *h, uint32_t group, const struct state *state);
/* The database commits a batch now. As fake_db.on_commit, whose data is the history. */
void sim_history_commit(
    void *history, uint32_t group, uint64_t batch, const struct fake_write *writes, size_t n);

/* A client was told that its write happened. @serial 0: a delete. */
void sim_history_acknowledged(struct sim_history *h, unsigned key, uint64_t version, uint64_t serial);
/* A client was told that its write was certainly not done. */
void sim_history_refused(struct sim_history *h, unsigned key, uint64_t serial);
/* A read that began when the key's floor was @floor has answered. */
void sim_history_read(
    struct sim_history *h, unsigned key, uint64_t floor, bool found, uint64_t version, struct bytes value);
/* The same for a question whether @key exists. */
void sim_history_exists(struct sim_history *h, unsigned key, uint64_t floor, bool found);
/* A wait for the flush of @group is over; @floors are those of all keys when it began. */
void sim_history_flushed(struct sim_history *h, uint32_t group, const uint64_t *floors);
/* The newest write of @key, or NULL. */
const struct sim_record *sim_history_newest(const struct sim_history *h, unsigned key);

void sim_history_fail(struct sim_history *h, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
