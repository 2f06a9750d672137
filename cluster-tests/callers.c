#include "cluster-tests/callers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cluster-tests/recorded_call.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum {
    WINDOW_MAX = 8,
    VALUE_BYTES = 64,
    HASTY_MIN_MS = 20,
    HASTY_MAX_MS = 400,
    SLOW_MS = 300,
    HOT_PERCENT = 75,
    FLUSHED_PERCENT = 4, /* writes that ask to be in the database */
    SLEEPY_FACTOR = 20,
    REOPEN_PERCENT = 25, /* handles opened anew at a start */
    NEVER_SEEN = 0,      /* a version: of no key */
};

/* One operation under way. */
struct flight {
    enum history_op op;
    unsigned key;
    size_t event;
    uint64_t start_ns;
    struct flight *next_free;
};

struct caller {
    struct callers *all;
    pthread_t thread;
    bool running;
    unsigned number;
    bool hasty;
    unsigned pause_mean_ms;
    unsigned window; /* operations under way at most */
    uint64_t random;
    struct wbcache *cache;
    struct history history;
    bool full; /* the history is */
    uint64_t next_value;
    uint64_t next_begin_ns;
    uint64_t seen_versions[CALLERS_KEYS_MAX]; /* the newest that it was told, of each key */
    struct flight flights[WINDOW_MAX];
    struct flight *free_flights;
    struct callers_numbers numbers;
};

struct callers {
    struct callers_config config;
    struct callers_keys keys;
    atomic_bool stopping;
    struct caller callers[CALLERS_MAX];
};

static unsigned below(struct caller *c, unsigned n)
{
    c->random ^= c->random << 13; /* xorshift64 */
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return (unsigned)((c->random >> 16) % n);
}

static bool percent(struct caller *c, unsigned of_100)
{
    return below(c, 100) < of_100;
}

static void pause_until_ns(uint64_t boot_ns)
{
    struct timespec t = {.tv_sec = (time_t)(boot_ns / 1000000000), .tv_nsec = (long)(boot_ns % 1000000000)};
    clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &t, NULL);
}

/* ---- What is asked ---- */

static unsigned choose_key(struct caller *c)
{
    const struct callers_keys *keys = &c->all->keys;
    unsigned hot = keys->hot_counters + keys->hot_others;
    if (!percent(c, HOT_PERCENT)) {
        return below(c, keys->all);
    }
    unsigned i = below(c, hot);
    return i < keys->hot_counters ? i : keys->counters + i - keys->hot_counters;
}

static enum history_op choose_op(struct caller *c, bool counter)
{
    unsigned i = below(c, 100);
    if (counter) {
        return i < 65 ? HISTORY_INCR : HISTORY_GET;
    }
    static const struct {
        enum history_op op;
        unsigned percent;
    } mix[] = {
        {HISTORY_GET, 25},
        {HISTORY_SET, 12},
        {HISTORY_APPEND, 15},
        {HISTORY_CAS, 20},
        {HISTORY_INCR, 10},
        {HISTORY_DEL, 8},
        {HISTORY_GETDEL, 10},
    };
    unsigned m = 0;
    while (i >= mix[m].percent) {
        i -= mix[m++].percent;
    }
    return mix[m].op;
}

/* Every value is another one: who reads it knows which write it was. Some are numbers, for incr. */
static struct bytes make_value(struct caller *c, char text[VALUE_BYTES])
{
    uint64_t n = ++c->next_value;
    int len = percent(c, 50) ? snprintf(text, VALUE_BYTES, "%u%07u", c->number + 1, (unsigned)n)
                             : snprintf(text, VALUE_BYTES, "c%u.%u;", c->number, (unsigned)n);
    return bytes_of(text, (size_t)len);
}

static void choose_condition(struct caller *c, unsigned key, struct history_arg *arg)
{
    arg->condition = HISTORY_IF_VERSION;
    arg->if_version = c->seen_versions[key];
    if (percent(c, 30)) {
        arg->condition = percent(c, 60) ? HISTORY_IF_ABSENT : HISTORY_IF_PRESENT;
        arg->if_version = 0;
    }
}

static void make_arg(
    struct caller *c, unsigned key, enum history_op op, char text[VALUE_BYTES], struct history_arg *arg)
{
    *arg = (struct history_arg){0};
    switch (op) {
    case HISTORY_CAS:
        choose_condition(c, key, arg);
        arg->value = make_value(c, text);
        break;
    case HISTORY_SET:
    case HISTORY_APPEND:
        arg->value = make_value(c, text);
        break;
    case HISTORY_INCR:
        arg->delta = percent(c, 80) ? 1 + (int64_t)below(c, 9) : -1 - (int64_t)below(c, 5);
        break;
    case HISTORY_GET:
    case HISTORY_DEL:
    case HISTORY_GETDEL:
    case HISTORY_OPS:
        break;
    }
}

/* ---- What is answered ---- */

