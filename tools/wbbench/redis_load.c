#include "tools/wbbench/redis_load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/resource.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/slot.h"
#include "tools/wbbench/process_time.h"
#include "tools/wbbench/redis_load_private.h"

enum {
    TICK_MS = 10,
    MAP_EVERY_MS = 100,
    SCRATCH_BYTES = 256 * 1024,
};

static const char slots_request[] = "*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n";

/* ---- the slots ---- */

/* Sort the keys, and give each client a node that has some. */
static void spread_clients(struct redis_load *l)
{
    int homes[LIMIT_NODES];
    unsigned n = 0;
    redis_keys_sort(&l->keys, &l->map);
    for (int node = 0; node < LIMIT_NODES; node++) {
        if (redis_keys_of(&l->keys, node) > 0) {
            homes[n++] = node;
        }
    }
    l->result->masters = n;
    for (unsigned i = 0; i < l->options->clients; i++) {
        l->clients[i].home = homes[i % n];
    }
}

static void start_clients(struct redis_load *l)
{
    l->stage = WARMING;
    l->begun_ns = uv_hrtime();
    l->last_sign_ns = l->begun_ns;
    for (unsigned i = 0; i < l->options->clients; i++) {
        redis_client_begin(&l->clients[i]);
    }
}

static size_t on_control_input(struct link *link, struct bytes input)
{
    struct redis_load *l = link->data;
    struct redis_reply reply = {0};
    size_t consumed;
    enum status s = redis_reply_parse(input, &reply, &consumed);
    if (s == STATUS_AGAIN) {
        return 0;
    }
    l->map_asked = false;
    if (s != STATUS_OK || !redis_map_learn(&l->map, (int)l->control_node, &reply)) {
        snprintf(l->error, sizeof l->error, "%s: CLUSTER SLOTS names no master for each slot%s%.*s",
            l->map.nodes.addresses[l->control_node], s == STATUS_OK && reply.kind == REDIS_ERROR ? ": " : "",
            s == STATUS_OK && reply.kind == REDIS_ERROR ? (int)reply.text.len : 0,
            (const char *)reply.text.data);
        link_close(link);
        return input.len;
    }
    l->map_wanted = false;
    spread_clients(l);
    if (l->stage == LOOKING) {
        start_clients(l);
    }
    return consumed;
}

static void on_control_closed(struct link *link, bool was_open)
{
    struct redis_load *l = link->data;
    if (!was_open) {
        snprintf(l->error, sizeof l->error, "%s: cannot connect", l->map.nodes.addresses[l->control_node]);
    }
    l->map_asked = false;
    l->control_node = (l->control_node + 1) % l->map.nodes.n;
}

static const struct link_events control_events = {.input = on_control_input, .closed = on_control_closed};

static void ask_slots(struct redis_load *l)
{
    uint64_t now = uv_now(&l->loop);
    if (l->map_asked || now < l->map_next_ms || l->control.state == LINK_CLOSING) {
        return;
    }
    l->map_next_ms = now + MAP_EVERY_MS;
    if (l->control.state == LINK_CLOSED) {
        struct sockaddr_storage address;
        if (!link_resolve(l->map.nodes.addresses[l->control_node], &address, l->error, sizeof l->error)) {
            l->control_node = (l->control_node + 1) % l->map.nodes.n;
            return;
        }
        link_connect(&l->control, &l->loop, &address);
    }
    l->map_asked = true;
    buf_append(link_output(&l->control), slots_request, sizeof slots_request - 1);
}

/* ---- the run ---- */

static double own_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double kind_seconds(const struct redis_kind *kind)
{
    double sum = 0;
    for (unsigned i = 0; i < kind->n; i++) {
        double seconds = process_seconds(kind->pids[i], true);
        if (seconds < 0) {
            return -1;
        }
        sum += seconds;
    }
    return sum;
}

static void start_measuring(struct redis_load *l)
{
    for (unsigned i = 0; i < l->options->n_kinds; i++) {
        l->kinds_begin[i] = kind_seconds(&l->options->kinds[i]);
    }
    l->generator_begin = own_seconds();
    l->start_ns = uv_hrtime();
    l->last_ok_ns = l->start_ns;
    l->stage = MEASURING;
}

static void end_measuring(struct redis_load *l)
{
    struct redis_result *r = l->result;
    r->elapsed_ns = uv_hrtime() - l->start_ns;
    r->generator_seconds = own_seconds() - l->generator_begin;
    for (unsigned i = 0; i < l->options->n_kinds; i++) {
        double seconds = kind_seconds(&l->options->kinds[i]);
        r->kind_seconds[i] = seconds < 0 || l->kinds_begin[i] < 0 ? -1 : seconds - l->kinds_begin[i];
    }
    l->stage = ENDING;
}

void redis_load_fail(struct redis_load *l, const char *word, uint64_t count)
{
    redis_count_word(l, word, count);
    if (l->stage == MEASURING) {
        end_measuring(l);
    } else if (l->stage < ENDING) {
        l->stage = ENDING;
    }
}

static void close_all(struct redis_load *l)
{
    l->stage = CLOSING;
    for (unsigned i = 0; i < l->options->clients; i++) {
        for (unsigned j = 0; j < LIMIT_NODES; j++) {
            link_close(&l->clients[i].lanes[j].link);
        }
    }
    link_close(&l->control);
    uv_close((uv_handle_t *)&l->tick, NULL);
    uv_close((uv_handle_t *)&l->prepare, NULL);
}

