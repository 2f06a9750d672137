#include "cluster-tests/redis_callers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cluster-tests/redis_stale.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum {
    WORKERS_MAX = 64,
    HOT_PERCENT = 70,
    REPLY_MS = 20000,
    HASTY_MIN_MS = 20,
    HASTY_MAX_MS = 400,
    PIECE_MIN = 2,
    PIECE_MAX = 16,
    AGAIN_PERCENT = 40, /* of a piece: about the same object as the call before */
    OWN_PERCENT = 35,   /* of pieces: they begin with the caller's own object */
    TRIES = 8,          /* to find another object of the same leader */
    CHANGE_REST_MS = 4, /* at most, between WATCH and EXEC */
    FLOOD_PIECE = 48,
    FLOOD_REST_FACTOR = 4,
    STALE_AT_ONCE = 4,
};

struct worker {
    struct redis_callers *all;
    pthread_t thread;
    bool running;
    enum redis_role role;
    unsigned own; /* object number, of a piping one */
    bool has_own;
    struct redis_caller caller;
    struct redis_stale *stale; /* of role STALE; the caller then only draws */
    struct redis_piece piece;
};

struct redis_callers {
    struct redis_callers_config config;
    const struct redis_world *world;
    atomic_bool stopping, flood;
    atomic_uint_fast64_t flood_answered, flood_refused;
    unsigned n;
    struct worker *workers;
};

/* ---- The roles ---- */

static unsigned choose(struct worker *w)
{
    const struct redis_world *world = w->all->world;
    return redis_caller_below(&w->caller, 100) < HOT_PERCENT
               ? world->hot[redis_caller_below(&w->caller, world->n_hot)]
               : world->cold[redis_caller_below(&w->caller, world->n_cold)];
}

static void add(struct worker *w, unsigned object)
{
    const struct redis_object *o = &w->all->world->objects[object];
    redis_caller_add(&w->caller, &w->piece, o, redis_caller_form(&w->caller, o));
}

static void call_one(struct worker *w)
{
    redis_piece_clear(&w->piece);
    add(w, choose(w));
    if (w->role == REDIS_HASTY) {
        w->caller.reply_ms = HASTY_MIN_MS + redis_caller_below(&w->caller, HASTY_MAX_MS - HASTY_MIN_MS);
    }
    redis_caller_do(&w->caller, &w->piece);
}

/* One of the same leader as @object, as far as is known. */
static unsigned choose_near(struct worker *w, unsigned object)
{
    for (unsigned i = 0; i < TRIES; i++) {
        unsigned other = choose(w);
        if (w->caller.hint[other] == w->caller.hint[object]) {
            return other;
        }
    }
    return object;
}

static void send_piece(struct worker *w)
{
    bool own = w->has_own && redis_caller_below(&w->caller, 100) < OWN_PERCENT;
    unsigned first = own ? w->own : choose(w), last = first;
    unsigned n = PIECE_MIN + redis_caller_below(&w->caller, PIECE_MAX - PIECE_MIN + 1);
    redis_piece_clear(&w->piece);
    for (unsigned i = 0; i < n; i++) {
        add(w, last);
        last = redis_caller_below(&w->caller, 100) < AGAIN_PERCENT ? last
               : own && redis_caller_below(&w->caller, 2) == 0     ? first
                                                                   : choose_near(w, first);
    }
    redis_caller_send(&w->caller, w->caller.hint[first], &w->piece);
}

static void change_one(struct worker *w)
{
    const struct redis_object *o = &w->all->world->objects[choose(w)];
    redis_caller_change(&w->caller, &w->piece, o, redis_caller_below(&w->caller, CHANGE_REST_MS + 1));
}

