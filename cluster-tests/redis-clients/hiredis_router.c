#include "cluster-tests/redis-clients/hiredis_router.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "proto/slot.h"

enum {
    TRIES_MAX = 400,
    TRY_AGAIN_US =
        10 * 1000, /* between two tries of what was certainly not done: an election takes a while */
    CALL_TIMEOUT_S = 10,
    WORDS_MAX = 32,
    LINE_BYTES = 512,
};

static const struct router_command multi = {1, (const char *[]){"MULTI"}, (const size_t[]){5}};
static const struct router_command exec = {1, (const char *[]){"EXEC"}, (const size_t[]){4}};

void router_init(struct router *r, const char *addresses)
{
    memset(r, 0, sizeof *r);
    char copy[ROUTER_NODES_MAX * ROUTER_ADDRESS_BYTES];
    snprintf(copy, sizeof copy, "%s", addresses);
    char *rest = NULL;
    for (char *a = strtok_r(copy, ",", &rest); a != NULL; a = strtok_r(NULL, ",", &rest)) {
        CHECK(r->count < ROUTER_NODES_MAX);
        snprintf(r->nodes[r->count++].address, ROUTER_ADDRESS_BYTES, "%s", a);
    }
    CHECK(r->count > 0);
}

static void disconnect(struct router_node *node)
{
    if (node->connection != NULL) {
        redisFree(node->connection);
        node->connection = NULL;
    }
}

void router_deinit(struct router *r)
{
    for (int i = 0; i < r->count; i++) {
        disconnect(&r->nodes[i]);
    }
}

static redisContext *connect_to(struct router *r, struct router_node *node)
{
    if (node->connection != NULL) {
        return node->connection;
    }
    char host[ROUTER_ADDRESS_BYTES];
    snprintf(host, sizeof host, "%s", node->address);
    char *colon = strrchr(host, ':');
    CHECK(colon != NULL);
    *colon = '\0';
    redisContext *c = redisConnectWithTimeout(host, atoi(colon + 1), (struct timeval){CALL_TIMEOUT_S, 0});
    if (c == NULL || c->err != 0) {
        snprintf(r->error, sizeof r->error, "%s: %s", node->address, c == NULL ? "no memory" : c->errstr);
        if (c != NULL) {
            redisFree(c);
        }
        return NULL;
    }
    redisSetTimeout(c, (struct timeval){CALL_TIMEOUT_S, 0});
    node->connection = c;
    return c;
}

static bool begins(const redisReply *reply, const char *word)
{
    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, word, strlen(word)) == 0;
}

static uint16_t slot_of_key(const char *key)
{
    return slot_of(bytes_of(key, strlen(key)));
}

static int node_at(struct router *r, const char *address)
{
    for (int i = 0; i < r->count; i++) {
        if (strcmp(r->nodes[i].address, address) == 0) {
            return i;
        }
    }
    CHECK(r->count < ROUTER_NODES_MAX);
    snprintf(r->nodes[r->count].address, ROUTER_ADDRESS_BYTES, "%s", address);
    return r->count++;
}

/* Does this reply say that nothing was done, and that another try is worth it? Learns what it says. */
static bool elsewhere(struct router *r, const redisReply *reply)
{
    unsigned slot;
    char address[ROUTER_ADDRESS_BYTES];
    if (begins(reply, "MOVED ") && sscanf(reply->str, "MOVED %u %63s", &slot, address) == 2 &&
        slot < SLOT_COUNT) {
        r->homes[slot] = node_at(r, address);
        return true;
    }
    return begins(reply, "CLUSTERDOWN ") || begins(reply, "TRYAGAIN ");
}

/* Nobody answers where @slot should be: ask somebody else, who will say where it is. */
static void ask_another(struct router *r, uint16_t slot)
{
    r->next = (r->next + 1) % r->count;
    r->homes[slot] = r->next;
    usleep(TRY_AGAIN_US);
}

static void *broken(struct router *r, struct router_node *node)
{
    snprintf(r->error, sizeof r->error, "%s: %s", node->address, node->connection->errstr);
    disconnect(node);
    return NULL;
}

