/* CONFIG GET. */
#include <string.h>

#include "node/redis/glob.h"
#include "node/redis/local.h"

/* Redis' parameters that clients ask for or that mean something here, with what is true here. Without a text
 * it is what the view says. */
struct parameter {
    const char *name, *text;
    uint64_t (*number)(const struct redis_node_view *view);
    const char *(*of_view)(const struct redis_node_view *view);
};

static uint64_t maxmemory(const struct redis_node_view *view)
{
    return view->memory_max_bytes;
}

static uint64_t maxclients(const struct redis_node_view *view)
{
    return view->connections_max;
}

static uint64_t port(const struct redis_node_view *view)
{
    return view->port;
}

static uint64_t timeout_s(const struct redis_node_view *view)
{
    return view->idle_timeout_s;
}

/* A write is acknowledged when so many have it. */
static uint64_t replicas_to_write(const struct redis_node_view *view)
{
    return view->replicas_acknowledged;
}

static uint64_t bulk_max(const struct redis_node_view *view)
{
    (void)view;
    return LIMIT_VALUE_BYTES;
}

static const char *host(const struct redis_node_view *view)
{
    return view->nodes[view->self].host;
}

static const char *dir(const struct redis_node_view *view)
{
    return view->data_dir;
}

static const struct parameter parameters[] = {
    {"activedefrag", "no", NULL, NULL},
    {"aof-use-rdb-preamble", "no", NULL, NULL},
    {"appendfsync", "always", NULL, NULL},
    {"appendonly", "yes", NULL, NULL},
    {"bind", NULL, NULL, host},
    {"cluster-allow-reads-when-down", "no", NULL, NULL},
    {"cluster-announce-ip", NULL, NULL, host},
    {"cluster-enabled", "yes", NULL, NULL},
    {"cluster-require-full-coverage", "no", NULL, NULL},
    {"daemonize", "no", NULL, NULL},
    {"databases", "1", NULL, NULL},
    {"dir", NULL, NULL, dir},
    {"hash-max-listpack-entries", "512", NULL, NULL},
    {"hash-max-listpack-value", "64", NULL, NULL},
    {"hash-max-ziplist-entries", "512", NULL, NULL},
    {"hash-max-ziplist-value", "64", NULL, NULL},
    {"io-threads", "1", NULL, NULL},
    {"maxclients", NULL, maxclients, NULL},
    {"maxmemory", NULL, maxmemory, NULL},
    {"maxmemory-policy", "noeviction", NULL, NULL},
    {"min-replicas-to-write", NULL, replicas_to_write, NULL},
    {"min-slaves-to-write", NULL, replicas_to_write, NULL},
    {"notify-keyspace-events", "", NULL, NULL},
    {"port", NULL, port, NULL},
    {"proto-max-bulk-len", NULL, bulk_max, NULL},
    {"replica-read-only", "yes", NULL, NULL},
    {"replica-serve-stale-data", "yes", NULL, NULL},
    {"requirepass", "", NULL, NULL},
    {"save", "", NULL, NULL},
    {"slave-read-only", "yes", NULL, NULL},
    {"slave-serve-stale-data", "yes", NULL, NULL},
    {"slowlog-log-slower-than", "-1", NULL, NULL},
    {"timeout", NULL, timeout_s, NULL},
    {"tls-port", "0", NULL, NULL},
    {"unixsocket", "", NULL, NULL},
};

enum { PARAMETERS_N = sizeof(parameters) / sizeof(parameters[0]) };

/* Without * ? [ it is a name, and comes back as the client spelled it. */
static bool is_pattern(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (strchr("*?[", text.data[i]) != NULL && text.data[i] != 0) {
            return true;
        }
    }
    return false;
}

static struct bytes in_lower_case(struct bytes text, uint8_t *out)
{
    for (size_t i = 0; i < text.len; i++) {
        out[i] =
            (uint8_t)(text.data[i] >= 'A' && text.data[i] <= 'Z' ? text.data[i] + ('a' - 'A') : text.data[i]);
    }
    return bytes_of(out, text.len);
}

struct found {
    bool is;
    struct bytes name; /* as it is told */
};

/* Which parameters the argument @asked names. */
static void find_parameters(struct bytes asked, struct found *found)
{
    enum {
        PATTERN_BYTES_MAX = 256
    }; /* a longer one matches nothing: no parameter's name is a tenth of that */
    uint8_t lower[PATTERN_BYTES_MAX];
    if (asked.len > sizeof(lower)) {
        return;
    }
    struct bytes pattern = in_lower_case(asked, lower);
    bool is = is_pattern(asked);
    for (unsigned i = 0; i < PARAMETERS_N; i++) {
        struct bytes name = bytes_from_text(parameters[i].name);
        if (!found[i].is && (is ? redis_glob(pattern, name) : bytes_equal(pattern, name))) {
            found[i] = (struct found){true, is ? name : asked};
        }
    }
}

static void reply_parameter(struct redis_local_call *c, const struct parameter *parameter)
{
    if (parameter->number != NULL) {
        resp_number_text(c->out, (int64_t)parameter->number(c->view));
    } else {
        resp_text(c->out, parameter->of_view != NULL ? parameter->of_view(c->view) : parameter->text);
    }
}

void redis_local_config_get(struct redis_local_call *c)
{
    struct found found[PARAMETERS_N] = {0};
    size_t n = 0;
    for (uint32_t a = 2; a < c->n; a++) {
        find_parameters(c->args[a], found);
    }
    for (unsigned i = 0; i < PARAMETERS_N; i++) {
        n += found[i].is;
    }
    resp_map(c->out, n);
    for (unsigned i = 0; i < PARAMETERS_N; i++) {
        if (found[i].is) {
            resp_bulk(c->out, found[i].name);
            reply_parameter(c, &parameters[i]);
        }
    }
}
