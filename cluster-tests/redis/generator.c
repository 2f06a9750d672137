/* A sequence is drawn command by command from a table of forms. A form is a line of words; a word in <>
 * stands for something to be drawn (see generator_words.c). Then a few commands are spoilt: a word too few,
 * too many, misspelt or replaced.
 *
 * What keeps the comparison free of chance: expiries are either past or more than a day away, and no two that
 * are relative to the present are alike, so it does not matter that the servers' clocks differ by what passes
 * between them. In a wide sequence, hashes have values that are too long for Redis' compact form, and so an
 * order that nobody can know: their lists are compared without order. */
#include "cluster-tests/redis/generator.h"

#include <string.h>

#include "cluster-tests/redis/generator_words.h"
#include "proto/base/check.h"

enum { COMMANDS_MIN = 8, COMMANDS_MAX = 26, TAIL = 5 };

enum form_flag {
    ODD_ENCODING = 1, /* OBJECT ENCODING then tells of the value's history */
    DRAWN = 2,        /* preceded by HGETALL of the same key, to compare with */
    NOT_IN_MULTI = 4,
};

static const struct form {
    unsigned weight;
    const char *words;
    enum compare_kind compare, compare_wide; /* the latter in wide sequences */
    unsigned flags;
} forms[] = {
    {14, "GET <string>", 0, 0, 0},
    {14, "SET <string> <value>", 0, 0, 0},
    {14, "SET <string> <value> <set-options>", 0, 0, 0},
    {6, "MGET <keys>", 0, 0, 0},
    {5, "MSET <pairs>", 0, 0, 0},
    {4, "MSETNX <pairs>", 0, 0, 0},
    {4, "GETDEL <string>", 0, 0, 0},
    {3, "GETEX <string>", 0, 0, 0},
    {5, "GETEX <string> <expiry>", 0, 0, 0},
    {2, "GETEX <string> PERSIST", 0, 0, 0},
    {4, "SETEX <string> <s> <value>", 0, 0, 0},
    {4, "PSETEX <string> <ms> <value>", 0, 0, 0},
    {5, "SETNX <string> <value>", 0, 0, 0},
    {5, "GETSET <string> <value>", 0, 0, 0},
    {8, "INCR <string>", 0, 0, 0},
    {5, "DECR <string>", 0, 0, 0},
    {8, "INCRBY <string> <integer>", 0, 0, 0},
    {6, "DECRBY <string> <integer>", 0, 0, 0},
    {10, "INCRBYFLOAT <string> <float>", 0, 0, ODD_ENCODING},
    {8, "APPEND <string> <value>", 0, 0, ODD_ENCODING},
    {5, "STRLEN <string>", 0, 0, 0},
    {8, "GETRANGE <string> <offset> <offset>", 0, 0, 0},
    {3, "SUBSTR <string> <offset> <offset>", 0, 0, 0},
    {8, "SETRANGE <string> <offset> <value>", 0, 0, ODD_ENCODING},

    {18, "HSET <hash> <field-values>", 0, 0, 0},
    {4, "HMSET <hash> <field-values>", 0, 0, 0},
    {5, "HSETNX <hash> <field> <hash-value>", 0, 0, 0},
    {8, "HGET <hash> <field>", 0, 0, 0},
    {6, "HMGET <hash> <fields>", 0, 0, 0},
    {10, "HGETALL <hash>", 0, COMPARE_PAIRS, 0},
    {8, "HDEL <hash> <fields>", 0, 0, 0},
    {4, "HEXISTS <hash> <field>", 0, 0, 0},
    {5, "HLEN <hash>", 0, 0, 0},
    {6, "HKEYS <hash>", 0, COMPARE_ANY_ORDER, 0},
    {6, "HVALS <hash>", 0, COMPARE_ANY_ORDER, 0},
    {4, "HSTRLEN <hash> <field>", 0, 0, 0},
    {8, "HINCRBY <hash> <field> <integer>", 0, 0, 0},
    {8, "HINCRBYFLOAT <hash> <field> <float>", 0, 0, 0},
    {6, "HSCAN <hash> 0 <scan-options>", 0, COMPARE_SCANNED_PAIRS, 0},
    {1, "HSCAN <hash> <integer> <scan-options>", COMPARE_EXACT, COMPARE_KIND, 0},
    {3, "HRANDFIELD <hash>", COMPARE_DRAWN, COMPARE_DRAWN, DRAWN | NOT_IN_MULTI},
    {4, "HRANDFIELD <hash> <count>", COMPARE_DRAWN, COMPARE_DRAWN, DRAWN | NOT_IN_MULTI},
    {4, "HRANDFIELD <hash> <count> WITHVALUES", COMPARE_DRAWN, COMPARE_DRAWN, DRAWN | NOT_IN_MULTI},

    {8, "DEL <keys>", 0, 0, 0},
    {3, "UNLINK <keys>", 0, 0, 0},
    {5, "EXISTS <keys>", 0, 0, 0},
    {3, "TOUCH <keys>", 0, 0, 0},
    {6, "TYPE <key>", 0, 0, 0},
    {8, "EXPIRE <key> <s> <expire-options>", 0, 0, 0},
    {6, "PEXPIRE <key> <ms> <expire-options>", 0, 0, 0},
    {8, "EXPIREAT <key> <at-s> <expire-options>", 0, 0, 0},
    {6, "PEXPIREAT <key> <at-ms> <expire-options>", 0, 0, 0},
    {6, "TTL <key>", COMPARE_SECONDS, COMPARE_SECONDS, 0},
    {6, "PTTL <key>", COMPARE_MILLISECONDS, COMPARE_MILLISECONDS, 0},
    {6, "EXPIRETIME <key>", COMPARE_SECONDS, COMPARE_SECONDS, 0},
    {6, "PEXPIRETIME <key>", COMPARE_MILLISECONDS, COMPARE_MILLISECONDS, 0},
    {6, "PERSIST <key>", 0, 0, 0},
    {6, "RENAME <key> <key>", 0, 0, 0},
    {4, "RENAMENX <key> <key>", 0, 0, 0},
    {8, "COPY <key> <key> <copy-options>", 0, 0, 0},
    {3, "OBJECT ENCODING <key>", 0, COMPARE_KIND, NOT_IN_MULTI}, /* EXEC compares what is in it to the byte */
    {1, "OBJECT REFCOUNT <key>", COMPARE_KIND, COMPARE_KIND, 0},
    {1, "OBJECT FREQ <key>", 0, 0, 0},

    {2, "PING", 0, 0, 0},
    {1, "PING <value>", 0, 0, 0},
    {1, "ECHO <value>", 0, 0, 0},
    {1, "SELECT 0", 0, 0, 0},
    {1, "COMMAND GETKEYS SET <key> <value>", 0, 0, 0},
    {1, "COMMAND GETKEYS MSET <pairs>", 0, 0, 0},
    {1, "CLUSTER KEYSLOT <value>", 0, 0, 0},
    {1, "CLIENT SETNAME <field>", 0, 0, NOT_IN_MULTI},
    {1, "CLIENT GETNAME", 0, 0, 0},
    {1, "READWRITE", 0, 0, 0},
    {1, "ASKING", 0, 0, 0},
    {1, "WOMBAT <value> <key>", 0, 0, 0},
};

