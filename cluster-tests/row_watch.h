/* A thread that reads the table again and again and checks what must hold at every moment: a row's version
 * only grows, no row goes away (nothing here deletes), and no row is older than a bound. Threading: the calls
 * from one thread; the reader is its own. */
#ifndef WB_CLUSTER_TESTS_ROW_WATCH_H
#define WB_CLUSTER_TESTS_ROW_WATCH_H

#include "cluster-tests/ledger.h"

struct row_watch_numbers {
    uint64_t readings;
    uint64_t failures;   /* times that PostgreSQL could not be asked */
    uint64_t went_back;  /* rows whose version became smaller, or that went away */
    uint64_t changes;    /* new versions seen */
    uint64_t age_max_ms; /* of the oldest acknowledged write that a row lacked; with @ages only */
    char problem[200];   /* the first row that went back, in words */
};

struct row_watch;

/* Read the table of @dsn every @period_ms. @ages: the ledger keeps history, and ages are measured. Both
 * pointers are borrowed until row_watch_stop. */
struct row_watch *row_watch_start(const char *dsn, struct ledger *ledger, unsigned period_ms, bool ages);
/* Wait until the table was read, or the attempt failed, with a beginning and an end after this call. */
void row_watch_await(struct row_watch *w);
struct row_watch_numbers row_watch_stop(struct row_watch *w);

#endif
