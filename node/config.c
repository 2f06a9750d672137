/* Reading the configuration with libconfuse. Each option is a row of a table here: its type, default and
 * range; what is wrong with one value is found in the callback that parses it, because only there libconfuse
 * knows the line. What concerns several options is checked at the end. The first error is the one that is
 * told. */
#include "node/config.h"

#include <confuse.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "node/config_words.h"
#include "proto/base/alloc.h"
#include "proto/base/buf.h"
#include "proto/base/check.h"

/* ---- The options ---- */

enum number_kind {
    NUMBER_COUNT, /* digits */
    NUMBER_MS,    /* digits */
    NUMBER_SIZE,  /* digits, with KiB, MiB, GiB if wanted */
};

struct number_option {
    const char *section; /* "root" for the file's top level, as libconfuse calls it */
    const char *name;
    size_t at;   /* in struct config */
    size_t size; /* of the member: unsigned or uint64_t */
    enum number_kind kind;
    uint64_t standard; /* the default */
    uint64_t min;
    uint64_t max;
};

#define MEMBER(member)    offsetof(struct config, member), sizeof(((struct config *)0)->member)
#define TOP(name)         "root", #name, MEMBER(name)
#define IN(section, name) #section, #name, MEMBER(section.name)

/* As the default: not given, see derive(). */
enum { DERIVED = 0 };
enum { MINUTE_MS = 60 * 1000, DAY_MS = 24 * 60 * MINUTE_MS };
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define TIB (1024 * 1024 * MIB)

static const struct number_option numbers[] = {
    {TOP(node_id), NUMBER_COUNT, 0, 1, UINT32_MAX}, /* 0: not given */
    {TOP(groups), NUMBER_COUNT, 3, 1, LIMIT_GROUPS},
    {IN(raft, election_timeout_ms), NUMBER_MS, 300, 50, MINUTE_MS},
    {IN(raft, heartbeat_ms), NUMBER_MS, 50, 5, MINUTE_MS},
    {IN(raft, snapshot_log_bytes), NUMBER_SIZE, DERIVED, 4 * KIB, TIB},
    {IN(raft, snapshot_trailing), NUMBER_COUNT, 8192, 64,
        10 * 1000 * 1000}, /* more than may be under way to a follower (32): one whose snapshot leaves it less
                              is never caught up again by a leader that missed its answers, or crashes */
    {IN(raft, spread_stable_ms), NUMBER_MS, 3000, 0, DAY_MS},
    {IN(flush, age_ms), NUMBER_MS, 500, 0, DAY_MS},
    {IN(flush, batch_rows), NUMBER_COUNT, 5000, 1, 100 * 1000},
    {IN(flush, batch_bytes), NUMBER_SIZE, 4 * MIB, 4 * KIB, 128 * MIB},
    {IN(flush, in_flight), NUMBER_COUNT, 2, 1, 16},
    {IN(flush, retry_min_ms), NUMBER_MS, 50, 1, DAY_MS},
    {IN(flush, retry_max_ms), NUMBER_MS, 3000, 1, DAY_MS},
    {IN(flush, connect_timeout_ms), NUMBER_MS, 3000, 1, DAY_MS},
    {IN(flush, lock_timeout_ms), NUMBER_MS, 5000, 0, DAY_MS},
    {IN(flush, statement_timeout_ms), NUMBER_MS, 60000, 0, DAY_MS},
    {IN(flush, expiry_sweep_ms), NUMBER_MS, 5000, 0, DAY_MS},
    {IN(flush, note_ms), NUMBER_MS, 1000, 10, MINUTE_MS},
    {IN(flush, retention_s), NUMBER_COUNT, 120, 0, DAY_MS / 1000},
    {IN(flush, retention_bytes), NUMBER_SIZE, DERIVED, 4 * KIB, TIB},
    {IN(flush, connections), NUMBER_COUNT, 4, 1, 256},
    {IN(flush, quarantine_retry_min_ms), NUMBER_MS, 1000, 1, DAY_MS},
    {IN(flush, quarantine_retry_max_ms), NUMBER_MS, 5 * MINUTE_MS, 1, DAY_MS},
    {IN(redis, request_timeout_ms), NUMBER_MS, 5000, 10, DAY_MS},
    {IN(redis, leader_wait_ms), NUMBER_MS, 1500, 0, DAY_MS},
    {IN(limits, memory_max), NUMBER_SIZE, 2048 * MIB, 16 * MIB, TIB},
    {IN(limits, dirty_bytes), NUMBER_SIZE, DERIVED, 64 * KIB, TIB},
    {IN(limits, dirty_entries), NUMBER_COUNT, DERIVED, 1, UINT64_C(1000) * 1000 * 1000},
    {IN(limits, sessions), NUMBER_COUNT, 10000, 1, 1000 * 1000},
    {IN(limits, session_bytes), NUMBER_SIZE, DERIVED, 4 * KIB, TIB},
    {IN(limits, connections), NUMBER_COUNT, 10000, 1, 1000 * 1000},
    {IN(limits, requests_per_connection), NUMBER_COUNT, 4096, 1, 1000 * 1000},
    {IN(limits, output_bytes), NUMBER_SIZE, 8 * MIB, 4 * KIB, TIB},
    {IN(limits, client_bytes), NUMBER_SIZE, 256 * MIB, MIB, TIB},
    {IN(limits, idle_timeout_ms), NUMBER_MS, 0, 0, DAY_MS},
    {IN(limits, frame_timeout_ms), NUMBER_MS, 10000, 0, DAY_MS},
    {IN(limits, disk_free_min_bytes), NUMBER_SIZE, 256 * MIB, 0, TIB},
};
enum { NUMBERS = sizeof numbers / sizeof numbers[0] };

