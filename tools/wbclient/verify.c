/* verify: memory compared with PostgreSQL, and made equal again. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/limits.h"
#include "tools/wbclient/args.h"
#include "tools/wbclient/commands.h"
#include "tools/wbclient/output.h"
#include "tools/wbclient/status_view.h"

enum repair { REPAIR_NONE, REPAIR_WRITE, REPAIR_DROP };

/* What became of one difference. */
enum repaired {
    REPAIRED_NOT,     /* nobody asked for it */
    REPAIRED_WRITTEN, /* what memory has is on its way to PostgreSQL */
    REPAIRED_DROPPED, /* memory has forgotten it */
    REPAIRED_MOOT,    /* the key was changed, or has left memory, meanwhile: what was found holds no more */
    REPAIRED_FAILED,  /* told */
};

struct verify_words {
    enum repair repair;
    struct bytes prefix;
    uint64_t sample; /* 0: all */
    bool one_group;
    uint64_t group;
};

struct verification {
    struct session *s;
    struct verify_words words;
    uint64_t expected; /* keys in memory, about; 0: not known */
    uint64_t looked, differences, repaired;
    bool bar; /* a progress bar is shown on standard error */
    int result;
};

/* ---- Progress ---- */

static void hide_bar(const struct verification *v)
{
    if (v->bar) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
}

static void show_bar(const struct verification *v)
{
    enum { WIDTH = 30 };
    if (!v->bar) {
        return;
    }
    uint64_t expected = v->expected > v->looked ? v->expected : v->looked;
    unsigned percent = expected == 0 ? 0 : (unsigned)((double)v->looked * 100 / (double)expected);
    fputs("\r\033[K[", stderr);
    for (unsigned i = 0; i < WIDTH; i++) {
        fputc(i * 100 < percent * WIDTH ? '#' : '.', stderr);
    }
    fprintf(stderr, "] %3u %%  %s keys, %s difference%s", percent, human_count(v->looked).s,
        human_count(v->differences).s, v->differences == 1 ? "" : "s");
    fflush(stderr);
}

/* ---- Repair ---- */

/* Memory's value, unless it is another one now: written again, the same, under a new version. */
static enum repaired write_value(struct verification *v, const struct wbcache_difference *d)
{
    struct wbcache *cache = v->s->cache;
    void *value;
    size_t value_len;
    uint64_t version;
    int code = wbcache_get(cache, d->key, d->key_len, &value, &value_len, &version);
    if (code == WBCACHE_NOT_FOUND) {
        return REPAIRED_MOOT;
    }
    if (code == WBCACHE_OK && version != d->version) {
        free(value);
        return REPAIRED_MOOT;
    }
    if (code == WBCACHE_OK) {
        struct wbcache_op op = {.kind = WBCACHE_OP_SET,
            .key = d->key,
            .key_len = d->key_len,
            .value = value,
            .value_len = value_len,
            .condition = WBCACHE_IF_VERSION,
            .if_version = d->version,
            .keep_expiry = true};
        code = wbcache_do(cache, &op, NULL);
        free(value);
    }
    if (code == WBCACHE_CONDITION_FAILED) {
        return REPAIRED_MOOT;
    }
    if (code != WBCACHE_OK) {
        hide_bar(v);
        v->result = output_worse(v->result, output_failure(v->s, code));
        return REPAIRED_FAILED;
    }
    return REPAIRED_WRITTEN;
}

/* The key is not there, its row is: a plain delete of what is not there writes nothing, but a value that is
 * expired at once is a delete in any case. */
static enum repaired write_delete(struct verification *v, const struct wbcache_difference *d)
{
    struct wbcache_op op = {.kind = WBCACHE_OP_SET,
        .key = d->key,
        .key_len = d->key_len,
        .value = "",
        .condition = WBCACHE_IF_ABSENT,
        .expire_at_ms = 1};
    int code = wbcache_do(v->s->cache, &op, NULL);
    if (code == WBCACHE_CONDITION_FAILED) {
        return REPAIRED_MOOT;
    }
    if (code != WBCACHE_OK) {
        hide_bar(v);
        v->result = output_worse(v->result, output_failure(v->s, code));
        return REPAIRED_FAILED;
    }
    return REPAIRED_WRITTEN;
}

