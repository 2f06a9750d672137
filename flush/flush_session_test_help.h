/* For tests of a session: a scripted flusher and a log, both played by the test, which reads as text what the
 * session asks of them. */
#ifndef WB_FLUSH_FLUSH_SESSION_TEST_HELP_H
#define WB_FLUSH_FLUSH_SESSION_TEST_HELP_H

#include "flush/flush_session.h"

enum { BATCH_ROWS = 64, RETRY_MIN_MS = 100, RETRY_MAX_MS = 1000, NOTE_MS = 700, START_MS = 50000 };

struct desk {
    struct flush_session s;
    struct flush_view view; /* what the log has applied */
    uint64_t now_ms, wake_ms;
    char asked[512]; /* of the flusher, since it was read last */
    bool wanted;
    uint64_t epoch;   /* of the last take */
    int64_t clock_us; /* the server's: 1000 at first, 1 more with each answer */
};

/* A session of @group, 0 of 3, in LOOKING and term 6; in flight at most 3. */
void desk_init(struct desk *d, uint32_t group);
/* ACTIVE, with last batch 0 and the first note answered. */
void desk_active(struct desk *d);
void desk_deinit(struct desk *d);

/* As a group does it: turns until the session's state stays, then the note or the COMMIT that is due. */
void turn(struct desk *d);
void pass(struct desk *d, uint64_t ms);

/* What it has asked of the flusher since the last time: "take 6; note at 5". */
void asks_at(struct desk *d, const char *want, int line);
#define asks(d, want) asks_at(d, want, __LINE__)
/* The commands for the log, which are proposed thereby: "BEGIN 64; ABORT 5". */
void proposes_at(struct desk *d, const char *want, int line);
#define proposes(d, want) proposes_at(d, want, __LINE__)
#define assert_state(d, want)                                                                                \
    assert_string_equal(flush_session_state_name((d)->s.state), flush_session_state_name(want))

/* The database's answers. The errors of class ROW and TRANSIENT are those of a batch's rows. */
void on_taken(struct desk *d, uint64_t last_batch);
void on_noted(struct desk *d);
void on_committed(struct desk *d, uint64_t batch);
void on_failed(struct desk *d, enum flush_error_class class, const char *sqlstate, const char *message);
/* With @n faults, all with this message. */
void on_isolated(struct desk *d, uint64_t batch, uint32_t n, const char *message);

/* The log's: a BEGIN that moves @rows (0: it finds none) has applied as entry @batch. */
void applied_begin(struct desk *d, uint64_t batch, uint32_t rows);
/* What settles has applied: nothing is in flight. */
void applied_settling(struct desk *d, uint64_t last_batch);

/* @rows are due; they go as @batch. */
void send_rows(struct desk *d, uint64_t batch, uint32_t rows);
/* The connection failed; @last_batch is in the database when the fence is taken again. */
void take_again(struct desk *d, uint64_t last_batch);
/* The batch @failed has a bad row, and its rows go again, isolating, as @batch. */
void isolate_again(struct desk *d, uint64_t last_batch, uint64_t failed, uint64_t batch, uint32_t rows);

#endif
