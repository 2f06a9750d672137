/* The cluster as its clients see it: ids, ranges, replicas; and CLUSTER SLOTS, SHARDS and NODES agree,
 * whoever leads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/redis/cluster_view.h"
#include "node/redis/local.h"
#include "proto/slot.h"

struct fixture {
    struct redis_view_node nodes[LIMIT_NODES];
    unsigned leader[LIMIT_GROUPS];
    bool known[LIMIT_GROUPS];
    struct redis_node_view view;
};

static void make_view(struct fixture *f, unsigned nodes, uint32_t groups)
{
    memset(f, 0, sizeof(*f));
    for (unsigned i = 0; i < nodes; i++) {
        cluster_view_node_id("test", i + 1, f->nodes[i].id);
        snprintf(f->nodes[i].host, sizeof(f->nodes[i].host), "10.0.0.%u", i + 1);
        f->nodes[i].port = 7000 + i;
        f->nodes[i].peer_port = 17000 + i;
        f->nodes[i].heard = true;
    }
    f->view = (struct redis_node_view){.nodes = f->nodes,
        .n_nodes = nodes,
        .group_count = groups,
        .leader = f->leader,
        .leader_known = f->known,
        .epoch = 7,
        .now_us = 1000000000};
}

static void ids_are_forty_hex_digits_and_always_the_same(void **state)
{
    (void)state;
    char id[REDIS_NODE_ID_CHARS + 1];
    cluster_view_node_id("cache", 1, id);
    assert_int_equal(strlen(id), REDIS_NODE_ID_CHARS);
    assert_int_equal(strspn(id, "0123456789abcdef"), REDIS_NODE_ID_CHARS);
    /* Clients may keep ids: a new version of ours must not have others. */
    assert_string_equal(id, "76fe47dc2a883e4df01bb97c661bb9ee000284d0");
}

static void ids_differ_between_nodes_and_clusters(void **state)
{
    (void)state;
    static const char *const names[] = {"", "a", "b", "ab", "cache"};
    enum { N = 5 * LIMIT_NODES };
    char ids[N][REDIS_NODE_ID_CHARS + 1];
    for (unsigned i = 0; i < N; i++) {
        cluster_view_node_id(names[i / LIMIT_NODES], i % LIMIT_NODES + 1, ids[i]);
        for (unsigned k = 0; k < i; k++) {
            assert_string_not_equal(ids[i], ids[k]);
            /* Not only by a few digits. */
            assert_memory_not_equal(ids[i], ids[k], 16);
            assert_string_not_equal(ids[i] + 24, ids[k] + 24);
        }
    }
}

static void ranges_that_touch_are_one(void **state)
{
    (void)state;
    struct fixture f;
    struct cluster_range ranges[LIMIT_GROUPS];
    make_view(&f, 3, 3);
    assert_int_equal(cluster_view_ranges(&f.view, ranges), 1);
    assert_int_equal(ranges[0].first, 0);
    assert_int_equal(ranges[0].last, SLOT_COUNT - 1);
    f.leader[1] = 2;
    assert_int_equal(cluster_view_ranges(&f.view, ranges), 3);
    assert_int_equal(ranges[0].last + 1, ranges[1].first);
    assert_int_equal(ranges[1].master, 2);
    assert_int_equal(ranges[2].master, 0);
    f.leader[0] = 2;
    assert_int_equal(cluster_view_ranges(&f.view, ranges), 2);
}

static void who_leads_nothing_is_a_replica_of_one_who_does(void **state)
{
    (void)state;
    struct fixture f;
    make_view(&f, 5, 2);
    f.leader[0] = 3;
    f.leader[1] = 1;
    assert_int_equal(cluster_view_master(&f.view, 1), 1);
    assert_int_equal(cluster_view_master(&f.view, 3), 3);
    /* They are dealt out in turn. */
    assert_int_equal(cluster_view_master(&f.view, 0), 1);
    assert_int_equal(cluster_view_master(&f.view, 2), 3);
    assert_int_equal(cluster_view_master(&f.view, 4), 1);
}

static void a_minority_knows_that_it_is_one(void **state)
{
    (void)state;
    struct fixture f;
    make_view(&f, 3, 1);
    f.nodes[0].heard = false; /* it is this node itself */
    assert_true(cluster_view_majority(&f.view));
    f.nodes[1].heard = false;
    assert_true(cluster_view_majority(&f.view));
    f.nodes[2].heard = false;
    assert_false(cluster_view_majority(&f.view));
}

