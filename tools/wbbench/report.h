/* What a run came to, for people and for programs. */
#ifndef WB_TOOLS_WBBENCH_REPORT_H
#define WB_TOOLS_WBBENCH_REPORT_H

#include <jansson.h>

#include "tools/wbbench/engine.h"

void report_text(const struct bench_options *options, const struct bench_result *result);
/* One line. */
void report_json(const struct bench_options *options, const struct bench_result *result);

/* The pieces that the other modes print as well: one side's line (none when nothing was counted), a count
 * with its name (none when 0), and the side as an object, which is the caller's. */
void report_side(const char *name, const struct histogram *h, uint64_t elapsed_ns);
void report_count(const char *what, uint64_t count);
json_t *report_side_json(const struct histogram *h, uint64_t elapsed_ns);

#endif
