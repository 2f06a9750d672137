#include "tools/wbbench/redis_bench.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "tools/wbbench/redis_report.h"

enum { EXIT_FAILED = 4, FILL_CLIENTS = 50, FILL_PIPELINE = 16 };

static bool run(const struct redis_load_options *options, struct redis_result *result)
{
    char errmsg[512] = "";
    if (!redis_load_run(options, result, errmsg, sizeof errmsg)) {
        fprintf(stderr, "wbbench: the load could not begin: %s\n", errmsg);
        return false;
    }
    redis_report_errors(result);
    return true;
}

static bool fill(const struct redis_load_options *options, struct redis_result *result)
{
    struct redis_load_options all = *options;
    all.command = REDIS_SET;
    all.wait = REDIS_WAIT_NONE;
    all.each_key_once = true;
    all.clients = FILL_CLIENTS; /* at least one for each master */
    all.pipeline = FILL_PIPELINE;
    if (!run(&all, result) || redis_result_failed(result)) {
        return false;
    }
    if (result->total != all.keys) {
        fprintf(stderr, "wbbench: only %llu of %u keys could be filled\n", (unsigned long long)result->total,
            (unsigned)all.keys);
        return false;
    }
    return true;
}

int redis_bench_main(int argc, char **argv)
{
    struct redis_options options;
    int rc = redis_options_parse(argc, argv, &options);
    if (rc >= 0) {
        return rc;
    }
    struct redis_result *result = xcalloc(1, sizeof *result);
    rc = EXIT_FAILED;
    if ((!options.fill || fill(&options.load, result)) &&
        (options.load.measured_ms == 0 || run(&options.load, result))) {
        if (options.json) {
            redis_report_json(&options, result);
        } else {
            redis_report_text(&options, result);
        }
        rc = !redis_result_failed(result) && result->total > 0 ? 0 : EXIT_FAILED;
    }
    free(result);
    return rc;
}