/* ---- Spoiling ---- */

static void misspell(struct generator *g, struct step *step, uint32_t at)
{
    struct bytes old = step->args[at];
    if (old.len == 0) {
        return;
    }
    uint8_t *copy = arena_alloc(g->out->arena, old.len);
    memcpy(copy, old.data, old.len);
    size_t where = generator_draw(g, old.len);
    if (generator_chance(g, 50)) {
        copy[where] ^= 0x20; /* another case, of a letter */
        step->args[at] = bytes_of(copy, old.len);
    } else {
        step->args[at] = bytes_of(copy, old.len - 1);
    }
}

/* No small positive numbers here: as an expiry, they would be a race. */
static void replace(struct generator *g, struct step *step, uint32_t at)
{
    static const char *const with[] = {"", "abc", "0", "-1", "9223372036854775807", "-9223372036854775808",
        "9223372036854775808", "NX", "XX", "GET", "KEEPTTL", "COUNT", "MATCH", "WITHVALUES", "1.5"};
    step->args[at] = bytes_copy(g->out->arena, bytes_from_text(PICK(g, with)));
}

static bool is_own_key(const struct generator *g, struct bytes arg)
{
    for (unsigned i = 0; i < GENERATOR_KEYS; i++) {
        if (bytes_equal(arg, g->keys[i])) {
            return true;
        }
    }
    return false;
}

/* A word too few, too many, or wrong. Keys stay what they are: others would be of another slot. */
static void spoil(struct generator *g, struct step *step)
{
    uint32_t at = (uint32_t)generator_draw(g, step->n);
    switch (generator_draw(g, 4)) {
    case 0:
        if (step->n > 1) {
            step->n--;
        }
        break;
    case 1:
        generator_add_text(g, step, generator_chance(g, 50) ? "0" : "extra");
        break;
    case 2:
        if (at > 0 && !is_own_key(g, step->args[at])) {
            replace(g, step, at);
        }
        break;
    default:
        if (!is_own_key(g, step->args[at])) {
            misspell(g, step, at);
        }
    }
}

/* ---- Commands ---- */

static struct step *new_step(struct generator *g)
{
    struct step *step = steps_add(g->out, GENERATOR_ARGS_MAX);
    step->connection = g->connection;
    step->wait = generator_chance(g, 25);
    return step;
}

static void from_words(struct generator *g, struct step *step, const char *line)
{
    while (*line != '\0') {
        char word[GENERATOR_WORD_CHARS];
        size_t len = strcspn(line, " ");
        CHECK(len < sizeof word);
        memcpy(word, line, len);
        word[len] = '\0';
        generator_add_word(g, step, word);
        line += len + (line[len] == ' ');
    }
}

