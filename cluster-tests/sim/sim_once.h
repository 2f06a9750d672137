/* Exactly once, as the log shows it: what each session's requests came to, and which of them a client was
 * told had done nothing. No request may come to two things. */
#ifndef WB_SIM_ONCE_H
#define WB_SIM_ONCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_once_request {
    uint64_t index; /* of the entry that has its outcome; 0: none has */
    uint32_t status;
    bool refused; /* its client was told that nothing was done */
};

struct sim_once_session {
    uint64_t id;
    struct sim_once_request *requests; /* by sequence */
    size_t n;
};

struct sim_once {
    struct sim_once_session *sessions;
    size_t n, capacity;
};

void sim_once_init(struct sim_once *o);
void sim_once_deinit(struct sim_once *o);
/* What (@session, @sequence) is known to have come to; all zero when nothing is. Valid until the next call.
 */
struct sim_once_request *sim_once_at(struct sim_once *o, uint64_t session, uint64_t sequence);

#endif
