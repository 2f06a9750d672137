/* The value of a hash as a run of bytes; see fields.h.
 *
 * Several changes at once are made in one walk over the old fields: each is looked up among the changes, in
 * an index of their names that lives as long as the call. What is kept is copied in runs.
 *
 * The index is a hash table, and what it hashes is chosen by clients who can know the hash: it has no secret,
 * since these functions are pure and give the same for the same everywhere. So names can be found that all
 * want one place, and thousands of them would cost their square. Therefore the table's work is counted. Names
 * that are not chosen to collide leave most of its allowance (INDEX_PROBES for each look-up); when it is used
 * up, the names are sorted instead, and from then on found by bisection: the worst case is O((fields + n) log
 * n) comparisons.
 *
 * The index aborts without memory (see alloc.h); the result is `failed` then, as its header says. */
#include "proto/fields.h"

#include <stdlib.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum {
    HEADER_BYTES = 4,
    LENGTH_BYTES_MAX = 5,     /* of 32 bits, 7 a byte */
    FIELD_BYTES_MIN = 2,      /* the lengths of an empty name and an empty value */
    INDEX_DIRECT_MAX = 8,     /* so few names are compared one by one: cheaper than to hash every field */
    INDEX_PROBES = 8,         /* places that a look-up may see beyond its first, on the average */
    INDEX_PROBES_FREE = 1024, /* and so many in all: below that nobody cares */
};

/* ---- One field ---- */

static bool take_length(struct bytes in, size_t *at, uint32_t *out)
{
    uint64_t length = 0;
    for (unsigned i = 0; i < LENGTH_BYTES_MAX && *at < in.len; i++) {
        uint8_t byte = in.data[(*at)++];
        length |= (uint64_t)(byte & 0x7f) << (7 * i);
        if ((byte & 0x80) == 0) {
            *out = (uint32_t)length;
            return length <= UINT32_MAX &&
                   (byte != 0 || i == 0); /* a last byte of 0 has a shorter spelling */
        }
    }
    return false;
}

static bool take_run(struct bytes in, size_t *at, struct bytes *out)
{
    uint32_t length;
    if (!take_length(in, at, &length) || length > in.len - *at) {
        return false;
    }
    *out = bytes_of(in.data + *at, length);
    *at += length;
    return true;
}

/* False at the end, and where the bytes are no field: so a walk never leaves them, whatever they are. */
static bool take_field(struct bytes in, size_t *at, struct field *out)
{
    return take_run(in, at, &out->name) && take_run(in, at, &out->value);
}

static void put_run(struct buf *out, struct bytes run)
{
    CHECK(run.len <= UINT32_MAX);
    uint8_t length[LENGTH_BYTES_MAX];
    unsigned n = 0;
    for (size_t left = run.len; n == 0 || left > 0; left >>= 7) {
        length[n++] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    }
    buf_append(out, length, n);
    buf_append(out, run.data, run.len);
}

/* ---- The index: the number of a name among many ---- */

#define NO_NAME UINT32_MAX

struct index_entry {
    struct bytes name;
    uint32_t number;
};

struct index_slot {
    uint32_t number_plus_1; /* 0: free */
    uint32_t tag;           /* of the name's hash, other bits than those that chose the slot */
};

struct names_index {
    uint32_t n;
    struct index_entry *entries; /* in the order of their numbers; sorted by name and number once `sorted` */
    uint32_t *first;             /* of each number: the lowest number with the same name */
    struct index_slot *slots;    /* NULL: so few names that they are compared one by one, or sorted */
    uint32_t mask;               /* number of slots - 1 */
    uint64_t allowance;
    bool sorted;
    struct index_entry few_entries[INDEX_DIRECT_MAX];
    uint32_t few_first[INDEX_DIRECT_MAX];
};

/* Room for @n_max names, which index_add then brings. */
static void index_init(struct names_index *x, uint32_t n_max)
{
    *x = (struct names_index){.allowance = INDEX_PROBES_FREE};
    if (n_max <= INDEX_DIRECT_MAX) {
        x->entries = x->few_entries;
        x->first = x->few_first;
        return;
    }
    x->entries = xmalloc(n_max * sizeof *x->entries);
    x->first = xmalloc(n_max * sizeof *x->first);
}

static void index_deinit(struct names_index *x)
{
    if (x->entries != x->few_entries) {
        free(x->entries);
        free(x->first);
    }
    free(x->slots);
}

static void index_add(struct names_index *x, struct bytes name)
{
    x->entries[x->n] = (struct index_entry){.name = name, .number = x->n};
    x->n++;
}

static int compare_entries(const void *left, const void *right)
{
    const struct index_entry *a = left, *b = right;
    int order = bytes_compare(a->name, b->name);
    return order != 0 ? order : (a->number > b->number) - (a->number < b->number);
}