static void plain(struct generator *g, const char *line)
{
    from_words(g, new_step(g), line);
}

static const struct form *draw_form(struct generator *g)
{
    static const size_t n = sizeof forms / sizeof forms[0];
    uint64_t all = 0;
    for (size_t i = 0; i < n; i++) {
        all += forms[i].weight;
    }
    uint64_t at = generator_draw(g, all);
    size_t i = 0;
    while (at >= forms[i].weight) {
        at -= forms[i++].weight;
    }
    return &forms[i];
}

static void command(struct generator *g)
{
    const struct form *form = draw_form(g);
    while (g->in_multi && (form->flags & NOT_IN_MULTI) != 0) {
        form = draw_form(g);
    }
    g->odd_encoding = g->odd_encoding || (form->flags & ODD_ENCODING) != 0;
    uint32_t before = g->out->n;
    if ((form->flags & DRAWN) != 0) {
        struct step *all = new_step(g);
        step_arg_text(g->out, all, "HGETALL");
        all->compare = g->wide ? COMPARE_PAIRS : COMPARE_EXACT;
    }
    struct step *step = new_step(g);
    from_words(g, step, form->words);
    step->compare = g->wide ? form->compare_wide : form->compare;
    if (step_is(step, "OBJECT") && g->odd_encoding) {
        step->compare = COMPARE_KIND;
    }
    if ((form->flags & DRAWN) != 0) {
        generator_add(g, &g->out->list[before], step->args[1]);
    }
    if (generator_chance(g, 6)) {
        spoil(g, step);
    }
}

/* MULTI, some commands, EXEC; at times watched keys, which somebody else may write meanwhile. */
static void transaction(struct generator *g)
{
    if (generator_chance(g, 50)) {
        plain(g, generator_chance(g, 70) ? "WATCH <key>" : "WATCH <keys>");
        if (generator_chance(g, 50)) {
            command(g);
        }
        if (generator_chance(g, 15)) {
            plain(g, "UNWATCH");
        }
    }
    const unsigned connection = g->connection;
    if (generator_chance(g, 40)) {
        g->connection = 1 - connection;
        command(g);
        g->connection = connection;
    }
    plain(g, "MULTI");
    g->in_multi = true;
    for (uint64_t n = generator_draw(g, 6); n > 0; n--) {
        if (generator_chance(g, 10)) {
            g->connection = 1 - connection;
            g->in_multi = false;
            command(g);
            g->connection = connection;
            g->in_multi = true;
        } else if (generator_chance(g, 3)) {
            plain(g, generator_chance(g, 50) ? "MULTI" : "WATCH <key>");
        } else {
            command(g);
        }
    }
    g->in_multi = false;
    plain(g, generator_chance(g, 85) ? "EXEC" : "DISCARD");
}

static void make_keys(struct generator *g, const char *tag)
{
    static const char *const tails[GENERATOR_KEYS] = {"", "s", ":\r\n\xff", "h", "hash:1", "}h"};
    for (unsigned i = 0; i < GENERATOR_KEYS; i++) {
        uint8_t *key = arena_alloc(g->out->arena, strlen(tag) + strlen(tails[i]));
        memcpy(key, tag, strlen(tag));
        memcpy(key + strlen(tag), tails[i], strlen(tails[i]));
        g->keys[i] = bytes_of(key, strlen(tag) + strlen(tails[i]));
    }
}

/* TAIL steps, after which nothing is left. */
static void end_sequence(struct generator *g)
{
    for (g->connection = 1;; g->connection = 0) {
        plain(g, "DISCARD");
        plain(g, "UNWATCH");
        if (g->connection == 0) {
            break;
        }
    }
    struct step *step = new_step(g);
    step_arg_text(g->out, step, "DEL");
    for (unsigned i = 0; i < GENERATOR_KEYS; i++) {
        generator_add(g, step, g->keys[i]);
    }
}

unsigned generator_protocol(uint64_t number)
{
    return number % 2 == 0 ? 2 : 3;
}

uint32_t generator_tail(void)
{
    return TAIL;
}

void generator_sequence(uint64_t seed, uint64_t number, const char *tag, struct steps *out)
{
    struct generator g = {.random = generator_mix(seed ^ generator_mix(number + 1)), .out = out};
    g.wide = generator_chance(&g, 12);
    g.relative = (unsigned)generator_draw(&g, 10007);
    make_keys(&g, tag);
    const uint32_t n = COMMANDS_MIN + (uint32_t)generator_draw(&g, COMMANDS_MAX - COMMANDS_MIN + 1);
    while (out->n < n) {
        if (generator_chance(&g, 6)) {
            transaction(&g);
        } else if (generator_chance(&g, 5)) {
            g.connection = 1;
            command(&g);
            g.connection = 0;
        } else {
            command(&g);
        }
    }
    end_sequence(&g);
}
