#include "node/redis/expiry.h"

#include "node/operation.h"
#include "proto/base/check.h"

bool redis_expiry_at(int64_t number, struct redis_expiry_unit unit, uint64_t now_ms, int64_t *at_ms)
{
    if (unit.seconds) {
        if (number > INT64_MAX / 1000 || number < INT64_MIN / 1000) {
            return false;
        }
        number *= 1000;
    }
    if (unit.relative) {
        CHECK(now_ms <= INT64_MAX);
        if (number > INT64_MAX - (int64_t)now_ms) {
            return false;
        }
        number += (int64_t)now_ms;
    }
    *at_ms = number;
    return true;
}

uint64_t redis_expiry_stored(int64_t at_ms)
{
    CHECK(at_ms > 0);
    return (uint64_t)at_ms < OPERATION_EXPIRES_AT_MAX_MS ? (uint64_t)at_ms : OPERATION_EXPIRES_AT_MAX_MS;
}

void redis_error_expiry(struct redis_call *c)
{
    resp_error_of(c->out, "ERR invalid expire time in '%s' command", c->command->name);
}
