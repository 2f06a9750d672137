/* The Redis front door: which of its files takes a command, and the life of what a command asks of a group
 * (the drawing is in front_redis_internal.h). Threading: the loop's thread.
 *
 * Happy path of a GET: front_redis_on_request finds its row in the table, redis_take_keyed its key, slot and
 * group; the group evaluates it, which composes the reply, and says when that may be told. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "node/front_redis_internal.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

/* Ids of the client port's connections have this bit clear: a group knows both. */
#define GROUP_CONN_BIT (UINT64_C(1) << 63)

/* A request that is held; in its own arena. */
struct held_request {
    struct list link; /* in conn->held */
    struct resp_request *request;
};

/* ---- Connections ---- */

void redis_conn_unref(struct redis_conn *c)
{
    if (--c->refs == 0) {
        redis_client_free(c->client);
        free(c);
    }
}

void *front_redis_on_open(void *f, struct resp_conn *conn, uint64_t id, const char *peer, const char *local)
{
    (void)f;
    (void)conn;
    struct redis_conn *c = xcalloc(1, sizeof *c);
    c->client = redis_client_create(id, peer, local);
    c->refs = 1;
    c->group_conn = GROUP_CONN_BIT | id;
    list_init(&c->ops);
    list_init(&c->waits);
    list_init(&c->held);
    list_init(&c->link);
    return c;
}

/* What is held is not done: nobody hears of it. */
static void drop_held(struct redis_conn *c)
{
    struct list *node;
    while ((node = list_pop_front(&c->held)) != NULL) {
        struct resp_request *request = list_entry(node, struct held_request, link)->request;
        buf_clear(&request->reply);
        resp_reply(request);
    }
    list_remove(&c->link);
}

/* A transaction must not run without one of its commands. Which transaction it would have been, when commands
 * before it are held, is not known yet: so each one among those fails. */
void front_redis_on_refused(void *f, void *client)
{
    (void)f;
    struct redis_conn *c = client;
    c->refused = !list_empty(&c->held);
    c->client->multi_failed |= c->client->in_multi && !c->refused;
}

/* Nobody waits for the flush any more. The groups look at the deadlines by and by. */
static void give_up_waits(struct front_redis *f, struct redis_conn *c)
{
    list_for_each (it, next, &c->waits) {
        list_entry(it, struct redis_operation, of_conn)->r.deadline_ms = f->now_ms;
    }
}

void front_redis_on_close(void *f, void *client)
{
    struct redis_conn *c = client;
    c->closed = true;
    give_up_waits(f, c);
    drop_held(c);
    redis_uncount_multi(f, c);
    redis_conn_unref(c);
}

/* ---- Replies ---- */

struct resp_writer redis_writer(const struct redis_take *take)
{
    return (struct resp_writer){.out = &take->request->reply, .protocol = take->conn->client->protocol};
}

void redis_say(struct resp_request *request, bool silent)
{
    if (silent) {
        buf_clear(&request->reply);
    }
    resp_reply(request);
}

void redis_answer(struct redis_take *take)
{
    redis_say(take->request, take->silent);
}

void redis_refuse(struct redis_take *take, const char *error)
{
    struct resp_writer w = redis_writer(take);
    resp_error(&w, error);
    redis_answer(take);
}

/* The command whose error is composed cannot be queued. */
static void spoil_multi(struct redis_take *take)
{
    struct redis_client *client = take->conn->client;
    client->multi_failed |= client->in_multi;
}

void redis_reject(struct redis_take *take, const char *error)
{
    spoil_multi(take);
    redis_refuse(take, error);
}

/* ---- Taking a command ---- */

static void take_quit(struct redis_take *take)
{
    struct resp_writer w = redis_writer(take);
    take->conn->quitting = true;
    take->request->close_after = true;
    resp_simple(&w, "OK");
    redis_answer(take);
}

static void take_reset(struct redis_take *take)
{
    bool off = take->conn->client->reply_mode == REDIS_REPLY_OFF;
    take->silent = take->silent && !off; /* but not what SKIP said */
    redis_forget_multi(take);
    take->conn->watch_epoch++;
    redis_client_reset(take->conn->client);
    redis_count_multi(take->front, take->conn);
    struct resp_writer w = redis_writer(take);
    resp_simple(&w, "RESET");
    redis_answer(take);
}

