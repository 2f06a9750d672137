/* wbnode: the daemon. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "flush/schema.h"
#include "node/config.h"
#include "node/node.h"

enum { EXIT_USAGE = 2 };

static const char help[] =
    "usage: wbnode --config FILE [--adopt] [--check] [--migration VERSION]\n"
    "\n"
    "Runs one node of a wbcache cluster: a replicated write-behind cache in front of PostgreSQL.\n"
    "\n"
    "  -c, --config FILE  the configuration (see wbnode.conf.example)\n"
    "      --check        only check the configuration, and say what is wrong with it\n"
    "      --adopt        a new cluster may take over a database that another cluster filled: it reads the "
    "old rows,\n"
    "                     writes over them, and shuts the other cluster out for good\n"
    "      --migration VERSION\n"
    "                     only print the SQL that makes the schema of that version, in the configured "
    "database, one "
    "of this\n"
    "                     version: for psql, when the nodes of the older version have stopped\n"
    "      --version      print the version\n"
    "  -h, --help         print this\n"
    "\n"
    "Stops cleanly on SIGTERM or SIGINT: hands leadership over first. Logs to standard error.\n"
    "Exit status: 0 stopped cleanly, 1 could not run, 2 wrong usage or configuration.\n";

struct arguments {
    const char *config;
    bool check;
    bool adopt;
    const char *migration; /* from this version of the schema */
};

/* Returns an exit status, or -1 to go on. */
static int parse(int argc, char **argv, struct arguments *out)
{
    enum { OPT_CHECK = 256, OPT_ADOPT, OPT_MIGRATION, OPT_VERSION };
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, OPT_CHECK},
        {"adopt", no_argument, NULL, OPT_ADOPT},
        {"migration", required_argument, NULL, OPT_MIGRATION},
        {"version", no_argument, NULL, OPT_VERSION},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            out->config = optarg;
            break;
        case OPT_CHECK:
            out->check = true;
            break;
        case OPT_ADOPT:
            out->adopt = true;
            break;
        case OPT_MIGRATION:
            out->migration = optarg;
            break;
        case OPT_VERSION:
            puts("wbnode " WB_VERSION);
            return EXIT_SUCCESS;
        case 'h':
            fputs(help, stdout);
            return EXIT_SUCCESS;
        default:
            fputs("Try wbnode --help.\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (out->config == NULL || optind < argc) {
        fputs("wbnode: --config FILE is needed, and nothing else. Try wbnode --help.\n", stderr);
        return EXIT_USAGE;
    }
    return -1;
}

/* What a node needs beside its clients' connections: a group with three nodes was seen to have 7 files and
 * sockets open, and has more for a moment when it takes a snapshot or its peers come back; then the
 * database's connections, logs, pipes. */
enum { FILES_OF_A_NODE = 256, FILES_OF_A_GROUP = 16, FILES_OF_A_PEER = 4, CONNECTIONS_MIN = 16 };

/* Libraft crashes when it runs out of file descriptors: clients must leave it what it needs. False: not even
 * a few clients fit, and the words have been said. */
static bool prepare_files(struct config *config, const struct logger *logger)
{
    rlim_t own =
        FILES_OF_A_NODE + (rlim_t)config->groups * (FILES_OF_A_GROUP + FILES_OF_A_PEER * config->n_nodes);
    unsigned ports = config_self(config)->redis != NULL ? 2 : 1;
    rlim_t wanted = own + (rlim_t)config->limits.connections * ports;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) {
        return true;
    }
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < own + CONNECTIONS_MIN) {
        fprintf(stderr,
            "wbnode: %llu open files are allowed, and this node needs %llu beside those of its clients: "
            "raise the "
            "hard limit (LimitNOFILE= of systemd, ulimit -Hn), or lower groups\n",
            (unsigned long long)limit.rlim_cur, (unsigned long long)own);
        return false;
    }
    if (limit.rlim_cur < wanted) {
        config->limits.connections = (unsigned)((limit.rlim_cur - own) / ports);
        log_warn(logger, "few-files",
            "allowed=%llu wanted=%llu connections=%u detail=\"raise the hard limit of open files "
            "(LimitNOFILE= of "
            "systemd, ulimit -Hn), or lower connections in the section limits\"",
            (unsigned long long)limit.rlim_cur, (unsigned long long)wanted, config->limits.connections);
    }
    return true;
}

