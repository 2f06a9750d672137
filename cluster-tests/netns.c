#include "cluster-tests/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster-tests/scenario.h"

enum { COMMAND_BYTES = 512 };

/* The network namespace that the process began in; -1: it never left it. A process has one, so has this file.
 */
static int home = -1;

bool netns_available(char *why, size_t why_len)
{
    if (geteuid() != 0) {
        snprintf(why, why_len, "network namespaces need root");
        return false;
    }
    /* The name is this process's own. Both kinds of links are tried: a kernel may lack either. */
    char command[COMMAND_BYTES];
    snprintf(command, sizeof command,
        "n=wb-probe-%d; ip netns add $n && ip -n $n link add probe type bridge && "
        "ip -n $n link add probe1 type veth peer name probe2; rc=$?; ip netns delete $n; exit $rc",
        (int)getpid());
    char script[COMMAND_BYTES + 32];
    snprintf(script, sizeof script, "{ %s; } >/dev/null 2>&1", command);
    if (system(script) != 0) {
        snprintf(why, why_len,
            "iproute2 is not installed, or it may not make namespaces, bridges and veth pairs here");
        return false;
    }
    return true;
}

void netns_enter(const char *name)
{
    if (home < 0 && (home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) < 0) {
        fail_msg("cannot open this process's network namespace: %s", strerror(errno));
    }
    char path[128];
    snprintf(path, sizeof path, "/run/netns/%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) != 0) {
        fail_msg("cannot enter %s: %s", path, strerror(errno));
    }
    close(fd);
}

void netns_leave(void)
{
    if (home >= 0 && setns(home, CLONE_NEWNET) == 0) {
        close(home);
        home = -1;
    }
}
