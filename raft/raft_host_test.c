#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "raft/test_cluster.h"

static struct replica *replica_of(struct test_node *n, uint32_t group)
{
    return raft_host_replica(n->host, group);
}

static struct test_node *wait_leader(struct test_cluster *c, uint32_t group)
{
    TEST_WAIT(c, test_leader(c, group) != NULL);
    return test_leader(c, group);
}

static struct replica_info info_of(struct test_node *n, uint32_t group)
{
    struct replica_info info;
    replica_info(replica_of(n, group), &info);
    return info;
}

static void elects_a_leader_per_group_and_applies_the_same_everywhere(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 3);
    test_cluster_open_nodes(&c);
    for (uint32_t g = 0; g < 3; g++) {
        wait_leader(&c, g);
        test_propose(&c, g, 100, 128);
    }
    for (uint32_t g = 0; g < 3; g++) {
        TEST_WAIT(&c, test_applied(&c, g, 100));
    }
    struct test_node *leader = wait_leader(&c, 0);
    struct replica_info info = info_of(leader, 0);
    assert_string_equal(info.role, "leader");
    assert_true(info.leader_id == leader->id);
    assert_true(info.applied_index == info.last_index);
    TEST_WAIT(&c, replica_match_index(replica_of(leader, 0), test_other(&c, leader)->id) == info.last_index);
    test_cluster_close(&c);
}

static void a_follower_proposes_nothing_and_names_the_leader(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    test_cluster_open_nodes(&c);
    struct test_node *leader = wait_leader(&c, 0);
    struct test_node *follower = test_other(&c, leader);
    TEST_WAIT(&c, info_of(follower, 0).leader_id == leader->id);
    uint8_t entry[16] = {0};
    assert_int_equal(
        replica_propose(replica_of(follower, 0), bytes_of(entry, sizeof entry), NULL), STATUS_NOT_LEADER);
    assert_int_equal(replica_barrier(replica_of(follower, 0), 1), STATUS_NOT_LEADER);
    assert_int_equal(replica_transfer(replica_of(follower, 0), 0), STATUS_NOT_LEADER);
    assert_false(replica_lease_valid(replica_of(follower, 0)));
    test_cluster_close(&c);
}

static void an_idle_leader_renews_its_lease_by_a_barrier(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    test_cluster_open_nodes(&c);
    struct test_node *leader = wait_leader(&c, 0);
    struct replica *r = replica_of(leader, 0);
    TEST_WAIT(&c, !replica_lease_valid(r)); /* that of the gate's barrier runs out when nothing follows */
    assert_int_equal(replica_barrier(r, 77), STATUS_OK);
    TEST_WAIT(&c, leader->groups[0].barrier_token == 77);
    assert_true(replica_lease_valid(r));
    assert_int_equal(leader->groups[0].count, 0); /* barriers are not commands */
    test_cluster_close(&c);
}

static uint64_t contact_age_of(struct test_node *n)
{
    return replica_contact_age_ms(replica_of(n, 0));
}

static void a_followers_contact_age_grows_only_while_it_hears_no_leader(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    unsigned election_ms = c.config.election_timeout_ms;
    test_node_open(&c.nodes[0]);
    TEST_WAIT(&c, contact_age_of(&c.nodes[0]) > 2 * election_ms); /* it never heard one: since its start */
    assert_int_equal(info_of(&c.nodes[0], 0).leader_id, 0);
    test_node_open(&c.nodes[1]);
    test_node_open(&c.nodes[2]);
    struct test_node *leader = wait_leader(&c, 0);
    struct test_node *follower = test_other(&c, leader), *third = test_other(&c, follower);
    TEST_WAIT(&c, contact_age_of(follower) < election_ms);

    /* Left alone it stands for election again and again, which is no contact; nor is another without a
     * leader. */
    test_node_close(leader);
    test_node_close(third);
    TEST_WAIT(&c, contact_age_of(follower) > 3 * election_ms);
    assert_string_not_equal(info_of(follower, 0).role, "leader");
    test_node_open(third);
    leader = wait_leader(&c, 0);
    if (leader != follower) {
        TEST_WAIT(&c, contact_age_of(follower) < election_ms);
    }
    test_cluster_close(&c);
}

