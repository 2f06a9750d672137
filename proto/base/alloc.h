/* Allocation that cannot fail: a node that is out of memory stops at once, and comes back from its peers.
 * (The client library does not use these where its caller could get an error instead.) */
#ifndef WB_PROTO_BASE_ALLOC_H
#define WB_PROTO_BASE_ALLOC_H

#include <stddef.h>

/* As malloc, calloc, realloc; abort with a message when there is no memory. Free with free(). */
void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *ptr, size_t size);
char *xstrdup(const char *text);

#endif
