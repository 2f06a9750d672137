/* libwbcache's scans, against nodes that keep cursors of their own and refuse each other's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/fake_node.h"
#include "rpc/wbcache.h"

enum { KEYS = 40, STEP = 4 };

/* Under the cluster's lock once the nodes run. */
struct plan {
    unsigned steps;
    unsigned change_at;   /* group 0 gets leader 3 after so many steps; 0: never */
    unsigned kill_cursor; /* from this step on, node 2 does not answer any more; 0: never */
    unsigned begun_anew;  /* cursors refused */
    bool stale;
};

/* Each group has KEYS keys "GROUP:NUMBER"; a node's cursor is its id << 32 | the next number. */
static enum fake_action scan_script(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    static char names[STEP][16];
    static ProtobufCBinaryData keys[STEP];
    static Wbrpc__ScanReply reply;
    struct plan *plan = node->cluster->data;
    assert_int_equal(request->op_case, WBRPC__REQUEST__OP_SCAN);
    assert_int_equal(request->stale, plan->stale);
    const Wbrpc__Scan *scan = request->scan;
    if (!plan->stale && node->id != node->cluster->leaders[scan->group]) {
        response->status = WBCACHE_NOT_LEADER;
        response->leader = node->cluster->nodes[node->cluster->leaders[scan->group] - 1].address;
        return FAKE_ANSWER;
    }
    plan->steps++;
    if (plan->kill_cursor != 0 && plan->steps >= plan->kill_cursor && node->id == 2) {
        return FAKE_DROP;
    }
    if (scan->cursor != 0 && scan->cursor >> 32 != node->id) {
        plan->begun_anew++;
        response->status = WBCACHE_INVALID;
        response->message = fake_text("the scan was begun at another node");
        return FAKE_ANSWER;
    }
    unsigned first = (unsigned)(scan->cursor & UINT32_MAX);
    wbrpc__scan_reply__init(&reply);
    for (unsigned i = 0; i < STEP && first + i < KEYS; i++) {
        int len = snprintf(names[i], sizeof names[i], "%u:%u", scan->group, first + i);
        keys[i] = (ProtobufCBinaryData){.data = (uint8_t *)names[i], .len = (size_t)len};
        reply.n_keys++;
    }
    reply.keys = keys;
    reply.cursor = first + STEP < KEYS ? (uint64_t)node->id << 32 | (first + STEP) : 0;
    response->scan = &reply;
    if (plan->change_at != 0 && plan->steps == plan->change_at) {
        node->cluster->leaders[0] = 3;
    }
    return FAKE_ANSWER;
}

struct fixture {
    struct fake_cluster cluster;
    struct plan plan;
    struct wbcache *cache;
    unsigned seen[3][KEYS];
    unsigned steps;
};

static void start(struct fixture *f, unsigned groups)
{
    char addresses[128];
    struct wbcache_options options = {.deadline_ms = 5000};
    fake_cluster_start(&f->cluster, groups, scan_script, &f->plan);
    assert_int_equal(
        wbcache_open(&f->cache, fake_cluster_addresses(&f->cluster, addresses), &options), WBCACHE_OK);
}

static void stop(struct fixture *f)
{
    wbcache_close(f->cache);
    fake_cluster_stop(&f->cluster);
}

static void note_keys(struct fixture *f, const struct wbcache_scan *scan)
{
    for (size_t i = 0; i < scan->n; i++) {
        char name[16] = "";
        unsigned group, number;
        assert_true(scan->keys[i].key_len < sizeof name);
        memcpy(name, scan->keys[i].key, scan->keys[i].key_len);
        assert_int_equal(sscanf(name, "%u:%u", &group, &number), 2);
        f->seen[group][number]++;
    }
}

static void scan_all(struct fixture *f)
{
    struct wbcache_scan scan = {.stale = f->plan.stale};
    while (!scan.done) {
        assert_int_equal(wbcache_scan(f->cache, &scan), WBCACHE_OK);
        note_keys(f, &scan);
        assert_true(f->steps++ < 1000);
    }
    assert_int_equal(wbcache_scan(f->cache, &scan), WBCACHE_OK); /* done stays done */
    assert_int_equal(scan.n, 0);
}

