#include "rpc/fake_node.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "proto/frame.h"
#include "proto/limits.h"
#include "proto/pb.h"
#include "rpc/conn_input.h"
#include "rpc/request_codec.h"

enum { CONNS_MAX = 32 };

struct fake_conn {
    int fd;
    bool ended; /* goodbye was said */
    struct conn_input in;
};

static bool send_all(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static bool send_response(int fd, const Wbrpc__Response *response)
{
    struct buf out;
    buf_init(&out);
    frame_begin(&out, protobuf_c_message_get_packed_size(&response->base));
    pb_pack(&response->base, &out);
    bool ok = send_all(fd, out.data, out.len);
    buf_deinit(&out);
    return ok;
}

static void say_goodbye(struct fake_conn *conn)
{
    Wbrpc__Response response = WBRPC__RESPONSE__INIT;
    response.status = STATUS_SHUTTING_DOWN;
    send_response(conn->fd, &response);
    shutdown(conn->fd, SHUT_WR);
    conn->ended = true;
}

static bool answer_topology(struct fake_node *node, int fd, uint64_t id)
{
    struct fake_cluster *cluster = node->cluster;
    Wbrpc__Node nodes[FAKE_NODES], *node_list[FAKE_NODES];
    Wbrpc__GroupLeader groups[8], *group_list[8];
    Wbrpc__TopologyReply reply = WBRPC__TOPOLOGY_REPLY__INIT;
    Wbrpc__Response response = WBRPC__RESPONSE__INIT;
    for (unsigned i = 0; i < FAKE_NODES; i++) {
        wbrpc__node__init(&nodes[i]);
        nodes[i].id = cluster->nodes[i].id;
        nodes[i].client_address = cluster->nodes[i].address;
        nodes[i].peer_address = fake_text("peer:1");
        node_list[i] = &nodes[i];
    }
    for (unsigned g = 0; g < cluster->group_count; g++) {
        wbrpc__group_leader__init(&groups[g]);
        groups[g].group = g;
        groups[g].leader_id = cluster->leaders[g];
        group_list[g] = &groups[g];
    }
    reply.group_count = cluster->group_count;
    reply.n_nodes = FAKE_NODES;
    reply.nodes = node_list;
    reply.n_groups = cluster->group_count;
    reply.groups = group_list;
    response.id = id;
    response.topology = &reply;
    node->topologies++;
    return send_response(fd, &response);
}

static bool answer_open_session(struct fake_cluster *cluster, int fd, uint64_t id)
{
    Wbrpc__Response response = WBRPC__RESPONSE__INIT;
    response.id = id;
    response.has_session = true;
    response.session = ++cluster->sessions;
    return send_response(fd, &response);
}

static void fill_results(struct fake_cluster *cluster, const Wbrpc__Request *request,
    Wbrpc__Response *response, struct arena *arena)
{
    const Wbrpc__Keys *keys = request->op_case == WBRPC__REQUEST__OP_GET       ? request->get
                              : request->op_case == WBRPC__REQUEST__OP_EXISTS  ? request->exists
                              : request->op_case == WBRPC__REQUEST__OP_INSPECT ? request->inspect
                                                                               : NULL;
    bool single =
        request->op_case == WBRPC__REQUEST__OP_INCR || request->op_case == WBRPC__REQUEST__OP_APPEND;
    size_t n = keys != NULL                                    ? keys->n_keys
               : single                                        ? 1
               : request->op_case == WBRPC__REQUEST__OP_SET    ? request->set->n_entries
               : request->op_case == WBRPC__REQUEST__OP_DEL    ? request->del->n_keys
               : request->op_case == WBRPC__REQUEST__OP_EXPIRE ? request->expire->n_keys
                                                               : 0;
    response->n_results = n;
    response->results = arena_alloc(arena, n * sizeof(Wbrpc__Result *));
    for (size_t i = 0; i < n; i++) {
        Wbrpc__Result *r = arena_alloc(arena, sizeof *r);
        wbrpc__result__init(r);
        r->found = true;
        r->has_version = true;
        r->version = ++cluster->version;
        if (request->op_case == WBRPC__REQUEST__OP_GET) {
            r->has_value = true;
            r->value = keys->keys[i];
        }
        response->results[i] = r;
    }
}

/* False: close the connection. */
static bool serve(struct fake_node *node, struct fake_conn *conn, struct bytes payload)
{
    struct arena arena;
    const Wbrpc__Request *request;
    uint64_t id;
    arena_init(&arena);
    enum status s = request_decode(payload, &arena, &request, &id);
    CHECK(s == STATUS_OK);
    bool keep = true;
    if (request->op_case == WBRPC__REQUEST__OP_TOPOLOGY) {
        keep = node->topology_silent || answer_topology(node, conn->fd, id);
    } else if (request->op_case == WBRPC__REQUEST__OP_OPEN_SESSION && !node->cluster->scripted_sessions) {
        keep = answer_open_session(node->cluster, conn->fd, id);
    } else {
        Wbrpc__Response response = WBRPC__RESPONSE__INIT;
        response.id = id;
        fill_results(node->cluster, request, &response, &arena);
        node->requests++;
        node->last_deadline_ms = request->deadline_ms;
        switch (node->cluster->script(node, request, &response)) {
        case FAKE_ANSWER:
            keep = send_response(conn->fd, &response);
            break;
        case FAKE_SILENCE:
            break;
        case FAKE_DROP:
            keep = false;
            break;
        case FAKE_GOODBYE:
            say_goodbye(conn);
            break;
        case FAKE_GARBAGE:
            keep = send_all(conn->fd, "\xff\xff\xff\xffgarbage", 11);
            break;
        }
    }
    arena_deinit(&arena);
    return keep;
}

static void conn_close(struct fake_conn *conn)
{
    struct linger reset = {.l_onoff = 1};
    setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(conn->fd);
    conn_input_deinit(&conn->in);
    conn->fd = -1;
}

static void conn_readable(struct fake_node *node, struct fake_conn *conn)
{
    size_t room;
    uint8_t *at = conn_input_room(&conn->in, &room);
    CHECK(at != NULL);
    ssize_t n = recv(conn->fd, at, room, 0);
    if (n <= 0) {
        conn_close(conn);
        return;
    }
    if (conn->ended) {
        pthread_mutex_lock(&node->cluster->lock);
        node->discarded += (size_t)n;
        pthread_mutex_unlock(&node->cluster->lock);
        return;
    }
    conn_input_received(&conn->in, (size_t)n);
    struct bytes payload;
    pthread_mutex_lock(&node->cluster->lock);
    bool keep = true;
    while (keep && !conn->ended && conn_input_next(&conn->in, &payload) == STATUS_OK) {
        keep = serve(node, conn, payload);
    }
    pthread_mutex_unlock(&node->cluster->lock);
    if (!keep) {
        conn_close(conn);
    }
}

static void accept_one(struct fake_node *node, struct fake_conn *conns)
{
    int fd = accept(node->listener, NULL, NULL);
    for (unsigned i = 0; i < CONNS_MAX && fd >= 0; i++) {
        if (conns[i].fd < 0) {
            int on = 1;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            conns[i].fd = fd;
            conns[i].ended = false;
            conn_input_init(&conns[i].in, LIMIT_FRAME_BYTES);
            pthread_mutex_lock(&node->cluster->lock);
            node->connections++;
            pthread_mutex_unlock(&node->cluster->lock);
            return;
        }
    }
    CHECK(fd < 0);
}

static void *run(void *arg)
{
    struct fake_node *node = arg;
    struct fake_conn conns[CONNS_MAX];
    for (unsigned i = 0; i < CONNS_MAX; i++) {
        conns[i].fd = -1;
    }
    for (;;) {
        struct pollfd fds[CONNS_MAX + 2];
        fds[0] = (struct pollfd){.fd = node->wake[0], .events = POLLIN};
        fds[1] = (struct pollfd){.fd = node->listener, .events = POLLIN};
        pthread_mutex_lock(&node->cluster->lock);
        bool paused = node->paused;
        bool stopping = node->stopping;
        for (unsigned i = 0; i < CONNS_MAX && node->leaving; i++) {
            if (conns[i].fd >= 0 && !conns[i].ended) {
                say_goodbye(&conns[i]);
            }
        }
        node->leaving = false;
        pthread_cond_broadcast(&node->cluster->changed);
        pthread_mutex_unlock(&node->cluster->lock);
        if (stopping) {
            break;
        }
        for (unsigned i = 0; i < CONNS_MAX; i++) {
            fds[i + 2] = (struct pollfd){.fd = conns[i].fd, .events = POLLIN};
        }
        CHECK(poll(fds, paused ? 1 : CONNS_MAX + 2, -1) >= 0);
        if ((fds[0].revents & POLLIN) != 0) {
            char byte;
            CHECK(read(node->wake[0], &byte, 1) == 1);
            continue;
        }
        for (unsigned i = 0; i < CONNS_MAX; i++) {
            if (conns[i].fd >= 0 && fds[i + 2].revents != 0) {
                conn_readable(node, &conns[i]);
            }
        }
        if ((fds[1].revents & POLLIN) != 0) {
            accept_one(node, conns);
        }
    }
    for (unsigned i = 0; i < CONNS_MAX; i++) {
        if (conns[i].fd >= 0) {
            conn_close(&conns[i]);
        }
    }
    close(node->listener);
    return NULL;
}

static void wake(struct fake_node *node)
{
    CHECK(write(node->wake[1], "w", 1) == 1);
}

static void node_start(struct fake_cluster *cluster, unsigned id)
{
    struct fake_node *node = &cluster->nodes[id - 1];
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof any;
    node->cluster = cluster;
    node->id = id;
    node->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(node->listener, (struct sockaddr *)&any, sizeof any) == 0);
    CHECK(listen(node->listener, 64) == 0);
    CHECK(getsockname(node->listener, (struct sockaddr *)&any, &len) == 0);
    CHECK(pipe(node->wake) == 0);
    node->port = ntohs(any.sin_port);
    snprintf(node->address, sizeof node->address, "127.0.0.1:%u", node->port);
}

