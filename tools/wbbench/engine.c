#include "tools/wbbench/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/status.h"
#include "proto/pb.h"
#include "tools/wbbench/link.h"
#include "tools/wbbench/route.h"
#include "tools/wbbench/wire.h"

enum {
    TICK_MS = 10,
    CONNECT_PATIENCE_MS = 100, /* between two tries to reach a node */
    TOPOLOGY_EVERY_MS = 50,    /* while a leader is not known */
    ANSWER_GRACE_MS = 1000,    /* a node answers TIMEOUT itself; this much later nobody will */
    START_PATIENCE_MS = 10000, /* to find a first node that answers */
    SCRATCH_BYTES = 256 * 1024,
    KEY_BYTES_MAX = 1024,
};

/* A request's life: FREE -> SENT -> FREE, or SENT -> WAITING (for another try) -> SENT. PAUSED: a refused
 * client rests before its next request. */
enum slot_state { SLOT_FREE, SLOT_SENT, SLOT_WAITING, SLOT_PAUSED };

struct slot {
    enum slot_state state;
    bool read;
    int node; /* SENT: where to */
    unsigned tries;
    uint64_t key;
    uint64_t start_ns;
    uint64_t due_ms;  /* WAITING, PAUSED: when to go on */
    struct list link; /* WAITING, PAUSED: in engine.waiting */
    struct client *client;
};

struct client {
    struct engine *engine;
    struct link links[LIMIT_NODES];
    uint64_t retry_at_ms[LIMIT_NODES]; /* not before, after a failure */
    struct slot *slots;
};

struct engine {
    const struct bench_options *options;
    struct bench_result *result;
    uv_loop_t loop;
    uv_prepare_t prepare;
    uv_timer_t tick;
    struct list dirty;   /* links with output */
    struct list waiting; /* slots */
    uint8_t *scratch;
    struct route route;
    struct sockaddr_storage resolved[LIMIT_NODES];
    bool is_resolved[LIMIT_NODES];
    struct wire_template set;
    struct wire_template get;
    size_t key_len;
    size_t prefix_len;
    struct keys keys;
    struct client *clients;
    uint64_t issued;
    uint64_t busy; /* slots that are not FREE */
    bool running;
    bool stopping;
    bool closing;
    uint64_t begun_ms; /* when the search for a node began */
    uint64_t start_ns;
    uint64_t stop_ns;
    uint64_t last_ok_ns;
    /* asking for the topology */
    struct link control;
    unsigned control_node;
    uint64_t control_asked_ms; /* 0: no question under way */
    uint64_t control_next_ms;
    struct arena arena;
    char error[256];
};

static uint64_t now_ms(const struct engine *e)
{
    return uv_now(&e->loop);
}

static bool resolve(struct engine *e, int node)
{
    if (!e->is_resolved[node]) {
        e->is_resolved[node] =
            link_resolve(e->route.nodes.addresses[node], &e->resolved[node], e->error, sizeof e->error);
    }
    return e->is_resolved[node];
}

/* ---- one request ---- */

static void slot_begin(struct slot *s);

static void slot_wait(struct slot *s, enum slot_state state, uint64_t pause_ms)
{
    struct engine *e = s->client->engine;
    s->state = state;
    s->due_ms = now_ms(e) + pause_ms;
    list_push_back(&e->waiting, &s->link);
}

/* Whatever it came to, the slot is done with this request. */
static void slot_next(struct slot *s)
{
    s->state = SLOT_FREE;
    s->client->engine->busy--;
    slot_begin(s);
}

static void slot_refused(struct slot *s, unsigned status, uint64_t pause_ms)
{
    struct engine *e = s->client->engine;
    e->result->errors[status < BENCH_STATUSES ? status : BENCH_STATUSES - 1]++;
    if (e->stopping) {
        slot_next(s);
    } else {
        slot_wait(s, SLOT_PAUSED, pause_ms);
    }
}

/* Nothing was done: try again in @pause_ms unless the time is over. */
static void slot_retry(struct slot *s, unsigned status, uint64_t pause_ms)
{
    struct engine *e = s->client->engine;
    s->tries++;
    if (e->stopping) {
        slot_next(s); /* cut off by the end of the run, and not done */
        return;
    }
    if ((uv_hrtime() - s->start_ns) / 1000000 >= e->options->deadline_ms) {
        slot_refused(s, status, TICK_MS);
        return;
    }
    e->result->retries++;
    slot_wait(s, SLOT_WAITING, pause_ms);
}

