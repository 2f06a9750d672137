#include "tools/wbbench/flush_report.h"

#include <inttypes.h>
#include <stdio.h>

#include <jansson.h>

static void print_row(
    const struct flush_part *part, const char *who, const struct flush_side *side, const char *remark)
{
    char cpu[32] = "";
    double us = flush_side_cpu_us_per_row(side, part->rows);
    if (us >= 0) {
        snprintf(cpu, sizeof cpu, "%.1f", us);
    }
    printf("| %s | %s | %" PRIu32 " | %.0f | %s | %s | %.2f |\n", part->name, who, side->batch_rows,
        flush_side_rows_per_second(side, part->rows), remark, cpu, flush_side_seconds(side));
}

void flush_report_text(const struct flush_report *r)
{
    printf("Rows with values of %u bytes, %u groups, PostgreSQL %s; medians of %u runs (drain: of one).\n",
        r->options->value_bytes, r->groups, r->server_version, r->options->runs);
    if (r->cpu_words != NULL) {
        printf("%s.\n", r->cpu_words);
    }
    puts("\n| | | batch | rows/s | of the best peer | PostgreSQL CPU us/row | seconds |\n"
         "|---|---|---|---|---|---|---|");
    for (size_t i = 0; i < r->n_parts; i++) {
        const struct flush_part *part = &r->parts[i];
        char ratio[32];
        snprintf(ratio, sizeof ratio, "**%.2f**", flush_part_ratio(part));
        print_row(part, "the flush", &part->cache, ratio);
        for (int k = 0; k < FLUSH_PEERS; k++) {
            const struct flush_side *peer = &part->peers[k];
            if (peer->runs > 0) {
                print_row(part, "peer", peer, peer == flush_part_best_peer(part) ? "1 (best)" : "");
            }
        }
    }
}

static json_t *side_json(const struct flush_side *side, uint32_t rows)
{
    double us = flush_side_cpu_us_per_row(side, rows);
    json_t *seconds = json_array();
    for (unsigned i = 0; i < side->runs; i++) {
        json_array_append_new(seconds, json_real(side->seconds[i]));
    }
    return json_pack("{s:I, s:f, s:f, s:o, s:o}", "batch_rows", (json_int_t)side->batch_rows,
        "rows_per_second", flush_side_rows_per_second(side, rows), "seconds", flush_side_seconds(side),
        "cpu_us_per_row", us < 0 ? json_null() : json_real(us), "runs", seconds);
}

static json_t *part_json(const struct flush_part *part)
{
    json_t *peers = json_array();
    for (int i = 0; i < FLUSH_PEERS; i++) {
        if (part->peers[i].runs > 0) {
            json_array_append_new(peers, side_json(&part->peers[i], part->rows));
        }
    }
    const struct flush_side *best = flush_part_best_peer(part);
    return json_pack("{s:s, s:I, s:f, s:o, s:I, s:o}", "name", part->name, "rows", (json_int_t)part->rows,
        "ratio", flush_part_ratio(part), "flush", side_json(&part->cache, part->rows), "best_peer_batch_rows",
        (json_int_t)(best == NULL ? 0 : best->batch_rows), "peers", peers);
}

void flush_report_json(const struct flush_report *r)
{
    json_t *parts = json_array();
    for (size_t i = 0; i < r->n_parts; i++) {
        json_array_append_new(parts, part_json(&r->parts[i]));
    }
    json_t *root = json_pack("{s:i, s:i, s:i, s:s, s:o}", "groups", (int)r->groups, "value_bytes",
        (int)r->options->value_bytes, "runs", (int)r->options->runs, "server_version", r->server_version,
        "parts", parts);
    json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(root);
}
