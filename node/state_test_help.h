/* What the tests of the cache state share: writing with C strings, and the flush's lists as one line of text.
 */
#ifndef WB_NODE_STATE_TEST_HELP_H
#define WB_NODE_STATE_TEST_HELP_H

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/evict.h"
#include "node/state.h"
#include "node/state_check.h"
#include "node/state_internal.h"

/* Stamps of the tests: a log entry's index tells its stamp. */
static inline uint64_t stamp_of(uint64_t index)
{
    return 1000 + index;
}

static inline void at(struct state *s, uint64_t index)
{
    state_apply_begin(s, index, stamp_of(index));
}

static inline struct value *text_value(const char *text)
{
    return value_create(bytes_from_text(text));
}

/* Apply an entry at @index with one write; @value NULL deletes. */
static inline uint64_t put(struct state *s, uint64_t index, const char *key, const char *value)
{
    at(s, index);
    return state_apply_write(
        s, 0, bytes_from_text(key), VALUE_STRING, value != NULL ? text_value(value) : NULL, 0);
}

static inline void put_clean_until(
    struct state *s, const char *key, const char *value, uint64_t expires_at_ms)
{
    state_put_clean(s, bytes_from_text(key), VALUE_STRING, text_value(value), 7, expires_at_ms);
}

static inline void put_clean(struct state *s, const char *key, const char *value)
{
    put_clean_until(s, key, value, 0);
}

static inline void put_absent(struct state *s, const char *key)
{
    state_put_absent(s, bytes_from_text(key));
}

static inline struct state_entry *find(const struct state *s, const char *key)
{
    return state_find(s, bytes_from_text(key));
}

/* A FLUSH_BEGIN without limits. */
static inline struct state_batch *begin(struct state *s, uint64_t index)
{
    at(s, index);
    return state_apply_flush_begin(s, UINT32_MAX, UINT64_MAX);
}

static inline bool flushed(struct state *s, uint64_t index, uint64_t batch, uint64_t predecessor)
{
    at(s, index);
    return state_apply_flushed(s, batch, predecessor);
}

static inline bool flush_abort(struct state *s, uint64_t index, uint64_t from_batch)
{
    at(s, index);
    return state_apply_flush_abort(s, from_batch);
}

/* The memory of @s without what the eviction policy keeps for itself, and the records of flushed batches,
 * which depend on what it has seen. */
static inline uint64_t memory(const struct state *s)
{
    return s->bytes - evict_bytes(s->evict) - s->flushed_count * STATE_FLUSHED_BYTES;
}

/* Assert batches and queue, as "[7: a@1 b@2] [9: c@4] a@8 d@10": batches with their ids, then the queue, each
 * key with its first_dirty. Checks all invariants, and that stamps belong to first_dirty. */
#define assert_flush(s, want) assert_flush_at(s, want, __FILE__, __LINE__)

static inline int print_place(
    char *out, size_t size, const struct state_entry *e, const struct dirty_place *place)
{
    assert_int_equal(place->dirty_stamp_ms, stamp_of(place->first_dirty));
    return snprintf(
        out, size, "%.*s@%" PRIu64 " ", (int)e->key_len, (const char *)e->key, place->first_dirty);
}

static inline void assert_flush_at(const struct state *s, const char *want, const char *file, int line)
{
    state_check_invariants(s);
    char got[1024] = "";
    int len = 0;
    list_for_each (batch_link, batch_tmp, &s->batches) {
        struct state_batch *b = list_entry(batch_link, struct state_batch, link);
        len += snprintf(got + len, sizeof got - (size_t)len, "[%" PRIu64 ": ", b->id);
        list_for_each (link, tmp, &b->places) {
            struct state_entry *e = state_batch_entry(link);
            len += print_place(got + len, sizeof got - (size_t)len, e, &e->batched);
        }
        len += snprintf(got + len - 1, sizeof got - (size_t)len, "] ") - 1;
    }
    list_for_each (link, tmp, &s->queue) {
        struct state_entry *e = state_queue_entry(link);
        len += print_place(got + len, sizeof got - (size_t)len, e, &e->queued);
    }
    if (len > 0) {
        got[len - 1] = '\0';
    }
    if (strcmp(got, want) != 0) {
        print_error("got \"%s\", want \"%s\"\n", got, want);
        _fail(file, line);
    }
}

/* Run @act in a child process and assert that it aborts with @text in its message. */
static inline void assert_aborts(void (*act)(void *data), void *data, const char *text)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        act(data);
        _exit(0);
    }
    close(ends[1]);
    char message[4096];
    size_t len = 0;
    ssize_t n;
    while (len < sizeof message - 1 && (n = read(ends[0], message + len, sizeof message - 1 - len)) > 0) {
        len += (size_t)n;
    }
    message[len] = '\0';
    close(ends[0]);
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    if (!WIFSIGNALED(how) || WTERMSIG(how) != SIGABRT || strstr(message, text) == NULL) {
        fail_msg("no abort with \"%s\", but status %d and \"%s\"", text, how, message);
    }
}

#endif
