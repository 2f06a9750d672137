#include "cluster-tests/pg_proxy.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "flush/pg_test_wire.h"
#include "proto/base/alloc.h"
#include "proto/base/buf.h"

struct pg_proxy {
    struct pg_test_wire *wire;
    pthread_mutex_t mutex; /* guards what follows */
    uint16_t held_port;    /* 0: none */
    uint64_t held_bytes;
};

static bool hold(struct pg_proxy *p, const struct pg_test_link *link, size_t len)
{
    pthread_mutex_lock(&p->mutex);
    bool held = p->held_port != 0 && p->held_port == pg_test_link_port(link);
    if (held) {
        p->held_bytes += len;
    }
    pthread_mutex_unlock(&p->mutex);
    return held;
}

/* ---- the wire's thread: a link's data is what was kept of it ---- */

static void *on_opened(void *data, struct pg_test_link *link)
{
    (void)data;
    (void)link;
    struct buf *kept = xmalloc(sizeof *kept);
    buf_init(kept);
    return kept;
}

static void on_arrived(void *data, struct pg_test_link *link, enum pg_test_side from, struct bytes bytes)
{
    if (from == PG_TEST_CLIENT && hold(data, link, bytes.len)) {
        buf_append(pg_test_link_data(link), bytes.data, bytes.len);
    } else {
        pg_test_link_pass(link, from, bytes);
    }
}

/* Send on what need not be kept any more. */
static void on_poked(void *data, struct pg_test_link *link)
{
    struct buf *kept = pg_test_link_data(link);
    if (kept->len > 0 && !hold(data, link, 0)) {
        pg_test_link_pass(link, PG_TEST_CLIENT, buf_bytes(kept));
        buf_clear(kept);
    }
}

static void on_closed(void *data, struct pg_test_link *link)
{
    (void)data;
    struct buf *kept = pg_test_link_data(link);
    buf_deinit(kept);
    free(kept);
}

static const struct pg_test_wire_filter filter = {
    .opened = on_opened,
    .arrived = on_arrived,
    .poked = on_poked,
    .closed = on_closed,
};

/* ---- the test's thread ---- */

struct pg_proxy *pg_proxy_start(uint16_t port)
{
    struct pg_proxy *p = xcalloc(1, sizeof *p);
    pthread_mutex_init(&p->mutex, NULL);
    p->wire = pg_test_wire_start(NULL, port, &filter, p);
    if (p->wire == NULL) {
        pthread_mutex_destroy(&p->mutex);
        free(p);
        return NULL;
    }
    return p;
}

uint16_t pg_proxy_port(const struct pg_proxy *p)
{
    return pg_test_wire_port(p->wire);
}

static void order(struct pg_proxy *p, uint16_t held_port)
{
    pthread_mutex_lock(&p->mutex);
    p->held_port = held_port;
    pthread_mutex_unlock(&p->mutex);
    pg_test_wire_poke(p->wire);
}

void pg_proxy_hold(struct pg_proxy *p, uint16_t client_port)
{
    order(p, client_port);
}

void pg_proxy_release(struct pg_proxy *p)
{
    order(p, 0);
}

uint64_t pg_proxy_held_bytes(struct pg_proxy *p)
{
    pthread_mutex_lock(&p->mutex);
    uint64_t n = p->held_bytes;
    pthread_mutex_unlock(&p->mutex);
    return n;
}

void pg_proxy_stop(struct pg_proxy *p)
{
    if (p == NULL) {
        return;
    }
    pg_test_wire_stop(p->wire);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}
