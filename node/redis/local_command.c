/* COMMAND, and its INFO, COUNT, LIST, GETKEYS and GETKEYSANDFLAGS: what clients read to know which arguments
 * of a command are keys, and which commands a replica can answer. All from the rows of the table. */
#include <string.h>

#include "node/redis/glob.h"
#include "node/redis/local.h"
#include "node/redis/local_util.h"
#include "node/redis/number.h"

/* In the order in which Redis tells them. */
static const struct {
    uint32_t flag;
    const char *name;
} flag_names[] = {
    {REDIS_WRITE, "write"},
    {REDIS_READONLY, "readonly"},
    {REDIS_DENYOOM, "denyoom"},
    {REDIS_ADMIN, "admin"},
    {REDIS_NOSCRIPT, "noscript"},
    {REDIS_BLOCKING, "blocking"},
    {REDIS_LOADING, "loading"},
    {REDIS_STALE, "stale"},
    {REDIS_SKIP_MONITOR, "skip_monitor"},
    {REDIS_SKIP_SLOWLOG, "skip_slowlog"},
    {REDIS_FAST, "fast"},
    {REDIS_NO_AUTH, "no_auth"},
    {REDIS_SENTINEL, "sentinel"},
    {REDIS_NO_ASYNC_LOADING, "no_async_loading"},
    {REDIS_NO_MULTI, "no_multi"},
    {REDIS_MOVABLEKEYS, "movablekeys"},
    {REDIS_ALLOW_BUSY, "allow_busy"},
};

enum { FLAG_NAMES_N = sizeof(flag_names) / sizeof(flag_names[0]) };

/* The next word of @text, which moves on behind it; no bytes: there is none. */
static struct bytes next_word(const char **text)
{
    while (**text == ' ') {
        (*text)++;
    }
    const char *from = *text;
    while (**text != ' ' && **text != ';' && **text != 0) {
        (*text)++;
    }
    return bytes_of(from, (size_t)(*text - from));
}

static size_t count_words(const char *text)
{
    size_t n = 0;
    while (text != NULL && next_word(&text).len > 0) {
        n++;
    }
    return n;
}

static void reply_word(struct resp_writer *out, struct bytes word)
{
    char text[64];
    size_t len = word.len < sizeof(text) - 1 ? word.len : sizeof(text) - 1;
    memcpy(text, word.data, len);
    text[len] = 0;
    resp_simple(out, text);
}

/* The words of @text (up to a ';') as a set of simple strings. */
static void reply_words(struct resp_writer *out, const char *text)
{
    resp_set(out, count_words(text));
    for (size_t n = count_words(text); n > 0; n--) {
        reply_word(out, next_word(&text));
    }
}

static void reply_flags(struct resp_writer *out, uint32_t flags)
{
    size_t n = 0;
    for (unsigned i = 0; i < FLAG_NAMES_N; i++) {
        n += (flags & flag_names[i].flag) != 0;
    }
    resp_set(out, n);
    for (unsigned i = 0; i < FLAG_NAMES_N; i++) {
        if (flags & flag_names[i].flag) {
            resp_simple(out, flag_names[i].name);
        }
    }
}

/* Where the second key has flags of its own: those; else NULL. */
static const char *second_key_flags(const struct redis_command *command)
{
    const char *at = strchr(command->key_flags, ';');
    return at != NULL ? at + 1 : NULL;
}

static void reply_key_spec(struct resp_writer *out, const char *flags, int index, int last_key, int step)
{
    resp_map(out, 3);
    resp_text(out, "flags");
    reply_words(out, flags);
    resp_text(out, "begin_search");
    resp_map(out, 2);
    resp_text(out, "type");
    resp_text(out, "index");
    resp_text(out, "spec");
    resp_map(out, 1);
    resp_text(out, "index");
    resp_integer(out, index);
    resp_text(out, "find_keys");
    resp_map(out, 2);
    resp_text(out, "type");
    resp_text(out, "range");
    resp_text(out, "spec");
    resp_map(out, 3);
    resp_text(out, "lastkey");
    resp_integer(out, last_key);
    resp_text(out, "keystep");
    resp_integer(out, step);
    resp_text(out, "limit");
    resp_integer(out, 0);
}

