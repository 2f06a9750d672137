/* The demonstration's load: pipelined writes through libwbcache, each outcome entered in the ledger, and a
 * command that is run in the middle (it kills a leader). */
#ifndef WB_TOOLS_WBDEMO_WRITER_H
#define WB_TOOLS_WBDEMO_WRITER_H

#include <stddef.h>

#include "proto/limits.h"
#include "rpc/wbcache.h"
#include "tools/wbdemo/ledger.h"

struct writer_options {
    const char *cluster;
    uint64_t writes;
    const char *at_half; /* shell command, run with WBDEMO_NODE (whose leader it is about) set; NULL: none */
};

struct writer_report {
    uint64_t acknowledged;
    uint64_t unknown;
    uint64_t refused; /* certainly not done */
    uint64_t elapsed_ms;
    uint32_t group_count;
    uint64_t node;                   /* that the command was about, 0: none */
    bool led[LIMIT_GROUPS];          /* the groups that this node led then */
    uint64_t pause_ms[LIMIT_GROUPS]; /* the longest time without an acknowledgement, from the command on */
    int command_status;              /* as waitpid gives it */
    char last_refusal[256];          /* "" when none */
};

/* Write, and keep the books. Blocks. False, with @errmsg, when the cluster cannot be used at all. */
bool writer_run(const struct writer_options *options, struct ledger *ledger, struct writer_report *out,
    char *errmsg, size_t errmsg_len);

#endif
