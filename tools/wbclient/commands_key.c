/* Commands on one key. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/limits.h"
#include "tools/wbclient/commands.h"
#include "tools/wbclient/output.h"

static bool word_is(struct bytes word, const char *text)
{
    return word.len == strlen(text) && strncasecmp((const char *)word.data, text, word.len) == 0;
}

/* Words are followed by a 0 byte. */
static bool parse_number(struct bytes word, int64_t *out)
{
    char *end;
    const char *text = (const char *)word.data;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (word.len == 0 || errno != 0 || end != text + word.len ||
        (text[0] != '-' && (text[0] < '0' || text[0] > '9'))) {
        return false;
    }
    *out = v;
    return true;
}

static bool parse_positive(struct bytes word, uint64_t scale, uint64_t *out)
{
    int64_t v;
    if (!parse_number(word, &v) || v <= 0 || (uint64_t)v > (uint64_t)INT64_MAX / scale) {
        return false;
    }
    *out = (uint64_t)v * scale;
    return true;
}

static struct wbcache_op op_on(const struct session *s, enum wbcache_op_kind kind, struct bytes key)
{
    bool write = kind >= WBCACHE_OP_SET;
    return (struct wbcache_op){.kind = kind,
        .key = key.data,
        .key_len = key.len,
        .level = write && s->flushed ? WBCACHE_FLUSHED : WBCACHE_REPLICATED};
}

/* ---- Answers ---- */

static json_t *written_json(const struct wbcache_result *r)
{
    json_t *o = json_pack("{s:b, s:I}", "ok", 1, "version", (json_int_t)r->version);
    json_object_set_new(o, "group", json_integer(r->group));
    if (r->index != 0) {
        json_object_set_new(o, "index", json_integer((json_int_t)r->index));
    }
    return o;
}

/* A write failed, or is replicated only. What is there is told with a failed condition. */
static int fail_write(struct session *s, const struct wbcache_result *r)
{
    if (s->json && (r->code == WBCACHE_NOT_FLUSHED || r->code == WBCACHE_QUARANTINED ||
                       r->code == WBCACHE_CONDITION_FAILED)) {
        json_t *o = json_pack(
            "{s:s, s:s}", "error", wbcache_code_name(r->code), "message", wbcache_strerror(r->code));
        json_object_set_new(o, "found", json_boolean(r->found));
        json_object_set_new(o, "version", json_integer((json_int_t)r->version));
        if (r->index != 0) {
            json_object_set_new(o, "index", json_integer((json_int_t)r->index));
        }
        if (r->value != NULL) {
            output_set_bytes(o, "value", bytes_of(r->value, r->value_len));
        }
        session_print_json(o);
        return session_exit_code(r->code);
    }
    if (r->code == WBCACHE_CONDITION_FAILED) {
        fflush(stdout);
        fprintf(stderr, "wbclient: CONDITION_FAILED: nothing was done: the key %s",
            r->found ? "has version " : "is not there\n");
        if (r->found) {
            fprintf(stderr, "%" PRIu64 "\n", r->version);
        }
        return EXIT_CONDITION;
    }
    return output_failure(s, r->code);
}

/* ---- Reading ---- */

static int print_got(struct session *s, struct bytes key, const struct wbcache_result *r, bool stale)
{
    struct bytes value = bytes_of(r->value, r->value_len);
    if (s->json) {
        json_t *o = json_pack("{s:b}", "found", r->code == WBCACHE_OK);
        if (r->code == WBCACHE_OK) {
            json_object_set_new(o, "version", json_integer((json_int_t)r->version));
        }
        output_set_bytes(o, "key", key);
        if (r->code == WBCACHE_OK) {
            output_set_bytes(o, "value", value);
        }
        if (stale) {
            json_object_set_new(o, "age_ms", json_integer((json_int_t)r->age_ms));
        }
        session_print_json(o);
        return session_exit_code(r->code);
    }
    if (r->code == WBCACHE_NOT_FOUND) {
        return output_failure(s, r->code);
    }
    output_value(s, value);
    if (stale) {
        fflush(stdout);
        fprintf(
            stderr, "as this node knew it: it last heard from its leader %" PRIu64 " ms ago\n", r->age_ms);
    }
    return EXIT_DONE;
}

