#include "cluster-tests/steady.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "rpc/wbcache.h"

enum { THREADS_MAX = 16, KEYS_EACH = 16, KEY_BYTES = 48, VALUE_BYTES = 48, DEADLINE_MS = 10000 };

struct samples {
    uint32_t *us;
    size_t n;
    size_t room;
};

struct friend
{
    struct steady *steady;
    pthread_t thread;
    unsigned number;
    char keys[KEYS_EACH][KEY_BYTES];
    uint64_t counts[KEYS_EACH]; /* what was written last; 0: nothing is known */
};

struct steady {
    struct steady_config config;
    struct friend friends[THREADS_MAX];
    pthread_mutex_t mutex; /* guards all that follows */
    bool stopping;
    struct samples writes;
    struct samples reads;
    uint64_t failed;
    uint64_t wrong;
    char error[160];
};

/* ---- Samples ---- */

static void samples_add(struct samples *s, uint64_t us)
{
    if (s->n == s->room) {
        s->room = s->room == 0 ? 4096 : 2 * s->room;
        s->us = xrealloc(s->us, s->room * sizeof *s->us);
    }
    s->us[s->n++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static int compare_us(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static struct steady_times samples_take(struct samples *s)
{
    struct steady_times t = {.calls = s->n};
    if (s->n > 0) {
        qsort(s->us, s->n, sizeof *s->us, compare_us);
        t.p50_us = s->us[s->n / 2];
        t.p99_us = s->us[s->n * 99 / 100];
        t.max_us = s->us[s->n - 1];
    }
    s->n = 0;
    return t;
}

/* ---- A friend ---- */

static bool stopping(struct steady *s)
{
    pthread_mutex_lock(&s->mutex);
    bool answer = s->stopping;
    pthread_mutex_unlock(&s->mutex);
    return answer;
}

static void note_error(struct steady *s, uint64_t *count, const char *what, const char *key, const char *why)
{
    pthread_mutex_lock(&s->mutex);
    if (s->failed + s->wrong == 0) {
        snprintf(s->error, sizeof s->error, "%s %s: %s", what, key, why);
    }
    ++*count;
    pthread_mutex_unlock(&s->mutex);
}

static void note_time(struct steady *s, struct samples *samples, uint64_t due_ns)
{
    uint64_t now_ns = clock_boot_ns();
    pthread_mutex_lock(&s->mutex);
    samples_add(samples, (now_ns - due_ns) / 1000);
    pthread_mutex_unlock(&s->mutex);
}

static void wait_until(uint64_t boot_ns)
{
    struct timespec t = {.tv_sec = (time_t)(boot_ns / 1000000000), .tv_nsec = (long)(boot_ns % 1000000000)};
    while (clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &t, NULL) != 0) {
    }
}

static size_t value_of(const struct friend *f, unsigned i, uint64_t count, char out[VALUE_BYTES])
{
    return (size_t)snprintf(out, VALUE_BYTES, "%u/%u/%" PRIu64, f->number, i, count);
}

static void write_key(struct friend *f, struct wbcache *cache, unsigned i, uint64_t due_ns)
{
    char value[VALUE_BYTES];
    uint64_t count = f->counts[i] + 1;
    size_t len = value_of(f, i, count, value);
    int code = wbcache_set(cache, f->keys[i], strlen(f->keys[i]), value, len, NULL);
    if (code != WBCACHE_OK) {
        f->counts[i] = 0;
        note_error(f->steady, &f->steady->failed, "set", f->keys[i], wbcache_errmsg(cache));
        return;
    }
    f->counts[i] = count;
    note_time(f->steady, &f->steady->writes, due_ns);
}

static void read_key(struct friend *f, struct wbcache *cache, unsigned i, uint64_t due_ns)
{
    void *value = NULL;
    size_t len = 0;
    int code = wbcache_get(cache, f->keys[i], strlen(f->keys[i]), &value, &len, NULL);
    if (code != WBCACHE_OK) {
        note_error(f->steady, &f->steady->failed, "get", f->keys[i], wbcache_errmsg(cache));
        return;
    }
    char wanted[VALUE_BYTES];
    size_t wanted_len = value_of(f, i, f->counts[i], wanted);
    if (f->counts[i] != 0 && (len != wanted_len || memcmp(value, wanted, len) != 0)) {
        note_error(f->steady, &f->steady->wrong, "get", f->keys[i], "not what was written last");
    }
    free(value);
    note_time(f->steady, &f->steady->reads, due_ns);
}

static void *run_friend(void *arg)
{
    struct friend *f = arg;
    struct steady *s = f->steady;
    struct wbcache *cache = NULL;
    const struct wbcache_options options = {.deadline_ms = DEADLINE_MS};
    CHECK(wbcache_open(&cache, s->config.cluster, &options) == WBCACHE_OK);
    uint64_t period_ns = (uint64_t)s->config.threads * 1000000000 / s->config.calls_per_second;
    uint64_t due_ns = clock_boot_ns();
    for (unsigned i = 0; !stopping(s); i = (i + 1) % KEYS_EACH) {
        write_key(f, cache, i, due_ns);
        due_ns += period_ns;
        wait_until(due_ns);
        read_key(f, cache, i, due_ns);
        due_ns += period_ns;
        wait_until(due_ns);
    }
    wbcache_close(cache);
    return NULL;
}

/* Keys of the wanted group, this friend's own. */
static void name_keys(struct friend *f, struct wbcache *cache)
{
    unsigned found = 0;
    for (unsigned n = 0; found < KEYS_EACH; n++) {
        unsigned slot;
        unsigned group;
        int len = snprintf(f->keys[found], KEY_BYTES, "steady:%u:%u", f->number, n);
        CHECK(wbcache_locate(cache, f->keys[found], (size_t)len, &slot, &group) == WBCACHE_OK);
        found += group == f->steady->config.group;
    }
}

struct steady *steady_start(const struct steady_config *config)
{
    struct steady *s = xcalloc(1, sizeof *s);
    s->config = *config;
    CHECK(config->threads >= 1 && config->threads <= THREADS_MAX && config->calls_per_second > 0);
    pthread_mutex_init(&s->mutex, NULL);
    struct wbcache *cache = NULL;
    CHECK(wbcache_open(&cache, config->cluster, NULL) == WBCACHE_OK);
    for (unsigned i = 0; i < config->threads; i++) {
        s->friends[i].steady = s;
        s->friends[i].number = i;
        name_keys(&s->friends[i], cache);
    }
    wbcache_close(cache);
    for (unsigned i = 0; i < config->threads; i++) {
        CHECK(pthread_create(&s->friends[i].thread, NULL, run_friend, &s->friends[i]) == 0);
    }
    return s;
}

struct steady_numbers steady_window(struct steady *s)
{
    pthread_mutex_lock(&s->mutex);
    struct steady_numbers n = {
        .writes = samples_take(&s->writes),
        .reads = samples_take(&s->reads),
        .failed = s->failed,
        .wrong = s->wrong,
    };
    memcpy(n.error, s->error, sizeof n.error);
    s->failed = 0;
    s->wrong = 0;
    s->error[0] = '\0';
    pthread_mutex_unlock(&s->mutex);
    return n;
}

void steady_stop(struct steady *s)
{
    if (s == NULL) {
        return;
    }
    pthread_mutex_lock(&s->mutex);
    s->stopping = true;
    pthread_mutex_unlock(&s->mutex);
    for (unsigned i = 0; i < s->config.threads; i++) {
        pthread_join(s->friends[i].thread, NULL);
    }
    pthread_mutex_destroy(&s->mutex);
    free(s->writes.us);
    free(s->reads.us);
    free(s);
}
