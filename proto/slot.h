/* Keys hash to 16384 slots, slots map to groups by equal ranges.
 * Source: Redis Cluster specification, "Key distribution model" and "Hash tags". */
#ifndef WB_PROTO_SLOT_H
#define WB_PROTO_SLOT_H

#include "proto/base/bytes.h"

/* CRC16/XMODEM (polynomial 0x1021, initial 0). */
uint16_t crc16_xmodem(struct bytes data);
/* The slot of @key: of the part between the first '{' and the next '}' when that is not empty, else of all.
 */
uint16_t slot_of(struct bytes key);
/* The group that holds @slot when there are @group_count groups (1..SLOT_COUNT). */
uint32_t slot_group(uint16_t slot, uint32_t group_count);
/* The first slot of @group; slot_first(group_count, group_count) is SLOT_COUNT. */
uint32_t slot_first(uint32_t group, uint32_t group_count);

#endif
