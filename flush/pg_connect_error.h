/* What went wrong while connecting, out of libpq's words: it has no SQLSTATE for that, but with
 * PQERRORS_VERBOSE the server's code stands in the text. Pure. */
#ifndef WB_FLUSH_PG_CONNECT_ERROR_H
#define WB_FLUSH_PG_CONNECT_ERROR_H

#include "flush/flush.h"

/* @text is PQerrorMessage() of a connection that failed while it was verbose; with several addresses it tells
 * of all attempts, and the last one decides the class. Codes and source places leave the message.
 * @password_missing is PQconnectionNeedsPassword(). Never a ROW error: there are no rows yet. */
void pg_connect_error(const char *text, bool password_missing, struct flush_error *error);

#endif
