#include "cluster-tests/guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { ARGUMENTS_MAX = 64 };

int guardian_run_tool(const char *dir, const char *const *arguments, const char *output_path)
{
    /* Both come from the build; a program run by hand finds its way without any environment. */
    setenv("WBCACHE_BUILD", WB_BUILD_DIR, 0);
    const char *argv[ARGUMENTS_MAX] = {WB_SOURCE_DIR "/tools/cluster"};
    unsigned n = 1;
    for (unsigned i = 0; arguments[i] != NULL && n < ARGUMENTS_MAX - 3; i++) {
        argv[n++] = arguments[i];
    }
    argv[n++] = "--dir";
    argv[n++] = dir;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(
        &actions, STDOUT_FILENO, output_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    pid_t pid;
    int rc = posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)(void *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (rc != 0) {
        return -1;
    }
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return -1;
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Wait for a word (the test has stopped the cluster) or the end of the pipe (the test is gone). */
static void guard(const char *dir, int fd)
{
    char word;
    ssize_t n;
    do {
        n = read(fd, &word, 1);
    } while (n < 0 && errno == EINTR);
    if (n == 0) {
        const char *const stop[] = {"stop", NULL};
        guardian_run_tool(dir, stop, "/dev/null");
    }
}

int guardian_start(const char *dir)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return -1;
    }
    pid_t child = fork();
    if (child < 0) {
        close(fds[0]);
        close(fds[1]);
        return -1;
    }
    if (child == 0) {
        /* Twice forked and in a session of its own: a test runner that kills the test's whole process tree
         * does not find it, and it keeps none of the test's descriptors open. */
        setsid();
        if (fork() != 0) {
            _exit(0);
        }
        int null = open("/dev/null", O_RDWR);
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        close(fds[1]);
        guard(dir, fds[0]);
        _exit(0);
    }
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
    close(fds[0]);
    return fds[1];
}

void guardian_end(int fd)
{
    if (fd >= 0) {
        ssize_t n = write(fd, "q", 1);
        (void)n; /* a guardian that is gone already needs no word */
        close(fd);
    }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *place)
{
    (void)st;
    (void)type;
    (void)place;
    return remove(path);
}

void guardian_remove_folder(const char *dir)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