void fake_cluster_start(struct fake_cluster *cluster, unsigned group_count, fake_script script, void *data)
{
    *cluster = (struct fake_cluster){.group_count = group_count, .script = script, .data = data};
    pthread_mutex_init(&cluster->lock, NULL);
    pthread_cond_init(&cluster->changed, NULL);
    for (unsigned g = 0; g < group_count; g++) {
        cluster->leaders[g] = g % FAKE_NODES + 1;
    }
    for (unsigned id = 1; id <= FAKE_NODES; id++) {
        node_start(cluster, id);
    }
    for (unsigned i = 0; i < FAKE_NODES; i++) {
        CHECK(pthread_create(&cluster->nodes[i].thread, NULL, run, &cluster->nodes[i]) == 0);
        cluster->nodes[i].running = true;
    }
}

void fake_node_kill(struct fake_node *node)
{
    if (!node->running) {
        return;
    }
    pthread_mutex_lock(&node->cluster->lock);
    node->stopping = true;
    pthread_mutex_unlock(&node->cluster->lock);
    wake(node);
    CHECK(pthread_join(node->thread, NULL) == 0);
    node->running = false;
    close(node->wake[0]);
    close(node->wake[1]);
}

void fake_cluster_stop(struct fake_cluster *cluster)
{
    for (unsigned i = 0; i < FAKE_NODES; i++) {
        fake_node_kill(&cluster->nodes[i]);
    }
    pthread_cond_destroy(&cluster->changed);
    pthread_mutex_destroy(&cluster->lock);
}

