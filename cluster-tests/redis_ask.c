#include "cluster-tests/redis_ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/redis_call.h"
#include "cluster-tests/scenario.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"

enum { OUTPUT_BYTES = 16384, PATIENCE_MS = 20000, REPLY_MS = 15000, PAUSE_MS = 20 };

void redis_ask_addresses(struct cluster *c, char out[REDIS_ASK_ADDRESSES_BYTES])
{
    static const char name[] = "WBCACHE_REDIS=";
    char *output = xmalloc(OUTPUT_BYTES);
    int code = cluster_tool(c, (const char *const[]){"env", NULL}, output, OUTPUT_BYTES);
    const char *at = code == 0 ? strstr(output, name) : NULL;
    out[0] = '\0';
    if (at != NULL) {
        at += sizeof name - 1;
        at += *at == '\'';
        snprintf(out, REDIS_ASK_ADDRESSES_BYTES, "%.*s", (int)strcspn(at, "'\n"), at);
    }
    free(output);
    assert_string_not_equal(out, "");
}

void redis_ask_init(struct redis_ask *a, struct cluster *c)
{
    char addresses[REDIS_ASK_ADDRESSES_BYTES];
    redis_ask_addresses(c, addresses);
    a->node = 0;
    redis_client_init(&a->client, addresses, false);
}

void redis_ask_deinit(struct redis_ask *a)
{
    redis_client_deinit(&a->client);
}

struct reply redis_ask(struct redis_ask *a, const char *const *words)
{
    struct buf command;
    unsigned n = 0;
    while (words[n] != NULL) {
        n++;
    }
    buf_init(&command);
    redis_command(&command, words, n);
    struct reply reply = {0};
    bool answered = false;
    for (uint64_t until_ms = clock_boot_ms() + PATIENCE_MS; !answered && clock_boot_ms() < until_ms;) {
        bool came = redis_client_connect(&a->client, a->node) &&
                    redis_client_send(&a->client, a->node, bytes_of(command.data, command.len)) &&
                    redis_client_receive(&a->client, a->node, REPLY_MS, &reply);
        int to = came ? redis_client_moved_to(&a->client, &reply) : -1;
        answered = came && to < 0 && !reply_is_error_of(&reply, "CLUSTERDOWN");
        if (to >= 0) {
            a->node = (unsigned)to;
        } else if (!answered) {
            pass_ms(PAUSE_MS);
        }
    }
    buf_deinit(&command);
    if (!answered) {
        fail_msg("%s %s: there is no reply", words[0], n > 1 ? words[1] : "");
    }
    return reply;
}

void redis_ask_expect(struct redis_ask *a, const char *const *words, const char *reply)
{
    struct reply r = redis_ask(a, words);
    size_t len = strlen(reply);
    if (r.whole.len != len + 2 || memcmp(r.whole.data, reply, len) != 0) {
        fail_msg("%s %s: the reply is %.*s instead of %s", words[0], words[1] != NULL ? words[1] : "",
            (int)r.whole.len, (const char *)r.whole.data, reply);
    }
}
