#include "cluster-tests/cluster.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cluster-tests/guardian.h"
#include "cluster-tests/scenario.h"
#include "proto/base/alloc.h"

enum { NODES = 3, GROUPS = 3, GONE_MS = 30000, OUTPUT_BYTES = 16384 };

/* ---- tools/cluster ---- */

int cluster_tool(struct cluster *c, const char *const *arguments, char *output, size_t output_len)
{
    char path[192];
    snprintf(path, sizeof path, "%s/tool-output", c->dir);
    int code = guardian_run_tool(c->dir, arguments, path);
    FILE *f = fopen(path, "r");
    size_t len = f == NULL ? 0 : fread(output, 1, output_len - 1, f);
    output[len] = '\0';
    if (f != NULL) {
        fclose(f);
    }
    return code;
}

static void tool_or_fail(struct cluster *c, const char *const *arguments)
{
    char *output = xmalloc(OUTPUT_BYTES);
    int code = cluster_tool(c, arguments, output, OUTPUT_BYTES);
    if (code != 0) {
        printf("%s\n", output);
        free(output);
        fail_msg("tools/cluster %s ended with %d", arguments[0], code);
    }
    free(output);
}

static void tool_with_node(struct cluster *c, const char *command, unsigned node)
{
    char number[16];
    snprintf(number, sizeof number, "%u", node);
    tool_or_fail(c, (const char *const[]){command, number, NULL});
}

/* Copy the value of line NAME='VALUE' in @text; quotes inside do not occur in what we ask for. */
static bool assignment(const char *text, const char *name, char *out, size_t out_len)
{
    size_t name_len = strlen(name);
    for (const char *line = text; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');
        size_t len = end == NULL ? strlen(line) : (size_t)(end - line);
        if (len > name_len && strncmp(line, name, name_len) == 0 && line[name_len] == '=') {
            const char *value = line + name_len + 1;
            size_t value_len = len - name_len - 1;
            if (value_len >= 2 && value[0] == '\'' && value[value_len - 1] == '\'') {
                value++;
                value_len -= 2;
            }
            snprintf(out, out_len, "%.*s", (int)value_len, value);
            return true;
        }
        line = end == NULL ? NULL : end + 1;
    }
    return false;
}

void cluster_refresh(struct cluster *c)
{
    char *output = xmalloc(OUTPUT_BYTES);
    int code = cluster_tool(c, (const char *const[]){"env", NULL}, output, OUTPUT_BYTES);
    char pids[256] = "";
    char pg_pid[32] = "0";
    bool complete = code == 0 && assignment(output, "WBCACHE_CLUSTER", c->addresses, sizeof c->addresses) &&
                    assignment(output, "WBCACHE_DATABASE", c->database, sizeof c->database) &&
                    assignment(output, "WBCACHE_PIDS", pids, sizeof pids) &&
                    assignment(output, "WBCACHE_PG_PID", pg_pid, sizeof pg_pid);
    assignment(output, "WBCACHE_NETNS", c->netns, sizeof c->netns);
    if (!complete) {
        printf("%s\n", output);
    }
    free(output);
    if (!complete) {
        fail_msg("tools/cluster env ended with %d and did not say all", code);
    }
    c->pg_pid = (pid_t)strtol(pg_pid, NULL, 10);
    char *next = pids;
    for (unsigned node = 1; node <= c->nodes; node++) {
        c->pids[node] = (pid_t)strtol(next, &next, 10);
    }
}

/* ---- life ---- */

static void start_with(struct cluster *c, const struct cluster_options *options)
{
    const char *arguments[16 + 2 * CLUSTER_SETTINGS_MAX] = {"start"};
    unsigned n = 1;
    if (options != NULL) {
        if (options->database != NULL) {
            arguments[n++] = "--database";
            arguments[n++] = options->database;
        }
        if (options->adopt) {
            arguments[n++] = "--adopt";
        }
        if (options->no_wait) {
            arguments[n++] = "--no-wait";
        }
        if (options->netns) {
            arguments[n++] = "--netns";
        }
        if (options->wbnode != NULL) {
            arguments[n++] = "--wbnode";
            arguments[n++] = options->wbnode;
        }
        for (unsigned i = 0; i < CLUSTER_SETTINGS_MAX && options->settings[i] != NULL; i++) {
            arguments[n++] = "--set";
            arguments[n++] = options->settings[i];
        }
    }
    arguments[n] = NULL;
    tool_or_fail(c, arguments);
    cluster_refresh(c);
}

