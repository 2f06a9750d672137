/* libwbcache's calls for operators, against nodes that do as a group's leader would: what is asked, by whom
 * it is answered, and how it is shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/slot.h"
#include "rpc/fake_node.h"
#include "rpc/wbcache.h"

enum { GROUPS = 3, ROWS = 5, STEPS = 4 };

/* Under the cluster's lock once the nodes run. */
struct plan {
    enum fake_action action; /* instead of the first answer, once; FAKE_ANSWER: as it should be */
    bool empty;              /* OK, and nothing else */
    unsigned asked[GROUPS];  /* by group, of the leader */
    unsigned keys_max;       /* the most that one request had */
    size_t keys;
    Wbrpc__QuarantineAction last_action;
    uint64_t version_sum;
    Wbrpc__FlushSettings set; /* the last one */
    bool had_set, reset;
    uint32_t connections[FAKE_NODES];
    unsigned move_at; /* verify: group 1 gets another leader at so many steps; 0: never */
    unsigned steps, anew;
    uint32_t one_in;
    struct bytes prefix;
    char prefix_text[16];
};

static void note_keys(struct plan *plan, unsigned group, ProtobufCBinaryData *keys, size_t n)
{
    plan->keys += n;
    plan->keys_max = n > plan->keys_max ? (unsigned)n : plan->keys_max;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(slot_group(slot_of(bytes_of(keys[i].data, keys[i].len)), GROUPS), group);
    }
}

/* ---- What the nodes answer: static, for they answer one at a time, under the lock ---- */

static ProtobufCBinaryData name(char *at, size_t size, unsigned group, unsigned i)
{
    int len = snprintf(at, size, "%u:%u", group, i);
    return (ProtobufCBinaryData){.data = (uint8_t *)at, .len = (size_t)len};
}

static Wbrpc__QuarantinedKey *refused(unsigned group, unsigned i)
{
    static Wbrpc__QuarantinedKey rows[ROWS];
    static char names[ROWS][16];
    Wbrpc__QuarantinedKey *row = &rows[i];
    wbrpc__quarantined_key__init(row);
    row->key = name(names[i], sizeof names[i], group, i);
    row->version = 100 + i;
    row->refused_version = 90 + i;
    row->sqlstate = fake_text("23514");
    row->message = fake_text("violates check constraint \"positive\"");
    row->attempts = i + 1;
    row->since_ms = 5000;
    row->refused_ms = 300;
    row->retry_in_ms = 700;
    row->length = 3;
    return row;
}

static void answer_quarantine(struct plan *plan, const Wbrpc__Quarantine *request, Wbrpc__Response *response)
{
    static Wbrpc__QuarantineReply reply;
    static Wbrpc__QuarantinedKey *rows[ROWS];
    wbrpc__quarantine_reply__init(&reply);
    note_keys(plan, request->group, request->keys, request->n_keys);
    plan->last_action = request->action;
    reply.total =
        request->action == WBRPC__QUARANTINE_ACTION__LIST || request->n_keys == 0 ? ROWS : request->n_keys;
    reply.keys = rows;
    if (request->action == WBRPC__QUARANTINE_ACTION__LIST && request->n_keys == 0) {
        for (unsigned i = request->skip; i < ROWS && reply.n_keys < request->count; i++) {
            rows[reply.n_keys++] = refused(request->group, i);
        }
    } else if (request->action == WBRPC__QUARANTINE_ACTION__LIST && request->keys[0].data[0] == 'b') {
        rows[reply.n_keys++] = refused(request->group, 0);
        rows[0]->key = request->keys[0];
        rows[0]->has_value = request->values;
        rows[0]->value = request->keys[0];
    }
    response->quarantine = &reply;
}

