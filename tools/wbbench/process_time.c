#include "tools/wbbench/process_time.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool process_stat(int pid, struct flush_proc_stat *out)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return false;
    }
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    return flush_proc_stat_parse(text, out);
}

static uint64_t living_children_ticks(int parent)
{
    uint64_t ticks = 0;
    DIR *proc = opendir("/proc");
    if (proc == NULL) {
        return 0;
    }
    struct flush_proc_stat stat;
    for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
        int pid = atoi(entry->d_name);
        if (pid > 0 && process_stat(pid, &stat) && stat.parent == parent) {
            ticks += stat.ticks;
        }
    }
    closedir(proc);
    return ticks;
}

double process_seconds(int pid, bool children)
{
    struct flush_proc_stat stat;
    if (!process_stat(pid, &stat)) {
        return -1;
    }
    uint64_t ticks = stat.ticks;
    if (children) {
        ticks += stat.children_ticks + living_children_ticks(pid);
    }
    return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}
