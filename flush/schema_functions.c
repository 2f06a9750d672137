#include "flush/schema_functions.h"

#include <stddef.h>

/* @ and ` as in schema.c: the schema's name as an identifier, its channel as a constant. */

/* Raising, rather than updating no row, is what stops the statements behind it in the pipeline. The second
 * look is a new snapshot, so it sees what made the UPDATE miss, also when that was committed while the UPDATE
 * waited. The advisory lock waits for nobody and keeps nobody out: it marks this backend in pg_locks as one
 * of the group's, before it may hold the row. */
static const char advance_body[] =
    "DECLARE\n"
    "    r record;\n"
    "BEGIN\n"
    "    PERFORM pg_try_advisory_xact_lock_shared(p_lock);\n"
    "    UPDATE @.flush_state AS f SET last_batch = p_batch, fresh_as_of = coalesce(p_fresh, "
    "f.fresh_as_of),\n"
    "           quarantined = p_quarantined, lost = p_lost, recovering = p_recovering\n"
    "     WHERE f.group_id = p_group AND f.cluster_id = p_cluster AND f.group_count = p_group_count\n"
    "       AND f.epoch = p_epoch AND f.last_batch = p_predecessor;\n"
    "    IF FOUND THEN\n"
    "        RETURN clock_timestamp();\n"
    "    END IF;\n"
    "    SELECT f.cluster_id, f.group_count, f.term, f.epoch, f.last_batch INTO r\n"
    "      FROM @.flush_state AS f WHERE f.group_id = p_group;\n"
    "    IF NOT FOUND THEN\n"
    "        RAISE EXCEPTION USING ERRCODE = 'WB001',\n"
    "            MESSAGE = format('the fence row of group %s is gone', p_group);\n"
    "    ELSIF r.cluster_id <> p_cluster OR r.group_count <> p_group_count OR r.epoch <> p_epoch THEN\n"
    "        RAISE EXCEPTION USING ERRCODE = 'WB001', MESSAGE = format(\n"
    "            'group %s is held by another: cluster %s, %s groups, term %s, epoch %s; we are cluster %s, "
    "%s groups,"
    " epoch %s', p_group, r.cluster_id, r.group_count, r.term, r.epoch, p_cluster, p_group_count, p_epoch);\n"
    "    END IF;\n"
    "    RAISE EXCEPTION USING ERRCODE = 'WB002', MESSAGE = format(\n"
    "        'batch %s of group %s follows batch %s, but the last one here is %s', p_batch, p_group, "
    "p_predecessor,"
    " r.last_batch);\n"
    "END\n";

/* Bisection. A range that is known to hold a bad row (p_bad: it was tried within a larger one, whose other
 * half went well) is not tried as a whole. A handful is tried row by row, for that takes no more tries than
 * to halve it. A single row always is tried: its own error is the truth, and what failed in a crowd may pass
 * alone. So of 1,000 rows one bad one costs at most 20 tries beyond the first. The halves are handed on as
 * arrays of their own, since a slice costs as much as the whole that it is cut from. Where one in 16 rows
 * of the left half was bad, and not just one, the right half is tried row by row: bad rows lie dense there.
 * A text that the database's encoding does not have is an error of its row, so it becomes jsonb only here.
 * p_fields has no element when there is no hash. */
