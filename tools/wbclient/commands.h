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

/* commands_key.c: on one key */
int command_get(struct session *s, const struct bytes *args, size_t n);
int command_set(struct session *s, const struct bytes *args, size_t n);
int command_getdel(struct session *s, const struct bytes *args, size_t n);
int command_incr(struct session *s, const struct bytes *args, size_t n);
int command_decr(struct session *s, const struct bytes *args, size_t n);
int command_append(struct session *s, const struct bytes *args, size_t n);
int command_delif(struct session *s, const struct bytes *args, size_t n);
int command_expire(struct session *s, const struct bytes *args, size_t n);
int command_pexpire(struct session *s, const struct bytes *args, size_t n);
int command_persist(struct session *s, const struct bytes *args, size_t n);
int command_ttl(struct session *s, const struct bytes *args, size_t n);
int command_type(struct session *s, const struct bytes *args, size_t n);
int command_strlen(struct session *s, const struct bytes *args, size_t n);
int command_inspect(struct session *s, const struct bytes *args, size_t n);

/* commands_many.c: on several keys */
int command_del(struct session *s, const struct bytes *args, size_t n);
int command_exists(struct session *s, const struct bytes *args, size_t n);
int command_mget(struct session *s, const struct bytes *args, size_t n);
int command_mset(struct session *s, const struct bytes *args, size_t n);
int command_mdel(struct session *s, const struct bytes *args, size_t n);
int command_scan(struct session *s, const struct bytes *args, size_t n);

/* flush.c, quarantine.c, key_status.c, verify.c: for operators */
int command_flush(struct session *s, const struct bytes *args, size_t n);
int command_quarantine(struct session *s, const struct bytes *args, size_t n);
int command_key_status(struct session *s, const struct bytes *args, size_t n);
int command_verify(struct session *s, const struct bytes *args, size_t n);

/* status.c */
int command_status(struct session *s, const struct bytes *args, size_t n);
int command_lag(struct session *s, const struct bytes *args, size_t n);

#endif
