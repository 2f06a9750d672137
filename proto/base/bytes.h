/* A borrowed run of bytes: never freed through this struct. */
#ifndef WB_PROTO_BASE_BYTES_H
#define WB_PROTO_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
    const uint8_t *data; /* may be NULL when len is 0 */
    size_t len;
};

static inline struct bytes bytes_of(const void *data, size_t len)
{
    return (struct bytes){.data = data, .len = len};
}

/* The bytes of a C string, without its terminator. */
struct bytes bytes_from_text(const char *text);
bool bytes_equal(struct bytes a, struct bytes b);
/* Order as PostgreSQL orders bytea: by unsigned byte, a prefix first. */
int bytes_compare(struct bytes a, struct bytes b);
/* A 64-bit hash (XXH3), not for input chosen by an attacker unless @seed is secret. */
uint64_t bytes_hash(struct bytes b, uint64_t seed);

#endif
