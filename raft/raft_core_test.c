#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "raft/handshake.h"
#include "raft/lease.h"
#include "raft/send_window.h"
#include "raft/spread.h"

/* ---- lease ---- */

static void a_lease_lasts_an_election_timeout_less_a_tenth_from_the_proposal(void **state)
{
    struct lease l;
    lease_init(&l, 1000, 0);
    assert_false(lease_valid(&l, 1));
    lease_renew(&l, 5000);
    assert_true(lease_valid(&l, 5000));
    assert_true(lease_valid(&l, 5899));
    assert_false(lease_valid(&l, 5900));
}

static void an_older_entry_never_shortens_the_lease(void **state)
{
    struct lease l;
    lease_init(&l, 1000, 0);
    lease_renew(&l, 5000);
    lease_renew(&l, 4000);
    assert_true(lease_valid(&l, 5899));
}

static void a_void_lease_is_renewed_only_by_what_was_proposed_after(void **state)
{
    struct lease l;
    lease_init(&l, 1000, 0);
    lease_renew(&l, 5000);
    lease_void(&l, 5100);
    assert_false(lease_valid(&l, 5100));
    lease_renew(&l, 5050);
    lease_renew(&l, 5100);
    assert_false(lease_valid(&l, 5101));
    lease_renew(&l, 5101);
    assert_true(lease_valid(&l, 5101));
}

static void no_lease_soon_after_the_start(void **state)
{
    struct lease l;
    lease_init(&l, 1000, 7000);
    lease_renew(&l, 6500);
    assert_false(lease_valid(&l, 6999));
    assert_true(lease_valid(&l, 7000));
}

/* ---- send window ---- */

static void the_window_refuses_over_its_limits_and_opens_again(void **state)
{
    struct send_window w;
    send_window_init(&w, 3, 100);
    const struct send_cost sixty = {.bytes = 60};
    const struct send_cost forty = {.bytes = 40};
    const struct send_cost none = {.bytes = 0};
    assert_true(send_window_take(&w, sixty));
    assert_false(send_window_take(&w, sixty));
    assert_true(send_window_take(&w, forty));
    assert_true(send_window_take(&w, none));
    assert_false(send_window_take(&w, none));
    assert_int_equal(w.refused, 2);
    send_window_give(&w, sixty);
    assert_true(send_window_take(&w, sixty));
}

static void a_message_alone_is_never_too_big(void **state)
{
    struct send_window w;
    send_window_init(&w, 3, 100);
    const struct send_cost big = {.bytes = 1000};
    assert_true(send_window_take(&w, big));
    assert_false(send_window_take(&w, (struct send_cost){.bytes = 1}));
    send_window_give(&w, big);
    assert_true(send_window_take(&w, (struct send_cost){.bytes = 1}));
}

static void one_snapshot_at_a_time_and_heartbeats_pass_it(void **state)
{
    struct send_window w;
    send_window_init(&w, 3, 100);
    const struct send_cost snapshot = {.bytes = 1000000, .snapshot = true};
    assert_true(send_window_take(&w, snapshot));
    assert_false(send_window_take(&w, snapshot));
    assert_true(send_window_take(&w, (struct send_cost){.bytes = 100}));
    send_window_give(&w, snapshot);
    assert_true(send_window_take(&w, snapshot));
}

/* ---- handshake ---- */

static struct handshake_hello some_hello(void)
{
    struct handshake_hello h = {
        .cluster_hash = 0x1122334455667788,
        .sender_id = 2,
        .target_id = 1,
        .group_count = 3,
        .group = 2,
        .election_timeout_ms = 300,
    };
    strcpy(h.address, "b:2");
    return h;
}

static const struct handshake_node nodes[] = {{1, "a:1"}, {2, "b:2"}, {3, "c:3"}};

static const struct handshake_self self = {
    .cluster_hash = 0x1122334455667788,
    .node_id = 1,
    .group_count = 3,
    .election_timeout_ms = 300,
    .nodes = nodes,
    .n_nodes = 3,
};

