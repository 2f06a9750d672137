#include "tools/wbclient/commands.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "proto/base/buf.h"
#include "proto/limits.h"
#include "tools/wbclient/words.h"

/* ---- output ---- */

/* Set @name to @b: as a string when it is valid UTF-8, else as "<name>_hex". */
static void set_bytes(json_t *object, const char *name, struct bytes b)
{
    json_t *text = json_stringn((const char *)b.data, b.len);
    if (text != NULL) {
        json_object_set_new(object, name, text);
        return;
    }
    char *hex = xmalloc(2 * b.len + 1);
    for (size_t i = 0; i < b.len; i++) {
        snprintf(hex + 2 * i, 3, "%02x", b.data[i]);
    }
    hex[2 * b.len] = '\0';
    char longer[32];
    snprintf(longer, sizeof longer, "%s_hex", name);
    json_object_set_new(object, longer, json_string(hex));
    free(hex);
}

static void print_quoted(struct bytes b)
{
    struct buf out;
    buf_init(&out);
    words_quote(&out, b);
    fwrite(out.data, 1, out.len, stdout);
    buf_deinit(&out);
}

/* A value for a person: as it is, or quoted when it holds what a terminal would obey or cannot show. */
static void print_for_terminal(struct bytes b)
{
    json_t *text = json_stringn((const char *)b.data, b.len); /* NULL unless it is valid UTF-8 */
    if (text != NULL && words_harmless(b)) {
        fwrite(b.data, 1, b.len, stdout);
    } else {
        print_quoted(b);
    }
    json_decref(text);
}

/* The worse of two exit codes, for commands on several keys. */
static int worse(int a, int b)
{
    return a > b ? a : b;
}

static int report_last(struct session *s, int code)
{
    return session_report(s, code, wbcache_errmsg(s->cache));
}

/* ---- commands ---- */

static int command_get(struct session *s, const struct bytes *args, size_t n)
{
    void *data;
    size_t len;
    uint64_t version;
    int code = wbcache_get(s->cache, args[0].data, args[0].len, &data, &len, &version);
    if (code == WBCACHE_NOT_FOUND && s->json) {
        json_t *o = json_pack("{s:b}", "found", 0);
        set_bytes(o, "key", args[0]);
        session_print_json(o);
        return EXIT_NOT_FOUND;
    }
    if (code != WBCACHE_OK) {
        return report_last(s, code);
    }
    if (s->json) {
        json_t *o = json_pack("{s:b, s:I}", "found", 1, "version", (json_int_t)version);
        set_bytes(o, "key", args[0]);
        set_bytes(o, "value", bytes_of(data, len));
        session_print_json(o);
    } else {
        if (s->terminal) {
            print_for_terminal(bytes_of(data, len));
        } else {
            fwrite(data, 1, len, stdout);
        }
        if (s->terminal || s->shell) {
            putchar('\n');
        }
    }
    free(data);
    return EXIT_DONE;
}

/* All of standard input, at most one byte more than a value may have. */
static bool read_stdin(struct buf *out)
{
    while (out->len <= LIMIT_VALUE_BYTES) {
        uint8_t *at = buf_reserve(out, 65536);
        if (at == NULL) {
            return false;
        }
        ssize_t got = read(STDIN_FILENO, at, 65536);
        if (got <= 0) {
            return got == 0;
        }
        out->len += (size_t)got;
    }
    return true;
}

static int command_set(struct session *s, const struct bytes *args, size_t n)
{
    struct buf input;
    buf_init(&input);
    struct bytes value = args[1];
    if (!s->shell && bytes_equal(value, bytes_from_text("-"))) {
        if (!read_stdin(&input)) {
            buf_deinit(&input);
            return session_report(s, WBCACHE_IO, "the value cannot be read from standard input");
        }
        value = buf_bytes(&input);
        if (value.len > LIMIT_VALUE_BYTES) { /* its true size is not known: the rest was not read */
            buf_deinit(&input);
            char text[96];
            snprintf(text, sizeof text, "standard input has more bytes than a value may have: %d",
                LIMIT_VALUE_BYTES);
            return session_report(s, WBCACHE_TOO_BIG, text);
        }
    }
    uint64_t version;
    int code = wbcache_set(s->cache, args[0].data, args[0].len, value.data, value.len, &version);
    buf_deinit(&input);
    if (code != WBCACHE_OK) {
        return report_last(s, code);
    }
    if (s->json) {
        session_print_json(json_pack("{s:b, s:I}", "ok", 1, "version", (json_int_t)version));
    } else {
        puts("OK");
    }
    return EXIT_DONE;
}

