/* Replies in the Redis serialization protocol, versions 2 and 3. A reply is composed by saying what it is;
 * where the older protocol has no such type, the writer says it as Redis does there (a map as an array of
 * twice the length, a boolean as a number). Pure; never fails itself, see struct buf. Source: the RESP
 * protocol specification of Redis and Valkey. */
#ifndef WB_RPC_RESP_WRITER_H
#define WB_RPC_RESP_WRITER_H

#include "proto/base/buf.h"

struct resp_writer {
    struct buf *out;   /* borrowed; replies are appended */
    unsigned protocol; /* 2 or 3 */
};

/* "+OK". @text is a literal without line ends. */
void resp_simple(struct resp_writer *w, const char *text);
/* "-ERR what is wrong": @text with its code, without the minus. Line ends in it become spaces, as Redis does
 * it (those at its end are dropped). */
void resp_error(struct resp_writer *w, const char *text);
/* The same, from a format as printf takes it. Texts longer than 1 KiB are cut. */
void resp_error_of(struct resp_writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void resp_integer(struct resp_writer *w, int64_t number);
void resp_bulk(struct resp_writer *w, struct bytes bytes);
void resp_text(struct resp_writer *w, const char *text); /* a bulk string */
/* A bulk string that is a number in decimal. */
void resp_number_text(struct resp_writer *w, int64_t number);
void resp_null(struct resp_writer *w);       /* version 2: a null bulk string */
void resp_null_array(struct resp_writer *w); /* version 2: a null array; version 3: the same null */
/* What follows is its content: @n replies; of a map twice as many. */
void resp_array(struct resp_writer *w, size_t n);
void resp_map(struct resp_writer *w, size_t n);
void resp_set(struct resp_writer *w, size_t n);
void resp_bool(struct resp_writer *w, bool value);
/* Text in the form that people read; version 2: a bulk string. */
void resp_verbatim(struct resp_writer *w, struct bytes text);

#endif
