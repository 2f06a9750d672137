#include "tools/wbclient/output.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/buf.h"
#include "tools/wbclient/words.h"

void output_set_bytes(json_t *object, const char *name, struct bytes b)
{
    json_t *text = json_stringn((const char *)b.data, b.len);
    if (text != NULL) {
        json_object_set_new(object, name, text);
        return;
    }
    char *hex = xmalloc(2 * b.len + 1);
    for (size_t i = 0; i < b.len; i++) {
        snprintf(hex + 2 * i, 3, "%02x", b.data[i]);
    }
    hex[2 * b.len] = '\0';
    char longer[32];
    snprintf(longer, sizeof longer, "%s_hex", name);
    json_object_set_new(object, longer, json_string(hex));
    free(hex);
}

void output_quoted(struct bytes b)
{
    struct buf out;
    buf_init(&out);
    words_quote(&out, b);
    fwrite(out.data, 1, out.len, stdout);
    buf_deinit(&out);
}

void output_for_terminal(struct bytes b)
{
    json_t *text = json_stringn((const char *)b.data, b.len); /* NULL unless it is valid UTF-8 */
    if (text != NULL && words_harmless(b)) {
        fwrite(b.data, 1, b.len, stdout);
    } else {
        output_quoted(b);
    }
    json_decref(text);
}

int output_worse(int a, int b)
{
    return a > b ? a : b;
}

int output_failure(struct session *s, int code)
{
    return session_report(s, code, wbcache_errmsg(s->cache));
}

void output_value(const struct session *s, struct bytes b)
{
    if (s->terminal) {
        output_for_terminal(b);
    } else {
        fwrite(b.data, 1, b.len, stdout);
    }
    if (s->terminal || s->shell) {
        putchar('\n');
    }
}
