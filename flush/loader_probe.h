/* For tests: a pg_loader with a loop of its own, which records what it answers. One probe at a time. */
#ifndef WB_FLUSH_LOADER_PROBE_H
#define WB_FLUSH_LOADER_PROBE_H

#include "flush/pg_loader.h"
#include "flush/pg_test_server.h"

enum { LOADER_PROBE_TOKENS = 512, LOADER_PROBE_KEYS = 16 };

/* What became of each call. */
struct loader_answer {
    unsigned events;
    bool failed;
    struct flush_error error;
    struct load_result result; /* without its arrays */
    uint64_t version_sum;
    uint64_t value_bytes;   /* of all rows */
    uint64_t expires_at_ms; /* of the last row */
    uint8_t type;           /* of the last row */
    char value[32];         /* likewise, the beginning */
    /* the first of later, of bad, or of what a search found, with a 0 behind */
    uint32_t keys_n;
    char keys[LOADER_PROBE_KEYS][8];
};

struct loader_probe {
    uv_loop_t loop;
    struct pg_loader *loader;
    bool in_call; /* a call is running: an event now would be a bug */
    unsigned events;
    unsigned again;           /* loads of "a" to start from inside events, with the last tokens */
    struct flush_identity id; /* of the loads */
    struct loader_answer answers[LOADER_PROBE_TOKENS];
    void (*on_row)(void *data, const struct load_row *row); /* called for each row; or NULL */
    void *on_row_data;
    /* where each loaded version, that below the bound, is counted; or NULL */
    uint8_t *seen;
    uint64_t seen_n;
    /* of the last answer's later keys, as their array: what to load next */
    struct buf later; /* each with 4 bytes of length before it */
};

/* @logger may be NULL. */
void loader_probe_open(
    struct loader_probe *w, const char *dsn, const struct flush_identity *id, const struct logger *logger);
/* Close, and check that the loop is left without a handle. */
void loader_probe_close(struct loader_probe *w);

void loader_probe_load(struct loader_probe *w, uint64_t token, const struct bytes *keys, uint32_t n);
/* Load what the last answer called later. Returns how many keys that is; with none nothing is started. */
uint32_t loader_probe_load_later(struct loader_probe *w, uint64_t token);
void loader_probe_find(struct loader_probe *w, uint64_t token, uint64_t before_ms, uint32_t keys_max);
/* Run the loop until so many events have fired in all, and no more. The test fails after a minute. */
void loader_probe_run(struct loader_probe *w, unsigned events);

/* Load one key, as token 0. */
struct loader_answer *loader_probe_one(struct loader_probe *w, const char *key);
/* The same until it works again. */
struct loader_answer *loader_probe_one_until_up(struct loader_probe *w, const char *key);

#endif