/* del and exists: a yes or no for each key. */
static int each_key(struct session *s, const struct bytes *args, size_t n, const char *yes, const char *no,
    int (*call)(struct wbcache *, const void *, size_t, bool *))
{
    int result = EXIT_DONE;
    for (size_t i = 0; i < n; i++) {
        bool found;
        int code = call(s->cache, args[i].data, args[i].len, &found);
        if (code != WBCACHE_OK) {
            result = worse(result, report_last(s, code));
        } else if (s->json) {
            json_t *o = json_pack("{s:b}", yes, found);
            set_bytes(o, "key", args[i]);
            session_print_json(o);
        } else {
            puts(found ? yes : no);
        }
    }
    return result;
}

static int command_del(struct session *s, const struct bytes *args, size_t n)
{
    return each_key(s, args, n, "deleted", "not there", wbcache_del);
}

static int command_exists(struct session *s, const struct bytes *args, size_t n)
{
    return each_key(s, args, n, "exists", "not there", wbcache_exists);
}

static void print_item(struct session *s, const struct wbcache_item *item, bool with_value)
{
    struct bytes key = bytes_of(item->key, item->key_len);
    struct bytes value = bytes_of(item->value, item->value_len);
    bool ok = item->code == WBCACHE_OK;
    if (s->json) {
        json_t *o = json_pack("{s:s}", "result", wbcache_code_name(item->code));
        set_bytes(o, "key", key);
        if (ok) {
            json_object_set_new(o, "version", json_integer((json_int_t)item->version));
        }
        if (ok && with_value) {
            set_bytes(o, "value", value);
        }
        session_print_json(o);
        return;
    }
    print_quoted(key);
    putchar(' ');
    if (ok && with_value) {
        print_quoted(value);
        putchar('\n');
    } else {
        puts(ok ? "OK" : item->code == WBCACHE_NOT_FOUND ? "not found" : wbcache_code_name(item->code));
    }
}

static int code_of_items(int code, const struct wbcache_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (items[i].code == WBCACHE_UNKNOWN) {
            return WBCACHE_UNKNOWN; /* of several failures, the one that needs care */
        }
    }
    return code;
}

static int command_mget(struct session *s, const struct bytes *args, size_t n)
{
    struct wbcache_item *items = xcalloc(n, sizeof *items);
    for (size_t i = 0; i < n; i++) {
        items[i].key = args[i].data;
        items[i].key_len = args[i].len;
        items[i].code = WBCACHE_UNAVAILABLE; /* what shows if the call fails as a whole */
    }
    int code = wbcache_mget(s->cache, items, n);
    for (size_t i = 0; i < n; i++) {
        print_item(s, &items[i], true);
        free(items[i].value);
    }
    free(items);
    return code == WBCACHE_OK ? EXIT_DONE : report_last(s, code);
}

static int command_mset(struct session *s, const struct bytes *args, size_t n)
{
    if (n % 2 != 0) {
        return session_usage(s, "mset wants pairs: mset KEY VALUE [KEY VALUE ...]");
    }
    struct wbcache_item *items = xcalloc(n / 2, sizeof *items);
    for (size_t i = 0; i < n / 2; i++) {
        items[i].key = args[2 * i].data;
        items[i].key_len = args[2 * i].len;
        items[i].value = (void *)(uintptr_t)args[2 * i + 1].data;
        items[i].value_len = args[2 * i + 1].len;
    }
    int code = wbcache_mset(s->cache, items, n / 2);
    if (code == WBCACHE_OK && !s->json) {
        puts("OK");
    } else {
        for (size_t i = 0; i < n / 2; i++) {
            print_item(s, &items[i], false);
        }
    }
    code = code_of_items(code, items, code == WBCACHE_OK ? 0 : n / 2);
    free(items);
    return code == WBCACHE_OK ? EXIT_DONE : report_last(s, code);
}

static int command_flush(struct session *s, const struct bytes *args, size_t n)
{
    int code = wbcache_flush(s->cache);
    if (code != WBCACHE_OK) {
        return report_last(s, code);
    }
    if (s->json) {
        session_print_json(json_pack("{s:b}", "ok", 1));
    } else {
        puts("OK: everything acknowledged before is in PostgreSQL");
    }
    return EXIT_DONE;
}