static void answer_key(const Wbrpc__Keys *request, Wbrpc__Response *response)
{
    static Wbrpc__KeyState state;
    static Wbrpc__KeyState *states[1] = {&state};
    wbrpc__key_state__init(&state);
    char first = (char)request->keys[0].data[0];
    state.in_memory = first != 'n';
    if (first == 'b' || first == 'd') {
        state.has_present = state.present = 1;
        state.has_version = state.has_dirty_index = state.has_queued = 1;
        state.version = 77;
        state.dirty_index = 12;
        state.has_dirty_ms = 1;
        state.dirty_ms = 345;
        state.queued = first == 'd';
        state.has_in_flight = first == 'd';
        state.in_flight = 11;
        state.quarantined = first == 'b' ? refused(0, 2) : NULL;
    }
    response->n_key_states = 1;
    response->key_states = states;
}

static void answer_control(struct plan *plan, const Wbrpc__FlushControl *request, Wbrpc__Response *response)
{
    static Wbrpc__FlushControlReply reply;
    static Wbrpc__FlushSettings settings;
    wbrpc__flush_control_reply__init(&reply);
    wbrpc__flush_settings__init(&settings);
    plan->had_set = request->set != NULL;
    plan->reset = request->reset;
    if (request->set != NULL) {
        plan->set = *request->set;
    }
    settings.has_paused = settings.has_age_ms = settings.has_batch_rows = settings.has_batch_bytes = 1;
    settings.has_rows_per_second = 1;
    settings.age_ms = 500;
    settings.batch_rows = 5000;
    settings.batch_bytes = 4096;
    reply.settings = &settings;
    reply.set = &plan->set;
    reply.has_acknowledged = request->acknowledge_loss;
    reply.acknowledged = 17;
    response->flush_control = &reply;
}

/* Each group has STEPS steps; each has one difference, but the first. Cursors name their node. */
static void answer_verify(
    struct fake_node *node, struct plan *plan, const Wbrpc__Verify *request, Wbrpc__Response *response)
{
    static Wbrpc__VerifyReply reply;
    static Wbrpc__Difference difference;
    static Wbrpc__Difference *differences[1] = {&difference};
    static char text[16];
    if (request->cursor != 0 && request->cursor >> 32 != node->id) {
        plan->anew++;
        response->status = WBCACHE_INVALID;
        response->message = fake_text("the scan was begun at another node");
        return;
    }
    uint64_t step = request->cursor & UINT32_MAX;
    plan->steps++;
    plan->one_in = request->one_in;
    if (request->prefix.len > 0) {
        memcpy(plan->prefix_text, request->prefix.data, request->prefix.len);
    }
    plan->prefix = bytes_of(plan->prefix_text, request->prefix.len);
    wbrpc__verify_reply__init(&reply);
    wbrpc__difference__init(&difference);
    reply.looked = 10;
    reply.compared = 7;
    reply.dirty = 2;
    reply.cursor = step + 1 < STEPS ? (uint64_t)node->id << 32 | (step + 1) : 0;
    difference.key = name(text, sizeof text, request->group, (unsigned)step);
    difference.kind = WBRPC__DIFFERENCE_KIND__OLDER;
    difference.version = 5;
    difference.has_row_version = 1;
    difference.row_version = 4;
    reply.differences = differences;
    reply.n_differences = step > 0;
    response->verify = &reply;
    if (plan->move_at != 0 && plan->steps == plan->move_at) {
        node->cluster->leaders[request->group] = node->id % FAKE_NODES + 1;
    }
}

static unsigned group_of(const Wbrpc__Request *request)
{
    const ProtobufCBinaryData *key = request->op_case == WBRPC__REQUEST__OP_KEY_STATUS
                                         ? request->key_status->keys
                                     : request->op_case == WBRPC__REQUEST__OP_FORGET ? request->forget->keys
                                                                                     : NULL;
    if (key != NULL) {
        return slot_group(slot_of(bytes_of(key->data, key->len)), GROUPS);
    }
    return request->op_case == WBRPC__REQUEST__OP_QUARANTINE ? request->quarantine->group
           : request->op_case == WBRPC__REQUEST__OP_VERIFY   ? request->verify->group
                                                             : request->flush_control->group;
}