static void write_key(const struct engine *e, uint64_t key, char *out)
{
    memcpy(out, e->options->key_prefix, e->prefix_len);
    for (size_t i = e->key_len; i > e->prefix_len; i--) {
        out[i - 1] = (char)('0' + key % 10);
        key /= 10;
    }
}

static void slot_send(struct slot *s)
{
    struct client *c = s->client;
    struct engine *e = c->engine;
    char key[KEY_BYTES_MAX];
    write_key(e, s->key, key);
    int node = e->route.leaders[route_group(&e->route, bytes_of(key, e->key_len))];
    if (node == ROUTE_NONE) {
        slot_retry(s, STATUS_UNAVAILABLE, TICK_MS);
        return;
    }
    struct link *l = &c->links[node];
    if (l->state == LINK_CLOSED) {
        if (now_ms(e) < c->retry_at_ms[node] || !resolve(e, node)) {
            slot_retry(s, STATUS_UNAVAILABLE, TICK_MS);
            return;
        }
        link_connect(l, &e->loop, &e->resolved[node]);
    }
    if (l->state == LINK_CLOSING) {
        slot_retry(s, STATUS_UNAVAILABLE, TICK_MS);
        return;
    }
    s->state = SLOT_SENT;
    s->node = node;
    wire_request(s->read ? &e->get : &e->set, WIRE_ID_FIRST + (uint32_t)(s - c->slots), key, link_output(l));
}

static void slot_begin(struct slot *s)
{
    struct engine *e = s->client->engine;
    const struct bench_options *o = e->options;
    if (e->stopping || (o->requests != 0 && e->issued >= o->requests)) {
        return;
    }
    e->issued++;
    e->busy++;
    s->read = o->ratio > 0 && keys_random(&e->keys) < o->ratio;
    s->key = keys_next(&e->keys);
    s->tries = 0;
    s->start_ns = uv_hrtime();
    slot_send(s);
}

static void slot_ok(struct slot *s, const struct wire_answer *a)
{
    struct engine *e = s->client->engine;
    uint64_t now = uv_hrtime();
    histogram_add(s->read ? &e->result->reads : &e->result->writes, now - s->start_ns);
    e->result->misses += s->read && !a->found;
    if (now - e->last_ok_ns > e->result->longest_pause_ns) {
        e->result->longest_pause_ns = now - e->last_ok_ns;
    }
    e->last_ok_ns = now;
    slot_next(s);
}

static void slot_redirect(struct slot *s, const struct wire_answer *a)
{
    struct engine *e = s->client->engine;
    char key[KEY_BYTES_MAX];
    write_key(e, s->key, key);
    uint32_t group = route_group(&e->route, bytes_of(key, e->key_len));
    int node = a->leader.len > 0 ? node_list_add(&e->route.nodes, a->leader) : ROUTE_NONE;
    e->result->redirects++;
    if (node != s->node && e->route.leaders[group] == s->node) {
        e->route.leaders[group] = (int8_t)node;
    }
    /* The first redirect is followed at once; two nodes that point at each other are given time. */
    slot_retry(s, STATUS_NOT_LEADER, s->tries == 0 && node != ROUTE_NONE ? 0 : TICK_MS);
}

static void slot_answer(struct slot *s, const struct wire_answer *a)
{
    struct engine *e = s->client->engine;
    uint64_t pause = a->retry_after_ms != 0 ? a->retry_after_ms : 50;
    if (a->message.len > 0 && a->status != STATUS_NOT_LEADER) {
        snprintf(e->result->last_error, sizeof e->result->last_error, "%.*s", (int)a->message.len,
            (const char *)a->message.data);
    }
    switch (a->status) {
    case STATUS_NOT_FOUND:
    case STATUS_OK:
        slot_ok(s, a);
        break;
    case STATUS_NOT_LEADER:
        slot_redirect(s, a);
        break;
    case STATUS_UNAVAILABLE:
    case STATUS_SHUTTING_DOWN:
        slot_retry(s, a->status, a->retry_after_ms != 0 ? a->retry_after_ms : TICK_MS);
        break;
    case STATUS_UNKNOWN:
        e->result->unknown++;
        slot_next(s);
        break;
    default:
        slot_refused(s, a->status, pause);
        break;
    }
}

