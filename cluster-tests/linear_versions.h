/* What versions alone say about one key: cheap, and easily explained. Pure. */
#ifndef WB_CLUSTER_TESTS_LINEAR_VERSIONS_H
#define WB_CLUSTER_TESTS_LINEAR_VERSIONS_H

#include "cluster-tests/linear_ops.h"

/* False: the versions that the known operations told contradict an order of these operations, and *@why,
 * which is appended to, says how. The rules: each write has its own version; an operation that began after
 * another one had ended sees no lower version, and writes a higher one; a version belongs to one value. Each
 * of them follows from linearizability, so what breaks one is not linearizable; what keeps them may still not
 * be. */
bool linear_versions_agree(const struct linear_ops *ops, uint64_t zero_ns, struct buf *why);

#endif
