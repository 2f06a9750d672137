/* What `wbbench flush` measured: each way of writing the same rows, several times, and the medians. Pure. */
#ifndef WB_TOOLS_WBBENCH_FLUSH_FIGURES_H
#define WB_TOOLS_WBBENCH_FLUSH_FIGURES_H

#include <stdbool.h>
#include <stdint.h>

enum { FLUSH_RUNS_MAX = 99, FLUSH_PEERS = 3 };

/* One way, several times. Zero it to begin. */
struct flush_side {
    uint32_t batch_rows;
    unsigned runs;
    double seconds[FLUSH_RUNS_MAX];
    double cpu_seconds[FLUSH_RUNS_MAX]; /* PostgreSQL's; below 0: not known */
};

/* The same rows by the cluster's flush, and by the peer with each of its batch sizes. */
struct flush_part {
    const char *name;
    uint32_t rows;
    struct flush_side cache;
    struct flush_side peers[FLUSH_PEERS];
};

/* Add a run. False, and nothing happens, when there is no room. */
bool flush_side_add(struct flush_side *s, double seconds, double cpu_seconds);
/* The median of an odd number of runs, the mean of the middle two of an even one; 0 without runs. */
double flush_side_seconds(const struct flush_side *s);
double flush_side_rows_per_second(const struct flush_side *s, uint32_t rows);
/* Below 0: not known. */
double flush_side_cpu_us_per_row(const struct flush_side *s, uint32_t rows);

/* The peer's fastest batch size, or NULL when none ran. */
const struct flush_side *flush_part_best_peer(const struct flush_part *p);
/* The cluster's rate as a share of the best peer's; 0 when one of them did not run. */
double flush_part_ratio(const struct flush_part *p);

/* The processor time of one process and the children that it waited for, from the text of /proc/PID/stat. */
struct flush_proc_stat {
    int parent;
    uint64_t ticks;          /* its own, user and system */
    uint64_t children_ticks; /* of children that ended and were waited for */
};
/* False when the text is no such line. */
bool flush_proc_stat_parse(const char *text, struct flush_proc_stat *out);

#endif
