#include "cluster-tests/pg_cutter.h"

#include <pthread.h>
#include <stdlib.h>

#include "proto/base/alloc.h"

struct pg_cutter {
    struct pg_test_wire *wire;
    pthread_mutex_t mutex; /* guards what follows */
    uint16_t client_port;  /* 0: none */
    enum pg_test_side from;
    uint64_t limit;
    uint64_t passed[2]; /* by enum pg_test_side */
    bool struck;
};

/* ---- the wire's thread ---- */

static void *on_opened(void *data, struct pg_test_link *link)
{
    (void)data;
    (void)link;
    return NULL;
}

/* How many of @len bytes from @from may pass; *@cut: and then the connection ends. */
static size_t admit(
    struct pg_cutter *c, const struct pg_test_link *link, enum pg_test_side from, size_t len, bool *cut)
{
    *cut = false;
    pthread_mutex_lock(&c->mutex);
    if (c->client_port != 0 && c->client_port == pg_test_link_port(link) && !c->struck) {
        if (from == c->from && c->passed[from] + len > c->limit) {
            len = (size_t)(c->limit - c->passed[from]);
            *cut = true;
        }
        c->passed[from] += len;
        c->struck = *cut;
    }
    pthread_mutex_unlock(&c->mutex);
    return len;
}

static void on_arrived(void *data, struct pg_test_link *link, enum pg_test_side from, struct bytes bytes)
{
    bool cut;
    size_t len = admit(data, link, from, bytes.len, &cut);
    if (len > 0) {
        pg_test_link_pass(link, from, bytes_of(bytes.data, len));
    }
    if (cut) {
        pg_test_link_cut(link, false);
    }
}

static void on_poked(void *data, struct pg_test_link *link)
{
    (void)data;
    (void)link;
}

static void on_closed(void *data, struct pg_test_link *link)
{
    (void)data;
    (void)link;
}

static const struct pg_test_wire_filter filter = {
    .opened = on_opened,
    .arrived = on_arrived,
    .poked = on_poked,
    .closed = on_closed,
};

/* ---- the test's thread ---- */

struct pg_cutter *pg_cutter_start(uint16_t port)
{
    struct pg_cutter *c = xcalloc(1, sizeof *c);
    pthread_mutex_init(&c->mutex, NULL);
    c->wire = pg_test_wire_start(NULL, port, &filter, c);
    if (c->wire == NULL) {
        pthread_mutex_destroy(&c->mutex);
        free(c);
        return NULL;
    }
    return c;
}

void pg_cutter_stop(struct pg_cutter *c)
{
    if (c == NULL) {
        return;
    }
    pg_test_wire_stop(c->wire);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

uint16_t pg_cutter_port(const struct pg_cutter *c)
{
    return pg_test_wire_port(c->wire);
}

void pg_cutter_arm(struct pg_cutter *c, uint16_t client_port, enum pg_test_side from, uint64_t bytes)
{
    pthread_mutex_lock(&c->mutex);
    c->client_port = client_port;
    c->from = from;
    c->limit = bytes;
    c->passed[PG_TEST_CLIENT] = 0;
    c->passed[PG_TEST_SERVER] = 0;
    c->struck = false;
    pthread_mutex_unlock(&c->mutex);
}

bool pg_cutter_struck(struct pg_cutter *c)
{
    pthread_mutex_lock(&c->mutex);
    bool struck = c->struck;
    pthread_mutex_unlock(&c->mutex);
    return struck;
}

uint64_t pg_cutter_bytes(struct pg_cutter *c, enum pg_test_side from)
{
    pthread_mutex_lock(&c->mutex);
    uint64_t n = c->passed[from];
    pthread_mutex_unlock(&c->mutex);
    return n;
}
