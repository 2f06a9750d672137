#include "cluster-tests/redis_caller.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { SLOW_MS = 300, RETRY_MS = 15, MOVED_MS = 1, TIMES_EACH = 4 };

static void rest(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&t, &t) != 0) {
    }
}

/* ---- What is asked ---- */

unsigned redis_caller_below(struct redis_caller *c, unsigned n)
{
    c->random ^= c->random << 13; /* xorshift64 */
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return (unsigned)((c->random >> 16) % n);
}

enum redis_form redis_caller_form(struct redis_caller *c, const struct redis_object *object)
{
    unsigned i = redis_caller_below(c, 100);
    for (unsigned form = 0; form < REDIS_FORMS; form++) {
        unsigned percent = redis_form_percent(object->kind, (enum redis_form)form);
        if (i < percent) {
            return (enum redis_form)form;
        }
        i -= percent;
    }
    CHECK(!"percents that add up to 100");
    return REDIS_FORM_READ;
}

static unsigned index_of(const struct redis_caller *c, const struct redis_object *object)
{
    CHECK(object >= c->objects && object < c->objects + c->n_objects);
    return (unsigned)(object - c->objects);
}

void redis_piece_clear(struct redis_piece *p)
{
    p->n = 0;
}

/* Every value is another one: who reads it knows which write it was. Some are numbers, for increments; some
 * of those in hashes are no text, or look like what PostgreSQL gets for such. */
static struct bytes make_value(struct redis_caller *c, const struct redis_object *o, char *text)
{
    unsigned who = (unsigned)c->number + 1, n = (unsigned)++c->next_value;
    int len;
    if (redis_caller_below(c, 2) == 0) {
        len = snprintf(text, REDIS_VALUE_BYTES, "%u%07u", who, n);
    } else if (redis_kind_is_hash(o->kind) && redis_caller_below(c, 2) == 0) {
        const char *mark = redis_caller_below(c, 2) == 0 ? "\\x" : "\xc3\x28";
        len = snprintf(text, REDIS_VALUE_BYTES, "%sc%u.%u;", mark, who, n);
    } else {
        len = snprintf(text, REDIS_VALUE_BYTES, "c%u.%u;", who, n);
    }
    return bytes_of(text, (size_t)len);
}

void redis_caller_add(
    struct redis_caller *c, struct redis_piece *p, const struct redis_object *object, enum redis_form form)
{
    CHECK(p->n < REDIS_PIECE_MAX);
    struct redis_call *call = &p->calls[p->n];
    *call = (struct redis_call){.object = object, .form = form};
    call->value = make_value(c, object, p->texts[p->n]);
    /* Transactions add twice. Counters never fall. */
    call->delta = 2 + (int64_t)redis_caller_below(c, 8);
    if (!redis_kind_is_counter(object->kind) && redis_caller_below(c, 3) == 0) {
        call->delta = -call->delta;
    }
    p->n++;
}

/* ---- What is answered ---- */

static void note_wrong(
    struct redis_caller *c, const struct redis_call *call, const char *why, const struct reply *reply)
{
    c->numbers.answers[REDIS_ANSWER_WRONG]++;
    if (c->numbers.error[0] == '\0') {
        size_t len = reply->whole.len < 100 ? reply->whole.len : 100;
        snprintf(c->numbers.error, sizeof c->numbers.error, "%s of %s: %s: '%.*s'",
            redis_form_words(call->form), call->object->name, why, (int)len, (const char *)reply->whole.data);
    }
}

static void record(struct redis_caller *c, const struct redis_call *call, const struct redis_effect *effect,
    bool known, uint64_t start_ns, uint64_t end_ns)
{
    size_t event;
    if (history_begin(&c->history, c->number, effect->op, bytes_from_text(call->object->name), &effect->arg,
            start_ns, &event) != STATUS_OK) {
        c->full = true;
    } else if (known) {
        history_end(&c->history, event, &effect->result, end_ns);
    } else {
        history_end_unknown(&c->history, event);
    }
}

/* One piece on its way. */
struct trip {
    struct redis_caller *c;
    struct redis_piece *p;
    unsigned node;
    uint64_t sent_ns;
    uint64_t begun_ns; /* what is recorded as the start: of the first try */
    bool looked[REDIS_PIECE_MAX];
};

/* When call number @i began and ended, as far as we know. What only we do to an object is done in the order
 * in which it was sent. */
static void times(const struct trip *t, unsigned i, unsigned effect, uint64_t *start_ns, uint64_t *end_ns)
{
    if (t->c->own[index_of(t->c, t->p->calls[i].object)]) {
        *start_ns = t->sent_ns + TIMES_EACH * i + 2 * effect;
        *end_ns = *start_ns + 1;
    } else {
        *start_ns = t->begun_ns;
        *end_ns = clock_boot_ns();
    }
}

static bool number_seen(const struct redis_effect *e, int64_t *number)
{
    *number = e->result.number;
    if (e->op == HISTORY_GET) {
        *number = 0;
        for (size_t i = 0; i < e->result.value.len; i++) {
            *number = *number * 10 + (e->result.value.data[i] - '0');
        }
    }
    return e->op == HISTORY_GET || (e->op == HISTORY_INCR && e->result.outcome == HISTORY_OK);
}

