#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "flush/flush_session_internal.h"
#include "proto/base/check.h"

/* A halted group looks again this often: the operator's repair is noticed without a restart. */
enum { HALTED_RETRY_MS = 5000 };
/* Group 0 claims the database for all. When that takes longer, the others look themselves, to say why. */
enum { PATIENCE_MS = 2000 };
/* PostgreSQL's bigint ends at 2^63: half of it stays for the new cluster's own versions. */
#define VERSION_BASE_MAX (UINT64_C(1) << 62)
/* A suspicion costs the connection and what is on it. Where loads keep seeing another server than the flush
 * does, the fence that was just taken has answered it: flushing must go on. */
enum { SUSPECT_AGAIN_MS = 5000 };
/* A group that always has rows to write keeps what others wait for so long. */
enum { HOLD_MS = 200 };
/* While others want the connection, a note is worth another one this often only. */
enum { REST_NOTE_MS = 5000 };
enum { SAME_ERROR_MS = 30000 };
/* While rows are due, so many batches of them for one of the quarantine's. */
enum { BATCHES_FOR_A_RETRY = 8 };

const char *flush_session_state_name(enum flush_session_state state)
{
    switch (state) {
    case FLUSH_OFF:
        return "off";
    case FLUSH_LOOKING:
    case FLUSH_TAKING:
        return "connecting";
    case FLUSH_SETTLING:
        return "settling";
    case FLUSH_ACTIVE:
        return "active";
    case FLUSH_RESTING:
        return "resting";
    case FLUSH_BACKOFF:
        return "backoff";
    case FLUSH_FENCED:
        return "fenced";
    case FLUSH_HALTED:
        return "halted";
    }
    return "?";
}

void flush_session_init(struct flush_session *s, const struct flush_settings *settings, uint32_t group,
    uint32_t group_count, bool adopt, uint32_t random, const struct flusher_ops *flusher, void *flusher_data)
{
    *s = (struct flush_session){
        .settings = *settings,
        .group = group,
        .group_count = group_count,
        .adopt = adopt,
        .random = random | 1,
        .flusher = flusher,
        .flusher_data = flusher_data,
        .state = FLUSH_OFF,
    };
    CHECK(settings->in_flight >= 1 && settings->in_flight <= FLUSH_IN_FLIGHT_MAX);
}

void session_push(struct flush_session *s, struct flush_command command)
{
    CHECK(s->commands_n < FLUSH_COMMANDS_MAX);
    s->commands[(s->commands_head + s->commands_n++) % FLUSH_COMMANDS_MAX] = command;
}

const struct flush_command *flush_session_command(const struct flush_session *s)
{
    return s->commands_n == 0 ? NULL : &s->commands[s->commands_head];
}

void flush_session_pop(struct flush_session *s)
{
    CHECK(s->commands_n > 0);
    s->commands_head = (s->commands_head + 1) % FLUSH_COMMANDS_MAX;
    s->commands_n--;
}

static void forget_inspection(struct flush_session *s)
{
    s->inspected = (struct flush_inspected){.found = FLUSH_DB_EMPTY, .group_count = UINT32_MAX};
    s->claim_done = false;
}

void flush_session_start(
    struct flush_session *s, uint64_t term, const uint8_t new_cluster_id[CLUSTER_ID_BYTES], uint64_t now_ms)
{
    CHECK(s->state == FLUSH_OFF);
    s->term = term;
    s->now_ms = now_ms;
    memcpy(s->new_cluster_id, new_cluster_id, CLUSTER_ID_BYTES);
    s->state = FLUSH_LOOKING;
    s->looking_since_ms = now_ms;
    s->born_proposed = false;
    s->foreign_since_ms = 0;
    forget_inspection(s);
    s->claim_proposed = false;
    s->begin_pending = false;
    s->calling = false;
    s->commands_n = 0;
    s->retry_ms = 0;
    s->retry_at_ms = 0;
    s->suspect_again_ms = 0;
    s->epoch = 0;
    s->suspicious = false;
    s->rows_cap = 0;
    s->cut = false;
    s->longer_failed = 0;
    s->asked_rows = 0;
    s->retry_cap = 0;
    s->condemned = 0;
    s->retried = false;
    s->others_first = 0;
    s->sent_rows = 0;
    s->sent_longer = false;
    s->slow_single = 0;
    s->noting = false;
    s->note_at_ms = now_ms;
    s->published_us = 0;
    s->mirror_known = false;
    s->rested = false;
    s->mirror_at_ms = now_ms;
    session_forget_samples(s);
}

