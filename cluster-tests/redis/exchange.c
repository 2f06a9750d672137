#include "cluster-tests/redis/exchange.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { REFERENCE, OURS, SIDES };
enum {
    AWAIT_MS = 20 * 1000,
    POLL_NS = 2 * 1000 * 1000,
    SCAN_ROUNDS_MAX = 100000,
    CURSOR_CHARS = 24,
    SCAN_ARGS_MAX = 16
};
static const char *const side_names[SIDES] = {"the reference", "ours"};

void exchange_difference_init(struct exchange_difference *d)
{
    *d = (struct exchange_difference){0};
    buf_init(&d->expected);
    buf_init(&d->got);
}

void exchange_difference_deinit(struct exchange_difference *d)
{
    buf_deinit(&d->expected);
    buf_deinit(&d->got);
}

void exchange_init(
    struct exchange *e, const char *reference, const char *ours, unsigned protocol, bool refuses)
{
    *e = (struct exchange){.protocol = protocol, .refuses = refuses};
    snprintf(e->addresses[REFERENCE], WIRE_ADDRESS_BYTES, "%s", reference);
    snprintf(e->addresses[OURS], WIRE_ADDRESS_BYTES, "%s", ours);
    for (unsigned i = 0; i < EXCHANGE_CONNECTIONS; i++) {
        buf_init(&e->ends[i].before);
        e->ends[i].wires[REFERENCE].fd = -1;
        e->ends[i].wires[OURS].fd = -1;
    }
}

static void close_end(struct exchange_end *end)
{
    wire_close(&end->wires[REFERENCE]);
    wire_close(&end->wires[OURS]);
    end->queue.n = 0;
    buf_clear(&end->before);
}

void exchange_close(struct exchange *e)
{
    for (unsigned i = 0; i < EXCHANGE_CONNECTIONS; i++) {
        close_end(&e->ends[i]);
        buf_deinit(&e->ends[i].before);
    }
}

/* ---- Results ---- */

static enum exchange_result broken(struct exchange_difference *out, unsigned side, const char *error)
{
    snprintf(out->error, sizeof out->error, "%s: %s", side_names[side], error);
    return EXCHANGE_BROKEN;
}

static enum exchange_result differs(struct exchange_difference *out, struct bytes expected, struct bytes got)
{
    buf_clear(&out->expected);
    buf_append(&out->expected, expected.data, expected.len);
    buf_clear(&out->got);
    buf_append(&out->got, got.data, got.len);
    return EXCHANGE_DIFFERS;
}

/* Words of a cluster that has no leader just now, or lost one: no reference says them here. */
static bool is_unsettled(const struct reply *ours, const struct reply *reference)
{
    static const char *const words[] = {"MOVED ", "CLUSTERDOWN ", "TRYAGAIN ", "UNKNOWN ", "TIMEOUT "};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (reply_is_error_of(ours, words[i]) && !reply_is_error_of(reference, words[i])) {
            return true;
        }
    }
    return false;
}

/* ---- Connections ---- */

static bool say_hello(struct wire *w, unsigned protocol)
{
    struct reply reply;
    return protocol == 2 || (wire_send(w, bytes_from_text("*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n")) &&
                                wire_receive(w, &reply) && reply.type == '%');
}

static enum exchange_result ready(struct exchange *e, unsigned connection, struct exchange_difference *out)
{
    struct exchange_end *end = &e->ends[connection];
    for (unsigned side = 0; side < SIDES; side++) {
        struct wire *w = &end->wires[side];
        if (w->fd >= 0) {
            continue;
        }
        if (!wire_open(w, e->addresses[side]) || !say_hello(w, e->protocol)) {
            return broken(out, side, w->error[0] == '\0' ? "HELLO 3 is no map" : w->error);
        }
    }
    return EXCHANGE_SAME;
}

static enum exchange_result send_both(
    struct exchange_end *end, const struct bytes data[SIDES], struct exchange_difference *out)
{
    for (unsigned side = 0; side < SIDES; side++) {
        if (!wire_send(&end->wires[side], data[side])) {
            return broken(out, side, end->wires[side].error);
        }
    }
    return EXCHANGE_SAME;
}