/* Counters never fall, and grow by what is added: so say the replies to one piece, in their order. @numbers
 * is what each of its calls before saw. */
static void look_at_order(
    struct trip *t, unsigned i, const struct redis_effect *e, int64_t *numbers, const struct reply *reply)
{
    const struct redis_call *call = &t->p->calls[i];
    if (!redis_kind_is_counter(call->object->kind) || !number_seen(e, &numbers[i])) {
        return;
    }
    t->looked[i] = true;
    int64_t added = e->op == HISTORY_INCR ? call->delta : 0;
    for (unsigned before = i; before-- > 0;) {
        if (t->p->calls[before].object == call->object && t->looked[before]) {
            t->c->numbers.ordered++;
            if (numbers[i] < numbers[before] + added) {
                note_wrong(t->c, call, "older than what was replied before to the same piece", reply);
            }
            return;
        }
    }
}

static void settle(struct trip *t, unsigned i, int64_t *numbers, const struct reply *reply)
{
    struct redis_caller *c = t->c;
    const struct redis_call *call = &t->p->calls[i];
    struct redis_outcome outcome = redis_call_settle(call, reply);
    t->p->answers[i] = outcome.answer;
    if (outcome.answer == REDIS_ANSWER_WRONG) {
        note_wrong(c, call, outcome.why, reply);
        return;
    }
    c->numbers.answers[outcome.answer]++;
    c->numbers.add_answers[outcome.answer] += call->form == REDIS_FORM_ADD;
    uint64_t start_ns, end_ns;
    struct redis_effect effect;
    if (outcome.answer == REDIS_ANSWER_UNKNOWN && redis_call_unknown(call, &effect)) {
        times(t, i, 0, &start_ns, &end_ns);
        record(c, call, &effect, false, start_ns, 0);
    }
    for (unsigned e = 0; e < outcome.n; e++) {
        times(t, i, e, &start_ns, &end_ns);
        record(c, call, &outcome.effects[e], true, start_ns, end_ns);
        look_at_order(t, i, &outcome.effects[e], numbers, reply);
    }
}

/* The connection is lost: nobody knows what became of the calls from number @i on. */
static void lose(struct trip *t, unsigned i)
{
    for (; i < t->p->n; i++) {
        const struct redis_call *call = &t->p->calls[i];
        struct redis_effect effect;
        uint64_t start_ns, end_ns;
        t->p->answers[i] = REDIS_ANSWER_CLOSED;
        t->c->numbers.answers[REDIS_ANSWER_CLOSED]++;
        t->c->numbers.add_answers[REDIS_ANSWER_CLOSED] += call->form == REDIS_FORM_ADD;
        if (redis_call_unknown(call, &effect)) {
            times(t, i, 0, &start_ns, &end_ns);
            record(t->c, call, &effect, false, start_ns, 0);
        }
    }
}

/* Nothing was sent. */
static void refuse(struct trip *t)
{
    for (unsigned i = 0; i < t->p->n; i++) {
        unsigned object = index_of(t->c, t->p->calls[i].object);
        t->p->answers[i] = REDIS_ANSWER_REFUSED;
        t->c->numbers.answers[REDIS_ANSWER_REFUSED]++;
        if (t->c->hint[object] == t->node) {
            t->c->hint[object] = (uint8_t)((t->node + 1) % t->c->client.nodes);
        }
    }
}

/* Take the replies to call number @i. False: the connection is lost. */
static bool take_replies(struct trip *t, unsigned i, struct reply *last)
{
    struct redis_caller *c = t->c;
    for (unsigned r = 0; r < t->p->replies[i]; r++) {
        if (!redis_client_receive(&c->client, t->node, c->reply_ms, last)) {
            return false;
        }
        int moved_to = redis_client_moved_to(&c->client, last);
        if (moved_to >= 0) {
            c->hint[index_of(c, t->p->calls[i].object)] = (uint8_t)moved_to;
        }
    }
    return true;
}

/* Over the connection that there is. */
static void travel(struct trip *t)
{
    struct buf out;
    buf_init(&out);
    for (unsigned i = 0; i < t->p->n; i++) {
        t->p->replies[i] = redis_call_encode(&t->p->calls[i], &out);
    }
    CHECK(!out.failed);
    t->sent_ns = clock_boot_ns();
    t->begun_ns = t->begun_ns == 0 ? t->sent_ns : t->begun_ns;
    bool sent = redis_client_send(&t->c->client, t->node, buf_bytes(&out));
    buf_deinit(&out);
    int64_t numbers[REDIS_PIECE_MAX];
    struct reply reply;
    unsigned i = 0;
    while (sent && i < t->p->n && take_replies(t, i, &reply)) {
        settle(t, i++, numbers, &reply);
    }
    lose(t, i);
}

/* ---- Calls ---- */

static void count_asked(struct redis_caller *c, const struct redis_piece *p)
{
    for (unsigned i = 0; i < p->n; i++) {
        c->numbers.asked[p->calls[i].form]++;
    }
}

