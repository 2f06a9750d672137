/* The values that a key may have had, each with a small number: equal bytes have equal numbers. What an
 * append makes is kept as its head and its tail, so that a long value that grew in many steps costs only its
 * steps. Pure. */
#ifndef WB_CLUSTER_TESTS_LINEAR_VALUE_H
#define WB_CLUSTER_TESTS_LINEAR_VALUE_H

#include "proto/base/arena.h"
#include "proto/base/buf.h"

/* The number of 'nothing is there'; values count from 1. */
enum { LINEAR_ABSENT = 0 };

enum { LINEAR_JOINS = 1024, LINEAR_PREFIXES = 1024 };

struct linear_values {
    struct linear_node *nodes; /* [0] is LINEAR_ABSENT's */
    uint32_t n, cap;
    uint32_t *table; /* open hash table of numbers; 0: free */
    uint32_t table_cap;
    struct arena arena;  /* texts of numbers */
    struct linear_join { /* appends that were made lately */
        uint32_t head;
        uint32_t made; /* 0: this place is free */
        struct bytes tail;
    } joins[LINEAR_JOINS];
    struct linear_prefix { /* pairs found lately: `whole` begins with `head` */
        uint32_t head, whole;
    } prefixes[LINEAR_PREFIXES];
};

void linear_values_init(struct linear_values *v);
void linear_values_deinit(struct linear_values *v);

/* The number of @content, which is borrowed until deinit. */
uint32_t linear_value_of(struct linear_values *v, struct bytes content);
/* The number of @head's bytes followed by @tail, which is borrowed until deinit. @head may be LINEAR_ABSENT.
 */
uint32_t linear_value_append(struct linear_values *v, uint32_t head, struct bytes tail);
/* The number of @number's decimal digits. */
uint32_t linear_value_of_number(struct linear_values *v, int64_t number);
/* Is @value decimal digits of 64 bits, spelled as printf does? LINEAR_ABSENT counts as 0. */
bool linear_value_number(const struct linear_values *v, uint32_t value, int64_t *out);
/* Does @whole begin with @head's bytes? LINEAR_ABSENT has none. @whole comes from linear_value_of or
 * _of_number; of one that an append made the answer may be true when it is not. */
bool linear_value_begins_with(struct linear_values *v, uint32_t whole, uint32_t head);
/* Could @value, which is not LINEAR_ABSENT, with something appended or as it is, be a number? */
bool linear_value_could_become_number(const struct linear_values *v, uint32_t value);
uint64_t linear_value_len(const struct linear_values *v, uint32_t value);
/* Append the bytes of @value to @out. */
void linear_value_bytes(const struct linear_values *v, uint32_t value, struct buf *out);
/* Memory in use, in bytes. */
size_t linear_values_memory_bytes(const struct linear_values *v);

#endif
