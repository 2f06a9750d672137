/* Times to live as commands give them. Pure. */
#ifndef WB_NODE_REDIS_EXPIRY_H
#define WB_NODE_REDIS_EXPIRY_H

#include <stdbool.h>
#include <stdint.h>

#include "node/redis/command.h"

/* How a command's number counts. */
struct redis_expiry_unit {
    bool seconds;  /* else milliseconds */
    bool relative; /* from now, else since 1970 */
};

/* Milliseconds since 1970 of @number in @unit, which may be before 1970. False: they don't fit 64 bits. */
bool redis_expiry_at(int64_t number, struct redis_expiry_unit unit, uint64_t now_ms, int64_t *at_ms);
/* What of @at_ms (more than 0) is stored: times beyond OPERATION_EXPIRES_AT_MAX_MS are taken as that one. */
uint64_t redis_expiry_stored(int64_t at_ms);
/* "ERR invalid expire time in 'x' command" */
void redis_error_expiry(struct redis_call *c);

#endif
