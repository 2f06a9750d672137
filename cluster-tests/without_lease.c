/* The negative control of the tests on reads: linked into wbnode in the place of replica_lease_valid (the
 * linker's
 * --wrap), it makes a node that answers reads without proving that it still leads. */
#include "raft/replica.h"

bool __wrap_replica_lease_valid(struct replica *r);

bool __wrap_replica_lease_valid(struct replica *r)
{
    (void)r;
    return true;
}
