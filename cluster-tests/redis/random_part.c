#include "cluster-tests/redis/random_part.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/redis/exchange.h"
#include "cluster-tests/redis/generator.h"
#include "cluster-tests/redis/show.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum {
    TAG_CHARS = 64,
    ATTEMPTS_MAX = 8,
    SHRINK_RUNS_MAX = 400,
    SIGNATURE_CHARS = 64,
    PROGRESS_MS = 10 * 1000
};

/* A difference, until it is made small and shown. Two with the same signature are the same to a reader. */
struct found {
    uint64_t number;
    char signature[SIGNATURE_CHARS];
};

struct run {
    const struct random_part *part;
    char run_id[20]; /* tags of one run are not those of another one on the same cluster */
    atomic_uint_fast64_t next[2], done, replies, settled_again; /* next: by the parity of the number */
    atomic_bool stop;
    pthread_mutex_t mutex; /* of what follows */
    unsigned n_found;
    struct found found[RANDOM_SHOWN_MAX];
    bool broken;
    char error[256];
};

/* One thread's: connections to the reference and to each of our nodes. */
struct lane {
    struct run *run;
    unsigned protocol;
    struct router router;
    struct exchange exchanges[ROUTER_NODES_MAX];
    unsigned opened; /* exchanges that are initialised */
    pthread_t thread;
};

/* ---- Lanes ---- */

static void lane_close(struct lane *lane)
{
    for (unsigned i = 0; i < lane->opened; i++) {
        exchange_close(&lane->exchanges[i]);
    }
    lane->opened = 0;
}

static bool lane_open(struct lane *lane, char *error, size_t error_len)
{
    const struct random_part *part = lane->run->part;
    if (!router_ask(&lane->router, part->ours, error, error_len)) {
        return false;
    }
    for (unsigned i = 0; i < lane->router.n; i++) {
        exchange_init(
            &lane->exchanges[i], part->reference, lane->router.addresses[i], lane->protocol, part->refuses);
    }
    lane->opened = lane->router.n;
    return true;
}

static uint64_t lane_replies(const struct lane *lane)
{
    uint64_t replies = 0;
    for (unsigned i = 0; i < lane->opened; i++) {
        replies += lane->exchanges[i].replies;
    }
    return replies;
}

/* Run one sequence, again and again while its leader is not settled. Some of its steps may be left out: @kept
 * tells, step by step; NULL: none. @attempt makes its keys others. */
static enum exchange_result run_sequence(struct lane *lane, uint64_t number, unsigned *attempt,
    const bool *kept, struct steps *steps, struct exchange_difference *d)
{
    struct run *run = lane->run;
    enum exchange_result result = EXCHANGE_UNSETTLED;
    for (unsigned i = 0; i < ATTEMPTS_MAX && result == EXCHANGE_UNSETTLED; i++) {
        char tag[TAG_CHARS];
        snprintf(tag, sizeof tag, "{%s.%" PRIu64 ".%u}", run->run_id, number, (*attempt)++);
        *steps = (struct steps){.arena = steps->arena};
        generator_sequence(run->part->seed, number, tag, steps);
        uint32_t n = 0;
        for (uint32_t j = 0; j < steps->n; j++) {
            steps->list[j].wait = steps->list[j].wait || run->part->lockstep;
            if (kept == NULL || kept[j]) {
                steps->list[n++] = steps->list[j];
            }
        }
        steps->n = n;
        if (lane->opened == 0 && !lane_open(lane, d->error, sizeof d->error)) {
            return EXCHANGE_BROKEN;
        }
        unsigned node = router_node(&lane->router, bytes_from_text(tag));
        result = exchange_run(&lane->exchanges[node], steps->list, steps->n, d);
        if (result != EXCHANGE_SAME) {
            atomic_fetch_add(&run->replies, lane_replies(lane));
            lane_close(lane);
        }
        if (result == EXCHANGE_UNSETTLED) {
            atomic_fetch_add(&run->settled_again, 1);
            pthread_mutex_lock(&run->mutex); /* one lane after another, so that a new leader is not stormed */
            nanosleep(&(const struct timespec){.tv_nsec = 100 * 1000 * 1000}, NULL);
            pthread_mutex_unlock(&run->mutex);
        }
    }
    return result;
}

/* ---- What was found ---- */