int command_get(struct session *s, const struct bytes *args, size_t n)
{
    struct wbcache_result r;
    struct wbcache_op op = op_on(s, WBCACHE_OP_GET, args[0]);
    if (n == 2) {
        if (!word_is(args[1], "--stale")) {
            return session_usage(s, "usage: get KEY [--stale]");
        }
        op.stale = true;
    }
    int code = wbcache_do(s->cache, &op, &r);
    return code == WBCACHE_OK || code == WBCACHE_NOT_FOUND ? print_got(s, args[0], &r, op.stale)
                                                           : output_failure(s, code);
}

int command_inspect(struct session *s, const struct bytes *args, size_t n)
{
    struct wbcache_result r;
    int result = EXIT_DONE;
    for (size_t i = 0; i < n; i++) {
        unsigned slot = 0, group = 0;
        struct wbcache_op op = op_on(s, WBCACHE_OP_INSPECT, args[i]);
        wbcache_locate(s->cache, args[i].data, args[i].len, &slot, &group);
        int code = wbcache_do(s->cache, &op, &r);
        if (code != WBCACHE_OK) {
            result = output_worse(result, output_failure(s, code));
            continue;
        }
        if (!r.found) {
            result = output_worse(result, EXIT_NOT_FOUND);
        }
        if (s->json) {
            json_t *o =
                json_pack("{s:b, s:i, s:i}", "found", r.found, "slot", (int)slot, "group", (int)group);
            output_set_bytes(o, "key", args[i]);
            if (r.found) {
                json_object_set_new(o, "type", json_string(r.type));
                json_object_set_new(o, "length", json_integer((json_int_t)r.length));
                json_object_set_new(o, "version", json_integer((json_int_t)r.version));
            }
            if (r.found && r.expires_at_ms != 0) {
                json_object_set_new(o, "expires_at_ms", json_integer((json_int_t)r.expires_at_ms));
                json_object_set_new(o, "ttl_ms", json_integer((json_int_t)r.ttl_ms));
            }
            session_print_json(o);
            continue;
        }
        output_quoted(args[i]);
        if (!r.found) {
            printf(" is not there; slot %u group %u\n", slot, group);
            continue;
        }
        printf(" %s of %zu byte%s, version %" PRIu64 ", ", r.type, r.length, r.length == 1 ? "" : "s",
            r.version);
        if (r.expires_at_ms != 0) {
            printf("expires in %.3f s", (double)r.ttl_ms / 1000);
        } else {
            printf("never expires");
        }
        printf(", slot %u group %u\n", slot, group);
    }
    return result;
}

enum question { ASK_TTL, ASK_TYPE, ASK_STRLEN };

static int ask(struct session *s, struct bytes key, enum question what)
{
    struct wbcache_result r;
    struct wbcache_op op = op_on(s, WBCACHE_OP_INSPECT, key);
    int code = wbcache_do(s->cache, &op, &r);
    if (code != WBCACHE_OK) {
        return output_failure(s, code);
    }
    if (s->json) {
        json_t *o = json_pack("{s:b}", "found", r.found);
        output_set_bytes(o, "key", key);
        if (r.found && what == ASK_TTL) {
            json_object_set_new(
                o, "ttl_ms", r.expires_at_ms != 0 ? json_integer((json_int_t)r.ttl_ms) : json_null());
        } else if (r.found && what == ASK_TYPE) {
            json_object_set_new(o, "type", json_string(r.type));
        } else if (r.found) {
            json_object_set_new(o, "length", json_integer((json_int_t)r.length));
        }
        session_print_json(o);
    } else if (!r.found) {
        return output_failure(s, WBCACHE_NOT_FOUND);
    } else if (what == ASK_TYPE) {
        puts(r.type);
    } else if (what == ASK_STRLEN) {
        printf("%zu\n", r.length);
    } else if (r.expires_at_ms == 0) {
        puts("never expires");
    } else {
        printf("%" PRIu64 "\n", (r.ttl_ms + 500) / 1000);
    }
    return r.found ? EXIT_DONE : EXIT_NOT_FOUND;
}

int command_ttl(struct session *s, const struct bytes *args, size_t n)
{
    (void)n;
    return ask(s, args[0], ASK_TTL);
}

int command_type(struct session *s, const struct bytes *args, size_t n)
{
    (void)n;
    return ask(s, args[0], ASK_TYPE);
}

int command_strlen(struct session *s, const struct bytes *args, size_t n)
{
    (void)n;
    return ask(s, args[0], ASK_STRLEN);
}

/* ---- Writing ---- */

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