static void a_hello_comes_back_as_it_was_and_every_truncation_wants_more(void **state)
{
    static const size_t lengths[] = {1, 3, HANDSHAKE_ADDRESS_BYTES_MAX};
    for (size_t i = 0; i < 3; i++) {
        struct handshake_hello in = some_hello();
        memset(in.address, 0, sizeof in.address);
        memset(in.address, 'x', lengths[i]);
        struct buf b;
        buf_init(&b);
        handshake_hello_encode(&in, &b);
        assert_int_equal(b.len, HANDSHAKE_HELLO_HEAD_BYTES + lengths[i]);
        struct handshake_hello out;
        size_t size = 0;
        enum handshake_verdict verdict;
        for (size_t n = 0; n < b.len; n++) {
            assert_int_equal(handshake_hello_parse(bytes_of(b.data, n), &out, &size, &verdict), STATUS_AGAIN);
            assert_true(size > n && size <= b.len);
        }
        assert_int_equal(handshake_hello_parse(buf_bytes(&b), &out, &size, &verdict), STATUS_OK);
        assert_int_equal(size, b.len);
        assert_memory_equal(&in, &out, sizeof in);
        buf_deinit(&b);
    }
}

static enum handshake_verdict verdict_with_byte(size_t at, uint8_t value)
{
    struct handshake_hello in = some_hello();
    struct buf b;
    buf_init(&b);
    handshake_hello_encode(&in, &b);
    b.data[at] = value;
    struct handshake_hello out;
    size_t size = 0;
    enum handshake_verdict verdict = HANDSHAKE_ACCEPTED;
    enum status status = handshake_hello_parse(buf_bytes(&b), &out, &size, &verdict);
    assert_int_equal(status, STATUS_CORRUPT);
    buf_deinit(&b);
    return verdict;
}

static void strange_bytes_are_told_from_another_version(void **state)
{
    assert_int_equal(verdict_with_byte(0, 'G'), HANDSHAKE_GARBAGE);
    assert_int_equal(verdict_with_byte(7, 0), HANDSHAKE_GARBAGE);
    assert_int_equal(verdict_with_byte(9, 9), HANDSHAKE_VERSION);
    assert_int_equal(verdict_with_byte(11, 0), HANDSHAKE_GARBAGE); /* no address */
    assert_int_equal(verdict_with_byte(10, 1), HANDSHAKE_GARBAGE); /* an address of more than 255 bytes */
    assert_int_equal(verdict_with_byte(HANDSHAKE_HELLO_HEAD_BYTES, 0), HANDSHAKE_GARBAGE);
    struct handshake_hello out;
    size_t size;
    enum handshake_verdict verdict;
    assert_int_equal(handshake_hello_parse(bytes_from_text("GET"), &out, &size, &verdict),
        STATUS_CORRUPT); /* at the first bytes */
}

static void each_difference_is_refused_with_its_own_reason(void **state)
{
    struct handshake_hello h = some_hello();
    assert_int_equal(handshake_judge(&self, &h), HANDSHAKE_ACCEPTED);
    h.cluster_hash++;
    assert_int_equal(handshake_judge(&self, &h), HANDSHAKE_CLUSTER);
    h = some_hello();
    h.group_count = 4;
    assert_int_equal(handshake_judge(&self, &h), HANDSHAKE_GROUP_COUNT);
    h = some_hello();
    h.group = 3;
    assert_int_equal(handshake_judge(&self, &h), HANDSHAKE_GROUP);
    h = some_hello();
    h.sender_id = 9;
    assert_int_equal(handshake_judge(&self, &h), HANDSHAKE_SENDER);
    h = some_hello();
    h.sender_id = 1;
    assert_int_equal(handshake_judge(&self, &h), HANDSHAKE_SENDER);
    h = some_hello();
    h.target_id = 3;
    assert_int_equal(handshake_judge(&self, &h), HANDSHAKE_TARGET);
    h = some_hello();
    strcpy(h.address, "b:3");
    assert_int_equal(handshake_judge(&self, &h), HANDSHAKE_ADDRESS);
    h = some_hello();
    h.election_timeout_ms = 299;
    assert_int_equal(handshake_judge(&self, &h), HANDSHAKE_ELECTION_TIMEOUT);
}

static void an_ack_carries_each_verdict_and_anything_else_is_garbage(void **state)
{
    uint8_t ack[HANDSHAKE_ACK_BYTES];
    for (int v = 0; v < HANDSHAKE_VERDICTS; v++) {
        handshake_ack_encode((enum handshake_verdict)v, ack);
        assert_int_equal(handshake_ack_parse(ack), v);
        assert_non_null(handshake_verdict_text((enum handshake_verdict)v));
    }
    ack[11] = HANDSHAKE_VERDICTS;
    assert_int_equal(handshake_ack_parse(ack), HANDSHAKE_GARBAGE);
    handshake_ack_encode(HANDSHAKE_ACCEPTED, ack);
    ack[0] ^= 1;
    assert_int_equal(handshake_ack_parse(ack), HANDSHAKE_GARBAGE);
    assert_string_equal(handshake_verdict_name((enum handshake_verdict)99), "UNRECOGNISED");
}

