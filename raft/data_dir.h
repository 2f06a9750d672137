/* A node's data folder: a lock, so that one process at a time uses it; a small identity file, so that nobody
 * starts another node or cluster on it; a subfolder per group for libraft. A shell: blocking calls, at start
 * only.
 *
 *   lock        flock(2) is held on it as long as the folder is open
 *   identity    wbcache-data 1 / cluster=NAME / node=ID / groups=N, a line each
 *   group-N/    libraft's files */
#ifndef WB_RAFT_DATA_DIR_H
#define WB_RAFT_DATA_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

struct data_dir {
    char *path;
    int lock_fd;
};

struct data_dir_identity {
    const char *cluster; /* printable, no line ends, at most 255 bytes; borrowed */
    uint64_t node_id;
    uint32_t group_count;
};

/* Create what is missing, lock, and compare the identity or write it into a new folder.
 * INVALID: another process has it, or it belongs to somebody else. IO: the system refused something.
 * @errmsg then says what and what to do. On success data_dir_close() must follow. */
enum status data_dir_open(struct data_dir *d, const char *path, const struct data_dir_identity *identity,
    char *errmsg, size_t errmsg_len);

/* The folder of @group, without a trailing slash. Returns false when @len is too small. */
bool data_dir_group_path(const struct data_dir *d, uint32_t group, char *out, size_t len);

/* Bytes that an unprivileged process may still write to the folder's file system. IO when that cannot be
 * told. */
enum status data_dir_free_bytes(const struct data_dir *d, uint64_t *out);

/* Gives the lock back. */
void data_dir_close(struct data_dir *d);

#endif