static enum fake_action admin_script(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    struct plan *plan = node->cluster->data;
    if (request->op_case == WBRPC__REQUEST__OP_NODE_CONTROL) {
        plan->connections[node->id - 1] = request->node_control->database_connections;
        return FAKE_ANSWER;
    }
    unsigned group = group_of(request);
    unsigned leader = node->cluster->leaders[group];
    if (node->id != leader) {
        response->status = WBCACHE_NOT_LEADER;
        response->leader = node->cluster->nodes[leader - 1].address;
        return FAKE_ANSWER;
    }
    plan->asked[group]++;
    enum fake_action action = plan->action;
    plan->action = FAKE_ANSWER;
    if (plan->empty || action != FAKE_ANSWER) {
        return action;
    }
    switch (request->op_case) {
    case WBRPC__REQUEST__OP_QUARANTINE:
        answer_quarantine(plan, request->quarantine, response);
        break;
    case WBRPC__REQUEST__OP_KEY_STATUS:
        answer_key(request->key_status, response);
        break;
    case WBRPC__REQUEST__OP_FLUSH_CONTROL:
        answer_control(plan, request->flush_control, response);
        break;
    case WBRPC__REQUEST__OP_VERIFY:
        answer_verify(node, plan, request->verify, response);
        break;
    case WBRPC__REQUEST__OP_FORGET:
        note_keys(plan, group, request->forget->keys, request->forget->n_keys);
        assert_int_equal(request->forget->n_keys, request->forget->n_versions);
        for (size_t i = 0; i < request->forget->n_versions; i++) {
            plan->version_sum += request->forget->versions[i];
        }
        break;
    default:
        fail_msg("operation %d is no operator's", (int)request->op_case);
    }
    return FAKE_ANSWER;
}

/* ---- The tests ---- */

struct fixture {
    struct fake_cluster cluster;
    struct plan plan;
    struct wbcache *cache;
};

static void start(struct fixture *f)
{
    char addresses[128];
    struct wbcache_options options = {.deadline_ms = 5000};
    *f = (struct fixture){0};
    wbrpc__flush_settings__init(&f->plan.set);
    fake_cluster_start(&f->cluster, GROUPS, admin_script, &f->plan);
    assert_int_equal(
        wbcache_open(&f->cache, fake_cluster_addresses(&f->cluster, addresses), &options), WBCACHE_OK);
}

static void stop(struct fixture *f)
{
    wbcache_close(f->cache);
    fake_cluster_stop(&f->cluster);
}

/* The leader of each group is another node than the library believes. */
static void move_leaders(struct fixture *f)
{
    for (unsigned g = 0; g < GROUPS; g++) {
        fake_cluster_lead(&f->cluster, g, (g + 1) % FAKE_NODES + 1);
    }
}

static void a_keys_way_to_the_database_is_shown(void **state)
{
    struct fixture f;
    struct wbcache_key_state key;
    start(&f);
    move_leaders(&f);
    assert_int_equal(wbcache_key_status(f.cache, "d", 1, &key), WBCACHE_OK);
    assert_true(key.in_memory && key.present && key.queued && key.quarantined == NULL && !key.evictable);
    assert_true(key.version == 77 && key.dirty_index == 12 && key.dirty_ms == 345 && key.in_flight == 11);
    assert_int_equal(key.group, slot_group(slot_of(bytes_of("d", 1)), GROUPS));
    assert_int_equal(wbcache_key_status(f.cache, "bad", 3, &key), WBCACHE_OK);
    assert_non_null(key.quarantined);
    assert_string_equal(key.quarantined->sqlstate, "23514");
    assert_string_equal(key.quarantined->message, "violates check constraint \"positive\"");
    assert_int_equal(key.quarantined->attempts, 3);
    assert_int_equal(wbcache_key_status(f.cache, "not", 3, &key), WBCACHE_OK);
    assert_false(key.in_memory || key.present || key.quarantined != NULL);
    assert_int_equal(wbcache_key_status(f.cache, NULL, 3, &key), WBCACHE_INVALID);
    stop(&f);
}

