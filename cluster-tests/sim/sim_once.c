#include "cluster-tests/sim/sim_once.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"

void sim_once_init(struct sim_once *o)
{
    *o = (struct sim_once){0};
}

void sim_once_deinit(struct sim_once *o)
{
    for (size_t i = 0; i < o->n; i++) {
        free(o->sessions[i].requests);
    }
    free(o->sessions);
}

/* The newest sessions are asked for most. */
static struct sim_once_session *session_of(struct sim_once *o, uint64_t id)
{
    for (size_t i = o->n; i > 0; i--) {
        if (o->sessions[i - 1].id == id) {
            return &o->sessions[i - 1];
        }
    }
    if (o->n == o->capacity) {
        o->capacity = o->capacity == 0 ? 16 : 2 * o->capacity;
        o->sessions = xrealloc(o->sessions, o->capacity * sizeof *o->sessions);
    }
    o->sessions[o->n] = (struct sim_once_session){.id = id};
    return &o->sessions[o->n++];
}

struct sim_once_request *sim_once_at(struct sim_once *o, uint64_t session, uint64_t sequence)
{
    struct sim_once_session *s = session_of(o, session);
    if (sequence >= s->n) {
        size_t n = s->n == 0 ? 32 : s->n;
        while (n <= sequence) {
            n *= 2;
        }
        s->requests = xrealloc(s->requests, n * sizeof *s->requests);
        memset(s->requests + s->n, 0, (n - s->n) * sizeof *s->requests);
        s->n = n;
    }
    return &s->requests[sequence];
}
