/* What libraft asks of the replicated state: apply, snapshot, restore; and when a snapshot is due. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "raft/replica_private.h"

enum {
    /* What an entry costs beside its bytes, in the log kept in memory; it also makes barriers count. */
    ENTRY_OVERHEAD_BYTES = 64,
    SNAPSHOT_NOW = 1, /* as the library's threshold: at its next step */
    TRAILING_MIN = 64,
};

/* Bytes of the log since the last snapshot, as it lies in memory. */
static uint64_t log_bytes_since(const struct replica_private *p, uint64_t entries)
{
    return p->log_bytes + entries * ENTRY_OVERHEAD_BYTES;
}

/* The entries kept behind a snapshot are bounded by bytes too: as many of the average size as make up half of
 * the log's limit. Entries range from a hundred bytes to a megabyte. */
static unsigned trailing_entries(const struct replica *r, uint64_t entries)
{
    uint64_t average = entries == 0 ? 1 : log_bytes_since(r->p, entries) / entries;
    uint64_t fit = r->config.snapshot_log_bytes / 2 / (average == 0 ? 1 : average);
    if (fit < TRAILING_MIN) {
        fit = TRAILING_MIN;
    }
    return fit < r->config.snapshot_trailing ? (unsigned)fit : r->config.snapshot_trailing;
}

/* The log is bounded by bytes; the library counts entries. So its threshold is out of reach until the bytes
 * say that a snapshot is due, and then anything is enough. */
void replica_snapshot_check_due(struct replica *r)
{
    struct replica_private *p = r->p;
    uint64_t applied = raft_last_applied(&r->raft);
    if (p->restored) {
        p->restored = false;
        p->snapshot_index = applied;
    }
    uint64_t entries = applied > p->snapshot_index ? applied - p->snapshot_index : 0;
    uint64_t limit =
        r->config.snapshot_log_bytes > p->snapshot_bytes ? r->config.snapshot_log_bytes : p->snapshot_bytes;
    /* Not all replicas of a group, nor all groups of a node, at the same entry: each snapshot stalls its loop
     * a little. */
    limit += limit / 8 * ((r->config.group + r->config.node_id) % 4);
    if (log_bytes_since(p, entries) > limit) {
        raft_set_snapshot_threshold(&r->raft, SNAPSHOT_NOW);
    }
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    static const uint8_t lz4_magic[4] = {0x04, 0x22, 0x4d, 0x18};
    struct replica *r = fsm->data;
    struct replica_private *p = r->p;
    /* The library labels the snapshot with its commit index. On a follower that can go back below what has
     * applied (a late AppendEntries): a restart from such a snapshot would apply entries twice. It asks
     * again. */
    if (raft_last_applied(&r->raft) != raft_commit_index(&r->raft)) {
        return RAFT_BUSY;
    }
    buf_init(&p->snapshot_buf);
    r->ops->snapshot(r->data, &p->snapshot_buf);
    CHECK(!p->snapshot_buf.failed && p->snapshot_buf.len > 0);
    CHECK(p->snapshot_buf.len < sizeof lz4_magic ||
          memcmp(p->snapshot_buf.data, lz4_magic, sizeof lz4_magic) != 0);
    p->snapshot_view = (struct raft_buffer){.base = p->snapshot_buf.data, .len = p->snapshot_buf.len};
    p->snapshot_bytes = p->snapshot_buf.len;
    uint64_t applied = raft_last_applied(&r->raft);
    raft_set_snapshot_trailing(&r->raft, trailing_entries(r, applied - p->snapshot_index));
    p->snapshot_index = applied;
    p->log_bytes = 0;
    raft_set_snapshot_threshold(&r->raft, REPLICA_SNAPSHOT_NEVER);
    log_info(r->config.logger, "snapshot", "group=%" PRIu32 " index=%" PRIu64 " bytes=%" PRIu64,
        r->config.group, p->snapshot_index, p->snapshot_bytes);
    *bufs = &p->snapshot_view;
    *n_bufs = 1;
    return 0;
}

static int fsm_snapshot_finalize(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct replica *r = fsm->data;
    buf_deinit(&r->p->snapshot_buf);
    *bufs = NULL;
    *n_bufs = 0;
    return 0;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct replica *r = fsm->data;
    struct replica_private *p = r->p;
    if (p->gate != GATE_CLOSED) {
        replica_gate_close(r);
    }
    enum status status = r->ops->restore(r->data, bytes_of(buf->base, buf->len));
    if (status != STATUS_OK) {
        snprintf(p->restore_errmsg, sizeof p->restore_errmsg,
            "the snapshot of %zu bytes cannot be restored: %s", buf->len, status_name((int)status));
        if (status == STATUS_HALTED) {
            snprintf(p->restore_errmsg, sizeof p->restore_errmsg,
                "the snapshot was written by another version of wbnode, which this one cannot read: start "
                "that "
                "version, let the cluster write everything to the database, and keep the data folders until "
                "then");
        }
        if (!p->started) {
            return status == STATUS_HALTED ? RAFT_INVALID : RAFT_CORRUPT;
        }
        log_error(r->config.logger, "restore-failed", "group=%" PRIu32 " error=\"%s\"", r->config.group,
            p->restore_errmsg);
        abort();
    }
    log_info(r->config.logger, "restored", "group=%" PRIu32 " bytes=%zu", r->config.group, buf->len);
    p->snapshot_bytes = buf->len;
    p->log_bytes = 0;
    p->restored = true;
    raft_free(buf->base);
    return 0;
}

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct replica *r = fsm->data;
    struct replica_private *p = r->p;
    *result = NULL;
    if (p->lost && p->gate != GATE_CLOSED) {
        replica_gate_close(r); /* what applies while the gate is open was proposed by this office */
    }
    p->log_bytes += buf->len;
    r->ops->apply(r->data, raft_last_applied(&r->raft) + 1, bytes_of(buf->base, buf->len));
    return 0;
}

void replica_fsm_init(struct replica *r, struct raft_fsm *fsm)
{
    *fsm = (struct raft_fsm){
        .version = 2,
        .data = r,
        .apply = fsm_apply,
        .snapshot = fsm_snapshot,
        .restore = fsm_restore,
        .snapshot_finalize = fsm_snapshot_finalize,
    };
}
