/* The bodies of the functions (and of the DO blocks) that the schema has, as templates of schema.c. Pure. */
#ifndef WB_FLUSH_SCHEMA_FUNCTIONS_H
#define WB_FLUSH_SCHEMA_FUNCTIONS_H

#include "flush/schema.h"

/* The body that stands for ~ in the text of @which; NULL when it has none. */
const char *schema_function_body(enum schema_sql which);

#endif
