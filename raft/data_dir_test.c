/* The data folder: its lock, its identity, and what a node says when it may not or cannot start. */
#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "raft/data_dir.h"
#include "raft/test_cluster.h"

static const struct data_dir_identity identity = {.cluster = "shop", .node_id = 2, .group_count = 3};

static void make_dir(char out[32])
{
    snprintf(out, 32, "/tmp/wb-data-XXXXXX");
    assert_non_null(mkdtemp(out));
}

static void remove_dir(const char *dir)
{
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static void a_new_folder_is_created_and_known_again(void **state)
{
    char base[32];
    char path[64];
    char group[128];
    char errmsg[512] = "";
    struct stat st;
    struct data_dir d;
    make_dir(base);
    snprintf(path, sizeof path, "%s/a/b", base);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(data_dir_open(&d, path, &identity, errmsg, sizeof errmsg), STATUS_OK);
        for (uint32_t g = 0; g < 3; g++) {
            assert_true(data_dir_group_path(&d, g, group, sizeof group));
            assert_int_equal(stat(group, &st), 0);
            assert_true(S_ISDIR(st.st_mode));
        }
        assert_false(data_dir_group_path(&d, 0, group, 4));
        uint64_t free_bytes = 0;
        assert_int_equal(data_dir_free_bytes(&d, &free_bytes), STATUS_OK);
        assert_true(free_bytes > 0);
        data_dir_close(&d);
    }
    remove_dir(base);
}

static void a_folder_in_use_is_refused(void **state)
{
    char base[32];
    char errmsg[512] = "";
    struct data_dir first;
    struct data_dir second;
    make_dir(base);
    assert_int_equal(data_dir_open(&first, base, &identity, errmsg, sizeof errmsg), STATUS_OK);
    assert_int_equal(data_dir_open(&second, base, &identity, errmsg, sizeof errmsg), STATUS_INVALID);
    assert_non_null(strstr(errmsg, "another process uses the data folder"));
    data_dir_close(&first);
    assert_int_equal(data_dir_open(&second, base, &identity, errmsg, sizeof errmsg), STATUS_OK);
    data_dir_close(&second);
    remove_dir(base);
}

static void the_folder_of_somebody_else_is_refused(void **state)
{
    static const struct data_dir_identity others[] = {
        {.cluster = "shop2", .node_id = 2, .group_count = 3},
        {.cluster = "shop", .node_id = 3, .group_count = 3},
        {.cluster = "shop", .node_id = 2, .group_count = 4},
    };
    char base[32];
    char errmsg[1024] = "";
    struct data_dir d;
    make_dir(base);
    assert_int_equal(data_dir_open(&d, base, &identity, errmsg, sizeof errmsg), STATUS_OK);
    data_dir_close(&d);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(data_dir_open(&d, base, &others[i], errmsg, sizeof errmsg), STATUS_INVALID);
        assert_non_null(strstr(errmsg, "cluster=shop node=2 groups=3"));
    }
    assert_int_equal(data_dir_open(&d, base, &identity, errmsg, sizeof errmsg), STATUS_OK);
    data_dir_close(&d);
    remove_dir(base);
}

static void a_log_without_an_identity_is_refused(void **state)
{
    char base[32];
    char path[64];
    char errmsg[1024] = "";
    struct data_dir d;
    make_dir(base);
    assert_int_equal(data_dir_open(&d, base, &identity, errmsg, sizeof errmsg), STATUS_OK);
    data_dir_close(&d);
    snprintf(path, sizeof path, "%s/identity", base);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(data_dir_open(&d, base, &identity, errmsg, sizeof errmsg), STATUS_INVALID);
    assert_non_null(strstr(errmsg, "no identity file"));
    remove_dir(base);
}

static void strange_names_and_places_are_refused(void **state)
{
    char errmsg[1024] = "";
    struct data_dir d;
    struct data_dir_identity strange = identity;
    strange.cluster = "two\nlines";
    assert_int_equal(data_dir_open(&d, "/tmp", &strange, errmsg, sizeof errmsg), STATUS_INVALID);
    strange.cluster = "";
    assert_int_equal(data_dir_open(&d, "/tmp", &strange, errmsg, sizeof errmsg), STATUS_INVALID);
    assert_int_equal(data_dir_open(&d, "", &identity, errmsg, sizeof errmsg), STATUS_INVALID);
    assert_int_equal(data_dir_open(&d, "/dev/null/x", &identity, errmsg, sizeof errmsg), STATUS_IO);
}

