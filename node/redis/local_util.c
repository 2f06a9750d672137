/* What local commands share, and the subcommands HELP. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "node/redis/local.h"
#include "node/redis/local_util.h"

bool local_is_master(const struct redis_node_view *view)
{
    for (uint32_t g = 0; g < view->group_count; g++) {
        if (view->leader[g] == view->self) {
            return true;
        }
    }
    return false;
}

void local_error_with(struct resp_writer *out, const char *before, struct bytes text, const char *after)
{
    enum { TOLD_CHARS = 512 };
    int len = (int)(text.len < TOLD_CHARS ? text.len : TOLD_CHARS);
    resp_error_of(out, "%s%.*s%s", before, len, len > 0 ? (const char *)text.data : "", after);
}

void local_print(struct buf *out, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *to = len >= 0 ? (char *)buf_reserve(out, (size_t)len + 1) : NULL;
    if (to != NULL) {
        vsnprintf(to, (size_t)len + 1, format, again);
        out->len += (size_t)len;
    }
    va_end(again);
}

/* ---- HELP ---- */

static void upper(const char *from, char *out, size_t room)
{
    size_t i = 0;
    for (; from[i] != 0 && i + 1 < room; i++) {
        out[i] = (char)(from[i] >= 'a' && from[i] <= 'z' ? from[i] - ('a' - 'A') : from[i]);
    }
    out[i] = 0;
}

void local_help(struct redis_local_call *c, const char *container)
{
    uint32_t rows_n, n = 0;
    const struct redis_command *rows = redis_commands(&rows_n);
    size_t len = strlen(container);
    char name[64], line[512];
    for (uint32_t i = 0; i < rows_n; i++) {
        n += strncmp(rows[i].name, container, len) == 0 && rows[i].name[len] == '|' &&
             !redis_command_is_refused(&rows[i]);
    }
    resp_array(c->out, 1 + 2 * (size_t)n);
    upper(container, name, sizeof(name));
    snprintf(line, sizeof(line), "%s <subcommand> [<argument> ...]. Subcommands are:", name);
    resp_simple(c->out, line);
    for (uint32_t i = 0; i < rows_n; i++) {
        if (strncmp(rows[i].name, container, len) != 0 || rows[i].name[len] != '|' ||
            redis_command_is_refused(&rows[i])) {
            continue;
        }
        const char *syntax = rows[i].syntax;
        upper(rows[i].name + len + 1, name, sizeof(name));
        snprintf(line, sizeof(line), "%s%s%s", name, syntax != NULL ? " " : "", syntax != NULL ? syntax : "");
        resp_simple(c->out, line);
        snprintf(line, sizeof(line), "    %s.", rows[i].summary);
        resp_simple(c->out, line);
    }
}

void redis_local_client_help(struct redis_local_call *c)
{
    local_help(c, "client");
}

void redis_local_config_help(struct redis_local_call *c)
{
    local_help(c, "config");
}

void redis_local_command_help(struct redis_local_call *c)
{
    local_help(c, "command");
}

void redis_local_memory_help(struct redis_local_call *c)
{
    local_help(c, "memory");
}

void redis_local_object_help(struct redis_local_call *c)
{
    local_help(c, "object");
}

void redis_local_cluster_help(struct redis_local_call *c)
{
    local_help(c, "cluster");
}
