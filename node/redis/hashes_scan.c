/* HSCAN and HRANDFIELD: parts of a hash.
 *
 * HSCAN answers a hash of at most HSCAN_WHOLE_MAX fields whole, as Redis does with its small ones. A larger
 * one is walked in the order of the hashes of its fields' names, not of their places, since these move when a
 * field is removed. The names' hashes fall into HSCAN_BUCKETS buckets, and a cursor is the first bucket that
 * was not looked at. A step tells all fields of the next buckets, as many as make COUNT fields. So a field
 * that is there from the first step to the last is told exactly once, whatever is added and removed in
 * between, on whatever node the steps run; one that comes or goes meanwhile is told once or not at all. (When
 * so many go that the rest is told whole, what was told before is told again.) Each step is a walk over the
 * whole value, so there are not more than about HSCAN_STEPS_MAX of them, however small COUNT is: it is a
 * hint, and a step may tell more. Names that were chosen to fall into one bucket are told in one step, which
 * is no longer than the value may be. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/redis/glob.h"
#include "node/redis/hashes.h"
#include "node/redis/number.h"
#include "proto/base/alloc.h"
#include "proto/limits.h"

enum {
    HSCAN_WHOLE_MAX = 512,
    HSCAN_BUCKETS = 4096,
    HSCAN_STEPS_MAX = 64,
    HSCAN_COUNT = 10,            /* when the client says none, as in Redis */
    CURSOR_CHARS_MAX = 64,       /* longer texts are no number of 64 bits, but for zeros in front */
    PATTERN_BYTES_MAX = 4 * 1024 /* a longer one could cost seconds, see glob.h */
};

struct hscan {
    uint64_t cursor;
    int64_t count;
    struct bytes pattern;
    bool all; /* no pattern, or the one that all match */
};

/* As Redis reads it: what strtoul takes but for space in front. Nothing is 0. */
static bool parse_cursor(struct bytes text, uint64_t *out)
{
    char copy[CURSOR_CHARS_MAX + 1], *end;
    if (text.len > CURSOR_CHARS_MAX) {
        return false;
    }
    if (text.len > 0) {
        memcpy(copy, text.data, text.len);
    }
    copy[text.len] = '\0';
    errno = 0;
    *out = strtoul(copy, &end, 10);
    return !isspace((unsigned char)copy[0]) && *end == '\0' && errno != ERANGE;
}

/* The words behind the cursor. False: an error was replied. */
static bool parse_options(struct redis_call *c, struct hscan *scan)
{
    for (uint32_t i = 3; i < c->n; i += 2) {
        bool has_value = i + 1 < c->n;
        if (has_value && redis_word_is(c->args[i], "count")) {
            if (!redis_parse_integer(c->args[i + 1], &scan->count)) {
                resp_error(c->out, redis_error_integer);
                return false;
            }
            if (scan->count < 1) {
                resp_error(c->out, redis_error_syntax);
                return false;
            }
        } else if (has_value && redis_word_is(c->args[i], "match")) {
            scan->pattern = c->args[i + 1];
            scan->all = bytes_equal(scan->pattern, bytes_from_text("*"));
        } else {
            resp_error(c->out, redis_error_syntax);
            return false;
        }
    }
    if (scan->pattern.len > PATTERN_BYTES_MAX) {
        resp_error_of(c->out, "ERR pattern is too long: at most %d bytes", (int)PATTERN_BYTES_MAX);
        return false;
    }
    return true;
}

static uint32_t bucket_of(struct bytes name)
{
    return (uint32_t)(bytes_hash(name, 0) >> 52);
}
_Static_assert(HSCAN_BUCKETS == 1 << (64 - 52), "the uppermost bits of a hash are its bucket");

/* Behind the last bucket of a step that begins at bucket @from. */
static uint32_t step_end(struct bytes fields, uint32_t from, int64_t count)
{
    uint32_t in_bucket[HSCAN_BUCKETS] = {0};
    struct field field;
    for (size_t at = 0; fields_next(fields, &at, &field);) {
        in_bucket[bucket_of(field.name)]++;
    }
    int64_t least = fields_count(fields) / HSCAN_STEPS_MAX, told = 0;
    uint32_t end = from;
    while (end < HSCAN_BUCKETS && told < (count > least ? count : least)) {
        told += in_bucket[end++];
    }
    while (end < HSCAN_BUCKETS && in_bucket[end] == 0) {
        end++; /* so that the last step is one with fields */
    }
    return end;
}

void redis_hscan(struct redis_call *c)
{
    struct hscan scan = {.count = HSCAN_COUNT, .all = true};
    struct hash hash;
    if (!parse_cursor(c->args[2], &scan.cursor)) {
        resp_error(c->out, "ERR invalid cursor");
        return;
    }
    if (!hash_read(c, &hash)) {
        return;
    }
    if (hash.fields.len > 0 && !parse_options(c, &scan)) {
        return; /* without the key Redis does not look at them */
    }
    bool whole = fields_count(hash.fields) <= HSCAN_WHOLE_MAX;
    uint32_t from = scan.cursor < HSCAN_BUCKETS ? (uint32_t)scan.cursor : HSCAN_BUCKETS;
    uint32_t end = whole ? HSCAN_BUCKETS : step_end(hash.fields, from, scan.count);

    struct buf told; /* apart, since their number stands before them */
    struct resp_writer w = {.out = &told, .protocol = c->out->protocol};
    struct field field;
    size_t n = 0;
    uint64_t steps = REDIS_GLOB_STEPS_MAX;
    buf_init(&told);
    for (size_t at = 0; fields_next(hash.fields, &at, &field);) {
        uint32_t bucket = whole ? from : bucket_of(field.name);
        if ((whole || (bucket >= from && bucket < end)) &&
            (scan.all || redis_glob_within(scan.pattern, field.name, &steps))) {
            resp_bulk(&w, field.name);
            resp_bulk(&w, field.value);
            n += 2;
        }
    }
    if (steps == 0) {
        resp_error(c->out, redis_error_glob);
        buf_deinit(&told);
        return;
    }
    resp_array(c->out, 2);
    resp_number_text(c->out, end == HSCAN_BUCKETS ? 0 : end);
    resp_array(c->out, n);
    buf_append(c->out->out, told.data, told.len);
    c->out->out->failed |= told.failed;
    buf_deinit(&told);
}

