#include "tools/wbdemo/progress.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { BAR_CELLS = 40, REDRAW_MS = 100 };

void progress_init(struct progress *p, uint64_t total)
{
    *p = (struct progress){.terminal = isatty(STDOUT_FILENO) != 0, .total = total};
}

static void draw(const struct progress *p, uint64_t done, double rate)
{
    char bar[BAR_CELLS + 1];
    for (unsigned i = 0; i < BAR_CELLS; i++) {
        bar[i] = done * BAR_CELLS >= (uint64_t)(i + 1) * p->total ? '#' : '.';
    }
    bar[BAR_CELLS] = '\0';
    printf("\r  [%s] %3" PRIu64 " %%  %8" PRIu64 " writes  %7.0f/s ", bar, done * 100 / p->total, done, rate);
    fflush(stdout);
}

static void write_tenth(struct progress *p, uint64_t done, double rate)
{
    unsigned tenth = (unsigned)(done * 10 / p->total);
    if (tenth > p->shown_tenth) {
        p->shown_tenth = tenth;
        printf("  %3u %%  %" PRIu64 " writes, %.0f/s\n", tenth * 10, done, rate);
        fflush(stdout);
    }
}

void progress_show(struct progress *p, uint64_t done, double rate, uint64_t now_ms)
{
    if (!p->terminal) {
        write_tenth(p, done, rate);
    } else if (now_ms - p->shown_ms >= REDRAW_MS) {
        p->shown_ms = now_ms;
        draw(p, done, rate);
    }
}

void progress_note(struct progress *p, const char *format, ...)
{
    va_list args;
    if (p->terminal) {
        printf("\r%*s\r", BAR_CELLS + 45, "");
    }
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
    p->shown_ms = 0;
}

void progress_end(struct progress *p, uint64_t done, double rate)
{
    if (p->terminal) {
        draw(p, done, rate);
        putchar('\n');
    } else {
        write_tenth(p, done, rate);
    }
}
