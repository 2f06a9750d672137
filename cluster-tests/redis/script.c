#include "cluster-tests/redis/script.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"

enum { LINE_BYTES = 8192, WORDS_MAX = 512, FILL_MAX = 2 * 1024 * 1024 };

/* ---- Files ---- */

/* What follows the title in brackets. */
static bool take_conditions(struct script_case *c, char *title)
{
    c->protocols = 1 << 2 | 1 << 3;
    for (char *open = strrchr(title, '('); open != NULL && title[strlen(title) - 1] == ')';
         open = strrchr(title, '(')) {
        if (strcmp(open, "(valkey)") == 0) {
            c->valkey = true;
        } else if (strcmp(open, "(RESP2)") == 0) {
            c->protocols = 1 << 2;
        } else if (strcmp(open, "(RESP3)") == 0) {
            c->protocols = 1 << 3;
        } else {
            break;
        }
        while (open > title && open[-1] == ' ') {
            open--;
        }
        *open = '\0';
    }
    return *title != '\0';
}

static char *copy_text(struct arena *arena, const char *text)
{
    size_t len = strlen(text) + 1;
    return memcpy(arena_alloc(arena, len), text, len);
}

/* The lists grow by doubling, in the arena: what they leave behind is small. */
static void *grown(struct arena *arena, void *list, uint32_t n, size_t size)
{
    if (n != 0 && (n & (n - 1)) != 0) {
        return list;
    }
    void *more = arena_alloc(arena, (n == 0 ? 1 : 2 * (size_t)n) * size);
    if (n > 0) {
        memcpy(more, list, n * size);
    }
    return more;
}

static bool take_line(struct script *s, char *line, unsigned number)
{
    size_t len = strlen(line);
    while (len > 0 && isspace((unsigned char)line[len - 1])) {
        line[--len] = '\0';
    }
    if (len == 0 || line[0] == '#') {
        return true;
    }
    if (strncmp(line, "== ", 3) == 0) {
        s->cases = grown(&s->arena, s->cases, s->n, sizeof *s->cases);
        struct script_case *c = &s->cases[s->n++];
        *c = (struct script_case){.line = number};
        char *title = copy_text(&s->arena, line + 3);
        c->title = title;
        return take_conditions(c, title);
    }
    if (s->n == 0) {
        return false;
    }
    struct script_case *c = &s->cases[s->n - 1];
    c->lines = grown(&s->arena, c->lines, c->n, sizeof *c->lines);
    c->numbers = grown(&s->arena, (void *)(uintptr_t)c->numbers, c->n, sizeof *c->numbers);
    ((unsigned *)(uintptr_t)c->numbers)[c->n] = number;
    c->lines[c->n++] = copy_text(&s->arena, line);
    return true;
}

/* Every case must make sense before the first is run. */
static bool all_mean_something(const struct script *s, char *error, size_t error_len)
{
    bool all = true;
    for (uint32_t i = 0; i < s->n && all; i++) {
        struct arena arena;
        arena_init(&arena);
        struct steps steps = {.arena = &arena};
        all = script_steps(&s->cases[i], "{t}", "{n}", &steps, error, error_len);
        arena_deinit(&arena);
    }
    return all;
}

bool script_read(struct script *s, const char *path, char *error, size_t error_len)
{
    *s = (struct script){0};
    arena_init(&s->arena);
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        snprintf(error, error_len, "cannot open %s", path);
        return false;
    }
    char *line = xmalloc(LINE_BYTES);
    bool ok = true;
    for (unsigned number = 1; ok && fgets(line, LINE_BYTES, f) != NULL; number++) {
        ok = strchr(line, '\n') != NULL && take_line(s, line, number);
        if (!ok) {
            snprintf(error, error_len, "%s:%u is too long, or stands before the first case", path, number);
        }
    }
    free(line);
    fclose(f);
    return ok && all_mean_something(s, error, error_len);
}

void script_free(struct script *s)
{
    arena_deinit(&s->arena);
    *s = (struct script){0};
}

/* ---- Words ---- */

struct reader {
    const char *at;
    const char *tag, *near_tag;
    unsigned round; /* for %i */
};

static int hex_of(char c)
{
    return isdigit((unsigned char)c)    ? c - '0'
           : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10
                                        : -1;
}

static bool read_escape(struct reader *r, struct buf *out)
{
    static const char letters[] = "rnt0\\\"", values[] = "\r\n\t\0\\\"";
    char c = *r->at++;
    if (c == 'x' && hex_of(r->at[0]) >= 0 && hex_of(r->at[1]) >= 0) {
        buf_append_u8(out, (uint8_t)(hex_of(r->at[0]) * 16 + hex_of(r->at[1])));
        r->at += 2;
        return true;
    }
    const char *found = c == '\0' ? NULL : strchr(letters, c);
    if (found != NULL) {
        buf_append_u8(out, (uint8_t)values[found - letters]);
    }
    return found != NULL;
}