static void take_client_reply(struct redis_take *take)
{
    struct redis_client *client = take->conn->client;
    struct resp_writer w = redis_writer(take);
    struct bytes mode = take->request->args[2];
    if (mode.len == 2 && strncasecmp((const char *)mode.data, "on", 2) == 0) {
        client->reply_mode = REDIS_REPLY_ON;
        take->silent = false;
        resp_simple(&w, "OK");
    } else if (mode.len == 3 && strncasecmp((const char *)mode.data, "off", 3) == 0) {
        client->reply_mode = REDIS_REPLY_OFF;
        take->silent = true;
    } else if (mode.len == 4 && strncasecmp((const char *)mode.data, "skip", 4) == 0) {
        client->skip_next = client->reply_mode != REDIS_REPLY_OFF;
        take->silent = true;
    } else {
        resp_error(&w, redis_error_syntax);
    }
    redis_answer(take);
}

/* When a command may be taken. */
enum session_when {
    TAKE_AT_ONCE = 0,
    TAKE_WATCHED = 1 << 0, /* when its connection's WATCHes are answered */
    TAKE_QUIET = 1 << 1,   /* when all that its connection asked before is answered */
    TAKE_IN_MULTI = 1 << 2 /* it is never queued */
};

struct session_command {
    const char *name;
    void (*take)(struct redis_take *take);
    unsigned when;
};

static const struct session_command session_commands[] = {
    {"multi", redis_take_multi, TAKE_IN_MULTI},
    {"exec", redis_take_exec, TAKE_IN_MULTI | TAKE_WATCHED},
    {"discard", redis_take_discard, TAKE_IN_MULTI},
    {"watch", redis_take_watch, TAKE_IN_MULTI | TAKE_WATCHED},
    {"unwatch", redis_take_unwatch, TAKE_AT_ONCE},
    {"quit", take_quit, TAKE_IN_MULTI},
    {"reset", take_reset, TAKE_IN_MULTI},
    {"client|reply", take_client_reply, TAKE_AT_ONCE},
    {"wb.flushed", redis_take_flushed, TAKE_QUIET},
    {"wb.waitflush", redis_take_waitflush, TAKE_QUIET},
    {"wb.lag", redis_take_lag, TAKE_QUIET},
};

static const struct session_command *find_session(const struct redis_command *command)
{
    if (command->run != NULL || command->local != NULL) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof session_commands / sizeof session_commands[0]; i++) {
        if (strcmp(session_commands[i].name, command->name) == 0) {
            return &session_commands[i];
        }
    }
    return NULL;
}

/* So many keys, about, are looked at in one turn without a group, some ten milliseconds' work: a client may
 * send thousands of such commands at once, and the node must lead its groups meanwhile. */
enum { TURN_LOCAL_WORK_MAX = 20000 };

static bool turn_is_full(const struct front_redis *f)
{
    return f->local_work > TURN_LOCAL_WORK_MAX;
}

/* Must @command be held back until the next turn? */
static bool must_rest(
    const struct front_redis *f, const struct redis_command *command, const struct session_command *session)
{
    bool cheap = command->local == NULL || (command->flags & REDIS_FAST) != 0;
    return turn_is_full(f) && (!cheap || (session != NULL && session->take == redis_take_exec));
}

/* Must @command be held back? What looks at all keys in memory shall see what its connection wrote before;
 * what looks at some must not overtake a WATCH, which may have to wait for a version. */
static bool must_hold(
    const struct redis_conn *c, const struct redis_command *command, const struct session_command *session)
{
    if (c->client->in_multi && (session == NULL || (session->when & TAKE_IN_MULTI) == 0)) {
        return false; /* it is only queued */
    }
    unsigned when = session != NULL                                                    ? session->when
                    : command->run != NULL                                             ? TAKE_WATCHED
                    : command->local != NULL && (command->flags & REDIS_READONLY) != 0 ? TAKE_QUIET
                                                                                       : TAKE_AT_ONCE;
    return ((when & TAKE_WATCHED) != 0 && c->watching > 0) ||
           ((when & TAKE_QUIET) != 0 && !list_empty(&c->ops));
}

