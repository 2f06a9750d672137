#include "flush/pg_test_faults.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

/* A connection's messages that are not whole yet, by enum pg_test_side. */
struct half {
    struct buf bytes[2];
    bool started; /* the client's first message, which has no type, has passed */
};

struct pg_test_faults {
    struct pg_test_wire *wire;
    pthread_mutex_t mutex; /* guards what follows; the wire's thread holds it while it passes bytes on */
    pthread_cond_t changed;
    struct pg_fault fault;
    bool struck;
    bool reset_wanted;
    bool for_next;               /* link is to be the next one */
    struct pg_test_link *newest; /* NULL when it is gone */
    struct pg_test_link *link;   /* the fault's; NULL: none */
    uint64_t bytes[2];
    uint64_t messages[2];
};

/* ---- what the server might say ---- */

static size_t begin_message(struct buf *out, char type)
{
    buf_append_u8(out, (uint8_t)type);
    buf_append_be32(out, 0);
    return out->len - 4;
}

static void end_message(struct buf *out, size_t at)
{
    CHECK(!out->failed);
    store_be32(out->data + at, (uint32_t)(out->len - at));
}

static void append_text(struct buf *out, const char *text)
{
    buf_append(out, text, strlen(text) + 1);
}

void pg_test_say_report(
    struct buf *out, char type, const char *severity, const char *sqlstate, const char *text)
{
    size_t at = begin_message(out, type);
    const char fields[] = {'S', 'V', 'C', 'M'};
    const char *const values[] = {severity, severity, sqlstate, text};
    for (int i = 0; i < 4; i++) {
        buf_append_u8(out, (uint8_t)fields[i]);
        append_text(out, values[i]);
    }
    buf_append_u8(out, 0);
    end_message(out, at);
}

void pg_test_say_complete(struct buf *out, const char *tag)
{
    size_t at = begin_message(out, 'C');
    append_text(out, tag);
    end_message(out, at);
}

void pg_test_say_ready(struct buf *out)
{
    size_t at = begin_message(out, 'Z');
    buf_append_u8(out, 'I');
    end_message(out, at);
}

/* ---- the wire's thread ---- */

/* The length of the first message in @b; 0: it is not whole yet. */
static size_t message_len(struct bytes b, bool typed)
{
    size_t head = typed ? 1 : 0;
    if (b.len < head + 4) {
        return 0;
    }
    size_t len = head + load_be32(b.data + head);
    return b.len < len ? 0 : len;
}

static bool has_tag(struct bytes message, const char *tag)
{
    return message.data[0] == 'C' && message.len == 5 + strlen(tag) + 1 &&
           memcmp(message.data + 5, tag, strlen(tag) + 1) == 0;
}

static bool is_the_place(struct pg_test_faults *t, enum pg_test_side from, struct bytes message)
{
    const struct pg_fault *f = &t->fault;
    switch (f->place) {
    case PG_FAULT_AFTER_BYTES:
        return t->bytes[from] >= f->position;
    case PG_FAULT_AFTER_MESSAGE:
        return t->messages[from] == f->position;
    case PG_FAULT_AFTER_TAG:
        return has_tag(message, f->tag);
    case PG_FAULT_AFTER_EACH:
        return true;
    case PG_FAULT_NOWHERE:
        break;
    }
    return false;
}

/* One whole message, on the fault's link. */
static void pass_message(
    struct pg_test_faults *t, struct pg_test_link *link, enum pg_test_side from, struct bytes message)
{
    uint64_t before = t->bytes[from];
    t->bytes[from] += message.len;
    t->messages[from]++;
    if (t->struck || t->fault.from != from || !is_the_place(t, from, message)) {
        pg_test_link_pass(link, from, message);
        return;
    }
    const struct pg_fault f = t->fault;
    if (f.place == PG_FAULT_AFTER_BYTES) {
        message.len = (size_t)(f.position - before);
    }
    if (!f.drop) {
        pg_test_link_pass(link, from, message);
    }
    pg_test_link_pass(link, PG_TEST_SERVER, f.say);
    if (f.deafen) {
        pg_test_link_deafen(link);
    }
    if (f.cut) {
        pg_test_link_cut(link, false);
    }
    if (f.place != PG_FAULT_AFTER_EACH) {
        t->struck = true;
        pthread_cond_broadcast(&t->changed);
    }
}

static void *on_opened(void *data, struct pg_test_link *link)
{
    struct pg_test_faults *t = data;
    struct half *half = xcalloc(1, sizeof *half);
    buf_init(&half->bytes[PG_TEST_CLIENT]);
    buf_init(&half->bytes[PG_TEST_SERVER]);
    pthread_mutex_lock(&t->mutex);
    t->newest = link;
    if (t->for_next) {
        t->for_next = false;
        t->link = link;
    }
    pthread_mutex_unlock(&t->mutex);
    return half;
}

