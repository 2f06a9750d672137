/* libwbcache: the client library of the wbcache write-behind cache.
 *
 *     struct wbcache *cache;
 *     if (wbcache_open(&cache, "10.0.0.1:7101,10.0.0.2:7101", NULL) != WBCACHE_OK) { ... }
 *     if (wbcache_set(cache, "cart:17", 7, "3 apples", 8, NULL) != WBCACHE_OK) {
 *         fprintf(stderr, "%s\n", wbcache_errmsg(cache));
 *     }
 *     wbcache_close(cache);
 *
 * A handle connects to any of the given nodes, learns which node leads which slots, follows redirects, and
 * tries again, with back-off, until the call's deadline. A write is executed at most once, however often it
 * is sent: the handle opens a session with each group that it writes to, and a node that gets a write again
 * answers what the first try came to. So a write is either acknowledged (a quorum of nodes has it on disk),
 * certainly not done, or, when the deadline leaves it open, reported as WBCACHE_UNKNOWN: it may have happened
 * or not, or still happen shortly.
 *
 * Threading: one thread at a time per handle; several handles are independent. No signals are raised (SIGPIPE
 * is suppressed per call) and no threads are started. Keys are 0 to 1024 bytes, values 0 to 1 MiB; both may
 * hold any byte. */
#ifndef WBCACHE_H
#define WBCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WBCACHE_API __attribute__((visibility("default")))

/* Results of calls. The numbers are those of the protocol and never change. */
enum wbcache_result_code {
    WBCACHE_OK = 0,
    WBCACHE_NOT_FOUND = 1,   /* get: no such key */
    WBCACHE_NOT_LEADER = 2,  /* handled inside the library; seen only when the deadline passes meanwhile */
    WBCACHE_UNAVAILABLE = 3, /* no leader could be reached by the deadline; nothing was done */
    WBCACHE_UNKNOWN = 4,     /* the write may or may not have happened */
    WBCACHE_TIMEOUT = 5,     /* the deadline passed; a read, or a write that was certainly not done */
    WBCACHE_OVERLOADED = 6,  /* too much waits for the database; nothing was done */
    WBCACHE_INVALID = 7,     /* an argument is not valid */
    WBCACHE_TOO_BIG = 8,
    WBCACHE_CROSS_GROUP = 9,
    WBCACHE_DATABASE_DOWN = 10, /* the key is not in memory, and the database cannot be reached */
    WBCACHE_HALTED = 11,        /* the group needs an operator */
    WBCACHE_SHUTTING_DOWN = 12,
    WBCACHE_CLOSED = 13,
    WBCACHE_CORRUPT = 14,
    WBCACHE_IO = 15,
    WBCACHE_NOMEM = 16,
    WBCACHE_INTERNAL = 17,
    WBCACHE_AGAIN = 18, /* wbcache_receive: nothing yet */
    WBCACHE_NO_SPACE = 19,
    WBCACHE_NOT_FLUSHED =
        20, /* done and replicated, but not in PostgreSQL by the deadline: nothing is lost */
    WBCACHE_CONDITION_FAILED = 21, /* the condition does not hold; nothing was done */
    WBCACHE_NOT_A_NUMBER = 22,     /* incr: the value is no decimal number of 64 bits; nothing was done */
    WBCACHE_OUT_OF_RANGE = 23,     /* incr: the sum has more than 64 bits; nothing was done */
    WBCACHE_WRONG_TYPE = 24,
    WBCACHE_SESSION_EXPIRED = 25, /* handled inside the library: it becomes UNKNOWN or a new try */
    WBCACHE_QUARANTINED = 26,     /* level FLUSHED: done and replicated, but PostgreSQL refuses the row */
};

struct wbcache;

struct wbcache_options {
    unsigned deadline_ms;        /* of each call; 0: 5000 */
    unsigned connect_timeout_ms; /* of one connection attempt; 0: 1000 */
    unsigned pipeline_max;       /* unanswered pipelined calls; 0: 1024 */
    bool no_sessions; /* do not open sessions: a write whose answer is lost is UNKNOWN at once, not tried
                         again */
};

