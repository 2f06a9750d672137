#include "cluster-tests/verify.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cluster-tests/scenario.h"
#include "cluster-tests/sql.h"
#include "proto/base/alloc.h"
#include "proto/base/clock.h"

enum { KEYS_PER_READ = 256, PROBLEMS_SHOWN = 5, SETTLE_MS = 10000 };

/* What was seen for one key in one place. */
struct seen {
    bool found;
    uint64_t version;
    uint64_t sequence; /* of the value's mark */
};

struct picture {
    struct ledger *ledger;
    const char *where;
    struct seen *seen; /* by key number */
    uint64_t found;
    uint64_t unknown;
    uint64_t bad;
};

static void picture_init(struct picture *p, struct ledger *l, const char *where)
{
    *p = (struct picture){.ledger = l, .where = where};
    p->seen = xcalloc(ledger_keys(l), sizeof *p->seen);
}

static void picture_add(struct picture *p, uint32_t key, bool found, uint64_t version, struct bytes value)
{
    char why[256];
    enum ledger_verdict verdict = ledger_judge(p->ledger, key, found, version, value, why, sizeof why);
    if (verdict == LEDGER_LOST || verdict == LEDGER_WRONG) {
        if (p->bad++ < PROBLEMS_SHOWN) {
            char name[LEDGER_KEY_BYTES];
            ledger_key(p->ledger, key, name);
            say("%s: %s in %s: %s", verdict == LEDGER_LOST ? "LOST" : "WRONG", name, p->where, why);
        }
        return;
    }
    struct mark mark = {0};
    if (found && ledger_value_mark(p->ledger, key, value, &mark)) {
        p->found++;
        p->seen[key] = (struct seen){.found = true, .version = version, .sequence = mark.sequence};
    }
    p->unknown += verdict == LEDGER_UNKNOWN;
}

static struct wbcache *open_or_fail(struct cluster *c, unsigned deadline_ms)
{
    const struct wbcache_options options = {.deadline_ms = deadline_ms};
    struct wbcache *cache = NULL;
    int code = wbcache_open(&cache, c->addresses, &options);
    if (code != WBCACHE_OK) {
        fail_msg("no connection to the cluster: %s", cache == NULL ? "no memory" : wbcache_errmsg(cache));
    }
    return cache;
}

static void read_chunk(struct wbcache *cache, struct picture *p, uint32_t first, uint32_t n)
{
    struct wbcache_item items[KEYS_PER_READ];
    char names[KEYS_PER_READ][LEDGER_KEY_BYTES];
    memset(items, 0, sizeof items);
    for (uint32_t i = 0; i < n; i++) {
        items[i].key = names[i];
        items[i].key_len = ledger_key(p->ledger, first + i, names[i]);
    }
    int code = wbcache_mget(cache, items, n);
    if (code != WBCACHE_OK) {
        fail_msg("reading %u keys back: %s: %s", (unsigned)n, wbcache_code_name(code), wbcache_errmsg(cache));
    }
    for (uint32_t i = 0; i < n; i++) {
        bool found = items[i].code == WBCACHE_OK;
        if (!found && items[i].code != WBCACHE_NOT_FOUND) {
            fail_msg("reading %s back: %s", names[i], wbcache_code_name(items[i].code));
        }
        picture_add(p, first + i, found, items[i].version, bytes_of(items[i].value, items[i].value_len));
        free(items[i].value);
    }
}

static void read_cache(struct cluster *c, struct picture *p)
{
    struct wbcache *cache = open_or_fail(c, 15000);
    uint32_t n = ledger_keys(p->ledger);
    for (uint32_t first = 0; first < n; first += KEYS_PER_READ) {
        read_chunk(cache, p, first, n - first < KEYS_PER_READ ? n - first : KEYS_PER_READ);
    }
    wbcache_close(cache);
}

/* Rows of the ledger's keys that are in the table; the others are judged as missing afterwards. */
struct row_reader {
    struct picture *picture;
    bool *present;
};

static void on_row(void *data, const struct sql_entry *entry)
{
    struct row_reader *r = data;
    int64_t key = ledger_key_number(r->picture->ledger, entry->key);
    if (key >= 0) {
        r->present[key] = true;
        picture_add(r->picture, (uint32_t)key, true, entry->version, entry->value);
    }
}

static void read_database(PGconn *conn, struct picture *p)
{
    uint32_t n = ledger_keys(p->ledger);
    struct row_reader r = {.picture = p, .present = xcalloc(n, sizeof *r.present)};
    if (!sql_entries(conn, on_row, &r)) {
        fail_msg("cannot read the table: %s", PQerrorMessage(conn));
    }
    for (uint32_t key = 0; key < n; key++) {
        if (!r.present[key]) {
            picture_add(p, key, false, 0, bytes_of(NULL, 0));
        }
    }
    free(r.present);
}

static void expect_good(struct picture *p)
{
    if (p->bad > 0) {
        fail_msg("%" PRIu64 " keys are lost or wrong in %s", p->bad, p->where);
    }
}