void flush_session_stop(struct flush_session *s)
{
    if (s->state == FLUSH_OFF) {
        return;
    }
    s->flusher->disconnect(s->flusher_data);
    s->state = FLUSH_OFF;
    s->calling = false;
    s->commands_n = 0;
    s->begin_pending = false;
    s->epoch = 0;
    session_forget_faults(s);
}

void flush_session_deinit(struct flush_session *s)
{
    CHECK(s->state == FLUSH_OFF);
    session_forget_faults(s);
}

static unsigned jittered(struct flush_session *s, unsigned ms)
{
    s->random ^= s->random << 13; /* xorshift32 */
    s->random ^= s->random >> 17;
    s->random ^= s->random << 5;
    return ms / 2 + s->random % (ms / 2 + 1);
}

/* An error that comes back soon after it seemed over, as a batch fails each time that the fence was taken,
 * has been there all the time. */
static void set_error(struct flush_session *s, const struct flush_error *error)
{
    bool the_same =
        error->class == s->last_error.class && strcmp(error->sqlstate, s->last_error.sqlstate) == 0;
    bool went_on = s->last_error.message[0] != '\0' ||
                   (the_same && s->cleared_ms != 0 && s->now_ms < s->cleared_ms + SAME_ERROR_MS);
    if (!went_on) {
        s->error_since_ms = s->now_ms;
    }
    s->last_error = *error;
}

static void clear_error(struct flush_session *s)
{
    if (s->last_error.message[0] != '\0') {
        s->cleared_ms = s->now_ms;
    }
    s->last_error.message[0] = '\0'; /* class and SQLSTATE stay, to be compared */
}

/* The connection is of no use any more. Where the session goes depends on whose fault it was. */
static void fall_back(struct flush_session *s, const struct flush_error *error)
{
    set_error(s, error);
    s->failures++;
    s->calling = false;
    s->epoch = 0;
    s->noting = false;
    session_learn_from(s, error);
    bool row = error->class == FLUSH_ERROR_ROW && s->state == FLUSH_ACTIVE && s->sent_batch != s->fence_batch;
    s->rested = false;
    session_end_isolating(s);
    session_forget_samples(s); /* another server may answer next */
    /* A FLUSHED that waits to be proposed stays valid: its COMMIT was seen. A BEGIN does no harm either. */
    if (error->class == FLUSH_ERROR_HALT) {
        s->state = FLUSH_HALTED;
        s->retry_at_ms = s->now_ms + HALTED_RETRY_MS;
        return;
    }
    if (error->class == FLUSH_ERROR_FENCED) {
        s->fenced_count++;
    }
    s->state = error->class == FLUSH_ERROR_FENCED ? FLUSH_FENCED : FLUSH_BACKOFF;
    if (row) {
        s->retry_at_ms = s->now_ms; /* the database is well */
        return;
    }
    s->retry_ms = s->retry_ms == 0 ? s->settings.retry_min_ms : s->retry_ms * 2;
    if (s->retry_ms > s->settings.retry_max_ms) {
        s->retry_ms = s->settings.retry_max_ms;
    }
    s->retry_at_ms = s->now_ms + jittered(s, s->retry_ms);
}

static void halt(struct flush_session *s, const char *format, uint64_t a, uint64_t b)
{
    struct flush_error error = {.class = FLUSH_ERROR_HALT};
    snprintf(error.message, sizeof error.message, format, a, b);
    s->flusher->disconnect(s->flusher_data);
    fall_back(s, &error);
}

static void failed(void *data, const struct flush_error *error)
{
    struct flush_session *s = data;
    fall_back(s, error);
}

