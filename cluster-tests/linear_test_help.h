/* Histories in few words, for the judge's tests: one function per operation. @end_ns 0: the outcome is
 * unknown, and the result that is given is not looked at. All on one key, unless the history's `key` is
 * changed. */
#ifndef WB_CLUSTER_TESTS_LINEAR_TEST_HELP_H
#define WB_CLUSTER_TESTS_LINEAR_TEST_HELP_H

#include "cluster-tests/linear.h"

struct script {
    struct history history;
    const char *key;
    uint64_t client;
};

void script_init(struct script *s);
void script_deinit(struct script *s);

/* @value NULL: nothing was there. Versions: 0 is not told. */
void script_get(struct script *s, uint64_t start_ns, uint64_t end_ns, const char *value, uint64_t version);
void script_set(struct script *s, uint64_t start_ns, uint64_t end_ns, const char *value, uint64_t version);
void script_del(struct script *s, uint64_t start_ns, uint64_t end_ns, bool found, uint64_t version);
void script_getdel(struct script *s, uint64_t start_ns, uint64_t end_ns, const char *value, uint64_t version);
void script_append(struct script *s, uint64_t start_ns, uint64_t end_ns, const char *value, uint64_t length,
    uint64_t version);
void script_incr(
    struct script *s, uint64_t start_ns, uint64_t end_ns, int64_t delta, int64_t sum, uint64_t version);
void script_incr_fails(
    struct script *s, uint64_t start_ns, uint64_t end_ns, int64_t delta, enum history_outcome outcome);
/* @condition: "absent", "present", or the digits of a version. @ok false: CONDITION_FAILED. */
void script_cas(struct script *s, uint64_t start_ns, uint64_t end_ns, const char *condition,
    const char *value, bool ok, uint64_t version);

#endif
