/* Transactions of the Redis port as SQL sees them: whole. Clients write rising numbers to pairs of keys, each
 * number to both keys of a pair in one transaction (MULTI, MSET, DEL), and some of them to a hash that all
 * pairs of their slot share. Meanwhile somebody reads all pairs with one SELECT, again and again: the sides
 * of each pair are equal in every reading. Batches of PostgreSQL are so small that nearly each would end
 * within a transaction; a leader is killed, and PostgreSQL crashes. */
#include "cluster-tests/scenario.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cluster-tests/redis_ask.h"
#include "cluster-tests/redis_call.h"
#include "cluster-tests/sql.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/slot.h"

enum {
    SLOTS = 4,
    PAIRS_EACH = 6,
    PAIRS = SLOTS * PAIRS_EACH,
    CLIENTS = 6,      /* client number c has each pair whose number is c, modulo this */
    DELETE_EVERY = 7, /* numbers */
    LONERS = 2,       /* who write single keys */
    LONER_KEYS = 200, /* of a slot */
    LONER_PIECE = 8,
    CHANGES = 20, /* of each pair, that readings must have seen before the next thing happens */
    AWAIT_MS = 20000,
    REPLY_MS = 15000,
    REST_MS = 5, /* before somebody who is refused tries again */
    KEY_BYTES = 32,
    NUMBER_BYTES = 24,
    STATEMENT_BYTES = 8192,
};

/* Groups 0 and 1 have one slot, of pairs alone and of pairs with a shared hash; group 2 has one of each. */
static const struct slot_kind {
    unsigned group;
    bool shares;
} slot_kinds[SLOTS] = {{0, false}, {1, true}, {2, false}, {2, true}};

struct pair {
    unsigned slot;
    char a[KEY_BYTES], b[KEY_BYTES];
    char shared[KEY_BYTES], field[KEY_BYTES]; /* "": none */
    bool strings;                             /* both sides are; else @b is a hash with the field `n` */
    atomic_uint_fast64_t sent, acknowledged;  /* the newest numbers */
};

/* What the reader has seen; guarded by the mutex while it runs. */
struct seen {
    uint64_t readings, failures, batches;
    uint64_t number[PAIRS]; /* the newest */
    bool absent[PAIRS];     /* since then, for now */
    uint64_t changes[PAIRS], changed_ms[PAIRS];
    uint64_t longest_ms; /* that a pair stood still */
    char batch[KEY_BYTES];
    char problem[256], error[256]; /* the first, the newest */
};

struct writer {
    struct world *world;
    pthread_t thread;
    unsigned number;
    struct redis_client client;
    unsigned hint[SLOTS]; /* who led them last */
    struct buf out;
    unsigned replies; /* to what is in out */
    uint64_t acknowledged, failed;
    char problem[256];
};

struct world {
    struct scenario *s;
    char dsn[512];
    char tags[SLOTS][KEY_BYTES];
    struct pair pairs[PAIRS];
    char statement[STATEMENT_BYTES];
    atomic_bool stopping;
    struct writer clients[CLIENTS], loners[LONERS];
    pthread_t reader;
    pthread_mutex_t mutex;
    pthread_cond_t read; /* there is one more reading */
    struct seen seen;
};

/* ---- What there is ---- */

static void make_tag(struct world *w, unsigned slot)
{
    char *tag = w->tags[slot];
    unsigned i = 0;
    do {
        snprintf(tag, KEY_BYTES, "{tx%u.%u}", slot, i++);
    } while (slot_group(slot_of(bytes_from_text(tag)), w->s->cluster.groups) != slot_kinds[slot].group);
}

static void make_pair(struct world *w, unsigned i)
{
    struct pair *p = &w->pairs[i];
    p->slot = i / PAIRS_EACH;
    const char *tag = w->tags[p->slot];
    CHECK(snprintf(p->a, KEY_BYTES, "%sa%u", tag, i) < KEY_BYTES);
    snprintf(p->b, KEY_BYTES, "%.24sb%u", tag, i);
    if (slot_kinds[p->slot].shares) {
        snprintf(p->shared, KEY_BYTES, "%.24sshared", tag);
        snprintf(p->field, KEY_BYTES, "p%u", i);
    }
    p->strings = p->shared[0] == '\0' && i % 2 == 0;
}

