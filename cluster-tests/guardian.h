/* Running tools/cluster, and the promise that no cluster outlives its test: a guardian process, which nobody
 * waits for, stops the cluster when the test's process ends without having done so (a crash, a timeout's
 * SIGKILL). */
#ifndef WB_CLUSTER_TESTS_GUARDIAN_H
#define WB_CLUSTER_TESTS_GUARDIAN_H

/* Run tools/cluster with @arguments (NULL-terminated) and --dir @dir, its output into the file @output_path.
 * Returns its exit code, or -1 when it could not be run. Any thread. */
int guardian_run_tool(const char *dir, const char *const *arguments, const char *output_path);

/* Start a guardian of the cluster in @dir; returns a descriptor for guardian_end, -1 when that was not
 * possible. */
int guardian_start(const char *dir);
/* The cluster is stopped: the guardian goes. -1 is allowed. */
void guardian_end(int fd);

/* Remove a test's folder and all in it. */
void guardian_remove_folder(const char *dir);

#endif
