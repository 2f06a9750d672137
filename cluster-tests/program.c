#include "cluster-tests/program.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster-tests/scenario.h"
#include "proto/base/check.h"

extern char **environ;

/* Read to the end, whatever fits: a program must not block on a pipe that nobody empties. */
static void read_all(int fd, char *output, size_t output_len)
{
    size_t len = 0;
    for (;;) {
        char rest[4096];
        bool room = len + 1 < output_len;
        ssize_t n = read(fd, room ? output + len : rest, room ? output_len - 1 - len : sizeof rest);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        len += room ? (size_t)n : 0;
    }
    output[len] = '\0';
}

int program_run(const char *const *argv, char *output, size_t output_len)
{
    output[0] = '\0';
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return -1;
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDERR_FILENO);
    pid_t pid;
    int rc = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(void *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    if (rc != 0) {
        close(fds[0]);
        snprintf(output, output_len, "%s: %s", argv[0], strerror(rc));
        return -1;
    }
    read_all(fds[0], output, output_len);
    close(fds[0]);
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return -1;
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Its first lines, so that a transcript shows what an operator sees. */
static void show(const char *output)
{
    enum { LINES_SHOWN = 6 };
    for (unsigned i = 0; i < LINES_SHOWN && *output != '\0'; i++) {
        size_t len = strcspn(output, "\n");
        say("    %.*s", len > 160 ? 160 : (int)len, output);
        output += len + (output[len] == '\n');
    }
}

int program_wbclient(struct cluster *c, const char *const *words, char *output, size_t output_len)
{
    const char *argv[PROGRAM_WORDS_MAX + 6] = {WBCLIENT, "--cluster", c->addresses, "--deadline", "30000"};
    unsigned n = 5;
    char line[512] = "wbclient";
    for (unsigned i = 0; words[i] != NULL; i++) {
        CHECK(i < PROGRAM_WORDS_MAX);
        argv[n++] = words[i];
        size_t len = strlen(line);
        snprintf(line + len, sizeof line - len, " %s", words[i]);
    }
    argv[n] = NULL;
    int code = program_run(argv, output, output_len);
    say("  $ %s%s", line, code == 0 ? "" : "   (does not end with 0)");
    show(output);
    return code;
}

void program_wbclient_or_fail(struct cluster *c, const char *const *words, char *output, size_t output_len)
{
    int code = program_wbclient(c, words, output, output_len);
    if (code != 0) {
        fail_msg("wbclient %s ended with %d: %s", words[0], code, output);
    }
}
