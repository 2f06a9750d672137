#include "node/front_test_help.h"

#include <string.h>

void rpc_reply(struct rpc_request *request, Wbrpc__Response *response)
{
    struct call *c = list_entry(request, struct call, rpc);
    assert_null(c->answer); /* exactly once */
    struct buf packed;
    buf_init(&packed);
    response->id = request->msg->id;
    pb_pack(&response->base, &packed);
    arena_deinit(&request->arena);
    c->answer = wbrpc__response__unpack(NULL, packed.len, packed.data);
    assert_non_null(c->answer);
    assert_int_equal(c->answer->id, 42);
    buf_deinit(&packed);
}

static struct group *group_of(void *data, uint32_t group)
{
    struct bench *b = data;
    b->asked_group = group;
    return b->f.group;
}

static const char *leader_of(void *data, uint32_t group)
{
    return ((struct bench *)data)->leader;
}

static void topology(void *data, struct arena *arena, Wbrpc__TopologyReply *out)
{
    out->group_count = ((struct bench *)data)->front.group_count;
}

static void node_status(void *data, struct arena *arena, Wbrpc__StatusReply *out)
{
    out->version = strcpy(arena_alloc(arena, 8), "1.2.3");
    out->group_count = ((struct bench *)data)->front.group_count;
}

static const struct front_ops front_ops = {
    .group = group_of, .leader_address = leader_of, .topology = topology, .status = node_status};

void bench_init(struct bench *b, uint32_t group_count)
{
    *b = (struct bench){.leader = NULL};
    fixture_init(&b->f, 0, false, true);
    b->f.contact_age_ms = STALE_AGE_MS;
    b->front = (struct front){.ops = &front_ops, .data = b, .group_count = group_count, .scan_tag = SCAN_TAG};
}

void bench_deinit(struct bench *b)
{
    fixture_deinit(&b->f);
}

/* ---- Asking ---- */

void bench_send(struct bench *b, struct call *c, Wbrpc__Request *msg)
{
    struct buf packed;
    buf_init(&packed);
    msg->id = 42;
    pb_pack(&msg->base, &packed);
    *c = (struct call){.rpc = {.conn_id = CONN, .received_ms = b->f.now_ms}};
    arena_init(&c->rpc.arena);
    c->rpc.msg =
        (const Wbrpc__Request *)pb_unpack(&wbrpc__request__descriptor, buf_bytes(&packed), &c->rpc.arena);
    assert_non_null(c->rpc.msg);
    buf_deinit(&packed);
    front_on_request(&b->front, &c->rpc);
}

/* Let the group do what is to be done; the database has nothing. */
void bench_settle(struct bench *b)
{
    for (int i = 0; i < 4; i++) {
        unsigned loads = b->f.loads;
        fixture_turn(&b->f);
        if (b->f.loads > loads) {
            loader_answer(&b->f, NULL, NULL, 0);
        }
        fixture_commit(&b->f, UINT32_MAX);
    }
}

/* The answer to @msg, until the next call. */
const Wbrpc__Response *bench_ask(struct bench *b, Wbrpc__Request *msg)
{
    static struct call c;
    if (c.answer != NULL) {
        wbrpc__response__free_unpacked(c.answer, NULL);
    }
    c.answer = NULL;
    if (msg == NULL) { /* the last one was seen */
        return NULL;
    }
    bench_send(b, &c, msg);
    bench_settle(b);
    assert_non_null(c.answer);
    return c.answer;
}

int bench_forget_answer(void **state)
{
    bench_ask(NULL, NULL);
    return 0;
}

ProtobufCBinaryData text(const char *s)
{
    return pb_borrow(bytes_from_text(s));
}

Wbrpc__Request *words(struct words *w, Wbrpc__Request__OpCase op, const char *key, const char *value)
{
    wbrpc__request__init(&w->msg);
    wbrpc__keys__init(&w->keys);
    wbrpc__key_value__init(&w->entry);
    wbrpc__set__init(&w->set);
    wbrpc__del__init(&w->del);
    wbrpc__incr__init(&w->incr);
    wbrpc__append__init(&w->append);
    wbrpc__expire__init(&w->expire);
    wbrpc__once__init(&w->once);
    wbrpc__flush__init(&w->flush);
    wbrpc__wait__init(&w->wait);
    wbrpc__scan__init(&w->scan);
    wbrpc__open_session__init(&w->open_session);
    wbrpc__topology__init(&w->topology);
    wbrpc__node_status__init(&w->status);
    w->key = w->entry.key = w->incr.key = w->append.key = text(key);
    w->entry.value = w->append.value = text(value);
    w->entries[0] = &w->entry;
    w->set.entries = w->entries;
    w->keys.keys = w->del.keys = w->expire.keys = &w->key;
    w->keys.n_keys = w->del.n_keys = w->expire.n_keys = w->set.n_entries = 1;
    w->msg.op_case = op;
    w->msg.has_deadline_ms = 1;
    w->msg.deadline_ms = DEADLINE_MS;
    void *const of_op[] = {[WBRPC__REQUEST__OP_GET] = &w->keys,
        [WBRPC__REQUEST__OP_EXISTS] = &w->keys,
        [WBRPC__REQUEST__OP_INSPECT] = &w->keys,
        [WBRPC__REQUEST__OP_SET] = &w->set,
        [WBRPC__REQUEST__OP_DEL] = &w->del,
        [WBRPC__REQUEST__OP_INCR] = &w->incr,
        [WBRPC__REQUEST__OP_APPEND] = &w->append,
        [WBRPC__REQUEST__OP_EXPIRE] = &w->expire,
        [WBRPC__REQUEST__OP_FLUSH] = &w->flush,
        [WBRPC__REQUEST__OP_WAIT] = &w->wait,
        [WBRPC__REQUEST__OP_SCAN] = &w->scan,
        [WBRPC__REQUEST__OP_OPEN_SESSION] = &w->open_session,
        [WBRPC__REQUEST__OP_TOPOLOGY] = &w->topology,
        [WBRPC__REQUEST__OP_STATUS] = &w->status};
    w->msg.get = of_op[op]; /* the members of the union are all pointers */
    return &w->msg;
}

const Wbrpc__Response *bench_ask_simply(
    struct bench *b, Wbrpc__Request__OpCase op, const char *key, const char *value)
{
    struct words w;
    return bench_ask(b, words(&w, op, key, value));
}

const Wbrpc__Result *only_result(const Wbrpc__Response *answer, int status)
{
    assert_int_equal(answer->status, status);
    assert_int_equal(answer->n_results, 1);
    assert_true(answer->has_group);
    return answer->results[0];
}

void assert_text(const Wbrpc__Result *r, const char *want)
{
    assert_int_equal(r->has_value, want != NULL);
    if (want != NULL) {
        assert_true(bytes_equal(pb_bytes(r->value), bytes_from_text(want)));
    }
}