static void flood(struct worker *w)
{
    const struct redis_world *world = w->all->world;
    unsigned node = redis_caller_below(&w->caller, w->caller.client.nodes);
    redis_piece_clear(&w->piece);
    for (unsigned i = 0; i < 4 * FLOOD_PIECE && w->piece.n < FLOOD_PIECE; i++) {
        unsigned object = world->flood + redis_caller_below(&w->caller, world->n_flood);
        if (w->caller.hint[object] == node) {
            redis_caller_add(&w->caller, &w->piece, &world->objects[object], REDIS_FORM_ADD);
        }
    }
    redis_caller_send(&w->caller, node, &w->piece);
    for (unsigned i = 0; i < w->piece.n; i++) {
        atomic_fetch_add(&w->all->flood_answered, w->piece.answers[i] == REDIS_ANSWER_RESULT);
        atomic_fetch_add(&w->all->flood_refused, w->piece.answers[i] == REDIS_ANSWER_OOM);
    }
}

static void read_stale(struct worker *w)
{
    unsigned node = redis_caller_below(&w->caller, redis_stale_nodes(w->stale));
    for (unsigned i = 0; i < STALE_AT_ONCE; i++) {
        redis_stale_read(w->stale, node, choose(w));
    }
}

/* ---- The threads ---- */

static bool going_on(const struct worker *w)
{
    return !w->caller.full && !atomic_load(&w->all->stopping);
}

static void pause_us(unsigned us)
{
    struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};
    while (nanosleep(&t, &t) != 0) {
    }
}

static unsigned pause_mean_us(const struct worker *w)
{
    unsigned us = 1000 * w->all->config.pause_mean_ms;
    if (w->role != REDIS_FLOODING) {
        return us;
    }
    return atomic_load(&w->all->flood) ? us / FLOOD_REST_FACTOR : us * FLOOD_REST_FACTOR;
}

static void *run(void *arg)
{
    static void (*const roles[REDIS_ROLES])(struct worker * w) = {
        [REDIS_PATIENT] = call_one,
        [REDIS_HASTY] = call_one,
        [REDIS_PIPING] = send_piece,
        [REDIS_CHANGING] = change_one,
        [REDIS_FLOODING] = flood,
        [REDIS_STALE] = read_stale,
    };
    struct worker *w = arg;
    while (going_on(w)) {
        roles[w->role](w);
        pause_us(redis_caller_below(&w->caller, 2 * pause_mean_us(w) + 1));
    }
    return NULL;
}

/* ---- All of them ---- */

static void add_worker(struct redis_callers *all, enum redis_role role)
{
    const struct redis_callers_config *config = &all->config;
    struct worker *w = &all->workers[all->n];
    w->all = all;
    w->role = role;
    redis_caller_init(&w->caller, config->addresses, all->n, config->history_bytes_max);
    w->caller.patience_ms = config->patience_ms;
    w->caller.reply_ms = REPLY_MS;
    if (role == REDIS_STALE) {
        w->stale = redis_stale_create(config->addresses, all->n, config->history_bytes_max);
    }
    all->n++;
}

struct redis_callers *redis_callers_create(const struct redis_callers_config *config)
{
    struct redis_callers *all = xcalloc(1, sizeof *all);
    all->config = *config;
    all->workers = xcalloc(WORKERS_MAX, sizeof *all->workers);
    for (unsigned role = 0; role < REDIS_ROLES; role++) {
        for (unsigned i = 0; i < config->n[role]; i++) {
            CHECK(all->n < WORKERS_MAX);
            add_worker(all, (enum redis_role)role);
        }
    }
    return all;
}

static void start_worker(struct worker *w, uint64_t seed, unsigned *owners)
{
    const struct redis_world *world = w->all->world;
    redis_caller_objects(&w->caller, world->objects, world->n, seed);
    w->has_own = w->role == REDIS_PIPING && *owners < world->n_own;
    if (w->has_own) {
        w->own = world->own[(*owners)++];
        w->caller.own[w->own] = true;
    }
    if (w->stale != NULL) {
        redis_stale_objects(w->stale, world->objects, world->n);
    }
}

