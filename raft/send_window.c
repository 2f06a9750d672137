#include "raft/send_window.h"

#include "proto/base/check.h"

void send_window_init(struct send_window *w, unsigned messages_max, size_t bytes_max)
{
    *w = (struct send_window){.messages_max = messages_max, .bytes_max = bytes_max};
}

static bool fits(const struct send_window *w, struct send_cost cost)
{
    if (w->messages >= w->messages_max) {
        return false;
    }
    if (cost.snapshot) {
        return !w->snapshot;
    }
    return w->messages == 0 || (w->bytes <= w->bytes_max && cost.bytes <= w->bytes_max - w->bytes);
}

bool send_window_take(struct send_window *w, struct send_cost cost)
{
    if (!fits(w, cost)) {
        w->refused++;
        return false;
    }
    w->messages++;
    if (cost.snapshot) {
        w->snapshot = true;
    } else {
        w->bytes += cost.bytes;
    }
    return true;
}

void send_window_give(struct send_window *w, struct send_cost cost)
{
    CHECK(w->messages > 0);
    w->messages--;
    if (cost.snapshot) {
        CHECK(w->snapshot);
        w->snapshot = false;
    } else {
        CHECK(w->bytes >= cost.bytes);
        w->bytes -= cost.bytes;
    }
}