static void make_statement(struct world *w)
{
    size_t len = 0;
    char *out = w->statement;
    for (unsigned i = 0; i < PAIRS; i++) {
        const struct pair *p = &w->pairs[i];
        len += (size_t)snprintf(out + len, STATEMENT_BYTES - len,
            "%s(%u, '%s'::bytea, '%s'::bytea, '%s'::bytea, '%s')",
            i == 0 ? "SELECT convert_from(a.value, 'UTF8'), coalesce(convert_from(b.value, 'UTF8'), "
                     "b.fields->>'n'), shared.fields->>p.field, "
                     "(SELECT sum(last_batch) FROM wb.flush_state) FROM (VALUES "
                   : ", ",
            i, p->a, p->b, p->shared, p->field);
        CHECK(len < STATEMENT_BYTES);
    }
    len += (size_t)snprintf(out + len, STATEMENT_BYTES - len,
        ") AS p (i, a, b, shared, field) LEFT JOIN wb.entry AS a ON a.key = p.a LEFT JOIN wb.entry AS b "
        "ON b.key = p.b LEFT JOIN wb.entry AS shared ON shared.key = p.shared ORDER BY p.i");
    CHECK(len < STATEMENT_BYTES);
}

/* ---- Who writes ---- */

static void begin(struct writer *c)
{
    buf_clear(&c->out);
    c->replies = 0;
}

static void add(struct writer *c, const char *const *words)
{
    unsigned n = 0;
    while (words[n] != NULL) {
        n++;
    }
    redis_command(&c->out, words, n);
    c->replies++;
}
#define ADD(c, ...) add(c, (const char *const[]){__VA_ARGS__, NULL})

/* Is @reply that of a transaction of which each command was done? */
static bool all_done(struct writer *c, const struct reply *reply)
{
    if (reply_is_error(reply) || reply->null) {
        return false;
    }
    struct bytes inside = reply->inside;
    for (uint32_t i = 0; reply->type == '*' && i < reply->children; i++) {
        struct reply child = reply_next(&inside);
        if (reply_is_error(&child) && c->problem[0] == '\0') {
            snprintf(c->problem, sizeof c->problem, "a command of a transaction: %.*s", (int)child.text.len,
                (const char *)child.text.data);
        }
    }
    return true;
}

/* Send what was added to the leader of @slot, as far as is known. True: the last reply says that it is done.
 * Nothing is tried again. */
static bool ask(struct writer *c, unsigned slot)
{
    unsigned node = c->hint[slot];
    bool moved = false, done = false;
    struct reply reply;
    CHECK(!c->out.failed);
    if (!redis_client_connect(&c->client, node) || !redis_client_send(&c->client, node, buf_bytes(&c->out))) {
        c->hint[slot] = (node + 1) % c->client.nodes;
    }
    for (unsigned i = 0; i < c->replies; i++) {
        if (!redis_client_receive(&c->client, node, REPLY_MS, &reply)) {
            done = false;
            break;
        }
        int to = redis_client_moved_to(&c->client, &reply);
        if (to >= 0) {
            c->hint[slot] = (unsigned)to;
            moved = true;
        }
        done = all_done(c, &reply);
    }
    c->acknowledged += done;
    c->failed += !done;
    if (!done && !moved) {
        pass_ms(REST_MS);
    }
    return done;
}

static bool is_deletion(uint64_t number)
{
    return number % DELETE_EVERY == 0;
}

static void write_pair(struct writer *c, struct pair *p)
{
    uint64_t n = atomic_fetch_add(&p->sent, 1) + 1;
    char number[NUMBER_BYTES];
    snprintf(number, sizeof number, "%" PRIu64, n);
    begin(c);
    if (p->strings && is_deletion(n)) {
        ADD(c, "DEL", p->a, p->b);
    } else if (p->strings) {
        ADD(c, "MSET", p->a, number, p->b, number);
    } else {
        ADD(c, "MULTI");
        if (is_deletion(n)) {
            ADD(c, "DEL", p->a);
            ADD(c, "DEL", p->b);
        } else {
            ADD(c, "SET", p->a, number);
            ADD(c, "HSET", p->b, "n", number);
        }
        if (p->shared[0] != '\0' && is_deletion(n)) {
            ADD(c, "HDEL", p->shared, p->field);
        } else if (p->shared[0] != '\0') {
            ADD(c, "HSET", p->shared, p->field, number);
        }
        ADD(c, "EXEC");
    }
    if (ask(c, p->slot)) {
        atomic_store(&p->acknowledged, n);
    }
}

