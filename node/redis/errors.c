/* Texts that clients look at: word for word those of Redis. */
#include <ctype.h>
#include <string.h>

#include "node/redis/command.h"

const char redis_error_syntax[] = "ERR syntax error";
const char redis_error_wrongtype[] = "WRONGTYPE Operation against a key holding the wrong kind of value";
const char redis_error_integer[] = "ERR value is not an integer or out of range";
const char redis_error_float[] = "ERR value is not a valid float";

/* So much of a name, and of the arguments in all, is told. */
enum { TOLD_CHARS = 128 };

/* Append what Redis tells of @text: up to a NUL, and @most bytes. */
static void tell(struct buf *out, struct bytes text, size_t most)
{
    size_t len = text.len < most ? text.len : most;
    const void *nul = len > 0 ? memchr(text.data, '\0', len) : NULL;
    buf_append(out, text.data, nul != NULL ? (size_t)((const uint8_t *)nul - text.data) : len);
}

static void tell_text(struct buf *out, const char *text)
{
    buf_append(out, text, strlen(text));
}

/* The error is what @text holds, which ends here. */
static void reply_text(struct resp_writer *w, struct buf *text)
{
    buf_append_u8(text, '\0');
    resp_error(w, text->failed ? "ERR out of memory" : (const char *)text->data);
    buf_deinit(text);
}

void redis_error_arity(struct resp_writer *w, const struct redis_command *command)
{
    resp_error_of(w, "ERR wrong number of arguments for '%s' command", command->name);
}

void redis_error_unknown(struct resp_writer *w, const struct bytes *args, uint32_t n)
{
    struct buf text;
    buf_init(&text);
    tell_text(&text, "ERR unknown command '");
    tell(&text, args[0], TOLD_CHARS);
    tell_text(&text, "', with args beginning with: ");
    size_t from = text.len;
    for (uint32_t i = 1; i < n && text.len - from < TOLD_CHARS; i++) {
        size_t most = TOLD_CHARS - (text.len - from);
        tell_text(&text, "'");
        tell(&text, args[i], most);
        tell_text(&text, "' ");
    }
    reply_text(w, &text);
}

void redis_error_unknown_sub(struct resp_writer *w, const struct bytes *args, uint32_t n)
{
    struct buf text;
    buf_init(&text);
    tell_text(&text, "ERR unknown subcommand '");
    if (n > 1) {
        tell(&text, args[1], TOLD_CHARS);
    }
    tell_text(&text, "'. Try ");
    for (size_t i = 0; i < args[0].len && args[0].data[i] != '\0'; i++) {
        buf_append_u8(&text, (uint8_t)toupper(args[0].data[i]));
    }
    tell_text(&text, " HELP.");
    reply_text(w, &text);
}

void redis_error_option(struct resp_writer *w, struct bytes option)
{
    struct buf text;
    buf_init(&text);
    tell_text(&text, "ERR Unsupported option ");
    tell(&text, option, SIZE_MAX);
    reply_text(w, &text);
}
