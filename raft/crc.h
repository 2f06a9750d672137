/* The checksum of libraft's disk format, faster.
 *
 * libraft computes its CRC byte by byte: 0.4 GB/s, a fifth of a follower's CPU under load; and for a snapshot
 * all at once on the loop, tens of milliseconds in which nothing else happens. Its archive is linked with
 * --wrap=byteCrc32 (see tools/cmake/WbRaft.cmake), so that it calls this instead: the same function by the
 * processor's carry-less multiplication, and libraft's own where the processor has none. */
#ifndef WB_RAFT_CRC_H
#define WB_RAFT_CRC_H

#include <stddef.h>

/* CRC-32 of @buf, begun with @init: polynomial 0x04c11db7, highest bit first, nothing inverted. */
unsigned __wrap_byteCrc32(const void *buf, size_t size, unsigned init);
/* libraft's own. */
unsigned __real_byteCrc32(const void *buf, size_t size, unsigned init);

#endif
