#include "cluster-tests/redis_flood.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/alloc.h"

enum { EVENTS = 256, SEND_BYTES_MAX = 256 * 1024, OPENED_PER_WAIT = 16 };

struct flooder {
    int fd; /* -1: not connected */
    size_t sent;
};

struct force {
    const struct redis_flood *flood;
    int epoll_fd;
    unsigned closed; /* so many, to do it in turns */
};

static void come(struct force *f, struct flooder *c)
{
    c->sent = 0;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        return;
    }
    struct epoll_event event = {.events = EPOLLOUT | EPOLLRDHUP, .data.ptr = c};
    int rc = connect(c->fd, (const struct sockaddr *)&f->flood->address, sizeof f->flood->address);
    if ((rc != 0 && errno != EINPROGRESS) || epoll_ctl(f->epoll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0) {
        close(c->fd);
        c->fd = -1;
    }
}

static void go(struct force *f, struct flooder *c)
{
    const struct linger reset = {.l_onoff = 1};
    if (f->closed++ % 2 == 0) {
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    close(c->fd);
    c->fd = -1;
    if (f->flood->come_and_go) {
        come(f, c);
    }
}

static void act(struct force *f, struct flooder *c, uint32_t events)
{
    size_t left = f->flood->payload.len - c->sent;
    ssize_t n = 0;
    if ((events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) != 0) {
        go(f, c);
        return;
    }
    if (left > 0) {
        n = send(c->fd, f->flood->payload.data + c->sent, left < SEND_BYTES_MAX ? left : SEND_BYTES_MAX,
            MSG_NOSIGNAL);
    }
    if (n < 0 && errno != EAGAIN) {
        go(f, c);
        return;
    }
    c->sent += n > 0 ? (size_t)n : 0;
    if (c->sent == f->flood->payload.len && f->flood->come_and_go) {
        go(f, c);
    } else if (c->sent == f->flood->payload.len) { /* it stays, and is deaf */
        struct epoll_event event = {.events = EPOLLRDHUP, .data.ptr = c};
        epoll_ctl(f->epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
    }
}

_Noreturn static void run(const struct redis_flood *flood, int ready_fd)
{
    struct force f = {.flood = flood, .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    struct epoll_event events[EVENTS];
    struct flooder *all = xcalloc(flood->connections, sizeof *all);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    for (unsigned i = 0; i < flood->connections; i++) {
        come(&f, &all[i]);
    }
    ssize_t told = write(ready_fd, "r", 1);
    close(ready_fd);
    while (told == 1) {
        int n = epoll_wait(f.epoll_fd, events, flood->come_and_go ? OPENED_PER_WAIT : EVENTS, -1);
        for (int i = 0; i < n; i++) {
            act(&f, events[i].data.ptr, events[i].events);
        }
    }
    _exit(1);
}

pid_t redis_flood_start(const struct redis_flood *flood)
{
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0) {
        return -1;
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(1);
        }
        for (int fd = STDERR_FILENO + 1; fd < 1024; fd++) { /* the test's pipes must see when it dies */
            if (fd != ready[1]) {
                close(fd);
            }
        }
        run(flood, ready[1]);
    }
    close(ready[1]);
    char byte;
    while (pid > 0 && read(ready[0], &byte, 1) < 0 && errno == EINTR) {
    }
    close(ready[0]);
    return pid;
}

void redis_flood_stop(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}
