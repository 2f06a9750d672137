/* What the fake database stores: rows, fence rows, and the quarantine as it is shown in SQL. A plain value.
 */
#ifndef WB_SIM_FAKE_CONTENT_H
#define WB_SIM_FAKE_CONTENT_H

#include "cluster-tests/sim/sim_net.h"
#include "flush/flush.h"

struct fake_row {
    struct buf key;
    struct buf value; /* of a hash: fields (see fields.h) */
    uint8_t type;     /* enum value_type */
    uint64_t version;
    uint64_t expires_at_ms;
};

/* A row of the table quarantine. */
struct fake_shown {
    uint32_t group;
    struct buf key;
    uint64_t version;
    uint32_t attempts;
    char sqlstate[6];
};

struct fake_fence {
    bool present;
    uint8_t cluster_id[CLUSTER_ID_BYTES];
    uint32_t group_count;
    uint64_t term, epoch, last_batch;
    int64_t fresh_as_of_us; /* 0: NULL */
    uint64_t quarantined, lost;
    bool recovering;
    /* Not a column, but for the judge: all batches that made what the group has, in their order. */
    uint64_t *batches;
    size_t n_batches, batches_capacity;
};

struct fake_content {
    struct fake_row *rows;
    size_t n_rows, rows_capacity;
    struct fake_shown *shown;
    size_t n_shown;
    struct fake_fence fences[SIM_GROUPS_MAX];
    uint64_t version_ceiling; /* above every version ever written */
};

/* An empty one is all zero. */
void fake_content_deinit(struct fake_content *c);
/* @to is empty, or deinited before. */
void fake_content_copy(struct fake_content *to, const struct fake_content *from);
/* NULL when there is no such row. */
struct fake_row *fake_content_find(const struct fake_content *c, struct bytes key);
/* What @row names is copied; of its deleted nothing is asked. */
void fake_content_upsert(struct fake_content *c, const struct flush_row *row);
void fake_content_erase(struct fake_content *c, struct bytes key);
/* @batch is the newest one of @fence. */
void fake_fence_advance(struct fake_fence *fence, uint64_t batch);
/* Is what @batch wrote there, or something newer that came after it? True for 0. */
bool fake_fence_has(const struct fake_fence *fence, uint64_t batch);
/* The group's rows of the quarantine are @rows (heap, taken over) from now on. */
void fake_content_show(struct fake_content *c, uint32_t group, struct fake_shown *rows, size_t n);
void fake_shown_free(struct fake_shown *rows, size_t n);

#endif
