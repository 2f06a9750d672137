/* Running a program to its end, and wbclient as an operator does. Threading: any thread; blocking. */
#ifndef WB_CLUSTER_TESTS_PROGRAM_H
#define WB_CLUSTER_TESTS_PROGRAM_H

#include "cluster-tests/cluster.h"

enum { PROGRAM_WORDS_MAX = 32 };

/* Run @argv (NULL-terminated; a program without a '/' is looked for in PATH) with nothing to read. What it
 * says on both outputs is in @output, cut at @output_len, 0-terminated. Returns its exit code; -1 when it
 * could not be run or was ended by a signal. */
int program_run(const char *const *argv, char *output, size_t output_len);

/* Run wbclient for this cluster with @words (NULL-terminated), show it in the transcript, and return its exit
 * code; output as above. */
int program_wbclient(struct cluster *c, const char *const *words, char *output, size_t output_len);
/* The same, where anything else than exit code 0 fails the running test. Main thread only. */
void program_wbclient_or_fail(struct cluster *c, const char *const *words, char *output, size_t output_len);

#endif
