/* For tests: a pg_flusher with a loop of its own, which records its events, and waits for them. */
#ifndef WB_FLUSH_FLUSHER_PROBE_H
#define WB_FLUSH_FLUSHER_PROBE_H

#include "flush/flush_batch.h"
#include "flush/pg_flusher.h"
#include "flush/pg_test_server.h"

enum probe_event {
    PROBE_NOTHING,
    PROBE_INSPECTED,
    PROBE_CLAIMED,
    PROBE_TAKEN,
    PROBE_COMMITTED,
    PROBE_ISOLATED,
    PROBE_NOTED,
    PROBE_FAILED
};

enum { PROBE_FAULTS_MAX = 16 };
struct probe_fault {
    char key[64];
    char sqlstate[6];
    char message[512];
};

struct probe {
    uv_loop_t loop;
    struct pg_flusher *flusher;
    unsigned events; /* fired until now */
    unsigned seen;   /* of them, returned by probe_next */
    enum probe_event kinds[64];
    uint64_t batches[64];                        /* of COMMITTED and ISOLATED */
    int64_t clock_us;                            /* of the newest COMMITTED or NOTED */
    struct probe_fault faults[PROBE_FAULTS_MAX]; /* of the newest ISOLATED */
    uint32_t n_faults;                           /* may be more than there is room for */
    bool in_call;                                /* a call is running: an event now would be a bug */
    bool disconnect_at_once;                     /* from inside the next event */
    void (*in_next)(void *data);                 /* likewise, to be called once; or NULL */
    void *in_next_data;
    struct flush_inspected inspected;
    struct fence_row row;
    struct flush_error error;
};

/* @dsn, @limits (may be NULL): as in pg_flusher_config. */
void probe_open(struct probe *p, const char *dsn, uint32_t group, const struct pg_limits *limits);
/* The same in another schema than the default one. */
void probe_open_schema(
    struct probe *p, const char *dsn, uint32_t group, const struct pg_limits *limits, const char *schema);
/* Close, check that no event fires any more and that the loop is left without a handle. */
void probe_close(struct probe *p);

/* The next event that fires; runs the loop until then (the test fails after a minute). */
enum probe_event probe_next(struct probe *p);
/* The next event is that commit. */
void probe_assert_committed(struct probe *p, uint64_t batch);
/* The next event is a failure of that class, with @words in its message. */
void probe_assert_failed(struct probe *p, enum flush_error_class class, const char *words);
/* Let the loop turn once without waiting. */
void probe_turn(struct probe *p);

void probe_inspect(struct probe *p, const struct flush_identity *id);
void probe_claim(struct probe *p, const struct flush_identity *id, enum flush_inspection expected,
    const struct flush_identity *expected_id);
void probe_take(struct probe *p, const struct flush_identity *id, uint64_t term);
/* Build a batch of @rows and send it. */
void probe_send(struct probe *p, uint64_t id, uint64_t predecessor, struct flush_row *rows, uint32_t n);
/* The same, isolating; it is isolated next, with @refused rows. */
void probe_isolate(
    struct probe *p, uint64_t id, uint64_t predecessor, struct flush_row *rows, uint32_t n, uint32_t refused);
/* @mirror may be NULL. */
void probe_finish(struct probe *p, const struct flush_note *note, const struct flush_mirror *mirror);
void probe_note(
    struct probe *p, const struct flush_note *note, const struct flush_mirror *mirror, uint64_t last_batch);
void probe_disconnect(struct probe *p);

/* A cluster whose id is 16 times @name, of 3 groups. */
struct flush_identity probe_cluster(uint8_t name, uint32_t group, uint64_t version_base);
/* The row "@key" -> "@value". */
struct flush_row probe_row(const char *key, const char *value, uint64_t version);

#endif
