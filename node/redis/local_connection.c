/* What a client says and asks about its connection, and the small questions to a node: PING, HELLO, TIME,
 * WAIT... */
#include <stdio.h>
#include <string.h>

#include "node/redis/local.h"
#include "node/redis/local_util.h"
#include "node/redis/number.h"

void redis_local_ping(struct redis_local_call *c)
{
    if (c->n > 2) {
        redis_error_arity(c->out, c->command);
    } else if (c->n == 2) {
        resp_bulk(c->out, c->args[1]);
    } else {
        resp_simple(c->out, "PONG");
    }
}

void redis_local_echo(struct redis_local_call *c)
{
    resp_bulk(c->out, c->args[1]);
}

/* There are no users but the default one, and it needs no password: any is right. */
static bool log_in(struct redis_local_call *c, struct bytes user)
{
    if (!bytes_equal(user, bytes_from_text("default"))) {
        resp_error(c->out, "WRONGPASS invalid username-password pair or user is disabled.");
        return false;
    }
    return true;
}

void redis_local_auth(struct redis_local_call *c)
{
    if (c->n > 3) {
        resp_error(c->out, redis_error_syntax);
    } else if (c->n == 2 || log_in(c, c->args[1])) {
        resp_simple(c->out, "OK");
    }
}

struct hello {
    int64_t protocol;
    const struct bytes *user, *name; /* NULL: not said */
};

static bool parse_hello(struct redis_local_call *c, struct hello *out)
{
    *out = (struct hello){.protocol = c->client->protocol};
    if (c->n < 2) {
        return true;
    }
    if (!redis_parse_integer(c->args[1], &out->protocol)) {
        resp_error(c->out, "ERR Protocol version is not an integer or out of range");
        return false;
    }
    if (out->protocol < 2 || out->protocol > 3) {
        resp_error(c->out, "NOPROTO unsupported protocol version");
        return false;
    }
    for (uint32_t i = 2; i < c->n;) {
        uint32_t more = c->n - 1 - i;
        if (redis_word_is(c->args[i], "auth") && more >= 2) {
            out->user = &c->args[i + 1];
            i += 3;
        } else if (redis_word_is(c->args[i], "setname") && more >= 1) {
            out->name = &c->args[i + 1];
            i += 2;
        } else {
            local_error_with(c->out, "ERR Syntax error in HELLO option '", c->args[i], "'");
            return false;
        }
    }
    return true;
}

void redis_local_hello(struct redis_local_call *c)
{
    struct hello hello;
    if (!parse_hello(c, &hello)) {
        return;
    }
    if (hello.user != NULL && !log_in(c, *hello.user)) {
        return;
    }
    if (hello.name != NULL && !local_set_client_text(c, &c->client->name, *hello.name, "Client names")) {
        return;
    }
    c->client->protocol = (unsigned)hello.protocol;
    c->out->protocol = (unsigned)hello.protocol;
    resp_map(c->out, 7);
    resp_text(c->out, "server");
    resp_text(c->out, "redis");
    resp_text(c->out, "version");
    resp_text(c->out, LOCAL_REDIS_VERSION);
    resp_text(c->out, "proto");
    resp_integer(c->out, hello.protocol);
    resp_text(c->out, "id");
    resp_integer(c->out, (int64_t)c->client->id);
    resp_text(c->out, "mode");
    resp_text(c->out, "cluster");
    resp_text(c->out, "role");
    resp_text(c->out, local_is_master(c->view) ? "master" : "replica");
    resp_text(c->out, "modules");
    resp_array(c->out, 0);
}

void redis_local_select(struct redis_local_call *c)
{
    int64_t index;
    if (!redis_parse_integer(c->args[1], &index)) {
        resp_error(c->out, redis_error_integer);
    } else if (index < INT32_MIN || index > INT32_MAX) {
        resp_error(c->out, "ERR value is out of range, value must between -2147483648 and 2147483647");
    } else if (index != 0) {
        resp_error(c->out, "ERR SELECT is not allowed in cluster mode");
    } else {
        resp_simple(c->out, "OK");
    }
}

void redis_local_readonly(struct redis_local_call *c)
{
    c->client->readonly = true;
    resp_simple(c->out, "OK");
}

void redis_local_readwrite(struct redis_local_call *c)
{
    c->client->readonly = false;
    resp_simple(c->out, "OK");
}

void redis_local_asking(struct redis_local_call *c)
{
    c->client->asking = true;
    resp_simple(c->out, "OK");
}

void redis_local_time(struct redis_local_call *c)
{
    char text[24];
    resp_array(c->out, 2);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)(c->view->now_us / 1000000));
    resp_text(c->out, text);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)(c->view->now_us % 1000000));
    resp_text(c->out, text);
}

static bool check_timeout(struct redis_local_call *c, struct bytes text)
{
    int64_t timeout_ms;
    if (!redis_parse_integer(text, &timeout_ms)) {
        resp_error(c->out, "ERR timeout is not an integer or out of range");
    } else if (timeout_ms < 0) {
        resp_error(c->out, "ERR timeout is negative");
    } else {
        return true;
    }
    return false;
}

void redis_local_wait(struct redis_local_call *c)
{
    int64_t replicas;
    if (!redis_parse_integer(c->args[1], &replicas)) {
        resp_error(c->out, redis_error_integer);
    } else if (check_timeout(c, c->args[2])) {
        resp_integer(c->out, c->view->replicas_acknowledged);
    }
}

void redis_local_waitaof(struct redis_local_call *c)
{
    int64_t disks, replicas;
    if (!redis_parse_integer(c->args[1], &disks)) {
        resp_error(c->out, redis_error_integer);
    } else if (disks < 0 || disks > 1) {
        resp_error(c->out, "ERR value is out of range, value must between 0 and 1");
    } else if (!redis_parse_integer(c->args[2], &replicas) || replicas < 0) {
        resp_error(c->out, "ERR value is out of range, must be positive");
    } else if (check_timeout(c, c->args[3])) {
        resp_array(c->out, 2);
        resp_integer(c->out, 1);
        resp_integer(c->out, c->view->replicas_acknowledged);
    }
}

/* "client|kill" as people write it. */
static const char *spelled(const char *name, char *out, size_t room)
{
    size_t i = 0;
    for (; name[i] != 0 && i + 1 < room; i++) {
        char ch = name[i];
        out[i] = (char)(ch == '|' ? ' ' : ch >= 'a' && ch <= 'z' ? ch - ('a' - 'A') : ch);
    }
    out[i] = 0;
    return out;
}

void redis_local_refused(struct redis_local_call *c)
{
    char name[64];
    resp_error_of(c->out, "ERR %s is not supported: %s", spelled(c->command->name, name, sizeof(name)),
        c->command->note);
}
