/* Cut a line of the interactive shell into words. Pure.
 * Words are separated by spaces and tabs. Double quotes hold anything, with \xNN, \n, \r, \t, \\ and \"
 * inside; single quotes hold anything as it is. A '#' at the start of a word makes the rest of the line a
 * comment. */
#ifndef WB_TOOLS_WBCLIENT_WORDS_H
#define WB_TOOLS_WBCLIENT_WORDS_H

#include "proto/base/buf.h"

enum { WORDS_MAX = 8192 };

struct words {
    struct buf text;     /* all words, each followed by a 0 byte that does not count */
    struct bytes *items; /* point into text */
    size_t count;
};

void words_init(struct words *w);
void words_deinit(struct words *w);
/* Replace the content of @w by the words of @line. NULL on success, else a constant sentence that says what
 * is wrong with the line; @w is then empty. */
const char *words_split(struct words *w, struct bytes line);
/* Append @b as such a word in double quotes: what words_split reads gives @b again. */
void words_quote(struct buf *out, struct bytes b);

/* May @b go to a terminal as it is? False for control characters (but newline and tab): they could clear the
 * screen, or type for the person. Whether it is valid UTF-8 is not asked. */
bool words_harmless(struct bytes b);
/* What follows "...: @name: " in @message; all of it when that isn't there. For showing a message behind the
 * name that it begins with. */
const char *words_behind_name(const char *message, const char *name);

#endif
