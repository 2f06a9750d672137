/* What the simulated cluster has promised so far, and the checks that it keeps it.
 *
 * The history is written by the first replica that applies an entry; every other replica must then agree.
 * From it follows what the database may hold, what the flushed index and the database's own words about its
 * freshness mean (sim_database.c), and what a client may be told (sim_judge.c). The first promise that breaks
 * is kept as a sentence; the run ends there.
 *
 * Keys are of six kinds, so that what is in the log can be judged by itself:
 *   plain     set to values that are different each time, and deleted
 *   counter   incremented, and nothing else
 *   list      appended to, with texts that are different each time, and deleted
 *   expiring  as plain, with expiries that come, change and go
 *   hash      its fields are set to values that are different each time, and taken away
 *   purse     two that are next to each other are a pair, between which amounts are moved: they are written
 * together only, and their sum is zero */
#ifndef WB_SIM_HISTORY_H
#define WB_SIM_HISTORY_H

#include "cluster-tests/sim/fake_db.h"
#include "cluster-tests/sim/sim_once.h"
#include "node/operation.h"
#include "node/state.h"
#include "proto/log.pb-c.h"

enum { SIM_KEYS_MAX = 32, SIM_KEY_BYTES = 16, SIM_VALUE_BYTES = 32 };

enum sim_key_kind { SIM_PLAIN, SIM_COUNTER, SIM_LIST, SIM_EXPIRING, SIM_HASH, SIM_PURSE };

/* One write of one key, as the log has it. */
struct sim_record {
    uint64_t index;
    uint64_t version;
    struct value *value; /* a reference; NULL: a delete */
    uint8_t type;        /* enum value_type */
    uint64_t expires_at_ms;
    uint64_t serial; /* of the value, or of the last text of a list; 0: a delete, a counter */
    /* The leader evaluated it at a time from the first to the second of these, and not earlier or later. */
    uint64_t after_ms, stamp_ms;
    int64_t told_us; /* when somebody was told of it first, by the database's clock; 0: nobody was */
};

struct sim_key {
    char name[SIM_KEY_BYTES];
    enum sim_key_kind kind;
    uint32_t group;
    struct sim_record *records; /* by version */
    size_t n, capacity;
    uint64_t floor;        /* no read that starts now may be older than this version */
    bool gone;             /* and it was seen that the key was gone just before that version */
    uint64_t acknowledged; /* the newest version that somebody was told of */
    uint64_t removed; /* the index of the newest entry in which a transaction has deleted it, if only for a
                         moment */
    /* in the database */
    uint64_t db_version;     /* newest version that it wrote or deleted, as it is there now */
    uint64_t db_most;        /* ... as it ever was */
    uint64_t batch;          /* the newest one that wrote the key, ... */
    uint64_t batch_stamp_ms; /* ... and when the log said that it is there */
    uint64_t excused; /* versions up to this one need not be there: they were counted as lost, or given up */
    bool lost;        /* some were: what is read of the key may be older than what was known */
    uint64_t whole_index; /* of a pair's first purse: how far the log was when the database last had all of a
                             move, or none of it */
    /* in quarantine */
    bool quarantined;
    uint64_t quarantine_index; /* the newest one of the log at which it was */
    uint64_t refused_batch;    /* the newest one whose row of it the log has put there */
    /* How many requests may have deleted it, or written its value again for another expiry; and how many
     * writes of the log nothing else explains. */
    uint64_t deletes_asked, deletes, rewrites_asked, rewrites;
};

/* What is known when a request begins: its answer may not be older. */
struct sim_before {
    uint64_t floor;
    bool gone;
    uint64_t acknowledged;
    uint64_t stamp_ms; /* the newest one of the group's log */
    uint64_t index;    /* likewise */
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
    uint64_t term;     /* of the newest entry */
    uint64_t stamp_ms; /* of the newest entry */
    uint64_t after_ms; /* no write of the next entry was evaluated earlier than this */
    /* what the log says of the flush */
    uint64_t last_batch;
    uint64_t batch_stamp_ms; /* of the entry that said so */
    uint64_t rewinds, lost;
    bool rewound;           /* the database was another one once */
    uint64_t travel_index;  /* how far the log was when it became another one last, or was not mended yet */
    uint64_t cut_batch;     /* the newest batch that might cut transactions */
    uint64_t lost_unjudged; /* rows counted while it could not be said which ones */
    bool judge_later;       /* ... and that is still so */
    uint64_t quarantines, drops, losses;
    int64_t fresh_us; /* fresh_as_of, as the database has it */
    struct sim_once once;
};

