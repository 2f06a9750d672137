/* A transaction for tests of commands: a table of keys with a clock that the test sets. One at a time. */
#ifndef WB_NODE_REDIS_TRANSACTION_FAKE_H
#define WB_NODE_REDIS_TRANSACTION_FAKE_H

#include "node/redis/command.h"

struct transaction {
    struct fake_key {
        struct bytes key; /* owned copy */
        struct value *value;
        uint8_t type;
        uint64_t expires_at_ms;
        uint64_t version;
    } * keys;
    uint32_t n, cap;
    uint64_t now_ms;
    uint64_t writes; /* puts and deletes so far */
    bool blind;      /* the command at hand said that it looks at no key */
};

void fake_transaction_init(struct transaction *t, uint64_t now_ms);
void fake_transaction_deinit(struct transaction *t);
/* Run the keyed command that the words name, in protocol 2 or 3, and give its reply as text, which lives
 * until the next call. Words end with NULL; no word has a NUL in it. Fails the test when there is no such
 * command, when it is not keyed, or its number of arguments does not fit; and when the command breaks a rule
 * that all have: one that replies with an error, or is not marked as writing, writes nothing; one that is
 * blind looks at nothing. */
const char *fake_run(struct transaction *t, unsigned protocol, const char *word, ...)
    __attribute__((sentinel));
/* The same for arguments that are any bytes. */
struct bytes fake_run_args(struct transaction *t, unsigned protocol, const struct bytes *args, uint32_t n);
/* A transcript's line: run the words of @line, which have single spaces between them ("" is an empty word),
 * in protocol 2, and expect a reply that reads @want when each of its line ends is a space, and the last one
 * nothing. */
#define assert_says(t, line, want) fake_assert_says(t, line, want, __FILE__, __LINE__)
void fake_assert_says(struct transaction *t, const char *line, const char *want, const char *file, int at);

#endif