uint64_t redis_next_random(struct front_redis *f)
{
    /* SplitMix64. */
    uint64_t z = f->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void redis_run_local(struct front_redis *f, struct redis_local_call *call)
{
    enum { BYTES_PER_KEY = 16 }; /* a reply costs, too */
    size_t before = call->out->out->len;
    call->command->local(call);
    f->local_work += (call->out->out->len - before) / BYTES_PER_KEY;
}

static void take_local(struct redis_take *take)
{
    struct resp_writer w = redis_writer(take);
    struct redis_local_call call = {.command = take->command,
        .args = take->request->args,
        .n = take->request->n,
        .client = take->conn->client,
        .view = redis_view(take->front),
        .out = &w,
        .random = redis_next_random(take->front)};
    take->request->read_only = true;
    redis_run_local(take->front, &call);
    redis_answer(take);
}

/* A browser was led here, by somebody who wants it to send commands in a request's body: not a word, as Redis
 * has it.
 */
static bool is_http(struct bytes name)
{
    return (name.len == 4 && strncasecmp((const char *)name.data, "post", 4) == 0) ||
           (name.len == 5 && strncasecmp((const char *)name.data, "host:", 5) == 0);
}

static void reject_unknown(struct redis_take *take)
{
    struct resp_writer w = redis_writer(take);
    const struct bytes *args = take->request->args;
    const char *why = redis_refusal(args[0]);
    if (is_http(args[0])) {
        take->conn->quitting = true;
        take->request->close_after = true;
        take->silent = true;
        redis_answer(take);
        return;
    }
    spoil_multi(take);
    if (why != NULL) {
        resp_error_of(
            &w, "ERR unknown command '%.*s': %s", (int)args[0].len, (const char *)args[0].data, why);
    } else {
        redis_error_unknown(&w, args, take->request->n);
    }
    redis_answer(take);
}

static void reject_arity(struct redis_take *take, const struct redis_command *command)
{
    if (strcmp(command->name, "exec") == 0) {
        redis_abort_exec(take);
        return;
    }
    struct resp_writer w = redis_writer(take);
    spoil_multi(take);
    redis_error_arity(&w, command);
    redis_answer(take);
}

/* Find take->command, the subcommand where there is one. False: there is none such, or not with so many
 * arguments; it was rejected. */
static bool find_command(struct redis_take *take)
{
    const struct bytes *args = take->request->args;
    uint32_t n = take->request->n;
    const struct redis_command *command = redis_command_find(args[0]);
    if (command == NULL) {
        reject_unknown(take);
        return false;
    }
    take->command = redis_command_sub(command, args, n);
    if (take->command == NULL && n > 1) {
        struct resp_writer w = redis_writer(take);
        spoil_multi(take);
        redis_error_unknown_sub(&w, args, n);
        redis_answer(take);
        return false;
    }
    if (take->command == NULL || !redis_command_arity_fits(take->command, n)) {
        reject_arity(take, take->command == NULL ? command : take->command);
        return false;
    }
    return true;
}

static void take_command(struct redis_take *take, const struct session_command *session)
{
    struct redis_client *client = take->conn->client;
    const struct redis_command *command = take->command;
    client->last = command;
    if (client->in_multi && (session == NULL || (session->when & TAKE_IN_MULTI) == 0)) {
        bool own = session != NULL && session->take != redis_take_unwatch;
        if (own || (command->flags & REDIS_NO_MULTI) != 0) {
            redis_reject(take, "ERR Command not allowed inside a transaction");
        } else {
            redis_queue(take);
        }
    } else if (session != NULL) {
        session->take(take);
    } else if (command->run != NULL) {
        redis_take_keyed(take);
    } else if (command->local != NULL) {
        take_local(take);
    } else {
        redis_refuse(take, "ERR this command is not supported");
    }
}

static bool is_quit(struct bytes name)
{
    return name.len == 4 && strncasecmp((const char *)name.data, "quit", 4) == 0;
}

/* False: it must be held. */
static bool take(struct front_redis *f, struct redis_conn *c, struct resp_request *request)
{
    struct redis_client *client = c->client;
    struct redis_take t = {.front = f,
        .conn = c,
        .request = request,
        .silent = client->reply_mode == REDIS_REPLY_OFF || client->skip_next};
    bool skipped = client->skip_next, asking = client->asking;
    if (c->quitting) {
        t.silent = true;
        redis_answer(&t);
        return true;
    }
    if (c->settling > 0) {
        return false;
    }
    client->skip_next = false;
    if (is_quit(request->args[0])) { /* with whatever behind it, as Redis has it */
        take_quit(&t);
        return true;
    }
    if (!find_command(&t)) {
        return true;
    }
    const struct session_command *session = find_session(t.command);
    bool rest = must_rest(f, t.command, session);
    if (rest || must_hold(c, t.command, session)) {
        c->release |= rest;
        f->release |= rest;
        client->skip_next = skipped;
        return false;
    }
    take_command(&t, session);
    if (asking && !client->in_multi) {
        client->asking = false;
    }
    return true;
}

/* ---- Holding back ---- */

static void hold(struct front_redis *f, struct redis_conn *c, struct resp_request *request)
{
    struct held_request *h = arena_alloc(&request->arena, sizeof *h);
    h->request = request;
    if (list_empty(&c->held)) {
        list_push_back(&f->holding, &c->link);
    }
    list_push_back(&c->held, &h->link);
}

static void refuse_closing(struct front_redis *f, struct redis_conn *c, struct resp_request *request)
{
    struct redis_take t = {.front = f, .conn = c, .request = request};
    request->close_after = true;
    c->quitting = true;
    redis_refuse(&t, redis_cluster_down);
}

void front_redis_on_request(void *data, struct resp_request *request)
{
    struct front_redis *f = data;
    struct redis_conn *c = request->client;
    if (!list_empty(&c->held) || !take(f, c, request)) {
        hold(f, c, request);
    }
}

/* Go on with what @c has held, as far as it may. */
static void take_held(struct front_redis *f, struct redis_conn *c)
{
    c->release = false;
    c->refs++; /* its end would end the loop's list, too */
    while (!list_empty(&c->held)) {
        struct list *node = c->held.next;
        struct resp_request *request = list_entry(node, struct held_request, link)->request;
        list_remove(node);
        if (!take(f, c, request)) {
            list_push_front(&c->held, node);
            break;
        }
        c->client->multi_failed |= c->refused && c->client->in_multi;
    }
    if (list_empty(&c->held)) {
        list_remove(&c->link);
        c->refused = false;
    }
    redis_conn_unref(c);
}

static void release_due(struct front_redis *f)
{
    struct list now;
    list_init(&now);
    f->release = false;
    list_for_each (it, next, &f->holding) {
        if (list_entry(it, struct redis_conn, link)->release) {
            list_remove(it);
            list_push_back(&now, it);
        }
    }
    while (!list_empty(&now) && !turn_is_full(f)) {
        struct redis_conn *c = list_entry(list_pop_front(&now), struct redis_conn, link);
        list_push_back(&f->holding, &c->link);
        take_held(f, c);
    }
    f->release |= !list_empty(&now);
    list_splice_front(&f->holding, &now); /* those whose turn did not come are the first in the next */
}

/* ---- The turn ---- */

void front_redis_turn(struct front_redis *f, uint64_t now_ms)
{
    f->now_ms = now_ms;
    f->view_fresh = false;
    f->local_work = 0;
    if (f->release) {
        release_due(f);
    }
    for (uint32_t i = 0; f->waiting_n > 0 && i < f->config.group_count; i++) {
        redis_turn_waiting(f, i);
    }
}

uint64_t front_redis_wake_ms(const struct front_redis *f)
{
    return f->release ? f->now_ms : redis_waiting_wake_ms(f);
}

/* ---- Begin and end ---- */

struct front_redis *front_redis_create(const struct front_redis_config *config)
{
    struct front_redis *f = xcalloc(1, sizeof *f);
    f->config = *config;
    f->random = config->random_seed;
    f->now_ms = clock_boot_ms();
    f->waiting = xcalloc(config->group_count, sizeof *f->waiting);
    for (uint32_t i = 0; i < config->group_count; i++) {
        list_init(&f->waiting[i].ops);
        f->waiting[i].wake_ms = UINT64_MAX;
    }
    list_init(&f->holding);
    return f;
}

void front_redis_destroy(struct front_redis *f)
{
    CHECK(f->waiting_n == 0 && list_empty(&f->holding));
    free(f->waiting);
    free(f);
}

void front_redis_set_server(struct front_redis *f, const struct resp_server *server)
{
    f->server = server;
}

void front_redis_stop(struct front_redis *f)
{
    f->closing = true;
    redis_stop_waiting(f);
    struct list *node;
    while ((node = list_pop_front(&f->holding)) != NULL) {
        struct redis_conn *c = list_entry(node, struct redis_conn, link);
        while ((node = list_pop_front(&c->held)) != NULL) {
            refuse_closing(f, c, list_entry(node, struct held_request, link)->request);
        }
    }
}
