#include "cluster-tests/redis_client.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "proto/base/check.h"

enum { GREETING_MS = 2000 };

void redis_client_init(struct redis_client *c, const char *addresses, bool readonly)
{
    *c = (struct redis_client){.readonly = readonly};
    for (const char *rest = addresses; *rest != '\0';) {
        size_t len = strcspn(rest, ",");
        CHECK(c->nodes < CLUSTER_NODES_MAX && len < WIRE_ADDRESS_BYTES);
        struct wire *w = &c->node[c->nodes++].wire;
        w->fd = -1;
        memcpy(w->address, rest, len);
        rest += len + (rest[len] == ',');
    }
    CHECK(c->nodes > 0);
}

void redis_client_drop(struct redis_client *c, unsigned node)
{
    if (c->node[node].wire.fd >= 0) {
        wire_close(&c->node[node].wire);
    }
}

void redis_client_deinit(struct redis_client *c)
{
    for (unsigned node = 0; node < c->nodes; node++) {
        redis_client_drop(c, node);
    }
}

/* Nothing is awaited: so whatever there is to read is the connection's end. */
static bool has_ended(const struct redis_node *n)
{
    struct pollfd p = {.fd = n->wire.fd, .events = POLLIN};
    return poll(&p, 1, 0) != 0;
}

bool redis_client_connect(struct redis_client *c, unsigned node)
{
    struct redis_node *n = &c->node[node];
    if (n->wire.fd >= 0 && !has_ended(n)) {
        return true;
    }
    redis_client_drop(c, node);
    char address[WIRE_ADDRESS_BYTES];
    memcpy(address, n->wire.address, sizeof address);
    if (!wire_open(&n->wire, address)) {
        return false;
    }
    n->timeout_ms = WIRE_TIMEOUT_MS;
    n->opened++;
    struct reply reply;
    return !c->readonly || (redis_client_send(c, node, bytes_from_text("READONLY\r\n")) &&
                               redis_client_receive(c, node, GREETING_MS, &reply) && reply.type == '+');
}

bool redis_client_send(struct redis_client *c, unsigned node, struct bytes commands)
{
    if (c->node[node].wire.fd < 0 || !wire_send(&c->node[node].wire, commands)) {
        redis_client_drop(c, node);
        return false;
    }
    return true;
}

bool redis_client_receive(struct redis_client *c, unsigned node, unsigned timeout_ms, struct reply *out)
{
    struct redis_node *n = &c->node[node];
    if (n->wire.fd < 0) {
        return false;
    }
    if (n->timeout_ms != timeout_ms) {
        const struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
        setsockopt(n->wire.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        n->timeout_ms = timeout_ms;
    }
    if (!wire_receive(&n->wire, out)) {
        redis_client_drop(c, node);
        return false;
    }
    return true;
}

int redis_client_moved_to(const struct redis_client *c, const struct reply *reply)
{
    if (!reply_is_error_of(reply, "MOVED ")) {
        return -1;
    }
    for (unsigned node = 0; node < c->nodes; node++) {
        struct bytes address = bytes_from_text(c->node[node].wire.address);
        size_t at = reply->text.len - address.len;
        if (address.len < reply->text.len && reply->text.data[at - 1] == ' ' &&
            memcmp(reply->text.data + at, address.data, address.len) == 0) {
            return (int)node;
        }
    }
    return -1;
}
