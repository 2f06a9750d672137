/* The load against a server of two nodes that lives in this process and answers as the test wants it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/slot.h"
#include "tools/wbbench/redis_load.h"
#include "tools/wbbench/redis_reply.h"

enum { NODES = 2, CONNECTIONS_MAX = 256, B_FIRST = 6000, VALUE_BYTES = 10 };

static struct fake_server {
    int listeners[NODES];
    int ports[NODES];
    pthread_t acceptors[NODES];
    pthread_mutex_t lock;
    pthread_t connections[CONNECTIONS_MAX];
    unsigned n_connections;
    /* how it behaves */
    int b_first_said; /* CLUSTER SLOTS says that node B has the slots from here on; it has B_FIRST and on */
    bool points_back; /* B answers MOVED to A */
    const char *wait_answer; /* to WAITAOF */
    const char *get_answer;
    unsigned refuse_every; /* SETs; 0: none */
    unsigned hang_up_at;   /* SET; 0: never */
    unsigned mute_from;    /* SET; 0: answers all */
    /* what it saw */
    atomic_uint sets[NODES], gets, waits, slots_asked, wrong_slots;
} s;

struct connection {
    int fd, node;
};

static void say(struct buf *out, const char *text)
{
    buf_append(out, text, strlen(text));
}

static void say_slots(struct buf *out)
{
    char text[400];
    int n = snprintf(text, sizeof text,
        "*2\r\n*3\r\n:0\r\n:%d\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n*3\r\n:%d\r\n:16383\r\n*2\r\n$0\r\n\r\n:%"
        "d\r\n",
        s.b_first_said - 1, s.ports[0], s.b_first_said, s.ports[1]);
    buf_append(out, text, (size_t)n);
}

/* False: hang up. */
static bool answer_key(int node, bool set, struct bytes key, struct buf *out)
{
    uint16_t slot = slot_of(key);
    int owner = slot >= B_FIRST;
    if (owner != node || (node == 1 && s.points_back)) {
        char text[100];
        s.wrong_slots++;
        snprintf(text, sizeof text, "-MOVED %d 127.0.0.1:%d\r\n", slot, s.ports[!node]);
        say(out, text);
        return true;
    }
    if (!set) {
        s.gets++;
        say(out, s.get_answer);
        return true;
    }
    unsigned n = ++s.sets[node];
    if (n == s.hang_up_at) {
        return false;
    }
    if (s.mute_from == 0 || n < s.mute_from) {
        say(out, s.refuse_every != 0 && n % s.refuse_every == 0 ? "-OOM too much\r\n" : "+OK\r\n");
    }
    return true;
}

static bool answer(int node, const struct redis_reply *command, struct buf *out)
{
    struct redis_reply args[4] = {0};
    size_t at = 0, used;
    for (int i = 0; i < command->number && i < 4; i++) {
        struct bytes rest = bytes_of(command->text.data + at, command->text.len - at);
        if (redis_reply_parse(rest, &args[i], &used) != STATUS_OK) {
            return false;
        }
        at += used;
    }
    struct bytes name = args[0].text;
    if (bytes_equal(name, bytes_from_text("CLUSTER"))) {
        s.slots_asked++;
        say_slots(out);
    } else if (bytes_equal(name, bytes_from_text("WAITAOF"))) {
        s.waits++;
        say(out, s.wait_answer);
    } else {
        bool set = bytes_equal(name, bytes_from_text("SET"));
        return answer_key(node, set && args[2].text.len == VALUE_BYTES, args[1].text, out);
    }
    return true;
}

static void *serve(void *data)
{
    struct connection c = *(struct connection *)data;
    free(data);
    struct buf in, out;
    buf_init(&in);
    buf_init(&out);
    bool open = true;
    while (open) {
        ssize_t n = read(c.fd, buf_reserve(&in, 4096), 4096);
        if (n <= 0) {
            break;
        }
        in.len += (size_t)n;
        struct redis_reply command;
        size_t used;
        while (open && redis_reply_parse(buf_bytes(&in), &command, &used) == STATUS_OK) {
            open = answer(c.node, &command, &out);
            buf_consume(&in, used);
        }
        open = open && (out.len == 0 || write(c.fd, out.data, out.len) == (ssize_t)out.len);
        buf_clear(&out);
    }
    close(c.fd);
    buf_deinit(&in);
    buf_deinit(&out);
    return NULL;
}

