/* A call's life, as drawn in client.h: from the caller to a connection, back to waiting, to its outcome. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "rpc/call_rules.h"
#include "rpc/client.h"

enum { ID_PLACE_BITS = 24, FREE_BODY_BYTES = 4096 };

static struct call_kinship call_kinship(const struct call *call)
{
    return (struct call_kinship){.write = call->kind == CALL_WRITE || call->kind == CALL_ADMIN_ONCE,
        .once = call->session != 0,
        .perhaps_done = call->perhaps_done};
}

/* ---- Memory ---- */

struct call *client_call_new(struct wbcache *cache, enum call_kind kind, enum call_owner owner)
{
    struct list *node = list_pop_front(&cache->free_calls);
    struct call *call = node != NULL ? list_entry(node, struct call, link) : calloc(1, sizeof *call);
    if (call == NULL) {
        return NULL;
    }
    struct buf body = call->body;
    buf_clear(&body);
    *call = (struct call){.kind = kind, .owner = owner, .node = CLUSTER_MAP_NOBODY, .body = body};
    list_init(&call->link);
    list_init(&call->deadline_link);
    list_init(&call->session_link);
    return call;
}

static void call_release_response(struct call *call)
{
    if (call->response != NULL) {
        wbrpc__response__free_unpacked(call->response, NULL);
        call->response = NULL;
    }
}

static void call_release(struct call *call)
{
    call_release_response(call);
    if (call->replicated != NULL) {
        wbrpc__response__free_unpacked(call->replicated, NULL);
        call->replicated = NULL;
    }
}

void client_call_free(struct wbcache *cache, struct call *call)
{
    CHECK(call->state == CALL_IDLE || call->state == CALL_DONE);
    call_release(call);
    list_remove(&call->link);
    call->state = CALL_IDLE;
    if (call->body.cap > FREE_BODY_BYTES) {
        buf_deinit(&call->body);
    }
    list_push_front(&cache->free_calls, &call->link);
}

static bool place_take(struct wbcache *cache, struct call *call)
{
    if (cache->n_free_places == 0) {
        uint32_t more = cache->n_places == 0 ? 64 : cache->n_places * 2;
        if (more > UINT32_C(1) << ID_PLACE_BITS) {
            return false;
        }
        struct call **places = realloc(cache->places, more * sizeof *places);
        if (places == NULL) {
            return false;
        }
        cache->places = places;
        uint32_t *free_places = realloc(cache->free_places, more * sizeof *free_places);
        if (free_places == NULL) {
            return false;
        }
        cache->free_places = free_places;
        for (uint32_t i = more; i > cache->n_places; i--) {
            cache->places[i - 1] = NULL;
            cache->free_places[cache->n_free_places++] = i - 1;
        }
        cache->n_places = more;
    }
    call->place = cache->free_places[--cache->n_free_places];
    cache->places[call->place] = call;
    return true;
}

static void place_give_back(struct wbcache *cache, struct call *call)
{
    cache->places[call->place] = NULL;
    cache->free_places[cache->n_free_places++] = call->place;
}

static struct call *call_by_id(const struct wbcache *cache, uint64_t id)
{
    uint64_t place = id & ((UINT64_C(1) << ID_PLACE_BITS) - 1);
    struct call *call = place < cache->n_places ? cache->places[place] : NULL;
    bool current = call != NULL && call->state == CALL_ON_CONN && call->generation == id >> ID_PLACE_BITS;
    return current ? call : NULL;
}

/* ---- Moving ---- */

static void call_move(struct wbcache *cache, struct call *call, enum call_state to)
{
    static const bool allowed[4][4] = {
        [CALL_IDLE] = {[CALL_WAITING] = true, [CALL_ON_CONN] = true},
        [CALL_WAITING] = {[CALL_ON_CONN] = true, [CALL_DONE] = true},
        [CALL_ON_CONN] = {[CALL_WAITING] = true, [CALL_DONE] = true},
    };
    CHECK(allowed[call->state][to]);
    list_remove(&call->link);
    call->state = to;
    if (to == CALL_WAITING) {
        call->conn = NULL;
        list_push_back(&cache->waiting, &call->link);
    } else if (to == CALL_ON_CONN) {
        list_push_back(&call->conn->calls, &call->link);
    } else {
        list_remove(&call->deadline_link);
        list_remove(&call->session_link);
        place_give_back(cache, call);
        cache->blocking -= call->owner == CALL_OF_BLOCKING;
        if (call->owner == CALL_PIPELINED) {
            list_push_back(&cache->done, &call->link);
        }
    }
}