/* The outcome will never be heard. */
static void slot_lost(struct slot *s, bool broken)
{
    struct engine *e = s->client->engine;
    if (broken && !s->read) {
        e->result->unknown++;
    } else {
        e->result->unanswered++;
    }
    if (e->stopping) {
        slot_next(s);
    } else {
        slot_wait(s, SLOT_PAUSED, TICK_MS);
    }
}

/* ---- clients' connections ---- */

static bool is_goodbye(const Wbrpc__Response *r)
{
    return r != NULL && r->id == 0 && r->status == STATUS_SHUTTING_DOWN;
}

/* The node closes @l in an orderly way: what it has not answered, it has not done. */
static void take_goodbye(struct link *l)
{
    struct client *c = l->data;
    struct engine *e = c->engine;
    int node = (int)(l - c->links);
    link_close(l); /* first, so that nothing is sent there again */
    c->retry_at_ms[node] = now_ms(e) + CONNECT_PATIENCE_MS;
    route_forget_node(&e->route, node);
    for (unsigned i = 0; i < e->options->pipeline; i++) {
        struct slot *s = &c->slots[i];
        if (s->state == SLOT_SENT && s->node == node) {
            slot_retry(s, STATUS_SHUTTING_DOWN, TICK_MS);
        }
    }
}

/* No answer to a request of ours: the node's goodbye, or nothing that we understand. */
static void on_client_strange_frame(struct link *l, struct bytes payload)
{
    struct engine *e = ((struct client *)l->data)->engine;
    if (is_goodbye((Wbrpc__Response *)pb_unpack(&wbrpc__response__descriptor, payload, &e->arena))) {
        take_goodbye(l);
    } else {
        link_close(l);
    }
    arena_reset(&e->arena);
}

static void on_client_frame(struct link *l, struct bytes payload)
{
    struct client *c = l->data;
    struct wire_answer a;
    if (!wire_answer_parse(payload, &a) || a.id < WIRE_ID_FIRST ||
        a.id - WIRE_ID_FIRST >= c->engine->options->pipeline) {
        on_client_strange_frame(l, payload);
        return;
    }
    struct slot *s = &c->slots[a.id - WIRE_ID_FIRST];
    if (s->state != SLOT_SENT || s->node != (int)(l - c->links)) {
        link_close(l);
        return;
    }
    slot_answer(s, &a);
}

static void on_client_closed(struct link *l, bool was_open)
{
    struct client *c = l->data;
    struct engine *e = c->engine;
    int node = (int)(l - c->links);
    if (was_open) {
        e->result->reconnects += !e->closing;
    } else {
        c->retry_at_ms[node] = now_ms(e) + CONNECT_PATIENCE_MS;
        route_forget_node(&e->route, node);
    }
    for (unsigned i = 0; i < e->options->pipeline; i++) {
        struct slot *s = &c->slots[i];
        if (s->state != SLOT_SENT || s->node != node) {
            continue;
        }
        if (was_open) {
            slot_lost(s, true);
        } else {
            slot_retry(s, STATUS_UNAVAILABLE, TICK_MS); /* not a byte has left */
        }
    }
}

static const struct link_events client_events = {.frame = on_client_frame, .closed = on_client_closed};

/* ---- the topology ---- */

static void start_clients(struct engine *e)
{
    e->running = true;
    e->start_ns = uv_hrtime();
    e->last_ok_ns = e->start_ns;
    if (e->options->seconds != 0) {
        e->stop_ns = e->start_ns + (uint64_t)e->options->seconds * 1000000000U;
    }
    for (unsigned i = 0; i < e->options->clients; i++) {
        for (unsigned j = 0; j < e->options->pipeline; j++) {
            slot_begin(&e->clients[i].slots[j]);
        }
    }
}

static bool all_led(const struct engine *e)
{
    for (uint32_t i = 0; i < e->route.group_count; i++) {
        if (e->route.leaders[i] == ROUTE_NONE) {
            return false;
        }
    }
    return e->route.group_count > 0;
}

