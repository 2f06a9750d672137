#include "cluster-tests/redis/reference.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cluster-tests/guardian.h"
#include "proto/base/clock.h"

enum { TRIES = 5, READY_MS = 30 * 1000, POLL_NS = 20 * 1000 * 1000, PATH_BYTES = 512 };
static const rlim_t MEMORY_MAX_BYTES = 2ul << 30;

/* ---- The program ---- */

static bool find_program(const char *name, char out[PATH_BYTES])
{
    const char *rest = getenv("PATH");
    rest = rest == NULL ? "/usr/bin:/bin" : rest;
    for (;;) {
        size_t len = strcspn(rest, ":");
        if (len > 0 && snprintf(out, PATH_BYTES, "%.*s/%s", (int)len, rest, name) < PATH_BYTES &&
            access(out, X_OK) == 0) {
            return true;
        }
        if (rest[len] == '\0') {
            return false;
        }
        rest += len + 1;
    }
}

/* A link in the server's folder, which has the name by which the program knows that it shall be a server. */
static bool link_program(
    const struct reference *r, enum reference_kind kind, char link[PATH_BYTES], char *error, size_t error_len)
{
    const char *name = kind == REFERENCE_REDIS ? "redis-server" : "valkey-server";
    const char *twin = kind == REFERENCE_REDIS ? "redis-check-rdb" : "valkey-check-rdb";
    char program[PATH_BYTES];
    if (!find_program(name, program) && !find_program(twin, program)) {
        snprintf(error, error_len, "neither %s nor %s is installed (Debian: %s)", name, twin,
            kind == REFERENCE_REDIS ? "redis-tools" : "valkey-tools, from backports");
        return false;
    }
    snprintf(link, PATH_BYTES, "%s/%s", r->dir, name);
    unlink(link);
    if (symlink(program, link) != 0) {
        snprintf(error, error_len, "cannot make %s", link);
        return false;
    }
    return true;
}

/* Two ports that nobody listens on, from the kernel. Somebody else may take one before the server does: then
 * it ends, and is started again with others. */
static bool free_ports(unsigned out[2])
{
    int fds[2];
    bool done = true;
    for (unsigned i = 0; i < 2; i++) {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof at;
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        done = done && bind(fds[i], (const struct sockaddr *)&at, sizeof at) == 0 &&
               getsockname(fds[i], (struct sockaddr *)&at, &len) == 0;
        out[i] = ntohs(at.sin_port);
    }
    close(fds[0]);
    close(fds[1]);
    return done;
}

static void run_server(const char *program, const char *dir, const unsigned ports[2], pid_t parent)
{
    char port[16], bus[16], log[PATH_BYTES];
    snprintf(port, sizeof port, "%u", ports[0]);
    snprintf(bus, sizeof bus, "%u", ports[1]);
    snprintf(log, sizeof log, "%s/server.log", dir);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* A test that asks for a reply without end must not take the machine's memory. */
    setrlimit(RLIMIT_AS, &(const struct rlimit){MEMORY_MAX_BYTES, MEMORY_MAX_BYTES});
    int out = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int null = open("/dev/null", O_RDONLY);
    if (getppid() != parent || out < 0 || null < 0) {
        _exit(127);
    }
    dup2(null, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execl(program, program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", dir,
        "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-config-file", "nodes.conf",
        (char *)NULL);
    _exit(127);
}

/* ---- Its start ---- */

static bool ask(struct wire *w, const char *inline_command, struct reply *out)
{
    return wire_send(w, bytes_from_text(inline_command)) && wire_receive(w, out);
}

static bool serves(struct wire *w)
{
    struct reply r;
    return ask(w, "CLUSTER INFO\r\n", &r) &&
           memmem(r.text.data, r.text.len, "cluster_state:ok", strlen("cluster_state:ok")) != NULL;
}

static bool has_ended(struct reference *r)
{
    if (waitpid(r->pid, NULL, WNOHANG) == r->pid) {
        r->pid = 0;
    }
    return r->pid == 0;
}

static void rest(void)
{
    nanosleep(&(const struct timespec){.tv_nsec = POLL_NS}, NULL);
}

/* Wait until it listens, give it all slots, and wait until it believes so. */
static bool wait_until_it_serves(struct reference *r)
{
    const uint64_t until_ms = clock_boot_ms() + READY_MS;
    struct wire w = {.fd = -1};
    bool connected = false, done = false;
    while (!connected && !has_ended(r) && clock_boot_ms() < until_ms) {
        connected = wire_open(&w, r->address);
        if (!connected) {
            rest();
        }
    }
    struct reply reply;
    bool slots = connected && ask(&w, "CLUSTER ADDSLOTSRANGE 0 16383\r\n", &reply) && reply.type == '+';
    while (slots && !done && !has_ended(r) && clock_boot_ms() < until_ms) {
        done = serves(&w);
        if (!done) {
            rest();
        }
    }
    wire_close(&w);
    return done;
}

bool reference_start(struct reference *r, enum reference_kind kind, char *error, size_t error_len)
{
    *r = (struct reference){.dir = "/tmp/wbcache-reference-XXXXXX"};
    char program[PATH_BYTES];
    if (mkdtemp(r->dir) == NULL) {
        r->dir[0] = '\0';
        snprintf(error, error_len, "cannot make a folder in /tmp");
        return false;
    }
    if (!link_program(r, kind, program, error, error_len)) {
        reference_stop(r);
        return false;
    }
    for (unsigned i = 0; i < TRIES; i++) {
        unsigned ports[2];
        const pid_t parent = getpid();
        if (!free_ports(ports)) {
            continue;
        }
        snprintf(r->address, sizeof r->address, "127.0.0.1:%u", ports[0]);
        r->pid = fork();
        if (r->pid == 0) {
            run_server(program, r->dir, ports, parent);
        }
        if (r->pid > 0 && wait_until_it_serves(r)) {
            return true;
        }
        if (r->pid > 0) {
            kill(r->pid, SIGKILL);
            waitpid(r->pid, NULL, 0);
        }
        r->pid = 0;
    }
    snprintf(error, error_len, "it does not come up; see %.60s/server.log", r->dir);
    return false;
}

void reference_stop(struct reference *r)
{
    if (r->pid > 0) {
        kill(r->pid, SIGKILL);
        waitpid(r->pid, NULL, 0);
        r->pid = 0;
    }
    if (r->dir[0] != '\0') {
        guardian_remove_folder(r->dir);
        r->dir[0] = '\0';
    }
}
