#include "cluster-tests/faults.h"

#include <stdio.h>

#include "cluster-tests/asker.h"
#include "cluster-tests/scenario.h"
#include "proto/base/clock.h"

enum {
    FIRST_AFTER_MAX_MS = 300,
    PAUSE_MIN_MS = 100, /* between two faults */
    PAUSE_MAX_MS = 700,
    DOWN_MIN_MS = 30,
    DOWN_MAX_MS = 600,
    STOPPED_MIN_MS = 80,
    STOPPED_MAX_MS = 1200, /* several election timeouts */
    ASK_MS = 200,
    TOOL_OUTPUT_BYTES = 4096,
};

static unsigned below(struct faults *f, unsigned n)
{
    f->random ^= f->random << 13; /* xorshift64 */
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return (unsigned)((f->random >> 16) % n);
}

static uint64_t between(struct faults *f, unsigned from_ms, unsigned to_ms)
{
    return from_ms + below(f, to_ms - from_ms + 1);
}

static unsigned hurt_nodes(const struct faults *f)
{
    unsigned n = 0;
    for (unsigned node = 1; node <= f->cluster->nodes; node++) {
        n += f->nodes[node].state != FAULT_NONE ? 1 : 0;
    }
    return n;
}

static unsigned healthy_node(struct faults *f)
{
    unsigned node;
    do {
        node = 1 + below(f, f->cluster->nodes);
    } while (f->nodes[node].state != FAULT_NONE);
    return node;
}

/* Who leads @group, as a healthy node says without waiting for anybody; 0 when it does not know. */
static unsigned leader_of(struct faults *f, unsigned group)
{
    char address[ASKER_KEY_BYTES];
    asker_address(f->cluster, healthy_node(f), address);
    struct raw_client client;
    if (!raw_client_open(&client, address, ASK_MS)) {
        return 0;
    }
    Wbrpc__Request request = WBRPC__REQUEST__INIT;
    Wbrpc__Topology topology = WBRPC__TOPOLOGY__INIT;
    request.op_case = WBRPC__REQUEST__OP_TOPOLOGY;
    request.topology = &topology;
    const Wbrpc__Response *response = raw_client_ask(&client, &request, ASK_MS);
    unsigned leader = 0;
    if (response != NULL && response->topology != NULL) {
        for (size_t i = 0; i < response->topology->n_groups; i++) {
            const Wbrpc__GroupLeader *g = response->topology->groups[i];
            leader = g->group == group ? (unsigned)g->leader_id : leader;
        }
    }
    raw_client_close(&client);
    return leader;
}

static unsigned choose_victim(struct faults *f)
{
    unsigned leader = below(f, 5) == 0 ? 0 : leader_of(f, below(f, f->cluster->groups));
    bool hurt_already = leader > f->cluster->nodes || f->nodes[leader].state != FAULT_NONE;
    return leader == 0 || hurt_already ? healthy_node(f) : leader;
}

static void hurt(struct faults *f)
{
    unsigned already = hurt_nodes(f);
    /* Two of three away is rare; nobody at all is another test's. */
    if (already > 1 || (already == 1 && below(f, 5) != 0)) {
        return;
    }
    unsigned node = choose_victim(f);
    unsigned way = below(f, already > 0 ? 8 : 10); /* without a quorum there is nobody to hand over to */
    if (way < 4) {
        cluster_kill(f->cluster, node);
        f->nodes[node].state = FAULT_KILLED;
        f->nodes[node].until_ms = clock_boot_ms() + between(f, DOWN_MIN_MS, DOWN_MAX_MS);
        f->kills++;
    } else if (way < 8) {
        cluster_pause(f->cluster, node);
        f->nodes[node].state = FAULT_PAUSED;
        f->nodes[node].until_ms = clock_boot_ms() + between(f, STOPPED_MIN_MS, STOPPED_MAX_MS);
        f->pauses++;
    } else {
        cluster_stop_node(f->cluster, node);
        f->nodes[node].state = FAULT_STOPPED;
        f->nodes[node].until_ms = clock_boot_ms() + between(f, DOWN_MIN_MS, DOWN_MAX_MS);
        f->hand_overs++;
    }
    f->no_quorum += already > 0 ? 1 : 0;
}

/* The node comes back while everything goes on: nobody waits until it answers. */
static void start_node(struct faults *f, unsigned node)
{
    char number[16];
    char output[TOOL_OUTPUT_BYTES];
    snprintf(number, sizeof number, "%u", node);
    const char *const arguments[] = {"restart", number, "--no-wait", NULL};
    if (cluster_tool(f->cluster, arguments, output, sizeof output) != 0) {
        fail_msg("node %u could not be started: %s", node, output);
    }
}

static void repair(struct faults *f, unsigned node)
{
    if (f->nodes[node].state == FAULT_PAUSED) {
        cluster_resume(f->cluster, node);
    } else if (f->nodes[node].state != FAULT_NONE) {
        start_node(f, node);
    }
    f->nodes[node].state = FAULT_NONE;
}

static uint64_t repair_due(struct faults *f, uint64_t now_ms)
{
    uint64_t next_ms = UINT64_MAX;
    for (unsigned node = 1; node <= f->cluster->nodes; node++) {
        if (f->nodes[node].state != FAULT_NONE && f->nodes[node].until_ms <= now_ms) {
            repair(f, node);
        }
        if (f->nodes[node].state != FAULT_NONE && f->nodes[node].until_ms < next_ms) {
            next_ms = f->nodes[node].until_ms;
        }
    }
    return next_ms;
}

void faults_init(struct faults *f, struct cluster *cluster)
{
    *f = (struct faults){.cluster = cluster, .random = 1};
}

void faults_run(struct faults *f, uint64_t seed, unsigned ms)
{
    f->random = (seed * UINT64_C(0x9e3779b97f4a7c15)) | 1; /* neighbours have nothing in common */
    uint64_t end_ms = clock_boot_ms() + ms;
    uint64_t next_hurt_ms = clock_boot_ms() + below(f, FIRST_AFTER_MAX_MS);
    uint64_t now_ms;
    while ((now_ms = clock_boot_ms()) < end_ms) {
        uint64_t wake_ms = repair_due(f, now_ms);
        if (now_ms >= next_hurt_ms) {
            hurt(f);
            next_hurt_ms = clock_boot_ms() + between(f, PAUSE_MIN_MS, PAUSE_MAX_MS);
            continue;
        }
        wake_ms = wake_ms < next_hurt_ms ? wake_ms : next_hurt_ms;
        wake_ms = wake_ms < end_ms ? wake_ms : end_ms;
        now_ms = clock_boot_ms();
        if (wake_ms > now_ms) {
            pass_ms((unsigned)(wake_ms - now_ms));
        }
    }
}

void faults_heal(struct faults *f)
{
    for (unsigned node = 1; node <= f->cluster->nodes; node++) {
        repair(f, node);
    }
    cluster_wait_ready(f->cluster);
}