/* ---- What a host says ---- */

static enum status create(
    struct test_node *n, const struct raft_host_config *config, char *errmsg, size_t len)
{
    struct raft_host_config own = *config;
    own.node_id = n->id;
    own.data_dir = n->dir;
    own.data = n;
    return raft_host_create(&own, &n->host, errmsg, len);
}

static void a_host_that_cannot_be_created_says_why_and_leaves_nothing(void **state)
{
    struct test_cluster c;
    char errmsg[1024] = "";
    test_cluster_open(&c, 1);
    test_node_open(&c.nodes[0]);
    TEST_WAIT(&c, test_logged(&c.nodes[0], "role"));

    struct raft_host *running = c.nodes[0].host;
    assert_int_equal(create(&c.nodes[0], &c.config, errmsg, sizeof errmsg), STATUS_INVALID);
    assert_non_null(strstr(errmsg, "another process"));
    c.nodes[0].host = running;

    struct raft_host_config config = c.config;
    config.n_peers = 1;
    assert_int_equal(create(&c.nodes[1], &config, errmsg, sizeof errmsg), STATUS_INVALID);
    config = c.config;
    config.heartbeat_ms = config.election_timeout_ms;
    assert_int_equal(create(&c.nodes[1], &config, errmsg, sizeof errmsg), STATUS_INVALID);
    config = c.config;
    struct replica_peer peers[TEST_NODES];
    memcpy(peers, c.peers, sizeof peers);
    config.peers = peers;
    peers[1].address = "192.0.2.1:9"; /* of documentation, never this machine's */
    assert_int_equal(create(&c.nodes[1], &config, errmsg, sizeof errmsg), STATUS_IO);
    assert_non_null(strstr(errmsg, "192.0.2.1:9"));
    peers[1].address = "nowhere";
    assert_int_equal(create(&c.nodes[1], &config, errmsg, sizeof errmsg), STATUS_INVALID);
    peers[1].address = peers[0].address;
    assert_int_equal(create(&c.nodes[1], &config, errmsg, sizeof errmsg), STATUS_INVALID);
    peers[1].address = c.peers[1].address;
    peers[1].id = 7;
    assert_int_equal(create(&c.nodes[1], &config, errmsg, sizeof errmsg), STATUS_INVALID);
    test_cluster_close(&c);
}

/* Change one byte in the last closed segment of group 0. */
static void damage_segment(const struct test_node *n)
{
    char pattern[256];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/group-0/0000*-0000*", n->dir);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    int fd = open(found.gl_pathv[found.gl_pathc - 1], O_RDWR);
    assert_true(fd >= 0);
    uint8_t byte;
    off_t at = lseek(fd, 0, SEEK_END) / 2;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
    globfree(&found);
}

static void a_damaged_log_is_refused_with_the_way_back(void **state)
{
    struct test_cluster c;
    test_cluster_open(&c, 1);
    test_cluster_open_nodes(&c);
    TEST_WAIT(&c, test_leader(&c, 0) != NULL);
    test_propose(&c, 0, 50, 4096);
    TEST_WAIT(&c, test_applied(&c, 0, 50));
    struct test_node *n = &c.nodes[0];
    test_node_close(n);
    damage_segment(n);
    char errmsg[1024] = "";
    assert_int_equal(create(n, &c.config, errmsg, sizeof errmsg), STATUS_OK);
    assert_int_equal(raft_host_start(n->host, errmsg, sizeof errmsg), STATUS_CORRUPT);
    assert_non_null(strstr(errmsg, "move this node's data folder away"));
    assert_non_null(strstr(errmsg, "new node id"));
    test_cluster_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_folder_is_created_and_known_again),
        cmocka_unit_test(a_folder_in_use_is_refused),
        cmocka_unit_test(the_folder_of_somebody_else_is_refused),
        cmocka_unit_test(a_log_without_an_identity_is_refused),
        cmocka_unit_test(strange_names_and_places_are_refused),
        cmocka_unit_test(a_host_that_cannot_be_created_says_why_and_leaves_nothing),
        cmocka_unit_test(a_damaged_log_is_refused_with_the_way_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
