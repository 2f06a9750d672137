/* What a session does about bad rows: batches go isolating, their faults to the log, and what isolation
 * cannot find is found by ever smaller batches. */
#include <stdlib.h>
#include <string.h>

#include "flush/flush_session_internal.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

/* Faults go to the log in entries of about this size. */
enum { FAULTS_ENTRY_BYTES = 128 * 1024, FAULT_FRAMING_BYTES = 32 };
#define STATEMENT_TIMEOUT "57014"
#define LOCK_TIMEOUT      "55P03"
/* A row that alone takes too long is tried so often; then the others go on without it. */
enum { SLOW_SINGLE_MAX = 3 };
/* A batch that is longer than its limit, for the sake of its transactions, and fails so often, whatever the
 * reason: it may be its length. */
enum { LONGER_FAILED_MAX = 3 };

void session_forget_faults(struct flush_session *s)
{
    for (uint32_t i = 0; i < s->n_faults; i++) {
        free(s->faults[i].key);
        free(s->faults[i].message);
    }
    free(s->faults);
    s->faults = NULL;
    s->n_faults = 0;
    s->faults_told = 0;
    s->faults_applied = 0;
    s->isolated = false;
    s->finishing = false;
    s->isolating = 0;
}

/* The isolating transaction is over, one way or the other: what it said and the log has not heard yet is not
 * to be said any more. */
void session_end_isolating(struct flush_session *s)
{
    uint32_t n = s->commands_n;
    for (uint32_t i = 0; i < n; i++) {
        struct flush_command command = *flush_session_command(s);
        flush_session_pop(s);
        if (command.kind != FLUSH_COMMAND_QUARANTINE || command.n == 0) {
            session_push(s, command);
        }
    }
    session_forget_faults(s);
}

void session_on_isolated(void *data, uint64_t batch, const struct flush_fault *faults, uint32_t n)
{
    struct flush_session *s = data;
    CHECK(batch == s->isolating && !s->isolated);
    s->isolated = true;
    s->n_faults = n;
    s->faults = n == 0 ? NULL : xcalloc(n, sizeof *s->faults);
    for (uint32_t i = 0; i < n; i++) {
        struct flush_session_fault *f = &s->faults[i];
        f->key = xmalloc(faults[i].key.len + 1);
        if (faults[i].key.len > 0) {
            memcpy(f->key, faults[i].key.data, faults[i].key.len);
        }
        f->key_len = (uint32_t)faults[i].key.len;
        memcpy(f->sqlstate, faults[i].sqlstate, sizeof f->sqlstate);
        f->message = xstrdup(faults[i].message);
    }
    if (n == 0 && !s->retried) {
        s->suspicious = false;
    }
}

/* The next part of the faults, as one command. The part before has been proposed. */
void session_tell_faults(struct flush_session *s)
{
    if (!s->isolated || s->faults_told == s->n_faults || s->commands_n > 0) {
        return;
    }
    uint32_t first = s->faults_told;
    size_t bytes = 0;
    while (s->faults_told < s->n_faults && bytes < FAULTS_ENTRY_BYTES) {
        const struct flush_session_fault *f = &s->faults[s->faults_told++];
        bytes += f->key_len + strlen(f->message) + FAULT_FRAMING_BYTES;
    }
    session_push(s, (struct flush_command){.kind = FLUSH_COMMAND_QUARANTINE,
                        .batch = s->isolating,
                        .first = first,
                        .n = s->faults_told - first});
}

void flush_session_quarantined(struct flush_session *s, uint64_t batch, uint32_t n)
{
    if (s->isolated && batch == s->isolating) {
        s->faults_applied += n;
    }
}

bool flush_session_finish_due(const struct flush_session *s)
{
    return s->state == FLUSH_ACTIVE && s->isolated && !s->finishing && s->faults_applied == s->n_faults;
}

void flush_session_finish(struct flush_session *s, const struct flush_note *note,
    const struct flush_mirror *mirror, uint64_t changes)
{
    CHECK(flush_session_finish_due(s));
    s->finishing = true;
    session_mirrored(s, mirror, changes);
    s->flusher->finish(s->flusher_data, note, mirror);
}

/* A row of a batch is bad, or the whole of it takes too long: what the next one must be like. */
void session_learn_from(struct flush_session *s, const struct flush_error *error)
{
    uint32_t *rows_cap = s->retried ? &s->retry_cap : &s->rows_cap;
    uint32_t cap = *rows_cap == 0 || *rows_cap > s->sent_rows ? s->sent_rows : *rows_cap;
    if (s->sent_longer && s->sent_batch != s->fence_batch) {
        cap = cap > s->settings.batch_rows ? s->settings.batch_rows : cap;
        if (++s->longer_failed >= LONGER_FAILED_MAX) {
            s->cut = true;
            *rows_cap = cap;
        }
    }
    bool slow = error->in_rows && (strcmp(error->sqlstate, STATEMENT_TIMEOUT) == 0 ||
                                      strcmp(error->sqlstate, LOCK_TIMEOUT) == 0);
    if (slow && s->sent_rows == 1 && ++s->slow_single >= SLOW_SINGLE_MAX) {
        s->slow_single = 0;
        s->condemned = s->sent_batch;
    } else if (slow) {
        *rows_cap = cap > 1 ? cap / 2 : 1;
        s->cut = s->cut || s->sent_longer;
    } else if (error->class == FLUSH_ERROR_ROW && s->isolating == 0) {
        s->suspicious = true;
    } else if (error->class == FLUSH_ERROR_ROW && s->isolating_rows > 1) {
        *rows_cap = cap > 1 ? cap / 2 : 1; /* an error that isolation does not find, as one of the COMMIT */
        s->cut = s->cut || s->sent_longer;
    } else if (error->class == FLUSH_ERROR_ROW) {
        s->condemned = s->isolating;
    }
    s->sent_longer = false; /* learnt: what fails before another batch is sent has other reasons */
}