/* ---- spread ---- */

enum { STABLE_MS = 1000, BREAK_MS = 300, COOLDOWN_MS = 600, GROUPS = 6 };

struct world {
    struct spread s;
    struct spread_view views[GROUPS];
    uint64_t now_ms;
};

/* Node 1 of {1, 2, 3} leads all groups, and has heard of nobody. */
static void world_init(struct world *w, uint32_t groups)
{
    static const uint64_t ids[] = {1, 2, 3};
    const struct spread_config config = {
        .self_id = 1,
        .group_count = groups,
        .stable_ms = STABLE_MS,
        .break_ms = BREAK_MS,
        .cooldown_ms = COOLDOWN_MS,
    };
    memset(w, 0, sizeof *w);
    spread_init(&w->s, &config, ids, 3);
    for (uint32_t g = 0; g < groups; g++) {
        w->views[g] = (struct spread_view){
            .leader_id = 1, .ours = true, .last_index = 1000, .match = {1000, 1000, 1000}};
        spread_led(&w->s, g, 5, 1);
    }
    w->now_ms = 1;
}

/* Time passes, and @ids (0-terminated) answer all the while. */
static void pass(struct world *w, uint64_t ms, uint64_t a, uint64_t b)
{
    for (uint64_t end_ms = w->now_ms + ms; w->now_ms < end_ms;) {
        w->now_ms += 50;
        spread_heard(&w->s, a, w->now_ms);
        spread_heard(&w->s, b, w->now_ms);
    }
}

static void give(struct world *w, uint32_t group, uint64_t target_id)
{
    w->views[group].leader_id = target_id;
    w->views[group].ours = false;
    spread_ended(&w->s, group, true, w->now_ms);
}

static void expect_move(const struct world *w, uint32_t group, uint64_t target_id)
{
    struct spread_move move = {.group = 99};
    assert_true(spread_plan(&w->s, w->views, w->now_ms, &move));
    assert_int_equal(move.group, group);
    assert_int_equal(move.target_id, target_id);
}

static void expect_rest(const struct world *w)
{
    struct spread_move move;
    assert_false(spread_plan(&w->s, w->views, w->now_ms, &move));
}

static void groups_go_home_one_by_one_with_a_pause_between(void **state)
{
    struct world w;
    world_init(&w, 3);
    expect_rest(&w);
    pass(&w, STABLE_MS + 100, 2, 3);
    expect_move(&w, 1, 2);
    spread_tried(&w.s, w.now_ms);
    expect_rest(&w);
    give(&w, 1, 2);
    expect_rest(&w);
    pass(&w, COOLDOWN_MS, 2, 3);
    expect_move(&w, 2, 3);
    give(&w, 2, 3);
    pass(&w, (uint64_t)10 * COOLDOWN_MS, 2, 3);
    expect_rest(&w);
}

static void a_peer_that_breaks_off_has_to_be_stable_again(void **state)
{
    struct world w;
    world_init(&w, 3);
    pass(&w, STABLE_MS + 100, 2, 3);
    pass(&w, BREAK_MS + 100, 3, 0); /* node 2 is silent */
    assert_false(spread_answers(&w.s, 2, w.now_ms));
    assert_true(spread_answers(&w.s, 3, w.now_ms));
    pass(&w, STABLE_MS - 200, 2, 3);
    expect_move(&w, 2, 3); /* group 1 waits for its home */
    give(&w, 2, 3);
    pass(&w, COOLDOWN_MS, 2, 3);
    expect_move(&w, 1, 2);
}

static void a_target_that_lags_is_not_given_anything(void **state)
{
    struct world w;
    world_init(&w, 2);
    pass(&w, STABLE_MS + 100, 2, 3);
    w.views[1].match[1] = 1000 - SPREAD_LAG_MAX_ENTRIES - 1;
    expect_rest(&w);
    w.views[1].match[1]++;
    expect_move(&w, 1, 2);
}

