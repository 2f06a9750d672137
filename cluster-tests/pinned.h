/* Many reads at once on one connection to one node, and no library that would follow redirects, try again or
 * go elsewhere. What this node answers is what is judged.
 *
 * Reads carry a floor: the version of the newest write of their key that was acknowledged before they were
 * sent. An OK with a lower version, or with nothing, is an old answer, which no linearizable cluster gives.
 * Threading: one thread at a time. Nothing here fails a test. */
#ifndef WB_CLUSTER_TESTS_PINNED_H
#define WB_CLUSTER_TESTS_PINNED_H

#include "proto/base/bytes.h"

struct pinned_numbers {
    uint64_t asked;
    uint64_t ok;
    uint64_t refused;  /* other answers */
    uint64_t old;      /* of the OK ones */
    char problem[160]; /* the first old one, in words; else "" */
};

struct pinned;

/* Connect to "10.0.0.1:7101". NULL when that fails. Heap object. A stopped process lets one connect. */
struct pinned *pinned_open(const char *address);
void pinned_close(struct pinned *p); /* NULL is allowed */

/* Ask for @key; the node gives up after @deadline_ms. The request leaves with the next pinned_send or, when
 * the kernel doesn't take it then, a later pinned_turn. */
void pinned_get(struct pinned *p, struct bytes key, uint32_t deadline_ms, uint64_t floor);
void pinned_send(struct pinned *p);
/* Reads asked for and not answered; 0 when the connection is gone. */
uint64_t pinned_waiting(const struct pinned *p);
/* Send and receive on @n connections; waits at most @wait_ms for something to happen. False: all are gone. */
bool pinned_turn(struct pinned *const *ps, unsigned n, unsigned wait_ms);
struct pinned_numbers pinned_numbers(const struct pinned *p);

#endif
