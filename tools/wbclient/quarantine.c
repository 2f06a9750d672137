/* quarantine: the rows that PostgreSQL refuses. */
#include "tools/wbclient/quarantine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "tools/wbclient/args.h"
#include "tools/wbclient/commands.h"
#include "tools/wbclient/output.h"

/* One row as remembered; its key is owned. */
struct refused {
    uint8_t *key;
    size_t key_len;
    char sqlstate[8];
    char *message;
    unsigned group;
    uint32_t attempts;
    uint64_t since_ms, refused_ms, retry_in_ms, version, refused_version;
    bool deleted;
    size_t length;
    bool seen; /* retry: it is still there, and what came of it is known */
};
struct refused_list {
    struct refused *rows;
    size_t n;
};

/* ---- Showing ---- */

void quarantine_print(const struct wbcache_quarantined *row)
{
    printf("  refused       %s\n", row->message);
    printf("  SQLSTATE      %s\n", row->sqlstate);
    printf("  attempts      %" PRIu32 ", the last %s ago", row->attempts, human_age(row->refused_ms).s);
    printf(
        row->retry_in_ms == 0 ? "; the next is due\n" : "; the next in %s\n", human_age(row->retry_in_ms).s);
    if (row->refused_version != row->version) {
        printf("  was refused   version %" PRIu64 "; the key was written since\n", row->refused_version);
    }
}

json_t *quarantine_json(const struct wbcache_quarantined *row)
{
    json_t *o = json_pack("{s:s, s:b}", "sqlstate", row->sqlstate, "deleted", row->deleted);
    output_set_bytes(o, "key", bytes_of(row->key, row->key_len));
    output_set_bytes(o, "message", bytes_from_text(row->message));
#define NUMBER(name) json_object_set_new(o, #name, json_integer((json_int_t)row->name))
    NUMBER(group);
    NUMBER(version);
    NUMBER(refused_version);
    NUMBER(attempts);
    NUMBER(since_ms);
    NUMBER(refused_ms);
    NUMBER(retry_in_ms);
    NUMBER(length);
#undef NUMBER
    if (row->value != NULL) {
        output_set_bytes(o, "value", bytes_of(row->value, row->value_len));
    }
    return o;
}

/* ---- Collecting ---- */

static struct refused remember(const struct wbcache_quarantined *row)
{
    struct refused r = {.key = xmalloc(row->key_len + 1),
        .key_len = row->key_len,
        .message = xstrdup(row->message),
        .group = row->group,
        .attempts = row->attempts,
        .since_ms = row->since_ms,
        .refused_ms = row->refused_ms,
        .retry_in_ms = row->retry_in_ms,
        .version = row->version,
        .refused_version = row->refused_version,
        .deleted = row->deleted,
        .length = row->length};
    memcpy(r.key, row->key, row->key_len);
    snprintf(r.sqlstate, sizeof r.sqlstate, "%s", row->sqlstate);
    return r;
}

static void forget(struct refused_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free(list->rows[i].key);
        free(list->rows[i].message);
    }
    free(list->rows);
    *list = (struct refused_list){0};
}

static int by_key(const void *a, const void *b)
{
    const struct refused *x = a, *y = b;
    return bytes_compare(bytes_of(x->key, x->key_len), bytes_of(y->key, y->key_len));
}

static int by_age(const void *a, const void *b)
{
    const struct refused *x = a, *y = b;
    return x->since_ms != y->since_ms ? (x->since_ms < y->since_ms ? 1 : -1) : by_key(a, b);
}

static struct refused *find(const struct refused_list *list, struct bytes key)
{
    struct refused want = {.key = (uint8_t *)(uintptr_t)key.data, .key_len = key.len};
    return list->n == 0 ? NULL : bsearch(&want, list->rows, list->n, sizeof want, by_key);
}

/* All that are refused now, sorted by key and each once. A result code of the library's. */
static int collect(struct session *s, struct refused_list *out)
{
    struct wbcache_quarantine list = {.count = 1000};
    size_t cap = 0;
    *out = (struct refused_list){0};
    while (!list.done) {
        int code = wbcache_quarantine_list(s->cache, &list);
        if (code != WBCACHE_OK) {
            forget(out);
            return code;
        }
        for (size_t i = 0; i < list.n; i++) {
            if (out->n == cap) {
                cap = cap == 0 ? 64 : 2 * cap;
                out->rows = xrealloc(out->rows, cap * sizeof *out->rows);
            }
            out->rows[out->n++] = remember(&list.rows[i]);
        }
    }
    if (out->n > 1) {
        qsort(out->rows, out->n, sizeof *out->rows, by_key);
    }
    size_t kept = out->n > 0;
    for (size_t i = 1; i < out->n; i++) {
        if (by_key(&out->rows[i], &out->rows[kept - 1]) == 0) {
            free(out->rows[i].key);
            free(out->rows[i].message);
        } else {
            out->rows[kept++] = out->rows[i];
        }
    }
    out->n = kept;
    return WBCACHE_OK;
}

