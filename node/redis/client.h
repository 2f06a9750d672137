/* What a connection of the Redis front door has set: its protocol, its name, its transaction. Pure; owned by
 * the dispatcher, which makes and frees it. */
#ifndef WB_NODE_REDIS_CLIENT_H
#define WB_NODE_REDIS_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/arena.h"
#include "proto/base/bytes.h"

struct redis_command;

enum redis_reply_mode { REDIS_REPLY_ON, REDIS_REPLY_OFF, REDIS_REPLY_SKIP };

/* A command of a transaction, between MULTI and EXEC; all of it in the client's arena. */
struct redis_queued {
    const struct redis_command *command;
    struct bytes *args;
    uint32_t n;
    struct redis_queued *next;
};

/* A key that is watched, with its version when WATCH was answered; in the client's arena for watches. */
struct redis_watched {
    struct bytes key;
    uint64_t version;
    struct redis_watched *next;
};

struct redis_client {
    uint64_t id;
    char peer[64], local[64];            /* HOST:PORT */
    unsigned protocol;                   /* 2 or 3 */
    char *name, *lib_name, *lib_version; /* owned; NULL: not set */
    bool readonly;                       /* READONLY was said: followers answer its reads */
    bool asking;                         /* for the next command only */
    bool no_evict, no_touch;             /* remembered, and shown by CLIENT INFO */
    enum redis_reply_mode reply_mode;
    bool skip_next;                   /* CLIENT REPLY SKIP was the last command */
    const struct redis_command *last; /* for CLIENT LIST; NULL: none yet */
    /* MULTI */
    bool in_multi;
    bool multi_failed; /* a command could not be queued: EXEC will refuse */
    struct arena multi_arena;
    struct redis_queued *queue, *queue_last;
    uint32_t queued;
    /* WATCH */
    struct arena watch_arena;
    struct redis_watched *watched;
    uint32_t watched_n;
    uint32_t watching; /* WATCH commands that are not answered yet */
};

struct redis_client *redis_client_create(uint64_t id, const char *peer, const char *local);
void redis_client_free(struct redis_client *client);
/* Replace one of the owned texts; no bytes: it is not set any more. */
void redis_client_set_text(char **text, struct bytes to);
/* Forget the transaction, or the watched keys. */
void redis_client_end_multi(struct redis_client *client);
void redis_client_unwatch(struct redis_client *client);
/* Everything as on a new connection (RESET). */
void redis_client_reset(struct redis_client *client);

#endif
