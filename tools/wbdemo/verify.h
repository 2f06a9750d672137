/* Compare the ledger with PostgreSQL, by plain SQL and without the cluster. */
#ifndef WB_TOOLS_WBDEMO_VERIFY_H
#define WB_TOOLS_WBDEMO_VERIFY_H

#include <stddef.h>

#include "tools/wbdemo/ledger.h"

struct verify_report {
    uint32_t right;
    uint32_t unknown_happened;
    uint32_t unknown_did_not;
    uint32_t missing;
    uint32_t wrong;
    char example[256]; /* a key that is missing or wrong, "" when there is none */
};

/* Read the rows of the table entry in @schema of database @dsn and judge each key. False, with @errmsg, when
 * the database cannot be read. */
bool verify_run(const struct ledger *ledger, const char *dsn, const char *schema, struct verify_report *out,
    char *errmsg, size_t errmsg_len);

#endif
