#include "cluster-tests/pinned.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster-tests/junk.h"
#include "proto/base/alloc.h"
#include "proto/client.pb-c.h"
#include "proto/frame.h"
#include "proto/limits.h"
#include "proto/pb.h"
#include "rpc/conn_input.h"

enum { CONNECTIONS_MAX = 256 };

struct pinned {
    int fd; /* -1: gone */
    struct buf out;
    size_t out_sent;
    struct conn_input in;
    struct arena arena; /* of the answer at hand */
    struct buf floors;  /* a uint64_t for each request, the first of which has id 1 */
    uint64_t last_id;
    uint64_t answered;
    struct pinned_numbers numbers;
};

struct pinned *pinned_open(const char *address)
{
    struct sockaddr_in to;
    int fd = junk_address(address, &to) ? junk_dial(&to) : -1;
    if (fd < 0) {
        return NULL;
    }
    struct pinned *p = xcalloc(1, sizeof *p);
    p->fd = fd;
    conn_input_init(&p->in, LIMIT_FRAME_BYTES);
    return p;
}

static void hang_up(struct pinned *p)
{
    if (p->fd >= 0) {
        close(p->fd);
        p->fd = -1;
    }
}

void pinned_close(struct pinned *p)
{
    if (p == NULL) {
        return;
    }
    hang_up(p);
    buf_deinit(&p->out);
    buf_deinit(&p->floors);
    conn_input_deinit(&p->in);
    arena_deinit(&p->arena);
    free(p);
}

/* ---- Sending ---- */

void pinned_send(struct pinned *p)
{
    while (p->fd >= 0 && p->out_sent < p->out.len) {
        ssize_t n =
            send(p->fd, p->out.data + p->out_sent, p->out.len - p->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            hang_up(p);
            return;
        }
        p->out_sent += (size_t)n;
    }
    if (p->out_sent == p->out.len) {
        buf_clear(&p->out);
        p->out_sent = 0;
    }
}

void pinned_get(struct pinned *p, struct bytes key, uint32_t deadline_ms, uint64_t floor)
{
    ProtobufCBinaryData data = pb_borrow(key);
    Wbrpc__Keys keys = WBRPC__KEYS__INIT;
    keys.n_keys = 1;
    keys.keys = &data;
    Wbrpc__Request message = WBRPC__REQUEST__INIT;
    message.op_case = WBRPC__REQUEST__OP_GET;
    message.get = &keys;
    message.id = ++p->last_id;
    message.has_deadline_ms = true;
    message.deadline_ms = deadline_ms;
    p->numbers.asked++;
    frame_begin(&p->out, wbrpc__request__get_packed_size(&message));
    pb_pack(&message.base, &p->out);
    buf_append(&p->floors, &floor, sizeof floor);
}

/* ---- Receiving ---- */

static void judge(struct pinned *p, const Wbrpc__Response *answer)
{
    if (answer->status != STATUS_OK || answer->n_results != 1) {
        p->numbers.refused++;
        return;
    }
    uint64_t floor;
    memcpy(&floor, p->floors.data + (answer->id - 1) * sizeof floor, sizeof floor);
    const Wbrpc__Result *r = answer->results[0];
    uint64_t version = r->found && r->has_version ? r->version : 0;
    p->numbers.ok++;
    if (version < floor) {
        p->numbers.old++;
        if (p->numbers.problem[0] == '\0') {
            snprintf(p->numbers.problem, sizeof p->numbers.problem,
                "version %" PRIu64 " was answered to a read sent after version %" PRIu64 " was acknowledged",
                version, floor);
        }
    }
}

static void answered(struct pinned *p, struct bytes payload)
{
    arena_reset(&p->arena);
    const Wbrpc__Response *answer = (const void *)pb_unpack(&wbrpc__response__descriptor, payload, &p->arena);
    if (answer == NULL || answer->id == 0 || answer->id > p->last_id) { /* also the node's goodbye */
        hang_up(p);
    } else {
        judge(p, answer);
        p->answered++;
    }
}

static void receive(struct pinned *p)
{
    size_t room;
    uint8_t *to = conn_input_room(&p->in, &room);
    ssize_t n = recv(p->fd, to, room, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        hang_up(p);
        return;
    }
    conn_input_received(&p->in, (size_t)n);
    struct bytes payload;
    enum status status = STATUS_OK;
    while (p->fd >= 0 && (status = conn_input_next(&p->in, &payload)) == STATUS_OK) {
        answered(p, payload);
    }
    if (status != STATUS_OK && status != STATUS_AGAIN) {
        hang_up(p);
    }
}

uint64_t pinned_waiting(const struct pinned *p)
{
    return p->fd < 0 ? 0 : p->last_id - p->answered;
}

bool pinned_turn(struct pinned *const *ps, unsigned n, unsigned wait_ms)
{
    struct pollfd polls[CONNECTIONS_MAX];
    bool any = false;
    n = n > CONNECTIONS_MAX ? CONNECTIONS_MAX : n;
    for (unsigned i = 0; i < n; i++) {
        polls[i] = (struct pollfd){.fd = ps[i]->fd, .events = POLLIN}; /* a negative one is ignored */
        if (ps[i]->out_sent < ps[i]->out.len) {
            polls[i].events |= POLLOUT;
        }
        any = any || ps[i]->fd >= 0;
    }
    if (!any || poll(polls, n, (int)wait_ms) <= 0) {
        return any;
    }
    for (unsigned i = 0; i < n; i++) {
        if (ps[i]->fd >= 0 && (polls[i].revents & POLLOUT) != 0) {
            pinned_send(ps[i]);
        }
        if (ps[i]->fd >= 0 && (polls[i].revents & ~POLLOUT) != 0) {
            receive(ps[i]);
        }
    }
    return true;
}

struct pinned_numbers pinned_numbers(const struct pinned *p)
{
    return p->numbers;
}
