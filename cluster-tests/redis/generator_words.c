/* What stands in commands that are drawn: keys, values, numbers, times. */
#include "cluster-tests/redis/generator_words.h"

#include <inttypes.h>
#include <string.h>

#include "proto/base/check.h"

enum {
    COMPACT_BYTES = 64, /* hash-max-listpack-value */
    LONG_BYTES = 3000,
};

uint64_t generator_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u; /* splitmix64 */
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t generator_draw(struct generator *g, uint64_t below)
{
    g->random += 0x9e3779b97f4a7c15u;
    return generator_mix(g->random) % below;
}

bool generator_chance(struct generator *g, unsigned percent)
{
    return generator_draw(g, 100) < percent;
}

/* ---- What is drawn ---- */

void generator_add(struct generator *g, struct step *step, struct bytes arg)
{
    if (step->n < GENERATOR_ARGS_MAX) {
        step_arg(g->out, step, arg);
    }
}

void generator_add_text(struct generator *g, struct step *step, const char *text)
{
    generator_add(g, step, bytes_from_text(text));
}

static void add_number(struct generator *g, struct step *step, int64_t number)
{
    char text[GENERATOR_WORD_CHARS];
    snprintf(text, sizeof text, "%" PRId64, number);
    generator_add_text(g, step, text);
}

/* Numbers as they are, nearly are, and are not. */
static const char *const integers[] = {"0", "1", "-1", "2", "7", "10", "-10", "100", "9223372036854775807",
    "9223372036854775806", "-9223372036854775808", "-9223372036854775807", "9223372036854775808",
    "-9223372036854775809", "2147483648", "4294967296", "1000000007"};
static const char *const not_integers[] = {"-0", "+5", " 5", "5 ", "05", "", "1e3", "3.0", "0x10", "abc",
    "1.5", "99999999999999999999", "--1", "1-", "inf", "nan"};
static const char *const floats[] = {"0", "1", "-1", "0.1", "3.14159", "-2.5", "5.0e3", "1e-5", "1e10",
    "10.50", "0.00000000000000001", "123456789.987654321", "3.0", "1e17", "-0", "00.5", ".5", "5.", "1e19",
    "1e22"};
static const char *const not_floats[] = {
    "inf", "-inf", "nan", "", " 1", "1 ", "abc", "1.2.3", "1e99999", "0x1p3", "+inf", "1e", "infinity"};
static const char *const texts[] = {"a", "hello", "Hello World", "x y", "\r\n", "$-1\r\n", "*3\r\n", "\"",
    "'", "%s", "OK", "nil", "{}", "true"};

static void add_bytes(struct generator *g, struct step *step, size_t len, bool binary)
{
    uint8_t *data = arena_alloc(g->out->arena, len + 1);
    for (size_t i = 0; i < len; i++) {
        data[i] = (uint8_t)(binary ? generator_draw(g, 256) : 'a' + generator_draw(g, 26));
    }
    generator_add(g, step, bytes_of(data, len));
}

static size_t some_length(struct generator *g)
{
    static const uint8_t edges[] = {0, 1, 2, 20, 43, 44, 45, 63, 64};
    return generator_chance(g, 50) ? PICK(g, edges) : generator_draw(g, COMPACT_BYTES + 1);
}

/* At most COMPACT_BYTES long. */
static void add_compact(struct generator *g, struct step *step)
{
    switch (generator_draw(g, 6)) {
    case 0:
        generator_add_text(g, step, PICK(g, integers));
        break;
    case 1:
        generator_add_text(g, step, PICK(g, floats));
        break;
    case 2:
        add_number(g, step, (int64_t)generator_draw(g, 20000) - 5000);
        break;
    case 3:
        generator_add_text(g, step, PICK(g, texts));
        break;
    default:
        add_bytes(g, step, some_length(g), generator_chance(g, 40));
    }
}

static void add_value(struct generator *g, struct step *step)
{
    if (generator_chance(g, 4)) {
        add_bytes(g, step, 65 + generator_draw(g, LONG_BYTES), generator_chance(g, 50));
    } else if (generator_chance(g, 10)) {
        generator_add_text(g, step, generator_chance(g, 50) ? PICK(g, not_integers) : PICK(g, not_floats));
    } else {
        add_compact(g, step);
    }
}

