/* Commands line by line: from a person with history and editing, or from a pipe. */
#ifndef WB_TOOLS_WBCLIENT_REPL_H
#define WB_TOOLS_WBCLIENT_REPL_H

#include "tools/wbclient/session.h"

/* Both return an exit code: the worst of all commands' from a pipe, 0 from a person. */
int repl_interactive(struct session *s);
int repl_pipe(struct session *s, FILE *in);

#endif
