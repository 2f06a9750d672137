/* Somebody with a Redis client in cluster mode: one command at a time, redirects followed, texts as replies.
 * Every call fails the running cmocka test when there is no reply at all. Threading: the test's main thread.
 */
#ifndef WB_CLUSTER_TESTS_REDIS_ASK_H
#define WB_CLUSTER_TESTS_REDIS_ASK_H

#include "cluster-tests/redis_client.h"

enum { REDIS_ASK_WORDS_MAX = 64, REDIS_ASK_ADDRESSES_BYTES = 512 };

struct redis_ask {
    struct redis_client client;
    unsigned node; /* who answered last */
};

/* The nodes' Redis addresses, "HOST:PORT,HOST:PORT", into @out. */
void redis_ask_addresses(struct cluster *c, char out[REDIS_ASK_ADDRESSES_BYTES]);
void redis_ask_init(struct redis_ask *a, struct cluster *c);
void redis_ask_deinit(struct redis_ask *a);
/* Ask with @words (NULL-terminated). MOVED is followed, CLUSTERDOWN asked again. The reply lives until the
 * next call. */
struct reply redis_ask(struct redis_ask *a, const char *const *words);
/* The same, with the exact reply that must come, without its last line end. */
void redis_ask_expect(struct redis_ask *a, const char *const *words, const char *reply);

#endif
