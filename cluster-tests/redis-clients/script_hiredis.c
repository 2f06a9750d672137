/* The script for hiredis: see README.md. Prints what ledger.py reads; ends with 1 and words when a reply is
 * not what it must be. Usage: script_hiredis STEPS-FILE HOST:PORT,... PREFIX */
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster-tests/redis-clients/hiredis_router.h"
#include "proto/base/buf.h"

enum {
    KEY_BYTES = 128,
    TEXT_BYTES = 128,
    LINE_BYTES = 512,
    PIPELINE = 100,
    SMALL_PIPELINE = 20,
    SCANNED = 50,
    WRITERS = 4,
    BINARY_BYTES = 1024,
};

struct script {
    struct router router;
    const char *steps;
    const char *prefix;
};

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

__attribute__((format(printf, 3, 4))) static const char *print_to(
    char *out, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(out, size, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= size) {
        fail("too long: %s", out);
    }
    return out;
}

/* ---- replies ---- */

static void append_text(struct buf *out, const char *text)
{
    buf_append(out, text, strlen(text));
}

/* As JSON; what needs escapes is not in steps.txt. */
static void append_reply(struct buf *out, const redisReply *reply)
{
    char number[32];
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        append_text(out, print_to(number, sizeof number, "%lld", reply->integer));
        break;
    case REDIS_REPLY_NIL:
        append_text(out, "null");
        break;
    case REDIS_REPLY_ARRAY:
        append_text(out, "[");
        for (size_t i = 0; i < reply->elements; i++) {
            append_text(out, i > 0 ? "," : "");
            append_reply(out, reply->element[i]);
        }
        append_text(out, "]");
        break;
    case REDIS_REPLY_ERROR:
        append_text(out, "!");
        buf_append(out, reply->str, (size_t)reply->len);
        break;
    default:
        append_text(out, "\"");
        buf_append(out, reply->str, (size_t)reply->len);
        append_text(out, "\"");
    }
}

/* Is @text, a reply as above, what steps.txt wants? */
static bool is_wanted(const char *text, const char *want)
{
    long long low, high;
    if (want[0] == '!') {
        size_t n = strlen(want);
        return strncmp(text, want, n) == 0 && text[n] == ' ';
    }
    if (strcmp(want, "*") == 0) {
        return text[0] != '!';
    }
    if (strstr(want, "..") != NULL && sscanf(want, "%lld..%lld", &low, &high) == 2) {
        char *end;
        long long got = strtoll(text, &end, 10);
        return *end == '\0' && end != text && low <= got && got <= high;
    }
    return strcmp(text, want) == 0;
}

static void check_reply(struct script *s, const char *what, const redisReply *reply, const char *want)
{
    if (reply == NULL) {
        fail("%s: %s", what, s->router.error);
    }
    struct buf text;
    buf_init(&text);
    append_reply(&text, reply);
    buf_append_u8(&text, '\0');
    if (text.failed || !is_wanted((const char *)text.data, want)) {
        fail("%s: %s, not %s", what, text.failed ? "no memory" : (const char *)text.data, want);
    }
    buf_deinit(&text);
}

/* Run a line of words, and compare. */
__attribute__((format(printf, 3, 4))) static void ask(
    struct script *s, const char *want, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    redisReply *reply = router_call_line(&s->router, line);
    check_reply(s, line, reply, want);
    freeReplyObject(reply);
}

/* ---- the parts ---- */

static void steps(struct script *s)
{
    FILE *file = fopen(s->steps, "r");
    if (file == NULL) {
        fail("cannot read %s", s->steps);
    }
    char raw[LINE_BYTES];
    while (fgets(raw, sizeof raw, file) != NULL) {
        raw[strcspn(raw, "\n")] = '\0';
        if (raw[0] == '\0' || raw[0] == '#') {
            continue;
        }
        char line[2 * LINE_BYTES] = "";
        for (const char *p = raw; *p != '\0'; p++) {
            size_t n = strlen(line);
            print_to(line + n, sizeof line - n, "%.*s", *p == '%' ? KEY_BYTES : 1, *p == '%' ? s->prefix : p);
        }
        char *want = strstr(line, " => ");
        if (want == NULL) {
            fail("not a step: %s", raw);
        }
        *want = '\0';
        ask(s, want + 4, "%s", line);
    }
    fclose(file);
}

