/* Interned values. A node is its head (another node) and a tail of bytes; a flat value has no head. The same
 * bytes can be put together in different ways, so nodes are found by a hash that follows from the bytes alone
 * and can be continued: a polynomial modulo the prime 2^61-1. Equal hashes are compared byte by byte. */
#include "cluster-tests/linear_value.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

struct linear_node {
    uint64_t hash;
    uint64_t len;
    uint32_t head; /* LINEAR_ABSENT: none */
    struct bytes tail;
    bool is_number;
    int64_t number;
};

enum { NUMBER_BYTES_MAX = 20 }; /* "-9223372036854775808" */

#define HASH_PRIME ((UINT64_C(1) << 61) - 1)
#define HASH_BASE  UINT64_C(1147797409030816545) /* any number far from 0 and the prime */

void linear_values_init(struct linear_values *v)
{
    memset(v, 0, sizeof *v);
    arena_init(&v->arena);
    v->cap = 64;
    v->nodes = xcalloc(v->cap, sizeof *v->nodes);
    v->n = 1;
    v->table_cap = 128;
    v->table = xcalloc(v->table_cap, sizeof *v->table);
}

void linear_values_deinit(struct linear_values *v)
{
    arena_deinit(&v->arena);
    free(v->nodes);
    free(v->table);
    memset(v, 0, sizeof *v);
}

static uint64_t multiply(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    uint64_t sum = (uint64_t)(product & HASH_PRIME) + (uint64_t)(product >> 61);
    return sum >= HASH_PRIME ? sum - HASH_PRIME : sum;
}

static uint64_t hash_continue(uint64_t hash, struct bytes tail)
{
    for (size_t i = 0; i < tail.len; i++) {
        hash = multiply(hash, HASH_BASE) + tail.data[i] + 1;
        hash = hash >= HASH_PRIME ? hash - HASH_PRIME : hash;
    }
    return hash;
}

/* Compare from the end: walk both chains of tails, as many bytes at a time as both have. */
static bool same_bytes(
    const struct linear_values *v, uint32_t a, uint32_t head, struct bytes tail, uint64_t len)
{
    struct bytes x = v->nodes[a].tail, y = tail;
    uint32_t a_head = v->nodes[a].head, b_head = head;
    while (len > 0) {
        while (x.len == 0) {
            x = v->nodes[a_head].tail;
            a_head = v->nodes[a_head].head;
        }
        while (y.len == 0) {
            y = v->nodes[b_head].tail;
            b_head = v->nodes[b_head].head;
        }
        size_t n = x.len < y.len ? x.len : y.len;
        if (memcmp(x.data + x.len - n, y.data + y.len - n, n) != 0) {
            return false;
        }
        x.len -= n;
        y.len -= n;
        len -= n;
        if (x.len == 0 && y.len == 0 && a_head == b_head) {
            return true;
        }
    }
    return true;
}

static bool parse_number(struct bytes text, int64_t *out)
{
    char digits[NUMBER_BYTES_MAX + 1], again[NUMBER_BYTES_MAX + 1];
    if (text.len == 0 || text.len > NUMBER_BYTES_MAX || memchr(text.data, 0, text.len) != NULL) {
        return false;
    }
    memcpy(digits, text.data, text.len);
    digits[text.len] = '\0';
    *out = strtoll(digits, NULL, 10);
    /* Whatever strtoll was kind to (blanks, "+1", "01", "-0", an overflow) is spelled differently now. */
    snprintf(again, sizeof again, "%" PRId64, *out);
    return strcmp(digits, again) == 0;
}

static void table_put(struct linear_values *v, uint32_t number)
{
    uint32_t at = (uint32_t)v->nodes[number].hash & (v->table_cap - 1);
    while (v->table[at] != 0) {
        at = (at + 1) & (v->table_cap - 1);
    }
    v->table[at] = number;
}

static void grow(struct linear_values *v)
{
    CHECK(v->cap <= UINT32_MAX / 4);
    v->cap *= 2;
    v->nodes = xrealloc(v->nodes, v->cap * sizeof *v->nodes);
    free(v->table);
    v->table_cap = v->cap * 2;
    v->table = xcalloc(v->table_cap, sizeof *v->table);
    for (uint32_t i = 1; i < v->n; i++) {
        table_put(v, i);
    }
}

static uint32_t find(const struct linear_values *v, const struct linear_node *node)
{
    for (uint32_t at = (uint32_t)node->hash & (v->table_cap - 1); v->table[at] != 0;
         at = (at + 1) & (v->table_cap - 1)) {
        const struct linear_node *known = &v->nodes[v->table[at]];
        if (known->hash == node->hash && known->len == node->len &&
            same_bytes(v, v->table[at], node->head, node->tail, node->len)) {
            return v->table[at];
        }
    }
    return 0;
}

