#include "tools/wbclient/args.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool args_is(struct bytes word, const char *text)
{
    return word.len == strlen(text) && strncasecmp((const char *)word.data, text, word.len) == 0;
}

/* The digits that @word begins with; *@rest is what follows. */
static bool take_number(struct bytes word, uint64_t max, uint64_t *out, struct bytes *rest)
{
    uint64_t n = 0;
    size_t i = 0;
    for (; i < word.len && word.data[i] >= '0' && word.data[i] <= '9'; i++) {
        uint64_t digit = (uint64_t)(word.data[i] - '0');
        if (digit > max || n > (max - digit) / 10) {
            return false;
        }
        n = 10 * n + digit;
    }
    *rest = bytes_of(word.data + i, word.len - i);
    *out = n;
    return i > 0;
}

bool args_number(struct bytes word, uint64_t max, uint64_t *out)
{
    struct bytes rest;
    uint64_t n;
    if (!take_number(word, max, &n, &rest) || rest.len > 0) {
        return false;
    }
    *out = n;
    return true;
}

/* ---- Settings ---- */

struct unit {
    const char *name;
    uint64_t scale;
};

/* A number with one of @units (the first is the empty one) behind it, at most @max as a whole. */
static bool take_scaled(
    struct bytes word, const struct unit *units, size_t n_units, uint64_t max, uint64_t *out)
{
    struct bytes rest;
    uint64_t n;
    if (!take_number(word, max, &n, &rest)) {
        return false;
    }
    for (size_t i = 0; i < n_units; i++) {
        if (args_is(rest, units[i].name) && n <= max / units[i].scale) {
            *out = n * units[i].scale;
            return true;
        }
    }
    return false;
}

static const char *take_age(struct bytes value, struct wbcache_flush_settings *out)
{
    static const struct unit units[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"min", 60 * 1000}};
    uint64_t n;
    if (!take_scaled(value, units, sizeof units / sizeof *units, UINT32_MAX, &n)) {
        return "age wants a time, such as age=500ms, age=2s";
    }
    out->has_age_ms = true;
    out->age_ms = (uint32_t)n;
    return NULL;
}

static const char *take_batch_rows(struct bytes value, struct wbcache_flush_settings *out)
{
    uint64_t n;
    if (!args_number(value, UINT32_MAX, &n)) {
        return "batch-rows wants a whole number, such as batch-rows=5000";
    }
    out->has_batch_rows = true;
    out->batch_rows = (uint32_t)n;
    return NULL;
}

static const char *take_batch_bytes(struct bytes value, struct wbcache_flush_settings *out)
{
    static const struct unit units[] = {{"", 1}, {"KiB", 1024}, {"MiB", 1024 * 1024}};
    uint64_t n;
    if (!take_scaled(value, units, sizeof units / sizeof *units, INT64_MAX, &n)) {
        return "batch-bytes wants a size, such as batch-bytes=4MiB";
    }
    out->has_batch_bytes = true;
    out->batch_bytes = n;
    return NULL;
}

static const char *take_rate(struct bytes value, struct wbcache_flush_settings *out)
{
    static const struct unit units[] = {{"", 1}, {"/s", 1}};
    uint64_t n = 0;
    if (!args_is(value, "none") && !take_scaled(value, units, sizeof units / sizeof *units, UINT32_MAX, &n)) {
        return "rate wants rows in a second, such as rate=1000/s; rate=none lifts the limit";
    }
    out->has_rows_per_second = true;
    out->rows_per_second = (uint32_t)n;
    return NULL;
}

const char *args_setting(struct bytes word, struct wbcache_flush_settings *out)
{
    static const struct {
        const char *name;
        const char *(*take)(struct bytes value, struct wbcache_flush_settings *out);
    } rows[] = {{"age", take_age}, {"batch-rows", take_batch_rows}, {"batch-bytes", take_batch_bytes},
        {"rate", take_rate}};
    const uint8_t *sign = word.len > 0 ? memchr(word.data, '=', word.len) : NULL;
    if (sign != NULL) {
        size_t name_len = (size_t)(sign - word.data);
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            if (args_is(bytes_of(word.data, name_len), rows[i].name)) {
                return rows[i].take(bytes_of(sign + 1, word.len - name_len - 1), out);
            }
        }
    }
    return "a setting is one of age=.., batch-rows=.., batch-bytes=.., rate=..";
}

/* ---- For people ---- */

struct args_text human_bytes(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    struct args_text t;
    double v = (double)bytes;
    size_t unit = 0;
    while (v >= 1024 && unit < sizeof units / sizeof *units - 1) {
        v /= 1024;
        unit++;
    }
    snprintf(t.s, sizeof t.s, unit == 0 || v >= 100 ? "%.0f %s" : "%.1f %s", v, units[unit]);
    return t;
}

struct args_text human_age(uint64_t ms)
{
    struct args_text t;
    uint64_t s = ms / 1000;
    if (s < 10) {
        snprintf(t.s, sizeof t.s, "%" PRIu64 " ms", ms);
    } else if (s < 120) {
        snprintf(t.s, sizeof t.s, "%" PRIu64 " s", s);
    } else if (s < 7200) {
        snprintf(t.s, sizeof t.s, "%" PRIu64 " min", s / 60);
    } else if (s < 172800) {
        snprintf(t.s, sizeof t.s, "%" PRIu64 " h", s / 3600);
    } else {
        snprintf(t.s, sizeof t.s, "%" PRIu64 " d", s / 86400);
    }
    return t;
}

struct args_text human_ms(uint64_t ms)
{
    return ms == 0 ? (struct args_text){"-"} : human_age(ms);
}

struct args_text human_count(uint64_t n)
{
    char digits[24];
    struct args_text t;
    int len = snprintf(digits, sizeof digits, "%" PRIu64, n);
    size_t at = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) {
            t.s[at++] = ',';
        }
        t.s[at++] = digits[i];
    }
    t.s[at] = '\0';
    return t;
}

/* Days since 1970 to a date: Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
 */
static void civil(uint64_t days, unsigned *year, unsigned *month, unsigned *day)
{
    uint64_t z = days + 719468;
    uint64_t era = z / 146097;
    unsigned of_era = (unsigned)(z - era * 146097);
    unsigned y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * y + y / 4 - y / 100);
    unsigned shifted = (5 * of_year + 2) / 153;
    *day = of_year - (153 * shifted + 2) / 5 + 1;
    *month = shifted < 10 ? shifted + 3 : shifted - 9;
    *year = (unsigned)(y + era * 400) + (*month <= 2);
}

struct args_text human_time(uint64_t ms)
{
    unsigned year, month, day;
    struct args_text t;
    uint64_t s = ms / 1000;
    civil(s / 86400, &year, &month, &day);
    snprintf(t.s, sizeof t.s, "%u-%02u-%02u %02u:%02u:%02u.%03u UTC", year, month, day,
        (unsigned)(s / 3600 % 24), (unsigned)(s / 60 % 60), (unsigned)(s % 60), (unsigned)(ms % 1000));
    return t;
}