static void on_arrived(void *data, struct pg_test_link *link, enum pg_test_side from, struct bytes bytes)
{
    struct pg_test_faults *t = data;
    struct half *half = pg_test_link_data(link);
    struct buf *kept = &half->bytes[from];
    buf_append(kept, bytes.data, bytes.len);
    CHECK(!kept->failed);
    size_t len;
    pthread_mutex_lock(&t->mutex);
    while ((len = message_len(buf_bytes(kept), from == PG_TEST_SERVER || half->started)) > 0) {
        struct bytes message = bytes_of(kept->data, len);
        half->started = half->started || from == PG_TEST_CLIENT;
        if (link == t->link) {
            pass_message(t, link, from, message);
        } else {
            pg_test_link_pass(link, from, message);
        }
        buf_consume(kept, len);
    }
    pthread_mutex_unlock(&t->mutex);
}

static void on_poked(void *data, struct pg_test_link *link)
{
    struct pg_test_faults *t = data;
    pthread_mutex_lock(&t->mutex);
    if (t->reset_wanted && link == t->newest) {
        pg_test_link_cut(link, true);
    }
    pthread_mutex_unlock(&t->mutex);
}

static void on_closed(void *data, struct pg_test_link *link)
{
    struct pg_test_faults *t = data;
    struct half *half = pg_test_link_data(link);
    pthread_mutex_lock(&t->mutex);
    t->link = t->link == link ? NULL : t->link;
    t->newest = t->newest == link ? NULL : t->newest;
    t->reset_wanted = t->reset_wanted && t->newest != NULL;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mutex);
    buf_deinit(&half->bytes[PG_TEST_CLIENT]);
    buf_deinit(&half->bytes[PG_TEST_SERVER]);
    free(half);
}

static const struct pg_test_wire_filter filter = {
    .opened = on_opened,
    .arrived = on_arrived,
    .poked = on_poked,
    .closed = on_closed,
};

/* ---- the test's thread ---- */

struct pg_test_faults *pg_test_faults_start(const struct pg_test_server *server)
{
    char path[sizeof server->dir + 32];
    snprintf(path, sizeof path, "%s/.s.PGSQL.5432", server->dir);
    struct pg_test_faults *t = xcalloc(1, sizeof *t);
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->changed, NULL);
    t->wire = pg_test_wire_start(path, 0, &filter, t);
    if (t->wire == NULL) {
        pthread_cond_destroy(&t->changed);
        pthread_mutex_destroy(&t->mutex);
        free(t);
        return NULL;
    }
    return t;
}

void pg_test_faults_stop(struct pg_test_faults *t)
{
    pg_test_wire_stop(t->wire);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->mutex);
    free(t);
}

void pg_test_faults_dsn(const struct pg_test_faults *t, char out[PG_TEST_FAULTS_DSN_BYTES])
{
    /* Encryption would be asked for by a message that has no type, and nobody could read what follows. */
    snprintf(out, PG_TEST_FAULTS_DSN_BYTES,
        "host=127.0.0.1 port=%u user=postgres dbname=postgres sslmode=disable gssencmode=disable",
        pg_test_wire_port(t->wire));
}

static void arm(struct pg_test_faults *t, const struct pg_fault *fault, bool next)
{
    pthread_mutex_lock(&t->mutex);
    t->fault = *fault;
    t->struck = false;
    t->for_next = next;
    t->link = next ? NULL : t->newest;
    memset(t->bytes, 0, sizeof t->bytes);
    memset(t->messages, 0, sizeof t->messages);
    pthread_mutex_unlock(&t->mutex);
}

void pg_test_faults_arm(struct pg_test_faults *t, const struct pg_fault *fault)
{
    arm(t, fault, false);
}

void pg_test_faults_arm_next(struct pg_test_faults *t, const struct pg_fault *fault)
{
    arm(t, fault, true);
}

bool pg_test_faults_struck(struct pg_test_faults *t)
{
    pthread_mutex_lock(&t->mutex);
    bool struck = t->struck;
    pthread_mutex_unlock(&t->mutex);
    return struck;
}

static uint64_t counted(struct pg_test_faults *t, const uint64_t counts[2], enum pg_test_side from)
{
    pthread_mutex_lock(&t->mutex);
    uint64_t n = counts[from];
    pthread_mutex_unlock(&t->mutex);
    return n;
}

uint64_t pg_test_faults_bytes(struct pg_test_faults *t, enum pg_test_side from)
{
    return counted(t, t->bytes, from);
}

uint64_t pg_test_faults_messages(struct pg_test_faults *t, enum pg_test_side from)
{
    return counted(t, t->messages, from);
}

void pg_test_faults_reset_now(struct pg_test_faults *t)
{
    pthread_mutex_lock(&t->mutex);
    t->reset_wanted = t->newest != NULL;
    pthread_mutex_unlock(&t->mutex);
    pg_test_wire_poke(t->wire);
    pthread_mutex_lock(&t->mutex);
    while (t->reset_wanted) {
        pthread_cond_wait(&t->changed, &t->mutex);
    }
    pthread_mutex_unlock(&t->mutex);
}
