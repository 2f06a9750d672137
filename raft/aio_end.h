/* The end of a context for asynchronous writes, without waiting for it.
 *
 * libraft makes a context for each segment of its log, and destroys it on the loop when the segment is full.
 * The kernel lets io_destroy(2) wait until every processor has passed a quiet moment: 30 to 40 ms, in which
 * the node does nothing; under load several times a second. Nothing is under way in such a context any more
 * (libraft closes a writer when its last write has ended), so nobody needs to wait: a thread of its own does.
 * libraft's archive is linked with
 * --wrap=UvOsIoDestroy (see tools/cmake/WbRaft.cmake). */
#ifndef WB_RAFT_AIO_END_H
#define WB_RAFT_AIO_END_H

#include <linux/aio_abi.h>

/* Returns 0 at once; or, when no thread can be had, what libraft's own function returns. */
int __wrap_UvOsIoDestroy(aio_context_t context);
/* libraft's own. */
int __real_UvOsIoDestroy(aio_context_t context);

#endif
