/* Reading from followers, with READONLY: what is seen must have been true once, and parts of one write belong
 * together. It may go back, also on one connection: a follower that is behind and lacks a key reads it from
 * PostgreSQL, which may be ahead of it. How often is counted. Threading: one thread each. */
#ifndef WB_CLUSTER_TESTS_REDIS_STALE_H
#define WB_CLUSTER_TESTS_REDIS_STALE_H

#include "cluster-tests/redis_caller.h"

struct redis_stale;

/* Heap object; never NULL. @addresses as redis_client takes them. */
struct redis_stale *redis_stale_create(const char *addresses, uint64_t number, size_t history_bytes_max);
void redis_stale_destroy(struct redis_stale *s);
/* From now on @objects, which are borrowed. Nothing was done to them before now. */
void redis_stale_objects(struct redis_stale *s, const struct redis_object *objects, unsigned n);
/* Read object number @object at @node, once. */
void redis_stale_read(struct redis_stale *s, unsigned node, unsigned object);

unsigned redis_stale_nodes(const struct redis_stale *s);
/* Is the history full, so that not all was recorded? */
bool redis_stale_full(const struct redis_stale *s);
/* What it saw: in words of the history, reads that began when redis_stale_objects was called. */
struct history *redis_stale_history(struct redis_stale *s);
/* How many values node number @node has shown. */
uint64_t redis_stale_reads(const struct redis_stale *s, unsigned node);
/* How many of all values were older than one that the same connection had shown. */
uint64_t redis_stale_gone_back(const struct redis_stale *s);
/* "", or what must not be. */
const char *redis_stale_error(const struct redis_stale *s);

#endif