static void a_leaders_contact_age_is_0_under_its_lease_and_counts_from_its_end(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    test_cluster_open_nodes(&c);
    struct test_node *leader = wait_leader(&c, 0);
    struct replica *r = replica_of(leader, 0);
    assert_int_equal(replica_barrier(r, 1), STATUS_OK);
    TEST_WAIT(&c, leader->groups[0].barrier_token == 1);
    if (replica_lease_valid(r)) {
        assert_int_equal(contact_age_of(leader), 0);
    }
    TEST_WAIT(&c, contact_age_of(leader) > 50); /* nothing renews the lease */
    assert_false(replica_lease_valid(r));
    assert_true(info_of(leader, 0).leader);
    assert_int_equal(replica_barrier(r, 2), STATUS_OK);
    TEST_WAIT(&c, contact_age_of(leader) == 0);
    test_cluster_close(&c);
}

static void a_transfer_voids_the_lease_closes_the_gate_and_loses_no_entry(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    test_cluster_open_nodes(&c);
    struct test_node *leader = wait_leader(&c, 0);
    struct test_node *target = test_other(&c, leader);
    struct replica *r = replica_of(leader, 0);
    test_propose(&c, 0, 50, 1024);

    assert_int_equal(replica_transfer(r, 999), STATUS_INVALID);
    assert_int_equal(replica_transfer(r, leader->id), STATUS_INVALID);
    assert_int_equal(replica_transfer(r, target->id), STATUS_OK);
    assert_int_equal(replica_transfer(r, target->id), STATUS_UNAVAILABLE);
    assert_true(replica_transferring(r));
    uint8_t entry[8] = {0};
    assert_int_equal(replica_propose(r, bytes_of(entry, sizeof entry), NULL), STATUS_NOT_LEADER);
    assert_true(leader->groups[0].gate_open); /* nothing calls back from inside the call */

    TEST_WAIT(&c, !leader->groups[0].gate_open);
    assert_int_equal(leader->groups[0].count, 50); /* so no client was told 'unknown' */
    assert_false(replica_lease_valid(r));
    TEST_WAIT(&c, target->groups[0].gate_open && !replica_transferring(r));
    assert_true(info_of(target, 0).term > 1);
    test_propose(&c, 0, 10, 64);
    TEST_WAIT(&c, test_applied(&c, 0, 60));
    assert_int_equal(leader->groups[0].gates_closed, 1);
    test_cluster_close(&c);
}

static void a_transfer_to_a_dead_node_is_given_up_and_the_gate_stays_open(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    test_cluster_open_nodes(&c);
    struct test_node *leader = wait_leader(&c, 0);
    struct test_node *dead = test_other(&c, leader);
    test_node_close(dead);
    test_propose(&c, 0, 10, 64);
    TEST_WAIT(&c, test_applied(&c, 0, 10));
    assert_int_equal(replica_transfer(replica_of(leader, 0), dead->id), STATUS_OK);
    TEST_WAIT(&c, !replica_transferring(replica_of(leader, 0)));
    assert_int_equal(leader->groups[0].gates_closed, 0);
    test_propose(&c, 0, 10, 64);
    TEST_WAIT(&c, test_applied(&c, 0, 20));
    test_cluster_close(&c);
}

