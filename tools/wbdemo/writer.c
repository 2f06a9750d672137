#include "tools/wbdemo/writer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "tools/wbdemo/progress.h"

enum {
    IN_FLIGHT_PER_GROUP = 64, /* so that a group without a leader does not hold the others up */
    DEADLINE_MS = 20000,
    RECEIVE_MS = 50,
};

/* The keys of one group and its share of the writes. */
struct share {
    uint32_t *keys;
    uint32_t n;
    uint32_t cursor;
    uint32_t in_flight;
    uint64_t left;
    uint64_t last_ack_ms;
};

struct writer {
    const struct writer_options *options;
    struct ledger *ledger;
    struct writer_report *report;
    struct wbcache *cache;
    struct share *shares;
    uint8_t *group_of; /* by key */
    struct progress progress;
    uint64_t start_ms;
    uint64_t done;
    pid_t command;
    bool command_started;
};

static double rate(const struct writer *w)
{
    uint64_t ms = clock_boot_ms() - w->start_ms;
    return ms == 0 ? 0 : (double)w->done * 1000.0 / (double)ms;
}

/* ---- which keys belong to which group ---- */

static int sort_keys(struct writer *w)
{
    for (uint32_t i = 0; i < w->ledger->n; i++) {
        char key[LEDGER_KEY_BYTES + 1];
        unsigned slot;
        unsigned group;
        ledger_key_text(i, key);
        int code = wbcache_locate(w->cache, key, LEDGER_KEY_BYTES, &slot, &group);
        if (code != WBCACHE_OK) {
            return code;
        }
        CHECK(group < LIMIT_GROUPS);
        struct share *s = &w->shares[group];
        if (s->keys == NULL) {
            s->keys = xcalloc(w->ledger->n, sizeof *s->keys);
        }
        s->keys[s->n++] = i;
        w->group_of[i] = (uint8_t)group;
        if (group >= w->report->group_count) {
            w->report->group_count = group + 1;
        }
    }
    uint32_t used = 0;
    for (uint32_t g = 0; g < w->report->group_count; g++) {
        used += w->shares[g].n > 0;
    }
    uint64_t rest = w->options->writes;
    for (uint32_t g = 0; g < w->report->group_count; g++) {
        struct share *s = &w->shares[g];
        if (s->n > 0) {
            s->left = rest / used--;
            rest -= s->left;
        }
    }
    return WBCACHE_OK;
}

/* ---- the command in the middle ---- */

/* The leader of the first group, asked on a connection of its own. */
static uint64_t find_leader(struct writer *w)
{
    struct wbcache *cache = NULL;
    struct wbcache_status *status = NULL;
    uint64_t node = 0;
    uint64_t term = 0;
    if (wbcache_open(&cache, w->options->cluster, NULL) != WBCACHE_OK ||
        wbcache_status(cache, &status) != WBCACHE_OK) {
        wbcache_close(cache);
        return 0;
    }
    for (size_t i = 0; i < status->n_nodes; i++) {
        for (size_t j = 0; status->nodes[i].code == WBCACHE_OK && j < status->nodes[i].n_groups; j++) {
            const struct wbcache_group_status *g = &status->nodes[i].groups[j];
            if (g->group == 0 && g->ready && g->term > term) {
                node = status->nodes[i].node_id;
                term = g->term;
            }
        }
    }
    for (size_t i = 0; i < status->n_nodes; i++) {
        for (size_t j = 0; status->nodes[i].code == WBCACHE_OK && j < status->nodes[i].n_groups; j++) {
            const struct wbcache_group_status *g = &status->nodes[i].groups[j];
            if (status->nodes[i].node_id == node && g->ready && g->group < LIMIT_GROUPS) {
                w->report->led[g->group] = true;
            }
        }
    }
    wbcache_status_free(status);
    wbcache_close(cache);
    return node;
}

static void start_command(struct writer *w)
{
    w->command_started = true;
    w->report->node = find_leader(w);
    if (w->report->node == 0) {
        progress_note(&w->progress, "  group 0 has no leader: nothing is killed");
        w->report->command_status = -1;
        return;
    }
    progress_note(
        &w->progress, "  killing node %" PRIu64 ", the leader of group 0, with SIGKILL", w->report->node);
    char number[24];
    snprintf(number, sizeof number, "%" PRIu64, w->report->node);
    setenv("WBDEMO_NODE", number, 1);
    w->command = fork();
    if (w->command == 0) {
        execl("/bin/sh", "sh", "-c", w->options->at_half, (char *)NULL);
        _exit(127);
    }
    if (w->command < 0) {
        w->report->command_status = -1;
        w->command = 0;
    }
    uint64_t now = clock_boot_ms();
    for (uint32_t g = 0; g < w->report->group_count; g++) {
        w->shares[g].last_ack_ms = now;
    }
}

static void reap_command(struct writer *w)
{
    if (w->command > 0) {
        while (waitpid(w->command, &w->report->command_status, 0) < 0 && errno == EINTR) {
        }
        w->command = 0;
    }
}

/* ---- writing ---- */

