/* Limits that every room knows. The unit is the last word of the name. */
#ifndef WB_PROTO_LIMITS_H
#define WB_PROTO_LIMITS_H

enum {
    LIMIT_KEY_BYTES = 1024,
    LIMIT_VALUE_BYTES = 1024 * 1024,
    /* One value of the largest size with its key and the entry's header; libraft wants about 1 MB at most. */
    LIMIT_ENTRY_BYTES = LIMIT_VALUE_BYTES + LIMIT_KEY_BYTES + 4096,
    /* Group commit stops to fill an entry at this size: entries stay far smaller than the limit. */
    LIMIT_ENTRY_TARGET_BYTES = 64 * 1024,
    /* Writes in one entry: a version has 16 bits for the ordinal. */
    LIMIT_ENTRY_WRITES = 16384,
    /* A frame of the client protocol: one request of the largest entry, or a multi-key answer. */
    LIMIT_FRAME_BYTES = 4 * 1024 * 1024,
    LIMIT_REQUEST_KEYS = 4096,
    /* Keys that one step of a scan looks at: the longest of them all must fit in an answer. */
    LIMIT_SCAN_LOOKS = 3000,
    LIMIT_GROUPS = 256,
    LIMIT_NODES = 9,
    SLOT_COUNT = 16384,
    CLUSTER_ID_BYTES = 16,
};

#endif
