/* What the logs and /proc say of the processes. */
#include "cluster-tests/cluster.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster-tests/scenario.h"

static void log_path(struct cluster *c, unsigned node, char *out, size_t out_len)
{
    if (node == 0) {
        snprintf(out, out_len, "%s/pg.log", c->dir);
    } else {
        snprintf(out, out_len, "%s/node-%u.log", c->dir, node);
    }
}

long cluster_log_place(struct cluster *c, unsigned node)
{
    char path[192];
    log_path(c, node, path, sizeof path);
    struct stat st;
    return stat(path, &st) == 0 ? (long)st.st_size : 0;
}

static bool has_all(const char *line, const char *const *words)
{
    for (unsigned i = 0; words[i] != NULL; i++) {
        if (strcasestr(line, words[i]) == NULL) {
            return false;
        }
    }
    return true;
}

long cluster_log_find(struct cluster *c, unsigned node, long place, const char *const *words)
{
    char path[192];
    log_path(c, node, path, sizeof path);
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        return -1;
    }
    fseek(f, place, SEEK_SET);
    long found = -1;
    char line[4096];
    while (found < 0 && fgets(line, sizeof line, f) != NULL) {
        if (has_all(line, words)) {
            found = ftell(f);
            line[strcspn(line, "\n")] = '\0';
            say("  %s: %.200s", strrchr(path, '/') + 1, line);
        }
    }
    fclose(f);
    return found;
}

static bool read_proc(pid_t pid, const char *file, char *out, size_t out_len)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        return false;
    }
    size_t len = fread(out, 1, out_len - 1, f);
    out[len] = '\0';
    fclose(f);
    return len > 0;
}

uint64_t process_cpu_ms(pid_t pid)
{
    char text[1024];
    if (!read_proc(pid, "stat", text, sizeof text)) {
        return 0;
    }
    uint64_t user = 0;
    uint64_t system = 0;
    const char *after_name = strrchr(text, ')'); /* the name may hold anything */
    if (after_name == NULL ||
        sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64, &user,
            &system) != 2) {
        return 0;
    }
    return (user + system) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

uint64_t process_resident_bytes(pid_t pid)
{
    char text[256];
    uint64_t pages = 0;
    if (!read_proc(pid, "statm", text, sizeof text) || sscanf(text, "%*u %" SCNu64, &pages) != 1) {
        return 0;
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}
