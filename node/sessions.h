/* Exactly once: the replicated memory of what sessions' requests came to (design: a retry gets the first
 * try's answer). Pure and deterministic: everything here is decided by the log alone.
 *
 * What is forgotten, and in which order:
 *   - a session's results below the first sequence that it still awaits, as soon as a newer request of it
 *     applies (those are not asked for any more): from the oldest on, up to the first that is still awaited;
 *     one that lies behind that stays until its turn comes, so that each result is looked at once;
 *   - over bytes_max: the oldest result of all sessions, by its place in the log; its session's floor rises
 *     above its sequence. A result that would not fit if it were the only one is dropped at once, and no
 *     other for its sake;
 *   - over sessions_max, or when the sessions without their results take more than half of bytes_max (else
 *     many idle sessions would leave no room for any result): the session whose last request (or opening) is
 *     the longest ago in the log, with its results. One session always stays.
 * A sequence that has no result and lies below its session's floor, and any sequence of a session that is not
 * known, is EXPIRED: nobody can say whether it was executed. */
#ifndef WB_NODE_SESSIONS_H
#define WB_NODE_SESSIONS_H

#include "proto/base/bytes.h"
#include "proto/base/list.h"

/* How a result and a session count against bytes_max: the same number on every machine. */
enum { SESSION_RESULT_BYTES = 96, SESSION_BYTES = 160, SESSIONS_DEFAULT = 10000 };
#define SESSION_BYTES_DEFAULT (UINT64_C(16) * 1024 * 1024)

/* A hash table that grows and shrinks by a bucket at a time; private. */
struct session_link {
    struct session_link *next;
};
struct session_table {
    struct session_link **buckets;
    size_t links;
    size_t used; /* buckets in use, of `cap` */
    size_t cap;
};

struct session_result {
    struct list by_age;     /* in sessions.results, oldest first */
    struct list of_session; /* in session.results, oldest first */
    struct session *session;
    struct session_link in_table;
    uint64_t sequence;
    uint64_t index; /* of the log entry that did it */
    uint32_t status;
    uint32_t len;
    uint8_t data[]; /* see outcome.h */
};

struct session {
    struct list by_use; /* in sessions.by_use, least recently used first */
    struct list results;
    struct session_link in_table;
    uint64_t id;    /* not 0 */
    uint64_t floor; /* sequences below it without a result are EXPIRED; 1 at first */
};

struct sessions {
    struct list by_use;  /* of session */
    struct list results; /* of session_result */
    uint64_t count;
    uint64_t result_count;
    uint64_t bytes;        /* SESSION_BYTES a session, SESSION_RESULT_BYTES and its data a result */
    bool limits_named;     /* the log has named them; else they are the defaults */
    uint64_t sessions_max; /* at least 1 */
    uint64_t bytes_max;    /* likewise */
    /* Local: against sequences chosen to meet in one bucket. Set it, if at all, right after sessions_init. */
    uint64_t hash_seed;
    /* private */
    struct session_table by_id;
    struct session_table by_sequence;
};

/* Nothing known, the default limits. Allocates nothing yet. */
void sessions_init(struct sessions *s);
void sessions_deinit(struct sessions *s);
/* Move all of @from to the uninitialised @to; @from must not be used again, but by sessions_init. */
void sessions_move(struct sessions *to, struct sessions *from);

enum session_verdict { SESSION_NEW, SESSION_DONE, SESSION_EXPIRED };
/* Has (@id, @sequence) been executed? DONE: *@out is its result, valid until the next change. Sequences are
 * from 1 to UINT64_MAX - 1; the others are EXPIRED. */
enum session_verdict sessions_look(
    const struct sessions *s, uint64_t id, uint64_t sequence, const struct session_result **out);
bool sessions_known(const struct sessions *s, uint64_t id);

/* ---- Applying the log ---- */

/* The limits are now these (0 counts as 1). What is beyond them is forgotten at once. */
void sessions_apply_limits(struct sessions *s, uint64_t sessions_max, uint64_t bytes_max);
/* A session @id (not 0), which no session ever had. It is the most recently used one. */
void sessions_apply_open(struct sessions *s, uint64_t id);
/* @sequence of session @id was executed by log entry @index (not below that of the call before), and came to
 * @status and @results (copied; at most UINT32_MAX bytes). The session becomes the most recently used one;
 * its floor is at least @first_awaited from now on. Ignored (false, and nothing changes) when the session is
 * not known. CHECKs that @sequence has no result yet: the leader looked before it proposed. It found no floor
 * above it either; but one may have risen in between (a result dropped for space): then it is ignored as
 * well. */
bool sessions_apply_result(struct sessions *s, uint64_t id, uint64_t sequence, uint64_t first_awaited,
    uint64_t index, uint32_t status, struct bytes results);

/* ---- Restoring a snapshot: into an empty one, the limits first (sessions_apply_limits, if they were named),
 * then all sessions, then all results, in the lists' order. False, and nothing changes: it cannot be so. ----
 */

/* Not when the id or the floor is 0, the id is there already, or the limits allow no more. */
bool sessions_restore_session(struct sessions *s, uint64_t id, uint64_t floor);
/* Not when the session is not known, the sequence is none or has a result already, the index is 0 or below
 * the last result's, or the limits allow no more. */
bool sessions_restore_result(struct sessions *s, uint64_t id, uint64_t sequence, uint64_t index,
    uint32_t status, struct bytes results);

/* Abort with words unless counts, sums, limits, lists and tables agree. Costs a pass over everything. For
 * tests. */
void sessions_check(const struct sessions *s);

#endif
