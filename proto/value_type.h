/* The types of values that an entry of the cache can have. The numbers are in the log and in snapshots. */
#ifndef WB_PROTO_VALUE_TYPE_H
#define WB_PROTO_VALUE_TYPE_H

enum value_type {
    VALUE_STRING = 0,
    VALUE_HASH = 1, /* its bytes are fields: see fields.h. A hash without fields is not there */
};

#endif
