#include "cluster-tests/filler.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "rpc/wbcache.h"

struct worker {
    struct filler *filler;
    pthread_t thread;
    uint32_t next;  /* its keys are next, next + threads, ... */
    uint8_t *value; /* room for one */
    struct filler_numbers numbers;
};

struct filler {
    struct filler_config config;
    uint8_t *outcomes; /* enum filler_outcome by key; each key is one worker's */
    bool reading;
    bool under_way;
    atomic_bool stop;
    atomic_uint_fast64_t progress;
    atomic_uint ended; /* workers */
    struct worker workers[FILLER_THREADS_MAX];
};

struct filler *filler_create(const struct filler_config *config)
{
    CHECK(config->threads >= 1 && config->threads <= FILLER_THREADS_MAX && config->pipeline >= 1);
    CHECK(strlen(config->prefix) <= 20);
    struct filler *f = xcalloc(1, sizeof *f);
    f->config = *config;
    f->config.cluster = xstrdup(config->cluster); /* our threads may outlive a test that failed */
    f->config.prefix = xstrdup(config->prefix);
    f->outcomes = xcalloc(config->keys, sizeof *f->outcomes);
    return f;
}

enum filler_outcome filler_outcome(const struct filler *f, uint32_t key)
{
    return (enum filler_outcome)f->outcomes[key];
}

size_t filler_key(const struct filler *f, uint32_t key, char out[FILLER_KEY_BYTES])
{
    return (size_t)snprintf(out, FILLER_KEY_BYTES, "%s:%08" PRIu32, f->config.prefix, key);
}

static void make_value(const struct filler *f, uint32_t key, uint8_t *out)
{
    char pattern[FILLER_KEY_BYTES + 1] = "=";
    size_t len = 1 + filler_key(f, key, pattern + 1);
    for (size_t i = 0; i < f->config.value_bytes; i++) {
        out[i] = (uint8_t)pattern[i % len];
    }
}

bool filler_is_value(const struct filler *f, uint32_t key, const void *value, size_t len)
{
    char pattern[FILLER_KEY_BYTES + 1] = "=";
    size_t period = 1 + filler_key(f, key, pattern + 1);
    const char *text = value;
    bool same = len == f->config.value_bytes;
    for (size_t i = 0; same && i < len; i++) {
        same = text[i] == pattern[i % period];
    }
    return same;
}

/* ---- One worker ---- */

static void note_error(struct worker *w, int code, const char *words)
{
    snprintf(w->numbers.error, sizeof w->numbers.error, "%s: %s", wbcache_code_name(code), words);
}

static void written(struct worker *w, uint32_t key, int code)
{
    w->filler->outcomes[key] = code == WBCACHE_OK           ? FILLER_ACKNOWLEDGED
                               : code == WBCACHE_OVERLOADED ? FILLER_OVERLOADED
                               : code == WBCACHE_UNKNOWN    ? FILLER_UNKNOWN
                                                            : FILLER_REFUSED;
}

static void was_read(struct worker *w, uint32_t key, const struct wbcache_result *r)
{
    if (r->code == WBCACHE_NOT_FOUND) {
        w->numbers.missing++;
    } else if (r->code != WBCACHE_OK) {
        w->numbers.failed++;
    } else if (filler_is_value(w->filler, key, r->value, r->value_len)) {
        w->numbers.read++;
    } else {
        w->numbers.wrong++;
    }
}

/* The tag of a call is its key's number, above 0. */
static void take_answers(struct worker *w, struct wbcache *cache, unsigned wait_ms)
{
    struct wbcache_reply reply;
    while (wbcache_receive(cache, &reply, wait_ms) == WBCACHE_OK) {
        uint32_t key = (uint32_t)((uintptr_t)reply.tag - 1);
        if (reply.result.code != WBCACHE_OK) {
            note_error(w, reply.result.code, wbcache_strerror(reply.result.code));
        }
        if (w->filler->reading) {
            was_read(w, key, &reply.result);
        } else {
            written(w, key, reply.result.code);
        }
        atomic_fetch_add(&w->filler->progress, 1);
        wait_ms = 0;
    }
}

/* Acknowledged keys are read, the others written. */
static bool is_due(const struct filler *f, uint32_t key)
{
    return f->reading == (f->outcomes[key] == FILLER_ACKNOWLEDGED);
}