/* Whose database it is, in hexadecimal. */
static void name_cluster(const struct flush_inspected *found, char id[2 * CLUSTER_ID_BYTES + 1])
{
    for (int i = 0; i < CLUSTER_ID_BYTES; i++) {
        snprintf(id + 2 * (size_t)i, 3, "%02x", found->cluster_id[i]);
    }
}

static void refuse_foreign(struct flush_session *s, const struct flush_inspected *found)
{
    struct flush_error error = {.class = FLUSH_ERROR_HALT};
    char id[2 * CLUSTER_ID_BYTES + 1];
    name_cluster(found, id);
    snprintf(error.message, sizeof error.message,
        "the database belongs to another wbcache cluster (%s, %" PRIu32
        " groups): use an empty database or schema, "
        "or start the nodes with --adopt to take it over, which shuts that cluster out for good",
        id, found->group_count);
    s->flusher->disconnect(s->flusher_data);
    fall_back(s, &error);
}

/* Group 0 may have claimed the database for us, and this node not know it yet: a group that has no identity
 * cannot tell a foreign cluster from its own. It says what it saw, and looks again. */
static void wait_for_identity(struct flush_session *s, const struct flush_inspected *found)
{
    struct flush_error error = {.class = FLUSH_ERROR_OUTAGE};
    char id[2 * CLUSTER_ID_BYTES + 1];
    name_cluster(found, id);
    snprintf(error.message, sizeof error.message,
        "the database belongs to wbcache cluster %s (%" PRIu32
        " groups); whether that is this one, group 0 has yet to tell",
        id, found->group_count);
    s->flusher->disconnect(s->flusher_data);
    fall_back(s, &error);
}

static void inspected(void *data, const struct flush_inspected *found)
{
    struct flush_session *s = data;
    s->calling = false;
    s->inspected = *found;
    if (found->found == FLUSH_DB_FOREIGN && s->group != 0) {
        wait_for_identity(s, found);
        return;
    }
    if (found->found == FLUSH_DB_FOREIGN && !s->adopt) {
        return; /* judged by the next turn */
    }
    clear_error(s);
}

static void claimed(void *data)
{
    struct flush_session *s = data;
    s->calling = false;
    s->claim_done = true;
}

static void taken(void *data, const struct fence_row *row)
{
    struct flush_session *s = data;
    s->calling = false;
    s->fence_batch = row->last_batch;
    s->sent_batch = row->last_batch;
    s->epoch = row->epoch;
    session_forget_samples(s); /* another server's clock may have been read before */
    s->clock_us = row->clock_us;
    /* Else the database may be another one. */
    s->mirror_known = s->mirror_known && s->rested && row->epoch == s->rested_epoch + 1;
    s->rested = false;
    s->state = FLUSH_SETTLING;
}

/* What was learnt from failures is forgotten by and by. */
static void went_well(struct flush_session *s)
{
    s->retry_ms = 0;
    s->slow_single = 0;
    clear_error(s);
    s->cleared_ms = 0; /* a batch was written: what comes now is new */
    uint32_t *rows_cap = s->retried ? &s->retry_cap : &s->rows_cap;
    *rows_cap = *rows_cap >= s->settings.batch_rows / 2 ? 0 : *rows_cap * 2;
    s->longer_failed = 0;
}

static void committed(void *data, uint64_t batch, int64_t clock_us)
{
    struct flush_session *s = data;
    /* The predecessor is what the fence demanded, so it is what the log knows as the last batch by then. */
    session_push(s,
        (struct flush_command){.kind = FLUSH_COMMAND_FLUSHED, .batch = batch, .predecessor = s->fence_batch});
    s->fence_batch = batch;
    s->clock_us = clock_us;
    if (s->isolating == batch) {
        session_forget_faults(s);
    }
    went_well(s);
}

const struct flusher_events flush_session_events = {
    .inspected = inspected,
    .claimed = claimed,
    .taken = taken,
    .committed = committed,
    .isolated = session_on_isolated,
    .noted = session_on_noted,
    .failed = failed,
};

