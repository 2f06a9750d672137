/* The inside of libwbcache: a handle, its connections, its calls. Not installed.
 *
 *   wbcache.c         opening and closing, messages
 *   wbcache_op.c      the public calls on one key, blocking and pipelined
 *   wbcache_many.c    mget, mset, mdel: calls split over groups
 *   wbcache_wait.c    flush and wait
 *   wbcache_scan.c    scans
 *   wbcache_admin.c   what operators ask: key status, flush control, forget
 *   wbcache_quarantine.c, wbcache_verify.c   the same, of refused rows; memory compared with PostgreSQL
 *   client_session.c  sessions: each write's sequence number
 *   wbcache_status.c  status
 *   client_call.c     a call's life
 *   client_conn.c     one connection's life
 *   client_loop.c     the turn that moves them all: poll(2), deadlines, looking for leaders */
#ifndef WB_RPC_CLIENT_H
#define WB_RPC_CLIENT_H

#include <netdb.h>

#include "proto/base/list.h"
#include "proto/limits.h"
#include "rpc/cluster_map.h"
#include "rpc/conn_input.h"
#include "rpc/request_codec.h"
#include "rpc/wbcache.h"

enum {
    CLIENT_DEADLINE_MS = 5000,
    CLIENT_CONNECT_TIMEOUT_MS = 1000,
    CLIENT_PIPELINE_MAX = 1024,
    CLIENT_SUSPECT_MS =
        400, /* a connection silent for so long is not given new calls (less for short deadlines) */
    CLIENT_SUSPECT_MIN_MS = 50,
    CLIENT_HELLO_LATE_MS = 100, /* a new connection not ready by then: ask other nodes too */
    CLIENT_STALE_MS = 5,        /* after such a rest, look whether the peer has closed before sending */
    CLIENT_RECONNECT_MIN_MS = 10,
    CLIENT_RECONNECT_MAX_MS = 200,
    CLIENT_GOODBYE_MS = 50, /* a node that said goodbye while calls were out is left alone for so long */
    CLIENT_TOPOLOGY_MAX_MS =
        30, /* between questions for the leaders while one is missed; half of it at least */
    CLIENT_TOPOLOGY_WAIT_MS = 100, /* for an answer, before another node is asked as well */
    CLIENT_TOPOLOGY_DEADLINE_MS = 2000,
    CLIENT_RETRY_MIN_MS = 10,
    CLIENT_ELECTION_RETRY_MAX_MS = 50, /* short: the first write after a failover waits for at most this */
    CLIENT_RETRY_MAX_MS = 100,
    CLIENT_REDIRECTS_MAX = 3,      /* followed at once, before a pause */
    CLIENT_SEND_BYTES = 32 * 1024, /* pipelined calls are sent when so much has collected */
    CLIENT_MESSAGE_BYTES = 256,
};

struct client_conn;

/* A call's life. call_move() in client_call.c is the one function that moves it.
 *
 *             +----------------------------------------------+
 *             |   certainly not done, a read, or a write     |
 *             |   in its session: try again                   |
 *             v                                               |
 *   ----> WAITING -----------------> ON_CONN ----------------+---> DONE
 *             |   leader known,       (in a connection's        answer, unknown, deadline
 *             |   its connection      output, or sent)
 *             |   ready, pause over
 *             +---------------------------------------------------> DONE
 *                 deadline; or the one node that it is for cannot be reached
 *
 * Invariant: WAITING is in wbcache.waiting; ON_CONN is in its connection's calls and has an id that answers
 * can name; DONE is in no list but, when pipelined, wbcache.done. Until DONE it is in wbcache.by_deadline. */
enum call_state { CALL_IDLE, CALL_WAITING, CALL_ON_CONN, CALL_DONE };
enum call_kind {
    CALL_READ,
    CALL_WRITE,
    CALL_WAIT,
    CALL_SCAN,
    CALL_SESSION,
    CALL_TOPOLOGY,
    CALL_STATUS,
    CALL_ADMIN,     /* an operator's: doing it twice is harmless */
    CALL_ADMIN_ONCE /* it is not, and there are no sessions for it: what is in doubt is UNKNOWN */
};
enum call_owner {
    CALL_OF_BLOCKING, /* the blocking function that began it takes it back when DONE */
    CALL_PIPELINED,   /* goes to wbcache.done */
    CALL_INTERNAL,    /* a question of the library's own: learned from, then forgotten */
};