struct text_option {
    const char *name;     /* all are at the top level */
    const char *standard; /* the default; NULL: it must be given */
    bool (*good)(const char *text);
    const char *must_be;
};
static const struct text_option texts[] = {
    {"cluster", "wbcache", config_is_cluster_name, "1 to 64 letters, digits, '.', '_' or '-'"},
    {"data_dir", NULL, config_is_something, "the path of a folder"},
    {"database", NULL, config_is_something,
        "a connection string, such as \"host=db1 dbname=shop user=wbcache\""},
    {"schema", "wb", config_is_identifier,
        "1 to 63 lower case letters, digits or '_', and not begin with a digit"},
    {"log_level", "info", config_is_log_level, "error, warn, info or debug"},
};
enum { TEXTS = sizeof texts / sizeof texts[0] };

/* Sections of numbers; beside them there are the nodes. */
static const char *const sections[] = {"raft", "flush", "redis", "limits"};
enum { SECTIONS = sizeof sections / sizeof sections[0] };

/* ---- What one load knows ---- */

/* A hidden option of every section leads the callbacks here; its name cannot be written as a word in the
 * file. */
#define CONTEXT "(context)"
/* Libconfuse takes the end of the file for the end of a section. So an option is put behind the file's text,
 * which every section knows, and only the top level likes. */
#define END "end-of-file"
enum { FILE_BYTES_MAX = 1024 * 1024, READ_BYTES = 16 * 1024, ADDRESSES_MAX = 3 * LIMIT_NODES };

struct seen_address {
    char *text; /* owned */
    int line;
};
struct load {
    const char *path;
    char *errmsg;
    size_t len;
    bool failed;
    int node_id_line;
    struct seen_address addresses[ADDRESSES_MAX];
    unsigned n_addresses;
    const cfg_opt_t *given[NUMBERS + TEXTS + ADDRESSES_MAX + 8]; /* options that the file has set */
    unsigned n_given;
};

static struct load *load_of(cfg_t *cfg)
{
    return (void *)cfg_getopt(cfg, CONTEXT)->simple_value.ptr;
}