/* Does not keep @node.tail unless *@is_new. */
static uint32_t intern(struct linear_values *v, struct linear_node node, bool *is_new)
{
    uint32_t known = find(v, &node);
    *is_new = known == 0;
    if (known != 0) {
        return known;
    }
    if (v->n == v->cap) {
        grow(v);
    }
    uint32_t number = v->n++;
    v->nodes[number] = node;
    table_put(v, number);
    if (node.len <= NUMBER_BYTES_MAX) {
        struct buf text;
        buf_init(&text);
        linear_value_bytes(v, number, &text);
        v->nodes[number].is_number = parse_number(buf_bytes(&text), &v->nodes[number].number);
        buf_deinit(&text);
    }
    return number;
}

uint32_t linear_value_of(struct linear_values *v, struct bytes content)
{
    bool is_new;
    struct linear_node node = {.hash = hash_continue(0, content), .len = content.len, .tail = content};
    return intern(v, node, &is_new);
}

uint32_t linear_value_append(struct linear_values *v, uint32_t head, struct bytes tail)
{
    /* The search tries the same append again and again; comparing a long value each time would cost too much.
     */
    uint64_t mixed =
        ((uint64_t)head * 31 + (uintptr_t)tail.data / 8 + tail.len) * UINT64_C(0x9e3779b97f4a7c15);
    struct linear_join *join = &v->joins[mixed >> 54];
    if (join->made != 0 && join->head == head && join->tail.data == tail.data && join->tail.len == tail.len) {
        return join->made;
    }
    bool is_new;
    struct linear_node node = {.hash = hash_continue(v->nodes[head].hash, tail),
        .len = v->nodes[head].len + tail.len,
        .head = head,
        .tail = tail};
    uint32_t made = intern(v, node, &is_new);
    *join = (struct linear_join){.head = head, .made = made, .tail = tail};
    return made;
}

uint32_t linear_value_of_number(struct linear_values *v, int64_t number)
{
    char text[NUMBER_BYTES_MAX + 1];
    int len = snprintf(text, sizeof text, "%" PRId64, number);
    struct bytes content = bytes_of(text, (size_t)len);
    struct linear_node node = {.hash = hash_continue(0, content), .len = content.len, .tail = content};
    bool is_new;
    uint32_t made = intern(v, node, &is_new);
    if (is_new) {
        uint8_t *kept = arena_alloc(&v->arena, content.len);
        memcpy(kept, text, content.len);
        v->nodes[made].tail = bytes_of(kept, content.len);
    }
    return made;
}

bool linear_value_number(const struct linear_values *v, uint32_t value, int64_t *out)
{
    if (value == LINEAR_ABSENT) {
        *out = 0;
        return true;
    }
    *out = v->nodes[value].number;
    return v->nodes[value].is_number;
}

bool linear_value_could_become_number(const struct linear_values *v, uint32_t value)
{
    uint64_t len = v->nodes[value].len;
    if (len > NUMBER_BYTES_MAX) {
        return false;
    }
    uint8_t first = '0';
    for (; len > 0; value = v->nodes[value].head) {
        first = v->nodes[value].tail.len > 0 ? v->nodes[value].tail.data[0] : first;
        len -= v->nodes[value].tail.len;
    }
    return first == '-' || (first >= '0' && first <= '9');
}

bool linear_value_begins_with(struct linear_values *v, uint32_t whole, uint32_t head)
{
    const struct linear_node *all = &v->nodes[whole];
    if (all->head != LINEAR_ABSENT) {
        return true;
    }
    if (all->len < v->nodes[head].len) {
        return false;
    }
    /* From the end: what was appended last is what is most often wrong, and of the rest it is mostly known.
     */
    struct linear_prefix *place = &v->prefixes[(head * 31 + whole) % LINEAR_PREFIXES];
    for (uint32_t at = head; at != LINEAR_ABSENT; at = v->nodes[at].head) {
        const struct linear_node *node = &v->nodes[at];
        const struct linear_prefix *known = &v->prefixes[(at * 31 + whole) % LINEAR_PREFIXES];
        if (known->head == at && known->whole == whole) {
            break;
        }
        struct bytes part = bytes_of(all->tail.data + (node->len - node->tail.len), node->tail.len);
        if (!bytes_equal(part, node->tail)) {
            return false;
        }
    }
    *place = (struct linear_prefix){.head = head, .whole = whole};
    return true;
}

uint64_t linear_value_len(const struct linear_values *v, uint32_t value)
{
    return v->nodes[value].len;
}

void linear_value_bytes(const struct linear_values *v, uint32_t value, struct buf *out)
{
    uint64_t left = v->nodes[value].len;
    uint8_t *at = buf_reserve(out, left);
    CHECK(at != NULL);
    out->len += left;
    for (; left > 0; value = v->nodes[value].head) {
        struct bytes tail = v->nodes[value].tail;
        left -= tail.len;
        if (tail.len > 0) {
            memcpy(at + left, tail.data, tail.len);
        }
    }
}

size_t linear_values_memory_bytes(const struct linear_values *v)
{
    return sizeof *v + v->cap * sizeof *v->nodes + v->table_cap * sizeof *v->table + v->arena.bytes;
}
