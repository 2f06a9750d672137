/* status and lag: what the nodes say about themselves, put together for the whole cluster. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/wbclient/args.h"
#include "tools/wbclient/commands.h"
#include "tools/wbclient/status_view.h"

struct view status_leader(const struct wbcache_status *status, uint32_t group)
{
    struct view best = {NULL, NULL};
    for (size_t i = 0; i < status->n_nodes; i++) {
        const struct wbcache_node_status *node = &status->nodes[i];
        for (size_t j = 0; node->code == WBCACHE_OK && j < node->n_groups; j++) {
            const struct wbcache_group_status *g = &node->groups[j];
            if (g->group == group && strcmp(g->role, "leader") == 0 &&
                (best.group == NULL || g->term > best.group->term)) {
                best = (struct view){node, g};
            }
        }
    }
    return best;
}

uint32_t status_group_count(const struct wbcache_status *status)
{
    for (size_t i = 0; i < status->n_nodes; i++) {
        if (status->nodes[i].code == WBCACHE_OK) {
            return status->nodes[i].group_count;
        }
    }
    return 0;
}

uint64_t status_lag(const struct wbcache_group_status *g)
{
    return g->applied_index > g->flushed_index ? g->applied_index - g->flushed_index : 0;
}

/* ---- for people ---- */

static void print_nodes(const struct wbcache_status *status)
{
    printf("%-5s %-24s %-6s %-9s %11s %10s %18s %7s\n", "node", "address", "up", "uptime", "connections",
        "memory", "cache", "to db");
    for (size_t i = 0; i < status->n_nodes; i++) {
        const struct wbcache_node_status *n = &status->nodes[i];
        char id[24] = "?", database[24] = "-";
        if (n->node_id != 0) {
            snprintf(id, sizeof id, "%" PRIu64, n->node_id);
        }
        if (n->code == WBCACHE_OK) {
            char cache[80] = "-";
            if (n->memory_max_bytes != 0) { /* how much of memory_max the keys in memory take */
                snprintf(cache, sizeof cache, "%s (%.0f %%)", human_bytes(n->cache_bytes).s,
                    100.0 * (double)n->cache_bytes / (double)n->memory_max_bytes);
            }
            if (n->database_connections != 0) {
                snprintf(database, sizeof database, "%" PRIu32 "/%" PRIu32, n->database_connections_used,
                    n->database_connections);
            }
            printf("%-5s %-24s %-6s %-9s %11" PRIu64 " %10s %18s %7s\n", id, n->client_address, "yes",
                human_ms(n->uptime_ms).s, n->connections, human_bytes(n->memory_bytes).s, cache, database);
        } else {
            printf("%-5s %-24s no     (%s)\n", id, n->client_address, wbcache_code_name(n->code));
        }
    }
}

const char *status_advice(const struct wbcache_group_status *g)
{
    static const struct {
        const char *class, *advice;
    } rows[] = {
        {"halt", "This needs you: repair what it says. It is looked at again every few seconds; nothing is "
                 "dropped."},
        {"outage", "PostgreSQL is away, or takes nothing at present: tried again by itself."},
        {"transient", "Tried again by itself."},
        {"row", "The rows that PostgreSQL refuses are being looked for; the others will be written."},
        {"fenced", "Another leader writes: normal for a moment after leadership has moved."},
        {"predecessor", "What is in PostgreSQL is being looked at anew, by itself."},
    };
    const char *class = strcmp(g->flush_state, "halted") == 0 ? "halt" : g->flush_error_class;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(class, rows[i].class) == 0) {
            return rows[i].advice;
        }
    }
    return "";
}

/* What an operator should know or do, a line each under the group's own. *@told is the error that was told
 * last: one database away is the same error in all groups. */
