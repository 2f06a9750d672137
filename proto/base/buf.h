/* An owned, growing run of bytes. Building is sticky: after an allocation failed, every append is
 * ignored and `failed` stays true, so that a builder checks once, at the end. */
#ifndef WB_PROTO_BASE_BUF_H
#define WB_PROTO_BASE_BUF_H

#include "proto/base/bytes.h"

struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    bool failed;
};

void buf_init(struct buf *b);
void buf_deinit(struct buf *b);
/* Forget the content, keep the memory. */
void buf_clear(struct buf *b);
/* Make room for @more bytes after len. Returns where they begin, or NULL when failed. */
uint8_t *buf_reserve(struct buf *b, size_t more);
void buf_append(struct buf *b, const void *data, size_t len);
void buf_append_u8(struct buf *b, uint8_t v);
/* Big endian, as PostgreSQL's binary formats and our frames want it. */
void buf_append_be16(struct buf *b, uint16_t v);
void buf_append_be32(struct buf *b, uint32_t v);
void buf_append_be64(struct buf *b, uint64_t v);
/* Drop the first @len bytes. */
void buf_consume(struct buf *b, size_t len);
/* Move the content of @from to @to, which must be empty (or deinited before); @from is left empty. */
void buf_move(struct buf *to, struct buf *from);

static inline struct bytes buf_bytes(const struct buf *b)
{
    return bytes_of(b->data, b->len);
}

/* Integers at any alignment. */
uint32_t load_be32(const uint8_t *p);
uint64_t load_be64(const uint8_t *p);
uint32_t load_le32(const uint8_t *p);
uint64_t load_le64(const uint8_t *p);
void store_be32(uint8_t *p, uint32_t v);
void store_le32(uint8_t *p, uint32_t v);
void store_le64(uint8_t *p, uint64_t v);

#endif
