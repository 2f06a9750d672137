/* The network namespaces of a cluster that was started with options.netns: its nodes are reached only from
 * inside. tools/cluster makes and removes them. Threading: the test's main thread; threads started later are
 * where it was. */
#ifndef WB_CLUSTER_TESTS_NETNS_H
#define WB_CLUSTER_TESTS_NETNS_H

#include <stdbool.h>
#include <stddef.h>

/* May this process make network namespaces, bridges and veth pairs? If not, @why says what is missing. */
bool netns_available(char *why, size_t why_len);
/* Go into the namespace @name. Fails the running test when that is not possible. */
void netns_enter(const char *name);
/* Go back to where the process began. Harmless when it is there. */
void netns_leave(void);

#endif
