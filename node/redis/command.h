/* The commands of the Redis front door: one row of a table for each, from which the dispatcher, COMMAND and
 * the documentation are made. A command is one of three kinds: keyed  `run` evaluates it inside a transaction
 * on the group of its keys (see transaction.h); local  `local` composes the answer from what the node knows,
 * without any group; session  neither: the dispatcher (front_redis*.c) has code of its own for it, as for
 * MULTI. Pure. */
#ifndef WB_NODE_REDIS_COMMAND_H
#define WB_NODE_REDIS_COMMAND_H

#include "node/redis/client.h"
#include "node/redis/node_view.h"
#include "node/transaction.h"
#include "rpc/resp_writer.h"

struct redis_command;

/* One keyed command at its evaluation. Errors are replies; a command that replies with one has written
 * nothing. It may be called again for the same request (its reply is begun anew), so it changes nothing but
 * the transaction. */
struct redis_call {
    const struct redis_command *command;
    const struct bytes *args; /* args[0] is the command's name as the client spelled it */
    uint32_t n;
    struct transaction *t;
    struct resp_writer *out;
    uint64_t random; /* another number for each request */
};

/* One local command. It may change its client's settings. */
struct redis_local_call {
    const struct redis_command *command; /* the subcommand, where there is one */
    const struct bytes *args;
    uint32_t n;
    struct redis_client *client;
    const struct redis_node_view *view;
    struct resp_writer *out;
    uint64_t random;
};

enum redis_flag {
    REDIS_WRITE = 1 << 0,
    REDIS_READONLY = 1 << 1,
    REDIS_DENYOOM = 1 << 2,
    REDIS_FAST = 1 << 3,
    REDIS_LOADING = 1 << 4,
    REDIS_STALE = 1 << 5,
    REDIS_NO_MULTI = 1 << 6,
    REDIS_NO_AUTH = 1 << 7,
    REDIS_ADMIN = 1 << 8,
    REDIS_BLOCKING = 1 << 9,
    REDIS_NOSCRIPT = 1 << 10,
    REDIS_SKIP_MONITOR = 1 << 11,
    REDIS_SKIP_SLOWLOG = 1 << 12,
    REDIS_SENTINEL = 1 << 13,
    REDIS_MOVABLEKEYS = 1 << 14,
    REDIS_NO_ASYNC_LOADING = 1 << 15,
    REDIS_ALLOW_BUSY = 1 << 16,
};

struct redis_command {
    const char *name;                  /* lower case; of a subcommand "client|setname" */
    int arity;                         /* with the name; negative: at least so many. As in Redis' COMMAND */
    uint32_t flags;                    /* enum redis_flag */
    int first_key, last_key, key_step; /* as in Redis' COMMAND; 0: it has none */
    void (*run)(struct redis_call *call);
    void (*local)(struct redis_local_call *call);
    /* Keyed, and it writes its keys without looking at them, with these arguments. NULL: it always looks. */
    bool (*blind)(const struct bytes *args, uint32_t n);
    const char *since;   /* the version of Redis that had it first; of our own commands, ours */
    const char *group;   /* string, hash, generic, transactions, connection, server, cluster, wbcache */
    const char *summary; /* for COMMAND DOCS and the documentation: one sentence, in our words */
    const char *acl;  /* its ACL categories as Redis names them, with spaces between: "@read @string @fast" */
    const char *note; /* NULL, or where it differs from Redis, for the documentation; of refused ones: why */
    const char *syntax;    /* its arguments: see local_docs.c. NULL: none */
    const char *tips;      /* NULL, or its tips of COMMAND INFO, with spaces between */
    const char *key_flags; /* with keys: the flags of its key specification, "RO access"; where the first and
                              the second key have their own, two such with ';' between */
};

/* ---- command_table.c ---- */

/* The row of the command with this name, in whatever case; NULL: there is none. Not subcommands. */
const struct redis_command *redis_command_find(struct bytes name);
/* The same, of subcommands as well: "client|id". */
const struct redis_command *redis_command_named(struct bytes name);
/* The subcommand that @args name, when @command is a container (CLIENT, CLUSTER, COMMAND, CONFIG, OBJECT,
 * MEMORY); NULL: an unknown one, or @n is 1 (COMMAND alone is a command, too). Of others: @command itself. A
 * container does nothing itself: when this is NULL, the error is of its arity with @n 1, else
 * redis_error_unknown_sub. */
const struct redis_command *redis_command_sub(
    const struct redis_command *command, const struct bytes *args, uint32_t n);
/* May it be called with so many arguments, its name included? */
bool redis_command_arity_fits(const struct redis_command *command, uint32_t n);
/* The keys of a command with a fitting arity: visits args[first], args[first + step] and so on. Returns how
 * many; at most @max are put into @out (indexes into @args). */
uint32_t redis_command_keys(
    const struct redis_command *command, const struct bytes *args, uint32_t n, uint32_t *out, uint32_t max);
