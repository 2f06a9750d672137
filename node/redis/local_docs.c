/* COMMAND DOCS, which redis-cli shows as help and as hints while one types. The arguments come from the row's
 * `syntax`:
 *
 *     items     = item { " " item }
 *     item      = single [ "..." ]                            "..." : once or more
 *     single    = TOKEN | TOKEN " " name | name | "[" choice "]" | "(" choice ")"        [ ] : may be missing
 *     choice    = items { "|" items }
 *
 * A TOKEN is in capitals and stands for itself; a name in lower case is a value. */
#include <string.h>

#include "node/redis/local.h"
#include "node/redis/local_util.h"

enum argument_kind { ARGUMENT_NAME, ARGUMENT_TOKEN, ARGUMENT_ONEOF, ARGUMENT_BLOCK };

/* One argument, as a part of its row's syntax. */
struct argument {
    enum argument_kind kind;
    struct bytes token, name; /* no bytes: it has none */
    bool optional, multiple;
    const char *inside, *inside_end; /* of ONEOF: choices; of BLOCK: items */
};

static bool is_token_char(char c)
{
    return (c >= 'A' && c <= 'Z') || c == '-' || (c >= '0' && c <= '9');
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || c == '-' || c == '_';
}

static struct bytes take_while(const char **at, const char *end, bool (*fits)(char))
{
    const char *from = *at;
    while (*at < end && fits(**at)) {
        (*at)++;
    }
    return bytes_of(from, (size_t)(*at - from));
}

/* The character @wanted at depth 0 from @at on; NULL: it is not there before @end. */
static const char *find_at_depth(const char *at, const char *end, char wanted)
{
    int depth = 0;
    for (; at < end; at++) {
        if (depth == 0 && *at == wanted) {
            return at;
        }
        depth += *at == '[' || *at == '(' ? 1 : *at == ']' || *at == ')' ? -1 : 0;
    }
    return NULL;
}

static void take_dots(const char **at, const char *end, struct argument *out)
{
    if (end - *at >= 3 && strncmp(*at, "...", 3) == 0) {
        out->multiple = true;
        *at += 3;
    }
}

static bool next_argument(const char **at, const char *end, struct argument *out);

/* What is between brackets: one thing, one of several, or several things together. */
static void take_bracket(const char **at, const char *end, struct argument *out)
{
    bool optional = **at == '[';
    const char *inside = *at + 1;
    const char *close = find_at_depth(inside, end, optional ? ']' : ')');
    *at = close + 1;
    const char *first_end = inside;
    struct argument first;
    next_argument(&first_end, close, &first);
    if (find_at_depth(inside, close, '|') != NULL) {
        *out = (struct argument){.kind = ARGUMENT_ONEOF, .inside = inside, .inside_end = close};
    } else if (first_end < close) {
        *out = (struct argument){.kind = ARGUMENT_BLOCK, .inside = inside, .inside_end = close};
    } else {
        *out = first;
    }
    out->optional = optional;
}

/* False: there is no more. *@at moves behind it. */
static bool next_argument(const char **at, const char *end, struct argument *out)
{
    while (*at < end && **at == ' ') {
        (*at)++;
    }
    if (*at >= end) {
        return false;
    }
    if (**at == '[' || **at == '(') {
        take_bracket(at, end, out);
    } else {
        *out = (struct argument){.kind = ARGUMENT_NAME};
        out->token = take_while(at, end, is_token_char);
        if (out->token.len > 0 && end - *at >= 2 && (*at)[0] == ' ' && is_name_char((*at)[1])) {
            (*at)++;
        }
        out->name = take_while(at, end, is_name_char);
        out->kind = out->name.len > 0 ? ARGUMENT_NAME : ARGUMENT_TOKEN;
    }
    take_dots(at, end, out);
    return true;
}

/* ---- Replies ---- */

/* Choices are each an argument; several items in one choice are a block. */
static const char *choice_end(const char *at, const char *end)
{
    const char *bar = find_at_depth(at, end, '|');
    return bar != NULL ? bar : end;
}

static const char *type_of(struct bytes name)
{
    static const struct {
        const char *name, *type;
    } types[] = {
        {"count", "integer"},
        {"cursor", "integer"},
        {"decrement", "integer"},
        {"destination", "key"},
        {"destination-db", "integer"},
        {"end", "integer"},
        {"index", "integer"},
        {"key", "key"},
        {"milliseconds", "integer"},
        {"newkey", "key"},
        {"numlocal", "integer"},
        {"numreplicas", "integer"},
        {"offset", "integer"},
        {"pattern", "pattern"},
        {"protover", "integer"},
        {"seconds", "integer"},
        {"slot", "integer"},
        {"source", "key"},
        {"start", "integer"},
        {"timeout", "integer"},
        {"unix-time-milliseconds", "unix-time"},
        {"unix-time-seconds", "unix-time"},
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (bytes_equal(name, bytes_from_text(types[i].name))) {
            return types[i].type;
        }
    }
    return "string";
}

static void reply_lower(struct resp_writer *out, struct bytes token)
{
    uint8_t name[32];
    size_t len = token.len < sizeof(name) ? token.len : sizeof(name);
    for (size_t i = 0; i < len; i++) {
        name[i] = (uint8_t)(token.data[i] >= 'A' && token.data[i] <= 'Z' ? token.data[i] + ('a' - 'A')
                                                                         : token.data[i]);
    }
    resp_bulk(out, bytes_of(name, len));
}

