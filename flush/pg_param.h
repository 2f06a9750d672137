/* Parameters of statements in PostgreSQL's binary form. Pure. */
#ifndef WB_FLUSH_PG_PARAM_H
#define WB_FLUSH_PG_PARAM_H

#include <libpq-fe.h>
#include <stddef.h>

#include "proto/base/buf.h"

/* @data is borrowed until the call that takes the parameter returns; NULL data with @len SIZE_MAX is SQL's
 * NULL. */
struct pg_param {
    Oid type;
    const void *data;
    size_t len;
};
enum {
    PG_OID_BOOL = 16,
    PG_OID_BYTEA = 17,
    PG_OID_INT8 = 20,
    PG_OID_INT4 = 23,
    PG_OID_TEXT = 25,
    PG_OID_TIMESTAMPTZ = 1184,
    PG_OID_UUID = 2950,
    PG_OID_BOOL_ARRAY = 1000,
    PG_OID_BYTEA_ARRAY = 1001,
    PG_OID_INT4_ARRAY = 1007,
    PG_OID_TEXT_ARRAY = 1009,
    PG_OID_INT8_ARRAY = 1016,
    PG_OID_TIMESTAMPTZ_ARRAY = 1185
};

static inline struct pg_param pg_param_bytes(Oid type, struct bytes value)
{
    return (struct pg_param){.type = type, .data = value.data, .len = value.len};
}

/* @room holds the number for as long as the parameter is used. */
static inline struct pg_param pg_param_int4(uint8_t room[8], uint32_t v)
{
    store_be32(room, v);
    return (struct pg_param){.type = PG_OID_INT4, .data = room, .len = 4};
}

/* The same for eight bytes of @type: an int8 or a timestamptz. */
static inline struct pg_param pg_param_8(Oid type, uint8_t room[8], uint64_t v)
{
    store_be32(room, (uint32_t)(v >> 32));
    store_be32(room + 4, (uint32_t)v);
    return (struct pg_param){.type = type, .data = room, .len = 8};
}

#endif