/* All rows, by name, for COMMAND and the documentation: containers, then their subcommands behind them. */
const struct redis_command *redis_commands(uint32_t *n);
/* Is it a subcommand, or a container of some? */
bool redis_command_is_sub(const struct redis_command *command);
bool redis_command_is_container(const struct redis_command *command);
/* A subcommand that Redis has and that is refused, by its local function: for the documentation; COMMAND
 * hides it. */
bool redis_command_is_refused(const struct redis_command *command);
/* What is refused on purpose, for the documentation and a better error than "unknown command": NULL if @name
 * is not among them, else why. */
const char *redis_refusal(struct bytes name);
/* The names that are refused for one reason, with spaces between, and the reason; NULL: there is no @i-th. */
const char *redis_refused_names(uint32_t i, const char **why);

/* ---- errors.c: texts that many commands share, exactly as Redis has them ---- */

/* "ERR wrong number of arguments for 'x' command" (x: the table's name). */
void redis_error_arity(struct resp_writer *w, const struct redis_command *command);
/* "ERR unknown command 'x', with args beginning with: 'a' 'b' " */
void redis_error_unknown(struct resp_writer *w, const struct bytes *args, uint32_t n);
/* "ERR unknown subcommand 'x'. Try CONTAINER HELP." */
void redis_error_unknown_sub(struct resp_writer *w, const struct bytes *args, uint32_t n);
/* "ERR Unsupported option x" */
void redis_error_option(struct resp_writer *w, struct bytes option);
extern const char redis_error_syntax[]; /* "ERR syntax error" */
extern const char
    redis_error_wrongtype[]; /* "WRONGTYPE Operation against a key holding the wrong kind of value" */
extern const char redis_error_integer[]; /* "ERR value is not an integer or out of range" */
extern const char redis_error_float[];   /* "ERR value is not a valid float" */

/* ---- The commands, by file ---- */
/* strings.c, strings_set.c, strings_number.c (INCR... INCRBYFLOAT), strings_range.c */
void redis_get(struct redis_call *c), redis_set(struct redis_call *c), redis_mget(struct redis_call *c);
void redis_mset(struct redis_call *c), redis_msetnx(struct redis_call *c), redis_getdel(struct redis_call *c);
void redis_getex(struct redis_call *c), redis_setex(struct redis_call *c), redis_psetex(struct redis_call *c);
void redis_setnx(struct redis_call *c), redis_getset(struct redis_call *c), redis_incr(struct redis_call *c);
void redis_decr(struct redis_call *c), redis_incrby(struct redis_call *c), redis_decrby(struct redis_call *c);
void redis_incrbyfloat(struct redis_call *c), redis_append(struct redis_call *c),
    redis_strlen(struct redis_call *c);
void redis_getrange(struct redis_call *c), redis_setrange(struct redis_call *c),
    redis_substr(struct redis_call *c);
bool redis_set_blind(const struct bytes *args, uint32_t n);
bool redis_always_blind(const struct bytes *args, uint32_t n);
/* keys.c, keys_expire.c */
void redis_del(struct redis_call *c), redis_exists(struct redis_call *c), redis_type(struct redis_call *c);
void redis_expire(struct redis_call *c), redis_pexpire(struct redis_call *c),
    redis_expireat(struct redis_call *c);
void redis_pexpireat(struct redis_call *c), redis_ttl(struct redis_call *c), redis_pttl(struct redis_call *c);
void redis_expiretime(struct redis_call *c), redis_pexpiretime(struct redis_call *c);
void redis_persist(struct redis_call *c), redis_touch(struct redis_call *c),
    redis_rename(struct redis_call *c);
void redis_renamenx(struct redis_call *c), redis_copy(struct redis_call *c);
void redis_object_encoding(struct redis_call *c), redis_object_refcount(struct redis_call *c);
void redis_object_idletime(struct redis_call *c), redis_object_freq(struct redis_call *c);
void redis_memory_usage(struct redis_call *c);
/* hashes.c, hashes_number.c, hashes_scan.c (HSCAN, HRANDFIELD) */
void redis_hset(struct redis_call *c), redis_hmset(struct redis_call *c), redis_hsetnx(struct redis_call *c);
void redis_hget(struct redis_call *c), redis_hmget(struct redis_call *c), redis_hgetall(struct redis_call *c);
void redis_hdel(struct redis_call *c), redis_hexists(struct redis_call *c), redis_hlen(struct redis_call *c);
void redis_hkeys(struct redis_call *c), redis_hvals(struct redis_call *c),
    redis_hstrlen(struct redis_call *c);
void redis_hincrby(struct redis_call *c), redis_hincrbyfloat(struct redis_call *c);
void redis_hscan(struct redis_call *c), redis_hrandfield(struct redis_call *c);
/* The local ones are in local.h. */

#endif
