/* Commands in the Redis protocol, as they come from clients: arrays of bulk strings, or inline text. Pure:
 * works on bytes that are there, and never looks at a byte twice for nothing: a command that comes in a
 * thousand pieces costs no more than one that comes whole (it remembers how far it is). Source: Redis 7.0.15,
 * tried by hand: its error texts are kept, and so is what it lets pass (the byte after a carriage return and
 * the two after a bulk string may be any; a NUL in a line hides the line's end). The one difference: how long
 * a line may be does not depend on the pieces in which it comes. */
#ifndef WB_RPC_RESP_PARSER_H
#define WB_RPC_RESP_PARSER_H

#include "proto/base/arena.h"
#include "proto/base/bytes.h"

enum {
    RESP_INLINE_BYTES_MAX = 64 * 1024,       /* of an inline command's line, and of a count's or a length's */
    RESP_ARGS_MAX = INT32_MAX,               /* more is a protocol error */
    RESP_BULK_BYTES_MAX = 512 * 1024 * 1024, /* likewise */
    RESP_SPANS_FEW = 8,                      /* a command of so many arguments takes no memory of its own */
    RESP_NAME_BYTES = 128,                   /* kept of the first argument of a command that is too big */
    RESP_ERROR_BYTES = 64,
};

enum resp_parsed {
    RESP_MORE,    /* the command is not all there */
    RESP_COMMAND, /* here it is */
    RESP_EMPTY,   /* an empty line or array: nothing to do, nothing to answer */
    RESP_TOO_BIG, /* a well-formed command, all of which has come by now, and which is over command_bytes_max:
                     it was skipped. Its first argument (cut at RESP_NAME_BYTES) is told */
    RESP_BROKEN,  /* not the protocol: `error` is the reply ("ERR Protocol error: ..."), and the connection
                     ends */
};

/* Where an argument is: from the beginning of the command. */
struct resp_span {
    size_t at, len;
};

struct resp_parser {
    size_t command_bytes_max; /* of an array with all its headers; inline commands have their own limit */
    const char *error;        /* RESP_BROKEN: lives as long as the parser */
    bool skipping;            /* a too big command is under way: what came of it may be consumed already */
    /* private from here on */
    int stage;
    enum resp_parsed ready;  /* what the next resp_parse says; RESP_MORE: not known yet */
    size_t at;               /* how far the input at hand is understood */
    size_t seen;             /* and how far the line there was searched for its end */
    bool hidden;             /* the line there has a NUL: its end will not be found */
    size_t args_left;        /* that are not finished; of the array at hand */
    size_t body_left;        /* BODY: of a bulk string, with its line end */
    size_t n, cap;           /* of spans: arguments so far */
    struct resp_span *spans; /* few, or owned */
    struct resp_span few[RESP_SPANS_FEW];
    size_t name_len;
    uint8_t name[RESP_NAME_BYTES];
    char error_text[RESP_ERROR_BYTES];
};

/* A parser lies at one address until its deinit. */
void resp_parser_init(struct resp_parser *p, size_t command_bytes_max);
void resp_parser_deinit(struct resp_parser *p);

/* Look at @input, which begins where the last consumed byte ended, with nothing changed that was in it
 * before. Always sets *@consumed: so many bytes are done with (0 with RESP_MORE, unless a too big command is
 * being skipped). RESP_COMMAND: *@args (in @arena) are the *@n arguments, at least one, borrowed from @input,
 * or from @arena where an inline command's quotes had to be undone. RESP_TOO_BIG: *@args is one, in @arena.
 * RESP_BROKEN comes again for ever.
 */
enum resp_parsed resp_parse(struct resp_parser *p, struct bytes input, struct arena *arena, size_t *consumed,
    struct bytes **args, uint32_t *n);
/* Would resp_parse say something else than RESP_MORE? Costs nothing twice: resp_parse goes on from there. */
bool resp_parser_whole(struct resp_parser *p, struct bytes input);
/* Memory beyond the struct itself. */
size_t resp_parser_bytes(const struct resp_parser *p);

#endif
