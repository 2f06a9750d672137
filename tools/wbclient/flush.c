/* flush: waiting for it, and how the cluster does it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/limits.h"
#include "tools/wbclient/args.h"
#include "tools/wbclient/commands.h"
#include "tools/wbclient/output.h"
#include "tools/wbclient/status_view.h"

/* What the words behind an action say. */
struct flush_words {
    struct wbcache_flush_settings change;
    bool reset;
    bool one_group;
    uint64_t group;
};

/* ---- Waiting ---- */

static int flush_wait(struct session *s)
{
    int code = wbcache_flush(s->cache);
    if (code != WBCACHE_OK) {
        return output_failure(s, code);
    }
    if (s->json) {
        session_print_json(json_pack("{s:b}", "ok", 1));
    } else {
        puts("OK: everything acknowledged before is in PostgreSQL");
    }
    return EXIT_DONE;
}

/* ---- Settings ---- */

static const char *flush_state_of(const struct wbcache_status *status, uint32_t group)
{
    const struct wbcache_group_status *g = status != NULL ? status_leader(status, group).group : NULL;
    return g != NULL ? g->flush_state : "unknown";
}

/* A setting's cell: with a star when an operator has set it. */
static void print_cell(struct args_text text, bool set, int width)
{
    char cell[sizeof text.s + 1];
    snprintf(cell, sizeof cell, "%s%s", text.s, set ? "*" : "");
    printf(" %*s", width, cell);
}

static void print_settings(uint32_t group, const char *flush_state, const struct wbcache_flush_state *state)
{
    const struct wbcache_flush_settings *now = &state->settings;
    struct args_text rate = {"no limit"};
    if (now->rows_per_second != 0) {
        rate = human_count(now->rows_per_second);
        strcat(rate.s, "/s");
    }
    printf("%-5" PRIu32 " %-10s", group, now->paused ? "PAUSED" : flush_state);
    print_cell(human_age(now->age_ms), state->set.has_age_ms, 10);
    print_cell(human_count(now->batch_rows), state->set.has_batch_rows, 11);
    print_cell(human_bytes(now->batch_bytes), state->set.has_batch_bytes, 12);
    print_cell(rate, state->set.has_rows_per_second, 16);
    putchar('\n');
}

static json_t *state_json(uint32_t group, const char *flush_state, struct wbcache_flush_state *state)
{
    state->set.has_paused = state->set.has_paused && state->set.paused;
    return json_pack("{s:i, s:s, s:o, s:o}", "group", (int)group, "state", flush_state, "settings",
        settings_json(&state->settings), "set", settings_json(&state->set));
}

/* Which groups are meant. False: the reason was reported. */
static bool group_range(
    struct session *s, const struct flush_words *words, uint32_t *first, uint32_t *end, int *exit_out)
{
    unsigned count = 0;
    int code = wbcache_group_count(s->cache, &count);
    if (code != WBCACHE_OK) {
        *exit_out = output_failure(s, code);
        return false;
    }
    if (words->one_group && words->group >= count) {
        *exit_out =
            session_usage(s, "there is no group %" PRIu64 ": they are 0 to %u", words->group, count - 1);
        return false;
    }
    *first = words->one_group ? (uint32_t)words->group : 0;
    *end = words->one_group ? *first + 1 : count;
    return true;
}

/* Change what @words have, and show what is in force then. */
static int flush_change(struct session *s, const struct flush_words *words)
{
    uint32_t first, end;
    int result = EXIT_DONE;
    if (!group_range(s, words, &first, &end, &result)) {
        return result;
    }
    struct wbcache_flush_state *states = xcalloc(end - first, sizeof *states);
    for (uint32_t group = first; group < end && result == EXIT_DONE; group++) {
        int code =
            wbcache_flush_control(s->cache, group, &words->change, words->reset, &states[group - first]);
        if (code != WBCACHE_OK) {
            result = output_failure(s, code);
        }
        end = code != WBCACHE_OK ? group : end; /* the groups before it are as was asked */
    }
    struct wbcache_status *status = NULL;
    (void)wbcache_status(
        s->cache, &status); /* it tells more; without it the settings are shown all the same */
    json_t *groups = json_array();
    if (!s->json && end > first) {
        printf("%-5s %-10s %10s %11s %12s %16s   *: set by operators\n", "group", "flush", "age",
            "batch rows", "batch bytes", "rows per second");
    }
    for (uint32_t group = first; group < end; group++) {
        const char *flush_state = flush_state_of(status, group);
        if (s->json) {
            json_array_append_new(groups, state_json(group, flush_state, &states[group - first]));
        } else {
            print_settings(group, flush_state, &states[group - first]);
        }
    }
    if (s->json && end > first) {
        session_print_json(json_pack("{s:b, s:O}", "ok", result == EXIT_DONE, "groups", groups));
    }
    json_decref(groups);
    wbcache_status_free(status);
    free(states);
    return result;
}