static void on_control_frame(struct link *l, struct bytes payload)
{
    struct engine *e = l->data;
    e->control_asked_ms = 0;
    Wbrpc__Response *r = (Wbrpc__Response *)pb_unpack(&wbrpc__response__descriptor, payload, &e->arena);
    if (is_goodbye(r)) {
        link_close(l); /* the next question goes to another node */
    } else if (r == NULL || r->topology == NULL || !route_learn(&e->route, r->topology)) {
        snprintf(e->error, sizeof e->error, "%s: not a wbcache node of this cluster",
            e->route.nodes.addresses[e->control_node]);
        link_close(l);
    } else if (!e->running && all_led(e)) {
        start_clients(e);
    } else if (!e->running) {
        snprintf(e->error, sizeof e->error, "a group has no leader");
    }
    arena_reset(&e->arena);
}

static void on_control_closed(struct link *l, bool was_open)
{
    struct engine *e = l->data;
    if (!e->running && !was_open) {
        snprintf(e->error, sizeof e->error, "%s: cannot connect", e->route.nodes.addresses[e->control_node]);
    }
    e->control_asked_ms = 0;
    e->control_node = (e->control_node + 1) % e->route.nodes.n;
}

static const struct link_events control_events = {.frame = on_control_frame, .closed = on_control_closed};

/* While a leader is not known, ask; another node each time, since one that was cut off does not learn of a
 * new leader. */
static void ask_topology(struct engine *e)
{
    uint64_t now = now_ms(e);
    if (e->control_asked_ms != 0 && now - e->control_asked_ms > ANSWER_GRACE_MS) {
        link_close(&e->control);
        return;
    }
    if (e->control_asked_ms != 0 || now < e->control_next_ms || all_led(e)) {
        return;
    }
    if (e->control.state == LINK_OPEN && e->route.nodes.n > 1) {
        link_close(&e->control);
        return;
    }
    if (e->control.state == LINK_CLOSED) {
        if (!resolve(e, (int)e->control_node)) {
            e->control_node = (e->control_node + 1) % e->route.nodes.n;
            return;
        }
        link_connect(&e->control, &e->loop, &e->resolved[e->control_node]);
    }
    if (e->control.state != LINK_CLOSING) {
        e->control_asked_ms = now;
        e->control_next_ms = now + TOPOLOGY_EVERY_MS;
        wire_topology_request(1, link_output(&e->control));
    }
}

/* ---- the run ---- */

static void close_all(struct engine *e)
{
    e->closing = true;
    for (unsigned i = 0; i < e->options->clients; i++) {
        for (unsigned j = 0; j < LIMIT_NODES; j++) {
            link_close(&e->clients[i].links[j]);
        }
    }
    link_close(&e->control);
    uv_close((uv_handle_t *)&e->tick, NULL);
    uv_close((uv_handle_t *)&e->prepare, NULL);
}

/* Requests without an answer long past their deadline: their connections are given up. */
static void give_up_silent(struct engine *e)
{
    uint64_t limit_ns = ((uint64_t)e->options->deadline_ms + ANSWER_GRACE_MS) * 1000000U;
    uint64_t now = uv_hrtime();
    for (unsigned i = 0; i < e->options->clients; i++) {
        struct client *c = &e->clients[i];
        for (unsigned j = 0; j < e->options->pipeline; j++) {
            struct slot *s = &c->slots[j];
            if (s->state == SLOT_SENT && now - s->start_ns > limit_ns) {
                struct link *l = &c->links[s->node];
                slot_lost(s, false);
                route_forget_node(&e->route, s->node); /* perhaps another leads by now */
                link_close(l);
            }
        }
    }
}