void client_call_finish(struct wbcache *cache, struct call *call, int code, const char *message)
{
    call->code = code;
    if (message != NULL) {
        snprintf(call->message, sizeof call->message, "%s", message);
    }
    if (call->kind == CALL_TOPOLOGY) {
        cache->conns[call->node].asking = false;
    }
    if (call->kind == CALL_WAIT && code == WBCACHE_TIMEOUT) {
        call->code = code = WBCACHE_NOT_FLUSHED; /* nothing was to be done: only this much is not known */
    }
    if (call->replicated != NULL && code != WBCACHE_OK &&
        code != WBCACHE_QUARANTINED) { /* that much is known, whatever came after it */
        call_release_response(call);
        call->code = code = WBCACHE_NOT_FLUSHED;
        call->response = call->replicated;
        call->replicated = NULL;
    }
    call_move(cache, call, CALL_DONE);
    if (call->kind == CALL_SESSION) {
        client_session_opened(cache, call, code, call->response);
    }
    if (call->owner == CALL_INTERNAL) {
        client_call_free(cache, call);
    }
}

static void call_enter_deadlines(struct wbcache *cache, struct call *call)
{
    struct list *after = cache->by_deadline.prev; /* mostly the latest deadline is the newest call's */
    while (after != &cache->by_deadline &&
           list_entry(after, struct call, deadline_link)->deadline_ms > call->deadline_ms) {
        after = after->prev;
    }
    list_insert_before(&call->deadline_link, after->next);
}

int client_call_begin(struct wbcache *cache, struct call *call, uint64_t now_ms)
{
    CHECK(call->state == CALL_IDLE);
    if (call->body.failed || !place_take(cache, call)) {
        return WBCACHE_NOMEM;
    }
    call->due_ms = now_ms;
    call->refusal = WBCACHE_OK;
    call_enter_deadlines(cache, call);
    cache->blocking += call->owner == CALL_OF_BLOCKING;
    call_move(cache, call, CALL_WAITING);
    return WBCACHE_OK;
}

/* Wait for @pause_ms and try again; @code is what to say when the deadline comes first. */
static void call_wait_again(
    struct wbcache *cache, struct call *call, int code, const char *why, uint64_t pause_ms, uint64_t now_ms)
{
    call->refusal = code;
    call->refused_by = call->conn->node;
    call->due_ms = now_ms + pause_ms;
    call->seeks_leader = true;
    if (why != NULL) {
        snprintf(call->message, sizeof call->message, "%s", why);
    }
    call_move(cache, call, CALL_WAITING);
}

/* ---- To a connection ---- */

uint32_t client_call_group(const struct wbcache *cache, const struct call *call)
{
    return call->by_group ? call->group : cluster_map_group(&cache->map, call->slot);
}

/* What is left for the node. One that may use all of it must answer before we give up. */
static uint32_t time_for_node(const struct call *call, uint64_t now_ms)
{
    enum { RETURN_MS = 60 };
    uint64_t left_ms = call->deadline_ms > now_ms ? call->deadline_ms - now_ms : 1;
    if (call->patient) {
        left_ms -= left_ms / 4 < RETURN_MS ? left_ms / 4 : RETURN_MS;
    }
    return left_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)left_ms;
}

static bool call_send(struct wbcache *cache, struct call *call, struct client_conn *conn, uint64_t now_ms)
{
    call->generation = ++cache->generation;
    uint64_t id = call->generation << ID_PLACE_BITS | call->place;
    struct request_once once;
    bool numbered = client_session_once(cache, call, &once);
    if (!client_conn_queue(
            conn, id, time_for_node(call, now_ms), numbered ? &once : NULL, buf_bytes(&call->body), now_ms)) {
        client_call_finish(cache, call, WBCACHE_NOMEM, "out of memory");
        return false;
    }
    call->conn = conn;
    call->end_offset = conn->stream_queued;
    call_move(cache, call, CALL_ON_CONN);
    return true;
}

/* How well a node suits a call that any node can answer: rather not the leader, which has enough to do, and
 * not one that could not answer it just now. */
static unsigned suits(const struct call *call, const struct client_conn *conn, int leader)
{
    if (!client_conn_usable(conn)) {
        return conn->phase == CONN_DOWN ? 0 : 1;
    }
    if (call->refusal != WBCACHE_OK && call->refused_by == conn->node) {
        return 2;
    }
    return conn->node == leader ? 3 : 4;
}

