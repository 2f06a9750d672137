/* What `wbbench flush` asks of PostgreSQL beside the measured work: the peer's schema, an even start for each
 * run, counts of rows, and the processor time of the server when it runs here. Blocking; one thread.
 * Functions that return false have said why in `errmsg`. */
#ifndef WB_TOOLS_WBBENCH_FLUSH_DATABASE_H
#define WB_TOOLS_WBBENCH_FLUSH_DATABASE_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

struct flush_database {
    PGconn *conn;
    char *table;           /* the cluster's, quoted */
    bool made_schema;      /* the peer's: dropped at the end */
    bool no_checkpoint;    /* this role may not */
    int postmaster;        /* its pid; 0: not on this machine, or not to be seen */
    const char *cpu_words; /* why there are no processor times, or NULL */
    char version[64];      /* "15.3" */
    char errmsg[512];
};

/* Connect, look at the server, and make the peer's table like that of the cluster's @schema. Close it in any
 * case.
 */
bool flush_database_open(struct flush_database *d, const char *dsn, const char *schema);
/* Drop the peer's schema, if it is ours, and disconnect. */
void flush_database_close(struct flush_database *d);

/* Let the next run begin as the others do: no dead rows in the cluster's table or the peer's, nothing waiting
 * for a checkpoint. */
bool flush_database_settle(struct flush_database *d);
/* Delete all rows of the peer's table. */
bool flush_database_empty_peer(struct flush_database *d);
/* How many of the benchmark's rows have a value that begins with @mark; in the cluster's table, or the
 * peer's. */
bool flush_database_count(struct flush_database *d, bool peer, uint32_t mark, uint64_t *count);
/* Processor seconds of the server and all its processes, those that ended included; below 0: not known. */
double flush_database_cpu_seconds(const struct flush_database *d);

#endif