static enum repaired drop(struct verification *v, const struct wbcache_difference *d)
{
    struct wbcache_key_version key = {.key = d->key, .key_len = d->key_len, .version = d->version};
    int code = wbcache_forget(v->s->cache, &key, 1);
    if (code != WBCACHE_OK) {
        hide_bar(v);
        v->result = output_worse(v->result, output_failure(v->s, code));
        return REPAIRED_FAILED;
    }
    return REPAIRED_DROPPED;
}

static enum repaired repair(struct verification *v, const struct wbcache_difference *d)
{
    switch (v->words.repair) {
    case REPAIR_WRITE:
        return d->kind == WBCACHE_UNEXPECTED ? write_delete(v, d) : write_value(v, d);
    case REPAIR_DROP:
        return drop(v, d);
    default:
        return REPAIRED_NOT;
    }
}

/* ---- Telling ---- */

static const char *kind_word(enum wbcache_difference_kind kind)
{
    switch (kind) {
    case WBCACHE_MISSING:
        return "missing";
    case WBCACHE_OLDER:
        return "older";
    case WBCACHE_CHANGED:
        return "changed";
    case WBCACHE_UNEXPECTED:
        return "unexpected";
    }
    return "different";
}

static const char *const repaired_words[] = {
    [REPAIRED_NOT] = NULL,
    [REPAIRED_WRITTEN] = "written",
    [REPAIRED_DROPPED] = "dropped",
    [REPAIRED_MOOT] = "changed-meanwhile",
    [REPAIRED_FAILED] = "failed",
};

static void tell(const struct verification *v, const struct wbcache_difference *d, enum repaired done)
{
    struct bytes key = bytes_of(d->key, d->key_len);
    if (v->s->json) {
        json_t *o = json_pack("{s:s, s:i, s:I, s:I}", "difference", kind_word(d->kind), "group",
            (int)d->group, "version", (json_int_t)d->version, "row_version", (json_int_t)d->row_version);
        output_set_bytes(o, "key", key);
        if (repaired_words[done] != NULL) {
            json_object_set_new(o, "repair", json_string(repaired_words[done]));
        }
        session_print_json(o);
        return;
    }
    printf("%-10s  ", kind_word(d->kind));
    output_quoted(key);
    if (d->version != 0) {
        printf("  memory has version %" PRIu64, d->version);
    } else {
        fputs("  memory has none", stdout);
    }
    if (d->row_version != 0) {
        printf(", PostgreSQL %" PRIu64, d->row_version);
    }
    printf(repaired_words[done] != NULL ? ": %s\n" : "\n", repaired_words[done]);
}

/* ---- Walking ---- */

struct found {
    struct wbcache_difference *rows;
    size_t n;
    uint8_t *keys; /* one behind the other */
};

/* What a step has found, in our own memory: repairing asks the library for more. */
static struct found keep(const struct wbcache_verify *step)
{
    size_t bytes = 0;
    for (size_t i = 0; i < step->n; i++) {
        bytes += step->differences[i].key_len;
    }
    struct found f = {.rows = xcalloc(step->n + 1, sizeof *f.rows), .n = step->n, .keys = xmalloc(bytes + 1)};
    size_t at = 0;
    for (size_t i = 0; i < step->n; i++) {
        f.rows[i] = step->differences[i];
        memcpy(f.keys + at, f.rows[i].key, f.rows[i].key_len);
        f.rows[i].key = f.keys + at;
        at += f.rows[i].key_len;
    }
    return f;
}

