#include "tools/wbbench/redis_report.h"

#include <inttypes.h>
#include <stdio.h>

#include "tools/wbbench/report.h"

static double rate(const struct redis_result *r)
{
    return r->elapsed_ns == 0 ? 0 : (double)r->ok.count * 1e9 / (double)r->elapsed_ns;
}

static const char *name_of(const struct redis_load_options *o)
{
    static const char *const waits[] = {"SET", "SET and WAITAOF", "SETs, WAITAOF", "SETs, then WAITAOF"};
    return o->command == REDIS_GET ? "GET" : waits[o->wait];
}

static void print_seconds(const char *name, double seconds, const struct redis_result *r)
{
    if (seconds < 0) {
        printf("  %-34s not known\n", name);
    } else {
        printf("  %-34s %10.2f s, %.2f of a core, %.2f us each\n", name, seconds,
            r->elapsed_ns == 0 ? 0 : seconds * 1e9 / (double)r->elapsed_ns,
            r->ok.count == 0 ? 0 : seconds * 1e6 / (double)r->ok.count);
    }
}

void redis_report_errors(const struct redis_result *r)
{
    for (unsigned i = 0; i < REDIS_WORDS && r->errors[i].word[0] != '\0'; i++) {
        fprintf(stderr, "wbbench: error %s: %" PRIu64 "\n", r->errors[i].word, r->errors[i].count);
    }
    if (r->last_error[0] != '\0') {
        fprintf(stderr, "wbbench: the last one: %s\n", r->last_error);
    }
}

void redis_report_text(const struct redis_options *options, const struct redis_result *r)
{
    const struct redis_load_options *o = &options->load;
    printf("%u clients, pipeline %u, %" PRIu32 " keys (uniform), values of %u bytes, %u %s, %.1f s\n",
        o->clients, o->pipeline, o->keys, o->value_bytes, r->masters, r->masters == 1 ? "server" : "masters",
        (double)r->elapsed_ns / 1e9);
    report_side(name_of(o), &r->ok, r->elapsed_ns);
    printf("longest pause between two answers: %.1f ms\n", (double)r->longest_pause_ns / 1e6);
    report_count("reads that found no key", r->misses);
    report_count("MOVED", r->moved);
    puts("processor time:");
    print_seconds("this generator", r->generator_seconds, r);
    for (unsigned i = 0; i < o->n_kinds; i++) {
        print_seconds(o->kinds[i].name, r->kind_seconds[i], r);
    }
}

void redis_report_json(const struct redis_options *options, const struct redis_result *r)
{
    const struct redis_load_options *o = &options->load;
    json_t *errors = json_object(), *cpu = json_object();
    for (unsigned i = 0; i < REDIS_WORDS && r->errors[i].word[0] != '\0'; i++) {
        json_object_set_new(errors, r->errors[i].word, json_integer((json_int_t)r->errors[i].count));
    }
    json_object_set_new(cpu, "generator", json_real(r->generator_seconds));
    for (unsigned i = 0; i < o->n_kinds; i++) {
        json_object_set_new(
            cpu, o->kinds[i].name, r->kind_seconds[i] < 0 ? json_null() : json_real(r->kind_seconds[i]));
    }
    json_t *root =
        json_pack("{s:s, s:i, s:i, s:I, s:i, s:i, s:f, s:f, s:o, s:f, s:I, s:I, s:I, s:o, s:s, s:o}",
            "command", name_of(o), "clients", (int)o->clients, "pipeline", (int)o->pipeline, "keys",
            (json_int_t)o->keys, "value_bytes", (int)o->value_bytes, "masters", (int)r->masters, "seconds",
            (double)r->elapsed_ns / 1e9, "per_second", rate(r), "operations",
            report_side_json(&r->ok, r->elapsed_ns), "longest_pause_ms", (double)r->longest_pause_ns / 1e6,
            "total", (json_int_t)r->total, "misses", (json_int_t)r->misses, "moved", (json_int_t)r->moved,
            "errors", errors, "last_error", r->last_error, "cpu_seconds", cpu);
    json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(root);
}
