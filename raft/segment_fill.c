#include "raft/segment_fill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    /* The disk has each of these before the next one is begun: so what others sync meanwhile waits behind one
     * of them, not behind a whole segment. */
    CHUNK_BYTES = 256 * 1024,
    ALIGN_BYTES = 4096,
};

void segment_fill_link(void)
{
}

static int allocate(int fd, off_t offset, off_t len)
{
    int rv;
    do {
        rv = fallocate(fd, 0, offset, len) == 0 ? 0 : errno;
    } while (rv == EINTR);
    return rv;
}

static int write_zeros(int fd, const char *zeros, off_t offset, off_t len)
{
    while (len > 0) {
        size_t n = len < CHUNK_BYTES ? (size_t)len : CHUNK_BYTES;
        struct iovec chunk = {.iov_base = (void *)(uintptr_t)zeros, .iov_len = n};
        ssize_t written = pwritev2(fd, &chunk, 1, offset, RWF_DSYNC);
        if (written < 0 && errno != EINTR) {
            return errno;
        }
        offset += written < 0 ? 0 : written;
        len -= written < 0 ? 0 : written;
    }
    return 0;
}

/* Past the page cache where that can be: libraft will write past it, too, and pages that it finds there cost
 * it time. */
static int fill(int fd, off_t offset, off_t len)
{
    void *zeros = NULL;
    if (posix_memalign(&zeros, ALIGN_BYTES, CHUNK_BYTES) != 0) {
        return ENOMEM;
    }
    memset(zeros, 0, CHUNK_BYTES);
    int flags = fcntl(fd, F_GETFL);
    bool direct = flags >= 0 && (flags & O_DIRECT) == 0 && offset % ALIGN_BYTES == 0 &&
                  len % ALIGN_BYTES == 0 && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
    int rv = write_zeros(fd, zeros, offset, len);
    if (direct && fcntl(fd, F_SETFL, flags) != 0 && rv == 0) {
        rv = errno;
    }
    if (rv == EINVAL && direct) { /* a disk with larger blocks */
        rv = write_zeros(fd, zeros, offset, len);
    }
    free(zeros);
    return rv;
}

/* In place of the C library's: see the header. */
int posix_fallocate(int fd, off_t offset, off_t len)
{
    if (offset < 0 || len <= 0) {
        return EINVAL;
    }
    int rv = allocate(fd, offset, len);
    /* A file system that cannot allocate is told from one that is full: libraft then tries by itself. */
    if (rv != 0) {
        return rv;
    }
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return errno;
    }
    return st.st_nlink == 0 ? 0 : fill(fd, offset, len);
}
