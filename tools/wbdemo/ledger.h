/* What the demonstration knows about each of its keys: the last acknowledged write, and a write whose outcome
 * is unknown. Values follow from (run, key, sequence), so that the ledger holds none. Pure.
 *
 * A key has at most one write under way, and none after one with an unknown outcome: so the row in the
 * database is right when it holds the last acknowledged value or, if there is one, the unknown one. Nothing
 * else is right. */
#ifndef WB_TOOLS_WBDEMO_LEDGER_H
#define WB_TOOLS_WBDEMO_LEDGER_H

#include "proto/base/bytes.h"

enum { LEDGER_KEY_BYTES = 13, LEDGER_VALUE_BYTES = 100 };

struct ledger_key {
    uint64_t acked_version;
    uint32_t acked_sequence;   /* 0: none */
    uint32_t unknown_sequence; /* 0: none */
    uint32_t pending_sequence; /* 0: none */
};

struct ledger {
    uint64_t run;
    uint32_t n;
    uint32_t next_sequence;
    struct ledger_key *keys;
};

void ledger_init(struct ledger *l, uint32_t keys, uint64_t run);
void ledger_deinit(struct ledger *l);

/* "demo:00000017" */
void ledger_key_text(uint32_t key, char out[LEDGER_KEY_BYTES + 1]);
/* The number of a key's text; -1 when it is none of ours. */
int64_t ledger_key_number(const struct ledger *l, struct bytes text);
/* The value of write @sequence of @key; always LEDGER_VALUE_BYTES long. */
void ledger_value(const struct ledger *l, uint32_t key, uint32_t sequence, char out[LEDGER_VALUE_BYTES + 1]);

/* May @key be written now? */
bool ledger_writable(const struct ledger *l, uint32_t key);
/* A write begins; returns its sequence. The key must be writable. */
uint32_t ledger_begin(struct ledger *l, uint32_t key);
/* The pending write ended: acknowledged as @version, certainly not done, or unknown. */
void ledger_acknowledged(struct ledger *l, uint32_t key, uint64_t version);
void ledger_refused(struct ledger *l, uint32_t key);
void ledger_unknown(struct ledger *l, uint32_t key);

enum ledger_verdict {
    LEDGER_UNTOUCHED,        /* this run has no acknowledged or unknown write of the key: any row is right */
    LEDGER_RIGHT,            /* the last acknowledged write */
    LEDGER_UNKNOWN_HAPPENED, /* the write with the unknown outcome is there: right, too */
    LEDGER_MISSING,          /* no row though a write was acknowledged */
    LEDGER_WRONG,            /* another value or version than acknowledged */
};
/* Judge the row of @key; @value.data is NULL when there is no row. */
enum ledger_verdict ledger_judge(const struct ledger *l, uint32_t key, struct bytes value, uint64_t version);

#endif
