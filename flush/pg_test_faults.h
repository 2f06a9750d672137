/* For tests: a wire to PostgreSQL (pg_test_wire.h) that reads the protocol's messages, and at one place of a
 * conversation cuts it, or says something that the server did not. Threading: the calls from one thread; the
 * wire is a thread of its own. */
#ifndef WB_FLUSH_PG_TEST_FAULTS_H
#define WB_FLUSH_PG_TEST_FAULTS_H

#include "flush/pg_test_server.h"
#include "flush/pg_test_wire.h"
#include "proto/base/buf.h"

struct pg_test_faults;

/* Where: counted on one connection and in one direction from the moment of arming. */
enum pg_fault_place {
    PG_FAULT_NOWHERE,       /* only count */
    PG_FAULT_AFTER_BYTES,   /* @position of them have passed; 0: instead of the first. Only to cut */
    PG_FAULT_AFTER_MESSAGE, /* the message number @position, from 1, has passed */
    PG_FAULT_AFTER_TAG,     /* the server's first CommandComplete with the tag @tag has passed */
    PG_FAULT_AFTER_EACH,    /* every message; only to say */
};

struct pg_fault {
    enum pg_fault_place place;
    enum pg_test_side from;
    uint64_t position;
    const char *tag;  /* borrowed until disarmed */
    bool drop;        /* the message itself does not pass */
    struct bytes say; /* what the client gets behind it; borrowed until disarmed */
    bool deafen;      /* and then nothing more is read from the client */
    bool cut;         /* and then the connection ends */
};

/* Heap object; NULL: no sockets. @server is borrowed until return. */
struct pg_test_faults *pg_test_faults_start(const struct pg_test_server *server);
void pg_test_faults_stop(struct pg_test_faults *t);
/* How to connect through it. */
enum { PG_TEST_FAULTS_DSN_BYTES = 128 };
void pg_test_faults_dsn(const struct pg_test_faults *t, char out[PG_TEST_FAULTS_DSN_BYTES]);

/* Once, on the connection that was accepted last, from what arrives now on. The fault before it is forgotten.
 */
void pg_test_faults_arm(struct pg_test_faults *t, const struct pg_fault *fault);
/* The same, on the connection that will be accepted next. */
void pg_test_faults_arm_next(struct pg_test_faults *t, const struct pg_fault *fault);
/* Has it struck? Then nothing of the fault is borrowed any more. */
bool pg_test_faults_struck(struct pg_test_faults *t);
/* How much has passed since arming, whatever the fault. */
uint64_t pg_test_faults_bytes(struct pg_test_faults *t, enum pg_test_side from);
uint64_t pg_test_faults_messages(struct pg_test_faults *t, enum pg_test_side from);
/* Reset the connection that was accepted last. When this returns, that has happened. */
void pg_test_faults_reset_now(struct pg_test_faults *t);

/* Append a message of the server's: an ErrorResponse ('E') or NoticeResponse ('N'); a CommandComplete;
 * ReadyForQuery outside of a transaction. */
void pg_test_say_report(
    struct buf *out, char type, const char *severity, const char *sqlstate, const char *text);
void pg_test_say_complete(struct buf *out, const char *tag);
void pg_test_say_ready(struct buf *out);

#endif