/* Take up what waited long enough. When stopping, nothing is tried again. */
static void wake_slots(struct engine *e)
{
    struct list due;
    list_init(&due);
    list_splice_back(&due, &e->waiting);
    struct list *node;
    while ((node = list_pop_front(&due)) != NULL) {
        struct slot *s = list_entry(node, struct slot, link);
        if (e->stopping) {
            slot_next(s);
        } else if (now_ms(e) < s->due_ms) {
            list_push_back(&e->waiting, node);
        } else if (s->state == SLOT_PAUSED) {
            slot_next(s);
        } else {
            slot_send(s);
        }
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct engine *e = timer->data;
    if (!e->running) {
        if (now_ms(e) - e->begun_ms >= START_PATIENCE_MS) {
            close_all(e);
            return;
        }
        ask_topology(e);
        return;
    }
    if (e->stop_ns != 0 && uv_hrtime() >= e->stop_ns) {
        e->stopping = true;
    }
    wake_slots(e);
    give_up_silent(e);
    if (!e->stopping) {
        ask_topology(e);
    }
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct engine *e = prepare->data;
    if (e->running && !e->closing && e->busy == 0) {
        close_all(e);
        return;
    }
    struct list *node;
    while ((node = list_pop_front(&e->dirty)) != NULL) {
        link_flush(list_entry(node, struct link, dirty_node));
    }
}

static void init_clients(struct engine *e)
{
    struct bytes scratch = bytes_of(e->scratch, SCRATCH_BYTES);
    e->clients = xcalloc(e->options->clients, sizeof *e->clients);
    for (unsigned i = 0; i < e->options->clients; i++) {
        struct client *c = &e->clients[i];
        c->engine = e;
        c->slots = xcalloc(e->options->pipeline, sizeof *c->slots);
        for (unsigned j = 0; j < e->options->pipeline; j++) {
            c->slots[j].client = c;
            list_init(&c->slots[j].link);
        }
        for (unsigned j = 0; j < LIMIT_NODES; j++) {
            link_init(&c->links[j], &client_events, c, &e->dirty, scratch);
        }
    }
    link_init(&e->control, &control_events, e, &e->dirty, scratch);
}

static void init_requests(struct engine *e)
{
    const struct bench_options *o = e->options;
    e->prefix_len = strlen(o->key_prefix);
    e->key_len = e->prefix_len + 12;
    CHECK(e->key_len <= KEY_BYTES_MAX);
    char *value = xmalloc((size_t)o->value_bytes + 1);
    for (unsigned i = 0; i < o->value_bytes; i++) {
        value[i] = (char)('a' + i * 7 % 26);
    }
    wire_template_set(&e->set, e->key_len, bytes_of(value, o->value_bytes), o->deadline_ms);
    wire_template_get(&e->get, e->key_len, o->deadline_ms);
    free(value);
    keys_init(&e->keys, o->keys, o->distribution, o->theta, o->seed);
}

static void deinit(struct engine *e)
{
    for (unsigned i = 0; i < e->options->clients; i++) {
        for (unsigned j = 0; j < LIMIT_NODES; j++) {
            link_deinit(&e->clients[i].links[j]);
        }
        free(e->clients[i].slots);
    }
    free(e->clients);
    link_deinit(&e->control);
    wire_template_deinit(&e->set);
    wire_template_deinit(&e->get);
    arena_deinit(&e->arena);
    free(e->scratch);
}

bool engine_run(
    const struct bench_options *options, struct bench_result *out, char *errmsg, size_t errmsg_len)
{
    memset(out, 0, sizeof *out);
    histogram_init(&out->reads);
    histogram_init(&out->writes);
    struct engine *e = xcalloc(1, sizeof *e);
    e->options = options;
    e->result = out;
    if (!route_init(&e->route, options->cluster)) {
        snprintf(errmsg, errmsg_len, "'%s' is not HOST:PORT,HOST:PORT,...", options->cluster);
        free(e);
        return false;
    }
    list_init(&e->dirty);
    list_init(&e->waiting);
    arena_init(&e->arena);
    e->scratch = xmalloc(SCRATCH_BYTES);
    init_requests(e);
    init_clients(e);
    int rc = uv_loop_init(&e->loop);
    CHECK(rc == 0);
    uv_prepare_init(&e->loop, &e->prepare);
    uv_timer_init(&e->loop, &e->tick);
    e->prepare.data = e;
    e->tick.data = e;
    e->begun_ms = now_ms(e);
    uv_prepare_start(&e->prepare, on_prepare);
    uv_timer_start(&e->tick, on_tick, 0, TICK_MS);
    uv_run(&e->loop, UV_RUN_DEFAULT);
    rc = uv_loop_close(&e->loop);
    CHECK(rc == 0);
    bool ok = e->running;
    if (ok) {
        uint64_t end =
            e->stop_ns != 0 && e->stop_ns > e->last_ok_ns && e->stopping ? e->stop_ns : e->last_ok_ns;
        out->elapsed_ns = end - e->start_ns;
    } else {
        snprintf(errmsg, errmsg_len, "%s", e->error);
    }
    deinit(e);
    free(e);
    return ok;
}
