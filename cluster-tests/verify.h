/* The checks at the end of most scenarios. Call them when no write is under way. Each fails the running test
 * after printing the first keys that are wrong. */
#ifndef WB_CLUSTER_TESTS_VERIFY_H
#define WB_CLUSTER_TESTS_VERIFY_H

#include "cluster-tests/cluster.h"
#include "cluster-tests/ledger.h"

/* Every acknowledged write, or an unknown one after it, is read through the cache. */
void verify_cache(struct cluster *c, struct ledger *l);
/* `flush` answers OK; then no row of PostgreSQL is older than what was acknowledged, and (in the end, for an
 * unknown write may still happen) PostgreSQL equals the cache. */
void verify_database(struct cluster *c, struct ledger *l, unsigned flush_timeout_ms);
/* Both. */
void verify_all(struct cluster *c, struct ledger *l);

/* One blocking write and read, through a handle of its own with this deadline; they return the library's
 * code. */
int write_one(struct cluster *c, struct ledger *l, uint32_t key, unsigned deadline_ms, char *message,
    size_t message_len);
int read_one(
    struct cluster *c, struct ledger *l, uint32_t key, unsigned deadline_ms, enum ledger_verdict *verdict);

#endif
