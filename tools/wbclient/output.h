/* How keys, values and failures are shown: to a person, to a pipe, as JSON. */
#ifndef WB_TOOLS_WBCLIENT_OUTPUT_H
#define WB_TOOLS_WBCLIENT_OUTPUT_H

#include "proto/base/bytes.h"
#include "tools/wbclient/session.h"

/* Set @name to @b: as a string when it is valid UTF-8, else as "<name>_hex". */
void output_set_bytes(json_t *object, const char *name, struct bytes b);
/* In double quotes, with \xNN for what cannot be printed. */
void output_quoted(struct bytes b);
/* A value for a person: as it is, or quoted when it holds what a terminal would obey or cannot show. */
void output_for_terminal(struct bytes b);
/* A value as the command's answer: its bytes; a newline follows on a terminal and in the shell only. */
void output_value(const struct session *s, struct bytes b);
/* The worse of two exit codes, for commands on several keys. */
int output_worse(int a, int b);
/* Report that the library's last call came to @code; the exit code. */
int output_failure(struct session *s, int code);

#endif