static void the_quarantine_is_listed_over_all_groups_in_steps(void **state)
{
    struct fixture f;
    struct wbcache_quarantine list = {.count = 2};
    unsigned seen[GROUPS] = {0}, steps = 0;
    start(&f);
    move_leaders(&f);
    while (!list.done) {
        assert_int_equal(wbcache_quarantine_list(f.cache, &list), WBCACHE_OK);
        assert_true(list.n <= 2 && ++steps < 100);
        for (size_t i = 0; i < list.n; i++) {
            char want[16];
            snprintf(want, sizeof want, "%u:%u", list.rows[i].group, seen[list.rows[i].group]++);
            assert_int_equal(list.rows[i].key_len, strlen(want));
            assert_memory_equal(list.rows[i].key, want, strlen(want));
            assert_null(list.rows[i].value);
            assert_true(list.rows[i].version > list.rows[i].refused_version);
        }
    }
    assert_int_equal(steps, GROUPS * 3);
    for (unsigned g = 0; g < GROUPS; g++) {
        assert_int_equal(seen[g], ROWS);
    }
    assert_int_equal(wbcache_quarantine_list(f.cache, &list), WBCACHE_OK); /* done stays done */
    assert_int_equal(list.n, 0);
    stop(&f);
}

static void one_refused_row_is_given_with_its_value_and_another_key_is_not_found(void **state)
{
    struct fixture f;
    struct wbcache_quarantined row;
    start(&f);
    assert_int_equal(wbcache_quarantine_get(f.cache, "bad", 3, &row), WBCACHE_OK);
    assert_true(row.key_len == 3 && row.value_len == 3 && memcmp(row.value, "bad", 3) == 0);
    assert_int_equal(row.refused_ms, 300);
    assert_int_equal(wbcache_quarantine_get(f.cache, "good", 4, &row), WBCACHE_NOT_FOUND);
    assert_non_null(strstr(wbcache_errmsg(f.cache), "not in quarantine"));
    stop(&f);
}

enum { MANY = 2000 };

static struct wbcache_key *many_keys(void)
{
    static char names[MANY][16];
    static struct wbcache_key keys[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        keys[i] = (struct wbcache_key){
            .key = names[i], .key_len = (size_t)snprintf(names[i], sizeof names[i], "key %u", i)};
    }
    return keys;
}

static void keys_go_to_their_groups_leaders_and_a_drop_in_small_pieces(void **state)
{
    struct fixture f;
    uint64_t count = 99;
    start(&f);
    move_leaders(&f);
    assert_int_equal(wbcache_quarantine_retry(f.cache, many_keys(), MANY, &count), WBCACHE_OK);
    assert_true(count == MANY && f.plan.keys == MANY && f.plan.keys_max > 256);
    assert_int_equal(f.plan.last_action, WBRPC__QUARANTINE_ACTION__RETRY);
    assert_true(f.plan.asked[0] == 1 && f.plan.asked[1] == 1 && f.plan.asked[2] == 1);
    f.plan.keys = f.plan.keys_max = 0;
    assert_int_equal(wbcache_quarantine_drop(f.cache, many_keys(), MANY, &count), WBCACHE_OK);
    assert_true(count == MANY && f.plan.keys == MANY && f.plan.keys_max == 256);
    assert_int_equal(f.plan.last_action, WBRPC__QUARANTINE_ACTION__DROP);
    assert_int_equal(wbcache_quarantine_drop(f.cache, NULL, 0, &count), WBCACHE_INVALID); /* never all */
    assert_int_equal(count, 0);
    assert_int_equal(wbcache_quarantine_retry(f.cache, NULL, 0, &count), WBCACHE_OK);
    assert_int_equal(count, GROUPS * ROWS);
    stop(&f);
}

