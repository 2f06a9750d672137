/* What the two halves of the load share: redis_load.c is its life, redis_client.c what its clients send and
 * hear. */
#ifndef WB_TOOLS_WBBENCH_REDIS_LOAD_PRIVATE_H
#define WB_TOOLS_WBBENCH_REDIS_LOAD_PRIVATE_H

#include <uv.h>

#include "tools/wbbench/keys.h"
#include "tools/wbbench/link.h"
#include "tools/wbbench/redis_load.h"
#include "tools/wbbench/redis_map.h"

/* A client's connection to one node. */
struct redis_lane {
    struct link link;
    struct redis_client *client;
    uint32_t *sent; /* ring of `pipeline` keys, in the order of their answers; NULL until needed */
    unsigned head;
    unsigned n;
    bool wait_due;      /* the next answer is that of a WAITAOF */
    unsigned confirmed; /* SETs answered OK that wait for it */
};

struct redis_client {
    struct redis_load *load;
    int home;
    unsigned left;  /* operations of the burst that are not done */
    unsigned moved; /* MOVEDs in this burst */
    uint64_t start_ns;
    struct redis_lane lanes[LIMIT_NODES];
};

/* The load's life: it looks for the slots, warms up, measures, waits for the last answers, closes. */
enum redis_stage { LOOKING, WARMING, MEASURING, ENDING, CLOSING };

struct redis_load {
    const struct redis_load_options *options;
    struct redis_result *result;
    enum redis_stage stage;
    uv_loop_t loop;
    uv_prepare_t prepare;
    uv_timer_t tick;
    struct list dirty; /* links with output */
    uint8_t *scratch;
    struct redis_map map;
    struct sockaddr_storage resolved[LIMIT_NODES];
    bool is_resolved[LIMIT_NODES];
    struct redis_keys keys;
    struct keys random;
    uint32_t next_of[LIMIT_NODES]; /* each_key_once: the next of a node's keys */
    struct buf request;            /* one operation, with a hole for the key */
    size_t digits_at;
    struct redis_client *clients;
    unsigned busy;         /* clients with a burst under way */
    uint64_t begun_ns;     /* the stage LOOKING, then WARMING */
    uint64_t start_ns;     /* MEASURING */
    uint64_t last_ok_ns;   /* of the measured part */
    uint64_t last_sign_ns; /* any answer */
    /* asking for the slots */
    struct link control;
    unsigned control_node;
    bool map_wanted;
    bool map_asked;
    uint64_t map_next_ms;
    double generator_begin;
    double kinds_begin[REDIS_KINDS];
    char error[256];
};

/* redis_load.c */

/* Count @count errors under @word, and let the load end. */
void redis_load_fail(struct redis_load *l, const char *word, uint64_t count);

/* redis_client.c */
extern const struct link_events redis_lane_events;
/* The bytes of one operation, as the options want it: l->request and l->digits_at. The caller deinits the
 * buffer. */
void redis_request_init(struct redis_load *l);
/* Send the client's next commands, if the load goes on and there is something left to send. */
void redis_client_begin(struct redis_client *c);
void redis_count_word(struct redis_load *l, const char *word, uint64_t count);

#endif