static void index_sort(struct names_index *x)
{
    free(x->slots);
    x->slots = NULL;
    qsort(x->entries, x->n, sizeof *x->entries, compare_entries);
    x->sorted = true;
    for (uint32_t i = 0; i < x->n; i++) {
        bool again = i > 0 && bytes_equal(x->entries[i].name, x->entries[i - 1].name);
        x->first[x->entries[i].number] = again ? x->first[x->entries[i - 1].number] : x->entries[i].number;
    }
}

/* The slot of @name, or the free one where it belongs. NULL: the allowance is used up. */
static struct index_slot *index_probe(struct names_index *x, struct bytes name, uint32_t *tag)
{
    uint64_t hash = bytes_hash(name, 0);
    *tag = (uint32_t)(hash >> 32);
    x->allowance += INDEX_PROBES;
    for (uint32_t at = (uint32_t)hash & x->mask; x->allowance > 0; at = (at + 1) & x->mask, x->allowance--) {
        struct index_slot *slot = &x->slots[at];
        if (slot->number_plus_1 == 0 ||
            (slot->tag == *tag && bytes_equal(x->entries[slot->number_plus_1 - 1].name, name))) {
            return slot;
        }
    }
    return NULL;
}

static uint32_t index_find_among(const struct names_index *x, uint32_t n, struct bytes name)
{
    for (uint32_t i = 0; i < n; i++) {
        if (bytes_equal(x->entries[i].name, name)) {
            return i;
        }
    }
    return NO_NAME;
}

/* All names are there: from now on index_find, and x->first. */
static void index_ready(struct names_index *x)
{
    if (x->n <= INDEX_DIRECT_MAX) {
        for (uint32_t i = 0; i < x->n; i++) {
            uint32_t earlier = index_find_among(x, i, x->entries[i].name);
            x->first[i] = earlier == NO_NAME ? i : earlier;
        }
        return;
    }
    uint64_t slots = 32; /* a power of two, at most half of it used */
    while (slots < 2 * (uint64_t)x->n) {
        slots *= 2;
    }
    CHECK(slots <= (uint64_t)UINT32_MAX + 1);
    x->slots = xcalloc(slots, sizeof *x->slots);
    x->mask = (uint32_t)(slots - 1);
    for (uint32_t i = 0; i < x->n; i++) {
        uint32_t tag;
        struct index_slot *slot = index_probe(x, x->entries[i].name, &tag);
        if (slot == NULL) {
            index_sort(x);
            return;
        }
        if (slot->number_plus_1 == 0) {
            *slot = (struct index_slot){.number_plus_1 = i + 1, .tag = tag};
        }
        x->first[i] = slot->number_plus_1 - 1;
    }
}