static void methods(struct script *s)
{
    ask(s, "\"OK\"", "SET %s:m v", s->prefix);
    ask(s, "1..9", "WAIT 1 100");
    ask(s, "!CROSSSLOT", "MGET %s:1 %s:2 %s:3", s->prefix, s->prefix, s->prefix);
}

/* Commands with one key and at most one value each. */
struct batch {
    int n;
    char keys[PIPELINE][KEY_BYTES];
    char values[PIPELINE][TEXT_BYTES];
    const char *argv[PIPELINE][3];
    size_t lengths[PIPELINE][3];
    const char *key_of[PIPELINE];
    struct router_command commands[PIPELINE];
    redisReply *replies[PIPELINE];
};

/* Add @name key [value] for the key and value that were written to the batch's next place. */
static void batch_add(struct batch *b, const char *name, bool with_value)
{
    int i = b->n++;
    b->key_of[i] = b->keys[i];
    const char *words[] = {name, b->keys[i], b->values[i]};
    for (int k = 0; k < 3; k++) {
        b->argv[i][k] = words[k];
        b->lengths[i][k] = strlen(words[k]);
    }
    b->commands[i] = (struct router_command){with_value ? 3 : 2, b->argv[i], b->lengths[i]};
}

static void batch_free_replies(struct batch *b)
{
    for (int i = 0; i < b->n; i++) {
        if (b->replies[i] != NULL) {
            freeReplyObject(b->replies[i]);
        }
    }
}

static void pipelines(struct script *s)
{
    static struct batch b; /* 30 KiB: not for a stack */
    for (int writing = 1; writing >= 0; writing--) {
        b.n = 0;
        while (b.n < PIPELINE) {
            print_to(b.keys[b.n], KEY_BYTES, "%s:pipe:%d", s->prefix, b.n);
            print_to(b.values[b.n], TEXT_BYTES, "p%d", b.n);
            batch_add(&b, writing ? "SET" : "GET", writing);
        }
        router_pipeline(&s->router, b.key_of, b.commands, b.n, b.replies);
        for (int i = 0; i < b.n; i++) {
            char want[TEXT_BYTES + 2];
            check_reply(s, b.keys[i], b.replies[i],
                writing ? "\"OK\"" : print_to(want, sizeof want, "\"%s\"", b.values[i]));
        }
        batch_free_replies(&b);
    }
}

/* Set {tag}:a and {tag}:b to @value in one transaction. */
static redisReply *set_pair(struct script *s, const char *tag, const char *value)
{
    struct batch *b = calloc(1, sizeof *b);
    if (b == NULL) {
        fail("no memory");
    }
    for (int i = 0; i < 2; i++) {
        print_to(b->keys[i], KEY_BYTES, "{%s}:%c", tag, "ab"[i]);
        print_to(b->values[i], TEXT_BYTES, "%s", value);
        batch_add(b, "SET", true);
    }
    redisReply *reply = router_transaction(&s->router, b->keys[0], b->commands, b->n);
    free(b);
    return reply;
}

static void transactions(struct script *s)
{
    char tag[KEY_BYTES], key[KEY_BYTES];
    print_to(tag, sizeof tag, "%s:t", s->prefix);
    print_to(key, sizeof key, "{%s}:a", tag);
    redisReply *reply = set_pair(s, tag, "1");
    check_reply(s, "EXEC", reply, "[\"OK\",\"OK\"]");
    freeReplyObject(reply);
    ask(s, "\"1\"", "GET {%s}:b", tag);
    for (int conflict = 1; conflict >= 0; conflict--) {
        redisContext *c = router_home(&s->router, key);
        if (c == NULL) {
            fail("%s", s->router.error);
        }
        freeReplyObject(redisCommand(c, "WATCH %s", key));
        /* Somebody else writes. */
        redisContext *other = redisConnect(c->tcp.host, c->tcp.port);
        reply = redisCommand(other, "SET %s%s theirs", key, conflict ? "" : ":other");
        check_reply(s, "SET", reply, "\"OK\"");
        freeReplyObject(reply);
        redisFree(other);
        freeReplyObject(redisCommand(c, "MULTI"));
        freeReplyObject(redisCommand(c, "SET %s mine", key));
        reply = redisCommand(c, "EXEC");
        check_reply(s, "EXEC after WATCH", reply, conflict ? "null" : "[\"OK\"]");
        freeReplyObject(reply);
        ask(s, conflict ? "\"theirs\"" : "\"mine\"", "GET %s", key);
    }
}

