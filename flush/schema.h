/* All SQL that we speak, as text for a given schema. Pure.
 *
 *     entry        the rows that the cluster caches; entry_expires_at is its index of those that expire
 *     flush_state  the fence: one row a group (design: "The fence row")
 *     meta         one row: the version of this schema
 *     flush_advance(...)  checks the fence and moves it, or raises */
#ifndef WB_FLUSH_SCHEMA_H
#define WB_FLUSH_SCHEMA_H

#include <stdbool.h>

/* The version of tables and function that this code writes. A database with another one is refused. */
enum { SCHEMA_VERSION = 2 };

#define SCHEMA_DEFAULT_NAME "wb"

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
    SCHEMA_CREATE_META,
    SCHEMA_CREATE_META_INDEX,
    SCHEMA_CREATE_ADVANCE,
    SCHEMA_INSERT_META, /* $1 int4 */
    SCHEMA_SELECT_META, /* -> schema_version int4 */
    /* Statements that an operator runs by hand to make version 2 of version 1. */
    SCHEMA_MIGRATE_1,
    /* -> group_id int4, cluster_id uuid, group_count int4, version_base int8, epoch int8, last_batch int8 */
    SCHEMA_SELECT_STATE,
    SCHEMA_SELECT_STATE_LOCKED, /* the same, FOR UPDATE */
    SCHEMA_DELETE_STATE,
    /* $1 uuid, $2 int4 group_count, $3 int8 version_base, $4 int8 epoch */
    SCHEMA_INSERT_STATE,
    /* $1 int4 group, $2 uuid, $3 int4 group_count, $4 int8 term, $5 int4 schema version -> epoch int8,
     * last_batch int8; no row when something does not match */
    SCHEMA_TAKE,
    /* $1 int4 group -> schema_version int4, cluster_id uuid, group_count int4, term int8 (NULL without a row)
     */
    SCHEMA_TAKE_LOOK,
    /* $1 int4 group, $2 uuid, $3 int4 group_count, $4 int8 epoch, $5 int8 predecessor, $6 int8 batch */
    SCHEMA_ADVANCE,
    SCHEMA_UPSERT,      /* $1 bytea[] keys, $2 bytea[] values, $3 int8[] versions, $4 timestamptz[] */
    SCHEMA_DELETE,      /* $1 bytea[] keys */
    SCHEMA_IN_RECOVERY, /* -> in_recovery bool */
    /* $1 int4 group, $2 uuid, $3 int4 group_count, $4 bytea[] keys, $5 int4 value_bytes_max -> in_recovery
     * bool, last_batch int8 (NULL without our fence row), key bytea, value_bytes int4, value bytea (NULL when
     * it is longer than $5), version int8, expires_at timestamptz. At least one row: with key NULL when none
     * of the keys is there. */
    SCHEMA_LOAD,
    /* $1 timestamptz, $2 int8 rows_max, $3 int4 key_bytes_max, $4 int4 value_bytes_max -> in_recovery bool,
     * key bytea: those that expired before $1, the earliest first; rows that are not ours are passed over */
    SCHEMA_FIND_EXPIRED,
    SCHEMA_FIND_LIMIT, /* $1 text, a statement_timeout for the rest of the transaction */
    SCHEMA_LOAD_SETUP, /* once in each session that loads */
    SCHEMA_SQL_COUNT,
};

/* A name that PostgreSQL takes as it is, quoted: 1 to 63 bytes. */
bool schema_name_valid(const char *schema);

/* The text of @which for the valid name @schema. malloc'd for the caller. Cannot fail. */
char *schema_sql(enum schema_sql which, const char *schema);

/* The quoted name of the schema, or of its table @table unless that is NULL. malloc'd for the caller. */
char *schema_quoted(const char *schema, const char *table);

#endif