static void send_one(struct worker *w, struct wbcache *cache, uint32_t key)
{
    struct filler *f = w->filler;
    char name[FILLER_KEY_BYTES];
    size_t len = filler_key(f, key, name);
    void *tag = (void *)((uintptr_t)key + 1);
    int code;
    if (f->reading) {
        code = wbcache_send_get(cache, name, len, tag);
    } else {
        make_value(f, key, w->value);
        code = wbcache_send_set(cache, name, len, w->value, f->config.value_bytes, tag);
    }
    if (code == WBCACHE_OK) {
        return;
    }
    note_error(w, code, wbcache_errmsg(cache));
    if (f->reading) {
        w->numbers.failed++;
    } else {
        written(w, key, code);
    }
}

static void work(struct worker *w, struct wbcache *cache)
{
    struct filler *f = w->filler;
    while (w->next < f->config.keys && !atomic_load(&f->stop)) {
        bool full = wbcache_pending(cache) >= f->config.pipeline;
        take_answers(w, cache, full ? 100 : 0);
        /* Half a pipeline at a time, so that there is something to put together in a message. */
        for (unsigned i = 0; i < (f->config.pipeline + 1) / 2 && w->next < f->config.keys &&
                             wbcache_pending(cache) < f->config.pipeline;
             w->next += f->config.threads) {
            if (is_due(f, w->next)) {
                send_one(w, cache, w->next);
                i++;
            }
        }
    }
    while (wbcache_pending(cache) > 0) {
        take_answers(w, cache, 100);
    }
}

static void *run(void *data)
{
    struct worker *w = data;
    struct filler *f = w->filler;
    const struct wbcache_options options = {
        .deadline_ms = f->config.deadline_ms, .pipeline_max = f->config.pipeline};
    struct wbcache *cache = NULL;
    int code = wbcache_open(&cache, f->config.cluster, &options);
    if (code == WBCACHE_OK) {
        work(w, cache);
    } else {
        note_error(w, code, cache == NULL ? "no memory" : wbcache_errmsg(cache));
        w->numbers.failed++;
    }
    wbcache_close(cache);
    atomic_fetch_add(&f->ended, 1);
    return NULL;
}

/* ---- All of them ---- */

static void begin(struct filler *f, bool reading)
{
    CHECK(!f->under_way);
    f->under_way = true;
    f->reading = reading;
    atomic_store(&f->progress, 0);
    atomic_store(&f->ended, 0);
    for (unsigned i = 0; i < f->config.threads; i++) {
        struct worker *w = &f->workers[i];
        *w = (struct worker){.filler = f, .next = i, .value = xmalloc(f->config.value_bytes + 1)};
        CHECK(pthread_create(&w->thread, NULL, run, w) == 0);
    }
}

void filler_write(struct filler *f)
{
    begin(f, false);
}

void filler_read(struct filler *f)
{
    begin(f, true);
}

uint64_t filler_progress(struct filler *f, bool *ended)
{
    if (ended != NULL) {
        *ended = atomic_load(&f->ended) == f->config.threads;
    }
    return atomic_load(&f->progress);
}

struct filler_numbers filler_join(struct filler *f)
{
    struct filler_numbers sum = {0};
    for (unsigned i = 0; f->under_way && i < f->config.threads; i++) {
        struct worker *w = &f->workers[i];
        pthread_join(w->thread, NULL);
        free(w->value);
        sum.read += w->numbers.read;
        sum.missing += w->numbers.missing;
        sum.wrong += w->numbers.wrong;
        sum.failed += w->numbers.failed;
        if (w->numbers.error[0] != '\0') {
            memcpy(sum.error, w->numbers.error, sizeof sum.error);
        }
    }
    f->under_way = false;
    for (uint32_t key = 0; key < f->config.keys; key++) {
        sum.outcomes[f->outcomes[key]]++;
    }
    return sum;
}

void filler_destroy(struct filler *f)
{
    if (f == NULL) {
        return;
    }
    atomic_store(&f->stop, true);
    filler_join(f);
    free((char *)(uintptr_t)f->config.cluster);
    free((char *)(uintptr_t)f->config.prefix);
    free(f->outcomes);
    free(f);
}
