/* The local commands: answered from what the node knows, without any group. The dispatcher calls one with a
 * fitting number of arguments; errors are replies. Pure. */
#ifndef WB_NODE_REDIS_LOCAL_H
#define WB_NODE_REDIS_LOCAL_H

#include "node/redis/command.h"

/* local_connection.c */
void redis_local_ping(struct redis_local_call *c), redis_local_echo(struct redis_local_call *c);
void redis_local_hello(struct redis_local_call *c), redis_local_auth(struct redis_local_call *c);
void redis_local_select(struct redis_local_call *c), redis_local_readonly(struct redis_local_call *c);
void redis_local_readwrite(struct redis_local_call *c), redis_local_asking(struct redis_local_call *c);
void redis_local_time(struct redis_local_call *c), redis_local_wait(struct redis_local_call *c);
void redis_local_waitaof(struct redis_local_call *c);
/* A subcommand that is not supported; its row's note says why. */
void redis_local_refused(struct redis_local_call *c);
/* local_client.c */
void redis_local_client_getname(struct redis_local_call *c),
    redis_local_client_setname(struct redis_local_call *c);
void redis_local_client_setinfo(struct redis_local_call *c),
    redis_local_client_id(struct redis_local_call *c);
void redis_local_client_info(struct redis_local_call *c), redis_local_client_list(struct redis_local_call *c);
void redis_local_client_no_evict(struct redis_local_call *c),
    redis_local_client_no_touch(struct redis_local_call *c);
void redis_local_client_getredir(struct redis_local_call *c);
void redis_local_client_trackinginfo(struct redis_local_call *c);
/* local_server.c */
void redis_local_config_get(struct redis_local_call *c);
void redis_local_client_help(struct redis_local_call *c), redis_local_config_help(struct redis_local_call *c);
void redis_local_command_help(struct redis_local_call *c),
    redis_local_memory_help(struct redis_local_call *c);
void redis_local_object_help(struct redis_local_call *c),
    redis_local_cluster_help(struct redis_local_call *c);
/* local_info.c */
void redis_local_info(struct redis_local_call *c);
/* local_command.c, local_docs.c */
void redis_local_command(struct redis_local_call *c), redis_local_command_count(struct redis_local_call *c);
void redis_local_command_info(struct redis_local_call *c),
    redis_local_command_list(struct redis_local_call *c);
void redis_local_command_getkeys(struct redis_local_call *c);
void redis_local_command_getkeysandflags(struct redis_local_call *c);
void redis_local_command_docs(struct redis_local_call *c);
/* local_cluster.c */
void redis_local_cluster_slots(struct redis_local_call *c),
    redis_local_cluster_shards(struct redis_local_call *c);
void redis_local_cluster_nodes(struct redis_local_call *c),
    redis_local_cluster_info(struct redis_local_call *c);
void redis_local_cluster_myid(struct redis_local_call *c),
    redis_local_cluster_myshardid(struct redis_local_call *c);
void redis_local_cluster_keyslot(struct redis_local_call *c),
    redis_local_cluster_links(struct redis_local_call *c);
void redis_local_cluster_count_failure_reports(struct redis_local_call *c);
void redis_local_cluster_replicas(struct redis_local_call *c);
/* local_keyspace.c */
void redis_local_scan(struct redis_local_call *c), redis_local_keys(struct redis_local_call *c);
void redis_local_randomkey(struct redis_local_call *c), redis_local_dbsize(struct redis_local_call *c);
void redis_local_cluster_countkeysinslot(struct redis_local_call *c);
void redis_local_cluster_getkeysinslot(struct redis_local_call *c);

#endif
