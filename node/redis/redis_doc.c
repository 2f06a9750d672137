/* Prints the table of the Redis front door's commands for docs/redis.md, from the rows of the table of
 * commands: redis_doc                 to standard output redis_doc --check FILE    fails unless FILE has it
 * between its two marker lines redis_doc --update FILE   puts it there */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/redis/local_util.h"

static const char begin_marker[] = "<!-- commands: begin (made by redis_doc --update docs/redis.md) -->\n";
static const char end_marker[] = "<!-- commands: end -->\n";

static const struct {
    const char *group, *title;
} groups[] = {
    {"string", "Strings"},
    {"hash", "Hashes"},
    {"generic", "Keys"},
    {"transactions", "Transactions"},
    {"connection", "Connections"},
    {"server", "Server"},
    {"cluster", "Cluster"},
    {"wbcache", "Our own"},
};

static void put(struct buf *out, const char *text)
{
    buf_append(out, text, strlen(text));
}

/* In capitals, and as one says it: CLIENT LIST. */
static void put_name(struct buf *out, const char *name)
{
    for (; *name != 0 && *name != ' '; name++) {
        buf_append_u8(out, (uint8_t)(*name == '|' ? ' ' : toupper((unsigned char)*name)));
    }
}

/* In a table's cell a | ends it. */
static void put_cell(struct buf *out, const char *text)
{
    for (; text != NULL && *text != 0; text++) {
        put(out, *text == '|' ? "\\" : "");
        buf_append_u8(out, (uint8_t)*text);
    }
}

static void put_group(struct buf *out, const char *group, const char *title)
{
    uint32_t n;
    const struct redis_command *rows = redis_commands(&n);
    local_print(out, "\n### %s\n\n| command | what it does | what differs |\n|---|---|---|\n", title);
    for (uint32_t i = 0; i < n; i++) {
        const struct redis_command *row = &rows[i];
        bool only_container = redis_command_is_container(row) && row->local == NULL;
        if (strcmp(row->group, group) != 0 || redis_command_is_refused(row) || only_container) {
            continue;
        }
        put(out, "| `");
        put_name(out, row->name);
        put(out, row->syntax != NULL ? " " : "");
        put_cell(out, row->syntax);
        local_print(out, "` | %s | ", row->summary);
        put_cell(out, row->note);
        put(out, " |\n");
    }
}

static void put_refused_subcommands(struct buf *out)
{
    uint32_t n;
    const struct redis_command *rows = redis_commands(&n);
    for (uint32_t i = 0; i < n; i++) {
        if (!redis_command_is_refused(&rows[i])) {
            continue;
        }
        bool told = false;
        for (uint32_t k = 0; k < i; k++) {
            told = told || (redis_command_is_refused(&rows[k]) && strcmp(rows[k].note, rows[i].note) == 0);
        }
        if (told) {
            continue;
        }
        put(out, "| ");
        for (uint32_t k = i; k < n; k++) {
            if (redis_command_is_refused(&rows[k]) && strcmp(rows[k].note, rows[i].note) == 0) {
                put(out, k == i ? "" : ", ");
                put_name(out, rows[k].name);
            }
        }
        local_print(out, " | %s |\n", rows[i].note);
    }
}

static void put_table(struct buf *out)
{
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        put_group(out, groups[i].group, groups[i].title);
    }
    put(out, "\n### Refused\n\n| commands | why |\n|---|---|\n");
    const char *names, *why;
    for (uint32_t i = 0; (names = redis_refused_names(i, &why)) != NULL; i++) {
        put(out, "| ");
        while (*names != 0) {
            put_name(out, names);
            names += strcspn(names, " ");
            if (*names == ' ') {
                put(out, " ");
                names++;
            }
        }
        local_print(out, " | %s |\n", why);
    }
    put_refused_subcommands(out);
    put(out, "\n");
}

/* The whole of a file, with a NUL behind it. False: it cannot be read. */
static bool read_file(const char *path, struct buf *out)
{
    FILE *file = fopen(path, "rb");
    char block[4096];
    size_t n;
    if (file == NULL) {
        return false;
    }
    while ((n = fread(block, 1, sizeof(block), file)) > 0) {
        buf_append(out, block, n);
    }
    buf_append_u8(out, 0);
    return fclose(file) == 0 && !out->failed;
}

static int update(
    const char *path, const char *before, size_t before_len, struct bytes table, const char *after)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    fwrite(before, 1, before_len, file);
    fwrite(table.data, 1, table.len, file);
    fwrite(after, 1, strlen(after), file);
    return fclose(file) == 0 ? 0 : 1;
}

static int check_or_update(const char *option, const char *path, struct bytes table)
{
    struct buf text;
    buf_init(&text);
    if (!read_file(path, &text)) {
        perror(path);
        buf_deinit(&text);
        return 1;
    }
    const char *all = (const char *)text.data;
    const char *begin = strstr(all, begin_marker), *end = begin != NULL ? strstr(begin, end_marker) : NULL;
    int result = 1;
    if (end == NULL) {
        fprintf(stderr, "redis_doc: %s does not have the two marker lines\n", path);
    } else if (begin += strlen(begin_marker), strcmp(option, "--update") == 0) {
        result = update(path, all, (size_t)(begin - all), table, end);
    } else if (!bytes_equal(table, bytes_of(begin, (size_t)(end - begin)))) {
        fprintf(stderr,
            "redis_doc: the table in %s is not what the commands' rows say; run: redis_doc --update %s\n",
            path, path);
    } else {
        result = 0;
    }
    buf_deinit(&text);
    return result;
}

int main(int argc, char **argv)
{
    struct buf table;
    int result = 0;
    buf_init(&table);
    put_table(&table);
    if (argc == 3 && (strcmp(argv[1], "--check") == 0 || strcmp(argv[1], "--update") == 0)) {
        result = check_or_update(argv[1], argv[2], buf_bytes(&table));
    } else if (argc == 1) {
        fwrite(table.data, 1, table.len, stdout);
    } else {
        fprintf(stderr, "usage: redis_doc [--check FILE | --update FILE]\n");
        result = 2;
    }
    buf_deinit(&table);
    return result;
}
