/* How the fake database keeps a hash: as PostgreSQL does, by its fields and not by their order. */
#ifndef WB_SIM_FAKE_FIELDS_H
#define WB_SIM_FAKE_FIELDS_H

#include "proto/base/buf.h"

/* The hash that the JSON text @json stands for (see flush/fields_json.h), into @out (empty), with its fields
 * in the order in which jsonb has them: by the lengths of their names, then by their bytes. Aborts when it is
 * none. */
void fake_fields_read(struct bytes json, struct buf *out);

#endif
