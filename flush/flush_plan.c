#include "flush/flush_plan.h"

static bool half_used(const struct flush_demand *d)
{
    return d->dirty_bytes > d->dirty_bytes_max / 2 || d->dirty_entries > d->dirty_entries_max / 2;
}

bool flush_plan_row_due(const struct flush_settings *settings, const struct flush_demand *demand,
    uint64_t first_dirty, uint64_t dirty_stamp_ms, uint64_t now_stamp_ms)
{
    return first_dirty <= demand->upto_index || half_used(demand) ||
           (now_stamp_ms >= dirty_stamp_ms && now_stamp_ms - dirty_stamp_ms >= settings->age_ms);
}

uint64_t flush_plan_along_ms(const struct flush_settings *settings)
{
    return settings->age_ms - settings->age_ms / 4;
}