/* Open a handle. @cluster is "HOST:PORT,HOST:PORT,..."; NULL means the environment's WBCACHE_CLUSTER.
 * Host may be a name, an IPv4 address, or an IPv6 address in brackets. Connects to one node to learn the
 * cluster.
 * @options may be NULL. On failure *@out is still set where memory allowed (for wbcache_errmsg) and must be
 * closed. */
WBCACHE_API int wbcache_open(
    struct wbcache **out, const char *cluster, const struct wbcache_options *options);
/* Release everything. NULL is allowed. Pipelined calls that were not received are forgotten. */
WBCACHE_API void wbcache_close(struct wbcache *cache);
/* The deadline of the calls from now on. */
WBCACHE_API void wbcache_set_deadline(struct wbcache *cache, unsigned deadline_ms);

/* The last error of this handle as a sentence for people; valid until the next call. */
WBCACHE_API const char *wbcache_errmsg(const struct wbcache *cache);
/* The name ("OVERLOADED") and the general meaning of a result code. Never NULL. */
WBCACHE_API const char *wbcache_code_name(int code);
WBCACHE_API const char *wbcache_strerror(int code);

/* ---- Blocking calls. Each returns a result code by its deadline. ---- */

/* Set @key. *@version (may be NULL) gets the write's version: higher than any earlier write's of this key. */
WBCACHE_API int wbcache_set(struct wbcache *cache, const void *key, size_t key_len, const void *value,
    size_t value_len, uint64_t *version);
/* Get @key. On OK *@value is malloc'd for the caller (free() it; it is never NULL, and a 0 byte follows the
 * value).
 * @version may be NULL. */
WBCACHE_API int wbcache_get(struct wbcache *cache, const void *key, size_t key_len, void **value,
    size_t *value_len, uint64_t *version);
/* Delete @key. *@existed (may be NULL) tells whether it was there. OK also when it was not. */
WBCACHE_API int wbcache_del(struct wbcache *cache, const void *key, size_t key_len, bool *existed);
WBCACHE_API int wbcache_exists(struct wbcache *cache, const void *key, size_t key_len, bool *exists);

struct wbcache_item {
    const void *key; /* the caller's */
    size_t key_len;
    void *value; /* mset: the caller's, not changed; mget: malloc'd when code is OK, else NULL */
    size_t value_len;
    uint64_t version; /* of the value, or of the write */
    int code;         /* mget: OK or NOT_FOUND; otherwise the result of this item's part */
};
/* Many keys at once. The keys of one group are one request (for mset: one log entry, all or nothing); a call
 * over several groups is split, the parts run side by side, and each item's code says what became of its
 * part. Returns OK when every part is OK (NOT_FOUND counts as such), else the first other code. At most 4096
 * items and 1 MiB of keys and values for each group. */
WBCACHE_API int wbcache_mget(struct wbcache *cache, struct wbcache_item *items, size_t n);
WBCACHE_API int wbcache_mset(struct wbcache *cache, struct wbcache_item *items, size_t n);

/* Delete many keys, split in the same way. Of an item: key in; code, and version (0: it was not there) out.
 */
WBCACHE_API int wbcache_mdel(struct wbcache *cache, struct wbcache_item *items, size_t n);

/* Add @delta to the number at @key, which counts as 0 when it is not there. *@sum and *@version may be NULL.
 * NOT_A_NUMBER, OUT_OF_RANGE: nothing was changed. */
WBCACHE_API int wbcache_incr(
    struct wbcache *cache, const void *key, size_t key_len, int64_t delta, int64_t *sum, uint64_t *version);

/* Wait until everything that the cluster acknowledged before this call is in PostgreSQL. NOT_FLUSHED at the
 * deadline: nothing is lost, only not yet flushed. */
WBCACHE_API int wbcache_flush(struct wbcache *cache);
/* Wait until @group's flushed index is at least @index. *@flushed_index (may be NULL) gets it, also with
 * NOT_FLUSHED; 0 when no node could say it. */
WBCACHE_API int wbcache_wait(struct wbcache *cache, unsigned group, uint64_t index, uint64_t *flushed_index);

/* ---- Everything that can be done to one key, with all options. ---- */

