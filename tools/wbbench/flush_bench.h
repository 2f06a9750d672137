/* `wbbench flush`: how fast a cluster's flush writes to PostgreSQL, beside a peer that does nothing else. */
#ifndef WB_TOOLS_WBBENCH_FLUSH_BENCH_H
#define WB_TOOLS_WBBENCH_FLUSH_BENCH_H

/* Run it; @argv begins with the word `flush`. Returns the program's exit code. */
int flush_bench_main(int argc, char **argv);

#endif
