/* The parent's side, and the process's loop. What one connection does is attacker_conn.c's. The report lies
 * in memory that both share; its numbers are written by the process only, each at once. */
#include "cluster-tests/attacker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster-tests/attacker_conn.h"
#include "cluster-tests/cluster.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"

enum { TICK_MS = 10, EVENTS = 256 };

struct attacker {
    pid_t pid;
    struct attack_report *report; /* shared */
};

/* ---- The process ---- */

static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Nothing of the test's stays open: its pipes' other ends must see when it dies. */
static void close_all_but(int keep)
{
    for (int fd = STDERR_FILENO + 1; fd < 1024; fd++) {
        if (fd != keep) {
            close(fd);
        }
    }
}

/* So many pieces are due by now. */
static unsigned due(const struct attack *attack, uint64_t begun_ms, uint64_t *done)
{
    uint64_t wanted = (clock_boot_ms() - begun_ms) * attack->pieces_per_second / 1000;
    unsigned n = wanted > *done ? (unsigned)(wanted - *done) : 0;
    *done += n;
    return n;
}

_Noreturn static void run(const struct attack *attack, struct attack_report *report, int ready_fd)
{
    struct attack_force force = {.attack = attack, .report = report, .random = attack->random};
    struct epoll_event events[EVENTS];
    force.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct attack_conn *conns = xcalloc(attack->connections, sizeof *conns);
    for (unsigned i = 0; i < attack->connections; i++) {
        conns[i].number = i;
        attack_conn_open(&conns[i], &force);
    }
    ssize_t told = write(ready_fd, "r", 1);
    close(ready_fd);
    uint64_t begun_ms = clock_boot_ms();
    uint64_t pieces = 0;
    unsigned next = 0;
    while (told == 1) {
        int n = epoll_wait(force.epoll_fd, events, EVENTS, TICK_MS);
        for (int i = 0; i < n; i++) {
            attack_conn_event(events[i].data.ptr, &force, events[i].events);
        }
        for (unsigned left = due(attack, begun_ms, &pieces); left > 0; left--) {
            attack_conn_piece(&conns[next], &force);
            next = (next + 1) % attack->connections;
        }
        if (attack->kind == ATTACK_READ_SLOWLY) {
            for (unsigned i = 0; i < attack->connections; i++) {
                attack_conn_sip(&conns[i], &force);
            }
        }
    }
    _exit(1);
}

/* ---- The test's side ---- */

struct attacker *attacker_start(const struct attack *attack)
{
    int ready[2];
    struct attack copy = *attack;
    struct attack_report *report =
        mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED) {
        return NULL;
    }
    pid_t pid = -1;
    if (pipe2(ready, O_CLOEXEC) == 0) {
        pid_t parent = getpid();
        pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent) {
                _exit(1);
            }
            close_all_but(ready[1]);
            raise_descriptors();
            run(&copy, report, ready[1]);
        }
        char byte;
        close(ready[1]);
        while (pid > 0 && read(ready[0], &byte, 1) < 0 && errno == EINTR) {
        }
        close(ready[0]);
    }
    if (pid < 0) {
        munmap(report, sizeof *report);
        return NULL;
    }
    struct attacker *a = xcalloc(1, sizeof *a);
    *a = (struct attacker){.pid = pid, .report = report};
    return a;
}

struct attack_report attacker_report(const struct attacker *a)
{
    struct attack_report copy;
    memcpy(&copy, a->report, sizeof copy);
    copy.words[sizeof copy.words - 1] = '\0';
    return copy;
}

uint64_t attacker_cpu_ms(const struct attacker *a)
{
    return process_cpu_ms(a->pid);
}

void attacker_stop(struct attacker *a)
{
    if (a == NULL) {
        return;
    }
    kill(a->pid, SIGKILL);
    while (waitpid(a->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    munmap(a->report, sizeof *a->report);
    free(a);
}
