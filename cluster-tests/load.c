#include "cluster-tests/load.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/slot.h"
#include "rpc/wbcache.h"

struct group_gap {
    uint64_t acknowledged;
    uint64_t last_ms;
    uint64_t longest_ms;
};

struct load;

/* One write under way. */
struct flight {
    uint32_t key;
    struct mark mark;
    uint64_t version_before;
    struct flight *next_free;
};

struct writer {
    struct load *load;
    pthread_t thread;
    unsigned number;
    uint32_t *keys; /* that it writes, in turns */
    uint32_t n_keys;
    uint32_t next_key;
    uint64_t next_write_ns;
    char *value;
    struct flight *flights;
    struct flight *free_flights;
};

struct load {
    struct load_config config;
    unsigned n_writers;
    struct writer writers[LOAD_THREADS_MAX];
    uint32_t *key_groups;  /* by key number */
    pthread_mutex_t mutex; /* guards all that follows */
    bool stopping;
    struct load_numbers numbers;
    struct group_gap gaps[LOAD_GROUPS_MAX];
};

static void pause_until_ns(uint64_t boot_ns)
{
    struct timespec t = {.tv_sec = (time_t)(boot_ns / 1000000000), .tv_nsec = (long)(boot_ns % 1000000000)};
    clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &t, NULL);
}

static bool stopping(struct load *l)
{
    pthread_mutex_lock(&l->mutex);
    bool answer = l->stopping;
    pthread_mutex_unlock(&l->mutex);
    return answer;
}

static void count_acknowledged(struct load *l, const struct flight *f, uint64_t now_ms)
{
    pthread_mutex_lock(&l->mutex);
    struct group_gap *gap = &l->gaps[l->key_groups[f->key]];
    if (now_ms > gap->last_ms) { /* another writer may have been quicker between the clock and the lock */
        uint64_t quiet_ms = now_ms - gap->last_ms;
        gap->longest_ms = quiet_ms > gap->longest_ms ? quiet_ms : gap->longest_ms;
        gap->last_ms = now_ms;
    }
    gap->acknowledged++;
    l->numbers.acknowledged++;
    uint64_t latency_ms = now_ms - f->mark.written_ms;
    if (latency_ms > l->numbers.latency_max_ms) {
        l->numbers.latency_max_ms = latency_ms;
    }
    pthread_mutex_unlock(&l->mutex);
}

static void count_other(struct load *l, int code, const char *message)
{
    pthread_mutex_lock(&l->mutex);
    if (code == WBCACHE_UNKNOWN) {
        l->numbers.unknown++;
    } else {
        l->numbers.refused++;
    }
    snprintf(l->numbers.error, sizeof l->numbers.error, "%s", message);
    pthread_mutex_unlock(&l->mutex);
}

/* Only UNKNOWN leaves a write open; whatever else is not OK says that it was not done, and the ledger holds
 * the library to it. */
static void settle(struct writer *w, const struct flight *f, int code, uint64_t version, const char *message)
{
    struct load *l = w->load;
    if (code == WBCACHE_OK) {
        uint64_t now_ms = clock_boot_ms();
        ledger_acknowledge(l->config.ledger, f->key, f->mark, version, f->version_before, now_ms);
        count_acknowledged(l, f, now_ms);
        return;
    }
    if (code == WBCACHE_UNKNOWN) {
        ledger_unknown(l->config.ledger, f->key, f->mark);
    } else {
        ledger_refuse(l->config.ledger, f->key, f->mark);
    }
    count_other(l, code, message);
    /* An error can come at once and again and again: do not turn that into a busy loop. */
    w->next_write_ns = clock_boot_ns() + 5000000;
}

/* Wait for this writer's turn under the wanted rate. */
static void keep_pace(struct writer *w)
{
    uint64_t now_ns = clock_boot_ns();
    if (w->next_write_ns > now_ns) {
        pause_until_ns(w->next_write_ns);
        now_ns = w->next_write_ns;
    }
    unsigned rate = w->load->config.writes_per_second;
    if (rate > 0) {
        /* What a failover delayed is not made up for by a burst. */
        w->next_write_ns = now_ns + (uint64_t)w->load->n_writers * 1000000000 / rate;
    }
}

static void begin_write(struct writer *w, struct flight *f, char name[LEDGER_KEY_BYTES], size_t *name_len)
{
    struct load *l = w->load;
    f->key = w->keys[w->next_key];
    w->next_key = (w->next_key + 1) % w->n_keys;
    f->version_before = ledger_version(l->config.ledger, f->key);
    f->mark = ledger_mark(l->config.ledger, w->number, clock_boot_ms());
    *name_len = ledger_key(l->config.ledger, f->key, name);
    ledger_value(l->config.ledger, f->key, f->mark, w->value, l->config.value_bytes);
}

