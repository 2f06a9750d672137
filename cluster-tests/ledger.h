/* What the cluster acknowledged: for each key the newest acknowledged version and value, and the writes whose
 * outcome is unknown. A read, from the cache or from PostgreSQL, is judged against it.
 *
 * A value is never stored: it follows from its key, its mark (who wrote it, as which write, when) and its
 * length. Marks are never used twice, so a value names the one write that made it. Threading: any thread. */
#ifndef WB_CLUSTER_TESTS_LEDGER_H
#define WB_CLUSTER_TESTS_LEDGER_H

#include "proto/base/bytes.h"

enum { LEDGER_KEY_BYTES = 64, LEDGER_VALUE_BYTES_MIN = 160 };

/* Which write made a value. */
struct mark {
    uint32_t thread;
    uint64_t sequence;   /* never used twice with one ledger */
    uint64_t written_ms; /* boot time when it was sent */
};

enum ledger_verdict {
    LEDGER_NEWEST,  /* exactly the newest acknowledged write; or nothing is there and nothing was acknowledged
                     */
    LEDGER_UNKNOWN, /* a write whose outcome was reported as unknown: allowed */
    LEDGER_LOST,    /* an acknowledged write is missing: the key, or what is there is older */
    LEDGER_WRONG,   /* a value that nobody wrote, that was refused, or under a version that is not its own */
};

struct ledger_totals {
    uint64_t acknowledged;
    uint64_t unknown;
    uint64_t refused;      /* certainly not done */
    uint64_t keys_written; /* with at least one acknowledged write */
    uint64_t violations;   /* versions that did not grow; see ledger_violation */
};

struct ledger;

/* A ledger of @n_keys keys named PREFIX:00000000 and so on; @prefix is copied. Heap object. */
struct ledger *ledger_create(const char *prefix, uint32_t n_keys);
void ledger_destroy(struct ledger *l);
uint32_t ledger_keys(const struct ledger *l);
/* The name of key number @key. Returns its length. */
size_t ledger_key(const struct ledger *l, uint32_t key, char out[LEDGER_KEY_BYTES]);
/* The number of the key named @name, or -1 when it is not one of this ledger's. */
int64_t ledger_key_number(const struct ledger *l, struct bytes name);

/* A new mark for a write by @thread at @now_ms. */
struct mark ledger_mark(struct ledger *l, uint32_t thread, uint64_t now_ms);
/* Write the value of (@key, @mark) into @out: exactly @len bytes, LEDGER_VALUE_BYTES_MIN or more. */
void ledger_value(const struct ledger *l, uint32_t key, struct mark mark, char *out, size_t len);
/* Read the mark back. False when @value is not, to the last byte, a value of @key. */
bool ledger_value_mark(const struct ledger *l, uint32_t key, struct bytes value, struct mark *out);

/* Remember when each write was acknowledged, for ledger_oldest_missing_ms. Call it before the first write. */
void ledger_keep_history(struct ledger *l);

/* The newest acknowledged version of @key, 0 when none: take it before sending a write, which must get a
 * higher one. */
uint64_t ledger_version(struct ledger *l, uint32_t key);
/* A write was acknowledged with @version at @now_ms; @version_before is what ledger_version() said before it
 * was sent. */
void ledger_acknowledge(struct ledger *l, uint32_t key, struct mark mark, uint64_t version,
    uint64_t version_before, uint64_t now_ms);
/* A write may or may not have happened, or may still happen. */
void ledger_unknown(struct ledger *l, uint32_t key, struct mark mark);
/* A write was certainly not done. */
void ledger_refuse(struct ledger *l, uint32_t key, struct mark mark);

/* Judge what was read for @key. @found false: there was nothing. @why (may be NULL) gets a sentence when the
 * verdict is LOST or WRONG. Writes that were under way while it was read make no sense here: settle them
 * first. */
enum ledger_verdict ledger_judge(struct ledger *l, uint32_t key, bool found, uint64_t version,
    struct bytes value, char *why, size_t why_len);

/* When the oldest acknowledged write of @key with a version above @version was acknowledged; 0 when there is
 * none. Forgets the history up to @version: ask with versions that only grow. Needs ledger_keep_history. */
uint64_t ledger_oldest_missing_ms(struct ledger *l, uint32_t key, uint64_t version);

struct ledger_totals ledger_totals(struct ledger *l);
/* The first violation as a sentence, "" when there was none. Valid until destroy. */
const char *ledger_violation(struct ledger *l);

#endif
