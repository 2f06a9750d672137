/* wbbench: load for a wbcache cluster, and what it measured. engine.c drives the clients, link.c their
 * connections, route.c knows the leaders, wire.c the bytes; keys.c chooses keys, histogram.c keeps the times.
 * `wbbench flush` (flush_bench.c) and `wbbench redis` (redis_bench.c) are benchmarks of their own. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/resource.h>

#include "proto/base/alloc.h"
#include "tools/wbbench/flush_bench.h"
#include "tools/wbbench/options.h"
#include "tools/wbbench/redis_bench.h"
#include "tools/wbbench/report.h"

enum { EXIT_USAGE = 2, EXIT_FAILED = 4 };

/* Each client has a connection to each node: ask for as many descriptors as we may have. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static bool fill(
    const struct bench_options *options, struct bench_result *result, char *errmsg, size_t errmsg_len)
{
    struct bench_options all = *options;
    all.distribution = KEYS_SEQUENTIAL;
    all.ratio = 0;
    all.seconds = 0;
    all.requests = options->keys;
    all.pipeline = options->pipeline < 16 ? 16 : options->pipeline;
    if (!engine_run(&all, result, errmsg, errmsg_len)) {
        return false;
    }
    if (result->writes.count != options->keys) {
        fprintf(stderr, "wbbench: only %llu of %llu keys could be filled\n",
            (unsigned long long)result->writes.count, (unsigned long long)options->keys);
    }
    return true;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "flush") == 0) {
        signal(SIGPIPE, SIG_IGN);
        return flush_bench_main(argc - 1, argv + 1);
    }
    if (argc > 1 && strcmp(argv[1], "redis") == 0) {
        signal(SIGPIPE, SIG_IGN);
        raise_descriptors();
        return redis_bench_main(argc - 1, argv + 1);
    }
    struct bench_options options;
    int rc = options_parse(argc, argv, &options);
    if (rc >= 0) {
        return rc;
    }
    signal(SIGPIPE, SIG_IGN);
    raise_descriptors();
    struct bench_result *result = xcalloc(1, sizeof *result);
    char errmsg[512] = "";
    bool ok = (!options.fill || fill(&options, result, errmsg, sizeof errmsg)) &&
              engine_run(&options, result, errmsg, sizeof errmsg);
    if (!ok) {
        fprintf(stderr, "wbbench: no node could be asked: %s\n  Check --cluster and that the nodes run.\n",
            errmsg);
        free(result);
        return EXIT_FAILED;
    }
    if (options.json) {
        report_json(&options, result);
    } else {
        report_text(&options, result);
    }
    rc = result->reads.count + result->writes.count > 0 ? 0 : EXIT_FAILED;
    free(result);
    return rc;
}