static void say_error(struct load *load, int line, const char *format, va_list args)
{
    if (load->failed) {
        return;
    }
    load->failed = true;
    int used = snprintf(load->errmsg, load->len, "%s:%d: ", load->path, line);
    if (used >= 0 && (size_t)used < load->len) {
        vsnprintf(load->errmsg + used, load->len - (size_t)used, format, args);
    }
}

/* libconfuse's own complaints, and those that the callbacks make through cfg_error. */
static void on_error(cfg_t *cfg, const char *format, va_list args)
{
    say_error(load_of(cfg), cfg->line, format, args);
}

__attribute__((format(printf, 3, 4))) static bool fail(struct load *load, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say_error(load, line, format, args);
    va_end(args);
    return false;
}

/* Libconfuse lets the last of two values win; a person who wrote two should be asked. */
static bool given_twice(cfg_t *cfg, const cfg_opt_t *opt)
{
    struct load *load = load_of(cfg);
    for (unsigned i = 0; i < load->n_given; i++) {
        if (load->given[i] == opt) {
            cfg_error(cfg, "%s is given twice", opt->name);
            return true;
        }
    }
    if (load->n_given == sizeof load->given / sizeof load->given[0]) {
        cfg_error(cfg, "too many sections: each but node may be given once");
        return true;
    }
    load->given[load->n_given++] = opt;
    return false;
}

/* ---- Values, as libconfuse meets them ---- */

static int on_number(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
    const struct number_option *row = NULL;
    for (size_t i = 0; i < NUMBERS; i++) {
        if (strcmp(numbers[i].section, cfg->name) == 0 && strcmp(numbers[i].name, opt->name) == 0) {
            row = &numbers[i];
        }
    }
    CHECK(row != NULL);
    if (given_twice(cfg, opt)) {
        return -1;
    }
    bool size = row->kind == NUMBER_SIZE;
    uint64_t n;
    bool parsed =
        size ? config_parse_size(text, &n) : config_parse_digits(text, strlen(text), UINT64_MAX, &n);
    if (!parsed || n < row->min || n > row->max) {
        cfg_error(cfg, "%s must be a %s from %" PRIu64 " to %" PRIu64 "%s, not \"%s\"", opt->name,
            size ? "size" : "whole number", row->min, row->max,
            size                     ? " in bytes (or with KiB, MiB, GiB)"
            : row->kind == NUMBER_MS ? " in milliseconds"
                                     : "",
            text);
        return -1;
    }
    if (strcmp(opt->name, "node_id") == 0) {
        load_of(cfg)->node_id_line = cfg->line;
    }
    *(long *)result = (long)n;
    return 0;
}

static int on_text(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
    const struct text_option *row = NULL;
    for (size_t i = 0; i < TEXTS; i++) {
        if (strcmp(texts[i].name, opt->name) == 0) {
            row = &texts[i];
        }
    }
    CHECK(row != NULL);
    if (given_twice(cfg, opt)) {
        return -1;
    }
    if (!row->good(text)) {
        cfg_error(cfg, "%s must be %s, not \"%s\"", opt->name, row->must_be, text);
        return -1;
    }
    *(const char **)result = text; /* libconfuse makes its own copy */
    return 0;
}

static int on_bool(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
    if (given_twice(cfg, opt)) {
        return -1;
    }
    int yes = cfg_parse_boolean(text);
    if (yes < 0) {
        cfg_error(cfg, "%s must be true or false, not \"%s\"", opt->name, text);
        return -1;
    }
    *(cfg_bool_t *)result = yes ? cfg_true : cfg_false;
    return 0;
}

static int on_end(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
    if (strcmp(cfg->name, "root") != 0) {
        cfg_error(cfg, "section %s is not closed", cfg->name);
        return -1;
    }
    *(long *)result = 0;
    return given_twice(cfg, opt) ? -1 : 0;
}

/* What clients of Redis are told has room for so many. */
enum { REDIS_HOST_CHARS_MAX = 63 };

