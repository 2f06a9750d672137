/* Between a history's operations (history.h) and the library's (wbcache.h): how what is recorded is asked,
 * and how what is answered is recorded. Pure. */
#ifndef WB_CLUSTER_TESTS_RECORDED_CALL_H
#define WB_CLUSTER_TESTS_RECORDED_CALL_H

#include "cluster-tests/history.h"
#include "rpc/wbcache.h"

/* How @op of @key is asked; borrows from @key and @arg. */
struct wbcache_op recorded_call_op(struct bytes key, enum history_op op, const struct history_arg *arg);

enum recorded {
    RECORDED_RESULT, /* it came to something */
    RECORDED_UNKNOWN,
    RECORDED_NOT_DONE, /* certainly not, as nodes come and go; of a read: no answer */
    RECORDED_WRONG,    /* a code that this operation must not come to; recorded as not done */
};
/* End @event of @h, which was begun with @op, as @result says. *@out (with RECORDED_RESULT) is what was
 * recorded, its value borrowed from @result. A code that says 'certainly not done' is taken at its word: if
 * it was done, the history is not linearizable. */
enum recorded recorded_call_end(struct history *h, size_t event, enum history_op op,
    const struct wbcache_result *result, uint64_t end_ns, struct history_result *out);

#endif
