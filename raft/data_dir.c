#include "raft/data_dir.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "proto/base/alloc.h"

enum { PATH_BYTES_MAX = 768, IDENTITY_BYTES_MAX = 512, CLUSTER_BYTES_MAX = 255 };

struct errmsg {
    char *text;
    size_t len;
};

static enum status fail(struct errmsg e, enum status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum status fail(struct errmsg e, enum status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(e.text, e.len, format, args);
    va_end(args);
    return status;
}

static bool join(char *out, size_t len, const char *dir, const char *name)
{
    int n = snprintf(out, len, "%s/%s", dir, name);
    return n > 0 && (size_t)n < len;
}

/* As mkdir -p. */
static enum status make_folders(const char *path, struct errmsg e)
{
    char partial[PATH_BYTES_MAX];
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof partial) {
        return fail(
            e, STATUS_INVALID, "the data folder's path is empty or longer than %d bytes", PATH_BYTES_MAX - 1);
    }
    memcpy(partial, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (partial[i] != '/' && partial[i] != '\0') {
            continue;
        }
        char end = partial[i];
        partial[i] = '\0';
        if (mkdir(partial, 0700) != 0 && errno != EEXIST) {
            return fail(e, STATUS_IO, "cannot create the folder %s: %s", partial, strerror(errno));
        }
        partial[i] = end;
    }
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        return fail(e, STATUS_IO, "%s is not a folder", path);
    }
    return STATUS_OK;
}

static enum status sync_folder(const char *path, struct errmsg e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        enum status status = fail(e, STATUS_IO, "cannot sync the folder %s: %s", path, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return status;
    }
    close(fd);
    return STATUS_OK;
}

static enum status take_lock(const char *path, int *fd_out, struct errmsg e)
{
    char file[PATH_BYTES_MAX + 16];
    join(file, sizeof file, path, "lock");
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail(e, STATUS_IO, "cannot open %s: %s", file, strerror(errno));
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        enum status status =
            errno == EWOULDBLOCK
                ? fail(e, STATUS_INVALID,
                      "another process uses the data folder %s: stop it, or give this node its own", path)
                : fail(e, STATUS_IO, "cannot lock %s: %s", file, strerror(errno));
        close(fd);
        return status;
    }
    *fd_out = fd;
    return STATUS_OK;
}

static enum status write_file(const char *path, const char *text, struct errmsg e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail(e, STATUS_IO, "cannot create %s: %s", path, strerror(errno));
    }
    size_t len = strlen(text);
    bool written = write(fd, text, len) == (ssize_t)len && fsync(fd) == 0;
    int error = errno;
    close(fd);
    return written ? STATUS_OK : fail(e, STATUS_IO, "cannot write %s: %s", path, strerror(error));
}

/* Via a temporary name, so that a crash leaves either nothing or all of it. */
static enum status write_identity(const char *path, const char *text, struct errmsg e)
{
    char temporary[PATH_BYTES_MAX + 16];
    char file[PATH_BYTES_MAX + 16];
    join(temporary, sizeof temporary, path, "identity.tmp");
    join(file, sizeof file, path, "identity");
    enum status status = write_file(temporary, text, e);
    if (status != STATUS_OK) {
        return status;
    }
    if (rename(temporary, file) != 0) {
        return fail(e, STATUS_IO, "cannot rename %s: %s", temporary, strerror(errno));
    }
    return sync_folder(path, e);
}

/* OK with an empty text when there is no such file. */
static enum status read_identity(const char *path, char *text, size_t len, struct errmsg e)
{
    char file[PATH_BYTES_MAX + 16];
    join(file, sizeof file, path, "identity");
    text[0] = '\0';
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? STATUS_OK : fail(e, STATUS_IO, "cannot open %s: %s", file, strerror(errno));
    }
    ssize_t n = read(fd, text, len - 1);
    int error = errno;
    close(fd);
    if (n <= 0) {
        return fail(e, STATUS_IO, "cannot read %s: %s", file, n == 0 ? "it is empty" : strerror(error));
    }
    text[n] = '\0';
    return STATUS_OK;
}