/* The best one; of equals, each in turn. */
static struct client_conn *route_anywhere(struct wbcache *cache, const struct call *call, int leader)
{
    struct client_conn *found = NULL;
    for (unsigned i = 0; i < cache->n_conns; i++) {
        struct client_conn *conn = &cache->conns[(cache->stale_turn + i) % cache->n_conns];
        if (found == NULL || suits(call, conn, leader) > suits(call, found, leader)) {
            found = conn;
        }
    }
    return found;
}

/* Who reads from any node shall find the followers connected. */
static void start_members(struct wbcache *cache, uint64_t now_ms)
{
    for (unsigned i = 0; i < cache->n_conns; i++) {
        if (cache->map.nodes[i].member) {
            client_conn_start(cache, &cache->conns[i], now_ms);
        }
    }
}

/* The connection that @call should take, whatever state it is in; NULL when nobody knows. */
static struct client_conn *call_route(struct wbcache *cache, const struct call *call)
{
    if (call->node != CLUSTER_MAP_NOBODY) {
        return &cache->conns[call->node];
    }
    if (cache->map.group_count == 0 || client_call_group(cache, call) >= cache->map.group_count) {
        return NULL;
    }
    int leader = cluster_map_leader(&cache->map, client_call_group(cache, call));
    if (call->stale) {
        return route_anywhere(cache, call, leader);
    }
    return leader == CLUSTER_MAP_NOBODY ? NULL : &cache->conns[leader];
}

/* It pauses because the node that it asked does not lead, or cannot yet: another one may. */
static bool call_seeks_leader(const struct call *call)
{
    return call->node == CLUSTER_MAP_NOBODY && call->seeks_leader;
}

/* The map has learned: pauses on a node that is not the leader any more are over. */
static void calls_wake_for_leaders(struct wbcache *cache, uint64_t now_ms)
{
    list_for_each (it, tmp, &cache->waiting) {
        struct call *call = list_entry(it, struct call, link);
        if (call->due_ms > now_ms && call_seeks_leader(call)) {
            const struct client_conn *leader = call_route(cache, call);
            if (leader != NULL && leader->node != call->refused_by) {
                call->due_ms = now_ms;
            }
        }
    }
}

static void call_dispatch(struct wbcache *cache, struct call *call, uint64_t now_ms)
{
    if (call->stale) {
        start_members(cache, now_ms);
    }
    if (call->state != CALL_WAITING) {
        return; /* its one node was refused at once */
    }
    struct client_conn *conn = call_route(cache, call);
    if (conn == NULL) {
        cache->leader_missed = true;
        if (call->refusal == WBCACHE_OK) {
            call->refusal = WBCACHE_UNAVAILABLE;
            snprintf(call->message, sizeof call->message, "no node is known to lead the key's group");
        }
        return;
    }
    client_conn_check_rested(cache, conn, now_ms);
    client_conn_start(cache, conn, now_ms);
    if (call->state != CALL_WAITING) {
        return; /* the connection was refused at once, and only its node would have done */
    }
    if (client_conn_usable(conn)) {
        if (client_session_ready(cache, call, now_ms)) {
            cache->stale_turn = call->stale ? (unsigned)conn->node + 1 : cache->stale_turn;
            call_send(cache, call, conn, now_ms);
            return;
        }
        struct call *opening = cache->sessions[client_call_group(cache, call)].opening;
        if (opening != NULL && opening->state == CALL_WAITING && opening->due_ms <= now_ms) {
            call_dispatch(cache, opening, now_ms);
        }
        return;
    }
    bool connecting = conn->phase == CONN_CONNECTING || conn->phase == CONN_HELLO;
    if (call->node == CLUSTER_MAP_NOBODY &&
        (!connecting || conn->failures > 0 || now_ms - conn->phase_since_ms >= CLIENT_HELLO_LATE_MS)) {
        cache->leader_missed = true;
        call->refusal = WBCACHE_UNAVAILABLE;
        snprintf(call->message, sizeof call->message, "the %s %s cannot be reached: %s",
            call->stale ? "node" : "leader", cache->map.nodes[conn->node].address,
            conn->error[0] != '\0' ? conn->error : "it does not answer");
    }
}