static void *run_client(void *arg)
{
    struct writer *c = arg;
    for (unsigned i = c->number; !atomic_load(&c->world->stopping); i = (i + CLIENTS) % PAIRS) {
        write_pair(c, &c->world->pairs[i]);
    }
    return NULL;
}

static void *run_loner(void *arg)
{
    struct writer *c = arg;
    char key[2 * KEY_BYTES], value[NUMBER_BYTES];
    for (unsigned i = 0, turn = c->number; !atomic_load(&c->world->stopping); turn++) {
        unsigned slot = turn % SLOTS;
        begin(c);
        for (unsigned k = 0; k < LONER_PIECE; k++, i++) {
            snprintf(key, sizeof key, "%sloner%u.%u", c->world->tags[slot], c->number, i % LONER_KEYS);
            snprintf(value, sizeof value, "%u", i);
            ADD(c, "SET", key, value);
        }
        ask(c, slot);
    }
    return NULL;
}

/* ---- Who reads ---- */

/* NULL: absent. */
static const char *side(const PGresult *result, unsigned pair, int column)
{
    return PQgetisnull(result, (int)pair, column) ? NULL : PQgetvalue(result, (int)pair, column);
}

static bool same(const char *x, const char *y)
{
    return x == NULL || y == NULL ? x == y : strcmp(x, y) == 0;
}

#define WORDS(x) ((x) == NULL ? "absent" : (x))

/* One row of a reading. False: @why it must not be. */
static bool judge(struct world *w, unsigned i, const PGresult *result, char *why, size_t why_len)
{
    struct pair *p = &w->pairs[i];
    const char *a = side(result, i, 0), *b = side(result, i, 1), *shared = side(result, i, 2);
    if (!same(a, b)) {
        snprintf(why, why_len, "half a transaction in one SELECT: %s is %s, %s is %s", p->a, WORDS(a), p->b,
            WORDS(b));
        return false;
    }
    if (p->shared[0] != '\0' && !same(a, shared)) {
        snprintf(why, why_len, "half a transaction in one SELECT: %s is %s, field %s of %s is %s", p->a,
            WORDS(a), p->field, p->shared, WORDS(shared));
        return false;
    }
    uint64_t number = a == NULL ? 0 : strtoull(a, NULL, 10);
    if (a != NULL && (number < w->seen.number[i] || number > atomic_load(&p->sent))) {
        snprintf(why, why_len, "%s is %s after %" PRIu64 ", and %" PRIu64 " was the last one sent", p->a, a,
            w->seen.number[i], (uint64_t)atomic_load(&p->sent));
        return false;
    }
    return true;
}

static void note(struct seen *seen, unsigned i, const char *a, uint64_t now_ms)
{
    uint64_t number = a == NULL ? seen->number[i] : strtoull(a, NULL, 10);
    if (seen->readings > 1 && number == seen->number[i] && (a == NULL) == seen->absent[i]) {
        return;
    }
    uint64_t stood_ms = seen->readings > 1 ? now_ms - seen->changed_ms[i] : 0;
    seen->longest_ms = stood_ms > seen->longest_ms ? stood_ms : seen->longest_ms;
    seen->changes[i] += seen->readings > 1;
    seen->changed_ms[i] = now_ms;
    seen->number[i] = number;
    seen->absent[i] = a == NULL;
}

/* False: PostgreSQL cannot be asked. */
static bool read_pairs(struct world *w, PGconn *conn)
{
    struct seen *seen = &w->seen;
    PGresult *result = PQexec(conn, w->statement);
    bool came = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == PAIRS;
    uint64_t now_ms = clock_boot_ms();
    pthread_mutex_lock(&w->mutex);
    if (came) {
        seen->readings++;
        for (unsigned i = 0; i < PAIRS && seen->problem[0] == '\0'; i++) {
            if (judge(w, i, result, seen->problem, sizeof seen->problem)) {
                note(seen, i, side(result, i, 0), now_ms);
            }
        }
        const char *batch = PQgetvalue(result, 0, 3);
        seen->batches += strcmp(seen->batch, batch) != 0;
        snprintf(seen->batch, sizeof seen->batch, "%s", batch);
    } else {
        seen->failures++;
        snprintf(seen->error, sizeof seen->error, "%s", PQerrorMessage(conn));
    }
    pthread_cond_signal(&w->read);
    pthread_mutex_unlock(&w->mutex);
    PQclear(result);
    return came;
}

