/* CLIENT: a connection's names, and the list of connections. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/redis/local.h"
#include "node/redis/local_util.h"
#include "node/redis/number.h"
#include "proto/base/alloc.h"

/* They are kept as long as the connection, and told of each one by CLIENT LIST. */
enum { CLIENT_TEXT_BYTES_MAX = 1024 };

bool local_set_client_text(struct redis_local_call *c, char **text, struct bytes to, const char *what)
{
    if (to.len > CLIENT_TEXT_BYTES_MAX) {
        resp_error_of(c->out, "ERR %s cannot be longer than %d bytes", what, (int)CLIENT_TEXT_BYTES_MAX);
        return false;
    }
    for (size_t i = 0; i < to.len; i++) {
        if (to.data[i] < '!' || to.data[i] > '~') {
            resp_error_of(c->out, "ERR %s cannot contain spaces, newlines or special characters.", what);
            return false;
        }
    }
    redis_client_set_text(text, to);
    return true;
}

void redis_local_client_getname(struct redis_local_call *c)
{
    if (c->client->name != NULL) {
        resp_text(c->out, c->client->name);
    } else {
        resp_null(c->out);
    }
}

void redis_local_client_setname(struct redis_local_call *c)
{
    if (local_set_client_text(c, &c->client->name, c->args[2], "Client names")) {
        resp_simple(c->out, "OK");
    }
}

void redis_local_client_setinfo(struct redis_local_call *c)
{
    bool ok = false;
    char what[sizeof "lib-name"]; /* errors spell it as the client does */
    snprintf(what, sizeof what, "%.*s",
        (int)(c->args[2].len < sizeof what ? c->args[2].len : sizeof what - 1),
        (const char *)c->args[2].data);
    if (redis_word_is(c->args[2], "lib-name")) {
        ok = local_set_client_text(c, &c->client->lib_name, c->args[3], what);
    } else if (redis_word_is(c->args[2], "lib-ver")) {
        ok = local_set_client_text(c, &c->client->lib_version, c->args[3], what);
    } else {
        local_error_with(c->out, "ERR Unrecognized option '", c->args[2], "'");
    }
    if (ok) {
        resp_simple(c->out, "OK");
    }
}

void redis_local_client_id(struct redis_local_call *c)
{
    resp_integer(c->out, (int64_t)c->client->id);
}

static void set_switch(struct redis_local_call *c, bool *which)
{
    if (redis_word_is(c->args[2], "on")) {
        *which = true;
    } else if (redis_word_is(c->args[2], "off")) {
        *which = false;
    } else {
        resp_error(c->out, redis_error_syntax);
        return;
    }
    resp_simple(c->out, "OK");
}

void redis_local_client_no_evict(struct redis_local_call *c)
{
    set_switch(c, &c->client->no_evict);
}

void redis_local_client_no_touch(struct redis_local_call *c)
{
    set_switch(c, &c->client->no_touch);
}

void redis_local_client_getredir(struct redis_local_call *c)
{
    resp_integer(c->out, -1);
}

void redis_local_client_trackinginfo(struct redis_local_call *c)
{
    resp_map(c->out, 3);
    resp_text(c->out, "flags");
    resp_set(c->out, 1);
    resp_text(c->out, "off");
    resp_text(c->out, "redirect");
    resp_integer(c->out, -1);
    resp_text(c->out, "prefixes");
    resp_array(c->out, 0);
}

/* ---- The line of one connection ---- */

static const char *or_nothing(const char *text)
{
    return text != NULL ? text : "";
}

