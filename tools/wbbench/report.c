#include "tools/wbbench/report.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto/base/status.h"

static double ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

static double per_second(uint64_t count, uint64_t ns)
{
    return ns == 0 ? 0 : (double)count * 1e9 / (double)ns;
}

static const char *distribution_name(const struct bench_options *o)
{
    return o->distribution == KEYS_ZIPF ? "zipf" : "uniform";
}

void report_side(const char *name, const struct histogram *h, uint64_t elapsed_ns)
{
    if (h->count == 0) {
        return;
    }
    printf("%-7s %10" PRIu64 " OK  %9.0f/s   p50 %.3f  p99 %.3f  p99.9 %.3f  max %.3f  mean %.3f ms\n", name,
        h->count, per_second(h->count, elapsed_ns), ms(histogram_percentile(h, 50)),
        ms(histogram_percentile(h, 99)), ms(histogram_percentile(h, 99.9)), ms(h->max),
        histogram_mean(h) / 1e6);
}

void report_count(const char *what, uint64_t count)
{
    if (count > 0) {
        printf("  %-34s %10" PRIu64 "\n", what, count);
    }
}

void report_text(const struct bench_options *o, const struct bench_result *r)
{
    printf("%u clients, pipeline %u, %" PRIu64 " keys (%s), values of %u bytes, %.0f %% reads, %.1f s\n",
        o->clients, o->pipeline, o->keys, distribution_name(o), o->value_bytes, o->ratio * 100,
        (double)r->elapsed_ns / 1e9);
    report_side("writes", &r->writes, r->elapsed_ns);
    report_side("reads", &r->reads, r->elapsed_ns);
    printf("longest pause between two answers: %.1f ms\n", ms(r->longest_pause_ns));
    report_count("reads that found no key", r->misses);
    report_count("writes with an unknown outcome", r->unknown);
    report_count("without an answer", r->unanswered);
    for (int i = 0; i < BENCH_STATUSES; i++) {
        report_count(status_name(i), r->errors[i]);
    }
    report_count("redirects", r->redirects);
    report_count("tried again", r->retries);
    report_count("connections that broke", r->reconnects);
    if (r->last_error[0] != '\0') {
        printf("  last error: %s\n", r->last_error);
    }
}

json_t *report_side_json(const struct histogram *h, uint64_t elapsed_ns)
{
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "ok", (json_int_t)h->count, "per_second",
        per_second(h->count, elapsed_ns), "p50_ms", ms(histogram_percentile(h, 50)), "p99_ms",
        ms(histogram_percentile(h, 99)), "p999_ms", ms(histogram_percentile(h, 99.9)), "max_ms", ms(h->max),
        "mean_ms", histogram_mean(h) / 1e6);
}

void report_json(const struct bench_options *o, const struct bench_result *r)
{
    json_t *errors = json_object();
    for (int i = 0; i < BENCH_STATUSES; i++) {
        if (r->errors[i] > 0) {
            json_object_set_new(errors, status_name(i), json_integer((json_int_t)r->errors[i]));
        }
    }
    json_t *root = json_pack(
        "{s:i, s:i, s:I, s:s, s:i, s:f, s:f, s:f, s:o, s:o, s:f, s:I, s:I, s:I, s:o, s:I, s:I, s:I}",
        "clients", (int)o->clients, "pipeline", (int)o->pipeline, "keys", (json_int_t)o->keys, "distribution",
        distribution_name(o), "value_bytes", (int)o->value_bytes, "ratio", o->ratio, "seconds",
        (double)r->elapsed_ns / 1e9, "per_second",
        per_second(r->reads.count + r->writes.count, r->elapsed_ns), "writes",
        report_side_json(&r->writes, r->elapsed_ns), "reads", report_side_json(&r->reads, r->elapsed_ns),
        "longest_pause_ms", ms(r->longest_pause_ns), "misses", (json_int_t)r->misses, "unknown",
        (json_int_t)r->unknown, "unanswered", (json_int_t)r->unanswered, "errors", errors, "redirects",
        (json_int_t)r->redirects, "retries", (json_int_t)r->retries, "reconnects", (json_int_t)r->reconnects);
    json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(root);
}
