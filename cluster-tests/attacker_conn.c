#include "cluster-tests/attacker_conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster-tests/junk.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"
#include "proto/client.pb-c.h"
#include "proto/frame.h"
#include "proto/limits.h"
#include "proto/pb.h"

enum {
    READ_BYTES = 256 * 1024,
    SIP_PAUSE_MS = 1000,
    /* Of those who do not read: the kernel shall not read for them, nor keep megabytes of requests. */
    RECEIVE_BUFFER_BYTES = 4096,
    SEND_BUFFER_BYTES = 64 * 1024,
    QUEUE_BYTES = 64 * 1024, /* requests are made ahead up to here */
    BEGIN_BYTES = 64 * 1024, /* what follows an announcement at once */
};

/* ---- The end ---- */

static void ended(struct attack_conn *c, struct attack_force *force, bool cut)
{
    struct attack_report *r = force->report;
    uint64_t life_ms = clock_boot_ms() - c->opened_ms;
    r->first_end_ms = r->ended == 0 || life_ms < r->first_end_ms ? life_ms : r->first_end_ms;
    r->last_end_ms = life_ms > r->last_end_ms ? life_ms : r->last_end_ms;
    r->cut += cut;
    r->ended++;
    close(c->fd);
    c->open = false;
    buf_clear(&c->out);
    c->out_at = 0;
}

/* ---- Answers ---- */

static bool varint(struct bytes *in, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; in->len > 0 && shift < 64; shift += 7) {
        uint8_t byte = *in->data++;
        in->len--;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return true;
        }
    }
    return false;
}

/* An answer begins with its id, its status and its message (proto/client.proto); more is not looked at, as it
 * may be megabytes. */
static void take_answer(struct attack_conn *c, struct attack_force *force)
{
    enum { FIELD_ID = 1 << 3, FIELD_STATUS = 2 << 3, FIELD_MESSAGE = 3 << 3 | 2 };
    struct attack_report *r = force->report;
    size_t len = c->in_size < ATTACK_HEAD_BYTES ? c->in_size : ATTACK_HEAD_BYTES;
    struct bytes head = bytes_of(c->head + FRAME_HEADER_BYTES, len - FRAME_HEADER_BYTES);
    uint64_t tag, id, status, message_len;
    if (!varint(&head, &tag) || tag != FIELD_ID || !varint(&head, &id) || !varint(&head, &tag) ||
        tag != FIELD_STATUS || !varint(&head, &status) || status >= ATTACK_STATUSES) {
        return;
    }
    if (id != 0) {
        r->answers[status]++;
        c->waiting -= c->waiting > 0;
        return;
    }
    r->last_words[status]++;
    if (varint(&head, &tag) && tag == FIELD_MESSAGE && varint(&head, &message_len)) {
        message_len = message_len < head.len ? message_len : head.len;
        message_len = message_len < sizeof r->words ? message_len : sizeof r->words - 1;
        memcpy(r->words, head.data, message_len);
        r->words[message_len] = '\0';
    }
}

static void take_bytes(struct attack_conn *c, struct attack_force *force, const uint8_t *data, size_t len)
{
    force->report->received_bytes += len;
    while (len > 0) {
        uint64_t wanted = c->in_size != 0 ? c->in_size - c->in_bytes : FRAME_HEADER_BYTES - c->in_bytes;
        size_t n = len < wanted ? len : (size_t)wanted;
        if (c->in_bytes < ATTACK_HEAD_BYTES) {
            size_t room = ATTACK_HEAD_BYTES - (size_t)c->in_bytes;
            memcpy(c->head + c->in_bytes, data, n < room ? n : room);
        }
        c->in_bytes += n;
        data += n;
        len -= n;
        if (c->in_size == 0 && c->in_bytes == FRAME_HEADER_BYTES) {
            c->in_size = FRAME_HEADER_BYTES + (uint64_t)load_be32(c->head);
        }
        if (c->in_size != 0 && c->in_bytes == c->in_size) {
            take_answer(c, force);
            c->in_bytes = 0;
            c->in_size = 0;
        }
    }
}