enum wbcache_op_kind {
    WBCACHE_OP_GET,
    WBCACHE_OP_EXISTS,
    WBCACHE_OP_INSPECT, /* type, length, expiry, version; not the value */
    WBCACHE_OP_SET,
    WBCACHE_OP_DEL,
    WBCACHE_OP_INCR,
    WBCACHE_OP_APPEND,
    WBCACHE_OP_EXPIRE, /* with an expiry: set it; without: remove it */
};
enum wbcache_condition {
    WBCACHE_IF_ANY,
    WBCACHE_IF_ABSENT,
    WBCACHE_IF_PRESENT,
    WBCACHE_IF_VERSION, /* of if_version; 0: it is not there */
};
enum wbcache_expire_if {
    WBCACHE_EXPIRE_ALWAYS,
    WBCACHE_EXPIRE_IF_NONE,
    WBCACHE_EXPIRE_IF_ANY,
    WBCACHE_EXPIRE_IF_LATER, /* than the present one; none counts as never */
    WBCACHE_EXPIRE_IF_EARLIER,
};
/* When a write is acknowledged: a quorum has it on disk, or it is in PostgreSQL too. */
enum wbcache_level { WBCACHE_REPLICATED, WBCACHE_FLUSHED };

/* Zero it, then set what is wanted. */
struct wbcache_op {
    enum wbcache_op_kind kind;
    const void *key;
    size_t key_len;
    const void *value; /* set, append */
    size_t value_len;
    int64_t delta;                    /* incr */
    enum wbcache_condition condition; /* set, del */
    uint64_t if_version;
    bool return_old;          /* set, del: the result carries the value before, if there was one */
    bool keep_expiry;         /* set; a set without this and without an expiry never expires */
    uint64_t expire_after_ms; /* set, expire; 0: not given */
    uint64_t expire_at_ms;    /* since 1970; 0: not given. By the leader's clock */
    enum wbcache_expire_if expire_if;
    enum wbcache_level level; /* writes. FLUSHED: NOT_FLUSHED when the deadline comes first, QUARANTINED when
                                 PostgreSQL refuses the row; the write is done all the same */
    bool stale; /* reads: from the memory of any node, preferably one without the leader's work; may be old */
};

/* What an operation came to. */
struct wbcache_result {
    int code;
    bool found; /* reads: it is there; del, expire: it was there; CONDITION_FAILED: it is there; else true */
    const void *value; /* get, return_old: the library's, valid until the next call on this handle; or NULL */
    size_t value_len;
    uint64_t version; /* reads: of the value; writes: of this write, 0 when nothing was written;
                         CONDITION_FAILED: of what is there */
    uint64_t index;   /* writes: the log index, for wbcache_wait; 0 when nothing was written */
    unsigned group;
    int64_t number;         /* incr: the sum */
    const char *type;       /* inspect: "string" */
    size_t length;          /* inspect, append: of the value */
    uint64_t expires_at_ms; /* inspect, expire: since 1970; 0: never */
    uint64_t ttl_ms;        /* inspect: until then */
    uint64_t age_ms;        /* stale: how long ago the node last heard from its leader */
};
/* Do @op. Returns @result->code. A get of a key that is not there is NOT_FOUND. */
WBCACHE_API int wbcache_do(struct wbcache *cache, const struct wbcache_op *op, struct wbcache_result *result);

/* ---- Scanning the keys in memory ---- */

struct wbcache_key {
    const void *key;
    size_t key_len;
};
/* Zero it (but for prefix, count and stale) to begin. */
struct wbcache_scan {
    const void *prefix; /* the caller's; NULL: all keys */
    size_t prefix_len;
    unsigned count; /* keys to look at in one step; 0: 1000 */
    bool stale;     /* answered by any node */
    /* what a step gives: the library's until the next call on this handle */
    const struct wbcache_key *keys;
    size_t n;
    bool done; /* there is no next step */
    /* the library's own */
    unsigned group;
    uint64_t cursor;
    unsigned node;
};
/* One step. A key that is in memory from the first step to the last is given at least once, some keys twice
 * (all of a group's again when its leader changes meanwhile or, with stale, the node that was asked is lost).
 * A step may give no keys though more follow: go on until @scan->done. */
