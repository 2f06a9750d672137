/* Many distinct keys, more than memory holds: threads with pipelined handles write each key once, in order,
 * or read them back. What became of every key is kept, in one byte; its value follows from its name. So ten
 * million keys need ten megabytes here.
 *
 * The value of a key is its name behind a '=', repeated up to the wanted length: SQL can make it too, see
 * FILLER_SQL_VALUE. Threading: the calls from one thread; the workers are their own. */
#ifndef WB_CLUSTER_TESTS_FILLER_H
#define WB_CLUSTER_TESTS_FILLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FILLER_KEY_BYTES = 40, FILLER_THREADS_MAX = 16 };

/* The value of a row's key as an SQL expression; printf gets the value's length. */
#define FILLER_SQL_VALUE "convert_to(rpad('', %u, '=' || convert_from(key, 'UTF8')), 'UTF8')"

enum filler_outcome {
    FILLER_NOT_WRITTEN,
    FILLER_ACKNOWLEDGED,
    FILLER_OVERLOADED, /* certainly not done; the budget was full */
    FILLER_REFUSED,    /* certainly not done, for another reason */
    FILLER_UNKNOWN,
    FILLER_OUTCOMES,
};

struct filler_config {
    const char *cluster; /* addresses; copied, like the prefix */
    const char *prefix;  /* of the keys: at most 20 characters */
    uint32_t keys;
    unsigned value_bytes;
    unsigned threads;
    unsigned pipeline;    /* calls under way for each thread */
    unsigned deadline_ms; /* of each call */
};

struct filler_numbers {
    uint64_t outcomes[FILLER_OUTCOMES]; /* keys by what became of their write */
    uint64_t read;                      /* by the last filler_read: answered with the right value */
    uint64_t missing, wrong, failed;    /* by the last filler_read: of what was to be there */
    char error[160];                    /* the newest call that was not OK, in words */
};

struct filler;

/* Heap object; never NULL. */
struct filler *filler_create(const struct filler_config *config);
void filler_destroy(struct filler *f); /* NULL is allowed; ends the work */

/* Begin to write every key that is not acknowledged; or to read every key that is. Not while one is under
 * way. */
void filler_write(struct filler *f);
void filler_read(struct filler *f);
/* How many keys were worked on so far; *@ended (may be NULL): all were. */
uint64_t filler_progress(struct filler *f, bool *ended);
/* Wait for the end of what is under way, and say what it came to. */
struct filler_numbers filler_join(struct filler *f);

/* Of key number @key, which is below config.keys. */
enum filler_outcome filler_outcome(const struct filler *f, uint32_t key);
/* Its name; returns the length. */
size_t filler_key(const struct filler *f, uint32_t key, char out[FILLER_KEY_BYTES]);
/* Is this its value? */
bool filler_is_value(const struct filler *f, uint32_t key, const void *value, size_t len);

#endif