redisReply *router_call(struct router *r, const char *key, const struct router_command *command)
{
    uint16_t slot = slot_of_key(key);
    for (int i = 0; i < TRIES_MAX; i++) {
        struct router_node *node = &r->nodes[r->homes[slot]];
        redisContext *c = connect_to(r, node);
        if (c == NULL) {
            ask_another(r, slot);
            continue;
        }
        redisReply *reply =
            redisCommandArgv(c, command->argc, (const char **)command->argv, command->lengths);
        if (reply == NULL) {
            return broken(r, node);
        }
        if (!elsewhere(r, reply)) {
            return reply;
        }
        if (!begins(reply, "MOVED ")) {
            usleep(TRY_AGAIN_US);
        }
        freeReplyObject(reply);
    }
    snprintf(r->error, sizeof r->error, "nobody answers for slot %u", slot);
    return NULL;
}

redisReply *router_call_line(struct router *r, const char *line)
{
    char copy[LINE_BYTES];
    const char *words[WORDS_MAX];
    size_t lengths[WORDS_MAX];
    struct router_command command = {0, words, lengths};
    snprintf(copy, sizeof copy, "%s", line);
    char *rest = NULL;
    for (char *w = strtok_r(copy, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest)) {
        CHECK(command.argc < WORDS_MAX);
        words[command.argc] = w;
        lengths[command.argc++] = strlen(w);
    }
    return router_call(r, command.argc > 1 ? words[1] : "", &command);
}

void router_pipeline(struct router *r, const char *const *keys, const struct router_command *commands, int n,
    redisReply **replies)
{
    int *homes = calloc((size_t)n, sizeof *homes);
    CHECK(homes != NULL);
    for (int i = 0; i < n; i++) {
        homes[i] = r->homes[slot_of_key(keys[i])];
        replies[i] = NULL;
        redisContext *c = connect_to(r, &r->nodes[homes[i]]);
        if (c == NULL) {
            homes[i] = -1;
        } else {
            CHECK(redisAppendCommandArgv(
                      c, commands[i].argc, (const char **)commands[i].argv, commands[i].lengths) == REDIS_OK);
        }
    }
    for (int i = 0; i < n; i++) {
        struct router_node *node = homes[i] >= 0 ? &r->nodes[homes[i]] : NULL;
        if (node == NULL || node->connection == NULL) {
            continue; /* not sent yet; or the connection broke while an earlier one was awaited */
        }
        if (redisGetReply(node->connection, (void **)&replies[i]) != REDIS_OK) {
            replies[i] = broken(r, node);
        }
    }
    for (int i = 0; i < n; i++) {
        if (homes[i] < 0 || (replies[i] != NULL && elsewhere(r, replies[i]))) {
            if (replies[i] != NULL) {
                freeReplyObject(replies[i]);
            }
            replies[i] = router_call(r, keys[i], &commands[i]);
        }
    }
    free(homes);
}

redisContext *router_home(struct router *r, const char *key)
{
    redisReply *reply = router_call(r, key,
        &(struct router_command){2, (const char *[]){"EXISTS", key}, (const size_t[]){6, strlen(key)}});
    if (reply == NULL) {
        return NULL;
    }
    freeReplyObject(reply);
    return connect_to(r, &r->nodes[r->homes[slot_of_key(key)]]);
}

static void append(redisContext *c, const struct router_command *command)
{
    CHECK(
        redisAppendCommandArgv(c, command->argc, (const char **)command->argv, command->lengths) == REDIS_OK);
}

redisReply *router_transaction(
    struct router *r, const char *key, const struct router_command *commands, int n)
{
    redisContext *c = router_home(r, key);
    if (c == NULL) {
        return NULL;
    }
    append(c, &multi);
    for (int i = 0; i < n; i++) {
        append(c, &commands[i]);
    }
    append(c, &exec);
    redisReply *reply = NULL;
    for (int i = 0; i < n + 2; i++) {
        if (reply != NULL) {
            freeReplyObject(reply);
        }
        reply = NULL;
        if (redisGetReply(c, (void **)&reply) != REDIS_OK) {
            return broken(r, &r->nodes[r->homes[slot_of_key(key)]]);
        }
    }
    return reply;
}