/* EXIT_DONE, or what was reported; @input then needs no deinit. */
static int value_from_stdin(struct session *s, struct buf *input)
{
    if (!read_stdin(input)) {
        buf_deinit(input);
        return session_report(s, WBCACHE_IO, "the value cannot be read from standard input");
    }
    if (input->len > LIMIT_VALUE_BYTES) { /* its true size is not known: the rest was not read */
        buf_deinit(input);
        char text[96];
        snprintf(
            text, sizeof text, "standard input has more bytes than a value may have: %d", LIMIT_VALUE_BYTES);
        return session_report(s, WBCACHE_TOO_BIG, text);
    }
    return EXIT_DONE;
}

/* The words behind the value. False: reported. */
static bool parse_set_words(struct session *s, const struct bytes *words, size_t n, struct wbcache_op *op)
{
    for (size_t i = 0; i < n; i++) {
        bool more = i + 1 < n;
        int64_t version = 0;
        bool good = true;
        if (word_is(words[i], "nx")) {
            op->condition = WBCACHE_IF_ABSENT;
        } else if (word_is(words[i], "xx")) {
            op->condition = WBCACHE_IF_PRESENT;
        } else if (word_is(words[i], "if-version") && more) {
            good = parse_number(words[++i], &version) && version >= 0;
            op->condition = WBCACHE_IF_VERSION;
            op->if_version = (uint64_t)version;
        } else if (word_is(words[i], "ex") && more) {
            good = parse_positive(words[++i], 1000, &op->expire_after_ms);
        } else if (word_is(words[i], "px") && more) {
            good = parse_positive(words[++i], 1, &op->expire_after_ms);
        } else if (word_is(words[i], "exat") && more) {
            good = parse_positive(words[++i], 1000, &op->expire_at_ms);
        } else if (word_is(words[i], "pxat") && more) {
            good = parse_positive(words[++i], 1, &op->expire_at_ms);
        } else if (word_is(words[i], "keepttl")) {
            op->keep_expiry = true;
        } else if (word_is(words[i], "get")) {
            op->return_old = true;
        } else {
            session_usage(s, "set: \"%.*s\" is no option, or lacks its number; see help set",
                (int)words[i].len, (const char *)words[i].data);
            return false;
        }
        if (!good) {
            session_usage(s, "set: \"%.*s\" is not the number that is wanted here; see help set",
                (int)words[i].len, (const char *)words[i].data);
            return false;
        }
    }
    return true;
}

static int print_written(struct session *s, const struct wbcache_op *op, const struct wbcache_result *r)
{
    if (s->json) {
        json_t *o = written_json(r);
        if (r->value != NULL) {
            output_set_bytes(o, "old", bytes_of(r->value, r->value_len));
        }
        session_print_json(o);
    } else if (op->return_old && r->value != NULL) {
        output_value(s, bytes_of(r->value, r->value_len));
    } else {
        puts(op->return_old ? "OK: there was none before" : "OK");
    }
    return EXIT_DONE;
}

int command_set(struct session *s, const struct bytes *args, size_t n)
{
    struct buf input;
    struct wbcache_result r;
    struct bytes value = args[1];
    struct wbcache_op op = op_on(s, WBCACHE_OP_SET, args[0]);
    if (!parse_set_words(s, args + 2, n - 2, &op)) {
        return EXIT_USAGE;
    }
    buf_init(&input);
    if (!s->shell && bytes_equal(value, bytes_from_text("-"))) {
        int refused = value_from_stdin(s, &input);
        if (refused != EXIT_DONE) {
            return refused;
        }
        value = buf_bytes(&input);
    }
    op.value = value.data;
    op.value_len = value.len;
    int code = wbcache_do(s->cache, &op, &r);
    buf_deinit(&input);
    return code == WBCACHE_OK ? print_written(s, &op, &r) : fail_write(s, &r);
}

int command_append(struct session *s, const struct bytes *args, size_t n)
{
    struct wbcache_result r;
    struct wbcache_op op = op_on(s, WBCACHE_OP_APPEND, args[0]);
    (void)n;
    op.value = args[1].data;
    op.value_len = args[1].len;
    if (wbcache_do(s->cache, &op, &r) != WBCACHE_OK) {
        return fail_write(s, &r);
    }
    if (s->json) {
        json_t *o = written_json(&r);
        json_object_set_new(o, "length", json_integer((json_int_t)r.length));
        session_print_json(o);
    } else {
        printf("%zu\n", r.length);
    }
    return EXIT_DONE;
}

