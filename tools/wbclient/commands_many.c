/* Commands on several keys. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/limits.h"
#include "tools/wbclient/commands.h"
#include "tools/wbclient/output.h"

/* del and exists: a yes or no for each key. */
static int each_key(struct session *s, const struct bytes *args, size_t n, const char *yes, const char *no,
    enum wbcache_op_kind kind)
{
    int result = EXIT_DONE;
    for (size_t i = 0; i < n; i++) {
        struct wbcache_result r;
        struct wbcache_op op = {.kind = kind,
            .key = args[i].data,
            .key_len = args[i].len,
            .level = kind == WBCACHE_OP_DEL && s->flushed ? WBCACHE_FLUSHED : WBCACHE_REPLICATED};
        int code = wbcache_do(s->cache, &op, &r);
        bool found = r.found;
        if (code != WBCACHE_OK) {
            result = output_worse(result, output_failure(s, code));
        } else if (s->json) {
            json_t *o = json_pack("{s:b}", yes, found);
            output_set_bytes(o, "key", args[i]);
            session_print_json(o);
        } else {
            puts(found ? yes : no);
        }
    }
    return result;
}

int command_del(struct session *s, const struct bytes *args, size_t n)
{
    return each_key(s, args, n, "deleted", "not there", WBCACHE_OP_DEL);
}

int command_exists(struct session *s, const struct bytes *args, size_t n)
{
    return each_key(s, args, n, "exists", "not there", WBCACHE_OP_EXISTS);
}

static void print_item(struct session *s, const struct wbcache_item *item, bool with_value)
{
    struct bytes key = bytes_of(item->key, item->key_len);
    struct bytes value = bytes_of(item->value, item->value_len);
    bool ok = item->code == WBCACHE_OK;
    if (s->json) {
        json_t *o = json_pack("{s:s}", "result", wbcache_code_name(item->code));
        output_set_bytes(o, "key", key);
        if (ok) {
            json_object_set_new(o, "version", json_integer((json_int_t)item->version));
        }
        if (ok && with_value) {
            output_set_bytes(o, "value", value);
        }
        session_print_json(o);
        return;
    }
    output_quoted(key);
    putchar(' ');
    if (ok && with_value) {
        output_quoted(value);
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

int command_mget(struct session *s, const struct bytes *args, size_t n)
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
    return code == WBCACHE_OK ? EXIT_DONE : output_failure(s, code);
}

int command_mset(struct session *s, const struct bytes *args, size_t n)
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
    return code == WBCACHE_OK ? EXIT_DONE : output_failure(s, code);
}

int command_mdel(struct session *s, const struct bytes *args, size_t n)
{
    struct wbcache_item *items = xcalloc(n, sizeof *items);
    for (size_t i = 0; i < n; i++) {
        items[i].key = args[i].data;
        items[i].key_len = args[i].len;
    }
    int code = wbcache_mdel(s->cache, items, n);
    for (size_t i = 0; i < n; i++) {
        if (!s->json && items[i].code == WBCACHE_OK) {
            output_quoted(args[i]);
            puts(items[i].version != 0 ? " deleted" : " not there");
        } else {
            print_item(s, &items[i], false);
        }
    }
    code = code_of_items(code, items, code == WBCACHE_OK ? 0 : n);
    free(items);
    return code == WBCACHE_OK ? EXIT_DONE : output_failure(s, code);
}

/* ---- scan ---- */

struct scan_words {
    struct bytes prefix;
    unsigned long count, limit; /* 0: not given */
    bool stale;
};

static bool parse_count(struct bytes word, unsigned long *out)
{
    char *end;
    const char *text = (const char *)word.data;
    *out = strtoul(text, &end, 10);
    return word.len > 0 && end == text + word.len && text[0] >= '0' && text[0] <= '9' && *out > 0;
}

static bool parse_scan(const struct bytes *args, size_t n, struct scan_words *out)
{
    bool prefix_seen = false;
    for (size_t i = 0; i < n; i++) {
        const char *word = (const char *)args[i].data;
        if (strcmp(word, "--stale") == 0) {
            out->stale = true;
        } else if (strcmp(word, "--count") == 0 && i + 1 < n) {
            if (!parse_count(args[++i], &out->count)) {
                return false;
            }
        } else if (strcmp(word, "--limit") == 0 && i + 1 < n) {
            if (!parse_count(args[++i], &out->limit)) {
                return false;
            }
        } else if (!prefix_seen) {
            out->prefix = args[i];
            prefix_seen = true;
        } else {
            return false;
        }
    }
    return true;
}

static void print_key(struct session *s, struct bytes key)
{
    if (s->json) {
        json_t *o = json_object();
        output_set_bytes(o, "key", key);
        session_print_json(o);
    } else if (s->terminal) {
        output_for_terminal(key);
        putchar('\n');
    } else {
        fwrite(key.data, 1, key.len, stdout);
        putchar('\n');
    }
}

int command_scan(struct session *s, const struct bytes *args, size_t n)
{
    struct scan_words words = {0};
    if (!parse_scan(args, n, &words)) {
        return session_usage(s, "usage: scan [PREFIX] [--count N] [--limit N] [--stale]");
    }
    struct wbcache_scan scan = {.prefix = words.prefix.data,
        .prefix_len = words.prefix.len,
        .count = words.count > LIMIT_SCAN_LOOKS ? LIMIT_SCAN_LOOKS : (unsigned)words.count,
        .stale = words.stale};
    unsigned long shown = 0;
    while (!scan.done && !ferror(stdout)) {
        int code = wbcache_scan(s->cache, &scan);
        if (code != WBCACHE_OK) {
            return output_failure(s, code);
        }
        for (size_t i = 0; i < scan.n; i++) {
            if (words.limit != 0 && shown++ == words.limit) {
                return EXIT_DONE;
            }
            print_key(s, bytes_of(scan.keys[i].key, scan.keys[i].key_len));
        }
        fflush(stdout); /* keys come as they are found */
    }
    return EXIT_DONE;
}