static void add_hash_value(struct generator *g, struct step *step)
{
    if (g->wide && generator_chance(g, 30)) {
        add_bytes(g, step, COMPACT_BYTES + 1 + generator_draw(g, 200), generator_chance(g, 50));
    } else {
        add_compact(g, step);
    }
}

static void add_field(struct generator *g, struct step *step)
{
    static const char *const few[] = {"f", "g", "h", "field", "F", "1", "2", "", "-1", "f\r\n"};
    if (g->wide && generator_chance(g, 10)) {
        add_hash_value(g, step);
    } else if (generator_chance(g, 85)) {
        generator_add_text(g, step, PICK(g, few));
    } else {
        add_compact(g, step);
    }
}

static void add_integer(struct generator *g, struct step *step)
{
    generator_add_text(g, step, generator_chance(g, 85) ? PICK(g, integers) : PICK(g, not_integers));
}

static void add_float(struct generator *g, struct step *step)
{
    generator_add_text(g, step, generator_chance(g, 85) ? PICK(g, floats) : PICK(g, not_floats));
}

static void add_key(struct generator *g, struct step *step, bool hash)
{
    size_t half = generator_chance(g, 88) == hash ? GENERATOR_KEYS / 2 : 0;
    generator_add(g, step, g->keys[half + generator_draw(g, GENERATOR_KEYS / 2)]);
}

/* An offset into a value: small ones only, since SETRANGE fills with zeros up to it; and none that would
 * become one by losing a digit. */
static void add_offset(struct generator *g, struct step *step)
{
    static const char *const odd[] = {
        "0", "-1", "-100", "9223372036854775807", "-9223372036854775808", "abc", "1.5", ""};
    if (generator_chance(g, 75)) {
        add_number(g, step, (int64_t)generator_draw(g, 80) - 15);
    } else {
        generator_add_text(g, step, PICK(g, odd));
    }
}

/* How many fields to draw: none that is far below zero, since so many are answered. */
static void add_count(struct generator *g, struct step *step)
{
    static const char *const odd[] = {"9223372036854775807", "9223372036854775808", "abc", "", "1.0"};
    if (generator_chance(g, 92)) {
        add_number(g, step, (int64_t)generator_draw(g, 30) - 12);
    } else {
        generator_add_text(g, step, PICK(g, odd));
    }
}

/* ---- Times ---- */

/* Any two of a sequence differ by a day and more, and come in no order: steps of one prime around a circle of
 * another. */
static int64_t relative_s(struct generator *g)
{
    g->relative = (g->relative + 7919) % 10007;
    return 100000 * (1 + (int64_t)g->relative);
}

static void add_expiry(struct generator *g, struct step *step, bool absolute, bool milliseconds)
{
    /* The last is no error in milliseconds, but far beyond the year 9999: ours takes all of those for one
     * time. */
    static const char *const odd[] = {"0", "-1", "-1000", "-9223372036854775808", "9223372036854775808",
        "abc", "", "1.5", "9223372036854775807"};
    static const int64_t years[] = {4102444800, 4102444800, 4133980800, 7258118400, 32503680000};
    if (generator_chance(g, 12)) {
        generator_add_text(g, step, odd[generator_draw(g, sizeof odd / sizeof odd[0] - milliseconds)]);
        return;
    }
    int64_t s = absolute ? generator_chance(g, 5) ? 1000000 : PICK(g, years) : relative_s(g);
    add_number(g, step, milliseconds ? s * 1000 : s);
}

static void add_expiry_option(struct generator *g, struct step *step)
{
    static const char *const names[] = {"EX", "PX", "EXAT", "PXAT", "ex", "Px"};
    size_t which = generator_draw(g, sizeof names / sizeof names[0]);
    generator_add_text(g, step, names[which]);
    add_expiry(g, step, which == 2 || which == 3, which == 1 || which == 3 || which == 5);
}

static void add_set_options(struct generator *g, struct step *step)
{
    static const char *const words[] = {"NX", "XX", "GET", "KEEPTTL", "get", "nx"};
    for (uint64_t n = generator_draw(g, 4); n > 0; n--) {
        if (generator_chance(g, 30)) {
            add_expiry_option(g, step);
        } else {
            generator_add_text(g, step, PICK(g, words));
        }
    }
}