static void count_time(struct redis_caller *c, uint64_t begun_ns)
{
    uint64_t took_ms = (clock_boot_ns() - begun_ns) / 1000000;
    c->numbers.slow += took_ms >= SLOW_MS;
    c->numbers.slowest_ms = took_ms > c->numbers.slowest_ms ? took_ms : c->numbers.slowest_ms;
}

void redis_caller_send(struct redis_caller *c, unsigned node, struct redis_piece *p)
{
    struct trip t = {.c = c, .p = p, .node = node};
    count_asked(c, p);
    if (redis_client_connect(&c->client, node)) {
        travel(&t);
    } else {
        refuse(&t);
    }
}

/* After which answers does a client try again, and after which rest? 0: it does not. */
static unsigned retry_after_ms(enum redis_answer answer)
{
    switch (answer) {
    case REDIS_ANSWER_MOVED:
        return MOVED_MS;
    case REDIS_ANSWER_CLUSTERDOWN:
    case REDIS_ANSWER_TRYAGAIN:
    case REDIS_ANSWER_EXECABORT:
    case REDIS_ANSWER_REFUSED:
        return RETRY_MS;
    default:
        return 0;
    }
}

enum redis_answer redis_caller_do(struct redis_caller *c, struct redis_piece *p)
{
    CHECK(p->n == 1);
    unsigned object = index_of(c, p->calls[0].object);
    struct trip t = {.c = c, .p = p, .begun_ns = clock_boot_ns()};
    count_asked(c, p);
    for (;;) {
        t.node = c->hint[object];
        if (redis_client_connect(&c->client, t.node)) {
            travel(&t);
        } else {
            refuse(&t);
        }
        unsigned rest_ms = retry_after_ms(p->answers[0]);
        if (rest_ms == 0) {
            break;
        }
        if (clock_boot_ns() - t.begun_ns > (uint64_t)c->patience_ms * 1000000) {
            c->numbers.given_up++;
            break;
        }
        rest(rest_ms);
    }
    count_time(c, t.begun_ns);
    return p->answers[0];
}

/* The replies to WATCH and the read. False: there is nothing to go on with. Then nothing is watched. */
static bool take_watched(struct trip *t, struct buf *before)
{
    struct redis_caller *c = t->c;
    struct reply reply;
    struct redis_call *call = &t->p->calls[0];
    struct redis_call read = {.object = call->object, .form = REDIS_FORM_READ};
    t->p->replies[0] = 1;
    bool received = take_replies(t, 0, &reply);
    bool watched = received && reply.type == '+';
    if (!received || !take_replies(t, 0, &reply)) {
        return false;
    }
    struct redis_outcome outcome = redis_call_settle(&read, &reply);
    if (outcome.answer == REDIS_ANSWER_WRONG) {
        note_wrong(c, &read, outcome.why, &reply);
    }
    if (!watched || outcome.n != 1) {
        if (watched) {
            redis_client_drop(&c->client, t->node);
        }
        return false;
    }
    record(c, &read, &outcome.effects[0], true, t->begun_ns, clock_boot_ns());
    struct history_result *saw = &outcome.effects[0].result;
    buf_append(before, saw->value.data, saw->value.len);
    call->found = saw->found;
    call->before = buf_bytes(before);
    return true;
}

void redis_caller_change(
    struct redis_caller *c, struct redis_piece *p, const struct redis_object *object, unsigned rest_ms)
{
    struct trip t = {.c = c, .p = p, .node = c->hint[index_of(c, object)]};
    struct buf out, before;
    buf_init(&out);
    buf_init(&before);
    redis_piece_clear(p);
    redis_caller_add(c, p, object, REDIS_FORM_CHANGE);
    count_asked(c, p);
    redis_call_encode_watch(object, &out);
    t.begun_ns = clock_boot_ns();
    if (!redis_client_connect(&c->client, t.node)) {
        refuse(&t);
    } else if (redis_client_send(&c->client, t.node, buf_bytes(&out)) && take_watched(&t, &before)) {
        rest(rest_ms);
        t.begun_ns = 0; /* the transaction's own */
        travel(&t);     /* a new connection would watch nothing */
    }
    buf_deinit(&before);
    buf_deinit(&out);
}

/* ---- Begin and end ---- */

void redis_caller_init(
    struct redis_caller *c, const char *addresses, uint64_t number, size_t history_bytes_max)
{
    *c = (struct redis_caller){.number = number};
    redis_client_init(&c->client, addresses, false);
    history_init(&c->history, history_bytes_max);
}

void redis_caller_deinit(struct redis_caller *c)
{
    redis_client_deinit(&c->client);
    history_deinit(&c->history);
}

void redis_caller_objects(
    struct redis_caller *c, const struct redis_object *objects, unsigned n, uint64_t seed)
{
    CHECK(n <= REDIS_OBJECTS_MAX);
    /* splitmix64: callers and seeds that are neighbours have nothing in common. */
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + (c->number + 1) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    c->random = (x ^ (x >> 31)) | 1;
    c->objects = objects;
    c->n_objects = n;
    memset(c->own, 0, sizeof c->own);
    memset(c->hint, 0, sizeof c->hint);
}