static void *run_reader(void *arg)
{
    struct world *w = arg;
    PGconn *conn = NULL;
    while (!atomic_load(&w->stopping)) {
        if (conn == NULL && (conn = sql_connect(w->dsn)) == NULL) {
            pass_ms(REST_MS);
        } else if (!read_pairs(w, conn)) {
            PQfinish(conn);
            conn = NULL;
        }
    }
    PQfinish(conn);
    return NULL;
}

/* ---- All of them ---- */

static struct world *create(struct scenario *s)
{
    struct world *w = xcalloc(1, sizeof *w);
    char addresses[REDIS_ASK_ADDRESSES_BYTES];
    w->s = s;
    snprintf(w->dsn, sizeof w->dsn, "%s", s->cluster.database);
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        make_tag(w, slot);
    }
    for (unsigned i = 0; i < PAIRS; i++) {
        make_pair(w, i);
    }
    make_statement(w);
    redis_ask_addresses(&s->cluster, addresses);
    for (unsigned i = 0; i < CLIENTS + LONERS; i++) {
        struct writer *c = i < CLIENTS ? &w->clients[i] : &w->loners[i - CLIENTS];
        c->world = w;
        c->number = i < CLIENTS ? i : i - CLIENTS;
        redis_client_init(&c->client, addresses, false);
        buf_init(&c->out);
    }
    pthread_mutex_init(&w->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->read, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return w;
}

static void start(struct world *w)
{
    CHECK(pthread_create(&w->reader, NULL, run_reader, w) == 0);
    for (unsigned i = 0; i < CLIENTS; i++) {
        CHECK(pthread_create(&w->clients[i].thread, NULL, run_client, &w->clients[i]) == 0);
    }
    for (unsigned i = 0; i < LONERS; i++) {
        CHECK(pthread_create(&w->loners[i].thread, NULL, run_loner, &w->loners[i]) == 0);
    }
}

static void stop(struct world *w)
{
    atomic_store(&w->stopping, true);
    pthread_join(w->reader, NULL);
    for (unsigned i = 0; i < CLIENTS; i++) {
        pthread_join(w->clients[i].thread, NULL);
    }
    for (unsigned i = 0; i < LONERS; i++) {
        pthread_join(w->loners[i].thread, NULL);
    }
}

static void destroy(struct world *w)
{
    for (unsigned i = 0; i < CLIENTS + LONERS; i++) {
        struct writer *c = i < CLIENTS ? &w->clients[i] : &w->loners[i - CLIENTS];
        redis_client_deinit(&c->client);
        buf_deinit(&c->out);
    }
    pthread_cond_destroy(&w->read);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}

static void say_numbers(const struct world *w)
{
    uint64_t done = 0, failed = 0, single = 0, changes = 0;
    for (unsigned i = 0; i < CLIENTS; i++) {
        done += w->clients[i].acknowledged;
        failed += w->clients[i].failed;
    }
    for (unsigned i = 0; i < LONERS; i++) {
        single += LONER_PIECE * w->loners[i].acknowledged;
    }
    for (unsigned i = 0; i < PAIRS; i++) {
        changes += w->seen.changes[i];
    }
    say("  %" PRIu64 " readings (%" PRIu64 " failed) saw %" PRIu64 " changes of %d pairs in %" PRIu64
        " batches or more; %" PRIu64 " transactions (%" PRIu64 " more unsure or refused) beside %" PRIu64
        " single writes; a pair stood still for %" PRIu64 " ms at most",
        w->seen.readings, w->seen.failures, changes, PAIRS, w->seen.batches, done, failed, single,
        w->seen.longest_ms);
}

/* Stop, and fail when there is something wrong. */
static void fail_if(struct world *w, const char *problem)
{
    if (problem[0] == '\0') {
        return;
    }
    char why[256];
    snprintf(why, sizeof why, "%s", problem);
    stop(w);
    say_numbers(w);
    destroy(w);
    fail_msg("%s", why);
}

