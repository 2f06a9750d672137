/* What an error of PostgreSQL's means to the flush. Pure. */
#ifndef WB_FLUSH_FLUSH_ERROR_H
#define WB_FLUSH_FLUSH_ERROR_H

#include <stdarg.h>

#include "flush/flush.h"

/* Our own codes, raised by <schema>.flush_advance. */
#define SQLSTATE_FENCED      "WB001"
#define SQLSTATE_PREDECESSOR "WB002"
#define SQLSTATE_HALT        "WB003"

/* The class of @sqlstate (five characters; NULL or "" when the connection itself failed). What is not known
 * is an outage: trying again loses nothing, and says what happened. */
enum flush_error_class flush_error_classify(const char *sqlstate);

/* What SIMILAR TO must match for a SQLSTATE to be of the class ROW: "(22|23)%" or the like. malloc'd for the
 * caller. */
char *flush_error_row_pattern(void);

/* "outage", "transient", "row", "fenced", "predecessor", "halt". */
const char *flush_error_class_name(enum flush_error_class class);

/* Fill @e. @sqlstate may be NULL. The message becomes one line, cut at the field's size, but not inside of a
 * character; white space at its ends goes. */
void flush_error_set(struct flush_error *e, enum flush_error_class class, const char *sqlstate,
    const char *format, ...) __attribute__((format(printf, 4, 5)));

/* @cluster_id as PostgreSQL writes a uuid: 36 characters and a 0. */
enum { CLUSTER_ID_TEXT_BYTES = 37 };
void cluster_id_text(const uint8_t cluster_id[CLUSTER_ID_BYTES], char out[CLUSTER_ID_TEXT_BYTES]);

#endif
