/* What an operator should find in the log about a group: that its database went back in time, that rows were
 * lost, that rows are in quarantine. A group is pure and logs nothing; so its numbers are looked at after
 * each turn. What one part of the node learns of the database is told to the others here, too. */
#include <inttypes.h>

#include "node/node_internal.h"

/* The quarantine may change with every batch; the log hears of it this often at most. */
enum { QUARANTINE_NEWS_MS = 1000 };

static void tell_rewind(const struct node *n, const struct seat *s, const struct state *now)
{
    if (now->rewinds > s->news.rewinds) {
        log_warn(n->logger, "database-back-in-time",
            "group=%" PRIu32 " last_batch=%" PRIu64 " write_again=%" PRIu64
            " detail=\"the database is older than what was written to it: what memory kept is written "
            "again\"",
            s->index, now->last_batch, now->queued_entries);
    }
    if (s->news.recovering && !state_recovering(now)) {
        log_info(n->logger, "database-recovered", "group=%" PRIu32 " flushed=%" PRIu64, s->index,
            state_flushed_index(now));
    }
}

/* Said by every node: the leader that noticed may be gone before it says so. */
static void tell_loss(const struct node *n, const struct seat *s, const struct state *now)
{
    if (now->lost > s->news.lost) {
        log_error(n->logger, "rows-lost",
            "group=%" PRIu32 " at_most=%" PRIu64
            " detail=\"the database went back further than memory keeps what was flushed (flush.retention_s,"
            " flush.retention_bytes): `wbclient verify --repair` writes again what is still in memory, "
            "`wbclient"
            " flush acknowledge-loss` ends this message\"",
            s->index, now->lost);
    }
}

static void tell_quarantine(const struct node *n, struct seat *s, const struct state *now, uint64_t now_ms)
{
    if (now->quarantined == s->news.quarantined || now_ms < s->news.quarantine_at_ms) {
        return;
    }
    if (now->quarantined > s->news.quarantined) {
        const struct state_quarantine *newest =
            list_entry(now->quarantine.prev, struct state_quarantine, link);
        log_warn(n->logger, "quarantine",
            "group=%" PRIu32 " rows=%" PRIu64 " sqlstate=%s message=\"%s\""
            " detail=\"the database refuses these rows; see `wbclient quarantine list`\"",
            s->index, now->quarantined, newest->sqlstate, newest->message);
    } else {
        log_info(n->logger, "quarantine", "group=%" PRIu32 " rows=%" PRIu64, s->index, now->quarantined);
    }
    s->news.quarantined = now->quarantined;
    s->news.quarantine_at_ms = now_ms + QUARANTINE_NEWS_MS;
}

void node_tell_news(struct node *n, uint64_t now_ms)
{
    for (uint32_t i = 0; i < n->config->groups; i++) {
        struct seat *s = &n->seats[i];
        const struct state *now = group_state(s->group);
        bool leads = group_leads(s->group);
        tell_loss(n, s, now);
        if (leads) {
            tell_rewind(n, s, now);
            tell_quarantine(n, s, now, now_ms);
        } else {
            s->news.quarantined = now->quarantined;
        }
        s->news.rewinds = now->rewinds;
        s->news.lost = now->lost;
        s->news.recovering = state_recovering(now);
        bool flushes = group_flushes(s->group);
        if (flushes && !s->news.flushes && n->loader != NULL) {
            pg_loader_wake(
                n->loader); /* the database is there: misses need not wait for the loader's back-off */
        }
        s->news.flushes = flushes;
    }
}