const char *fake_cluster_addresses(const struct fake_cluster *cluster, char out[128])
{
    snprintf(out, 128, "%s,%s,%s", cluster->nodes[0].address, cluster->nodes[1].address,
        cluster->nodes[2].address);
    return out;
}

void fake_node_goodbye(struct fake_node *node)
{
    pthread_mutex_lock(&node->cluster->lock);
    node->leaving = true;
    wake(node);
    while (node->leaving) {
        pthread_cond_wait(&node->cluster->changed, &node->cluster->lock);
    }
    pthread_mutex_unlock(&node->cluster->lock);
}

void fake_node_pause(struct fake_node *node, bool paused)
{
    pthread_mutex_lock(&node->cluster->lock);
    node->paused = paused;
    pthread_mutex_unlock(&node->cluster->lock);
    wake(node);
}

void fake_cluster_lead(struct fake_cluster *cluster, unsigned group, unsigned node_id)
{
    pthread_mutex_lock(&cluster->lock);
    cluster->leaders[group] = node_id;
    pthread_mutex_unlock(&cluster->lock);
}

unsigned fake_node_requests(struct fake_node *node)
{
    pthread_mutex_lock(&node->cluster->lock);
    unsigned n = node->requests;
    pthread_mutex_unlock(&node->cluster->lock);
    return n;
}