static void a_role_lost_and_regained_between_two_polls_still_ends_the_office(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    test_cluster_open_nodes(&c);
    struct test_node *leader = wait_leader(&c, 0);
    struct replica *r = replica_of(leader, 0);
    uint64_t token = 5;
    assert_int_equal(replica_barrier(r, token), STATUS_OK);
    TEST_WAIT(&c, leader->groups[0].barrier_token == token); /* nothing is in flight now */
    assert_true(replica_lease_valid(r));

    /* What the library's step callback would see in such a moment. */
    unsigned short role = r->raft.state;
    r->raft.state = RAFT_CANDIDATE;
    r->raft.legacy.step_cb(&r->raft);
    r->raft.state = role;

    uint8_t entry[8] = {0};
    assert_int_equal(replica_propose(r, bytes_of(entry, sizeof entry), NULL), STATUS_NOT_LEADER);
    assert_false(replica_lease_valid(r));
    assert_false(info_of(leader, 0).gate_open);
    TEST_WAIT(&c, leader->groups[0].gates_closed == 1);
    TEST_WAIT(&c, leader->groups[0].gates_opened == 2); /* after another barrier */
    test_cluster_close(&c);
}

static void the_others_go_on_when_the_leader_closes_and_it_catches_up_from_its_disk(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    test_cluster_open_nodes(&c);
    struct test_node *old = wait_leader(&c, 0);
    test_propose(&c, 0, 30, 256);
    TEST_WAIT(&c, test_applied(&c, 0, 30));
    test_node_close(old);
    assert_int_equal(old->groups[0].gates_closed, 1);
    struct test_node *leader = wait_leader(&c, 0);
    assert_ptr_not_equal(leader, old);
    test_propose(&c, 0, 30, 256);
    TEST_WAIT(&c, test_applied(&c, 0, 60));
    test_node_open(old);
    TEST_WAIT(&c, test_applied(&c, 0, 60));
    assert_int_equal(old->groups[0].restores, 0);
    test_cluster_close(&c);
}

static void everything_is_there_after_all_nodes_restart(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 2);
    test_cluster_open_nodes(&c);
    for (uint32_t g = 0; g < 2; g++) {
        wait_leader(&c, g);
        test_propose(&c, g, 40, 512);
        TEST_WAIT(&c, test_applied(&c, g, 40));
    }
    uint64_t hash = c.nodes[0].groups[1].hash;
    for (unsigned i = 0; i < TEST_NODES; i++) {
        test_node_close(&c.nodes[i]);
    }
    test_cluster_open_nodes(&c);
    for (uint32_t g = 0; g < 2; g++) {
        TEST_WAIT(&c, test_applied(&c, g, 40));
    }
    assert_true(c.nodes[0].groups[1].hash == hash);
    test_cluster_close(&c);
}

static void a_follower_far_behind_comes_back_by_a_snapshot(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    c.config.snapshot_log_bytes = UINT64_C(16) * 1024;
    c.config.snapshot_trailing = 8;
    test_cluster_open_nodes(&c);
    struct test_node *leader = wait_leader(&c, 0);
    struct test_node *behind = test_other(&c, leader);
    test_propose(&c, 0, 5, 64);
    TEST_WAIT(&c, test_applied(&c, 0, 5));
    test_node_close(behind);
    uint64_t count = 5;
    for (unsigned round = 1; leader->groups[0].snapshots < 2; round++) {
        test_propose(&c, 0, 50, 1024);
        count += 50;
        TEST_WAIT(&c, test_applied(&c, 0, count));
    }
    test_node_open(behind);
    TEST_WAIT(&c, test_applied(&c, 0, count));
    assert_true(behind->groups[0].restores >= 1);
    test_propose(&c, 0, 5, 64);
    TEST_WAIT(&c, test_applied(&c, 0, count + 5));
    /* And its own restart restores that snapshot from its disk. */
    test_node_close(behind);
    test_node_open(behind);
    assert_int_equal(behind->groups[0].restores, 1);
    TEST_WAIT(&c, test_applied(&c, 0, count + 5));
    test_cluster_close(&c);
}

/* A follower's commit index can go back below what has applied; the library would label the snapshot with it.
 */