/* The command's name and how both replies begin: enough to tell kinds of differences apart. */
static void sign(char out[SIGNATURE_CHARS], const struct step *step, const struct exchange_difference *d)
{
    size_t expected = d->expected.len < 12 ? d->expected.len : 12, got = d->got.len < 12 ? d->got.len : 12;
    snprintf(out, SIGNATURE_CHARS, "%.*s %.*s %.*s", (int)(step->args[0].len < 14 ? step->args[0].len : 14),
        (const char *)step->args[0].data, (int)expected, (const char *)d->expected.data, (int)got,
        (const char *)d->got.data);
}

static void note_difference(
    struct run *run, uint64_t number, const struct step *step, const struct exchange_difference *d)
{
    char signature[SIGNATURE_CHARS];
    sign(signature, step, d);
    pthread_mutex_lock(&run->mutex);
    bool known = run->n_found >= run->part->shown_max;
    for (unsigned i = 0; i < run->n_found && !known; i++) {
        known = strcmp(run->found[i].signature, signature) == 0;
    }
    if (!known) {
        struct found *f = &run->found[run->n_found++];
        f->number = number;
        memcpy(f->signature, signature, sizeof signature);
        if (run->n_found == run->part->shown_max) {
            atomic_store(&run->stop, true);
        }
    }
    pthread_mutex_unlock(&run->mutex);
}

static void note_broken(
    struct run *run, uint64_t number, const struct steps *steps, const struct exchange_difference *d)
{
    pthread_mutex_lock(&run->mutex);
    if (!run->broken) {
        run->broken = true;
        snprintf(run->error, sizeof run->error, "sequence %" PRIu64 ": %s", number,
            d->error[0] == '\0' ? "the leader does not settle" : d->error);
        show("%s", run->error);
        show_conversation(steps, d->step);
        if (d->expected.len > 0) {
            show_reply("the reference said", buf_bytes(&d->expected));
        }
    }
    pthread_mutex_unlock(&run->mutex);
    atomic_store(&run->stop, true);
}

/* The next number of this lane's protocol; false: all are taken. */
static bool take_number(struct lane *lane, uint64_t *number)
{
    const struct random_part *part = lane->run->part;
    unsigned parity = lane->protocol == generator_protocol(0) ? 0 : 1;
    uint64_t first = part->first + (part->first % 2 != parity);
    *number = first + 2 * atomic_fetch_add(&lane->run->next[parity], 1);
    return *number < part->first + part->count && !atomic_load(&lane->run->stop);
}

static void *lane_main(void *data)
{
    struct lane *lane = data;
    struct arena arena;
    arena_init(&arena);
    uint64_t number;
    while (take_number(lane, &number)) {
        struct exchange_difference d;
        exchange_difference_init(&d);
        struct steps steps = {.arena = &arena};
        unsigned attempt = 0;
        enum exchange_result result = run_sequence(lane, number, &attempt, NULL, &steps, &d);
        if (result == EXCHANGE_DIFFERS) {
            note_difference(lane->run, number, &steps.list[d.step], &d);
        } else if (result != EXCHANGE_SAME) {
            note_broken(lane->run, number, &steps, &d);
        }
        atomic_fetch_add(&lane->run->done, 1);
        exchange_difference_deinit(&d);
        arena_reset(&arena);
    }
    atomic_fetch_add(&lane->run->replies, lane_replies(lane));
    lane_close(lane);
    arena_deinit(&arena);
    return NULL;
}

/* ---- Making it small ---- */

/* Does the sequence still differ, without what is not kept? The tail always runs, so that no keys stay. */
static bool still_differs(struct lane *lane, uint64_t number, unsigned *attempt, const bool *kept)
{
    struct arena arena;
    arena_init(&arena);
    struct steps steps = {.arena = &arena};
    struct exchange_difference d;
    exchange_difference_init(&d);
    enum exchange_result result = run_sequence(lane, number, attempt, kept, &steps, &d);
    exchange_difference_deinit(&d);
    arena_deinit(&arena);
    return result == EXCHANGE_DIFFERS;
}

/* Leave out runs of steps, shorter and shorter ones, as long as the rest still differs. A drawn reply is
 * compared with the step before it, which goes only together with it. */