static bool patience_over(const struct redis_load *l, uint64_t since_ns)
{
    return uv_hrtime() - since_ns >= (uint64_t)l->options->patience_ms * 1000000U;
}

static void on_tick(uv_timer_t *timer)
{
    struct redis_load *l = timer->data;
    const struct redis_load_options *o = l->options;
    uint64_t now = uv_hrtime();
    if (l->stage == LOOKING) {
        if (patience_over(l, l->begun_ns)) {
            close_all(l);
            return;
        }
        ask_slots(l);
        return;
    }
    if (!o->each_key_once) {
        if (l->stage == WARMING && now - l->begun_ns >= (uint64_t)o->warm_up_ms * 1000000U) {
            start_measuring(l);
        } else if (l->stage == MEASURING && now - l->start_ns >= (uint64_t)o->measured_ms * 1000000U) {
            end_measuring(l);
        }
        if (l->map_wanted && l->stage < ENDING) {
            ask_slots(l);
        }
    }
    if (l->busy > 0 && patience_over(l, l->last_sign_ns)) {
        redis_load_fail(l, "(no answer)", l->busy);
        close_all(l);
    }
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct redis_load *l = prepare->data;
    if (l->stage != LOOKING && l->stage != CLOSING && l->busy == 0) {
        close_all(l);
        return;
    }
    struct list *node;
    while ((node = list_pop_front(&l->dirty)) != NULL) {
        link_flush(list_entry(node, struct link, dirty_node));
    }
}

static void init_keys(struct redis_load *l)
{
    const struct redis_load_options *o = l->options;
    uint16_t *slots = NULL;
    if (o->cluster) {
        size_t cap = strlen(o->key_prefix) + REDIS_KEY_DIGITS + 1;
        char *key = xmalloc(cap);
        slots = xcalloc(o->keys, sizeof *slots);
        for (uint32_t i = 0; i < o->keys; i++) {
            int n = snprintf(key, cap, "%s%0*u", o->key_prefix, REDIS_KEY_DIGITS, i);
            slots[i] = slot_of(bytes_of(key, (size_t)n));
        }
        free(key);
    }
    redis_keys_init(&l->keys, o->keys, slots);
    keys_init(&l->random, o->keys, KEYS_UNIFORM, 0, o->seed);
}

static void init_clients(struct redis_load *l)
{
    struct bytes scratch = bytes_of(l->scratch, SCRATCH_BYTES);
    l->clients = xcalloc(l->options->clients, sizeof *l->clients);
    for (unsigned i = 0; i < l->options->clients; i++) {
        l->clients[i].load = l;
        for (unsigned j = 0; j < LIMIT_NODES; j++) {
            struct redis_lane *lane = &l->clients[i].lanes[j];
            lane->client = &l->clients[i];
            link_init(&lane->link, &redis_lane_events, lane, &l->dirty, scratch);
        }
    }
    link_init(&l->control, &control_events, l, &l->dirty, scratch);
}

static void deinit(struct redis_load *l)
{
    for (unsigned i = 0; i < l->options->clients; i++) {
        for (unsigned j = 0; j < LIMIT_NODES; j++) {
            link_deinit(&l->clients[i].lanes[j].link);
            free(l->clients[i].lanes[j].sent);
        }
    }
    free(l->clients);
    link_deinit(&l->control);
    redis_keys_deinit(&l->keys);
    buf_deinit(&l->request);
    free(l->scratch);
}

bool redis_load_run(
    const struct redis_load_options *options, struct redis_result *out, char *errmsg, size_t errmsg_len)
{
    memset(out, 0, sizeof *out);
    histogram_init(&out->ok);
    struct redis_load *l = xcalloc(1, sizeof *l);
    l->options = options;
    l->result = out;
    if (!redis_map_init(&l->map, options->servers) || (!options->cluster && l->map.nodes.n != 1)) {
        snprintf(errmsg, errmsg_len, "'%s' is not %s", options->servers,
            options->cluster ? "HOST:PORT,HOST:PORT,..." : "one HOST:PORT (a cluster wants --cluster)");
        free(l);
        return false;
    }
    list_init(&l->dirty);
    l->scratch = xmalloc(SCRATCH_BYTES);
    redis_request_init(l);
    init_keys(l);
    init_clients(l);
    int rc = uv_loop_init(&l->loop);
    CHECK(rc == 0);
    uv_prepare_init(&l->loop, &l->prepare);
    uv_timer_init(&l->loop, &l->tick);
    l->prepare.data = l;
    l->tick.data = l;
    l->begun_ns = uv_hrtime();
    uv_prepare_start(&l->prepare, on_prepare);
    uv_timer_start(&l->tick, on_tick, 0, TICK_MS);
    if (!options->cluster) {
        redis_map_give_all(&l->map, 0);
        spread_clients(l);
        start_clients(l);
    }
    uv_run(&l->loop, UV_RUN_DEFAULT);
    rc = uv_loop_close(&l->loop);
    CHECK(rc == 0);
    bool ok = out->masters > 0;
    if (!ok) {
        snprintf(errmsg, errmsg_len, "%s", l->error);
    }
    deinit(l);
    free(l);
    return ok;
}

bool redis_result_failed(const struct redis_result *r)
{
    return r->errors[0].word[0] != '\0';
}
