/* What operators ask of a group, beside reading and writing: how far keys are on their way, its quarantine,
 * how it flushes, whether memory and database agree. Answered by the leader, under its lease.
 *
 *   EVALUATE --lease--> look -----------------------------------------------------> done
 *      ^  |                 \--propose--> WAIT_ADMIN --last of them applied--------> done
 *      |  |                                  |  (more to propose)
 *      |  \-- no lease: WAIT_LEASE           +--> EVALUATE
 *      |                  VERIFY: --load---> WAIT_ADMIN --answer, compared--> EVALUATE (more to load) or done
 *      +--------------------------------------------------------------------------+
 * What is in the log when the office or the time of a request ends is answered with UNKNOWN, all else with
 * NOT_LEADER or TIMEOUT. A request of this kind has group_request.n 0. */
#ifndef WB_NODE_GROUP_ADMIN_H
#define WB_NODE_GROUP_ADMIN_H

#include "node/group.h"

enum group_admin_kind {
    ADMIN_KEY_STATUS,
    ADMIN_QUARANTINE_LIST,
    ADMIN_QUARANTINE_RETRY,
    ADMIN_QUARANTINE_DROP,
    ADMIN_CONTROL,
    ADMIN_VERIFY,
    ADMIN_FORGET,
};

/* What a group takes from operators; INVALID beyond, with words. */
enum {
    ADMIN_DROP_KEYS_MAX = 256, /* each costs a log entry */
    ADMIN_LIST_COUNT_MAX = 1000,
    ADMIN_BATCH_ROWS_MAX = 65535,
    ADMIN_BATCH_BYTES_MIN = 1024,
    ADMIN_BATCH_BYTES_MAX = 64 * 1024 * 1024,
    ADMIN_AGE_MS_MAX = 60 * 60 * 1000,
    /* Steps of VERIFY in a group at the same time: each keeps its keys in memory. More are UNAVAILABLE. */
    ADMIN_VERIFY_MAX = 8,
};

/* A key as `key_status` and the quarantine's list show it, as of what has applied; see client.proto, KeyState
 * and QuarantinedKey. */
struct admin_key {
    struct bytes key; /* KEY_STATUS: the request's own; the list: in group_admin.names */
    bool deleted;     /* quarantined: what is refused is a delete */
    bool in_memory, present, queued, evictable, quarantined;
    uint64_t version;
    uint32_t length;
    uint64_t expires_at_ms;
    uint64_t dirty_index; /* 0: clean */
    uint64_t dirty_ms;
    uint64_t in_flight;  /* batch; 0: none */
    uint64_t flushed_in; /* 0: not remembered */
    /* quarantined */
    uint64_t refused_version, since_ms, refused_ms, retry_in_ms;
    uint32_t attempts;
    char sqlstate[6];
    char *message;       /* malloced; NULL unless quarantined */
    struct value *value; /* a reference, when asked for; NULL: what is refused is a delete */
};

enum admin_difference_kind {
    DIFFERENCE_NONE,
    DIFFERENCE_MISSING,
    DIFFERENCE_OLDER,
    DIFFERENCE_CHANGED,
    DIFFERENCE_UNEXPECTED
};
struct admin_difference {
    size_t key_at; /* in group_admin.names */
    uint32_t key_len;
    enum admin_difference_kind kind;
    uint64_t version, row_version; /* row_version 0: none, or none that can be read */
};

struct verify; /* see group_verify.c */

/* One question or command. The owner calls group_admin_init, sets what is `in` (all else stays as it is),
 * submits, and reads what is `out` when it is done with OK; group_admin_deinit afterwards, also before it is
 * used again. */
struct group_admin {
    enum group_admin_kind kind;
    /* in */
    const struct bytes
        *keys; /* of this group; borrowed. KEY_STATUS, DROP, FORGET; LIST, RETRY: 0 of them: all */
    const uint64_t *versions; /* FORGET: as many; borrowed */
    uint32_t n;
    uint32_t skip, count; /* LIST; count also VERIFY: about how many keys to look at. Too much is cut */
    bool values;          /* LIST */
    bool set, reset, acknowledge_loss; /* CONTROL: with none of them just asked for */
    struct state_control control;      /* with `set`: what has a has_... is set; `paused` with has_paused */
    bool has_paused;
    uint64_t cursor;     /* VERIFY: in and out; see state_scan */
    struct bytes prefix; /* VERIFY; borrowed */
    uint32_t one_in;     /* VERIFY: compare one key of so many, by its hash; 0 and 1: all */
    /* out */
    struct admin_key
        *results; /* malloced; KEY_STATUS: one for each key, in their order; LIST: oldest first, or in
                     the order of `keys`; fewer than `count` where more would not fit in an answer */
    uint32_t n_results;
    uint64_t total;                   /* LIST: all in quarantine; RETRY, DROP: how many it was done to */
    struct buf names;                 /* bytes of keys that are named by offset, or pointed to after done */
    uint64_t looked, compared, dirty; /* VERIFY */
    uint64_t acknowledged;            /* CONTROL: lost rows that are not shown any more */
    struct admin_difference *differences; /* malloced */
    uint32_t n_differences;
    struct flush_settings settings; /* CONTROL: in force */
    uint32_t rows_per_second;       /* CONTROL: in force; 0: no limit */
    struct state_control now;       /* CONTROL: as set by operators */
    /* private */
    bool begun;                       /* under the lease */
    bool logged;                      /* something of it is, or was, in the log */
    bool blocked;                     /* CONTROL: another one is on its way */
    uint32_t next;                    /* the keys before it are proposed */
    uint64_t first_index, last_index; /* of what is waited for; 0: nothing */
    uint64_t token;                   /* of the load under way; 0: none */
    struct verify *verify;
};
void group_admin_init(struct group_admin *a);
/* Free what is malloced in it, and give its references back. Not while it is submitted. */
void group_admin_deinit(struct group_admin *a);

#endif
