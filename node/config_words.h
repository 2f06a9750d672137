/* The words of the configuration file: what a value may look like. Pure; @text is a C string. */
#ifndef WB_NODE_CONFIG_WORDS_H
#define WB_NODE_CONFIG_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 1 to 64 letters, digits, '.', '_', '-'. */
bool config_is_cluster_name(const char *text);
/* An SQL identifier that means the same with and without quotes: 1 to 63 of a-z, 0-9, '_', no digit first. */
bool config_is_identifier(const char *text);
/* What log_level_parse knows. */
bool config_is_log_level(const char *text);
/* Not empty. */
bool config_is_something(const char *text);
/* HOST:PORT: a name or an IPv4 address, or an IPv6 address in brackets; a port from 1 to 65535. */
bool config_is_address(const char *text);

/* The first @len bytes of @text are digits (one at least) of a number up to @max, which becomes *@out. */
bool config_parse_digits(const char *text, size_t len, uint64_t max, uint64_t *out);
/* Bytes: digits, and after them KiB, MiB, GiB or TiB if wanted (a space between is allowed). */
bool config_parse_size(const char *text, uint64_t *out);

#endif