static int on_address(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
    struct load *load = load_of(cfg);
    if (given_twice(cfg, opt)) {
        return -1;
    }
    if (!config_is_address(text)) {
        cfg_error(cfg, "%s must be HOST:PORT (an IPv6 host in brackets, a port from 1 to 65535), not \"%s\"",
            opt->name, text);
        return -1;
    }
    if (strcmp(opt->name, "redis") == 0 && strrchr(text, ':') - text > REDIS_HOST_CHARS_MAX) {
        cfg_error(
            cfg, "the host of redis must have at most %d characters, not \"%s\"", REDIS_HOST_CHARS_MAX, text);
        return -1;
    }
    for (unsigned i = 0; i < load->n_addresses; i++) {
        if (strcasecmp(load->addresses[i].text, text) == 0) {
            cfg_error(
                cfg, "%s \"%s\" is already in use, in line %d", opt->name, text, load->addresses[i].line);
            return -1;
        }
    }
    if (load->n_addresses == ADDRESSES_MAX) {
        cfg_error(cfg, "too many node sections: at most %d", LIMIT_NODES);
        return -1;
    }
    load->addresses[load->n_addresses++] = (struct seen_address){.text = xstrdup(text), .line = cfg->line};
    *(const char **)result = text;
    return 0;
}

/* ---- The whole ---- */

enum { OPTIONS_MAX = NUMBERS + TEXTS + 16 };

static cfg_opt_t context_option(struct load *load)
{
    cfg_opt_t opt = CFG_PTR_CB(CONTEXT, NULL, CFGF_NONE, NULL, NULL);
    opt.simple_value.ptr = (void *)load;
    return opt;
}

/* Append the numbers of @section to @opts, then what every section has. */
static void add_numbers(cfg_opt_t *opts, size_t n, const char *section, struct load *load)
{
    for (size_t i = 0; i < NUMBERS; i++) {
        if (strcmp(numbers[i].section, section) == 0) {
            opts[n++] =
                (cfg_opt_t)CFG_INT_CB(numbers[i].name, (long)numbers[i].standard, CFGF_NONE, on_number);
        }
    }
    opts[n++] = (cfg_opt_t)CFG_INT_CB(END, 0, CFGF_NONE, on_end);
    opts[n++] = context_option(load);
    opts[n++] = (cfg_opt_t)CFG_END();
    CHECK(n <= OPTIONS_MAX);
}

/* Libconfuse's description of the file. It copies what it needs. */
static cfg_t *describe(struct load *load)
{
    cfg_opt_t sub[SECTIONS][OPTIONS_MAX];
    cfg_opt_t top[OPTIONS_MAX];
    cfg_opt_t node[] = {CFG_STR_CB("peer", NULL, CFGF_NONE, on_address),
        CFG_STR_CB("client", NULL, CFGF_NONE, on_address), CFG_STR_CB("redis", NULL, CFGF_NONE, on_address),
        CFG_INT_CB(END, 0, CFGF_NONE, on_end), context_option(load), CFG_END()};
    size_t n = 0;
    for (size_t i = 0; i < TEXTS; i++) {
        top[n++] = (cfg_opt_t)CFG_STR_CB(texts[i].name, texts[i].standard, CFGF_NONE, on_text);
    }
    top[n++] = (cfg_opt_t)CFG_BOOL_CB("allow_few_nodes", cfg_false, CFGF_NONE, on_bool);
    top[n++] = (cfg_opt_t)CFG_BOOL_CB("watch", cfg_false, CFGF_NONE, on_bool);
    top[n++] = (cfg_opt_t)CFG_SEC("node", node, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES);
    for (size_t i = 0; i < SECTIONS; i++) {
        add_numbers(sub[i], 0, sections[i], load);
        /* MULTI: a second one is seen then, instead of replacing the first. */
        top[n++] = (cfg_opt_t)CFG_SEC(sections[i], sub[i], CFGF_MULTI);
    }
    add_numbers(top, n, "root", load);
    cfg_t *cfg = cfg_init(top, CFGF_NONE);
    CHECK(cfg != NULL);
    cfg_set_error_function(cfg, on_error);
    return cfg;
}