/* ---- What clients read ---- */

/* Their picture of the cluster, from one of the commands. Ports are the nodes' names here. */
struct picture {
    unsigned master_of_slot[SLOT_COUNT];  /* port */
    unsigned master_of_node[LIMIT_NODES]; /* port; by the node's number */
    bool is_there[LIMIT_NODES];
};

static struct buf ask(struct fixture *f, const char *sub, const char *arg)
{
    struct bytes args[] = {
        bytes_from_text("cluster"), bytes_from_text(sub), bytes_from_text(arg != NULL ? arg : "")};
    struct buf reply;
    buf_init(&reply);
    struct resp_writer writer = {&reply, 2};
    const struct redis_command *command = redis_command_sub(redis_command_find(args[0]), args, 2);
    struct redis_local_call call = {
        .command = command, .args = args, .n = arg != NULL ? 3 : 2, .view = &f->view, .out = &writer};
    assert_non_null(command);
    command->local(&call);
    buf_append_u8(&reply, 0);
    return reply;
}

static long number_at(char **at, char type)
{
    assert_int_equal(**at, type);
    long n = strtol(*at + 1, at, 10);
    assert_memory_equal(*at, "\r\n", 2);
    *at += 2;
    return n;
}

static char *text_at(char **at)
{
    long n = number_at(at, '$');
    char *text = *at;
    *at += n + 2;
    (*at)[-2] = 0;
    return text;
}

static unsigned node_of_port(long port)
{
    assert_in_range(port, 7000, 7000 + LIMIT_NODES - 1);
    return (unsigned)port - 7000;
}

static unsigned read_slots_node(struct fixture *f, char **at)
{
    assert_int_equal(number_at(at, '*'), 4);
    char *host = text_at(at);
    long port = number_at(at, ':');
    assert_string_equal(host, f->nodes[node_of_port(port)].host);
    assert_string_equal(text_at(at), f->nodes[node_of_port(port)].id);
    assert_int_equal(number_at(at, '*'), 0);
    return (unsigned)port;
}

static void read_slots(struct fixture *f, struct picture *p)
{
    struct buf reply = ask(f, "slots", NULL);
    char *at = (char *)reply.data;
    for (long n = number_at(&at, '*'); n > 0; n--) {
        long elements = number_at(&at, '*'), first = number_at(&at, ':'), last = number_at(&at, ':');
        unsigned master = read_slots_node(f, &at);
        p->is_there[node_of_port(master)] = true;
        p->master_of_node[node_of_port(master)] = master;
        for (long slot = first; slot <= last; slot++) {
            assert_int_equal(p->master_of_slot[slot], 0);
            p->master_of_slot[slot] = master;
        }
        for (; elements > 3; elements--) {
            unsigned replica = read_slots_node(f, &at);
            p->is_there[node_of_port(replica)] = true;
            p->master_of_node[node_of_port(replica)] = master;
        }
    }
    assert_int_equal(*at, 0);
    buf_deinit(&reply);
}

static void read_shard_node(struct fixture *f, char **at, unsigned *master, struct picture *p)
{
    assert_int_equal(number_at(at, '*'), 14);
    assert_string_equal(text_at(at), "id");
    char *id = text_at(at);
    assert_string_equal(text_at(at), "port");
    unsigned port = (unsigned)number_at(at, ':');
    assert_string_equal(id, f->nodes[node_of_port(port)].id);
    assert_string_equal(text_at(at), "ip");
    assert_string_equal(text_at(at), f->nodes[node_of_port(port)].host);
    assert_string_equal(text_at(at), "endpoint");
    assert_string_equal(text_at(at), f->nodes[node_of_port(port)].host);
    assert_string_equal(text_at(at), "role");
    bool is_master = strcmp(text_at(at), "master") == 0;
    assert_int_equal(is_master, *master == 0);
    *master = is_master ? port : *master;
    assert_string_equal(text_at(at), "replication-offset");
    number_at(at, ':');
    assert_string_equal(text_at(at), "health");
    p->is_there[node_of_port(port)] = strcmp(text_at(at), "online") == 0 || is_master;
    p->master_of_node[node_of_port(port)] = *master;
}

