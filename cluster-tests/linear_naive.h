/* A second judge, for tests: tries every order. Written without the first one's model, so that a mistake
 * would have to be made twice. Only for histories of one key and about ten operations. */
#ifndef WB_CLUSTER_TESTS_LINEAR_NAIVE_H
#define WB_CLUSTER_TESTS_LINEAR_NAIVE_H

#include "cluster-tests/history.h"

bool linear_naive_check(const struct history *h);

#endif