static void the_groups_of_a_node_that_is_away_are_shared_evenly_and_then_rest(void **state)
{
    struct world w;
    world_init(&w, 6);
    unsigned moves = 0;
    struct spread_move move;
    for (unsigned i = 0; i < 50; i++) {
        pass(&w, COOLDOWN_MS, 2, 0); /* node 3 is away */
        if (spread_plan(&w.s, w.views, w.now_ms, &move)) {
            assert_int_equal(move.target_id, 2);
            give(&w, move.group, move.target_id);
            moves++;
        }
    }
    /* 1 and 4 went home; of 2 and 5, which have no home now, one stayed and one went. */
    assert_int_equal(moves, 3);
    assert_int_equal(w.views[0].leader_id, 1);
    assert_int_equal(w.views[3].leader_id, 1);
}

static void an_odd_group_without_a_home_stays_where_it_is(void **state)
{
    struct world w;
    world_init(&w, 3);
    give(&w, 1, 2);
    pass(&w, (uint64_t)3 * STABLE_MS, 2, 0);
    expect_rest(&w); /* loads 2 and 1: no better the other way round */
}

static void a_group_that_was_just_taken_over_is_not_given_away(void **state)
{
    struct world w;
    world_init(&w, 3);
    give(&w, 1, 2);
    give(&w, 2, 3);
    pass(&w, (uint64_t)3 * STABLE_MS, 2, 3);
    expect_rest(&w);
    /* Node 2 stops, and hands its group over: it answers still, and has for long. */
    w.views[1].leader_id = 1;
    w.views[1].ours = true;
    spread_led(&w.s, 1, 6, w.now_ms);
    for (unsigned ms = 0; ms + 50 < STABLE_MS; ms += 50) {
        expect_rest(&w);
        pass(&w, 50, 2, 3);
        spread_led(&w.s, 1, 6, w.now_ms);
    }
    pass(&w, 50, 2, 3);
    expect_move(&w, 1, 2); /* it went on after all */
    spread_led(&w.s, 1, 7, w.now_ms);
    expect_rest(&w); /* another term is another office */
}

/* Three nodes that hear each other while they run, each with its own planner; node @away has left. */
static unsigned moves_of_two(unsigned away, const uint64_t leaders[3])
{
    static const uint64_t ids[] = {1, 2, 3};
    struct spread planners[4];
    uint64_t led_by[3] = {leaders[0], leaders[1], leaders[2]};
    uint64_t terms[3] = {1, 1, 1};
    unsigned moves = 0;
    for (uint64_t id = 1; id <= 3; id++) {
        spread_init(&planners[id],
            &(struct spread_config){.self_id = id,
                .group_count = 3,
                .stable_ms = STABLE_MS,
                .break_ms = BREAK_MS,
                .cooldown_ms = COOLDOWN_MS},
            ids, 3);
    }
    for (uint64_t now_ms = 50; now_ms < (uint64_t)20 * STABLE_MS; now_ms += 50) {
        for (uint64_t id = 1; id <= 3; id++) {
            struct spread_view views[3];
            struct spread_move move;
            for (uint64_t other = 1; other <= 3; other++) {
                bool there = other != away || now_ms <= STABLE_MS / 2;
                spread_heard(&planners[id], other, other != id && there ? now_ms : 0);
            }
            for (uint32_t g = 0; g < 3; g++) {
                views[g] = (struct spread_view){.leader_id = led_by[g], .ours = led_by[g] == id};
                if (views[g].ours) {
                    spread_led(&planners[id], g, terms[g], now_ms);
                }
            }
            if (id != away && spread_plan(&planners[id], views, now_ms, &move)) {
                moves++;
                led_by[move.group] = move.target_id;
                terms[move.group]++;
                spread_ended(&planners[id], move.group, true, now_ms);
            }
        }
    }
    return moves;
}

static void two_remaining_nodes_do_not_swap_groups_for_nothing(void **state)
{
    const struct {
        unsigned away;
        uint64_t leaders[3];
        unsigned moves;
    } rows[] = {
        {1, {2, 2, 3}, 0}, {1, {3, 2, 3}, 0}, {2, {1, 1, 3}, 0}, {2, {1, 3, 3}, 0}, {3, {1, 2, 1}, 0},
        {3, {1, 2, 2}, 0}, {1, {2, 3, 3}, 1}, /* group 1 goes home, and group 0 stays where it is */
        {1, {3, 3, 3}, 1},                    /* so it does when all were with one */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(moves_of_two(rows[i].away, rows[i].leaders), rows[i].moves);
    }
}