static void *accept_all(void *data)
{
    int node = (int)(intptr_t)data, fd;
    while ((fd = accept(s.listeners[node], NULL, NULL)) >= 0) {
        struct connection *c = malloc(sizeof *c);
        *c = (struct connection){.fd = fd, .node = node};
        pthread_mutex_lock(&s.lock);
        assert_true(s.n_connections < CONNECTIONS_MAX);
        assert_int_equal(pthread_create(&s.connections[s.n_connections++], NULL, serve, c), 0);
        pthread_mutex_unlock(&s.lock);
    }
    return NULL;
}

static int start_server(void **state)
{
    memset(&s, 0, sizeof s);
    s.b_first_said = B_FIRST;
    s.wait_answer = "*2\r\n:1\r\n:2\r\n";
    s.get_answer = "$10\r\n0123456789\r\n";
    pthread_mutex_init(&s.lock, NULL);
    for (int i = 0; i < NODES; i++) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof a;
        s.listeners[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(bind(s.listeners[i], (struct sockaddr *)&a, sizeof a), 0);
        assert_int_equal(getsockname(s.listeners[i], (struct sockaddr *)&a, &len), 0);
        s.ports[i] = ntohs(a.sin_port);
        assert_int_equal(listen(s.listeners[i], 128), 0);
        assert_int_equal(pthread_create(&s.acceptors[i], NULL, accept_all, (void *)(intptr_t)i), 0);
    }
    return 0;
}

/* The load has closed its connections, so that their threads end by themselves. */
static int stop_server(void **state)
{
    for (int i = 0; i < NODES; i++) {
        shutdown(s.listeners[i], SHUT_RDWR);
        pthread_join(s.acceptors[i], NULL);
        close(s.listeners[i]);
    }
    for (unsigned i = 0; i < s.n_connections; i++) {
        pthread_join(s.connections[i], NULL);
    }
    pthread_mutex_destroy(&s.lock);
    return 0;
}

static struct redis_result result;

static const struct redis_load_options usual = {.clients = 5,
    .pipeline = 3,
    .keys = 1000,
    .key_prefix = "k:",
    .value_bytes = VALUE_BYTES,
    .measured_ms = 100,
    .patience_ms = 5000};

static void run(struct redis_load_options o)
{
    char servers[64], errmsg[256] = "";
    snprintf(servers, sizeof servers, "127.0.0.1:%d", s.ports[o.cluster ? 0 : 1]);
    o.servers = servers;
    if (!redis_load_run(&o, &result, errmsg, sizeof errmsg)) {
        fail_msg("%s", errmsg);
    }
}

static uint64_t errors(const char *word)
{
    for (unsigned i = 0; i < REDIS_WORDS && result.errors[i].word[0] != '\0'; i++) {
        if (strcmp(result.errors[i].word, word) == 0) {
            return result.errors[i].count;
        }
    }
    return 0;
}

static void a_cluster_is_loaded_at_the_right_nodes(void **state)
{
    struct redis_load_options o = usual;
    o.cluster = true;
    run(o);
    assert_false(redis_result_failed(&result));
    assert_int_equal(result.masters, 2);
    assert_true(s.sets[0] > 0 && s.sets[1] > 0);
    assert_int_equal(s.wrong_slots, 0);
    assert_int_equal(result.total, s.sets[0] + s.sets[1]);
    assert_true(result.ok.count > 0 && result.ok.count <= result.total);
    assert_true(result.elapsed_ns >= 100000000U);
    assert_true(result.generator_seconds > 0);
}

