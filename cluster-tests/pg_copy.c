#include "cluster-tests/pg_copy.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/program.h"
#include "cluster-tests/scenario.h"

enum {
    PROBES = 24, /* keys, so that each group has some of them */
    ASKED_MS = 30000,
};

static void path_of(struct cluster *c, const char *name, char *out, size_t out_len)
{
    snprintf(out, out_len, "%s/pg/%s", c->dir, name);
}

/* The newest installed one, as tools/cluster chooses its server; else whatever PATH finds. */
static void find_basebackup(char *out, size_t out_len)
{
    glob_t found;
    snprintf(out, out_len, "pg_basebackup");
    if (glob("/usr/lib/postgresql/*/bin/pg_basebackup", 0, NULL, &found) == 0) {
        unsigned long newest = 0;
        for (size_t i = 0; i < found.gl_pathc; i++) {
            unsigned long version = strtoul(found.gl_pathv[i] + strlen("/usr/lib/postgresql/"), NULL, 10);
            if (version >= newest) {
                newest = version;
                snprintf(out, out_len, "%s", found.gl_pathv[i]);
            }
        }
        globfree(&found);
    }
}

void pg_copy_take(struct cluster *c, const char *name)
{
    char program[256];
    char data[192];
    char copy[192];
    char output[2048];
    find_basebackup(program, sizeof program);
    path_of(c, "data", data, sizeof data);
    path_of(c, name, copy, sizeof copy);
    const char *const argv[] = {program, "-d", c->database, "-D", copy, "-X", "stream", "--checkpoint=fast",
        "--no-sync", "--no-manifest", NULL};
    int code = program_run(argv, output, sizeof output);
    if (code != 0) {
        fail_msg("pg_basebackup ended with %d: %s", code, output);
    }
    /* It belongs to whoever copied it, and the server refuses another's folder. */
    char reference[208];
    snprintf(reference, sizeof reference, "--reference=%s", data);
    const char *const give[] = {"chown", "-R", reference, copy, NULL};
    code = program_run(give, output, sizeof output);
    if (code != 0) {
        fail_msg("chown ended with %d: %s", code, output);
    }
    say("  PostgreSQL's data folder was copied: %s", name);
}

static void move(struct cluster *c, const char *from, const char *to)
{
    char old[192];
    char new[192];
    path_of(c, from, old, sizeof old);
    path_of(c, to, new, sizeof new);
    if (rename(old, new) != 0) {
        fail_msg("cannot rename %s to %s: %s", old, new, strerror(errno));
    }
}

void pg_copy_swap(struct cluster *c, const char *away, const char *name)
{
    move(c, "data", away);
    move(c, name, "data");
    say("  PostgreSQL's data is now %s; what it had is put away as %s", name, away);
}

static bool misses_are_answered(struct cluster *c, void *data)
{
    (void)c;
    char names[PROBES][16];
    struct wbcache_item items[PROBES] = {{0}};
    for (unsigned i = 0; i < PROBES; i++) {
        items[i].key = names[i];
        items[i].key_len = (size_t)snprintf(names[i], sizeof names[i], "probe:%u", i);
    }
    return wbcache_mget(data, items, PROBES) == WBCACHE_OK; /* none of them is there */
}

void pg_copy_wait_asked(struct cluster *c)
{
    const struct wbcache_options options = {.deadline_ms = 1000};
    struct wbcache *cache = NULL;
    if (wbcache_open(&cache, c->addresses, &options) != WBCACHE_OK) {
        fail_msg("no connection to the cluster");
    }
    cluster_wait(c, "every group asks the database again", ASKED_MS, misses_are_answered, cache);
    wbcache_close(cache);
}
