#include "tools/wbbench/node_list.h"

#include <string.h>

bool node_list_init(struct node_list *l, const char *text)
{
    memset(l, 0, sizeof *l);
    while (*text != '\0') {
        size_t len = strcspn(text, ",");
        if (len > 0 && node_list_add(l, bytes_of(text, len)) == NODE_NONE) {
            return false;
        }
        text += len;
        text += *text == ',';
    }
    return l->n > 0;
}

int node_list_add(struct node_list *l, struct bytes address)
{
    for (unsigned i = 0; i < l->n; i++) {
        if (bytes_equal(bytes_from_text(l->addresses[i]), address)) {
            return (int)i;
        }
    }
    if (l->n == LIMIT_NODES || address.len == 0 || address.len >= NODE_ADDRESS_BYTES ||
        memchr(address.data, '\0', address.len) != NULL) {
        return NODE_NONE;
    }
    memcpy(l->addresses[l->n], address.data, address.len);
    l->addresses[l->n][address.len] = '\0';
    return (int)l->n++;
}