static void write_blocking(struct writer *w, struct wbcache *cache)
{
    while (!stopping(w->load)) {
        keep_pace(w);
        struct flight f;
        char name[LEDGER_KEY_BYTES];
        size_t name_len;
        begin_write(w, &f, name, &name_len);
        uint64_t version = 0;
        int code = wbcache_set(cache, name, name_len, w->value, w->load->config.value_bytes, &version);
        settle(w, &f, code, version, wbcache_errmsg(cache));
    }
}

/* Take answers: without waiting, or at least one when @must_wait. */
static void take_answers(struct writer *w, struct wbcache *cache, bool must_wait)
{
    struct wbcache_reply reply;
    unsigned wait_ms = must_wait ? 100 : 0;
    while (wbcache_receive(cache, &reply, wait_ms) == WBCACHE_OK) {
        struct flight *f = reply.tag;
        settle(w, f, reply.result.code, reply.result.version, wbcache_strerror(reply.result.code));
        f->next_free = w->free_flights;
        w->free_flights = f;
        wait_ms = 0;
    }
}

static void write_pipelined(struct writer *w, struct wbcache *cache)
{
    while (!stopping(w->load)) {
        take_answers(w, cache, w->free_flights == NULL);
        while (w->free_flights != NULL) {
            keep_pace(w);
            struct flight *f = w->free_flights;
            char name[LEDGER_KEY_BYTES];
            size_t name_len;
            begin_write(w, f, name, &name_len);
            if (wbcache_send_set(cache, name, name_len, w->value, w->load->config.value_bytes, f) !=
                WBCACHE_OK) {
                ledger_refuse(w->load->config.ledger, f->key, f->mark);
                break;
            }
            w->free_flights = f->next_free;
        }
    }
    while (wbcache_pending(cache) > 0) {
        take_answers(w, cache, true);
    }
}

static struct wbcache *open_handle(struct writer *w)
{
    const struct load_config *config = &w->load->config;
    const struct wbcache_options options = {
        .deadline_ms = config->deadline_ms,
        .connect_timeout_ms = 500,
        .pipeline_max = config->pipeline,
    };
    while (!stopping(w->load)) {
        struct wbcache *cache = NULL;
        int code = wbcache_open(&cache, config->cluster, &options);
        if (code == WBCACHE_OK) {
            return cache;
        }
        count_other(w->load, code, cache == NULL ? "no memory" : wbcache_errmsg(cache));
        wbcache_close(cache);
        pause_until_ns(clock_boot_ns() + 50000000);
    }
    return NULL;
}

static void *run_writer(void *arg)
{
    struct writer *w = arg;
    struct wbcache *cache = open_handle(w);
    if (cache == NULL) {
        return NULL;
    }
    if (w->load->config.pipeline <= 1) {
        write_blocking(w, cache);
    } else {
        write_pipelined(w, cache);
    }
    wbcache_close(cache);
    return NULL;
}

/* Which keys writer @w owns: all, or those of its group, dealt out among the group's writers. */
static void deal_keys(struct writer *w)
{
    struct load *l = w->load;
    uint32_t n = ledger_keys(l->config.ledger);
    unsigned groups = l->config.groups;
    unsigned group = w->number % groups;
    unsigned place = w->number / groups;
    unsigned writers_of_group = (l->n_writers - group + groups - 1) / groups;
    w->keys = xcalloc(n, sizeof *w->keys);
    uint32_t seen = 0;
    for (uint32_t key = 0; key < n; key++) {
        if (l->config.shared_keys || (l->key_groups[key] == group && seen++ % writers_of_group == place)) {
            w->keys[w->n_keys++] = key;
        }
    }
    CHECK(w->n_keys > 0);
    if (l->config.shared_keys) {
        w->next_key = (uint32_t)((uint64_t)n * w->number / l->n_writers);
    }
}

static void make_writer(struct load *l, unsigned number)
{
    struct writer *w = &l->writers[number];
    w->load = l;
    w->number = number;
    deal_keys(w);
    w->value = xmalloc(l->config.value_bytes);
    unsigned flights = l->config.pipeline == 0 ? 1 : l->config.pipeline;
    w->flights = xcalloc(flights, sizeof *w->flights);
    for (unsigned i = 0; i < flights; i++) {
        w->flights[i].next_free = w->free_flights;
        w->free_flights = &w->flights[i];
    }
}

