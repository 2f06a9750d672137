#include "proto/slot.h"

#include <string.h>

#include "proto/limits.h"

uint16_t crc16_xmodem(struct bytes data)
{
    static const uint16_t nibble[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
        0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
    uint16_t crc = 0;
    for (size_t i = 0; i < data.len; i++) {
        uint8_t b = data.data[i];
        crc = (uint16_t)(crc << 4 ^ nibble[(crc >> 12 ^ b >> 4) & 15]);
        crc = (uint16_t)(crc << 4 ^ nibble[(crc >> 12 ^ b) & 15]);
    }
    return crc;
}

uint16_t slot_of(struct bytes key)
{
    const uint8_t *open = key.len == 0 ? NULL : memchr(key.data, '{', key.len);
    if (open != NULL) {
        const uint8_t *tag = open + 1;
        const uint8_t *close = memchr(tag, '}', key.len - (size_t)(tag - key.data));
        if (close != NULL && close > tag) {
            key = bytes_of(tag, (size_t)(close - tag));
        }
    }
    return crc16_xmodem(key) % SLOT_COUNT;
}

uint32_t slot_first(uint32_t group, uint32_t group_count)
{
    return (uint32_t)(((uint64_t)group * SLOT_COUNT + group_count - 1) / group_count);
}

uint32_t slot_group(uint16_t slot, uint32_t group_count)
{
    return (uint32_t)((uint64_t)slot * group_count / SLOT_COUNT);
}
