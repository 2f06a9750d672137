#include "proto/base/clock.h"

#include <sys/random.h>
#include <time.h>

#include "proto/base/check.h"

static uint64_t read_ns(clockid_t id)
{
    struct timespec t;
    CHECK(clock_gettime(id, &t) == 0);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t clock_boot_ns(void)
{
    return read_ns(CLOCK_BOOTTIME);
}

uint64_t clock_boot_ms(void)
{
    return clock_boot_ns() / 1000000u;
}

uint64_t clock_wall_ms(void)
{
    return read_ns(CLOCK_REALTIME) / 1000000u;
}

void random_bytes(void *out, unsigned len)
{
    CHECK(getrandom(out, len, 0) == (ssize_t)len);
}
