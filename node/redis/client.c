/* What a connection of the Redis front door has set. */
#include "node/redis/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"

struct redis_client *redis_client_create(uint64_t id, const char *peer, const char *local)
{
    struct redis_client *client = xcalloc(1, sizeof(*client));
    client->id = id;
    snprintf(client->peer, sizeof(client->peer), "%s", peer);
    snprintf(client->local, sizeof(client->local), "%s", local);
    client->protocol = 2;
    arena_init(&client->multi_arena);
    arena_init(&client->watch_arena);
    return client;
}

void redis_client_free(struct redis_client *client)
{
    arena_deinit(&client->multi_arena);
    arena_deinit(&client->watch_arena);
    free(client->name);
    free(client->lib_name);
    free(client->lib_version);
    free(client);
}

void redis_client_set_text(char **text, struct bytes to)
{
    free(*text);
    *text = NULL;
    if (to.len > 0) {
        *text = xmalloc(to.len + 1);
        memcpy(*text, to.data, to.len);
        (*text)[to.len] = 0;
    }
}

void redis_client_end_multi(struct redis_client *client)
{
    client->in_multi = false;
    client->multi_failed = false;
    client->queue = client->queue_last = NULL;
    client->queued = 0;
    /* A large transaction's memory is not kept for a connection that may never have another one. */
    arena_deinit(&client->multi_arena);
    arena_init(&client->multi_arena);
}

void redis_client_unwatch(struct redis_client *client)
{
    client->watched = NULL;
    client->watched_n = 0;
    arena_deinit(&client->watch_arena);
    arena_init(&client->watch_arena);
}

void redis_client_reset(struct redis_client *client)
{
    redis_client_end_multi(client);
    redis_client_unwatch(client);
    client->protocol = 2;
    redis_client_set_text(&client->name, bytes_of(NULL, 0));
    client->readonly = false;
    client->asking = false;
    client->no_evict = false;
    client->no_touch = false;
    client->reply_mode = REDIS_REPLY_ON;
    client->skip_next = false;
}