static uint32_t index_bisect(const struct names_index *x, struct bytes name)
{
    uint32_t low = 0, high = x->n; /* before low: smaller names; from high on: not smaller */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (bytes_compare(x->entries[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < x->n && bytes_equal(x->entries[low].name, name) ? x->entries[low].number : NO_NAME;
}

/* The lowest number of @name, or NO_NAME. */
static uint32_t index_find(struct names_index *x, struct bytes name)
{
    if (x->slots != NULL) {
        uint32_t tag;
        const struct index_slot *slot = index_probe(x, name, &tag);
        if (slot != NULL) {
            return slot->number_plus_1 == 0 ? NO_NAME : slot->number_plus_1 - 1;
        }
        index_sort(x);
    }
    return x->sorted ? index_bisect(x, name) : index_find_among(x, x->n, name);
}

/* ---- Reading ---- */

uint32_t fields_count(struct bytes encoded)
{
    return encoded.len < HEADER_BYTES ? 0 : load_le32(encoded.data);
}

bool fields_next(struct bytes encoded, size_t *at, struct field *out)
{
    size_t from = *at == 0 ? HEADER_BYTES : *at;
    if (from >= encoded.len || !take_field(encoded, &from, out)) {
        return false;
    }
    *at = from;
    return true;
}

bool fields_valid(struct bytes encoded)
{
    uint32_t count = fields_count(encoded);
    if (count == 0 || count > (encoded.len - HEADER_BYTES) / FIELD_BYTES_MIN) {
        return false;
    }
    struct names_index names;
    struct field field;
    size_t at = 0;
    index_init(&names, count);
    while (names.n < count && fields_next(encoded, &at, &field)) {
        index_add(&names, field.name);
    }
    bool valid = names.n == count && at == encoded.len;
    if (valid) {
        index_ready(&names);
        for (uint32_t i = 0; valid && i < count; i++) {
            valid = names.first[i] == i;
        }
    }
    index_deinit(&names);
    return valid;
}

bool fields_find(struct bytes encoded, struct bytes name, struct bytes *value)
{
    struct field field;
    for (size_t at = 0; fields_next(encoded, &at, &field);) {
        if (bytes_equal(field.name, name)) {
            *value = field.value;
            return true;
        }
    }
    return false;
}

void fields_find_all(struct bytes encoded, const struct bytes *names, uint32_t n, struct bytes *values)
{
    struct names_index index;
    struct field field;
    index_init(&index, n);
    for (uint32_t i = 0; i < n; i++) {
        index_add(&index, names[i]);
        values[i] = bytes_of(NULL, 0);
    }
    index_ready(&index);
    for (size_t at = 0; fields_next(encoded, &at, &field);) {
        uint32_t number = index_find(&index, field.name);
        if (number != NO_NAME) {
            values[number] = field.value;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        values[i] = values[index.first[i]];
    }
    index_deinit(&index);
}

bool fields_equal(struct bytes a, struct bytes b)
{
    uint32_t count = fields_count(a);
    if (a.len != b.len || count != fields_count(b)) {
        return false; /* the same fields in another order are as long */
    }
    if (bytes_equal(a, b)) {
        return true;
    }
    struct names_index names;
    struct field field;
    struct bytes *values = xmalloc((count + (size_t)1) * sizeof *values);
    index_init(&names, count);
    for (size_t at = 0; names.n < count && fields_next(a, &at, &field);) {
        values[names.n] = field.value;
        index_add(&names, field.name);
    }
    index_ready(&names);
    bool equal = true;
    for (size_t at = 0; equal && fields_next(b, &at, &field);) {
        uint32_t number = index_find(&names, field.name);
        equal = number != NO_NAME && bytes_equal(values[number], field.value);
    }
    index_deinit(&names);
    free(values);
    return equal;
}

/* ---- Making ---- */

void fields_begin(struct buf *out)
{
    static const uint8_t count_to_come[HEADER_BYTES];
    buf_append(out, count_to_come, sizeof count_to_come);
}

void fields_add(struct buf *out, struct bytes name, struct bytes value)
{
    put_run(out, name);
    put_run(out, value);
}

void fields_end(struct buf *out, uint32_t count)
{
    if (!out->failed) {
        store_le32(out->data, count);
    }
}

/* As fields_end; a hash without fields is no bytes. */
static void end_or_empty(struct buf *out, uint32_t count)
{
    if (count == 0) {
        out->len = 0;
    } else {
        fields_end(out, count);
    }
}

/* Append what of @old is between two places. */
static void copy_run(struct buf *out, struct bytes old, size_t from, size_t to)
{
    if (to > from) {
        buf_append(out, old.data + from, to - from);
    }
}

/* What is to become of the name with this number. */
struct change {
    uint32_t last; /* the number of its last value */
    bool done;
};

uint32_t fields_set(struct bytes old, const struct field *changes, uint32_t n, struct buf *out)
{
    struct names_index names;
    struct change few[INDEX_DIRECT_MAX], *change = n <= INDEX_DIRECT_MAX ? few : xmalloc(n * sizeof *change);
    index_init(&names, n);
    for (uint32_t i = 0; i < n; i++) {
        index_add(&names, changes[i].name);
    }
    index_ready(&names);
    for (uint32_t i = 0; i < n; i++) {
        change[i].done = false;
        change[names.first[i]].last = i;
    }

    size_t kept_from = HEADER_BYTES, at = HEADER_BYTES;
    struct field field;
    fields_begin(out);
    for (size_t begin = at; fields_next(old, &at, &field); begin = at) {
        uint32_t number = index_find(&names, field.name);
        if (number != NO_NAME) {
            copy_run(out, old, kept_from, begin);
            fields_add(out, field.name, changes[change[number].last].value);
            change[number].done = true;
            kept_from = at;
        }
    }
    copy_run(out, old, kept_from, at);

    uint32_t added = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (names.first[i] == i && !change[i].done) {
            fields_add(out, changes[i].name, changes[change[i].last].value);
            added++;
        }
    }
    end_or_empty(out, fields_count(old) + added);
    index_deinit(&names);
    if (change != few) {
        free(change);
    }
    return added;
}

uint32_t fields_remove(struct bytes old, const struct bytes *names, uint32_t n, struct buf *out)
{
    struct names_index index;
    index_init(&index, n);
    for (uint32_t i = 0; i < n; i++) {
        index_add(&index, names[i]);
    }
    index_ready(&index);

    size_t kept_from = HEADER_BYTES, at = HEADER_BYTES;
    uint32_t removed = 0;
    struct field field;
    fields_begin(out);
    for (size_t begin = at; fields_next(old, &at, &field); begin = at) {
        if (index_find(&index, field.name) != NO_NAME) {
            copy_run(out, old, kept_from, begin);
            kept_from = at;
            removed++;
        }
    }
    copy_run(out, old, kept_from, at);
    index_deinit(&index);
    end_or_empty(out, fields_count(old) - removed);
    return removed;
}