WBCACHE_API int wbcache_scan(struct wbcache *cache, struct wbcache_scan *scan);

/* ---- Pipelined calls: many under way on one handle, from one thread. ---- */

/* What a pipelined call came to. */
struct wbcache_reply {
    void *tag; /* as given */
    struct wbcache_result result;
};
/* Send without waiting. @key and @value are copied. The call has the handle's deadline, redirects and retries
 * as a blocking one; calls on the same key are not reordered by the library unless one of them had to be
 * retried. OK: one reply with @tag will come out of wbcache_receive. AGAIN: pipeline_max are under way;
 * receive first. */
WBCACHE_API int wbcache_send_set(
    struct wbcache *cache, const void *key, size_t key_len, const void *value, size_t value_len, void *tag);
WBCACHE_API int wbcache_send_get(struct wbcache *cache, const void *key, size_t key_len, void *tag);
WBCACHE_API int wbcache_send_del(struct wbcache *cache, const void *key, size_t key_len, void *tag);
WBCACHE_API int wbcache_send(struct wbcache *cache, const struct wbcache_op *op, void *tag);
/* Take one reply. Waits at most @wait_ms (0: only looks; sends what is queued). AGAIN: none yet, or none
 * under way. */
WBCACHE_API int wbcache_receive(struct wbcache *cache, struct wbcache_reply *reply, unsigned wait_ms);
/* Calls under way: sent, and not yet received. */
WBCACHE_API size_t wbcache_pending(const struct wbcache *cache);

/* ---- What the cluster looks like ---- */

/* Where a key lives: its slot and its group. */
WBCACHE_API int wbcache_locate(
    struct wbcache *cache, const void *key, size_t key_len, unsigned *slot, unsigned *group);
/* How many groups the cluster has: they are numbered from 0. */
WBCACHE_API int wbcache_group_count(struct wbcache *cache, unsigned *count);

/* How a group flushes. In a change and in what operators have set, only what has its has_... counts. */
struct wbcache_flush_settings {
    bool has_paused, has_rows_per_second, has_batch_rows, has_batch_bytes, has_age_ms;
    bool paused;
    uint32_t rows_per_second; /* 0: no limit */
    uint32_t batch_rows;      /* in one transaction */
    uint64_t batch_bytes;
    uint32_t age_ms; /* how long a write may wait for others to share a transaction with */
};

struct wbcache_group_status {
    uint32_t group;
    const char *role;
    bool ready;
    uint64_t leader_id, term, last_index, commit_index, applied_index, flushed_index, last_batch;
    uint64_t dirty_entries, dirty_bytes, oldest_dirty_ms, batches_in_flight, entries, bytes;
    const char *flush_state;
    const char *flush_error; /* "" when none */
    uint64_t rows_flushed, batches_flushed, writes_applied, loads, state_hash, epoch, hits, misses,
        flush_failures, fenced;
    uint64_t evicted, expired, expiring, sessions, session_results, session_bytes, contact_age_ms;
    /* of what goes wrong: "" when nothing does. The class is one of outage, transient, row, fenced,
     * predecessor, halt; the SQLSTATE is PostgreSQL's, "" when the connection itself failed. */
    const char *flush_error_class;
    const char *flush_error_sqlstate;
    uint64_t flush_error_ms; /* for so long */
    uint64_t quarantined;    /* rows that PostgreSQL refuses */
    /* flushed keys that are kept in memory in case PostgreSQL goes back in time */
    uint64_t retained, retained_bytes, retained_batches;
    bool recovering;  /* it did, and does not have everything again yet */
    uint64_t rewinds; /* how often */
    uint64_t lost;    /* rows that it lost and memory did not have any more; until acknowledged */
    uint64_t lost_ms; /* ago */
    struct wbcache_flush_settings settings; /* in force; no has_... is set if the node did not say them */
    uint64_t fresh_as_of_ms; /* since 1970, by PostgreSQL's clock: every write acknowledged before it is in
                                PostgreSQL, but for those in quarantine; 0: not known yet */
    bool watched;            /* changes by others are heard (wb.watch) */
};
struct wbcache_node_status {
    uint64_t node_id; /* 0 when the node could not be asked and its id is not known */
    const char *client_address;
    const char *peer_address; /* "" when not known */
    int code;                 /* OK when the node answered; only then what follows is set */
    const char *version;
    uint64_t uptime_ms, connections, memory_bytes, requests, cache_bytes, memory_max_bytes;
    const char *cluster_id; /* hex, "" when not known yet */
    uint32_t group_count;
    const struct wbcache_group_status *groups;
    size_t n_groups;
    uint32_t
        database_connections; /* at most, for the flushes of the groups that it leads; 0: it didn't say */
    uint32_t database_connections_used;
};
struct wbcache_status {
    const struct wbcache_node_status *nodes;
    size_t n_nodes;
};
/* Ask every known node. OK when at least one answered. *@out is malloc'd as one whole: wbcache_status_free
 * it. */