/* A tag or the round's number, if one begins here. */
static bool read_replaced(struct reader *r, struct buf *out)
{
    char number[16];
    const char *with = NULL;
    size_t len = 3;
    if (strncmp(r->at, "{t}", 3) == 0) {
        with = r->tag;
    } else if (strncmp(r->at, "{n}", 3) == 0) {
        with = r->near_tag;
    } else if (strncmp(r->at, "%i", 2) == 0) {
        snprintf(number, sizeof number, "%u", r->round);
        with = number;
        len = 2;
    }
    if (with == NULL) {
        return false;
    }
    buf_append(out, with, strlen(with));
    r->at += len;
    return true;
}

/* ~100x is a hundred x; the text may be longer than one letter. */
static bool read_fill(struct reader *r, struct buf *out)
{
    char *text;
    unsigned long times = strtoul(r->at + 1, &text, 10);
    size_t len = strcspn(text, " \t");
    if (len == 0 || times * len > FILL_MAX) {
        return false;
    }
    for (unsigned long i = 0; i < times; i++) {
        buf_append(out, text, len);
    }
    r->at = text + len;
    return true;
}

static bool read_word(struct reader *r, struct buf *out)
{
    if (r->at[0] == '~' && isdigit((unsigned char)r->at[1])) {
        return read_fill(r, out);
    }
    const bool quoted = *r->at == '"';
    r->at += quoted;
    while (*r->at != '\0' && (quoted ? *r->at != '"' : !isspace((unsigned char)*r->at))) {
        if (quoted && *r->at == '\\') {
            r->at++;
            if (!read_escape(r, out)) {
                return false;
            }
        } else if (!read_replaced(r, out)) {
            buf_append_u8(out, (uint8_t)*r->at++);
        }
    }
    if (quoted && *r->at != '"') {
        return false;
    }
    r->at += quoted;
    return *r->at == '\0' || isspace((unsigned char)*r->at);
}

/* ---- Marks before a command: <name> or <name:word> ---- */

struct marks {
    enum step_kind kind;
    enum compare_kind compare;
    struct bytes word; /* borrowed from the line */
    unsigned connection;
    unsigned times;
};

static bool take_mark(struct marks *m, struct bytes name, struct bytes word)
{
    static const struct {
        const char *name;
        enum step_kind kind;
    } kinds[] = {{"silent", STEP_SILENT}, {"await", STEP_AWAIT}, {"gather", STEP_GATHER}, {"raw", STEP_RAW},
        {"closes", STEP_CLOSES}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (bytes_equal(name, bytes_from_text(kinds[i].name))) {
            m->kind = kinds[i].kind;
            return true;
        }
    }
    if (bytes_equal(name, bytes_from_text("2"))) {
        m->connection = 1;
        return true;
    }
    if (bytes_equal(name, bytes_from_text("repeat"))) {
        m->times = (unsigned)strtoul((const char *)word.data, NULL, 10);
        return m->times > 0;
    }
    m->compare = compare_by_name(name);
    m->word = word;
    return m->compare != COMPARE_KINDS && m->compare != COMPARE_EXACT;
}

static void skip_space(const char **at)
{
    while (isspace((unsigned char)**at)) {
        (*at)++;
    }
}

static bool take_marks(struct marks *m, const char **at)
{
    *m = (struct marks){.times = 1};
    for (skip_space(at); **at == '<'; skip_space(at)) {
        const char *end = strchr(*at, '>');
        if (end == NULL) {
            return false;
        }
        struct bytes name = bytes_of(*at + 1, (size_t)(end - *at) - 1), word = bytes_of(NULL, 0);
        const char *colon = memchr(name.data, ':', name.len);
        if (colon != NULL) {
            word = bytes_of(colon + 1, (size_t)(end - colon) - 1);
            name.len = (size_t)(colon - *at) - 1;
        }
        if (!take_mark(m, name, word)) {
            return false;
        }
        *at = end + 1;
    }
    return true;
}

static bool take_words(struct reader *r, struct steps *out, const struct marks *m, unsigned line)
{
    struct step *step = steps_add(out, WORDS_MAX);
    step->kind = m->kind;
    step->compare = m->compare;
    step->word = bytes_copy(out->arena, m->word);
    step->connection = m->connection;
    step->line = line;
    bool ok = true;
    for (skip_space(&r->at); *r->at != '\0' && ok; skip_space(&r->at)) {
        struct buf word;
        buf_init(&word);
        ok = step->n < WORDS_MAX && read_word(r, &word);
        if (ok) {
            step_arg(out, step, buf_bytes(&word));
        }
        buf_deinit(&word);
    }
    return ok && step->n > 0;
}

bool script_steps(const struct script_case *c, const char *tag, const char *near_tag, struct steps *out,
    char *error, size_t error_len)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct marks marks;
        const char *words = c->lines[i];
        bool ok = take_marks(&marks, &words);
        for (unsigned round = 0; ok && round < marks.times; round++) {
            struct reader r = {.at = words, .tag = tag, .near_tag = near_tag, .round = round};
            ok = take_words(&r, out, &marks, c->numbers[i]);
        }
        if (!ok) {
            snprintf(error, error_len, "line %u means nothing: %.200s", c->numbers[i], c->lines[i]);
            return false;
        }
    }
    return true;
}
