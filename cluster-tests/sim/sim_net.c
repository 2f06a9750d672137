#include "cluster-tests/sim/sim_net.h"

#include <stdlib.h>
#include <string.h>

#include "cluster-tests/sim/sim_io.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

/* A message on its way. It belongs to no process until it is handed to one. */
struct transmit {
    struct sim_event event;
    struct list link; /* in net->flying */
    struct sim_net *net;
    unsigned group, from, to;
    struct raft_message message;
};

void sim_net_init(struct sim_net *net, struct sim_clock *clock)
{
    memset(net, 0, sizeof *net);
    net->clock = clock;
    list_init(&net->flying);
    net->latency_min_us = 100;
    net->latency_max_us = 2000;
}

void sim_net_cut(struct sim_net *net, unsigned from, unsigned to, bool cut)
{
    net->cut[from][to] = cut;
}

void sim_net_heal(struct sim_net *net)
{
    memset(net->cut, 0, sizeof net->cut);
    memset(net->detour_us, 0, sizeof net->detour_us);
}

bool sim_net_arrival(struct sim_net *net, unsigned group, unsigned from, unsigned to, uint64_t *delay_us)
{
    net->sent++;
    if (net->cut[from][to] || sim_chance(net->clock, net->loss_permille)) {
        net->lost++;
        return false;
    }
    uint64_t at_us = net->clock->now_us + net->detour_us[from][to] +
                     sim_between(net->clock, net->latency_min_us, net->latency_max_us);
    uint64_t *last_us = &net->last_arrival_us[group][from][to];
    if (at_us <= *last_us) {
        at_us = *last_us + 1;
    }
    *last_us = at_us;
    *delay_us = at_us - net->clock->now_us;
    return true;
}

void sim_message_release(struct raft_message *m)
{
    if (m->type == RAFT_APPEND_ENTRIES && m->append_entries.n_entries > 0) {
        raft_free(m->append_entries.entries[0].batch);
        raft_free(m->append_entries.entries);
    } else if (m->type == RAFT_INSTALL_SNAPSHOT) {
        raft_configuration_close(&m->install_snapshot.conf);
        raft_free(m->install_snapshot.data.base);
    }
}

static void copy_payload(struct raft_message *m)
{
    if (m->type == RAFT_APPEND_ENTRIES) {
        m->append_entries.entries = sim_entries_copy(m->append_entries.entries, m->append_entries.n_entries);
    } else if (m->type == RAFT_INSTALL_SNAPSHOT) {
        struct raft_install_snapshot *install = &m->install_snapshot;
        struct raft_buffer encoded;
        CHECK(raft_configuration_encode(&install->conf, &encoded) == 0);
        raft_configuration_init(&install->conf);
        CHECK(raft_configuration_decode(&encoded, &install->conf) == 0);
        raft_free(encoded.base);
        void *copy = raft_malloc(install->data.len > 0 ? install->data.len : 1);
        CHECK(copy != NULL);
        memcpy(copy, install->data.base, install->data.len);
        install->data.base = copy;
    }
}

static void drop(struct transmit *t)
{
    sim_message_release(&t->message);
    list_remove(&t->link);
    free(t);
}

static void deliver(struct sim_event *event)
{
    struct transmit *t = list_entry(event, struct transmit, event);
    struct sim_net *net = t->net;
    struct sim_io *to = net->ends[t->group][t->to];
    if (!sim_io_listens(to) || net->cut[t->from][t->to]) {
        net->lost++;
        drop(t);
        return;
    }
    if (event->gate != to->gate) { /* the machine has it; the process may be stopped */
        sim_schedule(net->clock, event, to->gate, 0, deliver);
        return;
    }
    struct raft_message message = t->message;
    message.server_id = t->from + 1;
    message.server_address = sim_io_address(t->from);
    list_remove(&t->link);
    free(t);
    sim_io_receive(to, &message);
}

void sim_net_send(
    struct sim_net *net, unsigned group, unsigned from, unsigned to, const struct raft_message *message)
{
    uint64_t delay_us;
    if (!sim_net_arrival(net, group, from, to, &delay_us)) {
        return;
    }
    struct transmit *t = xcalloc(1, sizeof *t);
    t->net = net;
    t->group = group;
    t->from = from;
    t->to = to;
    t->message = *message;
    copy_payload(&t->message);
    list_push_back(&net->flying, &t->link);
    sim_schedule(net->clock, &t->event, NULL, delay_us, deliver);
}

void sim_net_deinit(struct sim_net *net)
{
    while (!list_empty(&net->flying)) {
        struct transmit *t = list_entry(net->flying.next, struct transmit, link);
        sim_cancel(net->clock, &t->event);
        drop(t);
    }
}
