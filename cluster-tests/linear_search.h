/* The search for an order of one key's operations. Pure. */
#ifndef WB_CLUSTER_TESTS_LINEAR_SEARCH_H
#define WB_CLUSTER_TESTS_LINEAR_SEARCH_H

#include "cluster-tests/linear.h"
#include "cluster-tests/linear_ops.h"

struct linear_order {
    const struct linear_op **ops; /* in the order found; malloc'd; the operations are linear_ops' */
    size_t n;
    struct linear_state state; /* after the last one */
};

/* Is there an order of the first @goal known operations, by their ends? Those that end later may take part in
 * it, with the result that they had, as may unknown ones. (So a search with a smaller @goal judges the
 * history as it was known at an earlier time, and is never harsher.) All of them: @goal is ops->n_known.
 * @order may be NULL; otherwise, if LINEARIZABLE, it gets the order: free(order->ops). *@steps is added to.
 */
enum linear_status linear_search(struct linear_ops *ops, uint32_t goal, const struct linear_limits *limits,
    uint64_t *steps, struct linear_order *order);
/* The known operation that ends as number @rank, from 0; among those that end at one time in the order of
 * their starts: as linear_search counts them. */
const struct linear_op *linear_search_by_end(const struct linear_ops *ops, uint32_t rank);

#endif
