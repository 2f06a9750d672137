/* What `wbbench flush` came to, for people (a table in Markdown) and for programs. */
#ifndef WB_TOOLS_WBBENCH_FLUSH_REPORT_H
#define WB_TOOLS_WBBENCH_FLUSH_REPORT_H

#include <stddef.h>

#include "tools/wbbench/flush_figures.h"
#include "tools/wbbench/flush_options.h"

struct flush_report {
    const struct flush_options *options;
    unsigned groups;
    const char *server_version; /* PostgreSQL's */
    const char *cpu_words;      /* why processor times are missing, or NULL */
    const struct flush_part *parts;
    size_t n_parts;
};

void flush_report_text(const struct flush_report *report);
/* One line. */
void flush_report_json(const struct flush_report *report);

#endif
