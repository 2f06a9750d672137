/* Words of a command line and what they mean; numbers and sizes for people. Pure. */
#ifndef WB_TOOLS_WBCLIENT_ARGS_H
#define WB_TOOLS_WBCLIENT_ARGS_H

#include "proto/base/bytes.h"
#include "rpc/wbcache.h"

/* Is @word this one, in small or capital letters? */
bool args_is(struct bytes word, const char *text);
/* A whole number up to @max, in digits. Words are followed by a 0 byte. *@out is set on success only. */
bool args_number(struct bytes word, uint64_t max, uint64_t *out);

/* Take NAME=VALUE into @out: age=500ms (ms, s, min, or milliseconds), batch-rows=N, batch-bytes=N (KiB, MiB),
 * rate=N/s (or N; 0, none: no limit). NULL, or a constant sentence that says what is wrong; @out is then
 * unchanged. */
const char *args_setting(struct bytes word, struct wbcache_flush_settings *out);

struct args_text {
    char s[48];
};
/* "1.5 MiB" */
struct args_text human_bytes(uint64_t bytes);
/* "-" for 0; "800 ms", "12 s", "3 min", "2 h", "9 d" */
struct args_text human_ms(uint64_t ms);
/* "0 ms" for 0; otherwise the same */
struct args_text human_age(uint64_t ms);
/* "1,234,567" */
struct args_text human_count(uint64_t n);
/* A time since 1970 as "2026-01-31 12:00:00.123 UTC". */
struct args_text human_time(uint64_t ms);

#endif