static void read_shards(struct fixture *f, struct picture *p)
{
    struct buf reply = ask(f, "shards", NULL);
    char *at = (char *)reply.data;
    for (long n = number_at(&at, '*'); n > 0; n--) {
        long ranges[2 * LIMIT_GROUPS];
        unsigned master = 0;
        assert_int_equal(number_at(&at, '*'), 4);
        assert_string_equal(text_at(&at), "slots");
        long numbers = number_at(&at, '*');
        for (long i = 0; i < numbers; i++) {
            ranges[i] = number_at(&at, ':');
        }
        assert_string_equal(text_at(&at), "nodes");
        for (long nodes = number_at(&at, '*'); nodes > 0; nodes--) {
            read_shard_node(f, &at, &master, p);
        }
        for (long i = 0; i < numbers; i += 2) {
            for (long slot = ranges[i]; slot <= ranges[i + 1]; slot++) {
                p->master_of_slot[slot] = master;
            }
        }
    }
    assert_int_equal(*at, 0);
    buf_deinit(&reply);
}

static unsigned port_of_id(struct fixture *f, const char *id)
{
    unsigned i = cluster_view_find(&f->view, bytes_from_text(id));
    assert_true(i < f->view.n_nodes);
    return f->nodes[i].port;
}

static void read_node_line(struct fixture *f, char *line, struct picture *p, unsigned *myself)
{
    char id[64], address[64], flags[64], master[64], link[32];
    int used;
    unsigned long long epoch;
    assert_int_equal(sscanf(line, "%63s %63s %63s %63s %*s %*s %llu %31s%n", id, address, flags, master,
                         &epoch, link, &used),
        6);
    unsigned port = port_of_id(f, id), i = node_of_port(port);
    char expected[64];
    snprintf(expected, sizeof(expected), "%s:%u@%u", f->nodes[i].host, port, f->nodes[i].peer_port);
    assert_string_equal(address, expected);
    assert_int_equal(epoch, f->view.epoch);
    if (strncmp(flags, "myself,", 7) == 0) {
        *myself = i;
    }
    bool is_master = strstr(flags, "master") != NULL, silent = strstr(flags, "fail?") != NULL;
    assert_int_equal(is_master, strstr(flags, "slave") == NULL);
    assert_int_equal(is_master, strcmp(master, "-") == 0);
    assert_string_equal(link, silent ? "disconnected" : "connected");
    p->master_of_node[i] = is_master ? port : port_of_id(f, master);
    p->is_there[i] = is_master || !silent;
    for (char *at = line + used; *at == ' ';) {
        long first = strtol(at + 1, &at, 10), last = first;
        assert_true(is_master);
        if (*at == '-') {
            last = strtol(at + 1, &at, 10);
        }
        for (long slot = first; slot <= last; slot++) {
            p->master_of_slot[slot] = port;
        }
    }
}

static void read_nodes(struct fixture *f, struct picture *p)
{
    struct buf reply = ask(f, "nodes", NULL);
    char *at = (char *)reply.data, *text = text_at(&at);
    unsigned myself = LIMIT_NODES, lines = 0;
    assert_int_equal(*at, 0);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        read_node_line(f, line, p, &myself);
        lines++;
    }
    assert_int_equal(lines, f->view.n_nodes);
    assert_int_equal(myself, f->view.self);
    buf_deinit(&reply);
}

static void slots_shards_and_nodes_agree_whoever_leads(void **state)
{
    (void)state;
    static struct picture slots, shards, nodes;
    unsigned seed = 20261123;
    print_message("seed %u\n", seed);
    srand(seed);
    for (unsigned round = 0; round < 200; round++) {
        struct fixture f;
        make_view(
            &f, 1 + (unsigned)rand() % LIMIT_NODES, 1 + (unsigned)rand() % (round % 2 ? 6 : LIMIT_GROUPS));
        f.view.self = (unsigned)rand() % f.view.n_nodes;
        for (uint32_t g = 0; g < f.view.group_count; g++) {
            f.leader[g] = (unsigned)rand() % f.view.n_nodes;
        }
        for (unsigned i = 0; i < f.view.n_nodes; i++) {
            f.nodes[i].heard = i == f.view.self || rand() % 4 != 0;
        }
        memset(&slots, 0, sizeof(slots));
        memset(&shards, 0, sizeof(shards));
        memset(&nodes, 0, sizeof(nodes));
        read_slots(&f, &slots);
        read_shards(&f, &shards);
        read_nodes(&f, &nodes);
        for (unsigned slot = 0; slot < SLOT_COUNT; slot++) {
            unsigned leader = f.nodes[f.leader[slot_group((uint16_t)slot, f.view.group_count)]].port;
            assert_int_equal(slots.master_of_slot[slot], leader);
            assert_int_equal(shards.master_of_slot[slot], leader);
            assert_int_equal(nodes.master_of_slot[slot], leader);
        }
        for (unsigned i = 0; i < f.view.n_nodes; i++) {
            assert_int_equal(shards.master_of_node[i], nodes.master_of_node[i]);
            assert_int_equal(shards.is_there[i], nodes.is_there[i]);
            assert_int_equal(slots.is_there[i], nodes.is_there[i]);
            if (slots.is_there[i]) {
                assert_int_equal(slots.master_of_node[i], nodes.master_of_node[i]);
            }
        }
    }
}