static void filling_sets_each_key_once_whatever_the_slots_say(void **state)
{
    struct redis_load_options o = usual;
    o.cluster = true;
    o.each_key_once = true;
    s.b_first_said = 9000;
    run(o);
    assert_false(redis_result_failed(&result));
    assert_int_equal(result.total, 1000);
    assert_int_equal(s.sets[0] + s.sets[1], 1000);
    assert_int_equal(result.moved, s.wrong_slots);
    assert_true(result.moved > 0);
}

static void a_moved_is_followed_and_makes_it_ask_again(void **state)
{
    struct redis_load_options o = usual;
    o.cluster = true;
    s.b_first_said = 9000;
    run(o);
    assert_false(redis_result_failed(&result));
    assert_true(result.moved > 0);
    assert_int_equal(result.moved, s.wrong_slots);
    assert_true(s.slots_asked > 1);
}

static void nodes_that_point_at_each_other_end_it(void **state)
{
    struct redis_load_options o = usual;
    o.cluster = true;
    o.measured_ms = 60000;
    s.points_back = true;
    run(o);
    assert_true(errors("(MOVED in circles)") > 0);
}

/* Without a cluster only node B is used: its slots are all that the keys are allowed to have. */
static struct redis_load_options alone(void)
{
    struct redis_load_options o = usual;
    o.key_prefix = "{tag}"; /* slot 8338 */
    return o;
}

static void each_set_is_done_when_its_waitaof_is(void **state)
{
    struct redis_load_options o = alone();
    o.wait = REDIS_WAIT_EACH;
    run(o);
    assert_false(redis_result_failed(&result));
    assert_int_equal(s.waits, s.sets[1]);
    assert_int_equal(result.total, s.sets[1]);
}

static void one_waitaof_confirms_a_burst(void **state)
{
    struct redis_load_options o = alone();
    for (o.wait = REDIS_WAIT_BURST; o.wait <= REDIS_WAIT_AFTER; o.wait++) {
        s.waits = 0;
        s.sets[1] = 0;
        run(o);
        assert_false(redis_result_failed(&result));
        assert_int_equal(s.waits * o.pipeline, s.sets[1]);
        assert_int_equal(result.total, s.sets[1]);
    }
}

static void a_waitaof_after_its_sets_is_not_sent_before_their_answers(void **state)
{
    struct redis_load_options o = alone();
    o.wait = REDIS_WAIT_AFTER;
    o.patience_ms = 100;
    s.mute_from = 1; /* it waits for the SETs' answers for ever */
    run(o);
    assert_true(errors("(no answer)") > 0);
    assert_int_equal(s.waits, 0);
}

static void a_waitaof_that_says_less_is_an_error_and_no_operation(void **state)
{
    static const struct {
        const char *answer, *word;
    } rows[] = {
        {"*2\r\n:1\r\n:0\r\n", "(WAITAOF below 1 1)"}, {"-ERR WAITAOF cannot be used when\r\n", "ERR"}};
    struct redis_load_options o = alone();
    for (int i = 0; i < 6; i++) {
        o.wait = (enum redis_wait)(REDIS_WAIT_EACH + i / 2);
        s.wait_answer = rows[i % 2].answer;
        s.waits = 0;
        run(o);
        assert_int_equal(result.total, 0);
        assert_int_equal(errors(rows[i % 2].word), s.waits);
    }
    assert_string_equal(result.last_error, "ERR WAITAOF cannot be used when");
}

static void errors_are_counted_by_their_first_word(void **state)
{
    struct redis_load_options o = alone();
    s.refuse_every = 10;
    for (enum redis_wait wait = REDIS_WAIT_NONE; wait <= REDIS_WAIT_AFTER; wait++) {
        s.sets[1] = 0;
        o.wait = wait;
        run(o);
        assert_true(redis_result_failed(&result));
        assert_int_equal(errors("OOM"), s.sets[1] / 10);
        assert_int_equal(result.total, s.sets[1] - s.sets[1] / 10);
    }
}

