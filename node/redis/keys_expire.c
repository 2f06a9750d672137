/* Times to live: EXPIRE and its relatives, which may also name a time that has passed (the key is deleted
 * then), TTL and its relatives, and PERSIST. */
#include "node/redis/expiry.h"
#include "node/redis/number.h"

enum condition { HAS_NONE = 1 << 0, HAS_ONE = 1 << 1, LATER = 1 << 2, EARLIER = 1 << 3 };

/* The conditions from args[3] on. False: what is wrong with them has been replied. */
static bool parse_conditions(struct redis_call *c, unsigned *out)
{
    static const struct {
        const char *word;
        unsigned condition;
    } words[] = {{"nx", HAS_NONE}, {"xx", HAS_ONE}, {"gt", LATER}, {"lt", EARLIER}};
    unsigned found = 0;
    for (uint32_t i = 3; i < c->n; i++) {
        unsigned one = 0;
        for (size_t w = 0; w < sizeof words / sizeof words[0]; w++) {
            one |= redis_word_is(c->args[i], words[w].word) ? words[w].condition : 0;
        }
        if (one == 0) {
            redis_error_option(c->out, c->args[i]);
            return false;
        }
        found |= one;
    }
    if ((found & HAS_NONE) && (found & ~(unsigned)HAS_NONE)) {
        resp_error(c->out, "ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if ((found & LATER) && (found & EARLIER)) {
        resp_error(c->out, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    *out = found;
    return true;
}

/* Without a time to live a key lives for ever, which no time is later than, and every time earlier. @now_ms
 * 0: it has none. */
static bool conditions_hold(unsigned conditions, uint64_t now_ms, int64_t new_ms)
{
    if ((conditions & HAS_NONE) && now_ms != 0) {
        return false;
    }
    if ((conditions & HAS_ONE) && now_ms == 0) {
        return false;
    }
    /* What is stored is compared with what would be: equal times beyond the largest one are equal. */
    uint64_t stored_ms = new_ms > 0 ? redis_expiry_stored(new_ms) : 0;
    if ((conditions & LATER) && (now_ms == 0 || stored_ms <= now_ms)) {
        return false;
    }
    return !((conditions & EARLIER) && now_ms != 0 && stored_ms >= now_ms);
}

static void expire(struct redis_call *c, struct redis_expiry_unit unit)
{
    unsigned conditions;
    int64_t number, at_ms;
    const uint64_t now_ms = transaction_now_ms(c->t);
    if (!parse_conditions(c, &conditions)) {
        return;
    }
    if (!redis_parse_integer(c->args[2], &number)) {
        resp_error(c->out, redis_error_integer);
        return;
    }
    if (!redis_expiry_at(number, unit, now_ms, &at_ms)) {
        redis_error_expiry(c);
        return;
    }
    struct transaction_value now;
    transaction_get(c->t, c->args[1], &now);
    if (now.value == NULL || !conditions_hold(conditions, now.expires_at_ms, at_ms)) {
        resp_integer(c->out, 0);
        return;
    }
    if (at_ms <= (int64_t)now_ms) {
        transaction_delete(c->t, c->args[1]);
    } else {
        transaction_put(c->t, c->args[1], now.type, value_ref(now.value), redis_expiry_stored(at_ms));
    }
    resp_integer(c->out, 1);
}

void redis_expire(struct redis_call *c)
{
    expire(c, (struct redis_expiry_unit){.seconds = true, .relative = true});
}

void redis_pexpire(struct redis_call *c)
{
    expire(c, (struct redis_expiry_unit){.seconds = false, .relative = true});
}

void redis_expireat(struct redis_call *c)
{
    expire(c, (struct redis_expiry_unit){.seconds = true, .relative = false});
}

void redis_pexpireat(struct redis_call *c)
{
    expire(c, (struct redis_expiry_unit){.seconds = false, .relative = false});
}

/* Seconds are rounded to the nearest. */
static void tell_expiry(struct redis_call *c, struct redis_expiry_unit unit)
{
    struct transaction_value now;
    transaction_get(c->t, c->args[1], &now);
    if (now.value == NULL) {
        resp_integer(c->out, -2);
        return;
    }
    if (now.expires_at_ms == 0) {
        resp_integer(c->out, -1);
        return;
    }
    /* A key that is there is not due: this can't be less than 0. */
    uint64_t ms = now.expires_at_ms - (unit.relative ? transaction_now_ms(c->t) : 0);
    resp_integer(c->out, (int64_t)(unit.seconds ? (ms + 500) / 1000 : ms));
}

void redis_ttl(struct redis_call *c)
{
    tell_expiry(c, (struct redis_expiry_unit){.seconds = true, .relative = true});
}

void redis_pttl(struct redis_call *c)
{
    tell_expiry(c, (struct redis_expiry_unit){.seconds = false, .relative = true});
}

void redis_expiretime(struct redis_call *c)
{
    tell_expiry(c, (struct redis_expiry_unit){.seconds = true, .relative = false});
}

void redis_pexpiretime(struct redis_call *c)
{
    tell_expiry(c, (struct redis_expiry_unit){.seconds = false, .relative = false});
}

void redis_persist(struct redis_call *c)
{
    struct transaction_value now;
    transaction_get(c->t, c->args[1], &now);
    bool has_one = now.value != NULL && now.expires_at_ms != 0;
    if (has_one) {
        transaction_put(c->t, c->args[1], now.type, value_ref(now.value), 0);
    }
    resp_integer(c->out, has_one);
}
