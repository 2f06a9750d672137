/* What the files of the string commands share. */
#ifndef WB_NODE_REDIS_STRINGS_INTERNAL_H
#define WB_NODE_REDIS_STRINGS_INTERNAL_H

#include "node/redis/command.h"

/* Look at @key, which is to be a string. False: it holds another type, and that has been replied. True: *@out
 * is the string, or its value is NULL because the key is not there. */
bool redis_get_string(struct redis_call *c, struct bytes key, struct transaction_value *out);
/* May a string have @bytes? False: that it may not has been replied. */
bool redis_string_fits(struct redis_call *c, size_t bytes);
/* Reply with the string, or null. True: it has. False: the key holds another type, and that has been replied.
 */
bool redis_reply_string(struct redis_call *c, struct bytes key, struct transaction_value *out);

#endif