/* From the reference too, unless @first is OURS: then its reply is none. */
static enum exchange_result receive(
    struct exchange_end *end, unsigned first, struct reply replies[SIDES], struct exchange_difference *out)
{
    replies[REFERENCE] = (struct reply){0};
    for (unsigned side = first; side < SIDES; side++) {
        if (!wire_receive(&end->wires[side], &replies[side])) {
            /* What the other one said helps to see why. */
            if (side == OURS) {
                differs(out, replies[REFERENCE].whole, bytes_of(NULL, 0));
            }
            return broken(out, side, end->wires[side].error);
        }
    }
    return EXCHANGE_SAME;
}

/* ---- Transactions ---- */

static bool is_queued(const struct reply *r)
{
    return bytes_equal(r->whole, bytes_from_text("+QUEUED\r\n"));
}

/* EXEC's replies, each as its command wants it. */
static bool same_exec(const struct exchange_queue *queue, const struct reply *a, const struct reply *b)
{
    if (a->type != '*' || b->type != '*' || a->children != queue->n || b->children != queue->n) {
        return bytes_equal(a->whole, b->whole);
    }
    struct bytes inside_a = a->inside, inside_b = b->inside;
    struct reply before = {0};
    bool same = true;
    for (uint32_t i = 0; i < queue->n && same; i++) {
        struct reply child_a = reply_next(&inside_a), child_b = reply_next(&inside_b);
        same = compare_replies(queue->list[i].compare, &child_a, &child_b, queue->list[i].word, &before);
        before = child_b;
    }
    return same;
}

static bool same_replies(struct exchange_end *end, const struct step *step, const struct reply replies[SIDES])
{
    const struct reply *a = &replies[REFERENCE], *b = &replies[OURS];
    if (is_queued(a) && is_queued(b)) {
        if (end->queue.n < EXCHANGE_QUEUE_MAX) {
            end->queue.list[end->queue.n++] = (struct exchange_queued){step->compare, step->word};
        }
        return true;
    }
    bool same;
    if (step_is(step, "EXEC")) {
        same = same_exec(&end->queue, a, b);
    } else {
        struct reply before = {0};
        reply_scan(buf_bytes(&end->before), &before);
        same = compare_replies(step->compare, a, b, step->word, &before);
    }
    /* A MULTI within a transaction is an error, and leaves the transaction as it is. */
    if (step_is(step, "EXEC") || step_is(step, "DISCARD") || step_is(step, "RESET") ||
        (step_is(step, "MULTI") && !reply_is_error(a))) {
        end->queue.n = 0;
    }
    buf_clear(&end->before);
    buf_append(&end->before, b->whole.data, b->whole.len);
    return same;
}

/* ---- Steps ---- */

/* To the other server it would do something else, or end it. */
static bool is_for_ours_only(const struct step *step)
{
    return step->compare == COMPARE_REFUSED || step->compare == COMPARE_ERROR_OF;
}

static bool is_left_out(const struct exchange *e, const struct step *step)
{
    return !e->refuses && (is_for_ours_only(step) || step->compare == COMPARE_GIVES);
}

/* Steps that are sent together: @n of them from the first on. */
static enum exchange_result run_chunk(
    struct exchange *e, const struct step *steps, uint32_t n, uint32_t *at, struct exchange_difference *out)
{
    struct exchange_end *end = &e->ends[steps[0].connection];
    struct buf data[SIDES];
    for (unsigned side = 0; side < SIDES; side++) {
        buf_init(&data[side]);
        for (uint32_t i = 0; i < n; i++) {
            if (!is_left_out(e, &steps[i]) && (side == OURS || !is_for_ours_only(&steps[i]))) {
                step_encode(&steps[i], &data[side]);
            }
        }
    }
    const struct bytes to_send[SIDES] = {buf_bytes(&data[REFERENCE]), buf_bytes(&data[OURS])};
    enum exchange_result result = send_both(end, to_send, out);
    buf_deinit(&data[REFERENCE]);
    buf_deinit(&data[OURS]);
    for (*at = 0; *at < n && result == EXCHANGE_SAME; *at += result == EXCHANGE_SAME) {
        const struct step *step = &steps[*at];
        if (step->kind == STEP_SILENT || is_left_out(e, step)) {
            continue;
        }
        struct reply replies[SIDES];
        result = receive(end, is_for_ours_only(step) ? OURS : REFERENCE, replies, out);
        if (result != EXCHANGE_SAME) {
            break;
        }
        e->replies++;
        if (!same_replies(end, step, replies)) {
            differs(out, replies[REFERENCE].whole, replies[OURS].whole);
            result =
                is_unsettled(&replies[OURS], &replies[REFERENCE]) ? EXCHANGE_UNSETTLED : EXCHANGE_DIFFERS;
        }
    }
    return result;
}