void redis_callers_start(struct redis_callers *all, uint64_t seed, const struct redis_world *world)
{
    unsigned owners = 0;
    CHECK(
        world->n_hot > 0 && world->n_cold > 0 && (world->n_flood > 0 || all->config.n[REDIS_FLOODING] == 0));
    all->world = world;
    atomic_store(&all->stopping, false);
    atomic_store(&all->flood, false);
    for (unsigned i = 0; i < all->n; i++) { /* all of them before the first begins: see redis_stale_objects */
        start_worker(&all->workers[i], seed, &owners);
    }
    for (unsigned i = 0; i < all->n; i++) {
        CHECK(pthread_create(&all->workers[i].thread, NULL, run, &all->workers[i]) == 0);
        all->workers[i].running = true;
    }
}

void redis_callers_flood(struct redis_callers *all, bool flood)
{
    atomic_store(&all->flood, flood);
}

void redis_callers_flooded(struct redis_callers *all, uint64_t *answered, uint64_t *refused)
{
    *answered = atomic_load(&all->flood_answered);
    *refused = atomic_load(&all->flood_refused);
}

static enum status hand_over(struct history *from, size_t bytes_max, struct history *into)
{
    enum status status = into != NULL ? history_merge(into, from) : STATUS_OK;
    history_deinit(from);
    history_init(from, bytes_max);
    return status;
}

enum status redis_callers_stop(struct redis_callers *all, struct history *into)
{
    enum status status = STATUS_OK;
    size_t bytes_max = all->config.history_bytes_max;
    atomic_store(&all->stopping, true);
    for (unsigned i = 0; i < all->n; i++) {
        struct worker *w = &all->workers[i];
        if (!w->running) {
            continue;
        }
        pthread_join(w->thread, NULL);
        w->running = false;
        bool full = w->caller.full || (w->stale != NULL && redis_stale_full(w->stale));
        if (hand_over(&w->caller.history, bytes_max, into) != STATUS_OK || full ||
            (w->stale != NULL && hand_over(redis_stale_history(w->stale), bytes_max, into) != STATUS_OK)) {
            status = STATUS_OVERLOADED;
        }
        w->caller.full = false;
    }
    return status;
}

static void add_numbers(struct redis_caller_numbers *sum, const struct redis_caller_numbers *n)
{
    for (unsigned i = 0; i < REDIS_FORMS; i++) {
        sum->asked[i] += n->asked[i];
    }
    for (unsigned i = 0; i < REDIS_ANSWERS; i++) {
        sum->answers[i] += n->answers[i];
        sum->add_answers[i] += n->add_answers[i];
    }
    sum->given_up += n->given_up;
    sum->ordered += n->ordered;
    sum->slow += n->slow;
    sum->slowest_ms = n->slowest_ms > sum->slowest_ms ? n->slowest_ms : sum->slowest_ms;
    if (sum->error[0] == '\0') {
        memcpy(sum->error, n->error, sizeof sum->error);
    }
}

struct redis_callers_numbers redis_callers_numbers(const struct redis_callers *all)
{
    struct redis_callers_numbers sum = {0};
    for (unsigned i = 0; i < all->n; i++) {
        const struct worker *w = &all->workers[i];
        add_numbers(&sum.callers, &w->caller.numbers);
        for (unsigned node = 0; w->stale != NULL && node < redis_stale_nodes(w->stale); node++) {
            sum.stale_reads[node] += redis_stale_reads(w->stale, node);
        }
        sum.stale_gone_back += w->stale != NULL ? redis_stale_gone_back(w->stale) : 0;
        if (w->stale != NULL && sum.callers.error[0] == '\0') {
            snprintf(sum.callers.error, sizeof sum.callers.error, "%s", redis_stale_error(w->stale));
        }
    }
    return sum;
}

void redis_callers_destroy(struct redis_callers *all)
{
    if (all == NULL) {
        return;
    }
    redis_callers_stop(all, NULL);
    for (unsigned i = 0; i < all->n; i++) {
        redis_caller_deinit(&all->workers[i].caller);
        if (all->workers[i].stale != NULL) {
            redis_stale_destroy(all->workers[i].stale);
        }
    }
    free(all->workers);
    free(all);
}