static void reply_key_specs(struct resp_writer *out, const struct redis_command *command)
{
    if (command->first_key == 0) {
        resp_set(out, 0);
        return;
    }
    const char *second = second_key_flags(command);
    if (second != NULL) {
        resp_set(out, 2);
        reply_key_spec(out, command->key_flags, command->first_key, 0, 1);
        reply_key_spec(out, second, command->last_key, 0, 1);
        return;
    }
    int last = command->last_key < 0 ? command->last_key : command->last_key - command->first_key;
    resp_set(out, 1);
    reply_key_spec(out, command->key_flags, command->first_key, last, command->key_step);
}

/* ---- COMMAND INFO ---- */

static bool is_told(const struct redis_command *command)
{
    return !redis_command_is_refused(command);
}

/* The row behind a command and its subcommands. */
static const struct redis_command *behind(const struct redis_command *command)
{
    uint32_t n;
    const struct redis_command *end = redis_commands(&n);
    end += n;
    do {
        command++;
    } while (command < end && redis_command_is_sub(command));
    return command;
}

static void reply_tips(struct resp_writer *out, const char *tips)
{
    resp_set(out, count_words(tips));
    for (size_t n = count_words(tips); n > 0; n--) {
        resp_bulk(out, next_word(&tips));
    }
}

static void reply_info_alone(struct resp_writer *out, const struct redis_command *command)
{
    resp_array(out, 10);
    resp_text(out, command->name);
    resp_integer(out, command->arity);
    reply_flags(out, command->flags);
    resp_integer(out, command->first_key);
    resp_integer(out, command->last_key);
    resp_integer(out, command->key_step);
    reply_words(out, command->acl);
    reply_tips(out, command->tips);
    reply_key_specs(out, command);
}

static void reply_info(struct resp_writer *out, const struct redis_command *command)
{
    reply_info_alone(out, command);
    const struct redis_command *end = redis_command_is_sub(command) ? command + 1 : behind(command);
    size_t n = 0;
    for (const struct redis_command *sub = command + 1; sub < end; sub++) {
        n += is_told(sub);
    }
    /* Without subcommands it is a set, which only version 3 tells apart. */
    if (n == 0) {
        resp_set(out, 0);
        return;
    }
    resp_array(out, n);
    for (const struct redis_command *sub = command + 1; sub < end; sub++) {
        if (is_told(sub)) {
            reply_info_alone(out, sub);
            resp_set(out, 0);
        }
    }
}

static uint32_t count_commands(void)
{
    uint32_t rows_n, n = 0;
    const struct redis_command *rows = redis_commands(&rows_n);
    for (uint32_t i = 0; i < rows_n; i++) {
        n += !redis_command_is_sub(&rows[i]);
    }
    return n;
}

void redis_local_command(struct redis_local_call *c)
{
    uint32_t rows_n;
    const struct redis_command *rows = redis_commands(&rows_n);
    resp_array(c->out, count_commands());
    for (const struct redis_command *row = rows; row < rows + rows_n; row = behind(row)) {
        reply_info(c->out, row);
    }
}

void redis_local_command_info(struct redis_local_call *c)
{
    if (c->n == 2) {
        redis_local_command(c);
        return;
    }
    resp_array(c->out, c->n - 2);
    for (uint32_t i = 2; i < c->n; i++) {
        const struct redis_command *command = redis_command_named(c->args[i]);
        if (command != NULL && is_told(command)) {
            reply_info(c->out, command);
        } else {
            resp_null(c->out);
        }
    }
}

void redis_local_command_count(struct redis_local_call *c)
{
    resp_integer(c->out, count_commands());
}

/* ---- COMMAND LIST ---- */

static bool has_category(const struct redis_command *command, struct bytes category)
{
    const char *acl = command->acl;
    for (;;) {
        struct bytes word = next_word(&acl);
        if (word.len == 0) {
            return false;
        }
        /* Behind its @. */
        char name[32];
        memcpy(name, word.data + 1, word.len - 1);
        name[word.len - 1] = 0;
        if (redis_word_is(category, name)) {
            return true;
        }
    }
}

enum filter { FILTER_NONE, FILTER_MODULE, FILTER_CATEGORY, FILTER_PATTERN };

static bool passes(const struct redis_command *command, enum filter filter, struct bytes word)
{
    switch (filter) {
    case FILTER_NONE:
        return true;
    case FILTER_MODULE:
        return false; /* there are none */
    case FILTER_CATEGORY:
        return has_category(command, word);
    case FILTER_PATTERN:
        return redis_glob(word, bytes_from_text(command->name));
    }
    return false;
}

