#include "tools/wbclient/commands.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/base/buf.h"
#include "proto/limits.h"
#include "tools/wbclient/output.h"
#include "tools/wbclient/words.h"

/* ---- Commands about the cluster ---- */

static int command_locate(struct session *s, const struct bytes *args, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned slot;
        unsigned group;
        int code = wbcache_locate(s->cache, args[i].data, args[i].len, &slot, &group);
        if (code != WBCACHE_OK) {
            return output_failure(s, code);
        }
        if (s->json) {
            json_t *o = json_pack("{s:i, s:i}", "slot", (int)slot, "group", (int)group);
            output_set_bytes(o, "key", args[i]);
            session_print_json(o);
        } else {
            printf("slot %u group %u\n", slot, group);
        }
    }
    return EXIT_DONE;
}

static int command_wait(struct session *s, const struct bytes *args, size_t n)
{
    char *group_end, *index_end;
    const char *group_text = (const char *)args[0].data, *index_text = (const char *)args[1].data;
    unsigned long group = strtoul(group_text, &group_end, 10);
    unsigned long long index = strtoull(index_text, &index_end, 10);
    (void)n;
    if (*group_end != '\0' || *index_end != '\0' || group_text[0] < '0' || group_text[0] > '9' ||
        index_text[0] < '0' || index_text[0] > '9' || group > UINT32_MAX) {
        return session_usage(s, "usage: wait GROUP INDEX, as --json shows them with a write");
    }
    uint64_t flushed = 0;
    int code = wbcache_wait(s->cache, (unsigned)group, index, &flushed);
    if (code != WBCACHE_OK && !(code == WBCACHE_NOT_FLUSHED && s->json)) {
        return output_failure(s, code);
    }
    if (s->json) {
        session_print_json(
            json_pack("{s:b, s:I}", "ok", code == WBCACHE_OK, "flushed_index", (json_int_t)flushed));
    } else {
        printf("OK: the flushed index of group %lu is %llu\n", group, (unsigned long long)flushed);
    }
    return session_exit_code(code);
}

static int command_help(struct session *s, const struct bytes *args, size_t n);