static void the_lines_are_as_redis_writes_them(void **state)
{
    (void)state;
    struct fixture f;
    make_view(&f, 3, 2);
    f.leader[1] = 1;
    f.nodes[2].heard = false;
    for (unsigned i = 0; i < 3; i++) {
        memset(f.nodes[i].id, (int)('a' + i), REDIS_NODE_ID_CHARS);
    }
    struct buf reply = ask(&f, "nodes", NULL);
    assert_string_equal((char *)reply.data,
        "$336\r\n"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 10.0.0.1:7000@17000 myself,master - 0 0 7 connected "
        "0-8191\n"
        "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb 10.0.0.2:7001@17001 master - 0 1000000 7 connected "
        "8192-16383\n"
        "cccccccccccccccccccccccccccccccccccccccc 10.0.0.3:7002@17002 slave,fail? "
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 0 0 7 disconnected\n\r\n");
    buf_deinit(&reply);
    reply = ask(&f, "replicas", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_memory_equal(reply.data, "*1\r\n$", 5);
    assert_non_null(strstr((char *)reply.data, "\r\ncccccccccccccccccccccccccccccccccccccccc 10.0.0.3:7002"));
    buf_deinit(&reply);
    reply = ask(&f, "replicas", "cccccccccccccccccccccccccccccccccccccccc");
    assert_string_equal((char *)reply.data, "-ERR The specified node is not a master\r\n");
    buf_deinit(&reply);
    reply = ask(&f, "replicas", "x");
    assert_string_equal((char *)reply.data, "-ERR Unknown node x\r\n");
    buf_deinit(&reply);
    reply = ask(&f, "myshardid", NULL);
    assert_non_null(strstr((char *)reply.data, "aaaa"));
    buf_deinit(&reply);
    reply = ask(&f, "info", NULL);
    assert_non_null(strstr((char *)reply.data, "\r\ncluster_state:ok\r\ncluster_slots_assigned:16384\r\n"));
    assert_non_null(strstr((char *)reply.data, "\r\ncluster_known_nodes:3\r\ncluster_size:2\r\n"));
    buf_deinit(&reply);
}

static void during_an_election_slots_stay_with_the_leader_before(void **state)
{
    (void)state;
    struct fixture f;
    make_view(&f, 3, 1);
    f.leader[0] = 2;
    f.nodes[2].heard = false;
    struct buf reply = ask(&f, "slots", NULL);
    assert_non_null(strstr((char *)reply.data, ":0\r\n:16383\r\n*4\r\n$8\r\n10.0.0.3\r\n:7002\r\n"));
    buf_deinit(&reply);
    reply = ask(&f, "info", NULL);
    assert_non_null(strstr((char *)reply.data, "cluster_state:ok\r\n"));
    assert_non_null(strstr((char *)reply.data, "cluster_slots_ok:0\r\ncluster_slots_pfail:16384\r\n"));
    buf_deinit(&reply);
    /* Cut off from all others, clients should go elsewhere. */
    f.nodes[1].heard = false;
    reply = ask(&f, "info", NULL);
    assert_non_null(strstr((char *)reply.data, "cluster_state:fail\r\n"));
    buf_deinit(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_forty_hex_digits_and_always_the_same),
        cmocka_unit_test(ids_differ_between_nodes_and_clusters),
        cmocka_unit_test(ranges_that_touch_are_one),
        cmocka_unit_test(who_leads_nothing_is_a_replica_of_one_who_does),
        cmocka_unit_test(a_minority_knows_that_it_is_one),
        cmocka_unit_test(slots_shards_and_nodes_agree_whoever_leads),
        cmocka_unit_test(the_lines_are_as_redis_writes_them),
        cmocka_unit_test(during_an_election_slots_stay_with_the_leader_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