static void add_expire_options(struct generator *g, struct step *step)
{
    static const char *const words[] = {"NX", "XX", "GT", "LT", "gt", "lt"};
    for (uint64_t n = generator_draw(g, 10) < 7 ? generator_draw(g, 2) : 2; n > 0; n--) {
        generator_add_text(g, step, PICK(g, words));
    }
}

/* ---- Words of the table ---- */

static void word_key(struct generator *g, struct step *step)
{
    add_key(g, step, generator_chance(g, 50));
}
static void word_string(struct generator *g, struct step *step)
{
    add_key(g, step, false);
}
static void word_hash(struct generator *g, struct step *step)
{
    add_key(g, step, true);
}
static void word_keys(struct generator *g, struct step *step)
{
    for (uint64_t n = 1 + generator_draw(g, 4); n > 0; n--) {
        word_key(g, step);
    }
}
static void word_pairs(struct generator *g, struct step *step)
{
    for (uint64_t n = 1 + generator_draw(g, 3); n > 0; n--) {
        word_string(g, step);
        add_value(g, step);
    }
}
static void word_fields(struct generator *g, struct step *step)
{
    for (uint64_t n = 1 + generator_draw(g, 4); n > 0; n--) {
        add_field(g, step);
    }
}
static void word_field_values(struct generator *g, struct step *step)
{
    for (uint64_t n = 1 + generator_draw(g, generator_chance(g, 10) ? 20 : 4); n > 0; n--) {
        add_field(g, step);
        add_hash_value(g, step);
    }
}
static void word_s(struct generator *g, struct step *step)
{
    add_expiry(g, step, false, false);
}
static void word_ms(struct generator *g, struct step *step)
{
    add_expiry(g, step, false, true);
}
static void word_at_s(struct generator *g, struct step *step)
{
    add_expiry(g, step, true, false);
}
static void word_at_ms(struct generator *g, struct step *step)
{
    add_expiry(g, step, true, true);
}
static void word_copy_options(struct generator *g, struct step *step)
{
    static const char *const words[] = {"REPLACE", "replace", "DB"};
    for (uint64_t n = generator_draw(g, 3); n > 0; n--) {
        const char *word = PICK(g, words);
        generator_add_text(g, step, word);
        if (strcmp(word, "DB") == 0) {
            generator_add_text(g, step, generator_chance(g, 70) ? "0" : PICK(g, not_integers));
        }
    }
}
static void word_pattern(struct generator *g, struct step *step)
{
    static const char *const patterns[] = {
        "*", "f*", "?", "[fgh]", "[^f]", "*e*", "", "\\f", "[a-f]*", "[", "h\\", "f[!a]", "*d", "[a-"};
    generator_add_text(g, step, PICK(g, patterns));
}
static void word_scan_options(struct generator *g, struct step *step)
{
    if (generator_chance(g, 50)) {
        generator_add_text(g, step, generator_chance(g, 50) ? "MATCH" : "match");
        word_pattern(g, step);
    }
    /* Enough for Redis to finish in one step, whatever the hash is: more steps are gathered in the scripts.
     */
    generator_add_text(g, step, "COUNT");
    generator_add_text(g, step, generator_chance(g, 95) ? "100000" : PICK(g, not_integers));
}

static const struct {
    const char *name;
    void (*add)(struct generator *g, struct step *step);
} words[] = {
    {"<key>", word_key},
    {"<string>", word_string},
    {"<hash>", word_hash},
    {"<keys>", word_keys},
    {"<pairs>", word_pairs},
    {"<value>", add_value},
    {"<integer>", add_integer},
    {"<float>", add_float},
    {"<offset>", add_offset},
    {"<count>", add_count},
    {"<field>", add_field},
    {"<fields>", word_fields},
    {"<hash-value>", add_hash_value},
    {"<field-values>", word_field_values},
    {"<set-options>", add_set_options},
    {"<expiry>", add_expiry_option},
    {"<expire-options>", add_expire_options},
    {"<copy-options>", word_copy_options},
    {"<scan-options>", word_scan_options},
    {"<s>", word_s},
    {"<ms>", word_ms},
    {"<at-s>", word_at_s},
    {"<at-ms>", word_at_ms},
};

void generator_add_word(struct generator *g, struct step *step, const char *word)
{
    if (word[0] != '<') {
        generator_add_text(g, step, word);
        return;
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(word, words[i].name) == 0) {
            words[i].add(g, step);
            return;
        }
    }
    CHECK(!"a word of the table is not known");
}