/* One row per command; help, usage and the limits of arguments come from here. */
static const struct command commands[] = {
    {"get", "KEY [--stale]", "print a key's value",
        "Prints the bytes of the value as they are; a newline follows only on a terminal and in the shell.\n"
        "On a terminal, a value that is no plain text is shown in double quotes, with \\xNN for what cannot "
        "be printed.\n"
        "Exit code 1 when there is no such key.\n"
        "--stale reads from the memory of any node; how old that may be is told on standard error.",
        1, 2, command_get},
    {"set", "KEY VALUE [OPTIONS]", "set a key",
        "The answer OK means that a quorum of the nodes has the write on disk (with wbclient --flushed: that "
        "it "
        "is in\n"
        "PostgreSQL, too).\n"
        "On the command line the VALUE - stands for all of standard input.\n"
        "Options, in any order:\n"
        "  nx, xx, if-version N   only if the key is not there, is there, has this version (0: is not "
        "there)\n"
        "  ex S, px MS            expire after seconds, milliseconds\n"
        "  exat S, pxat MS        expire at a time since 1970\n"
        "  keepttl                keep the expiry; otherwise it goes\n"
        "  get                    print the value before\n"
        "Exit code 5 when the condition does not hold; nothing was done then.",
        2, 8, command_set},
    {"getdel", "KEY", "print a key's value and delete it", "Exit code 1 when there is no such key.", 1, 1,
        command_getdel},
    {"incr", "KEY [N]", "add N (default 1) to the number in KEY",
        "A key that is not there counts as 0. Prints the sum. A value that is no whole number of 64 bits, or "
        "a "
        "sum\n"
        "that would not be one, is an error, and nothing is changed.",
        1, 2, command_incr},
    {"decr", "KEY [N]", "subtract N (default 1)", NULL, 1, 2, command_decr},
    {"append", "KEY VALUE", "append to a value; prints its new length", NULL, 2, 2, command_append},
    {"delif", "KEY VERSION", "delete a key if it has this version", "Exit code 5 when it has another one.", 2,
        2, command_delif},
    {"expire", "KEY SECONDS [WHEN]", "let a key expire",
        "WHEN is nx: only if it has no expiry; xx: only if it has one; gt, lt: only if the new one is later, "
        "earlier.\n"
        "Exit code 1 when there is no such key, 5 when the condition does not hold.",
        2, 3, command_expire},
    {"pexpire", "KEY MILLISECONDS [WHEN]", "the same in milliseconds", NULL, 2, 3, command_pexpire},
    {"persist", "KEY", "remove a key's expiry", NULL, 1, 1, command_persist},
    {"ttl", "KEY", "print the seconds until a key expires", "As JSON: ttl_ms, null when it never expires.", 1,
        1, command_ttl},
    {"type", "KEY", "print the type of a key's value", NULL, 1, 1, command_type},
    {"strlen", "KEY", "print the length of a key's value in bytes", NULL, 1, 1, command_strlen},
    {"inspect", "KEY...", "show type, length, version, expiry, slot and group", NULL, 1, WORDS_MAX,
        command_inspect},
    {"del", "KEY...", "delete keys", "Says for each key whether it was there.", 1, WORDS_MAX, command_del},
    {"exists", "KEY...", "tell whether keys exist", NULL, 1, WORDS_MAX, command_exists},
    {"mget", "KEY...", "print the values of several keys",
        "One line per key, both in double quotes with \\xNN for what cannot be printed.", 1,
        LIMIT_REQUEST_KEYS, command_mget},
    {"mset", "KEY VALUE [KEY VALUE ...]", "set several keys",
        "The keys of one group are set together or not at all; see `locate`, and use {tags} to keep keys "
        "together.",
        2, 2 * LIMIT_REQUEST_KEYS, command_mset},
    {"mdel", "KEY...", "delete several keys",
        "The keys of one group are deleted together or not at all. Says for each what became of it.", 1,
        LIMIT_REQUEST_KEYS, command_mdel},
    {"scan", "[PREFIX] [OPTIONS]", "print the keys in memory",
        "One key a line, as they are found; those that are in PostgreSQL only are not among them. A key can "
        "come twice.\n"
        "--count N: how many keys to look at in one step (default 1000); --limit N: stop after so many "
        "keys;\n"
        "--stale: ask any node, not the leaders.",
        0, 6, command_scan},
    {"status", "[--all]", "show nodes and groups",
        "For each group the leader's view. A group lags by the log entries that PostgreSQL does not have "
        "yet.\n"
        "--all adds the followers.",
        0, 1, command_status},
    {"lag", "", "show what PostgreSQL does not have yet", "One line per group, then the total.", 0, 0,
        command_lag},
    {"flush", "[ACTION ...]", "wait until everything acknowledged is in PostgreSQL",
        "Without an action it waits, at most for the deadline (--deadline). Exit code 6 after it: nothing is "
        "lost, only "
        "not\n"
        "yet flushed. Actions change how the cluster flushes, at once, for all groups or for one (--group "
        "G):\n"
        "  status                 the settings in force, and what has been set\n"
        "  pause, resume          write nothing to PostgreSQL meanwhile; writes go on until the dirty budget "
        "is full\n"
        "  set SETTING...         age=500ms  batch-rows=5000  batch-bytes=4MiB  rate=1000/s (of each group; "
        "rate=none)\n"
        "  reset                  back to what the nodes' configuration files say, and not paused\n"
        "These are replicated: they outlive restarts and changes of leaders. And:\n"
        "  connections N          connections to PostgreSQL that each node's flushes share (--node ID: of "
        "one node)\n"
        "  acknowledge-loss       rows that were lost when PostgreSQL went back in time have been seen: show "
        "them no "
        "more",
        0, 16, command_flush},
    {"quarantine", "ACTION [...]", "look at the rows that PostgreSQL refuses",
        "A refused row holds up no other. Reads give its newest value; it is tried again by itself now and "
        "then, and a\n"
        "new write to the key takes its place. Actions:\n"
        "  list                   all of them, the oldest first\n"
        "  show KEY               one of them, with PostgreSQL's message and the value\n"
        "  retry KEY..., --all    try again now, and say what came of it; waits at most for the deadline or\n"
        "                         --timeout SECONDS. Exit code 7 when PostgreSQL refuses one again, 6 when "
        "one was not\n"
        "                         tried in that time\n"
        "  drop KEY... [--yes]    give the refused values up: each key is again what PostgreSQL has. Asks "
        "before it does",
        1, WORDS_MAX, command_quarantine},
    {"key-status", "KEY", "show how far a key is on its way to PostgreSQL",
        "In a word: clean (PostgreSQL has it), dirty (it waits), in-flight (it is being written), "
        "quarantined "
        "(PostgreSQL\n"
        "refuses it), absent (known not to exist), not-in-memory (PostgreSQL has what there is). Then the "
        "details.",
        1, 1, command_key_status},
    {"verify", "[OPTIONS]", "compare memory with PostgreSQL",
        "One line for each clean key whose row is missing, older or changed, or is there though the key is "
        "not. Keys "
        "that\n"
        "are on their way are not compared. Exit code 0 when all are equal or were repaired, 8 otherwise. "
        "Options:\n"
        "  --repair, --repair=write   write what memory has again, unless the key was changed meanwhile\n"
        "  --repair=drop              forget what memory has: PostgreSQL is right\n"
        "  --prefix P, --group G      only keys that begin with P; only one group\n"
        "  --sample N                 only about N keys of those in memory, chosen by their hash",
        0, 8, command_verify},
    {"wait", "GROUP INDEX", "wait until a write is in PostgreSQL",
        "Group and index are those that --json shows with a write. Exit code 6 after the deadline.", 2, 2,
        command_wait},
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