static void note_wrong(struct caller *c, const struct flight *f, int code, const char *message)
{
    if (c->numbers.wrong++ == 0) {
        snprintf(c->numbers.error, sizeof c->numbers.error, "%s of %s: %s (%s)", history_op_word(f->op),
            c->all->keys.names[f->key], wbcache_code_name(code), message);
    }
}

static void count_answer(struct caller *c, const struct flight *f, uint64_t now_ns)
{
    c->numbers.answered++;
    uint64_t took_ms = (now_ns - f->start_ns) / 1000000;
    if (took_ms >= SLOW_MS) {
        c->numbers.slow++;
    }
    if (!c->hasty && took_ms > c->numbers.slowest_ms) {
        c->numbers.slowest_ms = took_ms;
    }
}

static void settle(
    struct caller *c, const struct flight *f, const struct wbcache_result *r, const char *message)
{
    uint64_t now_ns = clock_boot_ns();
    struct history_result result;
    switch (recorded_call_end(&c->history, f->event, f->op, r, now_ns, &result)) {
    case RECORDED_RESULT:
        count_answer(c, f, now_ns);
        bool there = result.found && f->op != HISTORY_DEL && f->op != HISTORY_GETDEL;
        c->seen_versions[f->key] = there ? result.version : NEVER_SEEN;
        break;
    case RECORDED_UNKNOWN:
        c->numbers.unknown++;
        c->numbers.unknown_of_patient += c->hasty ? 0 : 1;
        break;
    case RECORDED_NOT_DONE:
        c->numbers.not_done++;
        break;
    case RECORDED_WRONG:
        note_wrong(c, f, r->code, message);
        break;
    }
}

/* ---- The threads ---- */

/* Record the beginning of something. NULL: the history is full. */
static struct flight *begin(struct caller *c, char text[VALUE_BYTES], struct wbcache_op *op)
{
    struct flight *f = c->free_flights;
    CHECK(f != NULL);
    f->key = choose_key(c);
    f->op = choose_op(c, f->key < c->all->keys.counters);
    struct history_arg arg;
    make_arg(c, f->key, f->op, text, &arg);
    struct bytes key = bytes_from_text(c->all->keys.names[f->key]);
    *op = recorded_call_op(key, f->op, &arg);
    if (f->op != HISTORY_GET && percent(c, FLUSHED_PERCENT)) {
        op->level = WBCACHE_FLUSHED;
    }
    if (c->hasty) {
        wbcache_set_deadline(c->cache, HASTY_MIN_MS + below(c, HASTY_MAX_MS - HASTY_MIN_MS));
    }
    f->start_ns = clock_boot_ns();
    if (history_begin(&c->history, c->number, f->op, key, &arg, f->start_ns, &f->event) != STATUS_OK) {
        c->full = true;
        return NULL;
    }
    c->numbers.asked[f->op]++;
    c->free_flights = f->next_free;
    return f;
}

static void give_back(struct caller *c, struct flight *f)
{
    f->next_free = c->free_flights;
    c->free_flights = f;
}

static void call_blocking(struct caller *c)
{
    char text[VALUE_BYTES];
    struct wbcache_op op;
    struct flight *f = begin(c, text, &op);
    if (f != NULL) {
        struct wbcache_result result;
        wbcache_do(c->cache, &op, &result);
        settle(c, f, &result, wbcache_errmsg(c->cache));
        give_back(c, f);
    }
}

static void call_pipelined(struct caller *c)
{
    char text[VALUE_BYTES];
    struct wbcache_op op;
    struct flight *f = begin(c, text, &op);
    if (f == NULL) {
        return;
    }
    int code = wbcache_send(c->cache, &op, f);
    if (code != WBCACHE_OK) {
        history_end_failed(&c->history, f->event);
        note_wrong(c, f, code, wbcache_errmsg(c->cache));
        give_back(c, f);
    }
}

/* Take what was answered; wait for it at most until @until_ns. */
static void take_answers(struct caller *c, uint64_t until_ns)
{
    if (wbcache_pending(c->cache) == 0) {
        pause_until_ns(until_ns);
        return;
    }
    for (;;) {
        uint64_t now_ns = clock_boot_ns();
        unsigned wait_ms = until_ns > now_ns ? (unsigned)((until_ns - now_ns + 999999) / 1000000) : 0;
        struct wbcache_reply reply;
        if (wbcache_receive(c->cache, &reply, wait_ms) != WBCACHE_OK) {
            return;
        }
        struct flight *f = reply.tag;
        settle(c, f, &reply.result, wbcache_strerror(reply.result.code));
        give_back(c, f);
    }
}

static bool going_on(const struct caller *c)
{
    return !c->full && !atomic_load(&c->all->stopping);
}

static void open_handle(struct caller *c)
{
    const struct wbcache_options options = {
        .deadline_ms = c->all->config.patient_deadline_ms,
        .connect_timeout_ms = 500,
    };
    while (c->cache == NULL && going_on(c)) {
        if (wbcache_open(&c->cache, c->all->config.cluster, &options) != WBCACHE_OK) {
            wbcache_close(c->cache);
            c->cache = NULL;
            pause_until_ns(clock_boot_ns() + 20000000);
        }
    }
}

