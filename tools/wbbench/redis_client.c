#include "tools/wbbench/redis_load_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

/* For each operation of a burst: two nodes that point at each other would go on for ever. */
enum { MOVES_MAX = 16 };

static const char wait_request[] = "*4\r\n$7\r\nWAITAOF\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n0\r\n";

/* ---- what goes wrong ---- */

void redis_count_word(struct redis_load *l, const char *word, uint64_t count)
{
    struct redis_word *w = l->result->errors;
    unsigned i = 0;
    while (i < REDIS_WORDS - 1 && w[i].word[0] != '\0' && strcmp(w[i].word, word) != 0) {
        i++;
    }
    snprintf(w[i].word, sizeof w[i].word, "%s", i == REDIS_WORDS - 1 ? "(others)" : word);
    w[i].count += count;
}

static void count_error(struct redis_load *l, struct bytes text)
{
    char word[REDIS_WORD_BYTES];
    redis_error_word(text, word, sizeof word);
    redis_count_word(l, word, 1);
    size_t len = text.len < sizeof l->result->last_error - 1 ? text.len : sizeof l->result->last_error - 1;
    memcpy(l->result->last_error, text.data, len);
    l->result->last_error[len] = '\0';
}

/* ---- one operation ---- */

static void append_bulk(struct buf *out, const char *data, size_t len)
{
    char header[32];
    int n = snprintf(header, sizeof header, "$%zu\r\n", len);
    buf_append(out, header, (size_t)n);
    buf_append(out, data, len);
    buf_append(out, "\r\n", 2);
}

void redis_request_init(struct redis_load *l)
{
    const struct redis_load_options *o = l->options;
    size_t prefix = strlen(o->key_prefix);
    char *key = xmalloc(prefix + REDIS_KEY_DIGITS), *value = xmalloc((size_t)o->value_bytes + 1);
    memcpy(key, o->key_prefix, prefix);
    memset(key + prefix, '0', REDIS_KEY_DIGITS);
    for (unsigned i = 0; i < o->value_bytes; i++) {
        value[i] = (char)('a' + i * 7 % 26);
    }
    buf_init(&l->request);
    bool set = o->command == REDIS_SET;
    buf_append(&l->request, set ? "*3\r\n" : "*2\r\n", 4);
    append_bulk(&l->request, set ? "SET" : "GET", 3);
    append_bulk(&l->request, key, prefix + REDIS_KEY_DIGITS);
    l->digits_at = l->request.len - 2 - REDIS_KEY_DIGITS;
    if (set) {
        append_bulk(&l->request, value, o->value_bytes);
    }
    if (o->wait == REDIS_WAIT_EACH) {
        buf_append(&l->request, wait_request, sizeof wait_request - 1);
    }
    free(key);
    free(value);
}

static void send_operation(struct redis_client *c, int node, uint32_t key)
{
    struct redis_load *l = c->load;
    struct redis_lane *lane = &c->lanes[node];
    if (lane->sent == NULL) {
        lane->sent = xcalloc(l->options->pipeline, sizeof *lane->sent);
    }
    if (lane->link.state == LINK_CLOSED) {
        if (!l->is_resolved[node]) {
            l->is_resolved[node] = link_resolve(l->map.nodes.addresses[node], &l->resolved[node],
                l->result->last_error, sizeof l->result->last_error);
        }
        /* An address that cannot be resolved is all zero, and a connection to it fails as any other. */
        link_connect(&lane->link, &l->loop, &l->resolved[node]);
    }
    CHECK(lane->n < l->options->pipeline);
    lane->sent[(lane->head + lane->n++) % l->options->pipeline] = key;
    struct buf *out = link_output(&lane->link);
    size_t at = out->len;
    buf_append(out, l->request.data, l->request.len);
    uint8_t *digits = out->data + at + l->digits_at;
    for (int i = REDIS_KEY_DIGITS - 1; i >= 0; i--) {
        digits[i] = (uint8_t)('0' + key % 10);
        key /= 10;
    }
}

static uint32_t draw_key(struct redis_load *l, int node)
{
    if (l->options->each_key_once) {
        return redis_keys_at(&l->keys, node, l->next_of[node]++);
    }
    return redis_keys_at(&l->keys, node, (uint32_t)(keys_random(&l->random) * redis_keys_of(&l->keys, node)));
}

void redis_client_begin(struct redis_client *c)
{
    struct redis_load *l = c->load;
    unsigned n = l->options->pipeline;
    if (l->options->each_key_once) {
        uint32_t rest = redis_keys_of(&l->keys, c->home) - l->next_of[c->home];
        n = rest < n ? rest : n;
    }
    if (l->stage >= ENDING || n == 0) {
        return;
    }
    l->busy++;
    c->left = n;
    c->moved = 0;
    c->start_ns = uv_hrtime();
    for (unsigned i = 0; i < n; i++) {
        send_operation(c, c->home, draw_key(l, c->home));
    }
    if (l->options->wait == REDIS_WAIT_BURST) {
        buf_append(link_output(&c->lanes[c->home].link), wait_request, sizeof wait_request - 1);
    }
}

static void end_operations(struct redis_client *c, unsigned n)
{
    c->left -= n;
    if (c->left == 0) {
        c->load->busy--;
        redis_client_begin(c);
    }
}