static void no_snapshot_is_taken_under_an_index_that_its_state_is_beyond(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    test_cluster_open_nodes(&c);
    struct replica *r = replica_of(wait_leader(&c, 0), 0);
    struct raft_buffer *bufs;
    unsigned n;
    raft_index commit = r->raft.commit_index;
    r->raft.commit_index = commit - 1;
    assert_int_equal(r->fsm.snapshot(&r->fsm, &bufs, &n), RAFT_BUSY);
    r->raft.commit_index = commit;
    assert_int_equal(r->fsm.snapshot(&r->fsm, &bufs, &n), 0);
    r->fsm.snapshot_finalize(&r->fsm, &bufs, &n);
    test_cluster_close(&c);
}

static void barriers_alone_make_a_snapshot_due(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    c.config.snapshot_log_bytes = 1024;
    test_cluster_open_nodes(&c);
    struct test_node *leader = wait_leader(&c, 0);
    for (uint64_t token = 1; leader->groups[0].snapshots == 0; token++) {
        assert_int_equal(replica_barrier(replica_of(leader, 0), token), STATUS_OK);
        TEST_WAIT(&c, leader->groups[0].barrier_token == token);
        assert_true(token < 1000);
    }
    test_cluster_close(&c);
}

static void set_flag(void *data)
{
    *(bool *)data = true;
}

static void a_node_that_shuts_down_hands_all_its_groups_over(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 3);
    test_cluster_open_nodes(&c);
    for (uint32_t g = 0; g < 3; g++) {
        wait_leader(&c, g);
    }
    struct test_node *leaving = test_leader(&c, 0);
    bool done = false;
    raft_host_hand_over(leaving->host, 20 * 1000, set_flag, &done);
    assert_false(done);
    TEST_WAIT(&c, done);
    for (uint32_t g = 0; g < 3; g++) {
        assert_string_not_equal(info_of(leaving, g).role, "leader");
    }
    test_cluster_close(&c);
}

static void handing_over_ends_by_its_timeout_when_nobody_is_there(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    test_cluster_open_nodes(&c);
    struct test_node *leader = wait_leader(&c, 0);
    for (unsigned i = 0; i < TEST_NODES; i++) {
        if (&c.nodes[i] != leader) {
            test_node_close(&c.nodes[i]);
        }
    }
    bool done = false;
    raft_host_hand_over(leader->host, 50, set_flag, &done);
    TEST_WAIT(&c, done);
    test_cluster_close(&c);
}

static bool one_group_each(struct test_cluster *c)
{
    for (uint32_t g = 0; g < 3; g++) {
        if (test_leader(c, g) != &c->nodes[g]) {
            return false;
        }
    }
    return true;
}

static unsigned times_logged(const struct test_node *n, const char *text)
{
    unsigned times = 0;
    for (const char *at = n->log_text; at != NULL && (at = strstr(at, text)) != NULL; at++) {
        times++;
    }
    return times;
}

static unsigned transfers_logged(const struct test_node *n, uint32_t group)
{
    char line[40];
    snprintf(line, sizeof line, " transfer group=%u ", group);
    return times_logged(n, line);
}

static void nodes_that_all_stop_at_once_try_each_group_twice_and_are_done(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 3);
    c.config.spread_stable_ms = 200;
    test_cluster_open_nodes(&c);
    TEST_WAIT(&c, one_group_each(&c)); /* so that each has something to hand over */
    unsigned transfers[TEST_NODES][3];
    bool done[TEST_NODES] = {false};
    for (unsigned i = 0; i < TEST_NODES; i++) {
        for (uint32_t g = 0; g < 3; g++) {
            transfers[i][g] = transfers_logged(&c.nodes[i], g);
        }
        raft_host_hand_over(c.nodes[i].host, 2000, set_flag, &done[i]);
    }
    TEST_WAIT(&c, done[0] && done[1] && done[2]);
    for (unsigned i = 0; i < TEST_NODES; i++) {
        for (uint32_t g = 0; g < 3; g++) {
            assert_true(transfers_logged(&c.nodes[i], g) - transfers[i][g] <= 2);
        }
    }
    test_cluster_close(&c);
}

