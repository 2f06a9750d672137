#include "flush/pg_statements.h"

#include "flush/flush_mirror.h"
#include "flush/pg_fence.h"
#include "flush/pg_time.h"

void pg_send_advance(struct pg_connection *c, const struct pg_holder *holder, uint64_t predecessor,
    uint64_t batch, const struct flush_note *note)
{
    uint8_t room[PG_PARAMS_MAX][8];
    uint8_t recovering = note->recovering ? 1 : 0;
    const struct pg_param null = {.type = PG_OID_TIMESTAMPTZ, .data = NULL, .len = SIZE_MAX};
    const uint64_t fresh = (uint64_t)pg_time_from_unix_us(note->fresh_as_of_us);
    const struct pg_param params[] = {
        pg_param_int4(room[0], holder->id.group),
        pg_param_bytes(PG_OID_UUID, bytes_of(holder->id.cluster_id, CLUSTER_ID_BYTES)),
        pg_param_int4(room[1], holder->id.group_count),
        pg_param_8(PG_OID_INT8, room[2], holder->epoch),
        pg_param_8(PG_OID_INT8, room[3], holder->lock),
        pg_param_8(PG_OID_INT8, room[4], predecessor),
        pg_param_8(PG_OID_INT8, room[5], batch),
        note->fresh_as_of_us == 0 ? null : pg_param_8(PG_OID_TIMESTAMPTZ, room[6], fresh),
        pg_param_8(PG_OID_INT8, room[7], note->quarantined),
        pg_param_8(PG_OID_INT8, room[8], note->lost),
        {.type = PG_OID_BOOL, .data = &recovering, .len = 1},
    };
    pg_connection_execute(c, PG_STATEMENT_ADVANCE, params, sizeof params / sizeof params[0]);
}

int pg_send_rows(struct pg_connection *c, const struct flush_batch *b)
{
    int n = 0;
    if (b->upserts > 0) {
        const struct pg_param rows[] = {
            pg_param_bytes(PG_OID_BYTEA_ARRAY, buf_bytes(&b->keys)),
            pg_param_bytes(PG_OID_BYTEA_ARRAY, buf_bytes(&b->values)),
            pg_param_bytes(PG_OID_INT8_ARRAY, buf_bytes(&b->versions)),
            pg_param_bytes(PG_OID_TIMESTAMPTZ_ARRAY, buf_bytes(&b->expires)),
            pg_param_bytes(PG_OID_BYTEA_ARRAY, buf_bytes(&b->fields)),
        };
        if (b->hashes == 0) { /* which costs nothing for them */
            pg_connection_execute(c, PG_STATEMENT_UPSERT, rows, 4);
        } else {
            pg_connection_execute(c, PG_STATEMENT_UPSERT_HASHES, rows, 5);
        }
        n++;
    }
    if (b->deletes > 0) {
        const struct pg_param keys = pg_param_bytes(PG_OID_BYTEA_ARRAY, buf_bytes(&b->deleted));
        pg_connection_execute(c, PG_STATEMENT_DELETE, &keys, 1);
        n++;
    }
    return n;
}

int pg_send_isolating(
    struct pg_connection *c, const struct flush_batch *b, const char *immediate, const char *refusals)
{
    const struct pg_param rows[] = {
        pg_param_bytes(PG_OID_BYTEA_ARRAY, buf_bytes(&b->keys)),
        pg_param_bytes(PG_OID_BYTEA_ARRAY, buf_bytes(&b->values)),
        pg_param_bytes(PG_OID_INT8_ARRAY, buf_bytes(&b->versions)),
        pg_param_bytes(PG_OID_TIMESTAMPTZ_ARRAY, buf_bytes(&b->expires)),
        pg_param_bytes(PG_OID_BYTEA_ARRAY, buf_bytes(&b->fields)),
        pg_param_bytes(PG_OID_BYTEA_ARRAY, buf_bytes(&b->deleted)),
        pg_param_bytes(PG_OID_TEXT, bytes_from_text(refusals)),
    };
    pg_connection_query(c, immediate, NULL, 0);
    pg_connection_execute(c, PG_STATEMENT_ISOLATE, rows, 7);
    return 2;
}

int pg_send_mirror(struct pg_connection *c, const struct pg_holder *holder, const struct flush_mirror *mirror)
{
    if (mirror == NULL) {
        return 0;
    }
    struct flush_mirror_arrays a;
    uint8_t room[8];
    flush_mirror_init(&a, mirror);
    const struct pg_param params[] = {
        pg_param_int4(room, holder->id.group),
        pg_param_bytes(PG_OID_BYTEA_ARRAY, buf_bytes(&a.keys)),
        pg_param_bytes(PG_OID_BOOL_ARRAY, buf_bytes(&a.deleted)),
        pg_param_bytes(PG_OID_BYTEA_ARRAY, buf_bytes(&a.values)),
        pg_param_bytes(PG_OID_INT4_ARRAY, buf_bytes(&a.value_bytes)),
        pg_param_bytes(PG_OID_INT8_ARRAY, buf_bytes(&a.versions)),
        pg_param_bytes(PG_OID_TEXT_ARRAY, buf_bytes(&a.sqlstates)),
        pg_param_bytes(PG_OID_TEXT_ARRAY, buf_bytes(&a.messages)),
        pg_param_bytes(PG_OID_INT4_ARRAY, buf_bytes(&a.attempts)),
        pg_param_bytes(PG_OID_TIMESTAMPTZ_ARRAY, buf_bytes(&a.since)),
        pg_param_bytes(PG_OID_TIMESTAMPTZ_ARRAY, buf_bytes(&a.refused_at)),
        pg_param_bytes(PG_OID_BYTEA_ARRAY, buf_bytes(&a.fields)),
    };
    pg_connection_execute(c, PG_STATEMENT_MIRROR_DELETE, params, 2);
    pg_connection_execute(c, PG_STATEMENT_MIRROR, params, sizeof params / sizeof params[0]);
    flush_mirror_deinit(&a);
    return 2;
}
