#include "cluster-tests/old_leader.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cluster-tests/scenario.h"
#include "proto/base/clock.h"
#include "proto/base/status.h"
#include "proto/base/status.h"

enum {
    WRITE_TRY_MS = 400,   /* of one try; another node may lead by then */
    WRITE_MAX_MS = 20000, /* until some node must have acknowledged */
    BETWEEN_TRIES_MS = 5,
    TURN_MS = 20,
};

void old_leader_init(struct old_leader *o, struct cluster *cluster, unsigned group)
{
    *o = (struct old_leader){.cluster = cluster, .group = group};
    const struct asker a = {.cluster = cluster, .group = group};
    asker_key(&a, "old", o->key);
}

/* Did @node acknowledge the write of @value? */
static bool write_at(struct old_leader *o, unsigned node, const char *value)
{
    char address[ASKER_KEY_BYTES];
    asker_address(o->cluster, node, address);
    struct raw_client client;
    if (!raw_client_open(&client, address, WRITE_TRY_MS)) {
        return false;
    }
    struct arena arena = {0};
    Wbrpc__Request *request = asker_set(&arena, o->key, value);
    request->has_deadline_ms = true;
    request->deadline_ms = WRITE_TRY_MS;
    const Wbrpc__Response *answer = raw_client_ask(&client, request, WRITE_TRY_MS);
    bool done = answer != NULL && answer->status == STATUS_OK && answer->n_results == 1;
    if (done) {
        /* A write of unknown outcome may get a higher version than one that was acknowledged later. */
        uint64_t version = answer->results[0]->version;
        if (version > atomic_load(&o->newest)) {
            atomic_store(&o->newest, version);
        }
    }
    arena_deinit(&arena);
    raw_client_close(&client);
    return done;
}

void old_leader_write(struct old_leader *o, unsigned not_node)
{
    char value[32];
    snprintf(value, sizeof value, "%" PRIu64, ++o->writes);
    uint64_t until_ms = clock_boot_ms() + WRITE_MAX_MS;
    while (clock_boot_ms() < until_ms) {
        for (unsigned node = 1; node <= o->cluster->nodes; node++) {
            if (node != not_node && write_at(o, node, value)) {
                return;
            }
        }
        pass_ms(BETWEEN_TRIES_MS);
    }
    fail_msg("no node but %u acknowledged a write to group %u for %d ms", not_node, o->group, WRITE_MAX_MS);
}

void old_leader_crowd(struct old_leader *o, unsigned node, unsigned n)
{
    char address[ASKER_KEY_BYTES];
    asker_address(o->cluster, node, address);
    for (unsigned i = 0; i < n; i++) {
        struct pinned *p = pinned_open(address);
        if (p == NULL) {
            fail_msg("node %u does not take a connection", node);
        }
        o->crowd[o->n_crowd++] = p;
    }
}

void old_leader_ask(struct old_leader *o, unsigned n)
{
    uint64_t floor = atomic_load(&o->newest);
    for (unsigned i = 0; i < o->n_crowd; i++) {
        for (unsigned k = 0; k < n; k++) {
            pinned_get(o->crowd[i], bytes_of(o->key, strlen(o->key)), OLD_LEADER_DEADLINE_MS, floor);
        }
    }
    for (unsigned i = 0; i < o->n_crowd; i++) { /* all at once: the node is to be busy */
        pinned_send(o->crowd[i]);
    }
}

static bool anybody_waits(const struct old_leader *o)
{
    for (unsigned i = 0; i < o->n_crowd; i++) {
        if (pinned_waiting(o->crowd[i]) > 0) {
            return true;
        }
    }
    return false;
}

void old_leader_listen(struct old_leader *o, unsigned ms)
{
    uint64_t until_ms = clock_boot_ms() + ms;
    while (anybody_waits(o) && clock_boot_ms() < until_ms && pinned_turn(o->crowd, o->n_crowd, TURN_MS)) {
    }
}

void old_leader_send_away(struct old_leader *o)
{
    for (unsigned i = 0; i < o->n_crowd; i++) {
        struct pinned_numbers n = pinned_numbers(o->crowd[i]);
        o->asked += n.asked;
        o->ok += n.ok;
        o->old += n.old;
        if (o->problem[0] == '\0') {
            memcpy(o->problem, n.problem, sizeof o->problem);
        }
        pinned_close(o->crowd[i]);
    }
    o->n_crowd = 0;
}

void old_leader_expect_well(struct old_leader *o, unsigned node)
{
    cluster_wait_ready(o->cluster);
    cluster_wait_caught_up(o->cluster, node);
    uint64_t ok_before = o->ok;
    old_leader_write(o, 0);
    unsigned leader = cluster_leader(o->cluster, o->group);
    old_leader_crowd(o, leader, 1);
    old_leader_ask(o, 1);
    old_leader_listen(o, OLD_LEADER_DEADLINE_MS);
    old_leader_send_away(o);
    assert_int_equal(o->ok, ok_before + 1);
}