struct call {
    struct list link;          /* waiting, conn.calls, done, or free_calls */
    struct list deadline_link; /* by_deadline */
    enum call_state state;
    enum call_kind kind;
    enum call_owner owner;
    bool patient;  /* the node may keep it waiting for the database until its deadline */
    bool stale;    /* any node will do */
    bool by_group; /* the group is given, not the slot */
    uint16_t slot;
    uint32_t group;   /* when by_group */
    int node;         /* only this one, or CLUSTER_MAP_NOBODY: whoever leads */
    size_t n_results; /* that an OK answer must have */
    struct buf body;  /* the operation, packed */
    uint64_t deadline_ms;
    uint64_t due_ms; /* WAITING: not before */
    /* ON_CONN */
    struct client_conn *conn;
    uint64_t end_offset; /* of its last byte in the connection's stream */
    /* id = generation << 24 | place: an answer to an earlier attempt names an older generation */
    uint32_t place;
    uint64_t generation;
    unsigned attempts;  /* pauses so far */
    unsigned redirects; /* since the last pause */
    int refusal;        /* why it waits, for the deadline */
    bool seeks_leader;  /* WAITING: it pauses for want of a leader: another node may be asked at once */
    int refused_by;     /* the node that it was with when `refusal` was set by an answer or a loss */
    /* a write in a session */
    uint64_t session; /* 0: it has no number yet */
    uint64_t sequence;
    uint64_t first_awaited;      /* when it was sent last */
    bool perhaps_done;           /* an attempt of it may have been executed */
    bool renumbered;             /* its session was forgotten once */
    struct list session_link;    /* in client_session.calls, until DONE */
    Wbrpc__Response *replicated; /* NOT_FLUSHED was answered: what to report at the deadline; or NULL */
    /* DONE */
    int code;
    Wbrpc__Response *response; /* malloc'd; NULL unless a node answered */
    char message[CLIENT_MESSAGE_BYTES];
    enum wbcache_op_kind op; /* of one key */
    void *tag;               /* pipelined */
    size_t first, n;         /* wbcache_many.c: its part of the sorted items */
};

/* A connection's life.
 *
 *   DOWN --> CONNECTING --> HELLO --> READY
 *    ^            |           |         |
 *    +------------+-----------+---------+   lost, refused, or too late
 *
 * HELLO has sent a Topology question and waits for the first answer: a paused process still accepts
 * connections, and a write must not be sent to one. Only READY takes calls, unless it is suspect: silent
 * while something is owed. */
enum conn_phase { CONN_DOWN, CONN_CONNECTING, CONN_HELLO, CONN_READY };

struct client_conn {
    enum conn_phase phase;
    int node; /* index in the map, and in wbcache.conns */
    int fd;
    struct addrinfo *addresses;
    struct addrinfo *trying;
    uint64_t phase_since_ms;
    uint64_t retry_at_ms; /* DOWN */
    unsigned failures;    /* in a row */
    struct buf out;
    size_t out_sent;      /* of out */
    uint64_t stream_sent; /* bytes that the kernel took since the connection began */
    uint64_t stream_queued;
    struct conn_input in;
    struct list calls; /* in the order sent */
    bool asking;       /* a Topology question is out */
    bool suspect;
    bool goodbye;             /* its node said goodbye: what it has not answered, it has not done */
    uint64_t silent_since_ms; /* the oldest request sent since something was received; 0: nothing owed */
    uint64_t last_io_ms;
    char error[128]; /* why it was lost last */
};

/* What this handle has with one group. */
struct client_session {
    uint64_t id;       /* 0: none */
    uint64_t sequence; /* the last one given */
    struct list calls; /* numbered in this session and not DONE, by sequence */
    struct call *opening;
};