static enum exchange_result run_closes(
    struct exchange_end *end, const struct step *step, struct exchange_difference *out)
{
    struct buf data, said[SIDES];
    buf_init(&data);
    step_encode(step, &data);
    const struct bytes to_send[SIDES] = {buf_bytes(&data), buf_bytes(&data)};
    enum exchange_result result = send_both(end, to_send, out);
    buf_deinit(&data);
    for (unsigned side = 0; side < SIDES; side++) {
        buf_init(&said[side]);
        if (result == EXCHANGE_SAME && !wire_receive_end(&end->wires[side], &said[side])) {
            result = broken(out, side, end->wires[side].error);
        }
    }
    if (result == EXCHANGE_SAME && !bytes_equal(buf_bytes(&said[REFERENCE]), buf_bytes(&said[OURS]))) {
        result = differs(out, buf_bytes(&said[REFERENCE]), buf_bytes(&said[OURS]));
    }
    buf_deinit(&said[REFERENCE]);
    buf_deinit(&said[OURS]);
    close_end(end);
    return result;
}

/* One command to one side. */
static bool ask(struct wire *w, const struct step *step, struct reply *out)
{
    struct buf data;
    buf_init(&data);
    step_encode(step, &data);
    bool done = wire_send(w, buf_bytes(&data)) && wire_receive(w, out);
    buf_deinit(&data);
    return done;
}

/* A time to live of 0 is one that is nearly over. */
static bool is_over(const struct step *step, const struct reply *r)
{
    int64_t number;
    bool time = step_is(step, "TTL") || step_is(step, "PTTL");
    return r->null ||
           (r->type == ':' && reply_number(r, &number) && (number == -2 || (number == 0 && !time)));
}

static enum exchange_result run_await(
    struct exchange_end *end, const struct step *step, struct exchange_difference *out)
{
    struct reply replies[SIDES];
    for (unsigned side = 0; side < SIDES; side++) {
        uint64_t until_ms = clock_boot_ms() + AWAIT_MS;
        do {
            if (!ask(&end->wires[side], step, &replies[side])) {
                return broken(out, side, end->wires[side].error);
            }
            if (clock_boot_ms() > until_ms) {
                return broken(out, side, "waited in vain");
            }
            nanosleep(&(const struct timespec){.tv_nsec = POLL_NS}, NULL);
        } while (!is_over(step, &replies[side]));
    }
    return bytes_equal(replies[REFERENCE].whole, replies[OURS].whole)
               ? EXCHANGE_SAME
               : differs(out, replies[REFERENCE].whole, replies[OURS].whole);
}

/* ---- Scans ---- */

struct gathered {
    struct arena arena;
    struct bytes *list; /* each a key, or a field with its value */
    size_t n, cap;
};

