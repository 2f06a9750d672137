#include "tools/wbbench/flush_figures.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool flush_side_add(struct flush_side *s, double seconds, double cpu_seconds)
{
    if (s->runs >= FLUSH_RUNS_MAX) {
        return false;
    }
    s->seconds[s->runs] = seconds;
    s->cpu_seconds[s->runs] = cpu_seconds;
    s->runs++;
    return true;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(const double *values, unsigned n)
{
    if (n == 0) {
        return 0;
    }
    double sorted[FLUSH_RUNS_MAX];
    memcpy(sorted, values, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare);
    return n % 2 == 1 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

double flush_side_seconds(const struct flush_side *s)
{
    return median(s->seconds, s->runs);
}

double flush_side_rows_per_second(const struct flush_side *s, uint32_t rows)
{
    double seconds = flush_side_seconds(s);
    return seconds > 0 ? rows / seconds : 0;
}

double flush_side_cpu_us_per_row(const struct flush_side *s, uint32_t rows)
{
    for (unsigned i = 0; i < s->runs; i++) {
        if (s->cpu_seconds[i] < 0) {
            return -1;
        }
    }
    return s->runs == 0 || rows == 0 ? -1 : median(s->cpu_seconds, s->runs) * 1e6 / rows;
}

const struct flush_side *flush_part_best_peer(const struct flush_part *p)
{
    const struct flush_side *best = NULL;
    for (int i = 0; i < FLUSH_PEERS; i++) {
        const struct flush_side *s = &p->peers[i];
        if (s->runs > 0 && (best == NULL || flush_side_seconds(s) < flush_side_seconds(best))) {
            best = s;
        }
    }
    return best;
}

double flush_part_ratio(const struct flush_part *p)
{
    const struct flush_side *best = flush_part_best_peer(p);
    double peer = best == NULL ? 0 : flush_side_rows_per_second(best, p->rows);
    return peer > 0 ? flush_side_rows_per_second(&p->cache, p->rows) / peer : 0;
}

bool flush_proc_stat_parse(const char *text, struct flush_proc_stat *out)
{
    /* The name is in brackets and may hold anything: what follows the last one is safe to split. */
    const char *rest = strrchr(text, ')');
    uint64_t user, system, children_user, children_system;
    int parent;
    if (rest == NULL ||
        sscanf(rest + 1,
            " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
            &parent, &user, &system, &children_user, &children_system) != 5) {
        return false;
    }
    *out = (struct flush_proc_stat){
        .parent = parent, .ticks = user + system, .children_ticks = children_user + children_system};
    return true;
}
