/* Defects, for tests that show that the checks can fail. The product has no switch for any of them: they are
 * made by what surrounds a group in the simulator (sim_node.c, sim_op.c), or by functions that the linker
 * puts in the place of the product's (sim_defects.c). */
#ifndef WB_SIM_DEFECTS_H
#define WB_SIM_DEFECTS_H

enum sim_defect {
    SIM_SOUND,
    SIM_NO_LEASE,           /* reads do not ask for the lease */
    SIM_SESSIONS_IGNORED,   /* a retry is executed like any other request */
    SIM_REFUSALS_FORGOTTEN, /* a retry that writes nothing is not remembered: the first try may come later */
    SIM_LOCAL_EXPIRY,       /* a key is gone when the leader's clock says so, without a word in the log */
    SIM_LOADS_LIVE,         /* a row that was read before its key was written is taken for the newest */
    SIM_CAPTURES_UNPROVED,  /* an answer that saw a write in flight is given without the lease when that
                               applied */
    SIM_REWIND_FORGETS, /* what is in flight is taken for written when the database has gone back in time */
    SIM_TRIMS_AWAY,     /* what was flushed is forgotten as time goes by, also while the database is away */
    SIM_FRESH_UNPROVED, /* how fresh the database is, is reckoned without asking whether we still lead */
    SIM_TRANSACTIONS_SPLIT, /* each write of a transaction is in an entry of its own */
    SIM_UNTIED,             /* nobody remembers that a transaction wrote several keys */
    SIM_OVERTAKING,         /* a request does not wait behind earlier ones of its connection */
    SIM_TOLD_REPLACED, /* a write is replaced by a later one of its entry though a reader has its version */
    SIM_DEFECTS
};

/* "lease" and so on, as wbsim's --defect takes it; NULL for SIM_SOUND. */
const char *sim_defect_name(enum sim_defect defect);
/* From now on, in this process. */
void sim_defect_set(enum sim_defect defect);

#endif
