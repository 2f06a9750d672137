#include "flush/flush_error.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/check.h"

/* SQLSTATE (or its first characters) -> class. The first row that fits decides, so single codes stand before
 * their classes. Source: PostgreSQL 15, Appendix A. */
static const struct {
    const char *prefix;
    enum flush_error_class class;
} error_table[] = {
    /* Ours. */
    {SQLSTATE_FENCED, FLUSH_ERROR_FENCED}, {SQLSTATE_PREDECESSOR, FLUSH_ERROR_PREDECESSOR},
    {SQLSTATE_HALT, FLUSH_ERROR_HALT},
    /* Single codes. */
    {"25006", FLUSH_ERROR_OUTAGE},    /* read-only transaction: a standby, or a server made read-only */
    {"25P03", FLUSH_ERROR_OUTAGE},    /* the server gave up on an idle transaction of ours */
    {"26000", FLUSH_ERROR_HALT},      /* no such prepared statement: a pooler that hands sessions around */
    {"55006", FLUSH_ERROR_TRANSIENT}, /* object in use */
    {"55P03", FLUSH_ERROR_TRANSIENT}, /* lock_timeout */
    {"57014", FLUSH_ERROR_TRANSIENT}, /* statement_timeout, or somebody cancelled */
    {"25P04", FLUSH_ERROR_TRANSIENT}, /* transaction_timeout */
    {"XX001", FLUSH_ERROR_HALT},      /* data corrupted */
    {"XX002", FLUSH_ERROR_HALT},      /* index corrupted */
    /* Classes. */
    {"08", FLUSH_ERROR_OUTAGE},    /* connection */
    {"53", FLUSH_ERROR_OUTAGE},    /* resources: disk full, memory, too many connections */
    {"55", FLUSH_ERROR_OUTAGE},    /* object not in the state that is needed, as while a server recovers */
    {"57", FLUSH_ERROR_OUTAGE},    /* shutdown, crash, cannot connect now */
    {"58", FLUSH_ERROR_OUTAGE},    /* errors of the server's system */
    {"40", FLUSH_ERROR_TRANSIENT}, /* serialization, deadlock */
    {"72", FLUSH_ERROR_TRANSIENT}, /* snapshot too old */
    {"22", FLUSH_ERROR_ROW},       /* data */
    {"23", FLUSH_ERROR_ROW},       /* constraints */
    {"09", FLUSH_ERROR_ROW},       /* a trigger failed; the next ones: in other ways */
    {"20", FLUSH_ERROR_ROW},       /* a CASE without a branch for it */
    {"21", FLUSH_ERROR_ROW},       /* a subquery with more than one row */
    {"24", FLUSH_ERROR_ROW}, {"27", FLUSH_ERROR_ROW}, {"2D", FLUSH_ERROR_ROW}, {"2F", FLUSH_ERROR_ROW},
    {"34", FLUSH_ERROR_ROW}, {"38", FLUSH_ERROR_ROW}, {"39", FLUSH_ERROR_ROW}, {"P0", FLUSH_ERROR_ROW},
    {"44", FLUSH_ERROR_ROW},  /* a view's check option */
    {"54", FLUSH_ERROR_ROW},  /* too big for a limit of the server's, as an index entry is */
    {"0A", FLUSH_ERROR_HALT}, /* not supported */
    {"28", FLUSH_ERROR_HALT}, /* authorization */
    {"3D", FLUSH_ERROR_HALT}, /* no such database */
    {"3F", FLUSH_ERROR_HALT}, /* no such schema */
    {"42", FLUSH_ERROR_HALT}, /* permission, missing table, column or function */
};

enum flush_error_class flush_error_classify(const char *sqlstate)
{
    if (sqlstate != NULL && sqlstate[0] != '\0') {
        for (size_t i = 0; i < sizeof error_table / sizeof error_table[0]; i++) {
            if (strncmp(sqlstate, error_table[i].prefix, strlen(error_table[i].prefix)) == 0) {
                return error_table[i].class;
            }
        }
    }
    return FLUSH_ERROR_OUTAGE;
}

char *flush_error_row_pattern(void)
{
    struct buf out;
    buf_init(&out);
    for (size_t i = 0; i < sizeof error_table / sizeof error_table[0]; i++) {
        if (error_table[i].class == FLUSH_ERROR_ROW) {
            buf_append_u8(&out, out.len == 0 ? '(' : '|');
            buf_append(&out, error_table[i].prefix, strlen(error_table[i].prefix));
        }
    }
    buf_append(&out, ")%", 3); /* and the text's end */
    CHECK(!out.failed);
    return (char *)out.data; /* the buf is forgotten: its memory is the caller's now */
}

const char *flush_error_class_name(enum flush_error_class class)
{
    static const char *const names[] = {
        [FLUSH_ERROR_OUTAGE] = "outage",
        [FLUSH_ERROR_TRANSIENT] = "transient",
        [FLUSH_ERROR_ROW] = "row",
        [FLUSH_ERROR_FENCED] = "fenced",
        [FLUSH_ERROR_PREDECESSOR] = "predecessor",
        [FLUSH_ERROR_HALT] = "halt",
    };
    return (unsigned)class < sizeof names / sizeof names[0] ? names[class] : "unknown";
}

/* Runs of white space and control characters become one blank; none is left at the ends. */
static void make_one_line(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        if (!isspace((unsigned char)*from) && !iscntrl((unsigned char)*from)) {
            *to++ = *from;
        } else if (to != text && to[-1] != ' ') {
            *to++ = ' ';
        }
    }
    if (to != text && to[-1] == ' ') {
        to--;
    }
    *to = '\0';
}

/* PostgreSQL refuses a text that ends in the middle of a character. */
static void drop_cut_character(char *text)
{
    size_t len = strlen(text), first = len;
    while (first > 0 && len - first < 4 && ((uint8_t)text[first - 1] & 0xc0) == 0x80) {
        first--;
    }
    if (first == 0 || (uint8_t)text[first - 1] < 0xc0) {
        return;
    }
    uint8_t lead = (uint8_t)text[first - 1];
    size_t needed = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (len - (first - 1) < needed) {
        text[first - 1] = '\0';
    }
}

void flush_error_set(
    struct flush_error *e, enum flush_error_class class, const char *sqlstate, const char *format, ...)
{
    e->class = class;
    e->in_rows = false;
    snprintf(e->sqlstate, sizeof e->sqlstate, "%s", sqlstate == NULL ? "" : sqlstate);
    va_list args;
    va_start(args, format);
    int len = vsnprintf(e->message, sizeof e->message, format, args);
    va_end(args);
    if (len >= (int)sizeof e->message) {
        drop_cut_character(e->message);
    }
    make_one_line(e->message);
}

void cluster_id_text(const uint8_t cluster_id[CLUSTER_ID_BYTES], char out[CLUSTER_ID_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    char *to = out;
    for (int i = 0; i < CLUSTER_ID_BYTES; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *to++ = '-';
        }
        *to++ = digits[cluster_id[i] >> 4];
        *to++ = digits[cluster_id[i] & 15];
    }
    *to = '\0';
}
