/* The course of `wbbench flush`. For each part (updates, inserts, drain) and each run, the cluster and the
 * peer with each batch size take turns, and every run begins with another of them, so that what the machine
 * does beside it meets all. Before each, both tables are vacuumed and PostgreSQL makes a checkpoint; after
 * each, the rows are counted: a flush that was not paused, or a wait that ended early, is an error and not a
 * figure.
 *
 * flush_cache.c writes through the cluster, flush_peer.c beside it, flush_database.c looks at the server;
 * flush_rows.c makes the rows, flush_figures.c keeps the times, flush_report.c prints them. */
#include "tools/wbbench/flush_bench.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "tools/wbbench/flush_cache.h"
#include "tools/wbbench/flush_database.h"
#include "tools/wbbench/flush_options.h"
#include "tools/wbbench/flush_peer.h"
#include "tools/wbbench/flush_report.h"

enum { EXIT_FAILED = 4 };
enum { SIDES = 1 + FLUSH_PEERS }; /* the cluster, and the peer with each batch size */
enum { DRAIN_RUNS = 1 };

static const uint32_t peer_batch_rows[FLUSH_PEERS] = {1000, 5000, 10000};

struct bench {
    struct flush_options options;
    struct flush_cache cache;
    struct flush_database database;
    struct flush_peer peer;
    uint8_t *value;
    uint32_t mark; /* of the value: another one for each measured side */
    uint64_t seed; /* of the rows' order: likewise */
    char problem[512];
};

static volatile sig_atomic_t interrupted; /* the one thing that a signal may touch */

