/* Linked into wbnode in the place of clock_wall_ms (the linker's --wrap): the wall clock of one node of a
 * cluster, number 2 by its configuration's name, is an hour ahead. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/clock.h"

enum { SKEW_MS = 3600000, COMMAND_LINE_BYTES = 4096 };

uint64_t __real_clock_wall_ms(void);
uint64_t __wrap_clock_wall_ms(void);

static bool is_skewed(void)
{
    FILE *f = fopen("/proc/self/cmdline", "r");
    if (f == NULL) {
        return false;
    }
    char words[COMMAND_LINE_BYTES];
    size_t len = fread(words, 1, sizeof words - 1, f);
    fclose(f);
    words[len] = '\0';
    for (char *word = words; word < words + len; word += strlen(word) + 1) {
        if (strstr(word, "node-2.conf") != NULL) {
            return true;
        }
    }
    return false;
}

uint64_t __wrap_clock_wall_ms(void)
{
    static int skewed = -1; /* not known yet */
    if (skewed < 0) {
        skewed = is_skewed() ? 1 : 0;
    }
    return __real_clock_wall_ms() + (skewed == 1 ? SKEW_MS : 0);
}