/* The node that hands over does not close here, so that in the end it gets its group back: but not before the
 * heir has led it for spread_stable_ms. */
static void a_group_taken_over_is_not_given_back_at_once(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 3);
    c.config.spread_stable_ms = 2000;
    test_cluster_open_nodes(&c);
    TEST_WAIT(&c, one_group_each(&c));
    bool done = false;
    uint64_t begun_ms = uv_hrtime() / 1000000;
    raft_host_hand_over(c.nodes[2].host, 20 * 1000, set_flag, &done);
    TEST_WAIT(&c, done && test_leader(&c, 2) != NULL);
    assert_ptr_not_equal(test_leader(&c, 2), &c.nodes[2]);
    TEST_WAIT(&c, one_group_each(&c));
    assert_true(uv_hrtime() / 1000000 - begun_ms >= c.config.spread_stable_ms);
    test_cluster_close(&c);
}

static void leaders_spread_and_spread_again_when_a_node_returns(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 3);
    c.config.spread_stable_ms = 200;
    test_cluster_open_nodes(&c);
    TEST_WAIT(&c, one_group_each(&c));
    test_node_close(&c.nodes[2]);
    struct test_node *stand_in = wait_leader(&c, 2);
    assert_ptr_not_equal(stand_in, &c.nodes[2]);
    test_node_open(&c.nodes[2]);
    TEST_WAIT(&c, one_group_each(&c));
    test_cluster_close(&c);
}

static void a_full_disk_refuses_proposals_and_says_so(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    c.config.disk_free_min_bytes = UINT64_MAX;
    test_cluster_open_nodes(&c);
    struct test_node *leader = wait_leader(&c, 0);
    uint8_t entry[8] = {0};
    assert_int_equal(
        replica_propose(replica_of(leader, 0), bytes_of(entry, sizeof entry), NULL), STATUS_NO_SPACE);
    assert_true(test_logged(leader, "disk-low"));
    replica_set_disk_low(replica_of(leader, 0), false);
    assert_int_equal(replica_propose(replica_of(leader, 0), bytes_of(entry, sizeof entry), NULL), STATUS_OK);
    TEST_WAIT(&c, test_applied(&c, 0, 1));
    test_cluster_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elects_a_leader_per_group_and_applies_the_same_everywhere),
        cmocka_unit_test(a_follower_proposes_nothing_and_names_the_leader),
        cmocka_unit_test(an_idle_leader_renews_its_lease_by_a_barrier),
        cmocka_unit_test(a_followers_contact_age_grows_only_while_it_hears_no_leader),
        cmocka_unit_test(a_leaders_contact_age_is_0_under_its_lease_and_counts_from_its_end),
        cmocka_unit_test(a_transfer_voids_the_lease_closes_the_gate_and_loses_no_entry),
        cmocka_unit_test(a_transfer_to_a_dead_node_is_given_up_and_the_gate_stays_open),
        cmocka_unit_test(a_role_lost_and_regained_between_two_polls_still_ends_the_office),
        cmocka_unit_test(the_others_go_on_when_the_leader_closes_and_it_catches_up_from_its_disk),
        cmocka_unit_test(everything_is_there_after_all_nodes_restart),
        cmocka_unit_test(a_follower_far_behind_comes_back_by_a_snapshot),
        cmocka_unit_test(no_snapshot_is_taken_under_an_index_that_its_state_is_beyond),
        cmocka_unit_test(barriers_alone_make_a_snapshot_due),
        cmocka_unit_test(a_node_that_shuts_down_hands_all_its_groups_over),
        cmocka_unit_test(handing_over_ends_by_its_timeout_when_nobody_is_there),
        cmocka_unit_test(nodes_that_all_stop_at_once_try_each_group_twice_and_are_done),
        cmocka_unit_test(a_group_taken_over_is_not_given_back_at_once),
        cmocka_unit_test(leaders_spread_and_spread_again_when_a_node_returns),
        cmocka_unit_test(a_full_disk_refuses_proposals_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
