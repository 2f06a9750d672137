/* How a row that PostgreSQL refuses is shown. */
#ifndef WB_TOOLS_WBCLIENT_QUARANTINE_H
#define WB_TOOLS_WBCLIENT_QUARANTINE_H

#include <jansson.h>

#include "rpc/wbcache.h"

/* Lines that say why and since when, for a person; not the key and the value. */
void quarantine_print(const struct wbcache_quarantined *row);
/* All of it; the caller releases it. */
json_t *quarantine_json(const struct wbcache_quarantined *row);

#endif