struct load *load_start(const struct load_config *config)
{
    struct load *l = xcalloc(1, sizeof *l);
    l->config = *config;
    CHECK(config->groups >= 1 && config->groups <= LOAD_GROUPS_MAX);
    l->n_writers = config->threads == 0 ? 2 * config->groups : config->threads;
    CHECK(l->n_writers <= LOAD_THREADS_MAX && (config->shared_keys || l->n_writers >= config->groups));
    if (l->config.value_bytes == 0) {
        l->config.value_bytes = LEDGER_VALUE_BYTES_MIN;
    }
    if (l->config.deadline_ms == 0) {
        l->config.deadline_ms = 3000;
    }
    pthread_mutex_init(&l->mutex, NULL);
    uint32_t n = ledger_keys(config->ledger);
    l->key_groups = xcalloc(n, sizeof *l->key_groups);
    for (uint32_t key = 0; key < n; key++) {
        char name[LEDGER_KEY_BYTES];
        size_t len = ledger_key(config->ledger, key, name);
        l->key_groups[key] = slot_group(slot_of(bytes_of(name, len)), config->groups);
    }
    load_watch_gaps(l);
    for (unsigned i = 0; i < l->n_writers; i++) {
        make_writer(l, i);
    }
    for (unsigned i = 0; i < l->n_writers; i++) {
        CHECK(pthread_create(&l->writers[i].thread, NULL, run_writer, &l->writers[i]) == 0);
    }
    return l;
}

struct load_numbers load_stop(struct load *l)
{
    if (l == NULL) {
        return (struct load_numbers){0};
    }
    pthread_mutex_lock(&l->mutex);
    l->stopping = true;
    pthread_mutex_unlock(&l->mutex);
    for (unsigned i = 0; i < l->n_writers; i++) {
        struct writer *w = &l->writers[i];
        pthread_join(w->thread, NULL);
        free(w->keys);
        free(w->value);
        free(w->flights);
    }
    struct load_numbers numbers = l->numbers;
    pthread_mutex_destroy(&l->mutex);
    free(l->key_groups);
    free(l);
    return numbers;
}

struct load_numbers load_numbers(struct load *l)
{
    pthread_mutex_lock(&l->mutex);
    struct load_numbers numbers = l->numbers;
    pthread_mutex_unlock(&l->mutex);
    return numbers;
}

uint64_t load_acknowledged(struct load *l, unsigned group)
{
    pthread_mutex_lock(&l->mutex);
    uint64_t n = l->gaps[group].acknowledged;
    pthread_mutex_unlock(&l->mutex);
    return n;
}

bool load_await(struct load *l, int group, uint64_t n, unsigned timeout_ms)
{
    unsigned first = group < 0 ? 0 : (unsigned)group;
    unsigned last = group < 0 ? l->config.groups - 1 : (unsigned)group;
    uint64_t wanted[LOAD_GROUPS_MAX];
    for (unsigned g = first; g <= last; g++) {
        wanted[g] = load_acknowledged(l, g) + n;
    }
    uint64_t until_ms = clock_boot_ms() + timeout_ms;
    for (unsigned g = first; g <= last; g++) {
        while (load_acknowledged(l, g) < wanted[g]) {
            if (clock_boot_ms() >= until_ms) {
                return false;
            }
            pause_until_ns(clock_boot_ns() + 5000000);
        }
    }
    return true;
}

void load_watch_gaps(struct load *l)
{
    pthread_mutex_lock(&l->mutex);
    uint64_t now_ms = clock_boot_ms();
    for (unsigned g = 0; g < l->config.groups; g++) {
        l->gaps[g].last_ms = now_ms;
        l->gaps[g].longest_ms = 0;
    }
    l->numbers.latency_max_ms = 0;
    pthread_mutex_unlock(&l->mutex);
}

uint64_t load_gap_ms(struct load *l, unsigned group)
{
    pthread_mutex_lock(&l->mutex);
    const struct group_gap *gap = &l->gaps[group];
    uint64_t now_ms = clock_boot_ms();
    uint64_t open_ms = now_ms > gap->last_ms ? now_ms - gap->last_ms : 0;
    uint64_t longest_ms = gap->longest_ms > open_ms ? gap->longest_ms : open_ms;
    pthread_mutex_unlock(&l->mutex);
    return longest_ms;
}

uint64_t load_longest_gap_ms(struct load *l)
{
    uint64_t longest_ms = 0;
    for (unsigned g = 0; g < l->config.groups; g++) {
        uint64_t gap_ms = load_gap_ms(l, g);
        longest_ms = gap_ms > longest_ms ? gap_ms : longest_ms;
    }
    return longest_ms;
}