void verify_cache(struct cluster *c, struct ledger *l)
{
    struct picture p;
    picture_init(&p, l, "the cache");
    read_cache(c, &p);
    expect_good(&p);
    say("  the cache has every acknowledged write: %" PRIu64 " keys, %" PRIu64
        " of them by a write of unknown outcome",
        p.found, p.unknown);
    free(p.seen);
}

static void flush_or_fail(struct cluster *c, unsigned timeout_ms)
{
    struct wbcache *cache = open_or_fail(c, timeout_ms);
    int code = wbcache_flush(cache);
    if (code != WBCACHE_OK) {
        fail_msg("flush: %s: %s", wbcache_code_name(code), wbcache_errmsg(cache));
    }
    wbcache_close(cache);
}

static uint64_t differences(const struct picture *a, const struct picture *b, uint32_t *example)
{
    uint64_t n = 0;
    for (uint32_t key = 0; key < ledger_keys(a->ledger); key++) {
        const struct seen *x = &a->seen[key];
        const struct seen *y = &b->seen[key];
        if (x->found != y->found || x->version != y->version || x->sequence != y->sequence) {
            *example = key;
            n++;
        }
    }
    return n;
}

/* One comparison: PostgreSQL first, so that nothing is in it that the cache has not. */
static uint64_t compare(struct cluster *c, PGconn *conn, struct ledger *l, uint32_t *example, uint64_t *rows)
{
    struct picture database;
    struct picture cache;
    picture_init(&database, l, "PostgreSQL");
    picture_init(&cache, l, "the cache");
    read_database(conn, &database);
    expect_good(&database);
    read_cache(c, &cache);
    expect_good(&cache);
    uint64_t n = differences(&database, &cache, example);
    *rows = database.found;
    free(database.seen);
    free(cache.seen);
    return n;
}

void verify_database(struct cluster *c, struct ledger *l, unsigned flush_timeout_ms)
{
    uint64_t until_ms = clock_boot_ms() + SETTLE_MS;
    PGconn *conn = NULL;
    for (;;) {
        flush_or_fail(c, flush_timeout_ms);
        if (conn == NULL) {
            conn = sql_connect_or_fail(c->database);
        }
        uint32_t example = 0;
        uint64_t rows = 0;
        uint64_t n = compare(c, conn, l, &example, &rows);
        if (n == 0) {
            say("  PostgreSQL has every acknowledged write after flush, and equals the cache: %" PRIu64
                " rows",
                rows);
            break;
        }
        if (clock_boot_ms() >= until_ms) {
            fail_msg("%" PRIu64 " keys differ between PostgreSQL and the cache, key number %u for one", n,
                (unsigned)example);
        }
        pass_ms(100);
    }
    PQfinish(conn);
}

void verify_all(struct cluster *c, struct ledger *l)
{
    verify_cache(c, l);
    verify_database(c, l, 30000);
}

int write_one(struct cluster *c, struct ledger *l, uint32_t key, unsigned deadline_ms, char *message,
    size_t message_len)
{
    const struct wbcache_options options = {.deadline_ms = deadline_ms};
    struct wbcache *cache = NULL;
    int code = wbcache_open(&cache, c->addresses, &options);
    if (code == WBCACHE_OK) {
        char name[LEDGER_KEY_BYTES];
        char value[LEDGER_VALUE_BYTES_MIN];
        size_t name_len = ledger_key(l, key, name);
        struct mark mark = ledger_mark(l, 1000, clock_boot_ms());
        ledger_value(l, key, mark, value, sizeof value);
        uint64_t before = ledger_version(l, key);
        uint64_t version = 0;
        code = wbcache_set(cache, name, name_len, value, sizeof value, &version);
        if (code == WBCACHE_OK) {
            ledger_acknowledge(l, key, mark, version, before, clock_boot_ms());
        } else if (code == WBCACHE_UNKNOWN) {
            ledger_unknown(l, key, mark);
        } else {
            ledger_refuse(l, key, mark);
        }
    }
    if (message != NULL) {
        snprintf(
            message, message_len, "%s", code == WBCACHE_OK || cache == NULL ? "" : wbcache_errmsg(cache));
    }
    wbcache_close(cache);
    return code;
}

int read_one(
    struct cluster *c, struct ledger *l, uint32_t key, unsigned deadline_ms, enum ledger_verdict *verdict)
{
    const struct wbcache_options options = {.deadline_ms = deadline_ms};
    struct wbcache *cache = NULL;
    int code = wbcache_open(&cache, c->addresses, &options);
    if (code == WBCACHE_OK) {
        char name[LEDGER_KEY_BYTES];
        size_t name_len = ledger_key(l, key, name);
        void *value = NULL;
        size_t value_len = 0;
        uint64_t version = 0;
        code = wbcache_get(cache, name, name_len, &value, &value_len, &version);
        if (verdict != NULL && (code == WBCACHE_OK || code == WBCACHE_NOT_FOUND)) {
            *verdict = ledger_judge(l, key, code == WBCACHE_OK, version, bytes_of(value, value_len), NULL, 0);
        }
        free(value);
    }
    wbcache_close(cache);
    return code;
}
