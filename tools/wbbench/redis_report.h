/* What `wbbench redis` came to, for people and for programs. */
#ifndef WB_TOOLS_WBBENCH_REDIS_REPORT_H
#define WB_TOOLS_WBBENCH_REDIS_REPORT_H

#include "tools/wbbench/redis_options.h"

void redis_report_text(const struct redis_options *options, const struct redis_result *result);
/* One line. */
void redis_report_json(const struct redis_options *options, const struct redis_result *result);
/* The errors only, to stderr. */
void redis_report_errors(const struct redis_result *result);

#endif
