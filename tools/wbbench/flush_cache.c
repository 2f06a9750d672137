#include "tools/wbbench/flush_cache.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum {
    WRITE_DEADLINE_MS = 10000, /* also what a full budget costs before we say so */
    AWAIT_DEADLINE_MS = 600000,
    ITEMS = 3000, /* of one call: many for each group, and below the limits of one log entry */
};

static bool fail(struct flush_cache *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fail(struct flush_cache *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(c->errmsg, sizeof c->errmsg, format, args);
    va_end(args);
    return false;
}

static const char *handle_error(const struct wbcache *handle)
{
    return handle == NULL ? "out of memory" : wbcache_errmsg(handle);
}

/* Figures of a flush that somebody holds back would mean nothing. */
static bool look_at(struct flush_cache *c, unsigned group)
{
    struct wbcache_flush_state state;
    if (wbcache_flush_control(c->of_group[group], group, NULL, false, &state) != WBCACHE_OK) {
        return fail(c, "group %u: %s", group, wbcache_errmsg(c->of_group[group]));
    }
    if (state.settings.paused) {
        return fail(c, "the flush of group %u is paused: let it go on first (wbclient flush resume)", group);
    }
    if (state.settings.rows_per_second != 0) {
        return fail(c,
            "the flush of group %u is limited to %" PRIu32
            " rows a second: take that off first (wbclient flush set rate=0)",
            group, state.settings.rows_per_second);
    }
    c->batch_rows = state.settings.batch_rows;
    return true;
}

/* A handle of its own for each group, connected already when it counts. */
static bool open_group(struct flush_cache *c, unsigned group, const char *cluster)
{
    const struct wbcache_options options = {.deadline_ms = WRITE_DEADLINE_MS};
    if (wbcache_open(&c->of_group[group], cluster, &options) == WBCACHE_OK) {
        return look_at(c, group);
    }
    return fail(c, "group %u: %s", group, handle_error(c->of_group[group]));
}

bool flush_cache_open(struct flush_cache *c, const char *cluster)
{
    *c = (struct flush_cache){0};
    const struct wbcache_options options = {.deadline_ms = WRITE_DEADLINE_MS};
    if (wbcache_open(&c->handle, cluster, &options) != WBCACHE_OK ||
        wbcache_group_count(c->handle, &c->groups) != WBCACHE_OK) {
        return fail(c, "%s", handle_error(c->handle));
    }
    for (unsigned group = 0; group < c->groups; group++) {
        if (!open_group(c, group, cluster)) {
            return false;
        }
    }
    return true;
}

void flush_cache_close(struct flush_cache *c)
{
    if (c->paused && !flush_cache_pause(c, false)) {
        fprintf(stderr,
            "wbbench: the flush is still paused: %s\n  Let it go on with: wbclient flush resume\n",
            c->errmsg);
    }
    for (unsigned group = 0; group < c->groups; group++) {
        wbcache_close(c->of_group[group]);
        c->of_group[group] = NULL;
    }
    wbcache_close(c->handle);
    c->handle = NULL;
}

struct teller {
    struct wbcache *handle;
    unsigned group;
    bool paused;
    pthread_t thread;
    int code;
};

static void *tell(void *arg)
{
    struct teller *t = arg;
    const struct wbcache_flush_settings change = {.has_paused = true, .paused = t->paused};
    t->code = wbcache_flush_control(t->handle, t->group, &change, false, NULL);
    return NULL;
}

bool flush_cache_pause(struct flush_cache *c, bool paused)
{
    struct teller tellers[LIMIT_GROUPS];
    c->paused = true; /* some groups may be, whatever follows */
    for (unsigned group = 0; group < c->groups; group++) {
        tellers[group] = (struct teller){.handle = c->of_group[group], .group = group, .paused = paused};
        CHECK(pthread_create(&tellers[group].thread, NULL, tell, &tellers[group]) == 0);
    }
    bool ok = true;
    for (unsigned group = 0; group < c->groups; group++) {
        pthread_join(tellers[group].thread, NULL);
        ok = (tellers[group].code == WBCACHE_OK ||
                 fail(c, "group %u: %s", group, wbcache_errmsg(c->of_group[group]))) &&
             ok;
    }
    c->paused = ok ? paused : c->paused;
    return ok;
}

/* Fill @items with the @n rows that come at @first. */
static void make_items(
    struct wbcache_item *items, const struct flush_rows *rows, uint32_t first, uint32_t n, struct bytes value)
{
    for (uint32_t i = 0; i < n; i++) {
        items[i] = (struct wbcache_item){.key = rows->keys[rows->order[first + i]],
            .key_len = FLUSH_KEY_BYTES,
            .value = (void *)(uintptr_t)value.data, /* which mset does not change */
            .value_len = value.len};
    }
}

static uint32_t items_at(const struct flush_rows *rows, uint32_t first)
{
    return rows->n - first < ITEMS ? rows->n - first : ITEMS;
}

bool flush_cache_write(struct flush_cache *c, const struct flush_rows *rows, struct bytes value,
    const volatile sig_atomic_t *stop)
{
    struct wbcache_item *items = xcalloc(ITEMS, sizeof *items);
    bool ok = true;
    for (uint32_t first = 0; ok && first < rows->n; first += items_at(rows, first)) {
        make_items(items, rows, first, items_at(rows, first), value);
        int code = wbcache_mset(c->handle, items, items_at(rows, first));
        if (stop != NULL && *stop) {
            ok = fail(c, "interrupted");
        } else if (code == WBCACHE_OVERLOADED || code == WBCACHE_TIMEOUT) {
            ok = fail(c,
                "%s after %" PRIu32 " of %" PRIu32 " rows (all of them must fit into the budget of what "
                "waits for the database: see limits.dirty_bytes "
                "and dirty_entries, or use fewer rows)",
                wbcache_errmsg(c->handle), first, rows->n);
        } else if (code != WBCACHE_OK) {
            ok = fail(c, "%s", wbcache_errmsg(c->handle));
        }
    }
    free(items);
    return ok;
}

bool flush_cache_delete(struct flush_cache *c, const struct flush_rows *rows)
{
    struct wbcache_item *items = xcalloc(ITEMS, sizeof *items);
    bool ok = true;
    for (uint32_t first = 0; ok && first < rows->n; first += items_at(rows, first)) {
        make_items(items, rows, first, items_at(rows, first), bytes_of(NULL, 0));
        if (wbcache_mdel(c->handle, items, items_at(rows, first)) != WBCACHE_OK) {
            ok = fail(c, "%s", wbcache_errmsg(c->handle));
        }
    }
    free(items);
    return ok;
}

bool flush_cache_await(struct flush_cache *c)
{
    wbcache_set_deadline(c->handle, AWAIT_DEADLINE_MS);
    int code = wbcache_flush(c->handle);
    wbcache_set_deadline(c->handle, WRITE_DEADLINE_MS);
    return code == WBCACHE_OK || fail(c, "%s", wbcache_errmsg(c->handle));
}