static void reply_items(struct resp_writer *out, const char *from, const char *end, unsigned *key);
static void reply_choices(struct resp_writer *out, const char *from, const char *end, unsigned *key);

/* @key: how many keys came before it, which tells its key specification. */
static void reply_argument(struct resp_writer *out, const struct argument *a, unsigned *key)
{
    const char *type = a->kind == ARGUMENT_ONEOF   ? "oneof"
                       : a->kind == ARGUMENT_BLOCK ? "block"
                       : a->kind == ARGUMENT_TOKEN ? "pure-token"
                                                   : type_of(a->name);
    bool is_key = strcmp(type, "key") == 0, nested = a->inside != NULL;
    resp_map(out, 2 + (size_t)is_key + (a->token.len > 0) + (a->optional || a->multiple) + nested);
    resp_text(out, "name");
    if (nested) {
        resp_text(out, a->kind == ARGUMENT_ONEOF ? "choice" : "group");
    } else if (a->name.len > 0) {
        resp_bulk(out, a->name);
    } else {
        reply_lower(out, a->token);
    }
    resp_text(out, "type");
    resp_text(out, type);
    if (is_key) {
        resp_text(out, "key_spec_index");
        resp_integer(out, (*key)++);
    }
    if (a->token.len > 0) {
        resp_text(out, "token");
        resp_bulk(out, a->token);
    }
    if (a->optional || a->multiple) {
        resp_text(out, "flags");
        resp_set(out, (size_t)a->optional + a->multiple);
        if (a->optional) {
            resp_simple(out, "optional");
        }
        if (a->multiple) {
            resp_simple(out, "multiple");
        }
    }
    if (nested) {
        resp_text(out, "arguments");
        if (a->kind == ARGUMENT_ONEOF) {
            reply_choices(out, a->inside, a->inside_end, key);
        } else {
            reply_items(out, a->inside, a->inside_end, key);
        }
    }
}

static size_t count_items(const char *from, const char *end)
{
    struct argument a;
    size_t n = 0;
    while (next_argument(&from, end, &a)) {
        n++;
    }
    return n;
}

static void reply_items(struct resp_writer *out, const char *from, const char *end, unsigned *key)
{
    struct argument a;
    resp_array(out, count_items(from, end));
    while (next_argument(&from, end, &a)) {
        reply_argument(out, &a, key);
    }
}

static void reply_choices(struct resp_writer *out, const char *from, const char *end, unsigned *key)
{
    size_t n = 1;
    for (const char *at = choice_end(from, end); at < end; at = choice_end(at + 1, end)) {
        n++;
    }
    resp_array(out, n);
    for (const char *at = from; at <= end;) {
        const char *to = choice_end(at, end);
        struct argument a = {.kind = ARGUMENT_BLOCK, .inside = at, .inside_end = to};
        if (count_items(at, to) == 1) {
            const char *item = at;
            next_argument(&item, to, &a);
        }
        reply_argument(out, &a, key);
        at = to + 1;
    }
}

/* ---- COMMAND DOCS ---- */

static size_t count_subs(const struct redis_command *command)
{
    uint32_t rows_n;
    const struct redis_command *end = redis_commands(&rows_n) + rows_n;
    size_t n = 0;
    if (redis_command_is_container(command)) {
        for (const struct redis_command *sub = command + 1; sub < end && redis_command_is_sub(sub); sub++) {
            n += !redis_command_is_refused(sub);
        }
    }
    return n;
}

/* The name and what is said of it: two elements of a map. */
static void reply_docs(struct resp_writer *out, const struct redis_command *command)
{
    size_t subs = count_subs(command);
    resp_text(out, command->name);
    resp_map(out, 3 + (command->syntax != NULL) + (subs > 0));
    resp_text(out, "summary");
    resp_text(out, command->summary);
    resp_text(out, "since");
    resp_text(out, command->since);
    resp_text(out, "group");
    resp_text(out, command->group);
    if (command->syntax != NULL) {
        unsigned key = 0;
        resp_text(out, "arguments");
        reply_items(out, command->syntax, command->syntax + strlen(command->syntax), &key);
    }
    if (subs > 0) {
        resp_text(out, "subcommands");
        resp_map(out, subs);
        for (const struct redis_command *sub = command + 1; subs > 0; sub++) {
            if (!redis_command_is_refused(sub)) {
                reply_docs(out, sub);
                subs--;
            }
        }
    }
}

static const struct redis_command *told(struct bytes name)
{
    const struct redis_command *command = redis_command_named(name);
    return command != NULL && !redis_command_is_refused(command) ? command : NULL;
}

void redis_local_command_docs(struct redis_local_call *c)
{
    uint32_t rows_n, n = 0;
    const struct redis_command *rows = redis_commands(&rows_n);
    if (c->n == 2) {
        for (uint32_t i = 0; i < rows_n; i++) {
            n += !redis_command_is_sub(&rows[i]);
        }
        resp_map(c->out, n);
        for (uint32_t i = 0; i < rows_n; i++) {
            if (!redis_command_is_sub(&rows[i])) {
                reply_docs(c->out, &rows[i]);
            }
        }
        return;
    }
    for (uint32_t i = 2; i < c->n; i++) {
        n += told(c->args[i]) != NULL;
    }
    resp_map(c->out, n);
    for (uint32_t i = 2; i < c->n; i++) {
        const struct redis_command *command = told(c->args[i]);
        if (command != NULL) {
            reply_docs(c->out, command);
        }
    }
}
