/* Operations in words, for explanations. Pure. */
#ifndef WB_CLUSTER_TESTS_LINEAR_WORDS_H
#define WB_CLUSTER_TESTS_LINEAR_WORDS_H

#include "cluster-tests/linear_model.h"

/* Append formatted text to @out. */
void linear_words(struct buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Append @b in quotes, escaped, and cut when it is long. */
void linear_words_bytes(struct buf *out, struct bytes b);
/* Append "client 3: set "x" -> version 7   [1.000 ms .. 2.500 ms]"; times count from @zero_ns. */
void linear_words_op(struct buf *out, const struct history_event *e, uint64_t zero_ns);
/* Append what the key holds: ""x" (version 7)", or "nothing". */
void linear_words_state(
    struct buf *out, const struct linear_values *values, const struct linear_state *state);

#endif