/* ---- HRANDFIELD ---- */

/* The next of a row of numbers that look random (splitmix64, by Steele, Lea and Flood). */
static uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The row's begin for a command. What came with the request is mixed once, so that rows are unlike each other
 * even when requests' numbers are a row of their own. */
static uint64_t random_begin(const struct redis_call *c)
{
    uint64_t state = ~c->random;
    return random_next(&state);
}

/* Below @n, each as likely: numbers from the uneven rest of the range are drawn again. */
static uint64_t random_below(uint64_t *state, uint64_t n)
{
    uint64_t rest = (UINT64_MAX % n + 1) % n, drawn;
    do {
        drawn = random_next(state);
    } while (drawn > UINT64_MAX - rest);
    return drawn % n;
}

static void reply_field(struct redis_call *c, const struct field *field, bool with_value)
{
    if (with_value && c->out->protocol > 2) {
        resp_array(c->out, 2);
    }
    resp_bulk(c->out, field->name);
    if (with_value) {
        resp_bulk(c->out, field->value);
    }
}

static void reply_length(struct redis_call *c, uint64_t n, bool with_values)
{
    resp_array(c->out, with_values && c->out->protocol == 2 ? 2 * n : n);
}

static void reply_one(struct redis_call *c, struct bytes fields)
{
    uint64_t state = random_begin(c), skip = random_below(&state, fields_count(fields));
    struct field field;
    for (size_t at = 0; fields_next(fields, &at, &field) && skip > 0; skip--) {
    }
    resp_bulk(c->out, field.name);
}

/* @n fields, all different, each set of them as likely; in the hash's order, as Redis tells those of a small
 * hash. (Knuth, The Art of Computer Programming, 3.4.2, algorithm S.) */
static void reply_sample(struct redis_call *c, struct bytes fields, uint64_t n, bool with_values)
{
    uint64_t state = random_begin(c), left = fields_count(fields), wanted = n < left ? n : left;
    struct field field;
    reply_length(c, wanted, with_values);
    for (size_t at = 0; wanted > 0 && fields_next(fields, &at, &field); left--) {
        if (random_below(&state, left) < wanted) {
            reply_field(c, &field, with_values);
            wanted--;
        }
    }
}

/* @n fields, each drawn from all of them. */
static void reply_draws(struct redis_call *c, struct bytes fields, uint64_t n, bool with_values)
{
    enum { REPLY_BYTES_MIN = 6 }; /* of an empty name */
    if (n > HASH_REPLY_BYTES_MAX / REPLY_BYTES_MIN) {
        hash_reply_too_long(c);
        return;
    }
    uint64_t state = random_begin(c);
    uint32_t count = fields_count(fields);
    size_t begin = c->out->out->len;
    struct field *all = xmalloc(count * sizeof *all);
    for (size_t at = 0, i = 0; i < count && fields_next(fields, &at, &all[i]); i++) {
    }
    reply_length(c, n, with_values);
    while (n > 0 && c->out->out->len - begin <= HASH_REPLY_BYTES_MAX) {
        reply_field(c, &all[random_below(&state, count)], with_values);
        n--;
    }
    free(all);
    if (n > 0) {
        c->out->out->len = begin;
        hash_reply_too_long(c);
    }
}

/* COUNT and WITHVALUES. False: an error was replied. */
static bool parse_hrandfield(struct redis_call *c, int64_t *count, bool *with_values)
{
    if (!redis_parse_integer(c->args[2], count)) {
        resp_error(c->out, redis_error_integer);
        return false;
    }
    if (*count == INT64_MIN) {
        resp_error_of(c->out, "ERR value is out of range, value must between %lld and %lld",
            -(long long)INT64_MAX, (long long)INT64_MAX);
        return false;
    }
    if (c->n > 4 || (c->n == 4 && !redis_word_is(c->args[3], "withvalues"))) {
        resp_error(c->out, redis_error_syntax);
        return false;
    }
    *with_values = c->n == 4;
    if (*with_values && (*count < -(INT64_MAX / 2) || *count > INT64_MAX / 2)) {
        resp_error(c->out, "ERR value is out of range");
        return false;
    }
    return true;
}

void redis_hrandfield(struct redis_call *c)
{
    int64_t count = 1;
    bool with_values = false, counted = c->n > 2;
    struct hash hash;
    if ((counted && !parse_hrandfield(c, &count, &with_values)) || !hash_read(c, &hash)) {
        return;
    }
    if (!counted) {
        if (hash.fields.len == 0) {
            resp_null(c->out);
        } else {
            reply_one(c, hash.fields);
        }
    } else if (hash.fields.len == 0 || count == 0) {
        resp_array(c->out, 0);
    } else if (count > 0) {
        reply_sample(c, hash.fields, (uint64_t)count, with_values);
    } else {
        reply_draws(c, hash.fields, (uint64_t)-count, with_values);
    }
}
