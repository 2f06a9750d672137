#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/wbbench/route.h"

static struct route route;

/* Teach the route @group_count groups on nodes a:1, b:1, c:1 with ids 1 to 3; @leaders are ids. */
static bool learn(uint32_t group_count, const uint64_t *leaders, size_t n)
{
    Wbrpc__Node nodes[3];
    Wbrpc__Node *node_list[3];
    Wbrpc__GroupLeader groups[8];
    Wbrpc__GroupLeader *group_list[8];
    static const char *const names[] = {"a:1", "b:1", "c:1"};
    for (size_t i = 0; i < 3; i++) {
        wbrpc__node__init(&nodes[i]);
        nodes[i].id = i + 1;
        nodes[i].client_address = (char *)(uintptr_t)names[i];
        node_list[i] = &nodes[i];
    }
    for (size_t i = 0; i < n; i++) {
        wbrpc__group_leader__init(&groups[i]);
        groups[i].group = (uint32_t)i;
        groups[i].leader_id = leaders[i];
        group_list[i] = &groups[i];
    }
    Wbrpc__TopologyReply reply = WBRPC__TOPOLOGY_REPLY__INIT;
    reply.group_count = group_count;
    reply.n_nodes = 3;
    reply.nodes = node_list;
    reply.n_groups = n;
    reply.groups = group_list;
    return route_learn(&route, &reply);
}

static void takes_a_list_of_nodes_and_each_once(void **state)
{
    assert_true(route_init(&route, "a:1,b:1,,a:1,"));
    assert_int_equal(route.nodes.n, 2);
    assert_string_equal(route.nodes.addresses[1], "b:1");
    assert_false(route_init(&route, ""));
    assert_false(route_init(&route, ",,"));
    assert_false(route_init(&route, "a:1,b:1,c:1,d:1,e:1,f:1,g:1,h:1,i:1,j:1"));
}

static void learns_leaders_and_new_nodes(void **state)
{
    assert_true(route_init(&route, "b:1"));
    assert_true(learn(3, (const uint64_t[]){1, 2, 3}, 3));
    assert_string_equal(route.nodes.addresses[route.leaders[0]], "a:1");
    assert_int_equal(route.leaders[1], 0);
    assert_string_equal(route.nodes.addresses[route.leaders[2]], "c:1");
    assert_int_equal(route.nodes.n, 3);
}

static void an_unknown_leader_does_not_erase_a_known_one(void **state)
{
    assert_true(route_init(&route, "a:1"));
    assert_true(learn(3, (const uint64_t[]){1, 2, 3}, 3));
    int known = route.leaders[1];
    assert_true(learn(3, (const uint64_t[]){1, 0, 3}, 3));
    assert_int_equal(route.leaders[1], known);
}

static void a_node_that_is_gone_leads_nothing(void **state)
{
    assert_true(route_init(&route, "a:1,b:1"));
    assert_true(learn(3, (const uint64_t[]){1, 2, 1}, 3));
    route_forget_node(&route, 0);
    assert_int_equal(route.leaders[0], ROUTE_NONE);
    assert_int_equal(route.leaders[1], 1);
    assert_int_equal(route.leaders[2], ROUTE_NONE);
}

static void nonsense_is_refused(void **state)
{
    assert_true(route_init(&route, "a:1"));
    assert_false(learn(0, NULL, 0));
    assert_false(learn(LIMIT_GROUPS + 1, NULL, 0));
    assert_true(
        learn(2, (const uint64_t[]){1, 1, 1}, 3)); /* a leader of a group beyond the count is skipped */
    assert_int_equal(route.leaders[2], ROUTE_NONE);
    assert_false(learn(3, NULL, 0)); /* the count never changes */
    assert_int_equal(node_list_add(&route.nodes, bytes_of("x\0y", 3)), ROUTE_NONE);
    assert_int_equal(node_list_add(&route.nodes, bytes_of(NULL, 0)), ROUTE_NONE);
}

static void keys_map_to_groups_by_their_slots(void **state)
{
    assert_true(route_init(&route, "a:1"));
    assert_true(learn(3, NULL, 0));
    /* Slot of "123456789" is 12739 (the check value of CRC16/XMODEM, 0x31c3): the last third of 16384. */
    assert_int_equal(route_group(&route, bytes_from_text("123456789")), 2);
    assert_int_equal(route_group(&route, bytes_from_text("{123456789}x")), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_a_list_of_nodes_and_each_once),
        cmocka_unit_test(learns_leaders_and_new_nodes),
        cmocka_unit_test(an_unknown_leader_does_not_erase_a_known_one),
        cmocka_unit_test(a_node_that_is_gone_leads_nothing),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(keys_map_to_groups_by_their_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
