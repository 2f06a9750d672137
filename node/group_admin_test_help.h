/* For tests of GROUP_ADMIN: requests, and ways to bring keys where they are wanted. */
#ifndef WB_NODE_GROUP_ADMIN_TEST_HELP_H
#define WB_NODE_GROUP_ADMIN_TEST_HELP_H

#include "node/group_admin.h"
#include "node/group_fixture.h"

struct admin_ask {
    struct group_request r;
    struct group_admin a;
    bool done;
    bool had_message;
};

/* A request of @kind, to be changed before ask_admin submits it. */
void ask_admin_init(struct admin_ask *x, enum group_admin_kind kind);
void ask_admin(struct fixture *f, struct admin_ask *x);
/* Asserts that @x is done with @status, and frees what it has. */
void assert_admin_done(struct admin_ask *x, enum status status);

/* The same for one kind, submitted; @keys are borrowed. */
void ask_key_status(struct fixture *f, struct admin_ask *x, const struct bytes *keys, uint32_t n);
void ask_quarantine(
    struct fixture *f, struct admin_ask *x, enum group_admin_kind kind, const struct bytes *keys, uint32_t n);
void ask_pause(struct fixture *f, struct admin_ask *x, bool paused);
void ask_forget(
    struct fixture *f, struct admin_ask *x, const struct bytes *keys, const uint64_t *versions, uint32_t n);

/* What is said of the key @text now: without its message. */
struct admin_key key_status_of(struct fixture *f, const char *text);

/* Let the log name this retention. */
void retain(struct fixture *f, uint64_t ms, uint64_t bytes);
/* Let @key, with @value, be refused by the database: by the means of another leader, whom this one follows.
 * Nothing else may be dirty. */
void quarantine_now(struct fixture *f, const char *key, const char *value);
/* Let time pass until what is dirty is flushed. */
void flush_now(struct fixture *f);
/* Let the database commit the oldest batch that was sent, or all. */
void settle_batch(struct fixture *f);
void settle_batches(struct fixture *f);
/* What waits in the log never commits. */
void fixture_forget_log(struct fixture *f);

#endif
