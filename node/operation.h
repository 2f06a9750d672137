/* What a client asks to be done to one key, and what that comes to: the operation is evaluated once, by the
 * leader, against the key's newest proposed value; only its effect, the key's full new value, is replicated.
 * Pure; reads no clock. */
#ifndef WB_NODE_OPERATION_H
#define WB_NODE_OPERATION_H

#include "node/value.h"
#include "proto/base/status.h"

/* The last millisecond of the year 9999: a later expiry is taken as this one. PostgreSQL's times end later,
 * but not everybody who reads them can show a year of five digits. */
#define OPERATION_EXPIRES_AT_MAX_MS UINT64_C(253402300799999)

enum operation_kind {
    OPERATION_SET,
    OPERATION_DEL,
    OPERATION_INCR,
    OPERATION_APPEND,
    OPERATION_EXPIRE,
};

enum operation_condition {
    CONDITION_NONE,
    CONDITION_ABSENT,
    CONDITION_PRESENT,
    CONDITION_VERSION, /* of if_version; 0: the key is not there */
};

enum operation_expire_if {
    EXPIRE_ALWAYS,
    EXPIRE_HAS_NONE,
    EXPIRE_HAS_ONE,
    EXPIRE_LATER, /* than the present one; no expiry counts as never */
    EXPIRE_EARLIER,
};

struct operation {
    enum operation_kind kind;
    struct bytes key;
    struct bytes value;                 /* set, append; at most LIMIT_VALUE_BYTES */
    int64_t delta;                      /* incr */
    enum operation_condition condition; /* set, del */
    uint64_t if_version;                /* CONDITION_VERSION */
    bool return_old;                    /* set, del */
    bool keep_expiry;                   /* set, when no time is given: the expiry stays (else it goes) */
    bool expire_relative;               /* expire_ms counts from the evaluation, else it is since 1970 */
    bool expires;                       /* set, expire: expire_ms is given (expire: else it is removed) */
    uint64_t expire_ms;
    enum operation_expire_if only_if; /* expire */
};

/* A key as the evaluation finds it. One that is due at the evaluation's time counts as not there. */
struct operation_current {
    struct value *value;    /* NULL: not there, whatever the rest says; borrowed */
    uint8_t type;           /* enum value_type */
    bool version_known;     /* false: a write that has no version yet is the newest */
    uint64_t version;       /* 0: not there */
    uint64_t expires_at_ms; /* 0: never */
};

/* What is to be replicated. */
struct operation_effect {
    enum { EFFECT_NONE, EFFECT_WRITE, EFFECT_DELETE } kind;
    struct value *value; /* EFFECT_WRITE: a reference for the caller */
    uint8_t type;
    uint64_t expires_at_ms;
};

/* What the client learns about one key. */
struct operation_result {
    bool found;      /* reads: it is there; del, expire: it was there; set, incr, append: true. When the
                        status is not OK: it is there */
    bool written;    /* this request wrote it */
    bool has_number; /* incr */
    bool has_length; /* append, inspecting reads: `length` and `type` are set */
    uint8_t type;
    uint32_t length;
    int64_t number;
    uint64_t version; /* of this write when `written` (until the log index is known: its ordinal), else of
                         what is there; 0: nothing */
    uint64_t expires_at_ms; /* reads, expire: what it is now (where an expire deleted the key: the time that
                               was asked for); 0: never */
    struct value *value;    /* a reference: reads: the value; return_old: the one before; else NULL */
};
/* Drop the reference and make it all zero. */
void operation_result_clear(struct operation_result *result);

/* Must the present value be known to evaluate @op? If not, the evaluation does not look at it. */
bool operation_needs_current(const struct operation *op);
/* The most bytes that the value of @op's effect can have. */
size_t operation_bytes_max(const struct operation *op, const struct operation_current *now);

/* Evaluate @op at the leader's time @stamp_ms. *@result (all zero before) is filled, but for `written` and
 * the written version: the caller's, if *@effect is not EFFECT_NONE. References in both are the caller's.
 *   - OK: what *@effect says is to be done, possibly nothing: deleting what is not there, an expiry for what
 *     is not there, removing an expiry that is not there
 *   - AGAIN: the condition names a version other than 0, and the newest write has none yet: when it has one.
 *     *@result stays zero
 *   - CONDITION_FAILED, NOT_A_NUMBER, OUT_OF_RANGE, WRONG_TYPE, TOO_BIG: nothing is to be done. *@result
 *     tells what is there (its version is 0 also when it has none yet), with its value if `return_old`. The
 *     value of another type than a string cannot be told: to ask for it is WRONG_TYPE, too
 *
 * A set whose expiry is not after @stamp_ms is a delete, whether or not the key is there: one that did not
 * look must supersede what the database may hold. So is an expire of a key that is there. A relative time
 * that overflows, or any beyond OPERATION_EXPIRES_AT_MAX_MS, is that maximum; conditions compare what came
 * out. Conditions of an expire hold for what is there; what is not there is left alone. Without a time it
 * asks for `never`, which is later than any time. Incr and append leave the expiry as it is.
 *
 * A number has 64 bits and one spelling: "0", or digits that do not begin with 0, after a minus or not;
 * nothing else, as Redis takes it (string2ll). */
enum status operation_evaluate(const struct operation *op, const struct operation_current *now,
    uint64_t stamp_ms, struct operation_effect *effect, struct operation_result *result);

#endif
