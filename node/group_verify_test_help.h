/* For tests of VERIFY: a database whose rows the test writes, and what is found there. */
#ifndef WB_NODE_GROUP_VERIFY_TEST_HELP_H
#define WB_NODE_GROUP_VERIFY_TEST_HELP_H

#include "node/group_admin_test_help.h"

enum { ROWS_MAX = 64, TEXT_MAX = 16 };

struct row {
    char key[TEXT_MAX], value[TEXT_MAX];
    uint64_t version, expires_at_ms;
    bool bad; /* the cache cannot have written it */
};

struct table {
    struct row rows[ROWS_MAX];
    unsigned n;
    uint64_t last_batch;
};

/* The row of @key; NULL: there is none. */
struct row *row_find(struct table *t, struct bytes key);
/* Make or replace it: it never expires. */
struct row *row_put(struct table *t, struct bytes key, struct bytes value, uint64_t version);
void row_delete(struct table *t, struct bytes key);
void row_text(char out[TEXT_MAX], struct bytes text);
/* What the transaction of @b does. */
void table_commit(struct table *t, const struct flush_batch *b);
/* Answer the load @token for @asked as @t is now; one key in @later_in is put off (0: none). */
void table_answer(
    struct fixture *f, const struct table *t, uint64_t token, const struct buf *asked, unsigned later_in);
/* The newest load. */
void table_answer_newest(struct fixture *f, const struct table *t);

/* Set @key and let it reach the table. */
void store_now(struct fixture *f, struct table *t, const char *key, const char *value);
void delete_now(struct fixture *f, const char *key);
/* Let @key be remembered as absent. */
void miss_now(struct fixture *f, const struct table *t, const char *key);

/* Submit a step that begins at the table's beginning, and take a turn. */
void verify_begin(struct fixture *f, struct admin_ask *x);
/* Is the newest load that of @x? */
bool verify_is_loading(const struct admin_ask *x, const struct fixture *f);
/* The kind of difference that @x reports of @key. */
enum admin_difference_kind verify_reported(const struct admin_ask *x, const char *key);

#endif