struct wbcache {
    struct wbcache_options options; /* with the defaults filled in */
    struct cluster_map map;
    struct client_conn conns[CLUSTER_MAP_NODES_MAX]; /* by map index; the first n_conns are initialised */
    unsigned n_conns;
    struct list waiting;     /* in the order in which they came to wait */
    struct list by_deadline; /* earliest first */
    struct list done;        /* pipelined, not yet received */
    struct list free_calls;
    struct call **places; /* by call.place; NULL: free */
    uint32_t n_places;
    uint32_t *free_places;
    uint32_t n_free_places;
    uint64_t generation;
    size_t blocking;    /* calls of blocking functions that are not DONE */
    size_t pipelined;   /* sent and not received */
    struct call *shown; /* whose reply the caller is looking at */
    struct client_session sessions[LIMIT_GROUPS];
    struct wbcache_key *scan_keys; /* of the scan's last step */
    void *shown_rows;              /* what the last call of an operator's has given, in one piece */
    bool leader_missed;            /* some call cannot go for want of a leader */
    uint64_t ask_at_ms;            /* next Topology question */
    unsigned ask_turn;
    unsigned stale_turn; /* whose turn it is to answer stale reads */
    uint64_t random;
    char errmsg[512];
};

/* ---- client_loop.c ---- */

uint64_t client_now_ms(void);
uint64_t client_random(struct wbcache *cache);
/* One turn: send what can be sent, wait for at most @wait_ms for something to happen, handle it. */
void client_turn(struct wbcache *cache, uint64_t wait_ms);
/* Turn until no blocking call is left. */
void client_run_blocking(struct wbcache *cache);
/* When a connection silent since then is suspect. */
uint64_t client_suspect_ms(const struct wbcache *cache);
/* Make a connection for each node of the map. */
void client_sync_conns(struct wbcache *cache);

/* ---- client_call.c ---- */

/* A call with an empty body, or NULL without memory. Give it back with client_call_free once DONE or not
 * begun. */
struct call *client_call_new(struct wbcache *cache, enum call_kind kind, enum call_owner owner);
void client_call_free(struct wbcache *cache, struct call *call);
/* Begin: it is WAITING, or already further, when this returns. deadline_ms must be set; NOMEM: it isn't
 * begun. */
int client_call_begin(struct wbcache *cache, struct call *call, uint64_t now_ms);
/* Send what waits and can be sent. Sets leader_missed. */
void client_calls_dispatch(struct wbcache *cache, uint64_t now_ms);
/* End what is past its deadline. */
void client_calls_expire(struct wbcache *cache, uint64_t now_ms);
/* When the next call's pause or deadline ends; UINT64_MAX if none. */
uint64_t client_calls_next_ms(const struct wbcache *cache, uint64_t now_ms);
/* End with @code without an answer; @message may be NULL. */
void client_call_finish(struct wbcache *cache, struct call *call, int code, const char *message);
/* Ask @conn (HELLO or READY) for the topology, unless it is being asked. */
void client_ask_topology(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms);
/* @conn is being lost, with conn->error: end its calls or let them wait again. If it @failed, calls that only
 * its node can answer end as well, wherever they are. */
void client_calls_lost(struct wbcache *cache, struct client_conn *conn, bool failed, uint64_t now_ms);
/* @conn is suspect: let what may be tried again wait for another node. */
void client_calls_recall(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms);
/* A whole frame came: an answer, the node's goodbye, or something that makes no sense. After the two latter
 * the connection is of no more use. */
enum client_frame { CLIENT_FRAME_ANSWER, CLIENT_FRAME_GOODBYE, CLIENT_FRAME_SENSELESS };
enum client_frame client_call_answered(
    struct wbcache *cache, struct client_conn *conn, struct bytes payload, uint64_t now_ms);
/* Forget every call, DONE or not. */
void client_calls_drop(struct wbcache *cache);
/* The group that @call goes to. */
uint32_t client_call_group(const struct wbcache *cache, const struct call *call);

/* ---- client_session.c ---- */

void client_sessions_init(struct wbcache *cache);
/* May @call be sent, as far as its session goes? A write gets its number now; if there is no session yet, one
 * is being opened, and it waits; so do calls behind it, for their order. */
bool client_session_ready(struct wbcache *cache, struct call *call, uint64_t now_ms);
/* @call's place in its session for the attempt that is made now. False: it has none. */
bool client_session_once(struct wbcache *cache, struct call *call, struct request_once *once);
/* An opening ended; @response may be NULL. */
void client_session_opened(
    struct wbcache *cache, struct call *opening, int code, const Wbrpc__Response *response);
/* The nodes do not know @call's session any more, and it was not executed: it gets a new number. */
void client_session_expired(struct wbcache *cache, struct call *call);