/* Long keys: a request is cut by bytes before it is cut by number. */
static void a_request_never_gets_longer_than_a_frame(void **state)
{
    enum { LONG = 1024, TIMES = 3000 };
    static char text[TIMES][LONG];
    static struct wbcache_key_version keys[TIMES];
    struct fixture f;
    uint64_t sum = 0;
    start(&f);
    for (unsigned i = 0; i < TIMES; i++) {
        memset(text[i], 'x', LONG);
        memcpy(text[i], "{a}", 3);
        snprintf(text[i] + 3, 8, "%06u", i);
        text[i][9] = 'x';
        keys[i] = (struct wbcache_key_version){.key = text[i], .key_len = LONG, .version = i};
        sum += i;
    }
    assert_int_equal(wbcache_forget(f.cache, keys, TIMES), WBCACHE_OK);
    assert_true(f.plan.keys == TIMES && f.plan.keys_max == 1024 && f.plan.version_sum == sum);
    stop(&f);
}

static void settings_are_changed_alone_and_shown_whole(void **state)
{
    struct fixture f;
    struct wbcache_flush_state now;
    struct wbcache_flush_settings change = {
        .has_rows_per_second = true, .rows_per_second = 0, .has_paused = true, .paused = true};
    start(&f);
    move_leaders(&f);
    assert_int_equal(wbcache_flush_control(f.cache, 1, &change, true, &now), WBCACHE_OK);
    assert_true(f.plan.had_set && f.plan.reset && f.plan.set.has_paused && f.plan.set.paused);
    assert_true(f.plan.set.has_rows_per_second && !f.plan.set.has_age_ms && !f.plan.set.has_batch_rows);
    assert_true(now.settings.has_age_ms && now.settings.age_ms == 500 && now.settings.batch_bytes == 4096);
    assert_true(now.set.has_paused && now.set.paused && !now.set.has_batch_bytes);
    assert_int_equal(f.plan.asked[1], 1);
    assert_int_equal(wbcache_flush_control(f.cache, 2, NULL, false, NULL), WBCACHE_OK); /* asks */
    assert_false(f.plan.had_set || f.plan.reset);
    assert_int_equal(wbcache_flush_control(f.cache, GROUPS, NULL, false, NULL), WBCACHE_INVALID);
    assert_non_null(strstr(wbcache_errmsg(f.cache), "0 to 2"));
    unsigned groups = 0;
    assert_int_equal(wbcache_group_count(f.cache, &groups), WBCACHE_OK);
    assert_int_equal(groups, GROUPS);
    stop(&f);
}

/* What would take effect twice is not sent twice; what would not, is. */
static void a_lost_answer_leaves_only_a_drop_and_an_acknowledgement_unknown(void **state)
{
    struct fixture f;
    uint64_t count;
    struct wbcache_key key = {.key = "k", .key_len = 1};
    unsigned group = slot_group(slot_of(bytes_of("k", 1)), GROUPS);
    start(&f);
    f.plan.action = FAKE_DROP;
    assert_int_equal(wbcache_quarantine_drop(f.cache, &key, 1, &count), WBCACHE_UNKNOWN);
    assert_int_equal(f.plan.asked[group], 1);
    f.plan.action = FAKE_DROP;
    assert_int_equal(wbcache_acknowledge_loss(f.cache, group, &count), WBCACHE_UNKNOWN);
    assert_int_equal(f.plan.asked[group], 2);
    assert_int_equal(wbcache_acknowledge_loss(f.cache, group, &count), WBCACHE_OK);
    assert_int_equal(count, 17);
    f.plan.action = FAKE_DROP;
    assert_int_equal(wbcache_quarantine_retry(f.cache, &key, 1, &count), WBCACHE_OK);
    f.plan.action = FAKE_DROP;
    assert_int_equal(wbcache_flush_control(f.cache, group, NULL, true, NULL), WBCACHE_OK);
    assert_int_equal(f.plan.asked[group], 7);
    stop(&f);
}