void client_calls_dispatch(struct wbcache *cache, uint64_t now_ms)
{
    struct list turn;
    list_init(&turn);
    list_splice_back(&turn, &cache->waiting);
    cache->leader_missed = cache->map.group_count == 0;
    /* Each call is back in its place in `waiting` before it is looked at, so that the order is kept. */
    struct list *node;
    while ((node = list_pop_front(&turn)) != NULL) {
        struct call *call = list_entry(node, struct call, link);
        list_push_back(&cache->waiting, &call->link);
        if (call->deadline_ms <= now_ms) {
            continue; /* client_calls_expire ends it */
        }
        if (call->due_ms <= now_ms) {
            call_dispatch(cache, call, now_ms);
        } else if (call_seeks_leader(call)) {
            cache->leader_missed = true;
        }
    }
}

void client_ask_topology(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms)
{
    if (conn->asking || conn->phase < CONN_HELLO) {
        return;
    }
    struct call *call = client_call_new(cache, CALL_TOPOLOGY, CALL_INTERNAL);
    if (call == NULL) {
        return;
    }
    Wbrpc__Topology question = WBRPC__TOPOLOGY__INIT;
    request_body(&call->body, WBRPC__REQUEST__OP_TOPOLOGY, &question.base);
    call->node = conn->node;
    call->deadline_ms = now_ms + CLIENT_TOPOLOGY_DEADLINE_MS;
    if (call->body.failed || !place_take(cache, call)) {
        client_call_free(cache, call);
        return;
    }
    call_enter_deadlines(cache, call);
    call_move(cache, call, CALL_WAITING);
    conn->asking = call_send(cache, call, conn, now_ms);
}

/* ---- Back from a connection ---- */

static void call_follow(
    struct wbcache *cache, struct call *call, const Wbrpc__Response *response, uint64_t now_ms)
{
    uint32_t group = client_call_group(cache, call);
    int leader = CLUSTER_MAP_NOBODY;
    if (response->leader != NULL && response->leader[0] != '\0') {
        leader = cluster_map_redirect(&cache->map, group, response->leader);
        client_sync_conns(cache);
    }
    uint64_t pause_ms = 0;
    if (leader == CLUSTER_MAP_NOBODY || leader == call->conn->node ||
        ++call->redirects > CLIENT_REDIRECTS_MAX) {
        /* Nobody leads yet, or two nodes point at each other: an election is under way. */
        cluster_map_forget(&cache->map, group, call->conn->node);
        cluster_map_forget(&cache->map, group, leader);
        call->redirects = 0;
        pause_ms = backoff_ms(
            call->attempts++, CLIENT_RETRY_MIN_MS, CLIENT_ELECTION_RETRY_MAX_MS, client_random(cache));
    }
    int code = call->perhaps_done ? WBCACHE_UNKNOWN : WBCACHE_NOT_LEADER;
    call_wait_again(cache, call, code, response->message, pause_ms, now_ms);
    call->seeks_leader = true;
}

static void call_pause(
    struct wbcache *cache, struct call *call, int code, const Wbrpc__Response *response, uint64_t now_ms)
{
    uint32_t status = response->status;
    bool election = status == STATUS_UNAVAILABLE || status == STATUS_SHUTTING_DOWN ||
                    status == STATUS_UNKNOWN || status == STATUS_NOT_FLUSHED; /* its office has ended */
    uint64_t pause_ms = backoff_ms(call->attempts++, CLIENT_RETRY_MIN_MS,
        election ? CLIENT_ELECTION_RETRY_MAX_MS : CLIENT_RETRY_MAX_MS, client_random(cache));
    if (response->has_retry_after_ms && response->retry_after_ms > 0) {
        pause_ms = response->retry_after_ms;
    }
    if (call->stale && call->node == CLUSTER_MAP_NOBODY && ++call->redirects <= CLIENT_REDIRECTS_MAX) {
        call_wait_again(cache, call, code, response->message, 0, now_ms); /* another node can perhaps, now */
        return;
    }
    if (status == STATUS_SHUTTING_DOWN && call->node == CLUSTER_MAP_NOBODY) {
        cluster_map_forget(&cache->map, client_call_group(cache, call), call->conn->node);
    } else if (call->node == CLUSTER_MAP_NOBODY) {
        cluster_map_shake(&cache->map, client_call_group(cache, call), call->conn->node);
    }
    call->redirects = 0;
    bool hopeless = now_ms + pause_ms >= call->deadline_ms;
    if (hopeless && status == STATUS_OVERLOADED && call->kind != CALL_SESSION) {
        client_call_finish(cache, call, code, response->message); /* it would only sleep until its deadline */
        return;
    }
    call_wait_again(cache, call, code, response->message, pause_ms, now_ms);
    call->seeks_leader = election;
}

