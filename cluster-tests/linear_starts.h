/* Which operations a value can begin with. A value that somebody saw is what one operation wrote (a set, a
 * cas, an increment, the first append to nothing), with appends behind it. So it begins with what one of a
 * few operations writes; when these are done, it can only grow from what is there. Pure. */
#ifndef WB_CLUSTER_TESTS_LINEAR_STARTS_H
#define WB_CLUSTER_TESTS_LINEAR_STARTS_H

#include "cluster-tests/linear_ops.h"

struct linear_starts {
    struct linear_start *of; /* of each value that was known when this was made */
    uint32_t n_values;
};

void linear_starts_init(struct linear_starts *starts, const struct linear_ops *ops);
void linear_starts_deinit(struct linear_starts *starts);
/* Is there, perhaps, an operation not done with which @value could begin anew? @done: of the known
 * operations, then of the unknown ones. */
bool linear_starts_remain(const struct linear_starts *starts, uint32_t value, const bool *done);

#endif