struct sim_history {
    const struct fake_db *db;  /* NULL: there is none, and nobody looks for anything there */
    bool retention_is_by_time; /* no limit of memory cuts it short */
    bool travelled;            /* the database was another one at some time */
    struct sim_key keys[SIM_KEYS_MAX];
    unsigned n_keys;
    struct sim_group_history groups[SIM_GROUPS_MAX];
    bool *refused;         /* by serial: the client was told that nothing was done */
    uint64_t *written_at;  /* by serial: the index of its write */
    uint64_t *followed_by; /* by serial of a purse: that of the move which began from it */
    uint64_t serials, serials_capacity;
    uint64_t writes, acknowledged, reads, flushed_rows, flush_waits, expired;
    bool failed;
    char failure[4096];
};

void sim_history_init(struct sim_history *h, unsigned n_keys, uint32_t group_count);
void sim_history_deinit(struct sim_history *h);

/* The serial number of a new value; values are unique. */
uint64_t sim_history_serial(struct sim_history *h);
/* The value with that number for a key of @kind (of a list: what is appended), as text in @out, which has
 * SIM_VALUE_BYTES. Returns its length. */
size_t sim_value_text(enum sim_key_kind kind, uint64_t serial, char *out);

/* A purse's value: @amount, and the serial number of the write. */
size_t sim_purse_text(int64_t amount, uint64_t serial, char *out);
struct sim_purse {
    int64_t amount;
    uint64_t serial; /* 0: there is none */
};
struct sim_purse sim_purse_read(struct bytes value);
/* Are @a and @b what one move has left in the two purses of a pair? No bytes: the purse is not there. */
bool sim_purses_match(struct bytes a, struct bytes b);
/* The number in the text "value-N"; 0: it is no such text. */
uint64_t sim_value_serial(struct bytes text);
/* The other purse of the pair. */
unsigned sim_history_partner(const struct sim_history *h, unsigned key);

/* ---- What happens ---- */

/* A replica of @group has applied @entry at @index, and its state is now @state. */
void sim_history_applied(
    struct sim_history *h, uint32_t group, uint64_t index, struct bytes entry, const struct state *state);
/* A replica was restored to @state. */
void sim_history_restored(struct sim_history *h, uint32_t group, const struct state *state);

/* ---- The database (sim_database.c) ---- */

/* It commits a batch now. */
void sim_history_commit(struct sim_history *h, const struct fake_commit *commit);
/* How many pairs of purses of the group are not what one move has left, in the database after @commit. Each
 * needs an excuse since it was whole: a purse was in quarantine, the database was another one, or the log
 * said that a batch cuts transactions. */
unsigned sim_history_torn(struct sim_history *h, const struct fake_commit *commit);
/* The fence row of @group, or what the group has, is another one now. */
void sim_history_changed(struct sim_history *h, uint32_t group);
/* What it has of each key at this moment goes to @versions, of n_keys. */
void sim_history_database(const struct sim_history *h, uint64_t *versions);
/* It has become, as a whole, what it was when @versions was filled. */
void sim_history_travelled(struct sim_history *h, const uint64_t *versions);
/* @entry has applied for the first time, and made @state of its group's state. */
void sim_history_says(struct sim_history *h, uint32_t group, uint64_t index, const Wblog__Entry *entry,
    const struct state *state);

/* ---- What clients ask ---- */

/* A request for @key begins. */
struct sim_before sim_history_before(const struct sim_history *h, unsigned key);
/* A client is about to ask for @op, which may come to be executed. */
void sim_history_asked(struct sim_history *h, unsigned key, const struct operation *op);

/* ---- What clients are told (sim_judge.c) ---- */

/* @op, which began at @before, was done with @result. */
void sim_history_done(struct sim_history *h, unsigned key, const struct operation *op,
    const struct sim_before *before, const struct operation_result *result);
