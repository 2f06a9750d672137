/* Random conversations: sequences of supported commands on a few keys of one slot. A sequence is a function
 * of its seed and number, and of the tag that its keys begin with. Pure. */
#ifndef WB_CLUSTER_TESTS_REDIS_GENERATOR_H
#define WB_CLUSTER_TESTS_REDIS_GENERATOR_H

#include "cluster-tests/redis/step.h"

/* The protocol of sequence @number. */
unsigned generator_protocol(uint64_t number);
/* Add the steps of sequence @number of @seed to @out. @tag: with its {}. The last steps end transactions and
 * delete the keys; generator_tail says how many they are. */
void generator_sequence(uint64_t seed, uint64_t number, const char *tag, struct steps *out);
uint32_t generator_tail(void);

#endif