static const char isolate_body[] =
    "DECLARE\n"
    "    u int := cardinality(p_keys);\n"
    "    n int := u + cardinality(p_deleted);\n"
    "    m int := (n + 1) / 2;\n"
    "    d int := greatest((n + 1) / 2 - u, 0);\n"
    "    dense boolean;\n"
    "    state text;\n"
    "    words text;\n"
    "    detail text;\n"
    "    l record;\n"
    "    r record;\n"
    "BEGIN\n"
    "    tries := 0;\n"
    "    bad_keys := '{}';\n"
    "    bad_states := '{}';\n"
    "    bad_messages := '{}';\n"
    "    IF n > 1 AND NOT p_bad THEN\n"
    "        tries := 1;\n"
    "        BEGIN\n"
    "            IF u > 0 THEN\n"
    "                INSERT INTO @.entry AS e (key, value, version, expires_at, fields)\n"
    "                SELECT u.k, u.v, u.n, u.e, pg_catalog.convert_from(u.f, 'UTF8')::pg_catalog.jsonb\n"
    "                  FROM unnest(p_keys, p_values, p_versions, p_expires, p_fields) AS u (k, v, n, e, f)\n"
    "                ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version,\n"
    "                    expires_at = excluded.expires_at, fields = excluded.fields;\n"
    "            END IF;\n"
    "            IF n > u THEN\n"
    "                DELETE FROM @.entry AS e WHERE e.key = ANY (p_deleted);\n"
    "            END IF;\n"
    "            RETURN;\n"
    "        EXCEPTION WHEN OTHERS OR assert_failure THEN\n"
    "            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE;\n"
    "            IF state NOT SIMILAR TO p_refusals THEN\n"
    "                RAISE;\n"
    "            END IF;\n"
    "        END;\n"
    "    END IF;\n"
    "    IF n <= p_handful THEN\n"
    "        FOR i IN 1 .. n LOOP\n"
    "            tries := tries + 1;\n"
    "            BEGIN\n"
    "                IF i <= u THEN\n"
    "                    INSERT INTO @.entry AS e (key, value, version, expires_at, fields)\n"
    "                    VALUES (p_keys[i], p_values[i], p_versions[i], p_expires[i],\n"
    "                        pg_catalog.convert_from(p_fields[i], 'UTF8')::pg_catalog.jsonb)\n"
    "                    ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = "
    "excluded.version,\n"
    "                        expires_at = excluded.expires_at, fields = excluded.fields;\n"
    "                ELSE\n"
    "                    DELETE FROM @.entry AS e WHERE e.key = p_deleted[i - u];\n"
    "                END IF;\n"
    "            EXCEPTION WHEN OTHERS OR assert_failure THEN\n"
    "                GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, words = MESSAGE_TEXT,\n"
    "                    detail = PG_EXCEPTION_DETAIL;\n"
    "                IF state NOT SIMILAR TO p_refusals THEN\n"
    "                    RAISE;\n"
    "                END IF;\n"
    "                bad_keys := array_append(bad_keys,\n"
    "                    CASE WHEN i <= u THEN p_keys[i] ELSE p_deleted[i - u] END);\n"
    "                bad_states := array_append(bad_states, state);\n"
    "                bad_messages := array_append(bad_messages,\n"
    "                    left(concat_ws('; ', words, nullif(detail, '')), 500));\n"
    "            END;\n"
    "        END LOOP;\n"
    "        RETURN;\n"
    "    END IF;\n"
    "    SELECT * INTO l FROM @.flush_isolate(p_keys[:m], p_values[:m], p_versions[:m], p_expires[:m],\n"
    "        p_fields[:m], p_deleted[:d], p_refusals, false, p_handful);\n"
    "    dense := cardinality(l.bad_keys) > greatest(m / 16, 1);\n"
    "    SELECT * INTO r FROM @.flush_isolate(p_keys[m + 1:], p_values[m + 1:], p_versions[m + 1:],\n"
    "        p_expires[m + 1:], p_fields[m + 1:], p_deleted[d + 1:], p_refusals, dense OR l.bad_keys = "
    "'{}',\n"
    "        CASE WHEN dense THEN n ELSE p_handful END);\n"
    "    tries := tries + l.tries + r.tries;\n"
    "    bad_keys := l.bad_keys || r.bad_keys;\n"
    "    bad_states := l.bad_states || r.bad_states;\n"
    "    bad_messages := l.bad_messages || r.bad_messages;\n"
    "END\n";