void flush_session_suspect(struct flush_session *s, const char *why)
{
    if ((s->state != FLUSH_ACTIVE && s->state != FLUSH_SETTLING) || s->now_ms < s->suspect_again_ms) {
        return;
    }
    s->suspect_again_ms = s->now_ms + SUSPECT_AGAIN_MS;
    struct flush_error error = {.class = FLUSH_ERROR_OUTAGE};
    snprintf(error.message, sizeof error.message, "%s", why);
    s->flusher->disconnect(s->flusher_data);
    fall_back(s, &error);
}

/* A leader that was stopped or cut off, and does not know yet that it was replaced, would take its
 * successor's claim for another cluster's. It is sure while it has the lease, or when it has had the time to
 * find out. */
static void judge_foreign(struct flush_session *s, const struct flush_view *view)
{
    if (s->foreign_since_ms == 0) {
        s->foreign_since_ms = s->now_ms;
    }
    if (view->certain || s->now_ms >= s->foreign_since_ms + PATIENCE_MS) {
        refuse_foreign(s, &s->inspected);
    } else {
        wait_for_identity(s, &s->inspected);
    }
}

static bool not_inspected(const struct flush_session *s)
{
    return s->inspected.found == FLUSH_DB_EMPTY && s->inspected.group_count == UINT32_MAX;
}

static void inspect(struct flush_session *s, const struct flush_view *view)
{
    static const uint8_t nobody[CLUSTER_ID_BYTES];
    s->calling = true;
    s->flusher->inspect(s->flusher_data, view->born ? view->identity.cluster_id : nobody);
}

/* A cluster that is not born or has not claimed its fence rows. Group 0 does it, the others follow its
 * identity. */
static void look(struct flush_session *s, const struct flush_view *view)
{
    if (view->claimed) {
        s->state = FLUSH_TAKING;
        s->calling = true;
        s->flusher->take(s->flusher_data, &view->identity, s->term);
        return;
    }
    if (s->group != 0) {
        if (!view->seed_found) {
            if (not_inspected(s) && !s->calling && s->now_ms >= s->looking_since_ms + PATIENCE_MS) {
                inspect(s, view);
            }
            return;
        }
        if (!view->born && !s->born_proposed) {
            s->born_proposed = true;
            session_push(s, (struct flush_command){.kind = FLUSH_COMMAND_GENESIS, .identity = view->seed});
        } else if (view->born && !s->claim_proposed) {
            s->claim_proposed = true; /* group 0 claimed every group's row */
            session_push(s, (struct flush_command){.kind = FLUSH_COMMAND_CLAIMED});
        }
        return;
    }
    if (s->calling || s->claim_proposed) {
        return;
    }
    if (s->claim_done) {
        s->claim_proposed = true;
        session_push(s, (struct flush_command){.kind = FLUSH_COMMAND_CLAIMED});
        return;
    }
    if (not_inspected(s)) {
        inspect(s, view);
        return;
    }
    if (s->inspected.found == FLUSH_DB_FOREIGN && !s->adopt) {
        judge_foreign(s, view);
        return;
    }
    if (s->inspected.version_ceiling > VERSION_BASE_MAX) {
        halt(s,
            "the versions in this database go up to %" PRIu64
            ", which leaves no room for another cluster's (limit %" PRIu64 "): use an empty database",
            s->inspected.version_ceiling, VERSION_BASE_MAX);
        return;
    }
    if (!view->born) {
        if (!s->born_proposed) {
            s->born_proposed = true;
            struct flush_command genesis = {.kind = FLUSH_COMMAND_GENESIS};
            memcpy(genesis.identity.cluster_id, s->new_cluster_id, CLUSTER_ID_BYTES);
            genesis.identity.group_count = s->group_count;
            genesis.identity.version_base = s->inspected.version_ceiling;
            session_push(s, genesis);
        }
        return;
    }
    s->calling = true;
    s->flusher->claim(s->flusher_data, &view->identity, &s->inspected);
}

