/* libpq writes, in verbose mode, for each address that it tried (src/interfaces/libpq/fe-protocol3.c,
 * pqBuildErrorMessage3; fe-connect.c, emitHostIdentityInfo):
 *
 *     connection to server at "db1" (10.0.0.1), port 5432 failed: FATAL:  28P01: password ... failed
 *     DETAIL:  ...
 *     LOCATION:  auth_failed, auth.c:334
 *
 * The severity is a word in the server's language; an error of libpq's own has no code. */
#include "flush/pg_connect_error.h"

#include <string.h>

#include "flush/flush_error.h"
#include "proto/base/buf.h"

#define ATTEMPT_BEGINS "connection to server "
enum { CODE_LEN = 5 };

static bool is_code(const char *text, size_t len)
{
    if (len < CODE_LEN + 2 || text[CODE_LEN] != ':' || text[CODE_LEN + 1] != ' ') {
        return false;
    }
    for (size_t i = 0; i < CODE_LEN; i++) {
        if (!(text[i] >= '0' && text[i] <= '9') && !(text[i] >= 'A' && text[i] <= 'Z')) {
            return false;
        }
    }
    return true;
}

/* Where in @line the code stands: behind the severity, its colon and two blanks. NULL: nowhere. */
static const char *find_code(const char *line, size_t len)
{
    for (size_t i = 1; i + 3 <= len; i++) {
        if (memcmp(line + i, ":  ", 3) == 0) {
            return is_code(line + i + 3, len - i - 3) ? line + i + 3 : NULL;
        }
    }
    return NULL;
}

/* "LOCATION:  auth_failed, auth.c:334", whatever the first word is. */
static bool is_location(const char *line, size_t len)
{
    size_t digits = 0;
    while (digits < len && line[len - 1 - digits] >= '0' && line[len - 1 - digits] <= '9') {
        digits++;
    }
    size_t name_end = len - digits;
    return digits > 0 && name_end > 3 && memcmp(line + name_end - 3, ".c:", 3) == 0 &&
           memmem(line, len, ":  ", 3) != NULL && memmem(line, len, ", ", 2) != NULL;
}

static bool begins_attempt(const char *line, size_t len)
{
    return len >= strlen(ATTEMPT_BEGINS) && memcmp(line, ATTEMPT_BEGINS, strlen(ATTEMPT_BEGINS)) == 0;
}

/* The line as people are told it: without @code (which may be NULL), and not at all when it is for developers
 * of PostgreSQL. */
static void append_line(struct buf *out, const char *line, size_t len, const char *code)
{
    if (code != NULL) {
        size_t before = (size_t)(code - line);
        buf_append(out, line, before);
        buf_append(out, code + CODE_LEN + 2, len - before - CODE_LEN - 2);
    } else if (!is_location(line, len)) {
        buf_append(out, line, len);
    }
    buf_append_u8(out, '\n');
}

void pg_connect_error(const char *text, bool password_missing, struct flush_error *error)
{
    char sqlstate[CODE_LEN + 1] = "";
    struct buf message;
    buf_init(&message);
    for (const char *line = text; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        if (begins_attempt(line, len)) {
            sqlstate[0] = '\0';
        }
        const char *code = sqlstate[0] == '\0' ? find_code(line, len) : NULL;
        if (code != NULL) {
            memcpy(sqlstate, code, CODE_LEN);
            sqlstate[CODE_LEN] = '\0';
        }
        append_line(&message, line, len, code);
        line += len + (line[len] == '\n');
    }
    buf_append_u8(&message, '\0');
    enum flush_error_class class = flush_error_classify(sqlstate);
    if (password_missing || class == FLUSH_ERROR_ROW) {
        class =
            FLUSH_ERROR_HALT; /* the connection string is wrong, as with a setting that has no such value */
    }
    flush_error_set(error, class, sqlstate, "cannot connect to the database: %s",
        message.failed || message.len < 2 ? "the connection is gone" : (const char *)message.data);
    buf_deinit(&message);
}