static void read_answers(struct attack_conn *c, struct attack_force *force, size_t at_most)
{
    static uint8_t sink[READ_BYTES]; /* one process, one thread */
    ssize_t n = recv(c->fd, sink, at_most < sizeof sink ? at_most : sizeof sink, MSG_DONTWAIT);
    if (n > 0) {
        take_bytes(c, force, sink, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        ended(c, force, n != 0);
    }
}

/* ---- Requests ---- */

static void add_request(struct attack_conn *c, struct attack_force *force)
{
    enum { KEY_BYTES = 48 };
    static char names[LIMIT_REQUEST_KEYS][KEY_BYTES];
    static ProtobufCBinaryData keys[LIMIT_REQUEST_KEYS];
    const struct attack *attack = force->attack;
    for (unsigned i = 0; i < attack->keys_per_request; i++) {
        int len = snprintf(names[i], KEY_BYTES, "%s%08u", attack->prefix, force->next_key);
        keys[i] = (ProtobufCBinaryData){.len = (size_t)len, .data = (uint8_t *)names[i]};
        force->next_key = (force->next_key + 1) % attack->keys;
    }
    Wbrpc__Keys get = WBRPC__KEYS__INIT;
    get.n_keys = attack->keys_per_request;
    get.keys = keys;
    Wbrpc__Request request = WBRPC__REQUEST__INIT;
    request.id = ++force->last_id;
    request.has_deadline_ms = attack->deadline_ms != 0;
    request.deadline_ms = attack->deadline_ms;
    request.op_case = WBRPC__REQUEST__OP_GET;
    request.get = &get;
    frame_begin(&c->out, protobuf_c_message_get_packed_size(&request.base));
    pb_pack(&request.base, &c->out);
    c->waiting++;
}

static bool asks(const struct attack *attack)
{
    return attack->kind >= ATTACK_NEVER_READ;
}

static void fill(struct attack_conn *c, struct attack_force *force)
{
    const struct attack *attack = force->attack;
    if (c->out_at == c->out.len) {
        buf_clear(&c->out);
        c->out_at = 0;
    }
    while (asks(attack) && c->out.len < QUEUE_BYTES &&
           (attack->kind != ATTACK_ASK || c->waiting < attack->window)) {
        add_request(c, force);
    }
}

/* ---- Output ---- */

static void send_some(struct attack_conn *c, struct attack_force *force)
{
    while (c->open) {
        fill(c, force);
        if (c->out_at == c->out.len) {
            return;
        }
        ssize_t n = send(c->fd, c->out.data + c->out_at, c->out.len - c->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                ended(c, force, true);
            }
            return;
        }
        c->out_at += (size_t)n;
        c->sent_bytes += (size_t)n;
        force->report->sent_bytes += (size_t)n;
        if (c->sent_bytes > force->report->most_sent_bytes) {
            force->report->most_sent_bytes = c->sent_bytes;
        }
    }
}

static void watch(struct attack_conn *c, struct attack_force *force)
{
    enum attack_kind kind = force->attack->kind;
    bool reads = kind != ATTACK_NEVER_READ && kind != ATTACK_READ_SLOWLY;
    /* Edges: nobody is told again and again of what he does not want to read. The end is told always. */
    struct epoll_event event = {.events = EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (reads) {
        event.events = EPOLLIN | EPOLLRDHUP | (kind == ATTACK_ASK ? EPOLLOUT | EPOLLET : 0);
    }
    epoll_ctl(force->epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
}

static void first_words(struct attack_conn *c, struct attack_force *force)
{
    const struct attack *attack = force->attack;
    if (attack->kind == ATTACK_HALF_FRAMES) {
        uint8_t *half = xcalloc(1, FRAME_HEADER_BYTES + attack->frame_bytes);
        size_t len = junk_frame(half, attack->frame_bytes, attack->frame_bytes / 2);
        buf_append(&c->out, half, len);
        free(half);
    } else if (attack->kind == ATTACK_ANNOUNCE) {
        buf_append_be32(&c->out, UINT32_MAX);
        memset(buf_reserve(&c->out, BEGIN_BYTES), 1, BEGIN_BYTES);
        c->out.len += BEGIN_BYTES;
    }
}

/* ---- What the loop calls ---- */

void attack_conn_open(struct attack_conn *c, struct attack_force *force)
{
    const struct attack *attack = force->attack;
    int receive = RECEIVE_BUFFER_BYTES;
    int sends = SEND_BUFFER_BYTES;
    c->open = false;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (attack->kind == ATTACK_NEVER_READ || attack->kind == ATTACK_READ_SLOWLY) {
        /* Before the connection's window is told. */
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof receive);
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sends, sizeof sends);
    }
    const struct sockaddr_in *to = &attack->addresses[c->number % attack->n_addresses];
    if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof *to) != 0) {
        force->report->not_opened++;
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    force->report->opened++;
    c->fd = fd;
    c->open = true;
    c->opened_ms = clock_boot_ms();
    c->sip_ms = c->opened_ms + SIP_PAUSE_MS;
    c->sent_bytes = 0;
    c->waiting = 0;
    c->in_bytes = 0;
    c->in_size = 0;
    first_words(c, force);
    watch(c, force);
    send_some(c, force);
}

void attack_conn_event(struct attack_conn *c, struct attack_force *force, uint32_t events)
{
    enum attack_kind kind = force->attack->kind;
    if (c->open && (kind == ATTACK_NEVER_READ || kind == ATTACK_READ_SLOWLY)) {
        if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
            ended(c, force, true);
        }
    } else if (c->open && (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) {
        uint64_t before;
        do { /* to its end: with edges nobody tells again */
            before = force->report->received_bytes;
            read_answers(c, force, READ_BYTES);
        } while (c->open && force->report->received_bytes > before);
    }
    if (c->open) {
        send_some(c, force);
    }
}

void attack_conn_piece(struct attack_conn *c, struct attack_force *force)
{
    static uint8_t junk[JUNK_BYTES];
    if (!c->open) {
        attack_conn_open(c, force);
    }
    if (c->open && force->attack->kind == ATTACK_NOISE && c->out_at == c->out.len) {
        unsigned kind = junk_random(&force->random, JUNK_KINDS);
        size_t len = junk_make(&force->random, kind, junk);
        buf_append(&c->out, junk, len);
        send_some(c, force);
    }
}

void attack_conn_sip(struct attack_conn *c, struct attack_force *force)
{
    if (c->open && clock_boot_ms() >= c->sip_ms) {
        c->sip_ms += SIP_PAUSE_MS;
        read_answers(c, force, 1);
    }
}