static void shrink(struct lane *lane, uint64_t number, unsigned *attempt, const struct steps *all, bool *kept)
{
    const uint32_t n = all->n - generator_tail();
    unsigned runs = 0;
    for (uint32_t size = n / 2 > 0 ? n / 2 : 1; size > 0; size = size == 1 ? 0 : size / 2) {
        for (uint32_t from = 0; from < n && runs < SHRINK_RUNS_MAX; from += size) {
            bool before[256];
            uint32_t to = from + size < n ? from + size : n;
            memcpy(before, kept, all->n * sizeof *kept);
            bool changed = false;
            for (uint32_t i = from; i < to; i++) {
                changed = changed || kept[i];
                kept[i] = false;
                if (i + 1 < n && all->list[i + 1].compare == COMPARE_DRAWN) {
                    kept[i + 1] = false;
                }
            }
            if (changed) {
                runs++;
                if (!still_differs(lane, number, attempt, kept)) {
                    memcpy(kept, before, all->n * sizeof *kept);
                }
            }
        }
    }
}

static void show_difference(struct run *run, const struct found *f)
{
    struct lane lane = {.run = run, .protocol = generator_protocol(f->number)};
    struct arena arena;
    arena_init(&arena);
    struct steps all = {.arena = &arena}, steps = {.arena = &arena};
    generator_sequence(run->part->seed, f->number, "{t}", &all);
    bool kept[256];
    CHECK(all.n <= sizeof kept);
    memset(kept, true, sizeof kept);
    unsigned attempt = 1000; /* keys of its own, whatever was left behind */
    if (still_differs(&lane, f->number, &attempt, kept)) {
        shrink(&lane, f->number, &attempt, &all, kept);
    } else {
        show("sequence %" PRIu64 " differed once, and does not any more", f->number);
    }
    struct exchange_difference d;
    exchange_difference_init(&d);
    enum exchange_result result = run_sequence(&lane, f->number, &attempt, kept, &steps, &d);
    show("DIFFERENT in RESP%u: sequence %" PRIu64 "; again with: %s%s --seed %" PRIu64 " --sequence %" PRIu64,
        lane.protocol, f->number, run->part->replay, run->part->lockstep ? " --lockstep" : "",
        run->part->seed, f->number);
    if (result == EXCHANGE_DIFFERS) {
        show_conversation(&steps, d.step);
        show_reply("expected", buf_bytes(&d.expected));
        show_reply("got     ", buf_bytes(&d.got));
    } else {
        show("  first seen as: %s", f->signature);
    }
    lane_close(&lane);
    exchange_difference_deinit(&d);
    arena_deinit(&arena);
}

/* ---- All of it ---- */

static void watch_progress(struct run *run, struct lane *lanes)
{
    /* Lanes end by themselves; who waits for the first says how far all are. */
    for (unsigned i = 0; i < run->part->lanes; i++) {
        for (;;) {
            struct timespec until;
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_sec += PROGRESS_MS / 1000;
            if (pthread_timedjoin_np(lanes[i].thread, NULL, &until) == 0) {
                break;
            }
            show("  %" PRIu64 " sequences", (uint64_t)atomic_load(&run->done));
        }
    }
}

struct random_result random_part_run(const struct random_part *part)
{
    struct run *run = xcalloc(1, sizeof *run);
    run->part = part;
    pthread_mutex_init(&run->mutex, NULL);
    uint32_t id;
    random_bytes(&id, sizeof id);
    snprintf(run->run_id, sizeof run->run_id, "%08" PRIx32, id);
    struct lane *lanes = xcalloc(part->lanes, sizeof *lanes);
    for (unsigned i = 0; i < part->lanes; i++) {
        lanes[i].run = run;
        lanes[i].protocol = generator_protocol(part->first + i);
        CHECK(pthread_create(&lanes[i].thread, NULL, lane_main, &lanes[i]) == 0);
    }
    watch_progress(run, lanes);
    for (unsigned i = 0; i < run->n_found && !run->broken; i++) {
        show_difference(run, &run->found[i]);
    }
    struct random_result result = {
        .sequences = atomic_load(&run->done),
        .replies = atomic_load(&run->replies),
        .settled_again = atomic_load(&run->settled_again),
        .differences = run->n_found,
        .broken = run->broken,
    };
    pthread_mutex_destroy(&run->mutex);
    free(lanes);
    free(run);
    return result;
}
