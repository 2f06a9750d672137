/* Log lines for people and machines: time, level, node, then key=value. One line an event. */
#ifndef WB_PROTO_BASE_LOG_H
#define WB_PROTO_BASE_LOG_H

#include <stdint.h>
#include <stdio.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct logger {
    FILE *out;            /* borrowed; lines are flushed one by one */
    enum log_level level; /* lines above it are dropped */
    uint64_t node_id;
};

/* Write "TIME LEVEL node=N EVENT key=value ...". @logger may be NULL: then nothing is written.
 * @event is one word or a few joined with '-'; @format gives the key=value pairs. */
void log_line(const struct logger *logger, enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* "error", "warn", "info", "debug" -> the level. Returns -1 for another word. */
int log_level_parse(const char *word);

#define log_error(logger, event, ...) log_line(logger, LOG_ERROR, event, __VA_ARGS__)
#define log_warn(logger, event, ...)  log_line(logger, LOG_WARN, event, __VA_ARGS__)
#define log_info(logger, event, ...)  log_line(logger, LOG_INFO, event, __VA_ARGS__)
#define log_debug(logger, event, ...) log_line(logger, LOG_DEBUG, event, __VA_ARGS__)

#endif