struct daemon {
    uv_loop_t loop;
    uv_signal_t term, interrupt;
    struct node *node;
    const struct logger *logger;
};

static void on_signal(uv_signal_t *handle, int signum)
{
    struct daemon *d = handle->data;
    log_info(d->logger, "stopping", "signal=%s", signum == SIGTERM ? "TERM" : "INT");
    node_stop(d->node);
    /* A second signal hurries; the handles must not keep the loop alive. */
    uv_unref((uv_handle_t *)&d->term);
    uv_unref((uv_handle_t *)&d->interrupt);
}

static void watch_signals(struct daemon *d)
{
    uv_signal_init(&d->loop, &d->term);
    uv_signal_init(&d->loop, &d->interrupt);
    d->term.data = d;
    d->interrupt.data = d;
    uv_signal_start(&d->term, on_signal, SIGTERM);
    uv_signal_start(&d->interrupt, on_signal, SIGINT);
}

static void close_signals(struct daemon *d)
{
    uv_close((uv_handle_t *)&d->term, NULL);
    uv_close((uv_handle_t *)&d->interrupt, NULL);
}

static int run(struct config *config, bool adopt)
{
    struct logger logger = {.out = stderr, .level = config->log_level, .node_id = config->node_id};
    struct daemon d = {.logger = &logger};
    if (!prepare_files(config, &logger)) {
        return EXIT_FAILURE;
    }
    signal(SIGPIPE, SIG_IGN);
    setenv("UV_THREADPOOL_SIZE", "16", 0); /* libraft's pool must not be starved by one slow fsync */
    uv_loop_init(&d.loop);
    watch_signals(&d); /* before the node says that it has started; they are heard in the loop */
    char errmsg[1024] = "";
    enum status status = node_start(&d.loop, config, adopt, &logger, &d.node, errmsg, sizeof errmsg);
    if (status != STATUS_OK) {
        log_error(&logger, "start-failed", "error=\"%s\"", errmsg);
        close_signals(&d);
    }
    uv_run(&d.loop, UV_RUN_DEFAULT);
    if (status == STATUS_OK) {
        close_signals(&d);
        uv_run(&d.loop, UV_RUN_DEFAULT);
        log_info(&logger, "stopped", "clean=yes");
    }
    if (uv_loop_close(&d.loop) != 0) {
        log_warn(&logger, "loop-busy", "detail=\"a handle was left open\"");
    }
    return status == STATUS_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int print_migration(const struct config *config, const char *version)
{
    char *end;
    long from = strtol(version, &end, 10);
    char *sql = *version == '\0' || *end != '\0' || from < 0 || from > SCHEMA_VERSION
                    ? NULL
                    : schema_migration_sql((int)from, config->schema);
    if (sql == NULL) {
        fprintf(stderr, "wbnode: there is no way from version \"%s\" of the schema to version %d\n", version,
            SCHEMA_VERSION);
        return EXIT_USAGE;
    }
    fputs(sql, stdout);
    free(sql);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {0};
    int status = parse(argc, argv, &arguments);
    if (status >= 0) {
        return status;
    }
    struct config config;
    char errmsg[1024];
    if (config_load(arguments.config, &config, errmsg, sizeof errmsg) != STATUS_OK) {
        fprintf(stderr, "wbnode: %s\n", errmsg);
        return EXIT_USAGE;
    }
    if (arguments.check) {
        printf("%s: node %llu of cluster \"%s\", %u nodes, %u groups: fine\n", arguments.config,
            (unsigned long long)config.node_id, config.cluster, config.n_nodes, config.groups);
        status = EXIT_SUCCESS;
    } else if (arguments.migration != NULL) {
        status = print_migration(&config, arguments.migration);
    } else {
        status = run(&config, arguments.adopt);
    }
    config_deinit(&config);
    return status;
}