static void take_numbers(cfg_t *cfg, struct config *out)
{
    for (size_t i = 0; i < NUMBERS; i++) {
        const struct number_option *row = &numbers[i];
        bool top = strcmp(row->section, "root") == 0;
        cfg_t *section = top                               ? cfg
                         : cfg_size(cfg, row->section) > 0 ? cfg_getnsec(cfg, row->section, 0)
                                                           : NULL;
        uint64_t n = section != NULL ? (uint64_t)cfg_getint(section, row->name) : row->standard;
        char *at = (char *)out + row->at;
        if (row->size == sizeof(uint64_t)) {
            memcpy(at, &n, sizeof n);
        } else {
            CHECK(row->size == sizeof(unsigned) && n <= UINT32_MAX);
            unsigned small = (unsigned)n;
            memcpy(at, &small, sizeof small);
        }
    }
}

static bool take_nodes(struct load *load, cfg_t *cfg, struct config *out)
{
    for (unsigned i = 0; i < cfg_size(cfg, "node"); i++) {
        cfg_t *section = cfg_getnsec(cfg, "node", i);
        const char *title = cfg_title(section);
        uint64_t id;
        if (!config_parse_digits(title, strlen(title), UINT32_MAX, &id) || title[0] == '0') {
            return fail(load, section->line,
                "a node's title must be its id, a whole number from 1 to %" PRIu32 ", not \"%s\"", UINT32_MAX,
                title);
        }
        if (i == LIMIT_NODES) {
            return fail(load, section->line, "too many node sections: at most %d", LIMIT_NODES);
        }
        const char *peer = cfg_getstr(section, "peer");
        const char *client = cfg_getstr(section, "client");
        if (peer == NULL || client == NULL) {
            return fail(load, section->line, "node \"%s\" needs a line %s = \"HOST:PORT\"", title,
                peer == NULL ? "peer" : "client");
        }
        const char *redis = cfg_getstr(section, "redis");
        if (i > 0 && (redis == NULL) != (out->nodes[0].redis == NULL)) {
            return fail(load, section->line,
                "node \"%s\" has %s line redis = \"HOST:PORT\", and node \"%" PRIu64
                "\" has %s: all nodes have one, or none",
                title, redis == NULL ? "no" : "a", out->nodes[0].id, redis == NULL ? "one" : "none");
        }
        out->nodes[out->n_nodes++] = (struct config_node){.id = id,
            .peer = xstrdup(peer),
            .client = xstrdup(client),
            .redis = redis == NULL ? NULL : xstrdup(redis)};
    }
    return true;
}

static bool sections_are_single(struct load *load, cfg_t *cfg)
{
    for (size_t i = 0; i < SECTIONS; i++) {
        if (cfg_size(cfg, sections[i]) > 1) {
            return fail(
                load, cfg_getnsec(cfg, sections[i], 1)->line, "section %s is given twice", sections[i]);
        }
    }
    return true;
}

/* The line where @section ends; the file's last one when it is not there. */
static int section_line(cfg_t *cfg, const char *section)
{
    return cfg_size(cfg, section) > 0 ? cfg_getnsec(cfg, section, 0)->line : cfg->line;
}

static uint64_t between(uint64_t least, uint64_t n, uint64_t most)
{
    return n < least ? least : n > most ? most : n;
}

/* What is not given follows from memory_max: half of it may wait for the database, with at most so many keys
 * that what each takes beside its bytes fits in, too; a sixteenth is for what sessions remember, and another
 * for the log in memory; a thirty-second keeps flushed keys for a database that goes back in time, or 1 MiB
 * of each group's if there is room for that. */