static int on_step(void *data, const struct wbcache_verify *step)
{
    struct verification *v = data;
    struct found f = keep(step);
    v->looked += step->looked;
    for (size_t i = 0; i < f.n; i++) {
        enum repaired done = repair(v, &f.rows[i]);
        v->differences++;
        v->repaired += done == REPAIRED_WRITTEN || done == REPAIRED_DROPPED || done == REPAIRED_MOOT;
        hide_bar(v);
        tell(v, &f.rows[i], done);
    }
    fflush(stdout); /* differences come as they are found */
    free(f.rows);
    free(f.keys);
    show_bar(v);
    return ferror(stdout) ? WBCACHE_IO : WBCACHE_OK;
}

static int summarise(struct verification *v, const struct wbcache_verify *sums)
{
    bool equal = v->differences == v->repaired;
    if (v->s->json) {
        session_print_json(
            json_pack("{s:b, s:I, s:I, s:I, s:I, s:I}", "ok", equal, "looked", (json_int_t)sums->looked,
                "compared", (json_int_t)sums->compared, "dirty", (json_int_t)sums->dirty, "differences",
                (json_int_t)v->differences, "repaired", (json_int_t)v->repaired));
    } else {
        printf("%s keys compared of %s in memory (%s were on their way): ", human_count(sums->compared).s,
            human_count(sums->looked).s, human_count(sums->dirty).s);
        if (v->differences == 0) {
            puts("all equal");
        } else {
            printf("%s difference%s", human_count(v->differences).s, v->differences == 1 ? "" : "s");
            if (v->words.repair != REPAIR_NONE) {
                printf(", %s repaired\n", equal ? "all" : human_count(v->repaired).s);
            } else {
                puts("; --repair writes again what memory has, --repair=drop forgets it");
            }
        }
    }
    return output_worse(v->result, equal ? EXIT_DONE : EXIT_DIFFERENT);
}

/* About how many keys will be seen. */
static void expect(struct verification *v)
{
    struct wbcache_status *status;
    if (wbcache_status(v->s->cache, &status) == WBCACHE_OK) {
        for (uint32_t group = 0; group < status_group_count(status); group++) {
            const struct wbcache_group_status *g = status_leader(status, group).group;
            if (g != NULL && (!v->words.one_group || group == v->words.group)) {
                v->expected += g->entries;
            }
        }
    }
    wbcache_status_free(status);
}

/* ---- Words ---- */

static bool take_words(const struct bytes *args, size_t n, struct verify_words *out)
{
    for (size_t i = 0; i < n; i++) {
        bool more = i + 1 < n;
        if (args_is(args[i], "--repair") || args_is(args[i], "--repair=write")) {
            out->repair = REPAIR_WRITE;
        } else if (args_is(args[i], "--repair=drop")) {
            out->repair = REPAIR_DROP;
        } else if (args_is(args[i], "--prefix") && more) {
            out->prefix = args[++i];
        } else if (args_is(args[i], "--sample") && more &&
                   args_number(args[i + 1], UINT64_MAX, &out->sample) && out->sample > 0) {
            i++;
        } else if (args_is(args[i], "--group") && more &&
                   args_number(args[i + 1], LIMIT_GROUPS - 1, &out->group)) {
            out->one_group = true;
            i++;
        } else {
            return false;
        }
    }
    return true;
}

int command_verify(struct session *s, const struct bytes *args, size_t n)
{
    struct verification v = {.s = s, .bar = !s->json && isatty(STDERR_FILENO) != 0};
    if (!take_words(args, n, &v.words)) {
        return session_usage(
            s, "usage: verify [--repair[=write|drop]] [--prefix P] [--sample N] [--group G]");
    }
    expect(&v);
    uint64_t one_in = v.words.sample == 0 ? 1 : v.expected / v.words.sample;
    struct wbcache_verify verify = {.prefix = v.words.prefix.data,
        .prefix_len = v.words.prefix.len,
        .one_in = one_in > UINT32_MAX ? UINT32_MAX : (uint32_t)one_in,
        .one_group = v.words.one_group,
        .group = (unsigned)v.words.group};
    show_bar(&v);
    int code = wbcache_verify_all(s->cache, &verify, on_step, &v);
    hide_bar(&v);
    if (code != WBCACHE_OK) {
        return output_worse(v.result, output_failure(s, code));
    }
    return summarise(&v, &verify);
}
