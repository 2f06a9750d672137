/* Reads from memory under the lease write nothing to the log. While the lease lasts the log stands still,
 * however much is read. When it has run out, one barrier renews it: without writes, reading all the time
 * costs at most one entry for each lease and group, and not reading costs nothing. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "cluster-tests/verify.h"
#include "proto/base/clock.h"

enum {
    KEYS = 300,
    WAIT_MS = 60000,
    PIPELINE = 32,
    READERS_MAX = 8,
    READS_MIN = 2000,        /* by one reader in a second; any machine does more */
    LONG_ELECTION_MS = 5000, /* a lease long enough to read under it for a while */
    LONG_READING_MS = 2000,
    ELECTION_MS = 300, /* the default */
    TRIES_MAX = 5,
};

/* Of raft/lease.c: a tenth is the margin. */
static uint64_t lease_ms(unsigned election_timeout_ms)
{
    return election_timeout_ms - election_timeout_ms / 10;
}

/* ---- Readers ---- */

struct reader {
    const char *addresses;
    const struct ledger *ledger;
    atomic_bool stop;
    atomic_uint_fast64_t reads;
    atomic_uint_fast64_t failures; /* answers without a value */
    pthread_t thread;
};

static void *read_all_the_time(void *data)
{
    struct reader *r = data;
    struct wbcache *cache = NULL;
    if (wbcache_open(&cache, r->addresses, NULL) != WBCACHE_OK) {
        atomic_fetch_add(&r->failures, 1);
    }
    for (uint32_t key = 0; !atomic_load(&r->stop) || wbcache_pending(cache) > 0;) {
        while (!atomic_load(&r->stop) && wbcache_pending(cache) < PIPELINE) {
            char name[LEDGER_KEY_BYTES];
            size_t len = ledger_key(r->ledger, key, name);
            wbcache_send_get(cache, name, len, NULL);
            key = (key + 1) % KEYS;
        }
        struct wbcache_reply reply;
        if (wbcache_receive(cache, &reply, 100) == WBCACHE_OK) {
            atomic_fetch_add(reply.result.code == WBCACHE_OK ? &r->reads : &r->failures, 1);
        }
    }
    wbcache_close(cache);
    return NULL;
}

static void readers_start(struct reader *readers, unsigned n, struct scenario *s)
{
    for (unsigned i = 0; i < n; i++) {
        readers[i] = (struct reader){.addresses = s->cluster.addresses, .ledger = s->ledger};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_all_the_time, &readers[i]), 0);
    }
}

static uint64_t readers_reads(struct reader *readers, unsigned n)
{
    uint64_t reads = 0;
    for (unsigned i = 0; i < n; i++) {
        reads += atomic_load(&readers[i].reads);
    }
    return reads;
}

static void readers_await(struct reader *readers, unsigned n, uint64_t more)
{
    for (uint64_t target = readers_reads(readers, n) + more; readers_reads(readers, n) < target;) {
        pass_ms(1);
    }
}

/* All of them have been given the values that they asked for. */
static void readers_stop(struct reader *readers, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        atomic_store(&readers[i].stop, true);
    }
    uint64_t failures = 0;
    for (unsigned i = 0; i < n; i++) {
        pthread_join(readers[i].thread, NULL);
        failures += atomic_load(&readers[i].failures);
    }
    assert_int_equal(failures, 0);
}

/* ---- The log ---- */

/* What tells SQL readers how fresh the database is asks for a barrier now and then, where nothing else renews
 * the lease: not while this test looks. */
#define NO_NOTES "flush.note_ms=60000"

/* Of each group's leader. */
struct places {
    uint64_t asked_ms, told_ms; /* boot time before the question and after the answer */
    struct place {
        uint64_t term, last, commit, applied, writes, batches;
    } groups[LOAD_GROUPS_MAX];
};

static void places_of(struct cluster *c, struct places *out)
{
    *out = (struct places){.asked_ms = clock_boot_ms()};
    cluster_wait_ready(c);
    struct wbcache_status *status = cluster_status(c);
    assert_non_null(status);
    for (unsigned group = 0; group < c->groups; group++) {
        const struct wbcache_group_status *g = cluster_leader_of(status, group, NULL);
        assert_non_null(g);
        out->groups[group] = (struct place){
            .term = g->term,
            .last = g->last_index,
            .commit = g->commit_index,
            .applied = g->applied_index,
            .writes = g->writes_applied,
            .batches = g->batches_flushed,
        };
    }
    wbcache_status_free(status);
    out->told_ms = clock_boot_ms();
}

static bool same_terms(struct cluster *c, const struct places *before, const struct places *after)
{
    for (unsigned group = 0; group < c->groups; group++) {
        if (before->groups[group].term != after->groups[group].term) {
            return false;
        }
    }
    return true;
}

static void expect_no_movement(struct cluster *c, const struct places *before, const struct places *after)
{
    for (unsigned group = 0; group < c->groups; group++) {
        assert_memory_equal(&before->groups[group], &after->groups[group], sizeof before->groups[group]);
    }
}