static void print_troubles(const struct wbcache_group_status *g, const char **told)
{
    if (g->settings.paused) {
        puts("      PAUSED: nothing is written to PostgreSQL until `wbclient flush resume`.");
    }
    if (g->recovering) {
        puts("      RECOVERING: PostgreSQL went back in time; what it lost is being written again.");
    }
    if (g->lost > 0) {
        printf("      LOST %s row%s, %s ago: PostgreSQL went back further than memory remembers.\n"
               "        `wbclient verify --repair` writes what memory still has; then `wbclient flush "
               "acknowledge-loss`.\n",
            human_count(g->lost).s, g->lost == 1 ? "" : "s", human_age(g->lost_ms).s);
    }
    if (g->quarantined > 0) {
        printf("      %s in quarantine: PostgreSQL refuses %s; see `wbclient quarantine list`.\n",
            human_count(g->quarantined).s, g->quarantined == 1 ? "the row" : "the rows");
    }
    if (g->flush_error[0] != '\0') {
        const char *advice = status_advice(g);
        bool same = *told != NULL && strcmp(*told, g->flush_error) == 0;
        printf("      last error (%s%s%s, for %s): %s\n",
            g->flush_error_class[0] != '\0' ? g->flush_error_class : "of the database",
            g->flush_error_sqlstate[0] != '\0' ? " " : "", g->flush_error_sqlstate,
            human_age(g->flush_error_ms).s, same ? "the same" : g->flush_error);
        if (advice[0] != '\0' && !same) {
            printf("        %s\n", advice);
        }
        *told = g->flush_error;
    }
}

static void print_group_header(void)
{
    printf("\n%-5s %-9s %-5s %6s %10s %10s %8s %8s %10s %8s  %s\n", "group", "role", "node", "term",
        "applied", "flushed", "lag", "dirty", "bytes", "oldest", "flush");
}

static void print_group(
    const struct wbcache_node_status *node, const struct wbcache_group_status *g, const char **told)
{
    bool paused = g->settings.paused && strcmp(g->flush_state, "active") == 0;
    bool leader = strcmp(g->role, "leader") == 0;
    printf("%-5" PRIu32 " %-9s %-5" PRIu64 " %6" PRIu64 " %10" PRIu64 " %10" PRIu64 " %8" PRIu64 " %8" PRIu64
           " %10s %8s  %s%s\n",
        g->group, leader && !g->ready ? "starting" : g->role, node->node_id, g->term, g->applied_index,
        g->flushed_index, status_lag(g), g->dirty_entries, human_bytes(g->dirty_bytes).s,
        human_ms(g->oldest_dirty_ms).s, paused ? "paused" : g->flush_state,
        leader && !g->ready ? " (not ready)" : "");
    if (leader) {
        print_troubles(g, told);
    }
}

static void print_followers(const struct wbcache_status *status, uint32_t group, struct view leader)
{
    const char *told = NULL;
    for (size_t i = 0; i < status->n_nodes; i++) {
        const struct wbcache_node_status *node = &status->nodes[i];
        for (size_t j = 0; node->code == WBCACHE_OK && j < node->n_groups; j++) {
            if (node->groups[j].group == group && &node->groups[j] != leader.group) {
                print_group(node, &node->groups[j], &told);
            }
        }
    }
}

static void print_groups(const struct wbcache_status *status, bool all)
{
    uint32_t n = status_group_count(status);
    uint32_t unled = 0;
    const char *told = NULL;
    print_group_header();
    for (uint32_t group = 0; group < n; group++) {
        struct view leader = status_leader(status, group);
        if (leader.group != NULL) {
            print_group(leader.node, leader.group, &told);
        } else {
            printf("%-5" PRIu32 " no leader\n", group);
            unled++;
        }
        if (all) {
            print_followers(status, group, leader);
        }
    }
    if (unled > 0) {
        printf("\n%" PRIu32 " of %" PRIu32 " groups have no leader: a majority of the nodes must be up.\n",
            unled, n);
    }
}

static uint64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* How fresh PostgreSQL is, and what stands behind it. The age is by this machine's clock, the time by
 * PostgreSQL's. */