static void bytes(struct script *s)
{
    char key[KEY_BYTES], all[BINARY_BYTES];
    for (int i = 0; i < BINARY_BYTES; i++) {
        all[i] = (char)i;
    }
    for (int hash = 0; hash < 2; hash++) {
        print_to(key, sizeof key, "%s:bytes:%d", s->prefix, hash);
        const char *words[] = {hash ? "HSET" : "SET", key, hash ? "f\0" : all, all};
        const size_t lengths[] = {strlen(words[0]), strlen(key), hash ? 2 : sizeof all, sizeof all};
        redisReply *reply =
            router_call(&s->router, key, &(struct router_command){hash ? 4 : 3, words, lengths});
        check_reply(s, key, reply, hash ? "1" : "\"OK\"");
        freeReplyObject(reply);
        words[0] = hash ? "HGET" : "GET";
        const size_t read_lengths[] = {strlen(words[0]), strlen(key), 2};
        reply = router_call(&s->router, key, &(struct router_command){hash ? 3 : 2, words, read_lengths});
        if (reply == NULL || reply->type != REDIS_REPLY_STRING || (size_t)reply->len != sizeof all ||
            memcmp(reply->str, all, sizeof all) != 0) {
            fail("%s: not the bytes that were written", key);
        }
        freeReplyObject(reply);
    }
}

static void expires(struct script *s)
{
    ask(s, "\"OK\"", "SET %s:gone x PX 20", s->prefix);
    char line[LINE_BYTES];
    print_to(line, sizeof line, "GET %s:gone", s->prefix);
    for (bool there = true; there;) {
        redisReply *reply = router_call_line(&s->router, line);
        if (reply == NULL || reply->type == REDIS_REPLY_ERROR) {
            fail("%s", line);
        }
        there = reply->type != REDIS_REPLY_NIL;
        freeReplyObject(reply);
    }
}

/* Walk through one node's keys; marks those found. */
static void scan_node(struct script *s, redisContext *c, bool found[SCANNED])
{
    char cursor[32] = "0";
    do {
        redisReply *reply = redisCommand(c, "SCAN %s MATCH %s:scan:* COUNT 1000", cursor, s->prefix);
        if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
            fail("SCAN failed");
        }
        print_to(cursor, sizeof cursor, "%s", reply->element[0]->str);
        for (size_t i = 0; i < reply->element[1]->elements; i++) {
            int n = atoi(strrchr(reply->element[1]->element[i]->str, ':') + 1);
            if (n < 0 || n >= SCANNED) {
                fail("SCAN found key %d", n);
            }
            found[n] = true;
        }
        freeReplyObject(reply);
    } while (strcmp(cursor, "0") != 0);
}

static void scans(struct script *s)
{
    bool found[SCANNED] = {false};
    for (int i = 0; i < SCANNED; i++) {
        ask(s, "\"OK\"", "SET %s:scan:%d x", s->prefix, i);
    }
    for (int i = 0; i < s->router.count; i++) {
        if (s->router.nodes[i].connection == NULL) {
            fail("%s leads nothing", s->router.nodes[i].address);
        }
        scan_node(s, s->router.nodes[i].connection, found);
    }
    for (int i = 0; i < SCANNED; i++) {
        if (!found[i]) {
            fail("SCAN did not find %s:scan:%d", s->prefix, i);
        }
    }
}

/* ---- the writes across the kill ---- */

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