WBCACHE_API int wbcache_status(struct wbcache *cache, struct wbcache_status **out);
WBCACHE_API void wbcache_status_free(struct wbcache_status *status);

/* ---- For operators: how far a key is, what PostgreSQL refuses, how the cluster flushes ----
 *
 * Each goes to the leader of its group, wherever that moves meanwhile. Pointers in what they give are the
 * library's, valid until the next call on this handle. */

/* A row that PostgreSQL refuses. Reads of its key give its newest value, which is in `value` when asked for.
 */
struct wbcache_quarantined {
    unsigned group;
    const void *key;
    size_t key_len;
    uint64_t version;         /* of the newest value */
    uint64_t refused_version; /* of the one that was refused: older when the key was written since */
    const char *sqlstate;
    const char *message; /* PostgreSQL's */
    uint32_t attempts;
    uint64_t since_ms;    /* ago: its oldest write that PostgreSQL does not have */
    uint64_t refused_ms;  /* ago: the last attempt */
    uint64_t retry_in_ms; /* the next one */
    bool deleted;         /* what is refused is a delete */
    size_t length;        /* of the value */
    const void *value;    /* NULL unless asked for */
    size_t value_len;
};

/* How far a key is on its way to PostgreSQL. */
struct wbcache_key_state {
    unsigned group;
    bool in_memory; /* else only `group` is set: what PostgreSQL has is what holds */
    bool present;   /* false: deleted, or known to be absent */
    uint64_t version;
    size_t length;
    uint64_t dirty_index; /* its oldest write that PostgreSQL does not have; 0: none, it is clean */
    uint64_t dirty_ms;    /* age of that write */
    uint64_t in_flight;   /* the batch that it is being written with; 0: none */
    bool queued;          /* its newest value waits for a batch */
    const struct wbcache_quarantined *quarantined; /* or NULL */
    uint64_t flushed_in;    /* the batch that last wrote it, while that is remembered; else 0 */
    bool evictable;         /* it may leave memory at any time */
    uint64_t expires_at_ms; /* since 1970; 0: never */
};
WBCACHE_API int wbcache_key_status(
    struct wbcache *cache, const void *key, size_t key_len, struct wbcache_key_state *state);

/* Zero it (but for values and count) to begin. */
struct wbcache_quarantine {
    bool values;    /* with the values; fewer rows then come in a step */
    unsigned count; /* rows in a step; 0: 100 */
    /* what a step gives: rows of one group, the oldest first */
    const struct wbcache_quarantined *rows;
    size_t n;
    bool done;
    /* the library's own */
    unsigned group;
    uint64_t skip;
};
/* One step through what PostgreSQL refuses. When rows come and go meanwhile, some may be missed or given
 * twice. */
WBCACHE_API int wbcache_quarantine_list(struct wbcache *cache, struct wbcache_quarantine *list);
/* One row with its value. NOT_FOUND: the key is not in quarantine. */
WBCACHE_API int wbcache_quarantine_get(
    struct wbcache *cache, const void *key, size_t key_len, struct wbcache_quarantined *row);
/* Let these keys (@n 0: all) be tried again at the next opportunity, without waiting for it. *@count (may be
 * NULL) gets how many of them are in quarantine. Trying again by itself goes on with a growing pause. */
WBCACHE_API int wbcache_quarantine_retry(
    struct wbcache *cache, const struct wbcache_key *keys, size_t n, uint64_t *count);
