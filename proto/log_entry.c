#include "proto/log_entry.h"

#include "proto/base/check.h"
#include "proto/log_writes.h"
#include "proto/pb.h"

void log_entry_encode(const Wblog__Entry *entry, struct buf *out)
{
    CHECK(out->len == 0);
    uint8_t header[LOG_ENTRY_HEADER_BYTES] = {LOG_ENTRY_FORMAT};
    buf_append(out, header, sizeof header);
    if (!log_writes_encode(entry, out)) {
        pb_pack(&entry->base, out);
    }
    CHECK(!out->failed);
    store_le32(out->data + 4, (uint32_t)(out->len - LOG_ENTRY_HEADER_BYTES));
    static const uint8_t zeros[8];
    buf_append(out, zeros, (8 - out->len % 8) % 8);
    CHECK(!out->failed);
}

enum status log_entry_decode(struct bytes raw, struct arena *arena, Wblog__Entry **out)
{
    if (raw.len < LOG_ENTRY_HEADER_BYTES || raw.data[0] != LOG_ENTRY_FORMAT) {
        return STATUS_CORRUPT;
    }
    size_t len = load_le32(raw.data + 4);
    if (len > raw.len - LOG_ENTRY_HEADER_BYTES) {
        return STATUS_CORRUPT;
    }
    struct bytes message = bytes_of(raw.data + LOG_ENTRY_HEADER_BYTES, len);
    Wblog__Entry *entry = log_writes_decode(message, arena);
    if (entry == NULL) {
        entry = (Wblog__Entry *)pb_unpack(&wblog__entry__descriptor, message, arena);
    }
    if (entry == NULL) {
        return STATUS_CORRUPT;
    }
    *out = entry;
    return STATUS_OK;
}
