#include "cluster-tests/redis/step.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

enum { PRINT_BYTES_MAX = 400, HEAD_CHARS = 32 };

struct step *steps_add(struct steps *s, uint32_t args)
{
    if (s->n == s->cap) {
        uint32_t cap = s->cap == 0 ? 16 : 2 * s->cap;
        struct step *list = arena_alloc(s->arena, cap * sizeof *list);
        if (s->n > 0) {
            memcpy(list, s->list, s->n * sizeof *list);
        }
        s->list = list;
        s->cap = cap;
    }
    struct step *step = &s->list[s->n++];
    *step = (struct step){.args = arena_alloc(s->arena, (args + 1) * sizeof *step->args)};
    return step;
}

struct bytes bytes_copy(struct arena *arena, struct bytes b)
{
    uint8_t *copy = arena_alloc(arena, b.len + 1);
    if (b.len > 0) {
        memcpy(copy, b.data, b.len);
    }
    return bytes_of(copy, b.len);
}

void step_arg(struct steps *s, struct step *step, struct bytes arg)
{
    step->args[step->n++] = bytes_copy(s->arena, arg);
}

void step_arg_text(struct steps *s, struct step *step, const char *text)
{
    step_arg(s, step, bytes_from_text(text));
}

bool step_is(const struct step *step, const char *name)
{
    size_t len = strlen(name);
    return step->n > 0 && step->args[0].len == len &&
           strncasecmp((const char *)step->args[0].data, name, len) == 0;
}

void step_encode(const struct step *step, struct buf *out)
{
    const struct bytes first = step->args[0];
    if (step->kind == STEP_RAW ||
        (step->kind == STEP_CLOSES && first.len > 0 && first.data[first.len - 1] == '\n')) {
        buf_append(out, step->args[0].data, step->args[0].len);
        return;
    }
    char head[HEAD_CHARS];
    buf_append(out, head, (size_t)snprintf(head, sizeof head, "*%u\r\n", step->n));
    for (uint32_t i = 0; i < step->n; i++) {
        buf_append(out, head, (size_t)snprintf(head, sizeof head, "$%zu\r\n", step->args[i].len));
        buf_append(out, step->args[i].data, step->args[i].len);
        buf_append(out, "\r\n", 2);
    }
}

void bytes_print(FILE *out, struct bytes b, size_t max)
{
    fputc('"', out);
    for (size_t i = 0; i < b.len && i < max; i++) {
        uint8_t c = b.data[i];
        if (c == '\r') {
            fputs("\\r", out);
        } else if (c == '\n') {
            fputs("\\n", out);
        } else if (c == '"' || c == '\\') {
            fprintf(out, "\\%c", c);
        } else if (c >= ' ' && c < 127) {
            fputc(c, out);
        } else {
            fprintf(out, "\\x%02x", c);
        }
    }
    fputc('"', out);
    if (b.len > max) {
        fprintf(out, "... (%zu bytes)", b.len);
    }
}

static bool is_plain(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++) {
        if (!isalnum(b.data[i]) && memchr("{}_-+.:*?[]^", b.data[i], 12) == NULL) {
            return false;
        }
    }
    return b.len > 0 && b.len < PRINT_BYTES_MAX;
}

void step_print(FILE *out, const struct step *step)
{
    static const char *const kinds[] = {
        [STEP_COMMAND] = "",
        [STEP_SILENT] = "<silent> ",
        [STEP_AWAIT] = "<await> ",
        [STEP_GATHER] = "<gather> ",
        [STEP_RAW] = "<raw> ",
        [STEP_CLOSES] = "<closes> ",
    };
    fprintf(out, "%s%s", step->connection == 1 ? "<2> " : "", kinds[step->kind]);
    if (step->compare != COMPARE_EXACT) {
        fprintf(out, "<%s%s%.*s> ", compare_name(step->compare), step->word.len > 0 ? ":" : "",
            (int)step->word.len, (const char *)step->word.data);
    }
    for (uint32_t i = 0; i < step->n; i++) {
        fputs(i == 0 ? "" : " ", out);
        if (is_plain(step->args[i])) {
            fwrite(step->args[i].data, 1, step->args[i].len, out);
        } else {
            bytes_print(out, step->args[i], PRINT_BYTES_MAX);
        }
    }
}
