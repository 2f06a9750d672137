#include "node/config_words.h"

#include <ctype.h>
#include <string.h>

#include "proto/base/log.h"

/* Letters, digits, and what is in @also. */
static bool only(const char *text, size_t len, const char *also)
{
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)text[i]) && strchr(also, text[i]) == NULL) {
            return false;
        }
    }
    return true;
}

bool config_is_cluster_name(const char *text)
{
    size_t len = strlen(text);
    return len >= 1 && len <= 64 && only(text, len, "._-");
}

bool config_is_identifier(const char *text)
{
    size_t len = strlen(text);
    return len >= 1 && len <= 63 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") == len &&
           !isdigit((unsigned char)text[0]);
}

bool config_is_log_level(const char *text)
{
    return log_level_parse(text) >= 0;
}

bool config_is_something(const char *text)
{
    return text[0] != '\0';
}

bool config_parse_digits(const char *text, size_t len, uint64_t max, uint64_t *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i < len; i++) {
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (!isdigit((unsigned char)text[i]) || n > (max - digit) / 10) {
            return false;
        }
        n = n * 10 + digit;
    }
    *out = n;
    return len > 0;
}

bool config_parse_size(const char *text, uint64_t *out)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
    size_t digits = strspn(text, "0123456789");
    const char *unit = text + digits + strspn(text + digits, " ");
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        uint64_t scale = UINT64_C(1) << 10 * i;
        if (strcmp(unit, units[i]) == 0 && config_parse_digits(text, digits, UINT64_MAX / scale, out)) {
            *out *= scale;
            return true;
        }
    }
    return false;
}

bool config_is_address(const char *text)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (colon == NULL || strlen(text) > 255 ||
        !config_parse_digits(colon + 1, strlen(colon + 1), 65535, &port) || port == 0 || colon[1] == '0') {
        return false;
    }
    size_t len = (size_t)(colon - text);
    if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
        return only(text + 1, len - 2, ":.%") && memchr(text, ':', len) != NULL;
    }
    return len > 0 && only(text, len, ".-_");
}
