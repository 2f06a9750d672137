/* The daemon as a process: what it does about the limit of open files, and that it stops cleanly. It runs
 * alone, without its peers and without a database: it leads nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <ftw.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { NODES = 3, PORTS = 2 * NODES, GROUPS = 3, OWN_FILES = 256 + GROUPS * (16 + 4 * NODES) };

struct daemon {
    char dir[64];
    int reserved[PORTS]; /* bound, not listening: nobody else gets these ports */
    pid_t pid;
    FILE *err;
    char line[1024]; /* the last one read from it */
};

static unsigned reserve_port(int *fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int on = 1;
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(*fd >= 0);
    setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_int_equal(bind(*fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(*fd, (struct sockaddr *)&address, &len), 0);
    return ntohs(address.sin_port);
}

static void write_config(struct daemon *d, const char *path, unsigned connections)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
        "node_id = 1\ngroups = %d\ndata_dir = \"%s/data\"\ndatabase = \"host=%s dbname=none\"\n"
        "limits { connections = %u disk_free_min_bytes = 0 }\n",
        GROUPS, d->dir, d->dir, connections);
    for (int i = 0; i < NODES; i++) {
        unsigned peer = reserve_port(&d->reserved[2 * i]);
        unsigned client = reserve_port(&d->reserved[2 * i + 1]);
        fprintf(
            file, "node \"%d\" { peer = \"127.0.0.1:%u\" client = \"127.0.0.1:%u\" }\n", i + 1, peer, client);
    }
    assert_int_equal(fclose(file), 0);
}

/* Run wbnode with these limits of open files. */
static void daemon_start(struct daemon *d, rlim_t soft, rlim_t hard, unsigned connections)
{
    char path[96];
    int ends[2];
    strcpy(d->dir, "/tmp/wbnode-test-XXXXXX");
    assert_non_null(mkdtemp(d->dir));
    snprintf(path, sizeof path, "%s/wbnode.conf", d->dir);
    write_config(d, path, connections);
    assert_int_equal(pipe(ends), 0);
    d->pid = fork();
    assert_true(d->pid >= 0);
    if (d->pid == 0) {
        struct rlimit limit = {.rlim_cur = soft, .rlim_max = hard};
        if (dup2(ends[1], STDERR_FILENO) >= 0 && setrlimit(RLIMIT_NOFILE, &limit) == 0) {
            close(ends[0]);
            close(ends[1]);
            execl(WBNODE_PATH, "wbnode", "--config", path, (char *)NULL);
        }
        _exit(99);
    }
    close(ends[1]);
    d->err = fdopen(ends[0], "r");
    assert_non_null(d->err);
}

/* Read its standard error up to a line with @text, which becomes d->line. False: it ended before. */
static bool daemon_said(struct daemon *d, const char *text)
{
    while (fgets(d->line, sizeof d->line, d->err) != NULL) {
        if (strstr(d->line, text) != NULL) {
            return true;
        }
    }
    return false;
}

static unsigned long daemon_files_allowed(const struct daemon *d)
{
    char path[64], line[256];
    unsigned long soft = 0;
    snprintf(path, sizeof path, "/proc/%d/limits", (int)d->pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        sscanf(line, "Max open files %lu", &soft);
    }
    fclose(file);
    return soft;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

/* Wait for its end; its exit status. */
static int daemon_end(struct daemon *d)
{
    int status;
    while (fgets(d->line, sizeof d->line, d->err) != NULL) {
    }
    assert_int_equal(waitpid(d->pid, &status, 0), d->pid);
    fclose(d->err);
    for (int i = 0; i < PORTS; i++) {
        close(d->reserved[i]);
    }
    nftw(d->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void the_limit_of_open_files_is_raised_to_what_the_connections_need(void **state)
{
    struct daemon d;
    daemon_start(&d, 100, 3000, 1000);
    assert_true(daemon_said(&d, " started "));
    assert_int_equal(daemon_files_allowed(&d), OWN_FILES + 1000);
    assert_int_equal(kill(d.pid, SIGTERM), 0);
    assert_true(daemon_said(&d, " stopped clean=yes"));
    assert_int_equal(daemon_end(&d), 0);
}

static void where_it_cannot_be_raised_so_far_fewer_connections_are_taken_and_that_is_said(void **state)
{
    struct daemon d;
    daemon_start(&d, 100, 1000, 1000);
    char want[128];
    snprintf(want, sizeof want, "few-files allowed=1000 wanted=%d connections=%d ", OWN_FILES + 1000,
        1000 - OWN_FILES);
    assert_true(daemon_said(&d, want));
    assert_non_null(strstr(d.line, "LimitNOFILE"));
    assert_true(daemon_said(&d, " started "));
    assert_int_equal(daemon_files_allowed(&d), 1000);
    assert_int_equal(kill(d.pid, SIGTERM), 0);
    assert_int_equal(daemon_end(&d), 0);
}

static void with_too_few_for_itself_it_does_not_start(void **state)
{
    struct daemon d;
    daemon_start(&d, 100, OWN_FILES, 1000);
    char want[128];
    snprintf(want, sizeof want, "%d open files are allowed, and this node needs %d ", OWN_FILES, OWN_FILES);
    assert_true(daemon_said(&d, want));
    assert_int_equal(daemon_end(&d), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_of_open_files_is_raised_to_what_the_connections_need),
        cmocka_unit_test(where_it_cannot_be_raised_so_far_fewer_connections_are_taken_and_that_is_said),
        cmocka_unit_test(with_too_few_for_itself_it_does_not_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