static void reads_are_checked(void **state)
{
    struct redis_load_options o = alone();
    o.command = REDIS_GET;
    run(o);
    assert_false(redis_result_failed(&result));
    assert_int_equal(result.total, s.gets);
    assert_int_equal(result.misses, 0);
    s.get_answer = "$-1\r\n";
    s.gets = 0;
    run(o);
    assert_false(redis_result_failed(&result));
    assert_int_equal(result.misses, s.gets);
    s.get_answer = "$9\r\n012345678\r\n";
    s.gets = 0;
    run(o);
    assert_int_equal(errors("(strange reply)"), s.gets);
    assert_int_equal(result.total, 0);
}

static void a_connection_that_breaks_ends_it(void **state)
{
    struct redis_load_options o = alone();
    o.measured_ms = 60000;
    s.hang_up_at = 100;
    run(o);
    assert_true(errors("(connection lost)") > 0);
}

static void what_is_no_redis_ends_it(void **state)
{
    struct redis_load_options o = alone();
    o.measured_ms = 60000;
    o.command = REDIS_GET;
    s.get_answer = "HTTP/1.1 400 Bad Request\r\n";
    run(o);
    assert_true(errors("(no Redis protocol)") > 0);
    s.get_answer = "$-1\r\n$-1\r\n";
    o.each_key_once = true; /* there is nothing more that the second could answer */
    o.keys = 1;
    run(o);
    assert_true(errors("(answer to nothing)") > 0);
}

static void a_server_that_falls_silent_ends_it(void **state)
{
    struct redis_load_options o = alone();
    o.measured_ms = 60000;
    o.patience_ms = 100;
    s.mute_from = 100;
    run(o);
    assert_true(errors("(no answer)") > 0);
}

static void nobody_there_is_an_error(void **state)
{
    struct redis_load_options o = usual;
    char errmsg[256] = "";
    /* A port that is bound and does not listen refuses. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(a.sin_port));
    o.servers = address;
    assert_true(redis_load_run(&o, &result, errmsg, sizeof errmsg));
    assert_int_equal(errors("(cannot connect)"), o.clients * o.pipeline);
    o.cluster = true;
    o.patience_ms = 50;
    assert_false(redis_load_run(&o, &result, errmsg, sizeof errmsg));
    assert_non_null(strstr(errmsg, "cannot connect"));
    o.cluster = false;
    o.servers = "127.0.0.1:1,127.0.0.1:2";
    assert_false(redis_load_run(&o, &result, errmsg, sizeof errmsg));
    assert_non_null(strstr(errmsg, "--cluster"));
    close(fd);
}

static void the_processor_time_of_processes_is_read(void **state)
{
    struct redis_load_options o = alone();
    o.measured_ms = 500; /* many of the kernel's ticks */
    o.n_kinds = 2;
    o.kinds[0] = (struct redis_kind){.name = "me", .pids = {getpid()}, .n = 1};
    o.kinds[1] = (struct redis_kind){.name = "nobody", .pids = {getpid(), INT32_MAX}, .n = 2};
    run(o);
    assert_true(result.kind_seconds[0] > 0);
    assert_true(result.kind_seconds[1] < 0);
}

#define SERVED(test) cmocka_unit_test_setup_teardown(test, start_server, stop_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVED(a_cluster_is_loaded_at_the_right_nodes),
        SERVED(filling_sets_each_key_once_whatever_the_slots_say),
        SERVED(a_moved_is_followed_and_makes_it_ask_again),
        SERVED(nodes_that_point_at_each_other_end_it),
        SERVED(each_set_is_done_when_its_waitaof_is),
        SERVED(one_waitaof_confirms_a_burst),
        SERVED(a_waitaof_after_its_sets_is_not_sent_before_their_answers),
        SERVED(a_waitaof_that_says_less_is_an_error_and_no_operation),
        SERVED(errors_are_counted_by_their_first_word),
        SERVED(reads_are_checked),
        SERVED(a_connection_that_breaks_ends_it),
        SERVED(what_is_no_redis_ends_it),
        SERVED(a_server_that_falls_silent_ends_it),
        SERVED(nobody_there_is_an_error),
        SERVED(the_processor_time_of_processes_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