static bool parse_filter(struct redis_local_call *c, enum filter *filter)
{
    *filter = FILTER_NONE;
    if (c->n == 2) {
        return true;
    }
    if (c->n != 5 || !redis_word_is(c->args[2], "filterby")) {
        return false;
    }
    if (redis_word_is(c->args[3], "module")) {
        *filter = FILTER_MODULE;
    } else if (redis_word_is(c->args[3], "aclcat")) {
        *filter = FILTER_CATEGORY;
    } else if (redis_word_is(c->args[3], "pattern")) {
        *filter = FILTER_PATTERN;
    } else {
        return false;
    }
    return true;
}

void redis_local_command_list(struct redis_local_call *c)
{
    enum filter filter;
    uint32_t rows_n, n = 0;
    const struct redis_command *rows = redis_commands(&rows_n);
    if (!parse_filter(c, &filter)) {
        resp_error(c->out, redis_error_syntax);
        return;
    }
    struct bytes word = filter != FILTER_NONE ? c->args[4] : bytes_of(NULL, 0);
    /* A pattern is matched in whatever case; names are shorter than this, and so are patterns of any use. */
    uint8_t lower[256];
    if (filter == FILTER_PATTERN && word.len <= sizeof(lower)) {
        for (size_t i = 0; i < word.len; i++) {
            lower[i] = (uint8_t)(word.data[i] >= 'A' && word.data[i] <= 'Z' ? word.data[i] + ('a' - 'A')
                                                                            : word.data[i]);
        }
        word = bytes_of(lower, word.len);
    }
    for (uint32_t i = 0; i < rows_n; i++) {
        n += is_told(&rows[i]) && passes(&rows[i], filter, word);
    }
    resp_array(c->out, n);
    for (uint32_t i = 0; i < rows_n; i++) {
        if (is_told(&rows[i]) && passes(&rows[i], filter, word)) {
            resp_text(c->out, rows[i].name);
        }
    }
}

/* ---- COMMAND GETKEYS ---- */

/* The command that args[2] and so on are a call of; NULL: the error is said. */
static const struct redis_command *asked_command(struct redis_local_call *c)
{
    const struct bytes *args = c->args + 2;
    uint32_t n = c->n - 2;
    const struct redis_command *command = redis_command_find(args[0]);
    command = command != NULL ? redis_command_sub(command, args, n) : NULL;
    if (command == NULL || !is_told(command)) {
        resp_error(c->out, "ERR Invalid command specified");
    } else if (command->first_key == 0) {
        resp_error(c->out, "ERR The command has no key arguments");
    } else if (!redis_command_arity_fits(command, n)) {
        resp_error(c->out, "ERR Invalid number of arguments specified for command");
    } else {
        return command;
    }
    return NULL;
}

void redis_local_command_getkeys(struct redis_local_call *c)
{
    const struct redis_command *command = asked_command(c);
    if (command == NULL) {
        return;
    }
    uint32_t n = redis_command_keys(command, c->args + 2, c->n - 2, NULL, 0);
    resp_array(c->out, n);
    for (uint32_t i = 0; i < n; i++) {
        resp_bulk(c->out, c->args[2 + command->first_key + (int)i * command->key_step]);
    }
}

/* SET looks at the value with GET only: its flags say that they vary. */
static const char *flags_of_call(const struct redis_command *command, const struct bytes *args, uint32_t n)
{
    if (strstr(command->key_flags, "variable_flags") == NULL) {
        return command->key_flags;
    }
    for (uint32_t i = 3; i < n; i++) {
        if (redis_word_is(args[i], "get")) {
            return "RW access update";
        }
    }
    return "OW update";
}

void redis_local_command_getkeysandflags(struct redis_local_call *c)
{
    const struct redis_command *command = asked_command(c);
    if (command == NULL) {
        return;
    }
    const char *second = second_key_flags(command);
    uint32_t n = redis_command_keys(command, c->args + 2, c->n - 2, NULL, 0);
    resp_array(c->out, n);
    for (uint32_t i = 0; i < n; i++) {
        resp_array(c->out, 2);
        resp_bulk(c->out, c->args[2 + command->first_key + (int)i * command->key_step]);
        reply_words(c->out, i > 0 && second != NULL ? second : flags_of_call(command, c->args + 2, c->n - 2));
    }
}