static void on_signal(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

/* The first problem is the one to tell: what follows from it says less. */
static bool fail(struct bench *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fail(struct bench *b, const char *format, ...)
{
    if (b->problem[0] == '\0') {
        va_list args;
        va_start(args, format);
        vsnprintf(b->problem, sizeof b->problem, format, args);
        va_end(args);
    }
    return false;
}

static bool cache_ok(struct bench *b, bool ok)
{
    return ok || fail(b, "%s", b->cache.errmsg);
}

static bool database_ok(struct bench *b, bool ok)
{
    return ok || fail(b, "%s", b->database.errmsg);
}

static bool peer_ok(struct bench *b, bool ok)
{
    return ok || fail(b, "%s", b->peer.errmsg);
}

static struct bytes next_value(struct bench *b)
{
    b->mark++;
    flush_rows_value(b->mark, b->value, b->options.value_bytes);
    return bytes_of(b->value, b->options.value_bytes);
}

static bool count_is(struct bench *b, bool peer, uint64_t wanted, const char *when)
{
    uint64_t count = 0;
    if (!database_ok(b, flush_database_count(&b->database, peer, b->mark, &count))) {
        return false;
    }
    return count == wanted || fail(b, "%" PRIu64 " rows of %s are in the database %s, and not %" PRIu64,
                                  count, peer ? "the peer's" : "the cluster's", when, wanted);
}

/* ---- one side, one time ---- */

/* Write while the flush is paused, let it go on, and time it until everything is in the database. */
static bool measure_cache(struct bench *b, struct flush_rows *rows, struct flush_side *side)
{
    flush_rows_shuffle(rows, ++b->seed);
    struct flush_cache *c = &b->cache;
    if (!cache_ok(b, flush_cache_pause(c, true)) ||
        !cache_ok(b, flush_cache_write(c, rows, next_value(b), &interrupted)) ||
        !database_ok(b, flush_database_settle(&b->database)) ||
        !count_is(b, false, 0, "though the flush is paused")) {
        return false;
    }
    double cpu_seconds = flush_database_cpu_seconds(&b->database);
    uint64_t start_ns = clock_boot_ns();
    if (!cache_ok(b, flush_cache_pause(c, false)) || !cache_ok(b, flush_cache_await(c))) {
        return false;
    }
    double seconds = (double)(clock_boot_ns() - start_ns) / 1e9;
    double cpu_after = flush_database_cpu_seconds(&b->database);
    flush_side_add(side, seconds, cpu_seconds < 0 || cpu_after < 0 ? -1 : cpu_after - cpu_seconds);
    return count_is(b, false, rows->n, "after the flush");
}

static bool measure_peer(struct bench *b, struct flush_rows *rows, struct flush_side *side)
{
    flush_rows_shuffle(rows, ++b->seed);
    struct bytes value = next_value(b);
    if (!database_ok(b, flush_database_settle(&b->database))) {
        return false;
    }
    double seconds;
    double cpu_seconds = flush_database_cpu_seconds(&b->database);
    if (!peer_ok(b, flush_peer_run(&b->peer, rows, value, b->mark, side->batch_rows, &seconds))) {
        return false;
    }
    double cpu_after = flush_database_cpu_seconds(&b->database);
    flush_side_add(side, seconds, cpu_seconds < 0 || cpu_after < 0 ? -1 : cpu_after - cpu_seconds);
    return count_is(b, true, rows->n, "after the peer");
}

/* ---- parts ---- */

static void part_init(struct bench *b, struct flush_part *part, const char *name, uint32_t rows)
{
    *part = (struct flush_part){.name = name, .rows = rows, .cache = {.batch_rows = b->cache.batch_rows}};
    for (int i = 0; i < FLUSH_PEERS; i++) {
        part->peers[i].batch_rows = peer_batch_rows[i];
    }
}

static bool empty_cache(struct bench *b, const struct flush_rows *rows)
{
    return cache_ok(b, flush_cache_delete(&b->cache, rows)) && cache_ok(b, flush_cache_await(&b->cache));
}

/* Leave nothing behind, also after a failure. */
static bool clean(struct bench *b, const struct flush_rows *rows)
{
    return (!b->cache.paused || cache_ok(b, flush_cache_pause(&b->cache, false))) && empty_cache(b, rows);
}

/* All rows are there on both sides, and were updated a few times, which is when the tables do not change any
 * more in size and free space. */
static bool fill_both(struct bench *b, struct flush_rows *rows)
{
    enum { FILL = 4 };
    for (int i = 0; i < FILL; i++) {
        double seconds;
        flush_rows_shuffle(rows, ++b->seed);
        struct bytes value = next_value(b);
        if (!cache_ok(b, flush_cache_write(&b->cache, rows, value, &interrupted)) ||
            !cache_ok(b, flush_cache_await(&b->cache)) ||
            !peer_ok(b, flush_peer_run(&b->peer, rows, value, b->mark, peer_batch_rows[1], &seconds)) ||
            !database_ok(b, flush_database_settle(&b->database))) {
            return false;
        }
    }
    return true;
}

/* The cluster and the peer with each batch size in @with_peer once, beginning with side @first. */
static bool run_sides(struct bench *b, struct flush_part *part, struct flush_rows *rows, unsigned first,
    bool inserts, const bool with_peer[FLUSH_PEERS])
{
    for (unsigned i = 0; i < SIDES; i++) {
        unsigned side = (first + i) % SIDES;
        if (interrupted) {
            return fail(b, "interrupted");
        }
        if (side == 0) {
            if ((inserts && !empty_cache(b, rows)) || !measure_cache(b, rows, &part->cache)) {
                return false;
            }
        } else if (with_peer[side - 1]) {
            if ((inserts && !database_ok(b, flush_database_empty_peer(&b->database))) ||
                !measure_peer(b, rows, &part->peers[side - 1])) {
                return false;
            }
        }
    }
    return true;
}

static bool run_part(struct bench *b, struct flush_part *part, struct flush_rows *rows, unsigned runs,
    bool inserts, const bool with_peer[FLUSH_PEERS])
{
    for (unsigned run = 0; run < runs; run++) {
        fprintf(stderr, "wbbench: %s, run %u of %u\n", part->name, run + 1, runs);
        if (!run_sides(b, part, rows, run % SIDES, inserts, with_peer)) {
            return false;
        }
    }
    return true;
}

/* Updates, then inserts; the rows are gone afterwards. */
static bool run_keys(struct bench *b, struct flush_part *updates, struct flush_part *inserts)
{
    static const bool all[FLUSH_PEERS] = {true, true, true};
    struct flush_rows rows;
    flush_rows_init(&rows, b->options.keys, b->cache.groups);
    bool ok = fill_both(b, &rows) && run_part(b, updates, &rows, b->options.runs, false, all) &&
              run_part(b, inserts, &rows, b->options.runs, true, all);
    ok = clean(b, &rows) && ok;
    flush_rows_deinit(&rows);
    return ok;
}

/* Many new rows at once, beside the peer with the batch size that was its best for inserts. */
static bool run_drain(struct bench *b, const struct flush_part *inserts, struct flush_part *drain)
{
    bool with_peer[FLUSH_PEERS];
    for (int i = 0; i < FLUSH_PEERS; i++) {
        with_peer[i] = &inserts->peers[i] == flush_part_best_peer(inserts);
    }
    struct flush_rows rows;
    flush_rows_init(&rows, b->options.drain, b->cache.groups);
    bool ok = database_ok(b, flush_database_empty_peer(&b->database)) &&
              run_part(b, drain, &rows, DRAIN_RUNS, true, with_peer);
    ok = clean(b, &rows) && ok;
    flush_rows_deinit(&rows);
    return ok;
}

static bool open_all(struct bench *b)
{
    return cache_ok(b, flush_cache_open(&b->cache, b->options.cluster)) &&
           database_ok(b, flush_database_open(&b->database, b->options.database, b->options.schema)) &&
           peer_ok(b, flush_peer_open(&b->peer, b->options.database, b->cache.groups));
}

static void close_all(struct bench *b)
{
    flush_peer_close(&b->peer);
    flush_database_close(&b->database);
    flush_cache_close(&b->cache);
    free(b->value);
}

static void report(const struct bench *b, const struct flush_part *parts, size_t n)
{
    const struct flush_report r = {.options = &b->options,
        .groups = b->cache.groups,
        .server_version = b->database.version,
        .cpu_words = b->database.cpu_words,
        .parts = parts,
        .n_parts = n};
    if (b->options.json) {
        flush_report_json(&r);
    } else {
        flush_report_text(&r);
    }
}

int flush_bench_main(int argc, char **argv)
{
    enum { UPDATES, INSERTS, DRAIN, PARTS };
    struct bench *b = xcalloc(1, sizeof *b);
    int rc = flush_options_parse(argc, argv, &b->options);
    if (rc >= 0) {
        free(b);
        return rc;
    }
    /* A flush that we paused must go on, whatever ends us. */
    const struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    b->value = xmalloc(b->options.value_bytes);
    random_bytes(&b->mark, sizeof b->mark); /* what an earlier run left has another one */
    struct flush_part *parts = xcalloc(PARTS, sizeof *parts);
    size_t n_parts = b->options.drain > 0 ? PARTS : DRAIN;
    bool ok = open_all(b);
    if (ok) {
        part_init(b, &parts[UPDATES], "updates", b->options.keys);
        part_init(b, &parts[INSERTS], "fresh inserts", b->options.keys);
        part_init(b, &parts[DRAIN], "drain", b->options.drain);
        ok = run_keys(b, &parts[UPDATES], &parts[INSERTS]) &&
             (n_parts < PARTS || run_drain(b, &parts[INSERTS], &parts[DRAIN]));
    }
    if (ok) {
        report(b, parts, n_parts);
    } else {
        fprintf(stderr, "wbbench: flush: %s\n", b->problem);
    }
    close_all(b);
    free(parts);
    free(b);
    return ok ? 0 : EXIT_FAILED;
}
