/* Patterns of KEYS, SCAN and HSCAN: * ? [abc] [^a] [a-z] and \ before what is meant itself. Pure. */
#ifndef WB_NODE_REDIS_GLOB_H
#define WB_NODE_REDIS_GLOB_H

#include "proto/base/bytes.h"

/* Does the whole of @text match @pattern, as Redis' stringmatchlen (util.c) says? Costs at most about
 * pattern.len * text.len steps, whatever the pattern is. */
bool redis_glob(struct bytes pattern, struct bytes text);

#endif