static enum status check_identity(const char *path, const struct data_dir_identity *identity, struct errmsg e)
{
    char wanted[IDENTITY_BYTES_MAX];
    snprintf(wanted, sizeof wanted, "wbcache-data 1\ncluster=%s\nnode=%" PRIu64 "\ngroups=%" PRIu32 "\n",
        identity->cluster, identity->node_id, identity->group_count);
    char found[IDENTITY_BYTES_MAX];
    enum status status = read_identity(path, found, sizeof found, e);
    if (status != STATUS_OK) {
        return status;
    }
    if (found[0] == '\0') {
        char group_path[PATH_BYTES_MAX + 32];
        join(group_path, sizeof group_path, path, "group-0");
        if (access(group_path, F_OK) == 0) {
            return fail(e, STATUS_INVALID,
                "the data folder %s holds a log but no identity file: it is damaged; move it away and let "
                "the node join "
                "again under a new node id",
                path);
        }
        return write_identity(path, wanted, e);
    }
    if (strcmp(found, wanted) == 0) {
        return STATUS_OK;
    }
    for (char *c = found; *c != '\0'; c++) {
        *c = isprint((unsigned char)*c) ? *c : ' ';
    }
    for (char *c = wanted; *c != '\0'; c++) {
        *c = *c == '\n' ? ' ' : *c;
    }
    return fail(e, STATUS_INVALID,
        "the data folder %s belongs to \"%s\" and not to \"%s\": use its own configuration, or another "
        "folder; cluster "
        "name, node id and group count never change",
        path, found, wanted);
}

static enum status make_group_folders(const struct data_dir *d, uint32_t group_count, struct errmsg e)
{
    for (uint32_t g = 0; g < group_count; g++) {
        char path[PATH_BYTES_MAX + 32];
        if (!data_dir_group_path(d, g, path, sizeof path)) {
            return fail(e, STATUS_INVALID, "the data folder's path is too long");
        }
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            return fail(e, STATUS_IO, "cannot create the folder %s: %s", path, strerror(errno));
        }
    }
    return sync_folder(d->path, e);
}

static bool valid_cluster(const char *cluster)
{
    size_t len = strlen(cluster);
    if (len == 0 || len > CLUSTER_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (!isprint((unsigned char)cluster[i])) {
            return false;
        }
    }
    return true;
}

enum status data_dir_open(struct data_dir *d, const char *path, const struct data_dir_identity *identity,
    char *errmsg, size_t errmsg_len)
{
    struct errmsg e = {.text = errmsg, .len = errmsg_len};
    *d = (struct data_dir){.lock_fd = -1};
    if (!valid_cluster(identity->cluster)) {
        return fail(
            e, STATUS_INVALID, "the cluster's name must be 1 to %d printable characters", CLUSTER_BYTES_MAX);
    }
    enum status status = make_folders(path, e);
    if (status != STATUS_OK) {
        return status;
    }
    status = take_lock(path, &d->lock_fd, e);
    if (status != STATUS_OK) {
        return status;
    }
    d->path = xstrdup(path);
    status = check_identity(path, identity, e);
    if (status == STATUS_OK) {
        status = make_group_folders(d, identity->group_count, e);
    }
    if (status != STATUS_OK) {
        data_dir_close(d);
    }
    return status;
}

bool data_dir_group_path(const struct data_dir *d, uint32_t group, char *out, size_t len)
{
    char name[32];
    snprintf(name, sizeof name, "group-%" PRIu32, group);
    return join(out, len, d->path, name);
}

enum status data_dir_free_bytes(const struct data_dir *d, uint64_t *out)
{
    struct statvfs st;
    if (statvfs(d->path, &st) != 0) {
        return STATUS_IO;
    }
    *out = (uint64_t)st.f_bavail * st.f_frsize;
    return STATUS_OK;
}

void data_dir_close(struct data_dir *d)
{
    if (d->lock_fd >= 0) {
        close(d->lock_fd);
    }
    free(d->path);
    *d = (struct data_dir){.lock_fd = -1};
}
