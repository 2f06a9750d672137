/* One run of wbclient: where it is connected, how it prints, and the exit codes. */
#ifndef WB_TOOLS_WBCLIENT_SESSION_H
#define WB_TOOLS_WBCLIENT_SESSION_H

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

#include "rpc/wbcache.h"

enum exit_code {
    EXIT_DONE = 0,
    EXIT_NOT_FOUND = 1, /* a key that is asked about is not there */
    EXIT_USAGE = 2,
    EXIT_UNKNOWN = 3, /* a write may or may not have happened */
    EXIT_FAILED = 4,
    EXIT_CONDITION = 5,   /* the condition does not hold; nothing was done */
    EXIT_NOT_FLUSHED = 6, /* done and replicated, but not in the database by the deadline */
    EXIT_QUARANTINED = 7, /* done and replicated, but the database refuses the row */
    EXIT_DIFFERENT = 8,   /* verify: memory and database differ, and were not made equal */
};

struct session {
    const char *cluster; /* NULL: the environment's WBCACHE_CLUSTER */
    unsigned deadline_ms;
    bool json;
    bool flushed;          /* writes are answered when they are in the database */
    bool terminal;         /* standard output is one: values end with a newline */
    bool shell;            /* commands come from lines: standard input is theirs */
    struct wbcache *cache; /* NULL until a command needs it; see session_connect */
};

/* The connection of @s, opened when there is none yet. NULL: the reason was reported; *@exit_out says how to
 * exit. */
struct wbcache *session_connect(struct session *s, int *exit_out);
/* How to exit after a call that came to @code. */
int session_exit_code(int code);
/* Report a failed call in words (or as JSON) and give the exit code for it. @key may be NULL. */
int session_report(struct session *s, int code, const char *message);
/* Report wrong usage; EXIT_USAGE. */
int session_usage(struct session *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Print @object as one line and release it. */
void session_print_json(json_t *object);

#endif
