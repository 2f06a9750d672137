/* The operations of one key, made ready for the search. Pure. */
#ifndef WB_CLUSTER_TESTS_LINEAR_OPS_H
#define WB_CLUSTER_TESTS_LINEAR_OPS_H

#include "cluster-tests/linear_model.h"

struct linear_ops {
    struct linear_values values;
    struct linear_op *known; /* by start */
    uint32_t n_known;
    struct linear_op *unknown; /* those that can matter: by class, within one by start */
    uint32_t n_unknown;
    uint32_t *classes; /* where each class of equal unknown operations begins in `unknown`, and where the last
                          ends */
    uint32_t n_classes;
    uint32_t ignored; /* unknown ones that cannot matter */
};

/* @events are @n of one key, in any order; they are borrowed until deinit. n is below 2^31. */
void linear_ops_init(struct linear_ops *ops, const struct history_event *const *events, size_t n);
void linear_ops_deinit(struct linear_ops *ops);

#endif
