/* Peers' addresses, "HOST:PORT" with HOST a name, an IPv4 address or an IPv6 address in brackets, and what we
 * set on sockets between nodes. A shell. */
#ifndef WB_RAFT_PEER_ADDRESS_H
#define WB_RAFT_PEER_ADDRESS_H

#include <stdbool.h>

#include <uv.h>

enum { PEER_HOST_BYTES_MAX = 255, PEER_PORT_BYTES_MAX = 5 };

struct peer_address {
    char host[PEER_HOST_BYTES_MAX + 1];
    char port[PEER_PORT_BYTES_MAX + 1]; /* digits, 1 to 65535 */
};

/* False when @text is not of that form. */
bool peer_address_parse(const char *text, struct peer_address *out);

/* No delay, and a peer that vanished is noticed within seconds also when nothing is sent. Errors are of no
 * consequence. */
void peer_socket_tune(uv_tcp_t *tcp);

#endif