static void print_freshness(const struct wbcache_status *status)
{
    uint64_t now_ms = wall_ms();
    printf("\n%-5s %-27s %9s %11s %8s %10s %10s %8s\n", "group", "PostgreSQL is fresh as of", "ago",
        "quarantined", "lost", "retained", "bytes", "batches");
    for (uint32_t group = 0; group < status_group_count(status); group++) {
        const struct wbcache_group_status *g = status_leader(status, group).group;
        if (g == NULL) {
            continue;
        }
        bool known = g->fresh_as_of_ms != 0 && !g->recovering;
        uint64_t age_ms = now_ms > g->fresh_as_of_ms ? now_ms - g->fresh_as_of_ms : 0;
        printf("%-5" PRIu32 " %-27s %9s %11" PRIu64 " %8" PRIu64 " %10" PRIu64 " %10s %8" PRIu64 "\n", group,
            known           ? human_time(g->fresh_as_of_ms).s
            : g->recovering ? "not before it has recovered"
                            : "not known yet",
            known ? human_age(age_ms).s : "-", g->quarantined, g->lost, g->retained,
            human_bytes(g->retained_bytes).s, g->retained_batches);
    }
}

/* ---- the commands ---- */

int command_status(struct session *s, const struct bytes *args, size_t n)
{
    bool all = n == 1;
    if (all && !bytes_equal(args[0], bytes_from_text("--all"))) {
        return session_usage(s, "usage: status [--all]");
    }
    struct wbcache_status *status;
    int code = wbcache_status(s->cache, &status);
    if (code != WBCACHE_OK) {
        return session_report(s, code, wbcache_errmsg(s->cache));
    }
    if (s->json) {
        session_print_json(status_json(status));
    } else {
        print_nodes(status);
        print_groups(status, all);
        print_freshness(status);
    }
    wbcache_status_free(status);
    return EXIT_DONE;
}

static void set_u64(json_t *object, const char *name, uint64_t value)
{
    json_object_set_new(object, name, json_integer((json_int_t)value));
}

struct lag {
    uint64_t entries;
    uint64_t dirty_entries;
    uint64_t dirty_bytes;
    uint64_t oldest_ms;
    uint32_t unled;
};

static void lag_add(struct lag *total, const struct wbcache_group_status *g)
{
    total->entries += status_lag(g);
    total->dirty_entries += g->dirty_entries;
    total->dirty_bytes += g->dirty_bytes;
    if (g->oldest_dirty_ms > total->oldest_ms) {
        total->oldest_ms = g->oldest_dirty_ms;
    }
}

static void print_lag_line(const char *what, const struct lag *l)
{
    printf("%-8s %8" PRIu64 " entries behind, %8" PRIu64 " dirty keys, %10s, oldest %s\n", what, l->entries,
        l->dirty_entries, human_bytes(l->dirty_bytes).s, human_ms(l->oldest_ms).s);
}

static json_t *lag_json(const struct lag *l)
{
    json_t *o = json_object();
    set_u64(o, "lag_entries", l->entries);
    set_u64(o, "dirty_entries", l->dirty_entries);
    set_u64(o, "dirty_bytes", l->dirty_bytes);
    set_u64(o, "oldest_dirty_ms", l->oldest_ms);
    return o;
}

int command_lag(struct session *s, const struct bytes *args, size_t n)
{
    struct wbcache_status *status;
    int code = wbcache_status(s->cache, &status);
    if (code != WBCACHE_OK) {
        return session_report(s, code, wbcache_errmsg(s->cache));
    }
    struct lag total = {0};
    json_t *groups = json_array();
    for (uint32_t group = 0; group < status_group_count(status); group++) {
        struct view leader = status_leader(status, group);
        struct lag one = {.unled = leader.group == NULL};
        if (leader.group != NULL) {
            lag_add(&one, leader.group);
            lag_add(&total, leader.group);
        }
        total.unled += one.unled;
        if (s->json) {
            json_t *o = lag_json(&one);
            set_u64(o, "group", group);
            json_object_set_new(o, "known", json_boolean(!one.unled));
            json_array_append_new(groups, o);
        } else {
            char name[24];
            snprintf(name, sizeof name, "group %" PRIu32, group);
            if (one.unled) {
                printf("%-8s has no leader: its lag is not known\n", name);
            } else {
                print_lag_line(name, &one);
            }
        }
    }
    if (s->json) {
        session_print_json(json_pack(
            "{s:o, s:o, s:i}", "groups", groups, "total", lag_json(&total), "unled", (int)total.unled));
    } else {
        json_decref(groups);
        print_lag_line(total.unled == 0 ? "total" : "known", &total);
    }
    wbcache_status_free(status);
    return total.unled == 0 ? EXIT_DONE : EXIT_FAILED;
}
