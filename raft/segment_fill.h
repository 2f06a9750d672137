/* Segments of the log are written with zeros before libraft uses them.
 *
 * libraft prepares each segment ahead of time, in a pool thread, by posix_fallocate(). What that allocates is
 * marked as never written, so each write of the log changes the file system's own records as well, and its
 * O_DSYNC waits for their journal, too: twice the time, and several more writes and cache flushes of the disk
 * for each. Into blocks that were written before, it is one write. libraft has no setting for it, so this
 * file defines posix_fallocate() itself: a program's own definition is what its libraries call, too. It
 * allocates as ever, then writes zeros. Files that no folder names (the library's own snapshots while they
 * are being written, and its trials of what the disk can do) are left as they are: they are written once, in
 * a row.
 *
 * Threading: any thread. */
#ifndef WB_RAFT_SEGMENT_FILL_H
#define WB_RAFT_SEGMENT_FILL_H

/* Does nothing. Who calls it has our posix_fallocate() in the program. */
void segment_fill_link(void);

#endif
