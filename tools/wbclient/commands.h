/* The commands of wbclient: one table of rows, from which help comes, too. */
#ifndef WB_TOOLS_WBCLIENT_COMMANDS_H
#define WB_TOOLS_WBCLIENT_COMMANDS_H

#include "proto/base/bytes.h"
#include "tools/wbclient/session.h"

struct command {
    const char *name;
    const char *arguments;
    const char *summary; /* one line */
    const char *details; /* more lines, or NULL */
    size_t args_min;
    size_t args_max;
    /* @args are the words behind the name; each is followed by a 0 byte that does not count.
     * Returns an exit code; whatever went wrong has been reported. */
    int (*run)(struct session *s, const struct bytes *args, size_t n);
};

/* Run one command: words[0] is its name. Returns an exit code. */
int command_run(struct session *s, const struct bytes *words, size_t n);
/* The i-th row, or NULL behind the last. */
const struct command *command_at(size_t i);

/* status.c */
int command_status(struct session *s, const struct bytes *args, size_t n);
int command_lag(struct session *s, const struct bytes *args, size_t n);

#endif
