/* SET and its older spellings, and GETEX: strings with conditions and times to live.
 *
 * Each parses all of its arguments before it looks at the key, and looks at the key before it writes, in the
 * order in which Redis finds errors: the options, then the time (for GETEX: the key's type, then the time),
 * then the type. */
#include "node/redis/expiry.h"
#include "node/redis/number.h"
#include "node/redis/strings_internal.h"

/* What the options of SET or GETEX say. */
struct options {
    bool only_absent, only_present; /* NX, XX */
    bool get;
    bool keep_expiry; /* KEEPTTL */
    bool persist;
    const struct bytes *expiry; /* NULL: none given */
    struct redis_expiry_unit unit;
};

static const struct expiry_word {
    const char *word;
    struct redis_expiry_unit unit;
} expiry_words[] = {
    {"ex", {.seconds = true, .relative = true}},
    {"px", {.seconds = false, .relative = true}},
    {"exat", {.seconds = true, .relative = false}},
    {"pxat", {.seconds = false, .relative = false}},
};

/* The four words exclude each other, but each may come several times: then the last one counts. */
static bool take_expiry(struct options *o, struct bytes word, const struct bytes *number)
{
    for (size_t i = 0; i < sizeof expiry_words / sizeof expiry_words[0]; i++) {
        const struct redis_expiry_unit unit = expiry_words[i].unit;
        if (!redis_word_is(word, expiry_words[i].word)) {
            continue;
        }
        bool other =
            o->expiry != NULL && (o->unit.seconds != unit.seconds || o->unit.relative != unit.relative);
        if (other || o->keep_expiry || o->persist || number == NULL) {
            return false;
        }
        o->expiry = number;
        o->unit = unit;
        return true;
    }
    return false;
}

static bool take_set_option(struct options *o, struct bytes word)
{
    if (redis_word_is(word, "nx") && !o->only_present) {
        o->only_absent = true;
    } else if (redis_word_is(word, "xx") && !o->only_absent) {
        o->only_present = true;
    } else if (redis_word_is(word, "get")) {
        o->get = true;
    } else if (redis_word_is(word, "keepttl") && o->expiry == NULL) {
        o->keep_expiry = true;
    } else {
        return false;
    }
    return true;
}

static bool take_getex_option(struct options *o, struct bytes word)
{
    if (redis_word_is(word, "persist") && o->expiry == NULL) {
        o->persist = true;
        return true;
    }
    return false;
}

/* Read the options from args[@from] on. False: a syntax error has been replied. */
static bool parse_options(struct redis_call *c, uint32_t from,
    bool (*take)(struct options *o, struct bytes word), struct options *out)
{
    struct options o = {0};
    for (uint32_t i = from; i < c->n; i++) {
        if (take(&o, c->args[i])) {
            continue;
        }
        if (!take_expiry(&o, c->args[i], i + 1 < c->n ? &c->args[i + 1] : NULL)) {
            resp_error(c->out, redis_error_syntax);
            return false;
        }
        i++;
    }
    *out = o;
    return true;
}

/* The time that @text gives; it must be more than 0. False: what is wrong has been replied. */
static bool parse_expiry(
    struct redis_call *c, struct bytes text, struct redis_expiry_unit unit, uint64_t *expires_at_ms)
{
    int64_t number, at_ms;
    if (!redis_parse_integer(text, &number)) {
        resp_error(c->out, redis_error_integer);
        return false;
    }
    if (number <= 0 || !redis_expiry_at(number, unit, transaction_now_ms(c->t), &at_ms)) {
        redis_error_expiry(c);
        return false;
    }
    *expires_at_ms = redis_expiry_stored(at_ms);
    return true;
}

static void put(struct redis_call *c, struct bytes content, uint64_t expires_at_ms)
{
    transaction_put(c->t, c->args[1], VALUE_STRING, value_create(content), expires_at_ms);
}

void redis_set(struct redis_call *c)
{
    struct options o;
    uint64_t expires_at_ms = 0;
    if (!parse_options(c, 3, take_set_option, &o) ||
        (o.expiry != NULL && !parse_expiry(c, *o.expiry, o.unit, &expires_at_ms)) ||
        !redis_string_fits(c, c->args[2].len)) {
        return;
    }
    /* Looks at the key only where redis_set_blind says so. */
    bool skip = false;
    if (o.only_absent || o.only_present || o.get || o.keep_expiry) {
        struct transaction_value now;
        if (o.get) {
            if (!redis_reply_string(c, c->args[1], &now)) {
                return;
            }
        } else {
            transaction_get(c->t, c->args[1], &now);
        }
        skip = now.value != NULL ? o.only_absent : o.only_present;
        if (o.keep_expiry && now.value != NULL) {
            expires_at_ms = now.expires_at_ms;
        }
    }
    if (!skip) {
        put(c, c->args[2], expires_at_ms);
    }
    if (!o.get) {
        if (skip) {
            resp_null(c->out);
        } else {
            resp_simple(c->out, "OK");
        }
    }
}

bool redis_set_blind(const struct bytes *args, uint32_t n)
{
    /* A time to live that is spelled as an option is none: such a command is refused before it looks
     * anywhere. */
    for (uint32_t i = 3; i < n; i++) {
        if (redis_word_is(args[i], "nx") || redis_word_is(args[i], "xx") || redis_word_is(args[i], "get") ||
            redis_word_is(args[i], "keepttl")) {
            return false;
        }
    }
    return true;
}

bool redis_always_blind(const struct bytes *args, uint32_t n)
{
    (void)args;
    (void)n;
    return true;
}

static void set_with_expiry(struct redis_call *c, struct redis_expiry_unit unit)
{
    uint64_t expires_at_ms;
    if (parse_expiry(c, c->args[2], unit, &expires_at_ms) && redis_string_fits(c, c->args[3].len)) {
        put(c, c->args[3], expires_at_ms);
        resp_simple(c->out, "OK");
    }
}

void redis_setex(struct redis_call *c)
{
    set_with_expiry(c, (struct redis_expiry_unit){.seconds = true, .relative = true});
}

void redis_psetex(struct redis_call *c)
{
    set_with_expiry(c, (struct redis_expiry_unit){.seconds = false, .relative = true});
}

void redis_setnx(struct redis_call *c)
{
    struct transaction_value now;
    if (!redis_string_fits(c, c->args[2].len)) {
        return;
    }
    transaction_get(c->t, c->args[1], &now);
    if (now.value == NULL) {
        put(c, c->args[2], 0);
    }
    resp_integer(c->out, now.value == NULL);
}

void redis_getset(struct redis_call *c)
{
    struct transaction_value now;
    if (redis_string_fits(c, c->args[2].len) && redis_reply_string(c, c->args[1], &now)) {
        put(c, c->args[2], 0);
    }
}

void redis_getex(struct redis_call *c)
{
    struct options o;
    struct transaction_value now;
    if (!parse_options(c, 2, take_getex_option, &o)) {
        return;
    }
    if (!redis_get_string(c, c->args[1], &now)) {
        return;
    }
    if (now.value == NULL) {
        resp_null(c->out); /* even when the time makes no sense */
        return;
    }
    uint64_t expires_at_ms = 0;
    if (o.expiry != NULL && !parse_expiry(c, *o.expiry, o.unit, &expires_at_ms)) {
        return;
    }
    resp_bulk(c->out, value_bytes(now.value));
    if (o.expiry != NULL || (o.persist && now.expires_at_ms != 0)) {
        transaction_put(c->t, c->args[1], VALUE_STRING, value_ref(now.value), expires_at_ms);
    }
}