static void count_ok(struct redis_client *c, unsigned n, uint64_t now)
{
    struct redis_load *l = c->load;
    l->result->total += n;
    if (l->stage != MEASURING || n == 0) {
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        histogram_add(&l->result->ok, now - c->start_ns);
    }
    if (now - l->last_ok_ns > l->result->longest_pause_ns) {
        l->result->longest_pause_ns = now - l->last_ok_ns;
    }
    l->last_ok_ns = now;
}

/* ---- answers ---- */

enum verdict { DONE, REFUSED, SENT_ELSEWHERE };

static enum verdict take_error(struct redis_lane *lane, uint32_t key, struct bytes text)
{
    struct redis_client *c = lane->client;
    struct redis_load *l = c->load;
    int node;
    if (!l->options->cluster || !redis_map_moved(&l->map, (int)(lane - c->lanes), text, &node)) {
        count_error(l, text);
        return REFUSED;
    }
    l->result->moved++;
    l->map_wanted = true;
    if (++c->moved > MOVES_MAX * l->options->pipeline) {
        redis_load_fail(l, "(MOVED in circles)", 1);
    }
    if (l->stage >= ENDING) {
        return REFUSED; /* cut off by the end of the load, and not done */
    }
    send_operation(c, node, key);
    return SENT_ELSEWHERE;
}

static enum verdict judge(struct redis_lane *lane, uint32_t key, const struct redis_reply *r)
{
    struct redis_load *l = lane->client->load;
    if (r->kind == REDIS_ERROR) {
        return take_error(lane, key, r->text);
    }
    if (l->options->command == REDIS_SET) {
        if (r->kind == REDIS_STATUS && bytes_equal(r->text, bytes_of("OK", 2))) {
            return DONE;
        }
    } else if (r->kind == REDIS_NULL) {
        l->result->misses++;
        return DONE;
    } else if (r->kind == REDIS_BULK && r->text.len == l->options->value_bytes) {
        return DONE;
    }
    redis_count_word(l, "(strange reply)", 1);
    return REFUSED;
}

static void take_wait(struct redis_lane *lane, const struct redis_reply *r, uint64_t now)
{
    struct redis_client *c = lane->client;
    if (redis_reply_is_synced(r)) {
        count_ok(c, lane->confirmed, now);
    } else if (r->kind == REDIS_ERROR) {
        count_error(c->load, r->text);
    } else {
        redis_count_word(c->load, "(WAITAOF below 1 1)", 1);
    }
    lane->wait_due = false;
    lane->confirmed = 0;
    end_operations(c, c->load->options->wait == REDIS_WAIT_EACH ? 1 : c->left);
}

static void take_reply(struct redis_lane *lane, const struct redis_reply *r, uint64_t now)
{
    struct redis_client *c = lane->client;
    enum redis_wait wait = c->load->options->wait;
    if (lane->wait_due) {
        take_wait(lane, r, now);
        return;
    }
    uint32_t key = lane->sent[lane->head];
    lane->head = (lane->head + 1) % c->load->options->pipeline;
    lane->n--;
    enum verdict v = judge(lane, key, r);
    if (wait != REDIS_WAIT_NONE) {
        lane->confirmed += v == DONE;
        lane->wait_due = wait == REDIS_WAIT_EACH || lane->n == 0;
        if (wait == REDIS_WAIT_AFTER && lane->n == 0) {
            buf_append(link_output(&lane->link), wait_request, sizeof wait_request - 1);
        }
    } else if (v != SENT_ELSEWHERE) {
        count_ok(c, v == DONE, now);
        end_operations(c, 1);
    }
}

static size_t on_input(struct link *link, struct bytes input)
{
    struct redis_lane *lane = link->data;
    struct redis_load *l = lane->client->load;
    uint64_t now = uv_hrtime();
    size_t used = 0;
    l->last_sign_ns = now;
    while (link->state == LINK_OPEN && used < input.len) {
        struct redis_reply reply;
        size_t consumed;
        enum status s = redis_reply_parse(bytes_of(input.data + used, input.len - used), &reply, &consumed);
        if (s == STATUS_AGAIN) {
            break;
        }
        if (s != STATUS_OK || (lane->n == 0 && !lane->wait_due)) {
            redis_count_word(l, s != STATUS_OK ? "(no Redis protocol)" : "(answer to nothing)", 1);
            link_close(link);
            break;
        }
        used += consumed;
        take_reply(lane, &reply, now);
    }
    return used;
}

static void on_closed(struct link *link, bool was_open)
{
    struct redis_lane *lane = link->data;
    struct redis_client *c = lane->client;
    struct redis_load *l = c->load;
    if (l->stage == CLOSING) {
        return;
    }
    unsigned lost = c->load->options->wait == REDIS_WAIT_NONE ? lane->n : c->left;
    lane->n = 0;
    lane->wait_due = false;
    redis_load_fail(l, was_open ? "(connection lost)" : "(cannot connect)", lost > 0 ? lost : 1);
    if (lost > 0) {
        end_operations(c, lost);
    }
}

const struct link_events redis_lane_events = {.input = on_input, .closed = on_closed};