static int command_locate(struct session *s, const struct bytes *args, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned slot;
        unsigned group;
        int code = wbcache_locate(s->cache, args[i].data, args[i].len, &slot, &group);
        if (code != WBCACHE_OK) {
            return report_last(s, code);
        }
        if (s->json) {
            json_t *o = json_pack("{s:i, s:i}", "slot", (int)slot, "group", (int)group);
            set_bytes(o, "key", args[i]);
            session_print_json(o);
        } else {
            printf("slot %u group %u\n", slot, group);
        }
    }
    return EXIT_DONE;
}

static int command_help(struct session *s, const struct bytes *args, size_t n);

/* One row per command; help, usage and the limits of arguments come from here. */
static const struct command commands[] = {
    {"get", "KEY", "print a key's value",
        "Prints the bytes of the value as they are; a newline follows only on a terminal and in the shell.\n"
        "On a terminal, a value that is no plain text is shown in double quotes, with \\xNN for what cannot "
        "be printed.\n"
        "Exit code 1 when there is no such key.",
        1, 1, command_get},
    {"set", "KEY VALUE", "set a key",
        "The answer OK means that a quorum of the nodes has the write on disk.\n"
        "On the command line the VALUE - stands for all of standard input.",
        2, 2, command_set},
    {"del", "KEY...", "delete keys", "Says for each key whether it was there.", 1, WORDS_MAX, command_del},
    {"exists", "KEY...", "tell whether keys exist", NULL, 1, WORDS_MAX, command_exists},
    {"mget", "KEY...", "print the values of several keys",
        "One line per key, both in double quotes with \\xNN for what cannot be printed.", 1,
        LIMIT_REQUEST_KEYS, command_mget},
    {"mset", "KEY VALUE [KEY VALUE ...]", "set several keys",
        "The keys of one group are set together or not at all; see `locate`, and use {tags} to keep keys "
        "together.",
        2, 2 * LIMIT_REQUEST_KEYS, command_mset},
    {"status", "[--all]", "show nodes and groups",
        "For each group the leader's view. A group lags by the log entries that PostgreSQL does not have "
        "yet.\n"
        "--all adds the followers.",
        0, 1, command_status},
    {"lag", "", "show what PostgreSQL does not have yet", "One line per group, then the total.", 0, 0,
        command_lag},
    {"flush", "", "wait until everything acknowledged is in PostgreSQL",
        "Waits at most for the deadline (--deadline). After a timeout nothing is lost, only not yet flushed.",
        0, 0, command_flush},
    {"locate", "KEY...", "show the slot and the group of keys", NULL, 1, WORDS_MAX, command_locate},
    {"help", "[COMMAND]", "show the commands, or one of them", NULL, 0, 1, command_help},
};

const struct command *command_at(size_t i)
{
    return i < sizeof commands / sizeof *commands ? &commands[i] : NULL;
}

static const struct command *find(struct bytes name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (name.len == strlen(commands[i].name) &&
            strncasecmp((const char *)name.data, commands[i].name, name.len) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static int no_such_command(struct session *s, struct bytes name)
{
    struct buf quoted;
    buf_init(&quoted);
    words_quote(&quoted, name);
    buf_append_u8(&quoted, 0);
    int result = session_usage(
        s, "there is no command %s; see help", quoted.failed ? "of that name" : (const char *)quoted.data);
    buf_deinit(&quoted);
    return result;
}

static int command_help(struct session *s, const struct bytes *args, size_t n)
{
    if (n == 1) {
        const struct command *c = find(args[0]);
        if (c == NULL) {
            return no_such_command(s, args[0]);
        }
        printf("%s %s\n  %s\n", c->name, c->arguments, c->summary);
        if (c->details != NULL) {
            printf("%s\n", c->details);
        }
        return EXIT_DONE;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char usage[64];
        snprintf(usage, sizeof usage, "%s %s", commands[i].name, commands[i].arguments);
        printf("  %-32s %s\n", usage, commands[i].summary);
    }
    if (s->shell) {
        puts("  quit                             leave (exit and Ctrl-D do it, too)\n"
             "Words with blanks go in quotes; in double quotes \\xNN is any byte. Tab completes commands.");
    }
    return EXIT_DONE;
}

int command_run(struct session *s, const struct bytes *words, size_t n)
{
    const struct command *c = find(words[0]);
    if (c == NULL) {
        return no_such_command(s, words[0]);
    }
    if (n - 1 < c->args_min || n - 1 > c->args_max) {
        return session_usage(s, "usage: %s %s", c->name, c->arguments);
    }
    int result;
    if (c->run != command_help && session_connect(s, &result) == NULL) {
        return result;
    }
    return c->run(s, words + 1, n - 1);
}