/* A key that is longer than any of ours is no key of ours, and would not fit into a notification. */
static const char changed_body[] = "BEGIN\n"
                                   "    IF TG_OP = 'TRUNCATE' THEN\n"
                                   "        PERFORM pg_notify(`, '*');\n"
                                   "        RETURN NULL;\n"
                                   "    END IF;\n"
                                   "    IF TG_OP <> 'INSERT' AND octet_length(OLD.key) <= 1024 THEN\n"
                                   "        PERFORM pg_notify(`, encode(OLD.key, 'hex'));\n"
                                   "    END IF;\n"
                                   "    IF TG_OP <> 'DELETE' AND octet_length(NEW.key) <= 1024 THEN\n"
                                   "        PERFORM pg_notify(`, encode(NEW.key, 'hex'));\n"
                                   "    END IF;\n"
                                   "    RETURN NULL;\n"
                                   "END\n";

/* ALWAYS: also what arrives by logical replication was changed by others. */
static const char watch_body[] =
    "BEGIN\n"
    "    DROP TRIGGER IF EXISTS " SCHEMA_WATCH_TRIGGER " ON @.entry;\n"
    "    DROP TRIGGER IF EXISTS wbcache_truncated ON @.entry;\n"
    "    IF p_on THEN\n"
    "        CREATE TRIGGER " SCHEMA_WATCH_TRIGGER
    " AFTER INSERT OR UPDATE OR DELETE ON @.entry FOR EACH ROW\n"
    "            WHEN (pg_catalog.current_setting('wbcache.flushing', true) IS DISTINCT FROM 'on')\n"
    "            EXECUTE FUNCTION @.entry_changed();\n"
    "        CREATE TRIGGER wbcache_truncated AFTER TRUNCATE ON @.entry FOR EACH STATEMENT\n"
    "            EXECUTE FUNCTION @.entry_changed();\n"
    "        ALTER TABLE @.entry ENABLE ALWAYS TRIGGER " SCHEMA_WATCH_TRIGGER ";\n"
    "        ALTER TABLE @.entry ENABLE ALWAYS TRIGGER wbcache_truncated;\n"
    "    END IF;\n"
    "    PERFORM pg_notify(`, '*');\n"
    "    RETURN CASE WHEN p_on\n"
    "        THEN 'on: what others change in table entry is told to the nodes that have watch = true'\n"
    "        ELSE 'off: nodes do not hear of what others change in table entry' END;\n"
    "END\n";