void cluster_start(struct cluster *c, const struct cluster_options *options)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(c->dir, sizeof c->dir, "%s/wbcache-test-XXXXXX", tmp == NULL || strlen(tmp) > 40 ? "/tmp" : tmp);
    if (mkdtemp(c->dir) == NULL) {
        c->dir[0] = '\0';
        fail_msg("cannot make a folder in %s", tmp == NULL ? "/tmp" : tmp);
    }
    chmod(c->dir, 0711); /* PostgreSQL's user must pass */
    c->started = true;
    c->nodes = NODES;
    c->groups = GROUPS;
    c->guardian_fd = guardian_start(c->dir);
    say("starting three nodes, three groups and PostgreSQL in %s", c->dir);
    start_with(c, options);
    say("  ready");
}

void cluster_start_again(struct cluster *c, const struct cluster_options *options)
{
    start_with(c, options);
}

void cluster_end(struct cluster *c, bool keep)
{
    if (!c->started) {
        return;
    }
    wbcache_close(c->control);
    c->control = NULL;
    char *output = xmalloc(OUTPUT_BYTES);
    int code = cluster_tool(c, (const char *const[]){keep ? "stop" : "destroy", NULL}, output, OUTPUT_BYTES);
    if (code != 0) {
        printf("%s\n", output);
    }
    free(output);
    guardian_end(c->guardian_fd);
    if (keep || code != 0) {
        say("the cluster's folder with all logs is kept: %s", c->dir);
    } else {
        guardian_remove_folder(c->dir);
    }
    c->started = false;
}

void cluster_kill(struct cluster *c, unsigned node)
{
    tool_with_node(c, "kill", node);
    c->pids[node] = 0;
}

void cluster_pause(struct cluster *c, unsigned node)
{
    tool_with_node(c, "pause", node);
}

void cluster_resume(struct cluster *c, unsigned node)
{
    tool_with_node(c, "resume", node);
}

void cluster_cut(struct cluster *c, unsigned node)
{
    tool_with_node(c, "cut", node);
}

void cluster_heal(struct cluster *c, unsigned node)
{
    tool_with_node(c, "heal", node);
}

void cluster_stop_node(struct cluster *c, unsigned node)
{
    tool_with_node(c, "stop", node);
    c->pids[node] = 0;
}

void cluster_restart(struct cluster *c, unsigned node)
{
    tool_with_node(c, "restart", node);
    cluster_refresh(c);
}

static bool nothing_runs(struct cluster *c, void *data)
{
    (void)data;
    cluster_refresh(c);
    bool running = c->pg_pid != 0;
    for (unsigned node = 1; node <= c->nodes; node++) {
        running = running || c->pids[node] != 0;
    }
    return !running;
}

void cluster_kill_everything(struct cluster *c)
{
    cluster_refresh(c); /* the tool checks start times: these pids are ours at this moment */
    for (unsigned node = 1; node <= c->nodes; node++) {
        if (c->pids[node] > 0) {
            kill(c->pids[node], SIGKILL);
        }
    }
    if (c->pg_pid > 0) {
        kill(c->pg_pid, SIGQUIT); /* PostgreSQL's immediate shutdown */
    }
    cluster_wait(c, "all processes are gone", GONE_MS, nothing_runs, NULL);
}

void cluster_pg_stop(struct cluster *c, bool immediate)
{
    tool_or_fail(c, (const char *const[]){"pg-stop", immediate ? "--immediate" : NULL, NULL});
    c->pg_pid = 0;
}

void cluster_pg_start(struct cluster *c)
{
    tool_or_fail(c, (const char *const[]){"pg-start", NULL});
    cluster_refresh(c);
}

void cluster_pg_restart(struct cluster *c, bool immediate)
{
    tool_or_fail(c, (const char *const[]){"pg-restart", immediate ? "--immediate" : NULL, NULL});
    cluster_refresh(c);
}