/* ---- list, show ---- */

static json_t *refused_json(const struct refused *r)
{
    struct wbcache_quarantined row = {.group = r->group,
        .key = r->key,
        .key_len = r->key_len,
        .version = r->version,
        .refused_version = r->refused_version,
        .sqlstate = r->sqlstate,
        .message = r->message,
        .attempts = r->attempts,
        .since_ms = r->since_ms,
        .refused_ms = r->refused_ms,
        .retry_in_ms = r->retry_in_ms,
        .deleted = r->deleted,
        .length = r->length};
    return quarantine_json(&row);
}

static int quarantine_list(struct session *s)
{
    struct refused_list list;
    int code = collect(s, &list);
    if (code != WBCACHE_OK) {
        return output_failure(s, code);
    }
    if (list.n > 1) {
        qsort(list.rows, list.n, sizeof *list.rows, by_age);
    }
    if (!s->json) {
        if (list.n == 0) {
            puts("nothing is in quarantine");
        } else {
            printf("%5s %9s %5s %-8s  key: message\n", "group", "since", "tried", "SQLSTATE");
        }
    }
    for (size_t i = 0; i < list.n; i++) {
        const struct refused *r = &list.rows[i];
        if (s->json) {
            session_print_json(refused_json(r));
        } else {
            printf(
                "%5u %9s %5" PRIu32 " %-8s  ", r->group, human_age(r->since_ms).s, r->attempts, r->sqlstate);
            output_quoted(bytes_of(r->key, r->key_len));
            printf(": %s%s\n", r->deleted ? "(a delete) " : "", r->message);
        }
    }
    forget(&list);
    return EXIT_DONE;
}

static int quarantine_show(struct session *s, struct bytes key)
{
    struct wbcache_quarantined row;
    int code = wbcache_quarantine_get(s->cache, key.data, key.len, &row);
    if (code != WBCACHE_OK) {
        return output_failure(s, code);
    }
    if (s->json) {
        session_print_json(quarantine_json(&row));
        return EXIT_DONE;
    }
    output_quoted(key);
    printf(" is in quarantine, in group %u, for %s\n", row.group, human_age(row.since_ms).s);
    printf("  version       %" PRIu64 "\n", row.version);
    quarantine_print(&row);
    if (row.deleted) {
        puts("  value         none: what is refused is a delete");
    } else {
        printf("  value         %zu bytes:\n", row.length);
        output_quoted(bytes_of(row.value, row.value_len));
        putchar('\n');
    }
    return EXIT_DONE;
}

/* ---- retry ---- */

enum { POLL_MIN_MS = 50, POLL_MAX_MS = 1000 };