/* A writable key of @s, in turn; -1 when there is none just now. */
static int64_t next_key(struct writer *w, struct share *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t key = s->keys[s->cursor];
        s->cursor = (s->cursor + 1) % s->n;
        if (ledger_writable(w->ledger, key)) {
            return key;
        }
    }
    return -1;
}

static void send_writes(struct writer *w)
{
    for (uint32_t g = 0; g < w->report->group_count; g++) {
        struct share *s = &w->shares[g];
        while (s->left > 0 && s->in_flight < IN_FLIGHT_PER_GROUP) {
            int64_t chosen = next_key(w, s);
            if (chosen < 0) {
                if (s->in_flight == 0) {
                    s->left = 0; /* every key of the group has an unknown outcome */
                }
                break;
            }
            uint32_t key = (uint32_t)chosen;
            char text[LEDGER_KEY_BYTES + 1];
            char value[LEDGER_VALUE_BYTES + 1];
            ledger_key_text(key, text);
            ledger_value(w->ledger, key, ledger_begin(w->ledger, key), value);
            int code = wbcache_send_set(
                w->cache, text, LEDGER_KEY_BYTES, value, LEDGER_VALUE_BYTES, (void *)(uintptr_t)key);
            if (code != WBCACHE_OK) {
                ledger_refused(w->ledger, key); /* not sent at all */
                break;
            }
            s->left--;
            s->in_flight++;
        }
    }
}

static void take_reply(struct writer *w, const struct wbcache_reply *reply)
{
    uint32_t key = (uint32_t)(uintptr_t)reply->tag;
    uint32_t group = w->group_of[key];
    struct share *s = &w->shares[group];
    s->in_flight--;
    w->done++;
    if (reply->result.code == WBCACHE_OK) {
        uint64_t now = clock_boot_ms();
        ledger_acknowledged(w->ledger, key, reply->result.version);
        w->report->acknowledged++;
        if (w->command_started && now - s->last_ack_ms > w->report->pause_ms[group]) {
            w->report->pause_ms[group] = now - s->last_ack_ms;
        }
        s->last_ack_ms = now;
    } else if (reply->result.code == WBCACHE_UNKNOWN) {
        ledger_unknown(w->ledger, key);
        w->report->unknown++;
    } else {
        ledger_refused(w->ledger, key);
        w->report->refused++;
        snprintf(w->report->last_refusal, sizeof w->report->last_refusal, "%s: %s",
            wbcache_code_name(reply->result.code), wbcache_strerror(reply->result.code));
    }
}

static bool more_to_do(const struct writer *w)
{
    for (uint32_t g = 0; g < w->report->group_count; g++) {
        if (w->shares[g].left > 0 || w->shares[g].in_flight > 0) {
            return true;
        }
    }
    return false;
}

/* Take what has come; waits a moment when nothing has. Returns OK, or why the handle is of no more use. */
static int receive_replies(struct writer *w)
{
    struct wbcache_reply reply;
    int code = wbcache_receive(w->cache, &reply, RECEIVE_MS);
    while (code == WBCACHE_OK) {
        take_reply(w, &reply);
        code = wbcache_receive(w->cache, &reply, 0);
    }
    return code == WBCACHE_AGAIN ? WBCACHE_OK : code;
}

static int write_all(struct writer *w)
{
    w->start_ms = clock_boot_ms();
    progress_init(&w->progress, w->options->writes);
    while (more_to_do(w)) {
        send_writes(w);
        int code = receive_replies(w);
        if (code != WBCACHE_OK) {
            return code;
        }
        progress_show(&w->progress, w->done, rate(w), clock_boot_ms());
        if (w->options->at_half != NULL && !w->command_started && w->done >= w->options->writes / 2) {
            start_command(w);
        }
    }
    w->report->elapsed_ms = clock_boot_ms() - w->start_ms;
    progress_end(&w->progress, w->done, rate(w));
    return WBCACHE_OK;
}

bool writer_run(const struct writer_options *options, struct ledger *ledger, struct writer_report *out,
    char *errmsg, size_t errmsg_len)
{
    struct writer w = {.options = options, .ledger = ledger, .report = out};
    struct wbcache_options cache_options = {.deadline_ms = DEADLINE_MS, .pipeline_max = 4096};
    memset(out, 0, sizeof *out);
    w.shares = xcalloc(LIMIT_GROUPS, sizeof *w.shares);
    w.group_of = xcalloc(ledger->n, sizeof *w.group_of);
    int code = wbcache_open(&w.cache, options->cluster, &cache_options);
    if (code == WBCACHE_OK) {
        code = sort_keys(&w);
    }
    if (code == WBCACHE_OK) {
        code = write_all(&w);
    }
    if (code != WBCACHE_OK) {
        snprintf(errmsg, errmsg_len, "%s: %s", wbcache_code_name(code),
            w.cache != NULL ? wbcache_errmsg(w.cache) : wbcache_strerror(code));
    }
    reap_command(&w);
    wbcache_close(w.cache);
    for (uint32_t g = 0; g < LIMIT_GROUPS; g++) {
        free(w.shares[g].keys);
    }
    free(w.shares);
    free(w.group_of);
    return code == WBCACHE_OK;
}
