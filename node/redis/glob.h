/* Patterns of KEYS, SCAN and HSCAN: * ? [abc] [^a] [a-z] and \ before what is meant itself. Pure. */
#ifndef WB_NODE_REDIS_GLOB_H
#define WB_NODE_REDIS_GLOB_H

#include "proto/base/bytes.h"

/* Does the whole of @text match @pattern, as Redis' stringmatchlen (util.c) says? Costs at most about
 * pattern.len * text.len steps, whatever the pattern is. */
bool redis_glob(struct bytes pattern, struct bytes text);
/* The same, and *@steps are so many as it may still cost: what it cost is taken off. When they are used up it
 * is 0, and the answer is false. */
bool redis_glob_within(struct bytes pattern, struct bytes text, uint64_t *steps);
/* What one command may cost: some tens of milliseconds. */
enum { REDIS_GLOB_STEPS_MAX = 50 * 1000 * 1000 };
extern const char redis_error_glob[]; /* the reply when that is used up */

#endif
