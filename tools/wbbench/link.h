/* One TCP connection to a node: cuts frames out of what comes (or leaves the cutting to its owner, for
 * another protocol), collects what goes. A shell on libuv. closed -> connecting -> open -> closing -> closed.
 * Threading: the loop's thread. */
#ifndef WB_TOOLS_WBBENCH_LINK_H
#define WB_TOOLS_WBBENCH_LINK_H

#include <netinet/in.h>

#include <uv.h>

#include "proto/base/buf.h"
#include "proto/base/list.h"

enum link_state { LINK_CLOSED, LINK_CONNECTING, LINK_OPEN, LINK_CLOSING };

struct link;
struct link_events {
    /* One whole frame's payload, borrowed until return. The callee may call link_close. */
    void (*frame)(struct link *l, struct bytes payload);
    /* Instead of `frame`, when not NULL: everything that is not done with, borrowed until return. Returns how
     * many bytes are done with now; the others come again, with more behind them. The callee may call
     * link_close. */
    size_t (*input)(struct link *l, struct bytes input);
    /* The connection is gone (or could not be made): fires once for each link_connect. @was_open: bytes may
     * have reached the node. The callee may call link_connect again. */
    void (*closed)(struct link *l, bool was_open);
};

struct link {
    enum link_state state;
    bool was_open;
    const struct link_events *events;
    void *data;             /* the owner's */
    struct list dirty_node; /* in the owner's list while something waits for link_flush */
    /* private */
    struct list *dirty;
    struct buf in;
    struct buf out;
    struct buf writing;
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    bool write_busy;
    struct bytes scratch;
};

/* Prepare a closed link. @events and @dirty are borrowed. @scratch is memory for reading (64 KB or more),
 * shared by all links of a loop. */
void link_init(
    struct link *l, const struct link_events *events, void *data, struct list *dirty, struct bytes scratch);
/* Free the buffers of a closed link. */
void link_deinit(struct link *l);
/* Begin to connect; the link must be closed. The result comes through events->closed or as frames. */
void link_connect(struct link *l, uv_loop_t *loop, const struct sockaddr_storage *address);
/* Where to append frames. They leave with the next link_flush after the link is open. */
struct buf *link_output(struct link *l);
/* Send what waits. */
void link_flush(struct link *l);
/* Close; events->closed follows, not from inside this call. Harmless when closed or closing. */
void link_close(struct link *l);

/* Resolve "HOST:PORT". False, with @errmsg, when that does not work. Blocks. */
bool link_resolve(const char *address, struct sockaddr_storage *out, char *errmsg, size_t errmsg_len);

#endif
