/* Does wb.freshness tell the truth? One thread notes again and again which versions are acknowledged, and
 * then what PostgreSQL's clock says: these were acknowledged before. Another one reads, by SQL alone and in
 * one snapshot, fresh_as_of and the table: whatever was noted before that time must be there. Threading: the
 * calls from one thread; the two are their own. */
#ifndef WB_CLUSTER_TESTS_FRESH_WATCH_H
#define WB_CLUSTER_TESTS_FRESH_WATCH_H

#include "cluster-tests/ledger.h"

struct fresh_watch_numbers {
    uint64_t readings;   /* of view and table */
    uint64_t failures;   /* times that PostgreSQL could not be asked */
    uint64_t unknown;    /* readings with fresh_as_of NULL */
    uint64_t recovering; /* readings that said so */
    uint64_t judged;     /* readings with a time, and something noted before it */
    uint64_t behind; /* of those: the table lacked something that was acknowledged later: a time that was too
                        new would have been a lie */
    uint64_t moved;  /* times that fresh_as_of was newer than in the reading before */
    uint64_t went_back;
    uint64_t lies;
    uint64_t age_max_ms; /* of fresh_as_of, by PostgreSQL's clock; since fresh_watch_restart */
    char lie[240];       /* the first lie, in words */
};

struct fresh_watch;

/* Watch the schema wb of @dsn. Both are borrowed until fresh_watch_stop. */
struct fresh_watch *fresh_watch_start(const char *dsn, struct ledger *ledger);
struct fresh_watch_numbers fresh_watch_numbers(struct fresh_watch *w);
/* Count from now on. What was noted stays. */
void fresh_watch_restart(struct fresh_watch *w);
/* Wait until @n more readings have ended. False after @timeout_ms. */
bool fresh_watch_await(struct fresh_watch *w, uint64_t n, unsigned timeout_ms);
struct fresh_watch_numbers fresh_watch_stop(struct fresh_watch *w);

#endif
