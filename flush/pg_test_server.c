#include "flush/pg_test_server.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef WB_PG_BINDIR
#error "WB_PG_BINDIR: where initdb and postgres are"
#endif

/* In the child: become the user that may run a server, die with the parent, and write to the log. */
static void become_server_user(const char *dir, pid_t parent)
{
    if (geteuid() == 0) {
        struct passwd *user = getpwnam("postgres");
        if (user == NULL || initgroups(user->pw_name, user->pw_gid) != 0 || setgid(user->pw_gid) != 0 ||
            setuid(user->pw_uid) != 0) {
            _exit(126);
        }
    }
    /* After setuid, which clears it. SIGQUIT is the postmaster's immediate shutdown. */
    prctl(PR_SET_PDEATHSIG, SIGQUIT);
    if (getppid() != parent || chdir(dir) != 0) {
        _exit(126);
    }
    int log = open("log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log < 0 || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0) {
        _exit(126);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static pid_t spawn(const char *dir, const char *const argv[])
{
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        become_server_user(dir, parent);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return pid;
}

static int wait_for(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return -1;
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void show_log(const struct pg_test_server *s)
{
    char path[sizeof s->dir + 8];
    char line[512];
    snprintf(path, sizeof path, "%s/log", s->dir);
    FILE *log = fopen(path, "r");
    while (log != NULL && fgets(line, sizeof line, log) != NULL) {
        fputs(line, stderr);
    }
    if (log != NULL) {
        fclose(log);
    }
}

/* There is nothing to wait on but the server's own answer. */
static int wait_until_ready(struct pg_test_server *s)
{
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    for (int tries = 0; tries < 3000; tries++) {
        if (PQping(s->dsn) == PQPING_OK) {
            return 0;
        }
        if (waitpid(s->pid, NULL, WNOHANG) == s->pid) {
            s->pid = 0;
            break;
        }
        nanosleep(&pause, NULL);
    }
    fprintf(stderr, "the test's PostgreSQL did not start; its log:\n");
    show_log(s);
    return -1;
}

int pg_test_server_again(struct pg_test_server *s)
{
    /* The time limit is for the tests' own statements: one that failed may have left a lock. */
    const char *const argv[] = {WB_PG_BINDIR "/postgres", "-D", "data", "-k", s->dir, "-c",
        "listen_addresses=", "-c", "port=5432", "-c", "fsync=off", "-c", "shared_buffers=64MB", "-c",
        "max_connections=64", "-c", "max_wal_size=2GB", "-c", "statement_timeout=60s", "-c",
        "logging_collector=off", "-c", "log_min_messages=warning", NULL};
    s->pid = spawn(s->dir, argv);
    return s->pid < 0 ? -1 : wait_until_ready(s);
}

int pg_test_server_start(struct pg_test_server *s)
{
    *s = (struct pg_test_server){.dir = "/tmp/wb-test-pg-XXXXXX"};
    if (mkdtemp(s->dir) == NULL) {
        fprintf(stderr, "mkdtemp %s: %s\n", s->dir, strerror(errno));
        return -1;
    }
    if (geteuid() == 0) {
        struct passwd *user = getpwnam("postgres");
        if (user == NULL || chown(s->dir, user->pw_uid, user->pw_gid) != 0) {
            fprintf(stderr, "cannot give %s to the user postgres\n", s->dir);
            return -1;
        }
    }
    snprintf(s->dsn, sizeof s->dsn, "host=%s port=5432 user=postgres dbname=postgres", s->dir);
    const char *const argv[] = {WB_PG_BINDIR "/initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-E",
        "UTF8", "--locale=C", "--no-sync", "--no-instructions", NULL};
    pid_t pid = spawn(s->dir, argv);
    if (pid < 0 || wait_for(pid) != 0) {
        fprintf(stderr, "initdb failed; its log:\n");
        show_log(s);
        return -1;
    }
    return pg_test_server_again(s);
}

static void end_with(struct pg_test_server *s, int signal)
{
    if (s->pid > 0) {
        kill(s->pid, signal);
        wait_for(s->pid);
        s->pid = 0;
    }
}

void pg_test_server_stop(struct pg_test_server *s)
{
    end_with(s, SIGINT); /* "fast" */
}

void pg_test_server_kill(struct pg_test_server *s)
{
    end_with(s, SIGQUIT); /* "immediate" */
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

void pg_test_server_destroy(struct pg_test_server *s)
{
    end_with(s, SIGQUIT);
    nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void ignore_notice(void *data, const char *message)
{
    (void)data;
    (void)message;
}

char *pg_test_server_query(struct pg_test_server *s, const char *sql)
{
    char *out = NULL;
    PGconn *conn = PQconnectdb(s->dsn);
    PQsetNoticeProcessor(conn, ignore_notice, NULL);
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        fprintf(stderr, "%s: %s", sql, PQerrorMessage(conn));
    } else {
        out = strdup(PQntuples(result) > 0 && PQnfields(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    }
    PQclear(result);
    PQfinish(conn);
    return out;
}

int64_t pg_test_server_number(struct pg_test_server *s, const char *sql)
{
    char *text = pg_test_server_query(s, sql);
    if (text == NULL) {
        return INT64_MIN;
    }
    char *end;
    int64_t n = strtoll(text, &end, 10);
    n = end == text || *end != '\0' ? INT64_MIN : n;
    free(text);
    return n;
}
