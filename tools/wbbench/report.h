/* What a run came to, for people and for programs. */
#ifndef WB_TOOLS_WBBENCH_REPORT_H
#define WB_TOOLS_WBBENCH_REPORT_H

#include "tools/wbbench/engine.h"

void report_text(const struct bench_options *options, const struct bench_result *result);
/* One line. */
void report_json(const struct bench_options *options, const struct bench_result *result);

#endif
