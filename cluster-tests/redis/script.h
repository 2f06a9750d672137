/* Conversations that are written down: files of cases, each a list of commands. See README.md for how they
 * are written. */
#ifndef WB_CLUSTER_TESTS_REDIS_SCRIPT_H
#define WB_CLUSTER_TESTS_REDIS_SCRIPT_H

#include "cluster-tests/redis/step.h"

struct script_case {
    const char *title;
    unsigned line;
    bool valkey; /* the reference is Valkey: Redis of the reference's version does not have the command */
    unsigned protocols; /* bit 2: in RESP2, bit 3: in RESP3 */
    const char **lines; /* as they are in the file, n of them; what they say depends on the tags */
    const unsigned *numbers;
    uint32_t n;
};

struct script {
    struct arena arena;
    struct script_case *cases;
    uint32_t n;
};

/* Read @path. False: it cannot be read, or has a line that means nothing; @error says which. */
bool script_read(struct script *s, const char *path, char *error, size_t error_len);
void script_free(struct script *s);
/* The steps of @c, with {t} and {n} replaced by these tags, {} included. False: a line that means nothing. */
bool script_steps(const struct script_case *c, const char *tag, const char *near_tag, struct steps *out,
    char *error, size_t error_len);

#endif