static void derive(struct config *c)
{
    uint64_t each = c->limits.memory_max / c->groups;
    if (c->limits.dirty_bytes == DERIVED) {
        c->limits.dirty_bytes = between(64 * KIB, each / 2, 256 * MIB);
    }
    if (c->limits.dirty_entries == DERIVED) {
        c->limits.dirty_entries = between(64, each / 1024, 1000 * 1000);
    }
    if (c->limits.session_bytes == DERIVED) {
        c->limits.session_bytes = between(64 * KIB, each / 16, 16 * MIB);
    }
    if (c->flush.retention_bytes == DERIVED) {
        c->flush.retention_bytes =
            between(64 * KIB, between(MIB, each / 32, TIB), between(64 * KIB, each / 4, TIB));
    }
    if (c->raft.snapshot_log_bytes == DERIVED) {
        c->raft.snapshot_log_bytes = between(MIB, each / 16 / MIB * MIB, 128 * MIB);
    }
}

static bool is_consistent(struct load *load, cfg_t *cfg, const struct config *c)
{
    if (c->node_id == 0) {
        return fail(load, cfg->line, "node_id is missing: which of the nodes is this one?");
    }
    for (size_t i = 0; i < TEXTS; i++) {
        if (cfg_getstr(cfg, texts[i].name) == NULL) {
            return fail(load, cfg->line, "%s is missing: it must be %s", texts[i].name, texts[i].must_be);
        }
    }
    if (c->n_nodes == 0) {
        return fail(load, cfg->line, "there is no node section: each node of the cluster needs one");
    }
    if (config_self(c) == NULL) {
        return fail(load, load->node_id_line,
            "node_id is %" PRIu64 ", but there is no section node \"%" PRIu64 "\"", c->node_id, c->node_id);
    }
    if (c->n_nodes < 3 && !c->allow_few_nodes) {
        return fail(load, cfg->line,
            "%u node%s cannot survive the loss of one: describe at least 3 nodes, or set "
            "allow_few_nodes = true where losing data is acceptable",
            c->n_nodes, c->n_nodes == 1 ? "" : "s");
    }
    if (c->raft.election_timeout_ms < 3 * c->raft.heartbeat_ms) {
        return fail(load, section_line(cfg, "raft"),
            "election_timeout_ms (%u) must be at least 3 * heartbeat_ms (%u)", c->raft.election_timeout_ms,
            c->raft.heartbeat_ms);
    }
    if (c->limits.dirty_bytes > c->limits.memory_max / 4 * 3 / c->groups) {
        return fail(load, section_line(cfg, "limits"),
            "dirty_bytes (%" PRIu64 ") of %u groups is more than three quarters of memory_max (%" PRIu64
            "): what waits for the database stays in memory; raise memory_max, or lower dirty_bytes",
            c->limits.dirty_bytes, c->groups, c->limits.memory_max);
    }
    if (c->flush.retention_bytes > between(64 * KIB, c->limits.memory_max / 4 / c->groups, TIB)) {
        return fail(load, section_line(cfg, "flush"),
            "retention_bytes (%" PRIu64 ") of %u groups is more than a quarter of memory_max (%" PRIu64
            "): what is retained stays in memory; raise memory_max, or lower retention_bytes",
            c->flush.retention_bytes, c->groups, c->limits.memory_max);
    }
    if (c->flush.quarantine_retry_max_ms < c->flush.quarantine_retry_min_ms) {
        return fail(load, section_line(cfg, "flush"),
            "quarantine_retry_max_ms (%u) must not be less than quarantine_retry_min_ms (%u)",
            c->flush.quarantine_retry_max_ms, c->flush.quarantine_retry_min_ms);
    }
    if (c->flush.retry_max_ms < c->flush.retry_min_ms) {
        return fail(load, section_line(cfg, "flush"),
            "retry_max_ms (%u) must not be less than retry_min_ms (%u)", c->flush.retry_max_ms,
            c->flush.retry_min_ms);
    }
    return true;
}

