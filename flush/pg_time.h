/* PostgreSQL's binary timestamptz: microseconds since 2000-01-01 UTC; the largest number is 'infinity'. Pure.
 * Source: src/include/datatype/timestamp.h (DT_NOEND, END_TIMESTAMP, POSTGRES_EPOCH_JDATE). */
#ifndef WB_FLUSH_PG_TIME_H
#define WB_FLUSH_PG_TIME_H

#include <stdint.h>

#define PG_TIME_INFINITY       INT64_MAX
#define PG_TIME_MINUS_INFINITY INT64_MIN
/* The first microsecond that timestamptz_recv refuses: the year 294277. */
#define PG_TIME_END      INT64_C(9223371331200000000)
#define PG_TIME_EPOCH_MS UINT64_C(946684800000)

/* Milliseconds since 1970 (not 0) as a timestamptz. What lies beyond PostgreSQL's calendar becomes
 * 'infinity': one absurd time must not make the server refuse a whole batch. */
static inline int64_t pg_time_from_unix_ms(uint64_t ms)
{
    if (ms >= (uint64_t)(PG_TIME_END / 1000) + PG_TIME_EPOCH_MS) {
        return PG_TIME_INFINITY;
    }
    return ((int64_t)ms - (int64_t)PG_TIME_EPOCH_MS) * 1000;
}

/* The way back. 'infinity' is 0 (never). What lies before 1970 is 1: it expired long ago, but 0 would mean
 * never. */
static inline uint64_t pg_time_to_unix_ms(int64_t time)
{
    if (time == PG_TIME_INFINITY) {
        return 0;
    }
    /* Rounded towards the past, as a time that somebody else wrote may have microseconds. */
    int64_t ms = time / 1000 - (time % 1000 < 0 ? 1 : 0);
    if (ms <= -(int64_t)PG_TIME_EPOCH_MS) {
        return 1;
    }
    return (uint64_t)(ms + (int64_t)PG_TIME_EPOCH_MS);
}

/* Microseconds since 1970, as of a server's clock, and back. Neither may be infinite. */
static inline int64_t pg_time_to_unix_us(int64_t time)
{
    return time + (int64_t)PG_TIME_EPOCH_MS * 1000;
}

static inline int64_t pg_time_from_unix_us(int64_t us)
{
    return us - (int64_t)PG_TIME_EPOCH_MS * 1000;
}

#endif