/* Give up what is refused of these keys: each is again what PostgreSQL has. *@count (may be NULL) gets how
 * many were given up: not those that were not in quarantine, or are just being tried. UNKNOWN: perhaps some
 * more. */
WBCACHE_API int wbcache_quarantine_drop(
    struct wbcache *cache, const struct wbcache_key *keys, size_t n, uint64_t *count);

struct wbcache_flush_state {
    struct wbcache_flush_settings settings; /* in force: all of them */
    struct wbcache_flush_settings set;      /* by operators; the others are as each node is configured */
};
/* Change how @group flushes, now and for its later leaders: first back to the configuration (and not paused)
 * if
 * @reset, then what @change (NULL: nothing) has. Neither: only ask. @state may be NULL. */
WBCACHE_API int wbcache_flush_control(struct wbcache *cache, unsigned group,
    const struct wbcache_flush_settings *change, bool reset, struct wbcache_flush_state *state);
/* What @group lost when PostgreSQL went back in time has been seen: it is not shown any more. *@rows (may be
 * NULL) gets how many rows that were. UNKNOWN: perhaps; ask for the status. */
WBCACHE_API int wbcache_acknowledge_loss(struct wbcache *cache, unsigned group, uint64_t *rows);
/* How many connections to PostgreSQL the flushes of node @node_id (0: of each node) share, until it is
 * restarted. */
WBCACHE_API int wbcache_database_connections(struct wbcache *cache, uint64_t node_id, unsigned connections);

enum wbcache_difference_kind {
    WBCACHE_MISSING = 1,    /* the row is not there */
    WBCACHE_OLDER = 2,      /* the row has an older version than memory */
    WBCACHE_CHANGED = 3,    /* another value or expiry, or a version that is not the cluster's */
    WBCACHE_UNEXPECTED = 4, /* a row is there, of a key that was deleted or is remembered as absent */
};
struct wbcache_difference {
    enum wbcache_difference_kind kind;
    unsigned group;
    const void *key;
    size_t key_len;
    uint64_t version;     /* in memory; 0: none */
    uint64_t row_version; /* 0: none */
};
/* Zero it (but for what comes first) to begin. */
struct wbcache_verify {
    const void *prefix; /* the caller's; NULL: all keys */
    size_t prefix_len;
    unsigned count;  /* keys to look at in one step; 0: 1000 */
    uint32_t one_in; /* compare one key of so many, chosen by its hash; 0: each */
    bool one_group;  /* only `group` */
    unsigned group;  /* with one_group: which; else the library's own */
    /* what a step gives */
    const struct wbcache_difference *differences;
    size_t n;
    uint64_t looked;   /* keys that it saw */
    uint64_t compared; /* and compared */
    uint64_t dirty;    /* and did not compare: they are on their way */
    unsigned of_group;
    bool anew; /* its group begins again with the next step: the leader has changed */
    bool done; /* there is no next step */
    /* the library's own */
    uint64_t cursor;
};
/* One step of comparing what is clean in memory with PostgreSQL. A key that is dirty, or is written
 * meanwhile, is never reported. DATABASE_DOWN: PostgreSQL cannot be asked. */
WBCACHE_API int wbcache_verify_step(struct wbcache *cache, struct wbcache_verify *verify);
/* All the steps; @on_step (may be NULL) is called after each with @data. It may use @cache, after which the
 * step's differences are gone, and ends the walk by returning anything but OK, which becomes the result.
 * Afterwards looked, compared and dirty are the sums of all steps, without those of groups that began again.
 */
WBCACHE_API int wbcache_verify_all(struct wbcache *cache, struct wbcache_verify *verify,
    int (*on_step)(void *data, const struct wbcache_verify *step), void *data);

struct wbcache_key_version {
    const void *key;
    size_t key_len;
    uint64_t version; /* in memory, also of a delete that is remembered; 0: of an absence that is */
};
/* Forget clean copies, on every node: the next read asks PostgreSQL. A key that is dirty, or has another
 * version, stays as it is. */
WBCACHE_API int wbcache_forget(struct wbcache *cache, const struct wbcache_key_version *keys, size_t n);

#ifdef __cplusplus
}
#endif

#endif