static void take_texts(cfg_t *cfg, struct config *out)
{
    out->cluster = xstrdup(cfg_getstr(cfg, "cluster"));
    out->data_dir = xstrdup(cfg_getstr(cfg, "data_dir"));
    out->database = xstrdup(cfg_getstr(cfg, "database"));
    out->schema = xstrdup(cfg_getstr(cfg, "schema"));
    out->log_level = (enum log_level)log_level_parse(cfg_getstr(cfg, "log_level"));
}

/* Append the file's content to @out: a libconfuse that reads it itself ends the process at a read error. */
static enum status read_file(struct load *load, struct buf *out)
{
    FILE *file = fopen(load->path, "re");
    size_t n = 1;
    while (file != NULL && n > 0 && out->len <= FILE_BYTES_MAX) {
        uint8_t *room = buf_reserve(out, READ_BYTES);
        CHECK(room != NULL);
        n = fread(room, 1, READ_BYTES, file);
        out->len += n;
    }
    if (file == NULL || ferror(file)) {
        snprintf(load->errmsg, load->len, "%s: cannot be read: %s", load->path, strerror(errno));
    }
    enum status status = file == NULL || ferror(file) ? STATUS_IO : STATUS_OK;
    if (file != NULL) {
        fclose(file);
    }
    return status;
}

static bool parse(struct load *load, cfg_t *cfg, struct buf *text)
{
    if (text->len > FILE_BYTES_MAX || memchr(text->data, 0, text->len) != NULL) {
        return fail(load, 1, "this is no configuration file: it is too long, or has a zero byte");
    }
    if (text->len > 0 && text->data[text->len - 1] != '\n') {
        buf_append_u8(text, '\n');
    }
    buf_append(text, END " = 0", sizeof END " = 0"); /* with the terminator */
    CHECK(!text->failed);
    if (cfg_parse_buf(cfg, (const char *)text->data) != CFG_SUCCESS) {
        return fail(load, cfg->line, "this is not understood");
    }
    return !load->failed;
}

static bool take(struct load *load, cfg_t *cfg, struct config *out)
{
    take_numbers(cfg, out);
    derive(out);
    out->allow_few_nodes = cfg_getbool(cfg, "allow_few_nodes") == cfg_true;
    out->watch = cfg_getbool(cfg, "watch") == cfg_true;
    if (!sections_are_single(load, cfg) || !take_nodes(load, cfg, out) || !is_consistent(load, cfg, out)) {
        return false;
    }
    take_texts(cfg, out);
    return true;
}

enum status config_load(const char *path, struct config *out, char *errmsg, size_t len)
{
    struct load load = {.path = path, .errmsg = errmsg, .len = len};
    struct buf text;
    buf_init(&text);
    enum status status = read_file(&load, &text);
    if (status == STATUS_OK) {
        struct config config = {0};
        cfg_t *cfg = describe(&load);
        if (parse(&load, cfg, &text) && take(&load, cfg, &config)) {
            config.path = xstrdup(path);
            *out = config;
        } else {
            config_deinit(&config);
            status = STATUS_INVALID;
        }
        cfg_free(cfg);
    }
    for (unsigned i = 0; i < load.n_addresses; i++) {
        free(load.addresses[i].text);
    }
    buf_deinit(&text);
    return status;
}

void config_deinit(struct config *config)
{
    for (unsigned i = 0; i < config->n_nodes; i++) {
        free(config->nodes[i].peer);
        free(config->nodes[i].client);
        free(config->nodes[i].redis);
    }
    free(config->path);
    free(config->cluster);
    free(config->data_dir);
    free(config->database);
    free(config->schema);
    *config = (struct config){0};
}

const struct config_node *config_self(const struct config *config)
{
    for (unsigned i = 0; i < config->n_nodes; i++) {
        if (config->nodes[i].id == config->node_id) {
            return &config->nodes[i];
        }
    }
    return NULL;
}