static void print_client(struct buf *out, const struct redis_view_client *v)
{
    const struct redis_client *client = v->client;
    char flags[8];
    unsigned n = 0;
    if (client->in_multi) {
        flags[n++] = 'x';
    }
    if (client->readonly) {
        flags[n++] = 'r';
    }
    if (client->no_evict) {
        flags[n++] = 'e';
    }
    if (client->no_touch) {
        flags[n++] = 'T';
    }
    if (n == 0) {
        flags[n++] = 'N';
    }
    flags[n] = 0;
    local_print(out, "id=%" PRIu64 " addr=%s laddr=%s fd=%d name=%s", client->id, client->peer, client->local,
        v->fd, or_nothing(client->name));
    local_print(out, " age=%" PRIu64 " idle=%" PRIu64 " flags=%s db=0 sub=0 psub=0 ssub=0 multi=%" PRId64,
        v->age_s, v->idle_s, flags, client->in_multi ? (int64_t)client->queued : -1);
    local_print(out,
        " qbuf=%zu qbuf-free=%zu argv-mem=0 multi-mem=%zu rbs=0 rbp=0 obl=%zu oll=0 omem=0 tot-mem=%zu",
        v->input_bytes, v->input_free_bytes, client->multi_arena.bytes, v->output_bytes, v->memory_bytes);
    local_print(out, " events=r cmd=%s user=default redir=-1 resp=%u lib-name=%s lib-ver=%s\n",
        client->last != NULL ? client->last->name : "NULL", client->protocol, or_nothing(client->lib_name),
        or_nothing(client->lib_version));
}

struct list_wanted {
    struct buf text;
    const struct redis_client *only; /* NULL: all */
    const uint64_t *ids;             /* rising; those with one of these ids. NULL: all */
    uint32_t n;
};

static int compare_ids(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void visit_client(void *data, const struct redis_view_client *v)
{
    struct list_wanted *wanted = data;
    if (wanted->only != NULL && v->client != wanted->only) {
        return;
    }
    if (wanted->ids != NULL &&
        bsearch(&v->client->id, wanted->ids, wanted->n, sizeof(uint64_t), compare_ids) == NULL) {
        return;
    }
    print_client(&wanted->text, v);
}

static void reply_list(struct redis_local_call *c, struct list_wanted *wanted)
{
    c->view->each_client(c->view->data, visit_client, wanted);
    resp_verbatim(c->out, buf_bytes(&wanted->text));
    buf_deinit(&wanted->text);
}

void redis_local_client_info(struct redis_local_call *c)
{
    struct list_wanted wanted = {.only = c->client};
    buf_init(&wanted.text);
    reply_list(c, &wanted);
}

/* CLIENT LIST TYPE type: all of ours are normal ones. False: there is no such type, and the error is said. */
static bool type_matches(struct redis_local_call *c, struct bytes type, bool *none)
{
    static const char *const others[] = {"slave", "replica", "pubsub", "master"};
    if (redis_word_is(type, "normal")) {
        *none = false;
        return true;
    }
    for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (redis_word_is(type, others[i])) {
            *none = true;
            return true;
        }
    }
    local_error_with(c->out, "ERR Unknown client type '", type, "'");
    return false;
}

static void list_by_ids(struct redis_local_call *c)
{
    uint32_t n = c->n - 3;
    uint64_t *ids = xmalloc(n * sizeof(*ids));
    for (uint32_t i = 0; i < n; i++) {
        int64_t id;
        if (!redis_parse_integer(c->args[3 + i], &id)) {
            resp_error(c->out, "ERR Invalid client ID");
            free(ids);
            return;
        }
        ids[i] = (uint64_t)id;
    }
    qsort(ids, n, sizeof(*ids), compare_ids);
    struct list_wanted wanted = {.ids = ids, .n = n};
    buf_init(&wanted.text);
    reply_list(c, &wanted);
    free(ids);
}

void redis_local_client_list(struct redis_local_call *c)
{
    bool none = false;
    if (c->n == 4 && redis_word_is(c->args[2], "type")) {
        if (!type_matches(c, c->args[3], &none)) {
            return;
        }
    } else if (c->n > 3 && redis_word_is(c->args[2], "id")) {
        list_by_ids(c);
        return;
    } else if (c->n != 2) {
        resp_error(c->out, redis_error_syntax);
        return;
    }
    struct list_wanted wanted = {0};
    buf_init(&wanted.text);
    if (none) {
        resp_verbatim(c->out, bytes_of(NULL, 0));
    } else {
        reply_list(c, &wanted);
    }
}
