/* Addresses as people write them: HOST:PORT, [IPV6]:PORT, and lists of them. Pure: nothing is resolved here.
 */
#ifndef WB_RPC_ADDRESS_H
#define WB_RPC_ADDRESS_H

#include "proto/base/bytes.h"
#include "proto/base/status.h"

enum { ADDRESS_HOST_BYTES = 256, ADDRESS_PORT_BYTES = 6, ADDRESS_TEXT_BYTES = 272 };

struct address {
    char host[ADDRESS_HOST_BYTES]; /* a name or a number, without brackets; "" when the text began with ':' */
    char port[ADDRESS_PORT_BYTES]; /* decimal, 0 to 65535 */
};

/* Split @text. INVALID: no port, a port that is no number up to 65535, an IPv6 address without brackets, an
 * empty or open bracket, a blank or control character, or a host of ADDRESS_HOST_BYTES and more; *@out is
 * then not set. Any thread. */
enum status address_parse(struct bytes text, struct address *out);

/* Take the next item of a list separated by commas (blanks around an item are dropped). @list shrinks by it.
 * False when the list is at its end. An empty item is returned as such, for address_parse to refuse. */
bool address_list_next(struct bytes *list, struct bytes *item);

#endif
