/* What several files of local commands share. Pure. */
#ifndef WB_NODE_REDIS_LOCAL_UTIL_H
#define WB_NODE_REDIS_LOCAL_UTIL_H

#include "node/redis/command.h"

/* The Redis that we say we are: clients choose by it what they send. */
#define LOCAL_REDIS_VERSION "7.0.15"

/* Does this node lead a group? Then it is a master for clients. */
bool local_is_master(const struct redis_node_view *view);
/* An error with @text of the client between the two parts, which are literals. Long texts are cut. */
void local_error_with(struct resp_writer *out, const char *before, struct bytes text, const char *after);
/* Set one of the client's texts, unless characters are in it that CLIENT LIST could not show: then false,
 * with the error, which calls it @what. */
bool local_set_client_text(struct redis_local_call *c, char **text, struct bytes to, const char *what);
/* What a subcommand HELP replies: a title, and each supported subcommand of @container with its summary. */
void local_help(struct redis_local_call *c, const char *container);
/* Append as printf does, to texts such as INFO's. */
void local_print(struct buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