/* Its session is not known any more. The first time it goes into a new one at once, and so in its place among
 * the others of its session; if that one was forgotten as well, sessions are short-lived, and it pauses. */
static void call_renumber(
    struct wbcache *cache, struct call *call, int code, const Wbrpc__Response *response, uint64_t now_ms)
{
    uint64_t pause_ms = 0;
    if (call->renumbered) {
        pause_ms =
            backoff_ms(call->attempts++, CLIENT_RETRY_MIN_MS, CLIENT_RETRY_MAX_MS, client_random(cache));
    }
    call->renumbered = true;
    client_session_expired(cache, call);
    call_wait_again(cache, call, code, response->message, pause_ms, now_ms);
    call->seeks_leader = false;
}

static void topology_answered(
    struct wbcache *cache, struct call *call, int code, const Wbrpc__Response *response, uint64_t now_ms)
{
    if (code == WBCACHE_OK && response->topology != NULL &&
        cluster_map_learn(&cache->map, response->topology) == STATUS_OK) {
        client_sync_conns(cache);
        calls_wake_for_leaders(cache, now_ms);
    }
    /* If the leader is still missed, ask the next node soon: nobody announces the end of an election. */
    uint64_t soon_ms =
        now_ms + backoff_ms(0, CLIENT_TOPOLOGY_MAX_MS, CLIENT_TOPOLOGY_MAX_MS, client_random(cache));
    if (cache->ask_at_ms > soon_ms) {
        cache->ask_at_ms = soon_ms;
    }
    client_call_finish(cache, call, code, NULL);
}

static bool answer_fits(const struct call *call, int code, const Wbrpc__Response *response)
{
    if (code == WBCACHE_OK && call->kind == CALL_SCAN) {
        return response->scan != NULL;
    }
    bool has_results =
        code == WBCACHE_OK || code == WBCACHE_CONDITION_FAILED ||
        ((code == WBCACHE_NOT_FLUSHED || code == WBCACHE_QUARANTINED) && call->kind == CALL_WRITE);
    return !has_results || response->n_results == call->n_results;
}

/* The call is over. Returns whether it keeps @response. */
static bool call_complete(struct wbcache *cache, struct call *call, int code, Wbrpc__Response *response)
{
    if (!answer_fits(call, code, response)) {
        client_call_finish(cache, call, call_kinship(call).write ? WBCACHE_UNKNOWN : WBCACHE_INTERNAL,
            "the node's answer does not fit the request");
        return false;
    }
    call->response = response;
    client_call_finish(cache, call, code, response->message != NULL ? response->message : "");
    return true;
}

/* What was answered with NOT_FLUSHED is the result, unless the rest of the time brings a better one. */
static bool call_keep_replicated(struct call *call, Wbrpc__Response *response)
{
    if (response->status != STATUS_NOT_FLUSHED || call->replicated != NULL ||
        !answer_fits(call, WBCACHE_NOT_FLUSHED, response)) {
        return false;
    }
    call->replicated = response;
    return true;
}

enum client_frame client_call_answered(
    struct wbcache *cache, struct client_conn *conn, struct bytes payload, uint64_t now_ms)
{
    Wbrpc__Response *response = wbrpc__response__unpack(NULL, payload.len, payload.data);
    if (response == NULL) {
        return CLIENT_FRAME_SENSELESS;
    }
    if (response->id == 0 && response->status == STATUS_SHUTTING_DOWN) {
        wbrpc__response__free_unpacked(response, NULL);
        return CLIENT_FRAME_GOODBYE;
    }
    bool kept = false;
    struct call *call = call_by_id(cache, response->id);
    if (call != NULL && call->conn == conn) {
        struct call_verdict verdict = call_judge_answer(call_kinship(call), response->status);
        call->perhaps_done = call->perhaps_done || verdict.perhaps_done;
        if (call->kind == CALL_TOPOLOGY) {
            topology_answered(cache, call, verdict.code, response, now_ms);
        } else if (verdict.next == CALL_NEXT_REPORT) {
            kept = call_complete(cache, call, verdict.code, response);
        } else if (verdict.next == CALL_NEXT_REDIRECT && call->node == CLUSTER_MAP_NOBODY) {
            call_follow(cache, call, response, now_ms);
        } else if (verdict.next == CALL_NEXT_RENUMBER) {
            call_renumber(cache, call, verdict.code, response, now_ms);
        } else {
            kept = call_keep_replicated(call, response);
            call_pause(cache, call, verdict.code, response, now_ms);
        }
    } /* else: an answer to an attempt that was given up; or, with id 0, to bytes that the node did not
         understand, and then it closes the connection */
    if (!kept) {
        wbrpc__response__free_unpacked(response, NULL);
    }
    return CLIENT_FRAME_ANSWER;
}