static void an_answer_without_what_was_asked_for_is_an_error(void **state)
{
    struct fixture f;
    struct wbcache_key_state key;
    struct wbcache_quarantine list = {0};
    struct wbcache_verify verify = {0};
    start(&f);
    f.plan.empty = true;
    assert_int_equal(wbcache_key_status(f.cache, "k", 1, &key), WBCACHE_INTERNAL);
    assert_int_equal(wbcache_quarantine_list(f.cache, &list), WBCACHE_INTERNAL);
    assert_int_equal(wbcache_quarantine_retry(f.cache, NULL, 0, NULL), WBCACHE_INTERNAL);
    assert_int_equal(wbcache_flush_control(f.cache, 0, NULL, false, NULL), WBCACHE_INTERNAL);
    assert_int_equal(wbcache_acknowledge_loss(f.cache, 0, NULL), WBCACHE_INTERNAL);
    assert_int_equal(wbcache_verify_step(f.cache, &verify), WBCACHE_INTERNAL);
    stop(&f);
}

static void connections_are_set_on_one_node_or_on_each(void **state)
{
    struct fixture f;
    start(&f);
    assert_int_equal(wbcache_database_connections(f.cache, 2, 9), WBCACHE_OK);
    assert_true(f.plan.connections[0] == 0 && f.plan.connections[1] == 9 && f.plan.connections[2] == 0);
    assert_int_equal(wbcache_database_connections(f.cache, 0, 5), WBCACHE_OK);
    for (unsigned i = 0; i < FAKE_NODES; i++) {
        assert_int_equal(f.plan.connections[i], 5);
    }
    assert_int_equal(wbcache_database_connections(f.cache, 7, 5), WBCACHE_INVALID);
    fake_node_kill(&f.cluster.nodes[1]);
    wbcache_set_deadline(f.cache, 300);
    assert_int_not_equal(wbcache_database_connections(f.cache, 0, 6), WBCACHE_OK);
    assert_non_null(strstr(wbcache_errmsg(f.cache), "of node 2"));
    assert_true(f.plan.connections[0] == 6 && f.plan.connections[2] == 6); /* the others all the same */
    stop(&f);
}

/* ---- Verify ---- */

struct walk {
    struct wbcache *cache;
    unsigned steps, anew, found[GROUPS];
    unsigned stop_at;
};

static int on_step(void *data, const struct wbcache_verify *step)
{
    struct walk *w = data;
    w->anew += step->anew;
    for (size_t i = 0; i < step->n; i++) {
        const struct wbcache_difference *d = &step->differences[i];
        assert_true(d->kind == WBCACHE_OLDER && d->version == 5 && d->row_version == 4);
        assert_true(d->group == step->of_group && d->key_len == 3);
        w->found[d->group]++;
    }
    unsigned groups; /* the handle may be used meanwhile */
    assert_int_equal(wbcache_group_count(w->cache, &groups), WBCACHE_OK);
    return ++w->steps == w->stop_at ? WBCACHE_TIMEOUT : WBCACHE_OK;
}

static void verify_goes_through_all_groups_and_counts(void **state)
{
    struct fixture f;
    start(&f);
    struct walk w = {.cache = f.cache};
    struct wbcache_verify verify = {.prefix = "p:", .prefix_len = 2, .one_in = 8};
    assert_int_equal(wbcache_verify_all(f.cache, &verify, on_step, &w), WBCACHE_OK);
    assert_true(verify.done && w.steps == GROUPS * STEPS && w.anew == 0);
    assert_int_equal(verify.looked, GROUPS * STEPS * 10);
    assert_int_equal(verify.compared, GROUPS * STEPS * 7);
    assert_int_equal(verify.dirty, GROUPS * STEPS * 2);
    assert_int_equal(f.plan.one_in, 8);
    assert_true(bytes_equal(f.plan.prefix, bytes_of("p:", 2)));
    for (unsigned g = 0; g < GROUPS; g++) {
        assert_int_equal(w.found[g], STEPS - 1);
    }
    struct wbcache_verify one = {.one_group = true, .group = 1};
    w = (struct walk){.cache = f.cache};
    assert_int_equal(wbcache_verify_all(f.cache, &one, on_step, &w), WBCACHE_OK);
    assert_true(w.steps == STEPS && w.found[1] == STEPS - 1 && one.looked == STEPS * 10);
    stop(&f);
}

