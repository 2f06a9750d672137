/* Finding commands in the table, what their arguments are, and what is refused on purpose. */
#include "node/redis/command_rows.h"

#include <string.h>

#include "node/redis/local.h"

enum { NAME_CHARS = 40 }; /* more than the longest name with its terminator */

static char lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : (char)c;
}

/* Put @text in lower case behind the @at characters that @out has. False: no command has such a long name, or
 * one with a NUL. */
static bool append_name(char out[NAME_CHARS], size_t at, struct bytes text)
{
    if (text.len == 0 || text.len >= NAME_CHARS - at) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == 0) {
            return false;
        }
        out[at + i] = lower(text.data[i]);
    }
    out[at + text.len] = 0;
    return true;
}

static const struct redis_command *find(const char *name)
{
    uint32_t from = 0, to = redis_command_rows_n;
    while (from < to) {
        uint32_t middle = (from + to) / 2;
        int order = strcmp(name, redis_command_rows[middle].name);
        if (order == 0) {
            return &redis_command_rows[middle];
        }
        if (order < 0) {
            to = middle;
        } else {
            from = middle + 1;
        }
    }
    return NULL;
}

const struct redis_command *redis_command_find(struct bytes name)
{
    char text[NAME_CHARS];
    if (!append_name(text, 0, name) || strchr(text, '|') != NULL) {
        return NULL;
    }
    return find(text);
}

const struct redis_command *redis_command_named(struct bytes name)
{
    char text[NAME_CHARS];
    return append_name(text, 0, name) ? find(text) : NULL;
}

const struct redis_command *redis_command_sub(
    const struct redis_command *command, const struct bytes *args, uint32_t n)
{
    if (command->run != NULL || !redis_command_is_container(command)) {
        return command;
    }
    char text[NAME_CHARS];
    size_t len = strlen(command->name);
    memcpy(text, command->name, len);
    text[len] = '|';
    /* COMMAND is a command by itself, too. */
    if (n < 2) {
        return command->local != NULL ? command : NULL;
    }
    return append_name(text, len + 1, args[1]) ? find(text) : NULL;
}

bool redis_command_arity_fits(const struct redis_command *command, uint32_t n)
{
    return command->arity >= 0 ? n == (uint32_t)command->arity : n >= (uint32_t)-command->arity;
}

uint32_t redis_command_keys(
    const struct redis_command *command, const struct bytes *args, uint32_t n, uint32_t *out, uint32_t max)
{
    (void)args;
    if (command->first_key <= 0) {
        return 0;
    }
    int64_t last = command->last_key >= 0 ? command->last_key : (int64_t)n + command->last_key;
    uint32_t found = 0;
    for (int64_t i = command->first_key; i <= last && i < (int64_t)n; i += command->key_step) {
        if (found < max) {
            out[found] = (uint32_t)i;
        }
        found++;
    }
    return found;
}

const struct redis_command *redis_commands(uint32_t *n)
{
    *n = redis_command_rows_n;
    return redis_command_rows;
}

bool redis_command_is_sub(const struct redis_command *command)
{
    return strchr(command->name, '|') != NULL;
}

bool redis_command_is_container(const struct redis_command *command)
{
    const struct redis_command *next = command + 1;
    size_t len = strlen(command->name);
    return next < redis_command_rows + redis_command_rows_n && strncmp(next->name, command->name, len) == 0 &&
           next->name[len] == '|';
}

bool redis_command_is_refused(const struct redis_command *command)
{
    return command->local == redis_local_refused;
}

/* ---- What is refused ---- */

struct refused {
    const char *names, *why;
};

static const struct refused refused[] = {
    {"blmove blmpop blpop brpop brpoplpush lindex linsert llen lmove lmpop lpop lpos lpush lpushx lrange "
     "lrem lset "
     "ltrim rpop rpoplpush rpush rpushx",
        "there are strings and hashes, no lists"},
    {"sadd scard sdiff sdiffstore sinter sintercard sinterstore sismember smembers smismember smove spop "
     "srandmember "
     "srem sscan sunion sunionstore",
        "there are strings and hashes, no sets"},
    {"bzmpop bzpopmax bzpopmin zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard zinterstore "
     "zlexcount "
     "zmpop zmscore zpopmax zpopmin zrandmember zrange zrangebylex zrangebyscore zrangestore zrank zrem "
     "zremrangebylex zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank "
     "zscan "
     "zscore zunion zunionstore",
        "there are strings and hashes, no sorted sets"},
    {"xack xadd xautoclaim xclaim xdel xgroup xinfo xlen xpending xrange xread xreadgroup xrevrange xsetid "
     "xtrim",
        "there are strings and hashes, no streams"},
    {"geoadd geodist geohash geopos georadius georadius_ro georadiusbymember georadiusbymember_ro geosearch "
     "geosearchstore",
        "there are strings and hashes, no places"},
    {"pfadd pfcount pfdebug pfmerge pfselftest", "there are strings and hashes, no sketches of sets"},
    {"bitcount bitfield bitfield_ro bitop bitpos getbit setbit lcs",
        "strings are read and written as bytes only"},
    {"hexpire hexpireat hexpiretime hgetdel hgetex hpersist hpexpire hpexpireat hpexpiretime hpttl hsetex "
     "httl",
        "keys expire, fields of hashes don't"},
    {"sort sort_ro", "there are no lists or sets; SQL can sort"},
    {"eval eval_ro evalsha evalsha_ro fcall fcall_ro function script",
        "there are no scripts; WATCH, MULTI and EXEC do several steps as one"},
    {"psubscribe publish pubsub punsubscribe spublish ssubscribe subscribe sunsubscribe unsubscribe",
        "there are no channels; SQL has LISTEN and NOTIFY"},
    {"flushall flushdb", "it would delete the rows in PostgreSQL; delete keys by name"},
    {"move swapdb", "there is one database only, as in every Redis cluster"},
    {"dump restore restore-asking migrate", "values go to PostgreSQL, not to other servers"},
    {"failover replicaof slaveof replconf psync sync role",
        "leaders are elected; CLUSTER NODES and INFO replication say who leads"},
    {"bgrewriteaof bgsave save lastsave", "every acknowledged write is on the disks of a quorum already"},
    {"acl", "there are no users"},
    {"debug latency lolwut module monitor shutdown slowlog",
        "it is an administrator's; see docs/operations.md for what this cluster has"},
};

/* Is the word @name one of @names? */
static bool has_word(const char *names, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = strstr(names, name); at != NULL; at = strstr(at + 1, name)) {
        if ((at == names || at[-1] == ' ') && (at[len] == 0 || at[len] == ' ')) {
            return true;
        }
    }
    return false;
}

const char *redis_refusal(struct bytes name)
{
    char text[NAME_CHARS];
    if (!append_name(text, 0, name) || strchr(text, ' ') != NULL) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (has_word(refused[i].names, text)) {
            return refused[i].why;
        }
    }
    return NULL;
}

const char *redis_refused_names(uint32_t i, const char **why)
{
    if (i >= sizeof(refused) / sizeof(refused[0])) {
        return NULL;
    }
    *why = refused[i].why;
    return refused[i].names;
}