/* ---- Loss, connections ---- */

static int flush_acknowledge(struct session *s, const struct flush_words *words)
{
    uint32_t first, end;
    uint64_t total = 0;
    int result = EXIT_DONE;
    if (!group_range(s, words, &first, &end, &result)) {
        return result;
    }
    for (uint32_t group = first; group < end; group++) {
        uint64_t rows = 0;
        int code = wbcache_acknowledge_loss(s->cache, group, &rows);
        if (code != WBCACHE_OK) {
            return output_failure(s, code);
        }
        total += rows;
        if (s->json) {
            session_print_json(
                json_pack("{s:b, s:i, s:I}", "ok", 1, "group", (int)group, "acknowledged", (json_int_t)rows));
        } else if (rows > 0) {
            printf("group %" PRIu32 ": %s lost row%s acknowledged\n", group, human_count(rows).s,
                rows == 1 ? "" : "s");
        }
    }
    if (!s->json && total == 0) {
        puts("nothing was shown as lost");
    }
    return EXIT_DONE;
}

static int flush_connections(struct session *s, const struct bytes *args, size_t n)
{
    uint64_t connections, node = 0;
    bool good = n == 1 ||
                (n == 3 && args_is(args[1], "--node") && args_number(args[2], UINT32_MAX, &node) && node > 0);
    if (!good || !args_number(args[0], 256, &connections) || connections == 0) {
        return session_usage(s, "usage: flush connections N [--node ID]; N is 1 to 256");
    }
    int code = wbcache_database_connections(s->cache, node, (unsigned)connections);
    if (code != WBCACHE_OK) {
        return output_failure(s, code);
    }
    if (s->json) {
        session_print_json(json_pack("{s:b, s:I}", "ok", 1, "connections", (json_int_t)connections));
    } else {
        puts("OK: until the node is restarted; flush.connections in its configuration makes it last");
    }
    return EXIT_DONE;
}

/* ---- Words ---- */

/* Settings (if @settings) and --group. False: the reason was reported. */
static bool take_words(
    struct session *s, const struct bytes *args, size_t n, bool settings, struct flush_words *out)
{
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (args_is(args[i], "--group") && i + 1 < n &&
            args_number(args[i + 1], LIMIT_GROUPS - 1, &out->group)) {
            out->one_group = true;
            i++;
            continue;
        }
        const char *problem = settings ? args_setting(args[i], &out->change)
                                       : "only --group G may follow, with a group's number";
        if (problem != NULL) {
            (void)session_usage(s, "%s", problem);
            return false;
        }
        any = true;
    }
    if (settings && !any) {
        (void)session_usage(s, "set what? age=.., batch-rows=.., batch-bytes=.., rate=..");
        return false;
    }
    return true;
}

int command_flush(struct session *s, const struct bytes *args, size_t n)
{
    if (n == 0) {
        return flush_wait(s);
    }
    if (args_is(args[0], "connections")) {
        return flush_connections(s, args + 1, n - 1);
    }
    struct flush_words words = {0};
    bool settings = args_is(args[0], "set"), acknowledge = args_is(args[0], "acknowledge-loss");
    bool pause = args_is(args[0], "pause"), resume = args_is(args[0], "resume");
    words.reset = args_is(args[0], "reset");
    if (!settings && !acknowledge && !pause && !resume && !words.reset && !args_is(args[0], "status")) {
        return session_usage(
            s, "flush: the action is pause, resume, status, set, reset, connections or acknowledge-loss");
    }
    if (!take_words(s, args + 1, n - 1, settings, &words)) {
        return EXIT_USAGE;
    }
    words.change.has_paused = pause || resume;
    words.change.paused = pause;
    return acknowledge ? flush_acknowledge(s, &words) : flush_change(s, &words);
}
