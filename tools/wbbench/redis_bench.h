/* `wbbench redis`: load over the Redis protocol, the same for our cluster and for others' servers. */
#ifndef WB_TOOLS_WBBENCH_REDIS_BENCH_H
#define WB_TOOLS_WBBENCH_REDIS_BENCH_H

/* Run it; @argv begins with the word `redis`. Returns the program's exit code. */
int redis_bench_main(int argc, char **argv);

#endif
