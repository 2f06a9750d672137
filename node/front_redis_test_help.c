#include "node/front_redis_test_help.h"

#include <string.h>

#include "proto/base/alloc.h"

/* ---- In the server's place ---- */

void resp_reply(struct resp_request *request)
{
    struct redis_call_of_test *call = list_entry(request, struct redis_call_of_test, request);
    assert_false(call->done); /* exactly once */
    call->done = true;
    call->close_after = request->close_after;
    buf_append_u8(&request->reply, 0);
    buf_move(&call->reply, &request->reply);
    arena_deinit(&request->arena); /* whoever looks at it after this is found out */
}

void resp_server_each(const struct resp_server *server,
    void (*visit)(void *data, const struct resp_conn_info *info), void *data)
{
    (void)server;
    (void)visit;
    (void)data;
}

/* ---- In the node's place ---- */

static struct group *group_of(void *data, uint32_t group)
{
    (void)group;
    return ((struct redis_bench *)data)->f.group;
}

static int leader_of(void *data, uint32_t group)
{
    const struct redis_bench *b = data;
    (void)group;
    return b->leader_known ? (int)b->leader : -1;
}

static uint64_t term_of(void *data, uint32_t group)
{
    (void)data;
    (void)group;
    return 1;
}

static void view(void *data, struct redis_node_view *out)
{
    static unsigned leaders[4];
    static bool known[4];
    struct redis_bench *b = data;
    for (int i = 0; i < 4; i++) {
        leaders[i] = b->leader;
        known[i] = b->leader_known;
    }
    *out = (struct redis_node_view){.nodes = b->nodes,
        .n_nodes = 3,
        .group_count = 1,
        .leader = leaders,
        .leader_known = known,
        .cluster_name = "test",
        .version = "1.2.3",
        .run_id = "",
        .config_file = "",
        .data_dir = ""};
}

static const struct front_redis_ops ops = {
    .group = group_of, .view = view, .leader = leader_of, .term = term_of};

void redis_bench_init(struct redis_bench *b, uint32_t group_count)
{
    *b = (struct redis_bench){.leader_known = true, .answer_loads = true};
    for (unsigned i = 0; i < 3; i++) {
        b->nodes[i] = (struct redis_view_node){.port = 7001 + i, .heard = true};
        snprintf(b->nodes[i].host, sizeof b->nodes[i].host, "10.0.0.%u", i + 1);
    }
    fixture_init(&b->f, 0, false, true);
    struct front_redis_config config = {.ops = &ops,
        .data = b,
        .group_count = group_count,
        .request_timeout_ms = TIMEOUT_MS,
        .leader_wait_ms = LEADER_WAIT_MS,
        .multi_bytes_max = 16 * 1024,
        .random_seed = 42};
    b->front = front_redis_create(&config);
    b->conn = redis_bench_connect(b, 7);
    redis_bench_turn(b);
}

void redis_bench_deinit(struct redis_bench *b)
{
    front_redis_stop(b->front);
    redis_bench_disconnect(b, b->conn);
    fixture_depose(&b->f);
    redis_bench_forget(b);
    front_redis_destroy(b->front);
    fixture_deinit(&b->f);
}

void *redis_bench_connect(struct redis_bench *b, uint64_t id)
{
    return front_redis_on_open(b->front, NULL, id, "127.0.0.1:5000", "127.0.0.1:7001");
}

void redis_bench_disconnect(struct redis_bench *b, void *conn)
{
    for (unsigned i = 0; i < b->calls_n; i++) {
        if (!b->calls[i]->done && b->calls[i]->request.client == conn) {
            b->calls[i]->request.client = NULL;
        }
    }
    front_redis_on_close(b->front, conn);
}

/* ---- Asking ---- */

struct redis_call_of_test *redis_bench_send_args(
    struct redis_bench *b, void *conn, const struct bytes *args, uint32_t n)
{
    assert_true(b->calls_n < CALLS_MAX);
    struct redis_call_of_test *call = b->calls[b->calls_n++] = xcalloc(1, sizeof *call);
    struct resp_request *request = &call->request;
    arena_init(&request->arena);
    buf_init(&request->reply);
    request->n = n;
    request->args = arena_alloc(&request->arena, n * sizeof *request->args);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *copy = arena_alloc(&request->arena, args[i].len + 1);
        memcpy(copy, args[i].data, args[i].len);
        request->args[i] = bytes_of(copy, args[i].len);
    }
    request->client = conn;
    request->received_ms = b->f.now_ms;
    front_redis_on_request(b->front, request);
    return call;
}

struct redis_call_of_test *redis_bench_send(struct redis_bench *b, void *conn, const char *words)
{
    struct bytes args[32];
    uint32_t n = 0;
    for (const char *at = words; at != NULL; n++) {
        const char *space = strchr(at, ' ');
        assert_true(n < 32);
        args[n] = bytes_of(at, space == NULL ? strlen(at) : (size_t)(space - at));
        at = space == NULL ? NULL : space + 1;
    }
    return redis_bench_send_args(b, conn, args, n);
}

/* As node.c does it; the loads are answered behind it. */
void redis_bench_turn(struct redis_bench *b)
{
    unsigned loads = b->f.loads;
    front_redis_turn(b->front, b->f.now_ms);
    fixture_turn(&b->f);
    if (b->answer_loads && b->f.loads > loads) {
        loader_answer(&b->f, NULL, NULL, 0);
    }
}

void redis_bench_settle(struct redis_bench *b)
{
    for (int i = 0; i < 6; i++) {
        redis_bench_turn(b);
        fixture_commit(&b->f, UINT32_MAX);
    }
}

void redis_bench_pass(struct redis_bench *b, uint64_t ms)
{
    b->f.now_ms += ms;
    redis_bench_turn(b);
}

void redis_bench_forget(struct redis_bench *b)
{
    for (unsigned i = 0; i < b->calls_n; i++) {
        struct redis_call_of_test *call = b->calls[i];
        assert_true(call->done);
        buf_deinit(&call->reply);
        free(call);
    }
    b->calls_n = 0;
}

const char *redis_bench_ask(struct redis_bench *b, void *conn, const char *words)
{
    const struct redis_call_of_test *call = redis_bench_send(b, conn, words);
    redis_bench_settle(b);
    if (!call->done) {
        fail_msg("no reply to: %s", words);
    }
    return (const char *)call->reply.data;
}

void assert_asked(struct redis_bench *b, const char *words, const char *reply)
{
    const char *got = redis_bench_ask(b, b->conn, words);
    if (strcmp(got, reply) != 0) {
        fail_msg("%s: got \"%s\", not \"%s\"", words, got, reply);
    }
}

void assert_transcript(struct redis_bench *b, const char *const *lines)
{
    for (; *lines != NULL; lines += 2) {
        assert_asked(b, lines[0], lines[1]);
    }
}

void assert_reply(const struct redis_call_of_test *call, const char *reply)
{
    assert_true(call->done);
    assert_string_equal((const char *)call->reply.data, reply);
}

void assert_begins(const char *reply, const char *with)
{
    if (strncmp(reply, with, strlen(with)) != 0) {
        fail_msg("\"%s\" does not begin with \"%s\"", reply, with);
    }
}
