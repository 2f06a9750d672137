/* The rows of the table of commands; only command_table.c and what it is tested by look here. */
#ifndef WB_NODE_REDIS_COMMAND_ROWS_H
#define WB_NODE_REDIS_COMMAND_ROWS_H

#include "node/redis/command.h"

/* By name, in the order of strcmp. */
extern const struct redis_command redis_command_rows[];
extern const uint32_t redis_command_rows_n;

#endif