/* For those who look with psql. */
static const char comments_body[] =
    "BEGIN\n"
    "    COMMENT ON TABLE @.entry IS 'The rows that the cluster caches. Others may read it; see freshness for"
    " how new it is. What others write here is overwritten where the cluster holds newer values.';\n"
    "    COMMENT ON COLUMN @.entry.value IS 'Of a string; NULL for a hash, which has fields instead.';\n"
    "    COMMENT ON COLUMN @.entry.fields IS 'Of a hash: an object of texts. A name or a value that is no "
    "text is "
    "written as bytea is, in hexadecimal digits: (fields->>''name'')::bytea has its bytes. NULL for a "
    "string.';\n"
    "    COMMENT ON COLUMN @.entry.version IS 'Of the write that made this value: larger is newer.';\n"
    "    COMMENT ON COLUMN @.entry.expires_at IS 'The cluster deletes the row after this time; NULL: "
    "never.';\n"
    "    COMMENT ON TABLE @.flush_state IS 'The fence, a row for each group of keys. Never change it by"
    " hand.';\n"
    "    COMMENT ON COLUMN @.flush_state.last_batch IS 'The newest batch that is in table entry.';\n"
    "    COMMENT ON COLUMN @.flush_state.fresh_as_of IS 'Every write of the group that was acknowledged "
    "before"
    " this time is in table entry, but for those in quarantine and those lost, unless the group is "
    "recovering.';\n"
    "    COMMENT ON COLUMN @.flush_state.quarantined IS 'Keys whose newest value this database refuses: see"
    " table quarantine.';\n"
    "    COMMENT ON COLUMN @.flush_state.lost IS 'Rows that the database lost by going back in time, and that"
    " the cluster could not write again, until an operator acknowledges it.';\n"
    "    COMMENT ON COLUMN @.flush_state.recovering IS 'The database went back in time, and what it lost is"
    " being written again.';\n"
    "    COMMENT ON TABLE @.meta IS 'The version of this schema.';\n"
    "    COMMENT ON TABLE @.quarantine IS 'Values that the database refuses, as the cluster shows them; it "
    "holds"
    " them itself, and changes here have no effect. See wbclient quarantine.';\n"
    "    COMMENT ON COLUMN @.quarantine.deleted IS 'What is refused is the deletion of the row.';\n"
    "    COMMENT ON COLUMN @.quarantine.value IS 'Of a string. NULL also where there are too many bytes to "
    "show "
    "them"
    " all: see value_bytes.';\n"
    "    COMMENT ON COLUMN @.quarantine.fields IS 'Of a hash. NULL also where there are too many bytes, or "
    "where "
    "this"
    " database''s encoding may not have its characters.';\n"
    "    COMMENT ON COLUMN @.quarantine.since IS 'Its oldest write that is not in table entry.';\n"
    "    COMMENT ON COLUMN @.quarantine.refused_at IS 'The last attempt.';\n"
    "    COMMENT ON VIEW @.freshness IS 'How new table entry is, for the whole cluster.';\n"
    "    COMMENT ON COLUMN @.freshness.fresh_as_of IS 'Every write that was acknowledged before this time is "
    "in"
    " table entry, but for the quarantined ones. NULL: not known, or recovering.';\n"
    "    COMMENT ON COLUMN @.freshness.quarantined IS 'Keys whose newest value is not in table entry, but in"
    " table quarantine.';\n"
    "    COMMENT ON COLUMN @.freshness.lost IS 'Rows lost by the database, and not acknowledged yet.';\n"
    "    COMMENT ON FUNCTION @.watch(boolean) IS 'Have the nodes hear of what others change in table entry, "
    "or"
    " not.';\n"
    "END\n";

/* Whoever migrates may be another role than the nodes', which own the rest. */
static const char owner_body[] =
    "DECLARE\n"
    "    command text;\n"
    "BEGIN\n"
    "    FOR command IN\n"
    "        SELECT pg_catalog.format('ALTER TABLE %I.%I OWNER TO %I', n.nspname, c.relname, o.rolname)\n"
    "          FROM @.meta AS m JOIN pg_catalog.pg_class AS t ON t.oid = m.tableoid\n"
    "          JOIN pg_catalog.pg_roles AS o ON o.oid = t.relowner\n"
    "          JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace\n"
    "          JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid\n"
    "         WHERE c.relname IN ('quarantine', 'freshness')\n"
    "        UNION ALL\n"
    "        SELECT pg_catalog.format('ALTER FUNCTION %I.%I(%s) OWNER TO %I', n.nspname, p.proname,\n"
    "               pg_catalog.pg_get_function_identity_arguments(p.oid), o.rolname)\n"
    "          FROM @.meta AS m JOIN pg_catalog.pg_class AS t ON t.oid = m.tableoid\n"
    "          JOIN pg_catalog.pg_roles AS o ON o.oid = t.relowner\n"
    "          JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace\n"
    "          JOIN pg_catalog.pg_proc AS p ON p.pronamespace = n.oid\n"
    "         WHERE p.proname IN ('flush_advance', 'flush_isolate', 'entry_changed', 'watch')\n"
    "    LOOP\n"
    "        EXECUTE command;\n"
    "    END LOOP;\n"
    "END\n";

const char *schema_function_body(enum schema_sql which)
{
    switch (which) {
    case SCHEMA_CREATE_ADVANCE:
        return advance_body;
    case SCHEMA_CREATE_ISOLATE:
        return isolate_body;
    case SCHEMA_CREATE_CHANGED:
        return changed_body;
    case SCHEMA_CREATE_WATCH:
        return watch_body;
    case SCHEMA_COMMENTS:
        return comments_body;
    case SCHEMA_SAME_OWNER:
        return owner_body;
    default:
        return NULL;
    }
}
