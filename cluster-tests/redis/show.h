/* The transcript of the comparison, on stdout. Any thread. */
#ifndef WB_CLUSTER_TESTS_REDIS_SHOW_H
#define WB_CLUSTER_TESTS_REDIS_SHOW_H

#include "cluster-tests/redis/step.h"

/* One line, with the time since the first. */
void show(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The steps up to @last, as one writes them in a script. */
void show_conversation(const struct steps *steps, uint32_t last);
/* A raw reply, escaped. */
void show_reply(const char *what, struct bytes reply);

#endif
