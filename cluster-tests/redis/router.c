#include "cluster-tests/redis/router.h"

#include <stdio.h>
#include <string.h>

#include "proto/slot.h"

/* The place of @address among those known; it is added when there is room. */
static unsigned place_of(struct router *r, const char *address)
{
    for (unsigned i = 0; i < r->n; i++) {
        if (strcmp(r->addresses[i], address) == 0) {
            return i;
        }
    }
    if (r->n == ROUTER_NODES_MAX) {
        return ROUTER_NOBODY;
    }
    snprintf(r->addresses[r->n], WIRE_ADDRESS_BYTES, "%s", address);
    return r->n++;
}

/* [first, last, [host, port, id, ...], followers...]. A server that does not know its own host says "". */
static bool take_range(struct router *r, struct reply range, const char *asked)
{
    if (range.type != '*' || range.children < 3) {
        return false;
    }
    struct reply first = reply_next(&range.inside), last = reply_next(&range.inside);
    struct reply master = reply_next(&range.inside);
    int64_t from, to, port;
    if (master.type != '*' || master.children < 2) {
        return false;
    }
    struct reply host = reply_next(&master.inside), port_reply = reply_next(&master.inside);
    if (!reply_number(&first, &from) || !reply_number(&last, &to) || !reply_number(&port_reply, &port) ||
        from < 0 || to < from || to >= SLOT_COUNT) {
        return false;
    }
    char address[WIRE_ADDRESS_BYTES];
    snprintf(address, sizeof address, "%.*s:%u", (int)(host.text.len < 40 ? host.text.len : 40),
        (const char *)host.text.data, (unsigned)port);
    unsigned place = place_of(r, host.text.len == 0 ? asked : address);
    for (int64_t slot = from; slot <= to; slot++) {
        r->node_of[slot] = (uint8_t)place;
    }
    return place != ROUTER_NOBODY;
}

static bool ask_one(struct router *r, const char *address, char *error, size_t error_len)
{
    struct wire w;
    struct reply reply;
    r->n = 0;
    memset(r->node_of, ROUTER_NOBODY, sizeof r->node_of);
    if (!wire_open(&w, address)) {
        snprintf(error, error_len, "%s: %.100s", address, w.error);
        return false;
    }
    bool ok =
        wire_send(&w, bytes_from_text("CLUSTER SLOTS\r\n")) && wire_receive(&w, &reply) && reply.type == '*';
    for (uint32_t i = 0; ok && i < reply.children; i++) {
        ok = take_range(r, reply_next(&reply.inside), address);
    }
    wire_close(&w);
    if (!ok) {
        snprintf(error, error_len, "%s: CLUSTER SLOTS is not a map of slots", address);
        return false;
    }
    if (memchr(r->node_of, ROUTER_NOBODY, sizeof r->node_of) != NULL) {
        snprintf(error, error_len, "%s: CLUSTER SLOTS does not cover all slots", address);
        return false;
    }
    return true;
}

bool router_ask(struct router *r, const char *addresses, char *error, size_t error_len)
{
    snprintf(error, error_len, "no address is given");
    for (const char *rest = addresses; *rest != '\0';) {
        size_t len = strcspn(rest, ",");
        char one[WIRE_ADDRESS_BYTES];
        snprintf(one, sizeof one, "%.*s", (int)len, rest);
        if (ask_one(r, one, error, error_len)) {
            return true;
        }
        rest += len + (rest[len] == ',');
    }
    return false;
}

unsigned router_node(const struct router *r, struct bytes key)
{
    return r->node_of[slot_of(key)];
}
