/* The processor time of processes of this machine. A shell over /proc. */
#ifndef WB_TOOLS_WBBENCH_PROCESS_TIME_H
#define WB_TOOLS_WBBENCH_PROCESS_TIME_H

#include "tools/wbbench/flush_figures.h"

/* Read /proc/@pid/stat. False when there is no such process to be seen. */
bool process_stat(int pid, struct flush_proc_stat *out);
/* Processor seconds of @pid so far, in the kernel's ticks (10 ms as a rule); @children: with its child
 * processes, those that ended included. Below 0: not known. */
double process_seconds(int pid, bool children);

#endif