static bool have_changed(const struct world *w, const uint64_t *before)
{
    for (unsigned i = 0; i < PAIRS; i++) {
        if (w->seen.changes[i] < before[i] + CHANGES) {
            return false;
        }
    }
    return true;
}

/* Until readings have seen each pair change CHANGES times more. */
static void await_changes(struct world *w)
{
    struct seen *seen = &w->seen;
    uint64_t before[PAIRS];
    char problem[sizeof seen->problem];
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += AWAIT_MS / 1000;
    pthread_mutex_lock(&w->mutex);
    memcpy(before, seen->changes, sizeof before);
    int rc = 0;
    while (seen->problem[0] == '\0' && !have_changed(w, before) && rc == 0) {
        rc = pthread_cond_timedwait(&w->read, &w->mutex, &until);
    }
    snprintf(problem, sizeof problem, "%s", seen->problem);
    if (problem[0] == '\0' && !have_changed(w, before)) {
        snprintf(problem, sizeof problem, "some pair does not change in PostgreSQL; its last error: %.180s",
            seen->error);
    }
    pthread_mutex_unlock(&w->mutex);
    fail_if(w, problem);
}

/* Everything is flushed: each pair is what was acknowledged last, or what was sent later and nobody knows of.
 */
static void expect_the_last_numbers(struct world *w)
{
    PGconn *conn = sql_connect_or_fail(w->dsn);
    assert_true(read_pairs(w, conn));
    PQfinish(conn);
    if (w->seen.problem[0] != '\0') {
        fail_msg("%s", w->seen.problem);
    }
    for (unsigned i = 0; i < PAIRS; i++) {
        struct pair *p = &w->pairs[i];
        bool possible = false;
        for (uint64_t n = p->acknowledged; n <= p->sent; n++) {
            possible =
                possible || (w->seen.absent[i] ? is_deletion(n) : !is_deletion(n) && n == w->seen.number[i]);
        }
        if (!possible) {
            fail_msg("%s and %s are %s%" PRIu64 " at the end; %" PRIu64 " is acknowledged, %" PRIu64
                     " was sent",
                p->a, p->b, w->seen.absent[i] ? "absent after " : "", w->seen.number[i],
                (uint64_t)p->acknowledged, (uint64_t)p->sent);
        }
    }
}

static void kill_a_leader_and_crash_the_database(struct cluster *c, struct world *w)
{
    unsigned group = scenario_random(w->s, c->groups), leader = cluster_leader(c, group);
    say("node %u is killed, which leads group %u", leader, group);
    cluster_kill(c, leader);
    await_changes(w);
    say("it is started again");
    cluster_restart(c, leader);
    await_changes(w);
    say("PostgreSQL crashes and is started again");
    cluster_pg_restart(c, true);
    await_changes(w);
}

static void sql_sees_no_half_of_a_transaction(void **state)
{
    struct scenario *s = *state;
    struct cluster *c = &s->cluster;
    cluster_start(c, &(struct cluster_options){
                         .settings = {"raft.spread_stable_ms=0", "flush.batch_rows=3", "flush.age_ms=5"}});
    struct world *w = create(s);
    say("%d clients write %d pairs, %d write single keys; one reads all pairs", CLIENTS, PAIRS, LONERS);
    start(w);
    await_changes(w);
    for (unsigned round = 0; round < s->options.rounds; round++) {
        kill_a_leader_and_crash_the_database(c, w);
    }
    stop(w);
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (w->clients[i].problem[0] != '\0') {
            fail_msg("%s", w->clients[i].problem);
        }
    }
    cluster_wait_clean(c, AWAIT_MS);
    expect_the_last_numbers(w);
    say_numbers(w);
    assert_true(w->seen.failures >= s->options.rounds); /* PostgreSQL was away */
    destroy(w);
    s->passed = true;
}

int main(int argc, char **argv)
{
    struct scenario_options options;
    scenario_options(&options, argc, argv, 1, 0);
    const struct CMUnitTest tests[] = {
        scenario_test(sql_sees_no_half_of_a_transaction, &options),
    };
    return cmocka_run_group_tests_name("redis_transactions", tests, NULL, NULL);
}