/* The fence row names a batch that is neither our last one nor in flight. */
static void settle_by_rewind(struct flush_session *s, const struct flush_view *view)
{
    if (s->fence_batch > view->newest_batch) {
        halt(s,
            "the database's fence row names batch %" PRIu64
            ", which is not in this cluster's log (its newest is %" PRIu64
            "): the nodes' data folders are older than the database; put the right folders back",
            s->fence_batch, view->newest_batch);
        return;
    }
    s->mirror_known = false; /* nor what it shows of the quarantine */
    session_push(s, (struct flush_command){.kind = FLUSH_COMMAND_REWIND, .batch = s->fence_batch});
}

/* Decide every batch in flight by the fence row. Source: design, "the fence row". */
static void settle(struct flush_session *s, const struct flush_view *view)
{
    if (s->begin_pending || s->commands_n > 0 || view->commands_pending > 0) {
        return; /* what is on its way to the log must be in the view first */
    }
    if (view->n_in_flight == 0 && view->last_batch == s->fence_batch) {
        s->state = FLUSH_ACTIVE;
        s->active_since_ms = s->now_ms;
        s->sent_batch = s->fence_batch;
        s->note_at_ms = s->now_ms;
        s->condemned = 0;
        clear_error(s);
        return;
    }
    uint64_t predecessor = view->last_batch;
    bool known = s->fence_batch == predecessor;
    for (uint32_t i = 0; i < view->n_in_flight && view->in_flight[i] <= s->fence_batch; i++) {
        known = known || view->in_flight[i] == s->fence_batch;
    }
    if (!known) {
        settle_by_rewind(s, view);
        return;
    }
    for (uint32_t i = 0; i < view->n_in_flight; i++) {
        if (view->in_flight[i] > s->fence_batch) {
            if (s->condemned == view->in_flight[i]) {
                session_push(
                    s, (struct flush_command){.kind = FLUSH_COMMAND_QUARANTINE, .batch = s->condemned});
            }
            session_push(s, (struct flush_command){.kind = FLUSH_COMMAND_ABORT, .batch = view->in_flight[i]});
            break;
        }
        session_push(
            s, (struct flush_command){
                   .kind = FLUSH_COMMAND_FLUSHED, .batch = view->in_flight[i], .predecessor = predecessor});
        predecessor = view->in_flight[i];
    }
}

/* Is it time to let others have what this group holds? */
static bool should_rest(const struct flush_session *s, const struct flush_view *view)
{
    return s->flusher->wanted(s->flusher_data) && s->now_ms < s->note_at_ms &&
           ((view->rows_due == 0 && view->retries_due == 0) || s->now_ms >= s->active_since_ms + HOLD_MS);
}

static bool idle(const struct flush_session *s, const struct flush_view *view)
{
    return !s->begin_pending && !s->noting && s->isolating == 0 && view->n_in_flight == 0 &&
           s->commands_n == 0;
}

static void begin(
    struct flush_session *s, enum flush_command_kind kind, bool isolating, const struct flush_view *view)
{
    uint32_t rows = kind == FLUSH_COMMAND_RETRY ? s->settings.batch_rows : view->rows_due;
    uint32_t cap = kind == FLUSH_COMMAND_RETRY ? s->retry_cap : s->rows_cap;
    if (cap != 0 && rows > cap) {
        rows = cap;
    }
    s->begin_pending = true;
    s->began_isolating = isolating;
    s->retried = kind == FLUSH_COMMAND_RETRY;
    s->others_first = s->retried ? BATCHES_FOR_A_RETRY : s->others_first > 0 ? s->others_first - 1 : 0;
    s->asked_rows = rows;
    session_push(s, (struct flush_command){.kind = kind,
                        .rows_max = rows,
                        .bytes_max = s->settings.batch_bytes,
                        .cut = kind == FLUSH_COMMAND_BEGIN && s->cut});
}