static void assert_seen(const struct fixture *f, unsigned groups, unsigned times_max)
{
    for (unsigned g = 0; g < groups; g++) {
        for (unsigned i = 0; i < KEYS; i++) {
            assert_true(f->seen[g][i] >= 1 && f->seen[g][i] <= times_max);
        }
    }
}

static void a_scan_gives_every_key_of_every_group(void **state)
{
    (void)state;
    struct fixture f = {0};
    start(&f, 3);
    scan_all(&f);
    assert_seen(&f, 3, 1);
    assert_int_equal(f.plan.begun_anew, 0);
    stop(&f);
}

static void when_a_leader_changes_its_groups_keys_are_given_again_from_the_start(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.change_at = 5}};
    start(&f, 3);
    scan_all(&f);
    assert_seen(&f, 3, 2);
    assert_int_equal(f.plan.begun_anew, 1);
    assert_int_equal(f.seen[0][0], 2);
    assert_int_equal(f.seen[0][KEYS - 1], 1);
    assert_int_equal(f.seen[1][0], 1);
    assert_int_equal(f.seen[2][0], 1);
    stop(&f);
}

/* Stale scans may be answered by any node; but one that goes from node to node would never get anywhere. */
static void a_stale_scan_stays_with_the_node_that_it_began_at(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.stale = true}};
    start(&f, 3);
    unsigned all = 0;
    for (int round = 0; round < 1000 && all != 7; round++) { /* until all nodes are connected and take part */
        f.steps = 0;
        scan_all(&f);
        for (unsigned i = 0; i < FAKE_NODES; i++) {
            all |= (unsigned)(fake_node_requests(&f.cluster.nodes[i]) > 0) << i;
        }
    }
    assert_int_equal(all, 7);
    assert_seen(&f, 3, 1000);
    assert_int_equal(f.plan.begun_anew, 0);
    stop(&f);
}

static void a_stale_scan_goes_on_elsewhere_when_its_node_is_lost(void **state)
{
    (void)state;
    struct fixture f = {.plan = {.stale = true}};
    struct wbcache_scan scan = {.stale = true};
    start(&f, 1);
    /* Until node 2 has given a cursor; then it is gone. */
    while (!(scan.cursor >> 32 == 2)) {
        scan = scan.done ? (struct wbcache_scan){.stale = true} : scan;
        assert_int_equal(wbcache_scan(f.cache, &scan), WBCACHE_OK);
        assert_true(f.steps++ < 100000);
        if (scan.cursor >> 32 != 2) {
            scan = (struct wbcache_scan){.stale = true};
        }
    }
    pthread_mutex_lock(&f.cluster.lock);
    f.plan.kill_cursor = 1;
    pthread_mutex_unlock(&f.cluster.lock);
    while (!scan.done) {
        assert_int_equal(wbcache_scan(f.cache, &scan), WBCACHE_OK);
        note_keys(&f, &scan);
        assert_true(f.steps++ < 100000);
    }
    assert_seen(&f, 1, 1); /* what node 2 gave was before note_keys */
    stop(&f);
}

static void a_scan_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    struct fixture f = {0};
    start(&f, 1);
    struct wbcache_scan scan = {.prefix_len = 1};
    assert_int_equal(wbcache_scan(f.cache, &scan), WBCACHE_INVALID);
    scan = (struct wbcache_scan){.group = 7};
    assert_int_equal(wbcache_scan(f.cache, &scan), WBCACHE_INVALID);
    assert_int_equal(f.plan.steps, 0);
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scan_gives_every_key_of_every_group),
        cmocka_unit_test(when_a_leader_changes_its_groups_keys_are_given_again_from_the_start),
        cmocka_unit_test(a_stale_scan_stays_with_the_node_that_it_began_at),
        cmocka_unit_test(a_stale_scan_goes_on_elsewhere_when_its_node_is_lost),
        cmocka_unit_test(a_scan_that_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