static int by_bytes(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static void gather(struct gathered *g, const struct reply *list, unsigned each)
{
    struct bytes rest = list->inside;
    for (uint32_t i = 0; i + each <= list->children; i += each) {
        if (g->n == g->cap) {
            g->cap = g->cap == 0 ? 64 : 2 * g->cap;
            g->list = xrealloc(g->list, g->cap * sizeof *g->list);
        }
        struct bytes one = bytes_of(rest.data, 0);
        for (unsigned j = 0; j < each; j++) {
            one.len += reply_next(&rest).whole.len;
        }
        g->list[g->n++] = bytes_copy(&g->arena, one);
    }
}

/* All that the scan finds, as one sorted run of bytes; or the error that it began with. */
static bool scan_all(struct wire *w, const struct step *step, struct buf *out)
{
    const bool hash = step_is(step, "HSCAN");
    const uint32_t cursor_at = hash ? 2 : 1;
    struct bytes args[SCAN_ARGS_MAX];
    char cursor[CURSOR_CHARS];
    struct step next = *step;
    struct gathered all = {0};
    arena_init(&all.arena);
    CHECK(step->n <= SCAN_ARGS_MAX);
    memcpy(args, step->args, step->n * sizeof *args);
    next.args = args;
    bool more = true, ok = true;
    for (unsigned round = 0; more && ok; round++) {
        struct reply r;
        ok = round < SCAN_ROUNDS_MAX && ask(w, &next, &r);
        if (!ok || r.type != '*' || r.children != 2) {
            if (ok) {
                buf_append(out, r.whole.data, r.whole.len);
            }
            break;
        }
        struct bytes inside = r.inside;
        struct reply at = reply_next(&inside), list = reply_next(&inside);
        gather(&all, &list, hash ? 2 : 1);
        more = !bytes_equal(at.text, bytes_from_text("0"));
        ok = at.text.len < sizeof cursor;
        if (ok) {
            memcpy(cursor, at.text.data, at.text.len);
            args[cursor_at] = bytes_of(cursor, at.text.len);
        }
    }
    if (all.n > 0) {
        qsort(all.list, all.n, sizeof *all.list, by_bytes);
    }
    for (size_t i = 0; i < all.n; i++) {
        if (i == 0 || !bytes_equal(all.list[i], all.list[i - 1])) {
            buf_append(out, all.list[i].data, all.list[i].len);
        }
    }
    free(all.list);
    arena_deinit(&all.arena);
    return ok;
}

static enum exchange_result run_gather(
    struct exchange_end *end, const struct step *step, struct exchange_difference *out)
{
    enum exchange_result result = EXCHANGE_SAME;
    struct buf found[SIDES];
    for (unsigned side = 0; side < SIDES; side++) {
        buf_init(&found[side]);
        if (result == EXCHANGE_SAME && !scan_all(&end->wires[side], step, &found[side])) {
            result = broken(
                out, side, end->wires[side].error[0] == '\0' ? "a scan without end" : end->wires[side].error);
        }
    }
    if (result == EXCHANGE_SAME && !bytes_equal(buf_bytes(&found[REFERENCE]), buf_bytes(&found[OURS]))) {
        result = differs(out, buf_bytes(&found[REFERENCE]), buf_bytes(&found[OURS]));
    }
    buf_deinit(&found[REFERENCE]);
    buf_deinit(&found[OURS]);
    return result;
}

static enum exchange_result run_alone(
    struct exchange *e, const struct step *step, struct exchange_difference *out)
{
    struct exchange_end *end = &e->ends[step->connection];
    e->replies++;
    switch (step->kind) {
    case STEP_CLOSES:
        return run_closes(end, step, out);
    case STEP_AWAIT:
        return run_await(end, step, out);
    default:
        return run_gather(end, step, out);
    }
}

static bool goes_alone(const struct step *step)
{
    return step->kind == STEP_CLOSES || step->kind == STEP_AWAIT || step->kind == STEP_GATHER;
}

enum exchange_result exchange_run(
    struct exchange *e, const struct step *steps, uint32_t n, struct exchange_difference *out)
{
    enum exchange_result result = EXCHANGE_SAME;
    for (uint32_t i = 0; i < n && result == EXCHANGE_SAME;) {
        out->step = i;
        result = ready(e, steps[i].connection, out);
        if (result != EXCHANGE_SAME) {
            break;
        }
        if (goes_alone(&steps[i])) {
            result = run_alone(e, &steps[i++], out);
            continue;
        }
        uint32_t last = i;
        while (!steps[last].wait && last + 1 < n && steps[last + 1].connection == steps[i].connection &&
               !goes_alone(&steps[last + 1])) {
            last++;
        }
        uint32_t at;
        result = run_chunk(e, &steps[i], last + 1 - i, &at, out);
        out->step = i + at;
        i = last + 1;
    }
    return result;
}