static void a_leader_that_does_not_answer_is_old_news(void **state)
{
    struct world w;
    world_init(&w, 3);
    give(&w, 1, 2);
    w.views[2].ours = false;
    w.views[2].leader_id = 3; /* it is gone, and who leads the group instead is not known here yet */
    pass(&w, (uint64_t)3 * STABLE_MS, 2, 0);
    expect_rest(&w);
    world_init(&w, 6);
    give(&w, 1, 2);
    give(&w, 4, 2);
    w.views[4].leader_id = 3;
    pass(&w, (uint64_t)3 * STABLE_MS, 2, 0);
    expect_rest(&w); /* by loads of 4, 1 and 1 node 2 would be given one */
}

static void no_load_is_compared_while_a_leader_is_not_known(void **state)
{
    struct world w;
    world_init(&w, 6);
    give(&w, 1, 2);
    give(&w, 4, 2);
    w.views[4].leader_id = 0;
    pass(&w, (uint64_t)3 * STABLE_MS, 2, 0);
    expect_rest(&w);
    w.views[4].leader_id = 2;
    expect_move(&w, 2, 2);
}

static void a_failed_transfer_waits_longer_each_time(void **state)
{
    struct world w;
    world_init(&w, 2);
    pass(&w, STABLE_MS + 100, 2, 3);
    uint64_t waited_before_ms = 0;
    for (unsigned i = 0; i < 4; i++) {
        expect_move(&w, 1, 2);
        spread_tried(&w.s, w.now_ms);
        spread_ended(&w.s, 1, false, w.now_ms);
        uint64_t failed_ms = w.now_ms;
        struct spread_move move;
        while (!spread_plan(&w.s, w.views, w.now_ms, &move)) {
            pass(&w, 50, 2, 3);
        }
        assert_true(w.now_ms - failed_ms > waited_before_ms + COOLDOWN_MS);
        waited_before_ms = w.now_ms - failed_ms;
    }
}

static void handing_over_prefers_the_follower_with_most_of_the_log(void **state)
{
    struct world w;
    world_init(&w, 1);
    assert_int_equal(spread_best_follower(&w.s, &w.views[0], w.now_ms), 0);
    pass(&w, 100, 2, 3);
    w.views[0].match[1] = 10;
    assert_int_equal(spread_best_follower(&w.s, &w.views[0], w.now_ms), 3);
    pass(&w, (uint64_t)2 * BREAK_MS, 2, 0);
    assert_int_equal(spread_best_follower(&w.s, &w.views[0], w.now_ms), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lease_lasts_an_election_timeout_less_a_tenth_from_the_proposal),
        cmocka_unit_test(an_older_entry_never_shortens_the_lease),
        cmocka_unit_test(a_void_lease_is_renewed_only_by_what_was_proposed_after),
        cmocka_unit_test(no_lease_soon_after_the_start),
        cmocka_unit_test(the_window_refuses_over_its_limits_and_opens_again),
        cmocka_unit_test(a_message_alone_is_never_too_big),
        cmocka_unit_test(one_snapshot_at_a_time_and_heartbeats_pass_it),
        cmocka_unit_test(a_hello_comes_back_as_it_was_and_every_truncation_wants_more),
        cmocka_unit_test(strange_bytes_are_told_from_another_version),
        cmocka_unit_test(each_difference_is_refused_with_its_own_reason),
        cmocka_unit_test(an_ack_carries_each_verdict_and_anything_else_is_garbage),
        cmocka_unit_test(groups_go_home_one_by_one_with_a_pause_between),
        cmocka_unit_test(a_peer_that_breaks_off_has_to_be_stable_again),
        cmocka_unit_test(a_target_that_lags_is_not_given_anything),
        cmocka_unit_test(the_groups_of_a_node_that_is_away_are_shared_evenly_and_then_rest),
        cmocka_unit_test(an_odd_group_without_a_home_stays_where_it_is),
        cmocka_unit_test(a_group_that_was_just_taken_over_is_not_given_away),
        cmocka_unit_test(two_remaining_nodes_do_not_swap_groups_for_nothing),
        cmocka_unit_test(a_leader_that_does_not_answer_is_old_news),
        cmocka_unit_test(no_load_is_compared_while_a_leader_is_not_known),
        cmocka_unit_test(a_failed_transfer_waits_longer_each_time),
        cmocka_unit_test(handing_over_prefers_the_follower_with_most_of_the_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
