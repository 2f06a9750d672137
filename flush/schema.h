/* All SQL that we speak, as text for a given schema. Pure.
 *
 *     entry        the rows that the cluster caches: strings have a value, hashes have fields
 * (fields_json.h); entry_expires_at is its index of those that expire flush_state  the fence: one row a group
 * (design: "The fence row") quarantine   what the database refuses, for people to look at: nobody reads it
 * back freshness    a view of one row: how new `entry` is meta         one row: the version of this schema
 *     flush_advance(...)  checks the fence and moves it, or raises
 *     flush_isolate(...)  writes rows, but for those that it finds to be refused
 *     watch(boolean)      has the changes of others told by NOTIFY (entry_changed), or not */
#ifndef WB_FLUSH_SCHEMA_H
#define WB_FLUSH_SCHEMA_H

#include <stdbool.h>

/* The version of tables and functions that this code writes. A database with another one is refused. */
enum { SCHEMA_VERSION = 4 };

#define SCHEMA_DEFAULT_NAME "wb"
/* Of table entry, while it is watched. */
#define SCHEMA_WATCH_TRIGGER "wbcache_changed"

enum schema_sql {
    SCHEMA_BEGIN,
    SCHEMA_COMMIT,
    /* $1 text, the flush_state table's name -> in_recovery bool, read_only bool, table_exists bool */
    SCHEMA_SERVER,
    /* $1 text -> waits until no other claim of this schema runs, until the transaction's end */
    SCHEMA_CLAIM_LOCK,
    SCHEMA_SCHEMA_EXISTS, /* $1 text, the schema's quoted name -> its oid, or NULL */
    SCHEMA_CREATE_SCHEMA, /* only where it is missing: it needs a right that a careful operator does not give
                           */
    SCHEMA_CREATE_ENTRY,
    SCHEMA_CREATE_EXPIRY_INDEX,
    SCHEMA_CREATE_STATE,
    SCHEMA_CREATE_QUARANTINE,
    SCHEMA_CREATE_QUARANTINE_INDEX,
    SCHEMA_CREATE_FRESHNESS,
    SCHEMA_CREATE_META,
    SCHEMA_CREATE_META_INDEX,
    SCHEMA_CREATE_ADVANCE,
    SCHEMA_CREATE_ISOLATE,
    SCHEMA_CREATE_CHANGED,
    SCHEMA_CREATE_WATCH,
    SCHEMA_COMMENTS,
    SCHEMA_INSERT_META, /* $1 int4 */
    SCHEMA_SELECT_META, /* -> schema_version int4 */
    SCHEMA_SAME_OWNER,  /* what is new belongs to the role that table meta belongs to */
    /* -> group_id int4, cluster_id uuid, group_count int4, version_base int8, epoch int8, last_batch int8 */
    SCHEMA_SELECT_STATE,
    SCHEMA_SELECT_STATE_LOCKED, /* the same, FOR UPDATE */
    SCHEMA_DELETE_STATE,
    SCHEMA_DELETE_QUARANTINE,
    /* $1 uuid, $2 int4 group_count, $3 int8 version_base, $4 int8 epoch */
    SCHEMA_INSERT_STATE,
    /* $1 int4 group, $2 uuid, $3 int4 group_count, $4 int8 term, $5 int8 lock -> pid int4, bool: ends the
     * group's backends whose transactions are older than the lock_timeout, unless a newer term has the fence
     */
    SCHEMA_END_HOLDERS,
    /* $1 int8 lock: marks the transaction as one of the group's, and the session as one that flushes */
    SCHEMA_TAKE_MARK,
    /* $1 int4 group, $2 uuid, $3 int4 group_count, $4 int8 term, $5 int4 schema version -> epoch int8,
     * last_batch int8, the server's clock timestamptz; no row when something does not match */
    SCHEMA_TAKE,
    /* $1 int4 group -> schema_version int4, cluster_id uuid, group_count int4, term int8 (NULL without a row)
     */
    SCHEMA_TAKE_LOOK,
    /* $1 int4 group, $2 uuid, $3 int4 group_count, $4 int8 epoch, $5 int8 lock, $6 int8 predecessor, $7 int8
     * batch (the same as $6: nothing moves), $8 timestamptz fresh_as_of (NULL: as it was), $9 int8
     * quarantined, $10 int8 lost, $11 bool recovering -> the server's clock timestamptz */
    SCHEMA_ADVANCE,
    SCHEMA_UPSERT, /* of strings: $1 bytea[] keys, $2 bytea[] values, $3 int8[] versions, $4 timestamptz[] */
    /* of whatever: the same, and $5 bytea[]: of each hash its JSON text in UTF-8, while its value is NULL */
    SCHEMA_UPSERT_HASHES,
    SCHEMA_DELETE,    /* $1 bytea[] keys */
    SCHEMA_IMMEDIATE, /* what is checked at COMMIT is checked at each statement, in this transaction */
    /* $1 to $5 as of SCHEMA_UPSERT_HASHES ($5 may have no element at all), $6 as of SCHEMA_DELETE, $7 text,
     * flush_error_row_pattern() -> tries int4, key bytea, sqlstate text, message text: the rows that are
     * refused; one row with key NULL when none is */
    SCHEMA_ISOLATE,
    /* $1 int4 group, $2 bytea[] keys: removes the group's other ones from quarantine */
    SCHEMA_MIRROR_DELETE,
    /* $1 int4 group, $2 bytea[] keys, $3 bool[] deleted, $4 bytea[] values, $5 int4[] value_bytes, $6 int8[]
     * versions, $7 text[] sqlstates, $8 text[] messages, $9 int4[] attempts, $10 timestamptz[] since, $11
     * timestamptz[] refused_at, $12 bytea[] fields, as JSON text in UTF-8 */
    SCHEMA_MIRROR,
    SCHEMA_LISTEN,      /* to the schema's channel */
    SCHEMA_WATCHED,     /* $1 text, the entry table's quoted name -> is it watched? bool */
    SCHEMA_IN_RECOVERY, /* -> in_recovery bool */
    /* $1 int4 group, $2 uuid, $3 int4 group_count, $4 bytea[] keys, $5 int4 value_bytes_max, $6 int4
     * fields_bytes_max -> in_recovery bool, last_batch int8 (NULL without our fence row), key bytea,
     * value_bytes int4, value bytea (NULL when it is longer than $5), version int8, expires_at timestamptz,
     * is_hash bool, fields text[][]: names, each with its value (NULL when there is none or it is no object;
     * empty when they, and 4 bytes for each text, are longer than $6). At least one row: with key NULL when
     * none of the keys is there. */
    SCHEMA_LOAD,
    /* $1 timestamptz, $2 int8 rows_max, $3 int4 key_bytes_max, $4 int4 value_bytes_max, $5 int4
     * fields_bytes_max (see SCHEMA_LOAD) -> in_recovery bool, key bytea: those that expired before $1, the
     * earliest first; rows that are not ours are passed over, where that can be seen without reading much */
    SCHEMA_FIND_EXPIRED,
    SCHEMA_FIND_LIMIT, /* $1 text, a statement_timeout for the rest of the transaction */
    SCHEMA_LOAD_SETUP, /* once in each session that loads */
    SCHEMA_SQL_COUNT,
};

/* A name that PostgreSQL takes as it is, quoted: 1 to 63 bytes. */
bool schema_name_valid(const char *schema);

/* The text of @which for the valid name @schema. malloc'd for the caller. Cannot fail. */
char *schema_sql(enum schema_sql which, const char *schema);

/* The channel on which watched changes are told: "wbcache_" and the name of the schema, or as much of it as a
 * channel's name can hold, and a hash. The payload is a key in hexadecimal digits, or "*" for any. malloc'd
 * for the caller. */
char *schema_channel(const char *schema);

/* SQL for psql that makes a schema of this version out of one of @from_version, in one transaction, or
 * changes nothing. malloc'd for the caller; NULL when there is no way from that version. */
char *schema_migration_sql(int from_version, const char *schema);

/* The quoted name of the schema, or of its table @table unless that is NULL. malloc'd for the caller. */
char *schema_quoted(const char *schema, const char *table);

#endif
