#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/wbbench/redis_map.h"

static struct redis_map map;

static bool learn(const char *text)
{
    struct redis_reply r;
    size_t consumed;
    assert_int_equal(redis_reply_parse(bytes_from_text(text), &r, &consumed), STATUS_OK);
    return redis_map_learn(&map, 0, &r);
}

static bool moved(const char *text, int *node)
{
    return redis_map_moved(&map, 0, bytes_from_text(text), node);
}

/* Two masters, the first with a replica; ids and metadata as servers give them. */
#define RANGE(first, last, host, port)                                                                       \
    "*3\r\n:" first "\r\n:" last "\r\n*3\r\n" host ":" port "\r\n$2\r\nid\r\n"
#define HOST_A "$1\r\na\r\n"
#define HOST_B "$1\r\nb\r\n"

static void learns_the_masters_and_not_their_replicas(void **state)
{
    assert_true(redis_map_init(&map, "a:7"));
    assert_true(learn("*2\r\n*4\r\n:0\r\n:99\r\n*4\r\n" HOST_A ":7\r\n$2\r\nid\r\n*0\r\n*4\r\n" HOST_B
                      ":8\r\n$2\r\nix\r\n*0\r\n" RANGE("100", "16383", HOST_B, "9")));
    assert_int_equal(map.nodes.n, 2);
    assert_string_equal(map.nodes.addresses[1], "b:9");
    assert_int_equal(map.owners[0], 0);
    assert_int_equal(map.owners[99], 0);
    assert_int_equal(map.owners[100], 1);
    assert_int_equal(map.owners[16383], 1);
}

static void a_master_without_a_host_is_where_the_answer_came_from(void **state)
{
    assert_true(redis_map_init(&map, "h:7"));
    assert_true(learn("*2\r\n" RANGE("0", "1", "$0\r\n\r\n", "8") RANGE("2", "16383", "$-1\r\n", "9")));
    assert_string_equal(map.nodes.addresses[map.owners[0]], "h:8");
    assert_string_equal(map.nodes.addresses[map.owners[2]], "h:9");
}

static void what_leaves_a_slot_without_a_master_changes_nothing(void **state)
{
    static const char *const wrong[] = {
        "-ERR This instance has cluster support disabled\r\n",
        "*0\r\n",
        "*1\r\n" RANGE("0", "16382", HOST_A, "7"),
        "*2\r\n" RANGE("0", "99", HOST_A, "7") RANGE("101", "16383", HOST_B, "7"),
        "*1\r\n" RANGE("0", "16384", HOST_A, "7"),
        "*1\r\n" RANGE("-1", "16383", HOST_A, "7"),
        "*1\r\n" RANGE("9", "8", HOST_A, "7"),
        "*1\r\n" RANGE("0", "16383", HOST_A, "0"),
        "*1\r\n" RANGE("0", "16383", HOST_A, "65536"),
        "*1\r\n" RANGE("0", "16383", ":1\r\n", "7"),
        "*1\r\n*2\r\n:0\r\n:16383\r\n",
        "*1\r\n:5\r\n",
    };
    assert_true(redis_map_init(&map, "a:7"));
    redis_map_give_all(&map, 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_false(learn(wrong[i]));
        assert_int_equal(map.owners[0], 0);
        assert_int_equal(map.owners[16383], 0);
    }
}

static void a_moved_slot_has_a_new_owner(void **state)
{
    int node = -7;
    assert_true(redis_map_init(&map, "a:7"));
    redis_map_give_all(&map, 0);
    assert_true(moved("MOVED 16383 b:9", &node));
    assert_int_equal(node, 1);
    assert_string_equal(map.nodes.addresses[1], "b:9");
    assert_int_equal(map.owners[16383], 1);
    assert_int_equal(map.owners[16382], 0);
    assert_true(moved("MOVED 0 ::1:9", &node));
    assert_string_equal(map.nodes.addresses[node], "::1:9");
    assert_true(moved("MOVED 1 :8", &node));
    assert_string_equal(map.nodes.addresses[node], "a:8");
    assert_true(moved("MOVED 1 a:7", &node));
    assert_int_equal(node, 0);
}

static void what_is_no_moved_is_left_alone(void **state)
{
    static const char *const others[] = {"ASK 1 b:9", "MOVED", "MOVED 1", "MOVED 16384 b:9", "MOVED x b:9",
        "MOVED 1 b", "MOVED 1 b:", "MOVED 1 b:0", "MOVED 1 b:70000", "CLUSTERDOWN The cluster is down", ""};
    assert_true(redis_map_init(&map, "a:7"));
    redis_map_give_all(&map, 0);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        int node;
        assert_false(moved(others[i], &node));
        assert_int_equal(map.owners[1], 0);
    }
    char longer[1000];
    memset(longer, 'x', sizeof longer);
    memcpy(longer, "MOVED 1 ", 8);
    int node;
    assert_false(redis_map_moved(&map, 0, bytes_of(longer, sizeof longer), &node));
    assert_int_equal(map.nodes.n, 1);
}

static void each_key_is_with_the_node_that_has_its_slot(void **state)
{
    enum { N = 1000 };
    uint16_t *slots = malloc(N * sizeof *slots);
    bool seen[N] = {false};
    for (int i = 0; i < N; i++) {
        slots[i] = (uint16_t)(i * 37 % SLOT_COUNT);
    }
    struct redis_keys k;
    redis_keys_init(&k, N, slots);
    assert_true(redis_map_init(&map, "a:1,b:1,c:1"));
    for (int i = 0; i < SLOT_COUNT; i++) {
        map.owners[i] = i % 2 == 0 ? 0 : 2;
    }
    for (int round = 0; round < 2; round++) {
        memset(seen, 0, sizeof seen);
        redis_keys_sort(&k, &map);
        assert_int_equal(redis_keys_of(&k, 1), 0);
        assert_int_equal(redis_keys_of(&k, 0) + redis_keys_of(&k, 2), N);
        for (int node = 0; node < 3; node++) {
            for (uint32_t i = 0; i < redis_keys_of(&k, node); i++) {
                uint32_t key = redis_keys_at(&k, node, i);
                assert_int_equal(map.owners[slots[key]], node);
                assert_false(seen[key]);
                seen[key] = true;
            }
        }
        map.owners[slots[5]] = 0; /* sorted anew, it is with the other node */
    }
    redis_keys_deinit(&k);
    redis_keys_init(&k, 10, NULL);
    redis_map_give_all(&map, 1);
    redis_keys_sort(&k, &map);
    assert_int_equal(redis_keys_of(&k, 1), 10);
    redis_keys_deinit(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learns_the_masters_and_not_their_replicas),
        cmocka_unit_test(a_master_without_a_host_is_where_the_answer_came_from),
        cmocka_unit_test(what_leaves_a_slot_without_a_master_changes_nothing),
        cmocka_unit_test(a_moved_slot_has_a_new_owner),
        cmocka_unit_test(what_is_no_moved_is_left_alone),
        cmocka_unit_test(each_key_is_with_the_node_that_has_its_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
