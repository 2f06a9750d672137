#include "cluster-tests/redis/show.h"

#include <stdarg.h>

#include "cluster-tests/scenario.h"

enum { LINE_BYTES = 1024, REPLY_BYTES = 1500, STEPS_SHOWN = 60 };

void show(const char *format, ...)
{
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    say("%s", line);
}

void show_conversation(const struct steps *steps, uint32_t last)
{
    uint32_t first = last >= STEPS_SHOWN ? last + 1 - STEPS_SHOWN : 0;
    for (uint32_t i = first; i <= last && i < steps->n; i++) {
        printf("      ");
        step_print(stdout, &steps->list[i]);
        putchar('\n');
    }
    fflush(stdout);
}

void show_reply(const char *what, struct bytes reply)
{
    printf("    %s ", what);
    bytes_print(stdout, reply, REPLY_BYTES);
    putchar('\n');
    fflush(stdout);
}