static void plan(struct flush_session *s, const struct flush_view *view)
{
    if (s->begin_pending || s->isolating != 0) {
        return;
    }
    if (should_rest(s, view)) {
        if (idle(s, view)) {
            s->flusher->release(s->flusher_data);
            s->state = FLUSH_RESTING;
            s->note_at_ms =
                s->now_ms + (session_note_every(s) > REST_NOTE_MS ? session_note_every(s) : REST_NOTE_MS);
            s->rested = true;
            s->rested_epoch = s->epoch;
            s->epoch = 0;
        }
        return;
    }
    bool alone = view->n_in_flight == 0;
    if (s->rows_cap == 0 && view->rows_due == 0 && !view->rows_held && alone) {
        s->cut = false; /* nothing waits any more */
    }
    if (view->retries_due > 0 && (s->others_first == 0 || view->rows_due == 0)) {
        if (alone && !s->noting) {
            begin(s, FLUSH_COMMAND_RETRY, true, view);
        }
        return;
    }
    if (view->rows_due == 0 || view->n_in_flight >= s->settings.in_flight) {
        return;
    }
    /* Behind another batch only whole ones, or what is late anyway: small batches one after the other would
     * cost more and coalesce less. What is isolating goes alone: its COMMIT waits for the log. */
    bool behind = (view->due_full || view->overdue) && s->rows_cap == 0;
    if (s->suspicious ? alone && !s->noting : alone || behind) {
        begin(s, FLUSH_COMMAND_BEGIN, s->suspicious, view);
    }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t turn_active(struct flush_session *s, const struct flush_view *view)
{
    session_take_sample(s, view);
    session_tell_faults(s);
    plan(s, view);
    uint64_t at = s->noting ? UINT64_MAX : s->note_at_ms;
    if (s->mirror_known && s->mirrored != view->quarantine_changes) {
        at = earlier(at, s->mirror_at_ms);
    }
    return at > s->now_ms ? at : UINT64_MAX; /* what is due now is the caller's to do */
}

uint64_t flush_session_turn(struct flush_session *s, const struct flush_view *view, uint64_t now_ms)
{
    s->now_ms = now_ms;
    switch (s->state) {
    case FLUSH_OFF:
        return UINT64_MAX;
    case FLUSH_BACKOFF:
    case FLUSH_FENCED:
    case FLUSH_HALTED:
        if (now_ms < s->retry_at_ms && !(view->seed_found && !view->born)) {
            return s->retry_at_ms;
        }
        s->state = FLUSH_LOOKING;
        s->looking_since_ms = now_ms;
        forget_inspection(s);
        look(s, view);
        return UINT64_MAX;
    case FLUSH_RESTING:
        if (view->rows_due == 0 && view->retries_due == 0 && now_ms < s->note_at_ms) {
            return s->note_at_ms;
        }
        s->state = FLUSH_LOOKING;
        look(s, view);
        return UINT64_MAX;
    case FLUSH_LOOKING:
        look(s, view);
        return s->group != 0 && not_inspected(s) && !s->calling && !view->claimed
                   ? s->looking_since_ms + PATIENCE_MS
                   : UINT64_MAX;
    case FLUSH_TAKING:
        return UINT64_MAX;
    case FLUSH_SETTLING:
        settle(s, view);
        return s->state == FLUSH_ACTIVE ? now_ms : s->state == FLUSH_HALTED ? s->retry_at_ms : UINT64_MAX;
    case FLUSH_ACTIVE:
        return turn_active(s, view);
    }
    return UINT64_MAX;
}

bool flush_session_begun(struct flush_session *s, uint64_t batch, bool begun, uint64_t *predecessor)
{
    s->begin_pending = false;
    if (!begun || s->state != FLUSH_ACTIVE) {
        return false;
    }
    *predecessor = s->sent_batch;
    s->sent_batch = batch;
    s->isolating = s->began_isolating ? batch : 0;
    return true;
}

void flush_session_send(struct flush_session *s, struct flush_batch *batch)
{
    CHECK(s->state == FLUSH_ACTIVE && batch->id == s->sent_batch);
    batch->isolate = s->isolating == batch->id;
    s->sent_rows = batch->upserts + batch->deletes;
    s->sent_longer = !s->retried && s->sent_rows > s->asked_rows;
    if (batch->isolate) {
        s->isolating_rows = s->sent_rows;
    }
    s->flusher->send(s->flusher_data, batch);
}
