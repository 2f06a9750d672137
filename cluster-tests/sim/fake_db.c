#include "cluster-tests/sim/fake_db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-tests/sim/fake_server.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

#define TRUE_EPOCH_US UINT64_C(1700000000000000)

const char *fake_db_defect_name(enum fake_db_defect defect)
{
    static const char *const names[FAKE_DB_DEFECTS] = {
        [FAKE_DB_NO_FENCE] = "no-fence",
        [FAKE_DB_LOSES_COMMITS] = "loses-commits",
        [FAKE_DB_TAKE_SKIPS_LOCK] = "take-skips-lock",
        [FAKE_DB_SKIPS_BAD_ROWS] = "skips-bad-rows",
        [FAKE_DB_COMMITS_ISOLATED] = "commits-isolated",
        [FAKE_DB_HIDES_FAULTS] = "hides-faults",
    };
    return names[defect];
}

void fake_db_init(struct fake_db *db, struct sim_clock *clock)
{
    *db = (struct fake_db){
        .clock = clock,
        .latency_min_us = 100,
        .latency_max_us = 1500,
        .work_min_us = 500,
        .work_max_us = 8000,
        .slow_max_us = 2000000,
        .lock_timeout_us = 1000000,
        .idle_timeout_us = 3000000,
        .load_bytes_max = 16, /* about two of the values that the simulated clients write */
    };
    for (unsigned g = 0; g < SIM_GROUPS_MAX; g++) {
        list_init(&db->locks[g].waiting);
    }
    list_init(&db->backends);
    list_init(&db->loads);
    list_init(&db->row_waits);
}

void fake_db_deinit(struct fake_db *db)
{
    fake_db_set_down(db, true);
    CHECK(list_empty(&db->backends) && list_empty(&db->loads));
    fake_content_deinit(&db->content);
}

uint64_t fake_db_latency(struct fake_db *db)
{
    return sim_between(db->clock, db->latency_min_us, db->latency_max_us);
}

uint64_t fake_db_true_us(const struct sim_clock *clock)
{
    return TRUE_EPOCH_US + clock->now_us;
}

int64_t fake_db_clock_us(const struct fake_db *db)
{
    return (int64_t)fake_db_true_us(db->clock) + db->clock_offset_us;
}

void fake_error(
    struct flush_error *error, enum flush_error_class class, const char *sqlstate, const char *message)
{
    *error = (struct flush_error){.class = class};
    snprintf(error->sqlstate, sizeof error->sqlstate, "%s", sqlstate);
    snprintf(error->message, sizeof error->message, "%s", message);
}

const struct fake_row *fake_db_find(const struct fake_db *db, struct bytes key)
{
    return fake_content_find(&db->content, key);
}

/* ---- The server as a whole ---- */

static void end_connections(struct fake_db *db)
{
    for (unsigned g = 0; g < SIM_GROUPS_MAX; g++) { /* nobody gets a lock that a dying one gives up */
        while (list_pop_front(&db->locks[g].waiting) != NULL) {
        }
        db->locks[g].stranger = db->locks[g].stranger_waits = false;
    }
    while (list_pop_front(&db->row_waits) != NULL) {
    }
    db->rows_locked = false;
    while (!list_empty(&db->backends)) {
        backend_die(list_entry(db->backends.next, struct backend, link));
    }
}

void fake_db_set_down(struct fake_db *db, bool down)
{
    db->down = down;
    if (down) {
        end_connections(db);
    }
}

void fake_db_set_standby(struct fake_db *db, bool standby)
{
    if (db->standby != standby) {
        end_connections(db);
    }
    db->standby = standby;
}

void fake_db_become(struct fake_db *db, const struct fake_content *content)
{
    end_connections(db);
    fake_content_deinit(&db->content);
    fake_content_copy(&db->content, content);
}