static int add(struct session *s, const struct bytes *args, size_t n, bool subtract)
{
    struct wbcache_result r;
    int64_t by = 1;
    struct wbcache_op op = op_on(s, WBCACHE_OP_INCR, args[0]);
    if (n == 2 && (!parse_number(args[1], &by) || (subtract && by == INT64_MIN))) {
        return session_usage(s, "%s: \"%.*s\" is not a whole number of 64 bits", subtract ? "decr" : "incr",
            (int)args[1].len, (const char *)args[1].data);
    }
    op.delta = subtract ? -by : by;
    if (wbcache_do(s->cache, &op, &r) != WBCACHE_OK) {
        return fail_write(s, &r);
    }
    if (s->json) {
        json_t *o = written_json(&r);
        json_object_set_new(o, "value", json_integer((json_int_t)r.number));
        session_print_json(o);
    } else {
        printf("%" PRId64 "\n", r.number);
    }
    return EXIT_DONE;
}

int command_incr(struct session *s, const struct bytes *args, size_t n)
{
    return add(s, args, n, false);
}

int command_decr(struct session *s, const struct bytes *args, size_t n)
{
    return add(s, args, n, true);
}

int command_getdel(struct session *s, const struct bytes *args, size_t n)
{
    struct wbcache_result r;
    struct wbcache_op op = op_on(s, WBCACHE_OP_DEL, args[0]);
    (void)n;
    op.return_old = true;
    if (wbcache_do(s->cache, &op, &r) != WBCACHE_OK) {
        return fail_write(s, &r);
    }
    if (!r.found) {
        r.code = WBCACHE_NOT_FOUND;
    }
    return print_got(s, args[0], &r, false);
}

int command_delif(struct session *s, const struct bytes *args, size_t n)
{
    struct wbcache_result r;
    int64_t version;
    struct wbcache_op op = op_on(s, WBCACHE_OP_DEL, args[0]);
    (void)n;
    if (!parse_number(args[1], &version) || version <= 0) {
        return session_usage(s, "delif: a version is a positive whole number, as inspect and --json show it");
    }
    op.condition = WBCACHE_IF_VERSION;
    op.if_version = (uint64_t)version;
    return wbcache_do(s->cache, &op, &r) == WBCACHE_OK ? print_written(s, &op, &r) : fail_write(s, &r);
}

/* ---- Expiry ---- */

static int run_expire(struct session *s, struct wbcache_op *op)
{
    struct wbcache_result r;
    if (wbcache_do(s->cache, op, &r) != WBCACHE_OK) {
        return fail_write(s, &r);
    }
    if (s->json) {
        json_t *o = json_pack("{s:b}", "found", r.found);
        if (r.found && r.expires_at_ms != 0) {
            json_object_set_new(o, "expires_at_ms", json_integer((json_int_t)r.expires_at_ms));
        }
        session_print_json(o);
    } else if (r.found) {
        puts("OK");
    } else {
        return output_failure(s, WBCACHE_NOT_FOUND);
    }
    return r.found ? EXIT_DONE : EXIT_NOT_FOUND;
}

static int expire(struct session *s, const struct bytes *args, size_t n, uint64_t scale)
{
    static const struct {
        const char *word;
        enum wbcache_expire_if when;
    } words[] = {{"nx", WBCACHE_EXPIRE_IF_NONE}, {"xx", WBCACHE_EXPIRE_IF_ANY},
        {"gt", WBCACHE_EXPIRE_IF_LATER}, {"lt", WBCACHE_EXPIRE_IF_EARLIER}};
    struct wbcache_op op = op_on(s, WBCACHE_OP_EXPIRE, args[0]);
    bool good = parse_positive(args[1], scale, &op.expire_after_ms);
    for (size_t i = 0; n == 3 && i < sizeof words / sizeof words[0]; i++) {
        op.expire_if = word_is(args[2], words[i].word) ? words[i].when : op.expire_if;
    }
    if (!good || (n == 3 && op.expire_if == WBCACHE_EXPIRE_ALWAYS)) {
        return session_usage(s, "usage: %s KEY %s [nx|xx|gt|lt], a positive whole number",
            scale == 1 ? "pexpire" : "expire", scale == 1 ? "MILLISECONDS" : "SECONDS");
    }
    return run_expire(s, &op);
}

int command_expire(struct session *s, const struct bytes *args, size_t n)
{
    return expire(s, args, n, 1000);
}

int command_pexpire(struct session *s, const struct bytes *args, size_t n)
{
    return expire(s, args, n, 1);
}

int command_persist(struct session *s, const struct bytes *args, size_t n)
{
    struct wbcache_op op = op_on(s, WBCACHE_OP_EXPIRE, args[0]);
    (void)n;
    return run_expire(s, &op);
}