/* Was the write acknowledged? If not, say what is known of it. Frees the reply. */
static bool acknowledged(struct script *s, const char *key, redisReply *reply)
{
    bool good = reply != NULL && reply->type != REDIS_REPLY_ERROR;
    if (reply == NULL) {
        say("unknown %s %s", key, s->router.error);
    } else if (!good) {
        bool refused = strncmp(reply->str, "OOM ", 4) == 0 || strncmp(reply->str, "EXECABORT ", 10) == 0 ||
                       strncmp(reply->str, "DATABASEDOWN ", 13) == 0;
        say("%s %s %s", refused ? "refused" : "unknown", key, reply->str);
    }
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    return good;
}

static void write_one(struct script *s, int w, int i)
{
    char key[KEY_BYTES], line[LINE_BYTES], want[TEXT_BYTES];
    print_to(key, sizeof key, "%s:w:%d:%d", s->prefix, w, i);
    print_to(line, sizeof line, "SET %s v%d", key, i);
    if (acknowledged(s, key, router_call_line(&s->router, line))) {
        say("set %s v%d", key, i);
        print_to(line, sizeof line, "GET %s", key);
        redisReply *reply = router_call_line(&s->router, line);
        if (reply != NULL && reply->type != REDIS_REPLY_ERROR) {
            check_reply(s, "LOST", reply, print_to(want, sizeof want, "\"v%d\"", i));
        }
        if (reply != NULL) {
            freeReplyObject(reply);
        }
    }
}

static void count(struct script *s, int w)
{
    char key[KEY_BYTES], line[LINE_BYTES];
    print_to(key, sizeof key, "%s:counter:%d", s->prefix, w);
    print_to(line, sizeof line, "INCR %s", key);
    redisReply *reply = router_call_line(&s->router, line);
    long long value = reply != NULL ? reply->integer : 0;
    if (acknowledged(s, key, reply)) {
        say("incr %s %lld", key, value);
    }
}

static void write_pair(struct script *s, int w, int i)
{
    char tag[KEY_BYTES], value[TEXT_BYTES];
    print_to(tag, sizeof tag, "%s:pair:%d", s->prefix, w);
    if (acknowledged(s, tag, set_pair(s, tag, print_to(value, sizeof value, "%d", i)))) {
        say("pair %s %d", tag, i);
    }
}

static void write_several(struct script *s, int w, int i)
{
    static struct batch b;
    b.n = 0;
    while (b.n < SMALL_PIPELINE) {
        print_to(b.keys[b.n], KEY_BYTES, "%s:p:%d:%d:%d", s->prefix, w, i, b.n);
        print_to(b.values[b.n], TEXT_BYTES, "%d", b.n);
        batch_add(&b, "SET", true);
    }
    router_pipeline(&s->router, b.key_of, b.commands, b.n, b.replies);
    for (int k = 0; k < b.n; k++) {
        if (acknowledged(s, b.keys[k], b.replies[k])) {
            say("set %s %s", b.keys[k], b.values[k]);
        }
    }
}

/* Write until standard input ends. */
static void writes(struct script *s)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    for (int i = 0; poll(&input, 1, 0) == 0; i++) {
        for (int w = 0; w < WRITERS; w++) {
            write_one(s, w, i);
            count(s, w);
            if (i % 10 == 0) {
                write_pair(s, w, i);
            }
            if (i % 10 == 5) {
                write_several(s, w, i);
            }
        }
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(struct script *s);
    } parts[] = {{"steps", steps}, {"methods", methods}, {"pipelines", pipelines},
        {"transactions", transactions}, {"bytes", bytes}, {"expires", expires}, {"scans", scans}};
    if (argc != 4) {
        fail("Usage: %s STEPS-FILE HOST:PORT,... PREFIX", argv[0]);
    }
    signal(SIGPIPE, SIG_IGN);
    struct script s = {.steps = argv[1], .prefix = argv[3]};
    router_init(&s.router, argv[2]);
    say("version hiredis %d.%d.%d", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        parts[i].run(&s);
        say("ok %s", parts[i].name);
    }
    say("middle");
    writes(&s);
    pipelines(&s);
    transactions(&s);
    say("done");
    router_deinit(&s.router);
    return 0;
}
