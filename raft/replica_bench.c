/* How many entries a second three nodes in one process replicate, by entry size and by how many are in
 * flight. Usage: replica_bench [seconds per line]. The disk is the one under TMPDIR, else /tmp. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "raft/test_cluster.h"

static void measure(struct test_cluster *c, size_t bytes, unsigned in_flight, uint64_t run_ns)
{
    struct test_node *leader = test_leader(c, 0);
    struct replica *r = raft_host_replica(leader->host, 0);
    struct test_group *g = &leader->groups[0];
    uint8_t *entry = xcalloc(1, bytes);
    uint64_t start_count = g->count;
    uint64_t proposed = start_count;
    uint64_t start_ns = clock_boot_ns();
    while (clock_boot_ns() - start_ns < run_ns) {
        while (proposed - g->count < in_flight) {
            assert_int_equal(replica_propose(r, bytes_of(entry, bytes), NULL), STATUS_OK);
            proposed++;
        }
        uv_run(&c->loop, UV_RUN_ONCE);
    }
    double seconds = (double)(clock_boot_ns() - start_ns) / 1e9;
    double rate = (double)(g->count - start_count) / seconds;
    printf("%6zu bytes %3u in flight: %8.0f entries/s %7.1f MB/s %8.0f us each\n", bytes, in_flight, rate,
        rate * (double)bytes / 1e6, 1e6 * in_flight / rate);
    fflush(stdout);
    TEST_WAIT(c, test_applied(c, 0, proposed));
    free(entry);
}

static double seconds_per_line = 2;

static void bench(void **state)
{
    static const size_t sizes[] = {128, 4096, 16384};
    static const unsigned in_flight[] = {1, 8, 64};
    struct test_cluster c;
    test_cluster_open(&c, 1);
    test_cluster_open_nodes(&c);
    TEST_WAIT(&c, test_leader(&c, 0) != NULL);
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 3; j++) {
            measure(&c, sizes[i], in_flight[j], (uint64_t)(seconds_per_line * 1e9));
        }
    }
    test_cluster_close(&c);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        seconds_per_line = strtod(argv[1], NULL);
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(bench)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
