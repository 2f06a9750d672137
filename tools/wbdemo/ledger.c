#include "tools/wbdemo/ledger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

void ledger_init(struct ledger *l, uint32_t keys, uint64_t run)
{
    *l = (struct ledger){.run = run, .n = keys, .next_sequence = 1, .keys = xcalloc(keys, sizeof *l->keys)};
}

void ledger_deinit(struct ledger *l)
{
    free(l->keys);
    l->keys = NULL;
}

void ledger_key_text(uint32_t key, char out[LEDGER_KEY_BYTES + 1])
{
    snprintf(out, LEDGER_KEY_BYTES + 1, "demo:%08" PRIu32, key % 100000000);
}

int64_t ledger_key_number(const struct ledger *l, struct bytes text)
{
    char digits[9] = {0};
    char again[LEDGER_KEY_BYTES + 1];
    if (text.len != LEDGER_KEY_BYTES) {
        return -1;
    }
    memcpy(digits, text.data + 5, 8);
    uint32_t key = (uint32_t)strtoul(digits, NULL, 10);
    ledger_key_text(key, again);
    return key < l->n && memcmp(again, text.data, LEDGER_KEY_BYTES) == 0 ? (int64_t)key : -1;
}

void ledger_value(const struct ledger *l, uint32_t key, uint32_t sequence, char out[LEDGER_VALUE_BYTES + 1])
{
    int len = snprintf(out, LEDGER_VALUE_BYTES + 1, "run %016" PRIx64 " key %" PRIu32 " write %" PRIu32 " ",
        l->run, key, sequence);
    memset(out + len, '.', (size_t)(LEDGER_VALUE_BYTES - len));
    out[LEDGER_VALUE_BYTES] = '\0';
}

bool ledger_writable(const struct ledger *l, uint32_t key)
{
    return l->keys[key].pending_sequence == 0 && l->keys[key].unknown_sequence == 0;
}

uint32_t ledger_begin(struct ledger *l, uint32_t key)
{
    CHECK(ledger_writable(l, key));
    l->keys[key].pending_sequence = l->next_sequence;
    return l->next_sequence++;
}

void ledger_acknowledged(struct ledger *l, uint32_t key, uint64_t version)
{
    struct ledger_key *k = &l->keys[key];
    k->acked_sequence = k->pending_sequence;
    k->acked_version = version;
    k->pending_sequence = 0;
}

void ledger_refused(struct ledger *l, uint32_t key)
{
    l->keys[key].pending_sequence = 0;
}

void ledger_unknown(struct ledger *l, uint32_t key)
{
    l->keys[key].unknown_sequence = l->keys[key].pending_sequence;
    l->keys[key].pending_sequence = 0;
}

static bool is_value(const struct ledger *l, uint32_t key, uint32_t sequence, struct bytes value)
{
    char expected[LEDGER_VALUE_BYTES + 1];
    if (sequence == 0 || value.data == NULL) {
        return false;
    }
    ledger_value(l, key, sequence, expected);
    return bytes_equal(value, bytes_of(expected, LEDGER_VALUE_BYTES));
}

enum ledger_verdict ledger_judge(const struct ledger *l, uint32_t key, struct bytes value, uint64_t version)
{
    const struct ledger_key *k = &l->keys[key];
    if (is_value(l, key, k->unknown_sequence, value)) {
        return LEDGER_UNKNOWN_HAPPENED;
    }
    if (k->acked_sequence == 0) {
        return LEDGER_UNTOUCHED;
    }
    if (value.data == NULL) {
        return LEDGER_MISSING;
    }
    return is_value(l, key, k->acked_sequence, value) && version == k->acked_version ? LEDGER_RIGHT
                                                                                     : LEDGER_WRONG;
}