/* ---- client_conn.c ---- */

void client_conn_init(struct client_conn *conn, int node);
void client_conn_deinit(struct client_conn *conn);
/* Begin to connect a DOWN connection whose pause is over; otherwise nothing. Resolves a name on the spot. */
void client_conn_start(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms);
/* May it take a call now? */
bool client_conn_usable(const struct client_conn *conn);
/* poll's events for it, 0 when DOWN. */
short client_conn_events(const struct client_conn *conn);
void client_conn_on_events(struct wbcache *cache, struct client_conn *conn, short revents, uint64_t now_ms);
/* Append a request. False: no memory. */
bool client_conn_queue(struct client_conn *conn, uint64_t id, uint32_t deadline_ms,
    const struct request_once *once, struct bytes body, uint64_t now_ms);
/* Hand to the kernel what it takes. */
void client_conn_flush(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms);
/* After a rest: notice that the peer has closed or said goodbye, before a write is sent into the void. */
void client_conn_check_rested(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms);
/* Its timeouts: connecting, hello, silence. */
void client_conn_tick(struct wbcache *cache, struct client_conn *conn, uint64_t now_ms);
uint64_t client_conn_next_ms(const struct wbcache *cache, const struct client_conn *conn, uint64_t now_ms);
/* Close it. @failed: it counts as a failure of the node, and the next try waits. */
void client_conn_lose(
    struct wbcache *cache, struct client_conn *conn, const char *why, bool failed, uint64_t now_ms);

/* ---- wbcache.c ---- */

/* Set the handle's message and return @code. */
int client_fail(struct wbcache *cache, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Take @call's outcome as the result of the public function @what, without freeing it. */
int client_outcome(struct wbcache *cache, const char *what, const struct call *call);
/* Start of each public call: forget the last message and reply. */
void client_enter(struct wbcache *cache);
/* A key's and a value's lengths and pointers. The name of the function is @what. */
int client_check_key(struct wbcache *cache, const char *what, const void *key, size_t key_len);
int client_check_value(struct wbcache *cache, const char *what, const void *value, size_t value_len);
/* Wait until the group count is known. OK, or UNAVAILABLE at @deadline_ms. */
int client_need_topology(struct wbcache *cache, uint64_t deadline_ms);

/* ---- wbcache_admin.c ---- */

/* Ask the leader of @group; the public function is @what. OK: *@out is the answered call, which is freed with
 * the next public call, or before by cache->shown. */
int client_ask_group(struct wbcache *cache, const char *what, enum call_kind kind, uint32_t group,
    Wbrpc__Request__OpCase op, const ProtobufCMessage *message, const Wbrpc__Response **out);
/* The node answered OK, and not what was asked. */
int client_misfit(struct wbcache *cache, const char *what);
/* The group is one of the cluster's, whose topology is known then. */
int client_check_group(struct wbcache *cache, const char *what, unsigned group);
/* Memory for @n rows of @size that the caller looks at until the next public call. NULL: no memory. */
void *client_show_rows(struct wbcache *cache, size_t n, size_t size);

/* Keys of one group at a time, in pieces that fit into a request. */
struct client_pieces {
    const struct wbcache_key *keys;
    size_t n;
    uint32_t *groups; /* of each key; malloc'd */
    size_t next;
    size_t keys_max;                            /* of a piece */
    ProtobufCBinaryData at[LIMIT_REQUEST_KEYS]; /* the piece */
    size_t items[LIMIT_REQUEST_KEYS];           /* which of the keys they are */
    size_t n_at;
    uint32_t group; /* of the piece */
};
/* Check the keys and sort them out. OK: free it with client_pieces_free. */
int client_pieces_begin(struct wbcache *cache, const char *what, const struct wbcache_key *keys, size_t n,
    size_t keys_max, struct client_pieces **out);
/* The next piece. False: that was all. */
bool client_pieces_next(struct wbcache *cache, struct client_pieces *p);
void client_pieces_free(struct client_pieces *p);
/* As the library shows them; NULL: none. */
struct wbcache_flush_settings client_settings(const Wbrpc__FlushSettings *from);
/* One quarantined row as the library shows it. */
void client_show_quarantined(
    const Wbrpc__QuarantinedKey *from, uint32_t group, struct wbcache_quarantined *to);

#endif
