/* A progress bar on a terminal, a line for each tenth elsewhere. */
#ifndef WB_TOOLS_WBDEMO_PROGRESS_H
#define WB_TOOLS_WBDEMO_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool terminal;
    uint64_t total;
    uint64_t shown_ms;    /* when it was drawn last */
    unsigned shown_tenth; /* what was written last, without a terminal */
};

void progress_init(struct progress *p, uint64_t total);
/* @done of the total; @rate is writes a second. Draws only as often as eyes can follow. @now_ms is monotonic.
 */
void progress_show(struct progress *p, uint64_t done, double rate, uint64_t now_ms);
/* Write a line between two drawings. */
void progress_note(struct progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Draw once more and end the line. */
void progress_end(struct progress *p, uint64_t done, double rate);

#endif
