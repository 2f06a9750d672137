/* Replies of a Redis server as they came: where one ends, and what is in it. Reads RESP2 and RESP3; it is
 * written from the protocol's specification and shares nothing with the project's own codec, which it judges.
 * Pure. */
#ifndef WB_CLUSTER_TESTS_REDIS_REPLY_H
#define WB_CLUSTER_TESTS_REDIS_REPLY_H

#include "proto/base/bytes.h"

struct reply {
    uint8_t type;        /* the first byte: + - : $ * _ , # ! = ( % ~ > */
    bool null;           /* "$-1", "*-1" or "_" */
    struct bytes whole;  /* all of it, as it came; borrowed from the input */
    struct bytes text;   /* of a scalar: what is between the type (and length) and the line's end */
    uint32_t children;   /* of an aggregate; a map has two for each entry */
    struct bytes inside; /* they, one behind another */
};

enum reply_scan { REPLY_WHOLE, REPLY_PARTIAL, REPLY_GARBAGE };

/* Look for a reply at the beginning of @in; *@out is set only with REPLY_WHOLE, and borrows from @in.
 * GARBAGE: no bytes behind @in could make it a reply. */
enum reply_scan reply_scan(struct bytes in, struct reply *out);
/* The next child: takes it from the front of @inside, which is the `inside` of a reply that was scanned. */
struct reply reply_next(struct bytes *inside);

bool reply_is_error(const struct reply *r);
/* Is it an error that begins with @prefix? */
bool reply_is_error_of(const struct reply *r, const char *prefix);
/* A number, as an integer or as a text of digits. */
bool reply_number(const struct reply *r, int64_t *out);

#endif
