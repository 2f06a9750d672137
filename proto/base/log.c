#include "proto/base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_line(const struct logger *logger, enum log_level level, const char *event, const char *format, ...)
{
    if (logger == NULL || level > logger->level) {
        return;
    }
    struct timespec now;
    struct tm utc;
    char stamp[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);

    char line[2048];
    int used = snprintf(line, sizeof line, "%s.%03ldZ %-5s node=%" PRIu64 " %s ", stamp,
        now.tv_nsec / 1000000, level_names[level], logger->node_id, event);
    va_list args;
    va_start(args, format);
    vsnprintf(line + used, sizeof line - (size_t)used, format, args);
    va_end(args);
    for (char *c = line; *c != '\0'; c++) {
        if (*c == '\n' || *c == '\r') { /* a database's message may span lines */
            *c = ' ';
        }
    }
    fprintf(logger->out, "%s\n", line);
    fflush(logger->out);
}

int log_level_parse(const char *word)
{
    for (int i = 0; i < (int)(sizeof level_names / sizeof level_names[0]); i++) {
        if (strcmp(word, level_names[i]) == 0) {
            return i;
        }
    }
    return -1;
}