static void when_a_leader_changes_its_group_is_compared_from_the_start_and_counted_once(void **state)
{
    struct fixture f;
    start(&f);
    f.plan.move_at = STEPS + 2; /* in the middle of group 1 */
    struct walk w = {.cache = f.cache};
    struct wbcache_verify verify = {0};
    assert_int_equal(wbcache_verify_all(f.cache, &verify, on_step, &w), WBCACHE_OK);
    assert_true(w.anew == 1 && f.plan.anew == 1);
    assert_int_equal(verify.looked, GROUPS * STEPS * 10);
    assert_int_equal(w.found[1], STEPS); /* one of them twice */
    stop(&f);
}

static void a_walk_ends_when_its_caller_says_so(void **state)
{
    struct fixture f;
    start(&f);
    struct walk w = {.cache = f.cache, .stop_at = 2};
    struct wbcache_verify verify = {0};
    assert_int_equal(wbcache_verify_all(f.cache, &verify, on_step, &w), WBCACHE_TIMEOUT);
    assert_true(w.steps == 2 && verify.looked == 20 && !verify.done);
    stop(&f);
}

/* ---- A refused row, and level FLUSHED ---- */

static enum fake_action refuse(
    struct fake_node *node, const Wbrpc__Request *request, Wbrpc__Response *response)
{
    struct plan *plan = node->cluster->data;
    response->status = plan->steps++ == 0 ? WBCACHE_NOT_FLUSHED : WBCACHE_QUARANTINED;
    response->has_index = 1;
    response->index = 33;
    return FAKE_ANSWER;
}

static void a_write_that_the_database_refuses_is_done_and_says_so(void **state)
{
    struct plan plan = {0};
    struct fake_cluster cluster;
    struct wbcache *cache;
    char addresses[128];
    struct wbcache_result result;
    struct wbcache_options options = {.deadline_ms = 5000};
    fake_cluster_start(&cluster, 1, refuse, &plan);
    assert_int_equal(wbcache_open(&cache, fake_cluster_addresses(&cluster, addresses), &options), WBCACHE_OK);
    struct wbcache_op op = {.kind = WBCACHE_OP_SET,
        .key = "k",
        .key_len = 1,
        .value = "v",
        .value_len = 1,
        .level = WBCACHE_FLUSHED};
    /* Its first leader is replaced while it waits, and cannot say more than that it is not flushed. */
    assert_int_equal(wbcache_do(cache, &op, &result), WBCACHE_QUARANTINED);
    assert_true(result.found && result.version != 0 && result.index == 33);
    assert_string_equal(wbcache_code_name(result.code), "QUARANTINED");
    assert_int_equal(plan.steps, 2);
    wbcache_close(cache);
    fake_cluster_stop(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_keys_way_to_the_database_is_shown),
        cmocka_unit_test(the_quarantine_is_listed_over_all_groups_in_steps),
        cmocka_unit_test(one_refused_row_is_given_with_its_value_and_another_key_is_not_found),
        cmocka_unit_test(keys_go_to_their_groups_leaders_and_a_drop_in_small_pieces),
        cmocka_unit_test(a_request_never_gets_longer_than_a_frame),
        cmocka_unit_test(settings_are_changed_alone_and_shown_whole),
        cmocka_unit_test(a_lost_answer_leaves_only_a_drop_and_an_acknowledgement_unknown),
        cmocka_unit_test(an_answer_without_what_was_asked_for_is_an_error),
        cmocka_unit_test(connections_are_set_on_one_node_or_on_each),
        cmocka_unit_test(verify_goes_through_all_groups_and_counts),
        cmocka_unit_test(when_a_leader_changes_its_group_is_compared_from_the_start_and_counted_once),
        cmocka_unit_test(a_walk_ends_when_its_caller_says_so),
        cmocka_unit_test(a_write_that_the_database_refuses_is_done_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
