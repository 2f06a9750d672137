#include "proto/base/alloc.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"

static void *must(void *ptr, size_t size)
{
    if (ptr == NULL && size > 0) {
        check_failed("out of memory", __FILE__, __LINE__);
    }
    return ptr;
}

void *xmalloc(size_t size)
{
    return must(malloc(size), size);
}

void *xcalloc(size_t count, size_t size)
{
    return must(calloc(count, size), count * size);
}

void *xrealloc(void *ptr, size_t size)
{
    return must(realloc(ptr, size), size);
}

char *xstrdup(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(xmalloc(size), text, size);
}
