/* Inside of a session, for the files flush_session*.c only. */
#ifndef WB_FLUSH_FLUSH_SESSION_INTERNAL_H
#define WB_FLUSH_FLUSH_SESSION_INTERNAL_H

#include "flush/flush_session.h"

/* ---- flush_session.c ---- */
/* Hand out @command behind those that wait. */
void session_push(struct flush_session *s, struct flush_command command);

/* ---- flush_session_rows.c ---- */
void session_on_isolated(void *data, uint64_t batch, const struct flush_fault *faults, uint32_t n);
void session_forget_faults(struct flush_session *s);
/* The isolating transaction is over, one way or the other: what it said and the log has not heard yet is not
 * to be said any more. */
void session_end_isolating(struct flush_session *s);
/* The next part of the faults, as one command. The part before has been proposed. */
void session_tell_faults(struct flush_session *s);
/* A row of a batch is bad, or the whole of it takes too long: what the next one must be like. */
void session_learn_from(struct flush_session *s, const struct flush_error *error);

/* ---- flush_session_fresh.c ---- */
void session_on_noted(void *data, int64_t clock_us);
void session_forget_samples(struct flush_session *s);
/* Keep what the server's clock said, if this leader certainly leads. */
void session_take_sample(struct flush_session *s, const struct flush_view *view);
uint64_t session_note_every(const struct flush_session *s);
/* The quarantine was shown (@mirror not NULL) as it was after @changes. */
void session_mirrored(struct flush_session *s, const struct flush_mirror *mirror, uint64_t changes);

#endif
