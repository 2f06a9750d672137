/* The client library's turn: everything that a handle does happens in client_turn, in the caller's thread. */
#include <poll.h>
#include <sys/random.h>
#include <time.h>

#include "rpc/call_rules.h"
#include "rpc/client.h"

uint64_t client_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t client_random(struct wbcache *cache)
{
    uint64_t x = cache->random;
    if (x == 0 && (getrandom(&x, sizeof x, GRND_NONBLOCK) != (ssize_t)sizeof x || x == 0)) {
        x = (uint64_t)(uintptr_t)cache ^ client_now_ms() << 20; /* it only spreads pauses */
    }
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    cache->random = x;
    return x >> 8;
}

uint64_t client_suspect_ms(const struct wbcache *cache)
{
    uint64_t quarter = cache->options.deadline_ms / 4;
    if (quarter < CLIENT_SUSPECT_MIN_MS) {
        return CLIENT_SUSPECT_MIN_MS;
    }
    return quarter < CLIENT_SUSPECT_MS ? quarter : CLIENT_SUSPECT_MS;
}

void client_sync_conns(struct wbcache *cache)
{
    for (; cache->n_conns < cache->map.n_nodes; cache->n_conns++) {
        client_conn_init(&cache->conns[cache->n_conns], (int)cache->n_conns);
    }
}

/* Some leader is not known, or not to be reached: ask one node that can answer, and begin to connect one that
 * cannot yet. Which ones goes round, since any of them may be paused, cut off, or behind. */
static void ask_around(struct wbcache *cache, uint64_t now_ms)
{
    bool asked = false;
    bool started = false;
    unsigned turn = cache->ask_turn;
    cache->ask_at_ms = now_ms + CLIENT_TOPOLOGY_WAIT_MS;
    for (unsigned i = 0; i < cache->n_conns && !(asked && started); i++) {
        struct client_conn *conn = &cache->conns[(turn + i) % cache->n_conns];
        if (!asked && client_conn_usable(conn) && !conn->asking) {
            client_ask_topology(cache, conn, now_ms);
            asked = true;
            cache->ask_turn = (turn + i + 1) % cache->n_conns;
        } else if (!started && conn->phase == CONN_DOWN && now_ms >= conn->retry_at_ms) {
            client_conn_start(cache, conn, now_ms);
            started = true;
        }
    }
    if (started && !asked) {
        cache->ask_turn = (turn + 1) % cache->n_conns;
    }
    if (!asked && !started) {
        cache->ask_at_ms =
            now_ms + backoff_ms(0, CLIENT_TOPOLOGY_MAX_MS, CLIENT_TOPOLOGY_MAX_MS, client_random(cache));
    }
}

static int poll_timeout_ms(const struct wbcache *cache, uint64_t now_ms, uint64_t wait_ms)
{
    uint64_t until_ms = wait_ms > UINT64_MAX - now_ms ? UINT64_MAX : now_ms + wait_ms;
    uint64_t next_ms = client_calls_next_ms(cache, now_ms);
    if (cache->leader_missed && cache->ask_at_ms < next_ms) {
        next_ms = cache->ask_at_ms;
    }
    for (unsigned i = 0; i < cache->n_conns; i++) {
        uint64_t conn_ms = client_conn_next_ms(cache, &cache->conns[i], now_ms);
        next_ms = conn_ms < next_ms ? conn_ms : next_ms;
    }
    next_ms = next_ms < until_ms ? next_ms : until_ms;
    uint64_t timeout_ms = next_ms > now_ms ? next_ms - now_ms : 0;
    return timeout_ms > 60000 ? 60000 : (int)timeout_ms;
}

void client_turn(struct wbcache *cache, uint64_t wait_ms)
{
    struct pollfd fds[CLUSTER_MAP_NODES_MAX];
    unsigned nodes[CLUSTER_MAP_NODES_MAX];
    nfds_t n = 0;
    uint64_t now_ms = client_now_ms();
    size_t blocking = cache->blocking;
    bool nothing_done = list_empty(&cache->done);

    client_calls_dispatch(cache, now_ms);
    if (cache->leader_missed && now_ms >= cache->ask_at_ms) {
        ask_around(cache, now_ms);
    }
    for (unsigned i = 0; i < cache->n_conns; i++) {
        client_conn_flush(cache, &cache->conns[i], now_ms);
    }
    for (unsigned i = 0; i < cache->n_conns; i++) {
        short events = client_conn_events(&cache->conns[i]);
        if (events != 0) {
            fds[n] = (struct pollfd){.fd = cache->conns[i].fd, .events = events};
            nodes[n++] = i;
        }
    }
    /* When sending has ended a call already (refused at once, no memory), its caller must not wait for more.
     */
    bool ended = cache->blocking != blocking || nothing_done != list_empty(&cache->done);
    int timeout_ms = ended ? 0 : poll_timeout_ms(cache, now_ms, wait_ms);
    int ready = poll(fds, n, timeout_ms);

    now_ms = client_now_ms();
    for (nfds_t i = 0; ready > 0 && i < n; i++) {
        if (fds[i].revents != 0 && cache->conns[nodes[i]].fd == fds[i].fd) {
            client_conn_on_events(cache, &cache->conns[nodes[i]], fds[i].revents, now_ms);
        }
    }
    /* Only now the clocks: what came in time, while the caller was elsewhere, has been read. */
    for (unsigned i = 0; i < cache->n_conns; i++) {
        client_conn_tick(cache, &cache->conns[i], now_ms);
    }
    client_calls_expire(cache, now_ms);
}

void client_run_blocking(struct wbcache *cache)
{
    while (cache->blocking > 0) {
        client_turn(cache, UINT64_MAX);
    }
}