/* The same for a transaction, whose entry is at @index: its write was to be @value (no data: a delete).
 * Another one of the same entry may have taken its place. Returns the write itself, if it is in the log. */
const struct sim_record *sim_history_transacted(
    struct sim_history *h, unsigned key, uint64_t index, uint64_t serial, struct bytes value);
/* A transaction of the entry at @index, which is about to be applied, has deleted @key: perhaps the log shows
 * only what another one has written in its place. */
void sim_history_removed(struct sim_history *h, unsigned key, uint64_t index);
/* A transaction has looked at @key. @known: which version that was; it is not for what is in an open entry.
 */
void sim_history_looked(struct sim_history *h, unsigned key, const struct sim_before *before, bool found,
    bool known, uint64_t version, struct bytes value);
/* A transaction that was to write only if @key is still of version @noted (0: is not there) has written, at
 * @index. */
void sim_history_watched(struct sim_history *h, unsigned key, uint64_t index, uint64_t noted);
/* The condition of @op did not hold. */
void sim_history_condition_failed(struct sim_history *h, unsigned key, const struct operation *op,
    const struct sim_before *before, const struct operation_result *result);
/* A client was told that its write of value @serial was certainly not done. */
void sim_history_refused(struct sim_history *h, unsigned key, uint64_t serial);
/* A read has answered; @value.data is NULL when it did not tell the value. */
void sim_history_read(struct sim_history *h, unsigned key, const struct sim_before *before, bool found,
    uint64_t version, struct bytes value);
/* The same for a question whether @key exists. */
void sim_history_exists(struct sim_history *h, unsigned key, const struct sim_before *before, bool found);
/* A stale read has answered, as of @stamp_ms: it must have been so once. */
void sim_history_stale(
    struct sim_history *h, unsigned key, uint64_t stamp_ms, bool found, uint64_t version, struct bytes value);
/* A wait for the flush of @group is over; @befores are those of all keys when it began. */
void sim_history_flushed(struct sim_history *h, uint32_t group, const struct sim_before *befores);
/* A client was told that @version of @key is in the database. If it waited for the log's index only, its
 * request began at @before, and the key may be in quarantine; a write's own answer (@before NULL) would say
 * that. */
void sim_history_in_database(
    struct sim_history *h, unsigned key, const struct sim_before *before, uint64_t version);
/* ... that some of @keys, which its request wrote or waits for, are refused there. */
void sim_history_quarantined(
    struct sim_history *h, const unsigned *keys, unsigned n, const struct sim_before *befores);
/* The log has the outcome of a session's request, as entry @index; @wrote: it changed something. */
void sim_history_outcome(struct sim_history *h, uint32_t group, uint64_t session, uint64_t sequence,
    uint64_t index, uint32_t status);
/* A client was told that its request was certainly not done, and never will be. */
void sim_history_never(struct sim_history *h, uint32_t group, uint64_t session, uint64_t sequence);

/* ---- Questions ---- */

/* The newest write of @key, or NULL. */
const struct sim_record *sim_history_newest(const struct sim_history *h, unsigned key);
/* The first and the last write of @key by the entry at @index; NULL: it has none. */
const struct sim_record *sim_history_first_at(const struct sim_key *key, uint64_t index);
const struct sim_record *sim_history_last_at(const struct sim_key *key, uint64_t index);
/* The newest write of @key with an index below @index, or NULL. */
const struct sim_record *sim_history_newest_before(const struct sim_key *key, uint64_t index);
/* How many keys of @group are in quarantine. */
unsigned sim_history_quarantine_size(const struct sim_history *h, uint32_t group);
/* The key with that name, or NULL. */
struct sim_key *sim_history_key(struct sim_history *h, struct bytes name);
/* A counter's value as a number. */
int64_t sim_history_number(struct bytes value);
const struct sim_record *sim_history_version(const struct sim_key *key, uint64_t version);
/* Has @r been a value once, and is it certainly over by its expiry? */
static inline bool sim_record_expired(const struct sim_record *r, uint64_t stamp_ms)
{
    return r->value != NULL && r->expires_at_ms != 0 && r->expires_at_ms <= stamp_ms;
}

void sim_history_fail(struct sim_history *h, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
