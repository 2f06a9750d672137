/* Sessions: the library opens one with each group that it writes to, and numbers its writes in it, so that a
 * write can be sent again without being executed again (docs/protocol.md). */
#include <string.h>

#include "proto/base/check.h"
#include "rpc/call_rules.h"
#include "rpc/client.h"

void client_sessions_init(struct wbcache *cache)
{
    for (unsigned i = 0; i < LIMIT_GROUPS; i++) {
        list_init(&cache->sessions[i].calls);
    }
}

static bool is_once(const struct wbcache *cache, const struct call *call)
{
    return call->kind == CALL_WRITE && !cache->options.no_sessions;
}

static void open_session(struct wbcache *cache, uint32_t group, uint64_t now_ms)
{
    struct call *call = client_call_new(cache, CALL_SESSION, CALL_INTERNAL);
    if (call == NULL) {
        return;
    }
    Wbrpc__OpenSession question = WBRPC__OPEN_SESSION__INIT;
    question.group = group;
    request_body(&call->body, WBRPC__REQUEST__OP_OPEN_SESSION, &question.base);
    call->by_group = true;
    call->group = group;
    call->deadline_ms = now_ms + cache->options.deadline_ms;
    if (client_call_begin(cache, call, now_ms) != WBCACHE_OK) {
        client_call_free(cache, call);
        return;
    }
    cache->sessions[group].opening = call;
}

static void number(struct client_session *session, struct call *call)
{
    call->session = session->id;
    call->sequence = ++session->sequence;
    list_push_back(&session->calls, &call->session_link);
}

static void forget_number(struct call *call)
{
    call->session = 0;
    call->sequence = 0;
}

bool client_session_ready(struct wbcache *cache, struct call *call, uint64_t now_ms)
{
    if (call->node != CLUSTER_MAP_NOBODY || call->stale || call->kind == CALL_SESSION) {
        return true;
    }
    uint32_t group = client_call_group(cache, call);
    struct client_session *session = &cache->sessions[group];
    if (!is_once(cache, call) || call->session != 0) {
        /* Nothing overtakes writes that wait for their session, as long as that is a matter of one round
         * trip. */
        return session->opening == NULL || session->opening->refusal != WBCACHE_OK;
    }
    if (session->id != 0) {
        number(session, call);
        return true;
    }
    if (session->opening == NULL) {
        open_session(cache, group, now_ms);
    }
    if (session->opening != NULL && session->opening->refusal != WBCACHE_OK) {
        call->refusal = session->opening->refusal; /* why it waits, should its deadline come */
        memcpy(call->message, session->opening->message, sizeof call->message);
    }
    return false;
}

bool client_session_once(struct wbcache *cache, struct call *call, struct request_once *once)
{
    if (call->session == 0) {
        return false;
    }
    const struct client_session *session = &cache->sessions[client_call_group(cache, call)];
    if (session->id == call->session) {
        call->first_awaited =
            list_entry(session->calls.next, struct call, session_link)->sequence; /* it may be @call itself */
    }
    *once = (struct request_once){.session = call->session,
        .sequence = call->sequence,
        .first_awaited = call->first_awaited,
        .retry = call->perhaps_done};
    return true;
}

/* An opening that ended so may be tried again by whoever still has time. */
static bool may_pass(int code)
{
    const struct call_kinship question = {0};
    return code == WBCACHE_TIMEOUT || code == WBCACHE_CLOSED ||
           call_judge_answer(question, (uint32_t)code).next != CALL_NEXT_REPORT;
}

void client_session_opened(
    struct wbcache *cache, struct call *opening, int code, const Wbrpc__Response *response)
{
    struct client_session *session = &cache->sessions[opening->group];
    CHECK(session->opening == opening);
    session->opening = NULL;
    if (code == WBCACHE_OK && response != NULL && response->session != 0) {
        session->id = response->session;
        session->sequence = 0;
        return;
    }
    if (code != WBCACHE_OK && may_pass(code)) {
        return; /* whoever waits for it has a deadline, too, and asks again until then */
    }
    list_for_each (it, tmp, &cache->waiting) {
        struct call *call = list_entry(it, struct call, link);
        if (is_once(cache, call) && call->session == 0 && client_call_group(cache, call) == opening->group) {
            client_call_finish(cache, call, code == WBCACHE_OK ? WBCACHE_INTERNAL : code,
                response != NULL ? response->message : NULL);
        }
    }
}

void client_session_expired(struct wbcache *cache, struct call *call)
{
    struct client_session *session = &cache->sessions[client_call_group(cache, call)];
    if (session->id == call->session) {
        session->id = 0;
        /* Those that are out will hear it themselves; those that may have been executed keep their numbers,
         * and will hear that nobody knows. */
        list_for_each (it, tmp, &session->calls) {
            struct call *other = list_entry(it, struct call, session_link);
            list_remove(it);
            if (other->state == CALL_WAITING && !other->perhaps_done) {
                forget_number(other);
            }
        }
    }
    list_remove(&call->session_link);
    forget_number(call);
}