static void write_keys(struct scenario *s)
{
    for (uint32_t key = 0; key < KEYS; key++) {
        assert_int_equal(write_one(&s->cluster, s->ledger, key, 10000, NULL, 0), WBCACHE_OK);
    }
    cluster_wait_clean(&s->cluster, WAIT_MS);
}

/* ---- The tests ---- */

static void under_a_lease_the_log_stands_still(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, &(const struct cluster_options){
                         .settings = {"raft.election_timeout_ms=5000", "raft.spread_stable_ms=0", NO_NOTES}});
    s->ledger = ledger_create("still", KEYS);
    struct reader readers[READERS_MAX];
    for (unsigned try = 0;; try++) {
        /* Every group's last entry was proposed after this, and gave a lease. */
        uint64_t renewed_ms = clock_boot_ms();
        write_keys(s);
        if (clock_boot_ms() - renewed_ms < lease_ms(LONG_ELECTION_MS) - LONG_READING_MS) {
            struct places before, after;
            places_of(c, &before);
            readers_start(readers, READERS_MAX, s);
            readers_await(readers, READERS_MAX, READS_MIN);
            uint64_t read_ms = clock_boot_ms() - before.told_ms;
            pass_ms(read_ms >= LONG_READING_MS ? 0 : (unsigned)(LONG_READING_MS - read_ms));
            uint64_t reads = readers_reads(readers, READERS_MAX);
            places_of(c, &after);
            readers_stop(readers, READERS_MAX);
            if (after.told_ms - renewed_ms < lease_ms(LONG_ELECTION_MS) && same_terms(c, &before, &after)) {
                expect_no_movement(c, &before, &after);
                say("%" PRIu64 " reads under one lease, and no log moved", reads);
                break;
            }
        }
        assert_true(try < TRIES_MAX); /* the machine is too busy to say anything */
        say("  once more: the leases ran out, or a leader was replaced");
    }
    s->passed = true;
}

/* Read with @n readers for @seconds; what the logs grow by is within the bound. False: a leader was replaced
 * meanwhile, which says nothing about reads. */
static bool read_for(struct scenario *s, unsigned n, unsigned seconds)
{
    struct cluster *c = &s->cluster;
    struct reader readers[READERS_MAX];
    struct places before, after;
    readers_start(readers, n, s);
    readers_await(readers, n, READS_MIN);
    places_of(c, &before);
    uint64_t reads_before = readers_reads(readers, n);
    pass_ms(seconds * 1000);
    uint64_t reads = readers_reads(readers, n) - reads_before;
    places_of(c, &after);
    readers_stop(readers, n);
    if (!same_terms(c, &before, &after)) {
        return false;
    }
    uint64_t took_ms = after.told_ms - before.asked_ms;
    uint64_t allowed = took_ms / lease_ms(ELECTION_MS) + 1;
    say("%u readers, %" PRIu64 " reads in %" PRIu64 " ms", n, reads, took_ms);
    assert_true(reads >= (uint64_t)READS_MIN * seconds);
    for (unsigned group = 0; group < c->groups; group++) {
        const struct place *b = &before.groups[group], *a = &after.groups[group];
        say("  group %u: %" PRIu64 " entries; %" PRIu64 " barriers are allowed", group, a->last - b->last,
            allowed);
        assert_int_equal(a->writes, b->writes); /* so what moved were barriers */
        assert_int_equal(a->batches, b->batches);
        assert_true(a->last - b->last <= allowed);
    }
    return true;
}

static void read_for_or_fail(struct scenario *s, unsigned n, unsigned seconds)
{
    for (unsigned try = 0; !read_for(s, n, seconds); try++) {
        assert_true(try < TRIES_MAX); /* the machine is too busy to say anything */
        say("  once more: a leader was replaced meanwhile");
        cluster_wait_ready(&s->cluster);
        cluster_wait_clean(&s->cluster, WAIT_MS);
    }
}

static void without_writes_reading_costs_a_barrier_a_lease_whatever_is_read(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, &(const struct cluster_options){.settings = {"raft.spread_stable_ms=0", NO_NOTES}});
    s->ledger = ledger_create("reads", KEYS);
    write_keys(s);
    read_for_or_fail(s, 1, s->options.seconds);
    read_for_or_fail(s, READERS_MAX, s->options.seconds);

    struct places before, after;
    places_of(c, &before);
    pass_ms(4 * ELECTION_MS);
    places_of(c, &after);
    expect_no_movement(c, &before, &after);
    say("nobody reads: no log moves");
    verify_all(c, s->ledger);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 0, 4);
    const struct CMUnitTest tests[] = {
        scenario_test(under_a_lease_the_log_stands_still, &options),
        scenario_test(without_writes_reading_costs_a_barrier_a_lease_whatever_is_read, &options),
    };
    return cmocka_run_group_tests_name("reads", tests, NULL, NULL);
}