void client_calls_lost(struct wbcache *cache, struct client_conn *conn, bool failed, uint64_t now_ms)
{
    char why[CLIENT_MESSAGE_BYTES];
    snprintf(why, sizeof why, "connection to %s: %s", cache->map.nodes[conn->node].address, conn->error);
    list_for_each (it, tmp, &conn->calls) {
        struct call *call = list_entry(it, struct call, link);
        bool perhaps_taken = call->end_offset <= conn->stream_sent && !conn->goodbye;
        struct call_verdict verdict = call_judge_lost(call_kinship(call), perhaps_taken);
        call->perhaps_done = call->perhaps_done || verdict.perhaps_done;
        if (verdict.next == CALL_NEXT_REPORT || call->kind == CALL_TOPOLOGY) {
            client_call_finish(cache, call, verdict.code, why);
        } else {
            call_wait_again(cache, call, verdict.code, why, 0, now_ms);
        }
    }
    list_for_each (it, tmp, &cache->waiting) {
        struct call *call = list_entry(it, struct call, link);
        if (failed && call->node == conn->node) {
            client_call_finish(cache, call, WBCACHE_UNAVAILABLE, why);
        }
    }
}

void client_calls_recall(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms)
{
    list_for_each (it, tmp, &conn->calls) {
        struct call *call = list_entry(it, struct call, link);
        struct call_kinship kin = call_kinship(call);
        bool repeatable = !kin.write || kin.once;
        if (repeatable && call->node == CLUSTER_MAP_NOBODY) {
            call->perhaps_done = call->kind == CALL_WRITE; /* it is on its way there all the same */
            int code = call->perhaps_done ? WBCACHE_UNKNOWN : WBCACHE_UNAVAILABLE;
            call_wait_again(cache, call, code, "the leader does not answer", 0, now_ms);
        }
    }
}

/* ---- Time ---- */

void client_calls_expire(struct wbcache *cache, uint64_t now_ms)
{
    /* The end of one can be the end of others (a session's opening): so the first one is looked at anew. */
    while (!list_empty(&cache->by_deadline)) {
        struct call *call = list_entry(cache->by_deadline.next, struct call, deadline_link);
        if (call->deadline_ms > now_ms) {
            return;
        }
        /* On a connection means perhaps on its way: what is in the output can still be sent. */
        bool awaiting = call->state == CALL_ON_CONN;
        const char *message = awaiting ? "no answer by the deadline" : NULL;
        int refusal = call->replicated != NULL ? WBCACHE_NOT_FLUSHED : call->refusal;
        client_call_finish(cache, call, call_judge_deadline(call_kinship(call), awaiting, refusal), message);
    }
}

uint64_t client_calls_next_ms(const struct wbcache *cache, uint64_t now_ms)
{
    uint64_t next_ms = UINT64_MAX;
    if (!list_empty(&cache->by_deadline)) {
        next_ms = list_entry(cache->by_deadline.next, struct call, deadline_link)->deadline_ms;
    }
    list_for_each (it, tmp, &cache->waiting) {
        const struct call *call = list_entry(it, struct call, link);
        if (call->due_ms < next_ms && call->due_ms > now_ms) {
            next_ms = call->due_ms;
        }
    }
    return next_ms;
}

void client_calls_drop(struct wbcache *cache)
{
    struct list *node;
    while ((node = list_pop_front(&cache->by_deadline)) != NULL) {
        struct call *call = list_entry(node, struct call, deadline_link);
        client_call_finish(cache, call, WBCACHE_CLOSED, NULL);
        if (call->owner == CALL_OF_BLOCKING) {
            client_call_free(cache, call);
        }
    }
    while ((node = list_pop_front(&cache->done)) != NULL) {
        client_call_free(cache, list_entry(node, struct call, link));
    }
    while ((node = list_pop_front(&cache->free_calls)) != NULL) {
        struct call *call = list_entry(node, struct call, link);
        buf_deinit(&call->body);
        free(call);
    }
    free(cache->places);
    free(cache->free_places);
}
