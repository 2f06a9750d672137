/* A group under test: a log, a database and a loader that the test moves by hand. */
#ifndef WB_NODE_GROUP_FIXTURE_H
#define WB_NODE_GROUP_FIXTURE_H

#include "flush/flush_batch.h"
#include "node/group.h"
#include "proto/log_entry.h"

struct logged {
    struct list link;
    uint64_t index;
    struct buf raw;
};

enum db_call { DB_NONE, DB_INSPECT, DB_CLAIM, DB_TAKE };

struct fixture {
    struct group *group;
    uint64_t now_ms;
    /* the log: proposed entries wait in `log` until committed */
    struct list log;
    uint64_t last_index;
    unsigned proposals;         /* entries ever proposed */
    enum status propose_status; /* what the next ones come to */
    bool lease;
    uint64_t barrier_token; /* the newest barrier proposed */
    unsigned barriers;
    bool seed_found;
    struct flush_identity seed;
    /* the database */
    enum db_call db_call; /* what waits for its event */
    struct flush_identity db_identity;
    struct flush_inspected db_expected;
    uint64_t db_term;
    unsigned disconnects;
    struct flush_batch sent[8]; /* batches sent and not freed */
    unsigned sent_n;
    unsigned finishes, notes, releases; /* calls */
    bool noting;                        /* a note waits for its event */
    struct flush_note said;             /* by the newest finish or note */
    unsigned mirrored;                  /* rows of the newest mirror; UINT32_MAX: there was none */
    bool wanted;                        /* what the flusher says */
    /* loads */
    unsigned loads;
    uint64_t load_token;
    unsigned load_keys;
    struct buf
        load_asked; /* the newest load's keys: for each its length (4 bytes, little endian) and its bytes */
    unsigned expired_searches;
    uint64_t contact_age_ms;
};

/* One request of a test, with its outcome. */
struct ask {
    struct group_request r;
    struct bytes key;           /* of a read */
    struct operation operation; /* of an update */
    struct operation_result result;
    struct group_scan scan;
    bool done;
};

/* A group whose gate is open, in @term 1. With @ready it is also born, claimed and flushing (ACTIVE, last
 * batch 0). */
void fixture_init(struct fixture *f, uint32_t group, bool adopt, bool ready);
void fixture_deinit(struct fixture *f);
void fixture_turn(struct fixture *f);
/* Let @ms pass, then a turn. */
void fixture_pass(struct fixture *f, uint64_t ms);
/* Commit and apply the oldest @n entries (all with UINT32_MAX), with a turn after each. Returns how many. */
unsigned fixture_commit(struct fixture *f, unsigned n);
/* Apply @entry as another leader's: it was never in `log`. */
void fixture_apply(struct fixture *f, Wblog__Entry *entry);
/* The office ends; another one begins, in @term, with what has applied, and takes the fence row, which names
 * @last_batch: it is ACTIVE then if that settles nothing. */
void fixture_depose(struct fixture *f);
void fixture_elect(struct fixture *f, uint64_t term, uint64_t last_batch);
/* Bring a new cluster to ACTIVE. */
void fixture_make_ready(struct fixture *f);

/* Submit; the ask must live until it is done. */
void ask_get(struct fixture *f, struct ask *a, const char *key, uint64_t conn);
void ask_exists(struct fixture *f, struct ask *a, const char *key, uint64_t conn);
void ask_set(struct fixture *f, struct ask *a, const char *key, const char *value, uint64_t conn);
void ask_del(struct fixture *f, struct ask *a, const char *key, uint64_t conn);
void ask_stale(struct fixture *f, struct ask *a, const char *key);
void ask_incr(struct fixture *f, struct ask *a, const char *key, int64_t delta, uint64_t conn);
/* Any operation; its key and value are texts that must live as long as @a. */
void ask_update(struct fixture *f, struct ask *a, const struct operation *operation, uint64_t conn);
/* The same as sequence @sequence of @session, with that as the first awaited one. */
void ask_once(struct fixture *f, struct ask *a, const struct operation *operation, uint64_t session,
    uint64_t sequence, bool retry);
void ask_flush(struct fixture *f, struct ask *a);
void ask_wait(struct fixture *f, struct ask *a, uint64_t index);
void ask_scan(struct fixture *f, struct ask *a, uint64_t cursor, const char *prefix, uint32_t looks);
/* Open a session and commit it: its id. */
uint64_t open_session_now(struct fixture *f);
/* Submit, turn, and commit whatever that proposes. */
void set_now(struct fixture *f, const char *key, const char *value);
/* Asserts that @a is done with OK and this value (NULL: not found); frees it. */
void assert_got(struct ask *a, const char *value);
void assert_done(const struct ask *a, enum status status);

/* Events of the database and the loader. */
void db_taken(struct fixture *f, uint64_t last_batch);
void db_inspected(struct fixture *f, enum flush_inspection found, uint64_t version_ceiling);
void db_claimed(struct fixture *f);
void db_committed(struct fixture *f, uint64_t batch);
void db_isolated(struct fixture *f, uint64_t batch, const struct flush_fault *faults, uint32_t n);
void db_noted(struct fixture *f);
void db_failed(struct fixture *f, enum flush_error_class class, const char *message);
/* Answer the newest load with one row (or none when @key is NULL). */
void loader_answer(struct fixture *f, const char *key, const char *value, uint64_t last_batch);
/* The same with an expiry. */
void loader_answer_expiring(
    struct fixture *f, const char *key, const char *value, uint64_t expires_at_ms, uint64_t last_batch);
void loader_fail(struct fixture *f, const char *message);

#endif