/* Fill the window: what a fault hits is what is under way. */
static void call_in_a_burst(struct caller *c)
{
    while (c->free_flights != NULL && going_on(c)) {
        call_pipelined(c);
    }
}

static void *run(void *arg)
{
    struct caller *c = arg;
    open_handle(c);
    while (going_on(c)) {
        if (c->window == 1) {
            pause_until_ns(c->next_begin_ns);
            call_blocking(c);
        } else {
            take_answers(c, c->next_begin_ns);
            call_in_a_burst(c);
        }
        unsigned pause_us = below(c, 2000 * c->pause_mean_ms + 1);
        c->next_begin_ns = clock_boot_ns() + (uint64_t)pause_us * 1000;
    }
    while (c->cache != NULL && wbcache_pending(c->cache) > 0) {
        take_answers(c, clock_boot_ns() + 100000000);
    }
    return NULL;
}

/* ---- All of them ---- */

struct callers *callers_create(const struct callers_config *config)
{
    CHECK(config->callers <= CALLERS_MAX && config->hasty + config->sleepy <= config->callers);
    struct callers *all = xcalloc(1, sizeof *all);
    all->config = *config;
    for (unsigned i = 0; i < config->callers; i++) {
        struct caller *c = &all->callers[i];
        c->all = all;
        c->number = i;
        c->hasty = i < config->hasty;
        bool sleepy = !c->hasty && i < config->hasty + config->sleepy;
        c->pause_mean_ms = config->pause_mean_ms * (sleepy ? SLEEPY_FACTOR : 1);
        c->window = i % 2 == 0 ? 1 : i % 4 == 1 ? WINDOW_MAX / 2 : WINDOW_MAX;
        history_init(&c->history, config->history_bytes_max);
    }
    return all;
}

static void start_one(struct caller *c, uint64_t seed)
{
    /* splitmix64: callers and seeds that are neighbours have nothing in common. */
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + (c->number + 1) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    c->random = (x ^ (x >> 31)) | 1;
    c->next_begin_ns = 0;
    memset(c->seen_versions, 0, sizeof c->seen_versions);
    c->free_flights = NULL;
    for (unsigned i = 0; i < c->window; i++) {
        give_back(c, &c->flights[i]);
    }
    if (percent(c, REOPEN_PERCENT)) {
        wbcache_close(c->cache);
        c->cache = NULL;
    }
    CHECK(pthread_create(&c->thread, NULL, run, c) == 0);
    c->running = true;
}

void callers_start(struct callers *all, uint64_t seed, const struct callers_keys *keys)
{
    CHECK(keys->all <= CALLERS_KEYS_MAX && keys->hot_counters >= 1 && keys->hot_counters <= keys->counters &&
          keys->counters + keys->hot_others <= keys->all);
    all->keys = *keys;
    atomic_store(&all->stopping, false);
    for (unsigned i = 0; i < all->config.callers; i++) {
        start_one(&all->callers[i], seed);
    }
}

enum status callers_stop(struct callers *all, struct history *into)
{
    enum status status = STATUS_OK;
    atomic_store(&all->stopping, true);
    for (unsigned i = 0; i < all->config.callers; i++) {
        struct caller *c = &all->callers[i];
        if (!c->running) {
            continue;
        }
        pthread_join(c->thread, NULL);
        c->running = false;
        if (into != NULL && (history_merge(into, &c->history) != STATUS_OK || c->full)) {
            status = STATUS_OVERLOADED;
        }
        history_deinit(&c->history);
        history_init(&c->history, all->config.history_bytes_max);
        c->full = false;
    }
    return status;
}

struct callers_numbers callers_numbers(const struct callers *all)
{
    struct callers_numbers sum = {0};
    for (unsigned i = 0; i < all->config.callers; i++) {
        const struct callers_numbers *n = &all->callers[i].numbers;
        for (unsigned op = 0; op < HISTORY_OPS; op++) {
            sum.asked[op] += n->asked[op];
        }
        sum.answered += n->answered;
        sum.not_done += n->not_done;
        sum.unknown += n->unknown;
        sum.unknown_of_patient += n->unknown_of_patient;
        sum.slow += n->slow;
        sum.wrong += n->wrong;
        if (n->slowest_ms > sum.slowest_ms) {
            sum.slowest_ms = n->slowest_ms;
        }
        if (sum.error[0] == '\0') {
            memcpy(sum.error, n->error, sizeof sum.error);
        }
    }
    return sum;
}

void callers_destroy(struct callers *all)
{
    if (all == NULL) {
        return;
    }
    callers_stop(all, NULL);
    for (unsigned i = 0; i < all->config.callers; i++) {
        wbcache_close(all->callers[i].cache);
        history_deinit(&all->callers[i].history);
    }
    free(all);
}