static uint64_t boot_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void pause_ms(unsigned ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

/* @now NULL: it has left the quarantine. */
static void tell_outcome(struct session *s, const struct refused *was, const struct refused *now, bool tried)
{
    const char *outcome = now == NULL ? "flushed" : tried ? "refused" : "not-tried";
    struct bytes key = bytes_of(was->key, was->key_len);
    if (s->json) {
        json_t *o = json_pack("{s:s}", "outcome", outcome);
        output_set_bytes(o, "key", key);
        if (now != NULL) {
            json_object_set_new(o, "sqlstate", json_string(now->sqlstate));
            output_set_bytes(o, "message", bytes_from_text(now->message));
            json_object_set_new(o, "attempts", json_integer(now->attempts));
        }
        session_print_json(o);
        return;
    }
    output_quoted(key);
    if (now == NULL) {
        puts(" flushed: PostgreSQL has it now");
    } else if (tried) {
        printf(" refused again: %s (%s)\n", now->message, now->sqlstate);
    } else {
        puts(" not tried in this time; it will be. See `wbclient status`");
    }
}

/* Say what came of each of @waiting that is known now; the exit code of these, and how many are left. */
static int tell_known(
    struct session *s, struct refused_list *waiting, const struct refused_list *now, size_t *left)
{
    int worst = EXIT_DONE;
    *left = 0;
    for (size_t i = 0; i < waiting->n; i++) {
        struct refused *was = &waiting->rows[i];
        if (was->seen) {
            continue;
        }
        const struct refused *is = find(now, bytes_of(was->key, was->key_len));
        /* Its count begins anew when it left quarantine and came back. */
        bool tried =
            is != NULL && (is->attempts != was->attempts || is->refused_version != was->refused_version);
        if (is != NULL && !tried) {
            ++*left;
            continue;
        }
        was->seen = true;
        tell_outcome(s, was, is, tried);
        worst = output_worse(worst, is == NULL ? EXIT_DONE : EXIT_QUARANTINED);
    }
    fflush(stdout);
    return worst;
}

static size_t unseen_keys(const struct refused_list *list, struct wbcache_key *keys)
{
    size_t n = 0;
    for (size_t i = 0; i < list->n; i++) {
        if (!list->rows[i].seen) {
            keys[n++] = (struct wbcache_key){.key = list->rows[i].key, .key_len = list->rows[i].key_len};
        }
    }
    return n;
}

/* Ask for those of @waiting that are not known to have been tried. A leader that has just begun has not heard
 * of it. */
static int ask(struct session *s, const struct refused_list *waiting)
{
    struct wbcache_key *keys = xcalloc(waiting->n + 1, sizeof *keys);
    size_t n = unseen_keys(waiting, keys);
    int code =
        n > 0 ? wbcache_quarantine_retry(s->cache, keys, n, NULL) : WBCACHE_OK; /* none would mean all */
    free(keys);
    return code;
}

/* Watch @waiting until each was tried, at most for @timeout_ms. */
static int watch(struct session *s, struct refused_list *waiting, uint64_t timeout_ms)
{
    uint64_t until_ms = boot_ms() + timeout_ms;
    unsigned poll_ms = POLL_MIN_MS;
    int worst = EXIT_DONE;
    size_t left = waiting->n;
    while (left > 0) {
        struct refused_list now;
        int code = collect(s, &now);
        if (code != WBCACHE_OK) {
            return output_failure(s, code);
        }
        worst = output_worse(worst, tell_known(s, waiting, &now, &left));
        bool late = boot_ms() >= until_ms;
        for (size_t i = 0; late && i < waiting->n; i++) {
            const struct refused *was = &waiting->rows[i];
            if (!was->seen) {
                tell_outcome(s, was, was, false);
                worst = output_worse(worst, EXIT_NOT_FLUSHED);
            }
        }
        forget(&now);
        if (late || left == 0) {
            break;
        }
        pause_ms(poll_ms);
        code = poll_ms == POLL_MAX_MS ? ask(s, waiting) : WBCACHE_OK;
        if (code != WBCACHE_OK) {
            return output_failure(s, code);
        }
        poll_ms = poll_ms < POLL_MAX_MS / 2 ? 2 * poll_ms : POLL_MAX_MS;
    }
    return worst;
}

/* Keep of @list what @keys name; a key that is not among them is told. The worst exit code. */
static int choose(struct session *s, struct refused_list *list, const struct bytes *keys, size_t n)
{
    int worst = EXIT_DONE;
    for (size_t i = 0; i < list->n; i++) {
        list->rows[i].seen = true;
    }
    for (size_t i = 0; i < n; i++) {
        struct refused *row = find(list, keys[i]);
        if (row != NULL) {
            row->seen = false;
            continue;
        }
        worst = EXIT_NOT_FOUND;
        if (s->json) {
            json_t *o = json_pack("{s:s}", "outcome", "not-in-quarantine");
            output_set_bytes(o, "key", keys[i]);
            session_print_json(o);
        } else {
            output_quoted(keys[i]);
            puts(" is not in quarantine");
        }
    }
    return worst;
}

static int retry_chosen(struct session *s, struct refused_list *list, uint64_t timeout_ms)
{
    int code = ask(s, list);
    return code != WBCACHE_OK ? output_failure(s, code) : watch(s, list, timeout_ms);
}

static int quarantine_retry(struct session *s, const struct bytes *args, size_t n)
{
    struct bytes *keys = xcalloc(n + 1, sizeof *keys);
    size_t n_keys = 0;
    uint64_t timeout_s = 0;
    bool all = false, good = true;
    for (size_t i = 0; i < n; i++) {
        if (args_is(args[i], "--all")) {
            all = true;
        } else if (args_is(args[i], "--timeout")) {
            good = i + 1 < n && args_number(args[i + 1], 86400, &timeout_s) && timeout_s > 0;
            i++;
        } else {
            keys[n_keys++] = args[i];
        }
        if (!good) {
            break;
        }
    }
    if (!good || all == (n_keys > 0)) {
        free(keys);
        return session_usage(s, "usage: quarantine retry KEY... or --all, and [--timeout SECONDS]");
    }
    struct refused_list list;
    int code = collect(s, &list);
    int result;
    if (code != WBCACHE_OK) {
        result = output_failure(s, code);
    } else {
        result = all ? EXIT_DONE : choose(s, &list, keys, n_keys);
        if (list.n == 0 && all && !s->json) {
            puts("nothing is in quarantine");
        }
        result =
            output_worse(result, retry_chosen(s, &list, timeout_s > 0 ? timeout_s * 1000 : s->deadline_ms));
        forget(&list);
    }
    free(keys);
    return result;
}

/* ---- drop ---- */

static bool confirmed(size_t n)
{
    char line[16] = "";
    fprintf(stderr,
        "The refused value%s of %zu key%s will be given up: %s is again what PostgreSQL has.\n"
        "This cannot be undone. Go on? [y/N] ",
        n == 1 ? "" : "s", n, n == 1 ? "" : "s", n == 1 ? "it" : "each");
    fflush(stderr);
    return fgets(line, sizeof line, stdin) != NULL && (line[0] == 'y' || line[0] == 'Y');
}

static int drop_chosen(struct session *s, struct refused_list *list, bool yes)
{
    struct wbcache_key *keys = xcalloc(list->n + 1, sizeof *keys);
    size_t n = unseen_keys(list, keys);
    uint64_t dropped = 0;
    int result = EXIT_DONE;
    if (n > 0 && !yes && !confirmed(n)) {
        fputs("Nothing was dropped.\n", stderr);
        result = EXIT_FAILED;
    } else if (n > 0) {
        int code = wbcache_quarantine_drop(s->cache, keys, n, &dropped);
        if (code != WBCACHE_OK) {
            result = output_failure(s, code);
        } else if (s->json) {
            session_print_json(json_pack("{s:b, s:I}", "ok", dropped == n, "dropped", (json_int_t)dropped));
        } else {
            printf("%s dropped\n", human_count(dropped).s);
        }
        if (code == WBCACHE_OK && dropped < n) {
            if (!s->json) {
                printf("%s left as %s: written, flushed or being tried just now; see `wbclient quarantine "
                       "list`\n",
                    human_count(n - dropped).s, n - dropped == 1 ? "it is" : "they are");
            }
            result = EXIT_CONDITION;
        }
    }
    free(keys);
    return result;
}

static int quarantine_drop(struct session *s, const struct bytes *args, size_t n)
{
    struct bytes *keys = xcalloc(n + 1, sizeof *keys);
    size_t n_keys = 0;
    bool yes = false;
    for (size_t i = 0; i < n; i++) {
        if (args_is(args[i], "--yes")) {
            yes = true;
        } else {
            keys[n_keys++] = args[i];
        }
    }
    int result;
    struct refused_list list;
    int code;
    if (n_keys == 0) {
        result = session_usage(s, "usage: quarantine drop KEY... [--yes]; only by name");
    } else if (!yes && (s->json || isatty(STDIN_FILENO) == 0)) {
        result = session_usage(s, "quarantine drop: nobody can be asked here; say --yes if it is meant");
    } else if ((code = collect(s, &list)) != WBCACHE_OK) {
        result = output_failure(s, code);
    } else {
        result = choose(s, &list, keys, n_keys);
        result = output_worse(result, drop_chosen(s, &list, yes));
        forget(&list);
    }
    free(keys);
    return result;
}

int command_quarantine(struct session *s, const struct bytes *args, size_t n)
{
    if (args_is(args[0], "list") && n == 1) {
        return quarantine_list(s);
    }
    if (args_is(args[0], "show") && n == 2) {
        return quarantine_show(s, args[1]);
    }
    if (args_is(args[0], "retry")) {
        return quarantine_retry(s, args + 1, n - 1);
    }
    if (args_is(args[0], "drop")) {
        return quarantine_drop(s, args + 1, n - 1);
    }
    return session_usage(s, "usage: quarantine list, show KEY, retry KEY...|--all, or drop KEY... [--yes]");
}
