/* libwbcache: memory compared with PostgreSQL, group after group, in steps like a scan's. */
#include <stdlib.h>
#include <string.h>

#include "proto/pb.h"
#include "rpc/client.h"

enum { VERIFY_COUNT = 1000 };

static int show(struct wbcache *cache, const Wbrpc__VerifyReply *reply, struct wbcache_verify *verify)
{
    struct wbcache_difference *rows = client_show_rows(cache, reply->n_differences, sizeof *rows);
    if (rows == NULL) {
        return client_fail(cache, WBCACHE_NOMEM, "verify: out of memory");
    }
    for (size_t i = 0; i < reply->n_differences; i++) {
        const Wbrpc__Difference *from = reply->differences[i];
        rows[i] = (struct wbcache_difference){.kind = (enum wbcache_difference_kind)from->kind,
            .group = verify->group,
            .key = from->key.len > 0 ? (const void *)from->key.data : "",
            .key_len = from->key.len,
            .version = from->version,
            .row_version = from->row_version};
    }
    verify->differences = rows;
    verify->n = reply->n_differences;
    verify->looked = reply->looked;
    verify->compared = reply->compared;
    verify->dirty = reply->dirty;
    verify->cursor = reply->cursor;
    if (reply->cursor == 0) {
        verify->done = verify->one_group || verify->group + 1 >= cache->map.group_count;
        verify->group += !verify->done;
    }
    return WBCACHE_OK;
}

static void forget_step(struct wbcache_verify *verify)
{
    verify->differences = NULL;
    verify->n = 0;
    verify->looked = verify->compared = verify->dirty = 0;
    verify->anew = false;
    verify->of_group = verify->group;
}

/* The cursor is another leader's, or the leader was started anew: both say it in these words. */
static bool cursor_is_foreign(const struct wbcache *cache, const struct wbcache_verify *verify, int code)
{
    return verify->cursor != 0 && code == WBCACHE_INVALID && cache->shown != NULL &&
           strncmp(cache->shown->message, "the scan", strlen("the scan")) == 0;
}

int wbcache_verify_step(struct wbcache *cache, struct wbcache_verify *verify)
{
    client_enter(cache);
    forget_step(verify);
    if (verify->done) {
        return WBCACHE_OK;
    }
    int code = client_check_key(cache, "verify", verify->prefix, verify->prefix_len);
    if (code == WBCACHE_OK) {
        code = client_check_group(cache, "verify", verify->group);
    }
    if (code != WBCACHE_OK) {
        return code;
    }
    Wbrpc__Verify question = WBRPC__VERIFY__INIT;
    question.group = verify->group;
    question.cursor = verify->cursor;
    question.has_prefix = verify->prefix_len > 0;
    question.prefix = pb_borrow(bytes_of(verify->prefix, verify->prefix_len));
    question.has_count = 1;
    question.count = verify->count != 0 ? verify->count : VERIFY_COUNT;
    question.has_one_in = verify->one_in > 1;
    question.one_in = verify->one_in;
    const Wbrpc__Response *response;
    code = client_ask_group(
        cache, "verify", CALL_ADMIN, verify->group, WBRPC__REQUEST__OP_VERIFY, &question.base, &response);
    if (cursor_is_foreign(cache, verify, code)) {
        cache->errmsg[0] = '\0';
        verify->cursor = 0;
        verify->anew = true;
        return WBCACHE_OK;
    }
    if (code != WBCACHE_OK) {
        return code;
    }
    return response->verify == NULL ? client_misfit(cache, "verify") : show(cache, response->verify, verify);
}

struct counts {
    uint64_t looked, compared, dirty;
};

static void add(struct counts *to, struct counts more)
{
    to->looked += more.looked;
    to->compared += more.compared;
    to->dirty += more.dirty;
}

int wbcache_verify_all(struct wbcache *cache, struct wbcache_verify *verify,
    int (*on_step)(void *data, const struct wbcache_verify *step), void *data)
{
    struct counts all = {0}, group = {0}; /* the group's are thrown away when it begins again */
    int code = WBCACHE_OK;
    while (code == WBCACHE_OK && !verify->done) {
        code = wbcache_verify_step(cache, verify);
        if (code != WBCACHE_OK) {
            break;
        }
        if (verify->anew) {
            group = (struct counts){0};
        }
        add(&group, (struct counts){verify->looked, verify->compared, verify->dirty});
        if (verify->cursor == 0 && !verify->anew) {
            add(&all, group);
            group = (struct counts){0};
        }
        code = on_step != NULL ? on_step(data, verify) : WBCACHE_OK;
    }
    add(&all, group);
    verify->differences = NULL;
    verify->n = 0;
    verify->looked = all.looked;
    verify->compared = all.compared;
    verify->dirty = all.dirty;
    return code;
}
