/* wbclient: the command line of a wbcache cluster. One command from the arguments, or many from standard
 * input. main.c reads the options, commands.c holds the table of commands, commands_key.c and
 * commands_many.c those on keys, status.c (with status_json.c) the two that look at the cluster, flush.c,
 * quarantine.c, key_status.c and verify.c those for operators, output.c how things are shown, args.c what
 * words and numbers mean, repl.c the shell, words.c its quoting, session.c the connection and how failures
 * are told. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/alloc.h"
#include "tools/wbclient/commands.h"
#include "tools/wbclient/repl.h"

static void print_help(void)
{
    puts("Usage: wbclient [OPTIONS] [COMMAND [ARGUMENTS]]\n"
         "\n"
         "Without a COMMAND: an interactive shell on a terminal, else commands are read line by line.\n"
         "\n"
         "Options:\n"
         "  --cluster HOST:PORT,...  nodes to ask first (default: $WBCACHE_CLUSTER)\n"
         "  --json                   one JSON object a line, also for errors\n"
         "  --deadline MS            how long each command may take (default 5000)\n"
         "  --flushed                writes are answered when they are in PostgreSQL\n"
         "  --help, --version\n"
         "\n"
         "Commands:");
    const struct bytes help = bytes_from_text("help");
    struct session s = {0};
    (void)command_run(&s, &help, 1);
    puts("\n`wbclient help COMMAND` tells more.\n"
         "In the shell, words with blanks go in double quotes, and \\xNN in double quotes is any byte.\n"
         "Exit codes: 0 done, 1 no such key, 2 wrong usage, 3 the outcome of a write is unknown, 4 failed,\n"
         "5 the condition does not hold, 6 done and replicated, but not in PostgreSQL by the deadline,\n"
         "7 done and replicated, but PostgreSQL refuses the row, 8 verify found differences that remain.\n"
         "Many commands from a pipe: the largest code of all.");
}

static bool parse_deadline(const char *text, unsigned *out)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || v == 0 || v > 86400000UL) {
        return false;
    }
    *out = (unsigned)v;
    return true;
}

/* -1: go on; else exit with that code. */
static int parse_options(int argc, char **argv, struct session *s)
{
    static const struct option options[] = {
        {"cluster", required_argument, NULL, 'c'},
        {"deadline", required_argument, NULL, 'd'},
        {"flushed", no_argument, NULL, 'f'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    int c;
    /* '+': options end at the command, so that a value may begin with '-'. */
    while ((c = getopt_long(argc, argv, "+hj", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            s->cluster = optarg;
            break;
        case 'd':
            if (!parse_deadline(optarg, &s->deadline_ms)) {
                return session_usage(s, "--deadline wants milliseconds, from 1 to 86400000");
            }
            break;
        case 'f':
            s->flushed = true;
            break;
        case 'j':
            s->json = true;
            break;
        case 'h':
            print_help();
            return EXIT_DONE;
        case 'v':
            puts("wbclient " WBCACHE_VERSION);
            return EXIT_DONE;
        default:
            fputs("See wbclient --help.\n", stderr);
            return EXIT_USAGE;
        }
    }
    return -1;
}

static int run_arguments(struct session *s, char **argv, size_t n)
{
    struct bytes *words = xcalloc(n, sizeof *words);
    for (size_t i = 0; i < n; i++) {
        words[i] = bytes_from_text(argv[i]);
    }
    int result = command_run(s, words, n);
    free(words);
    return result;
}

int main(int argc, char **argv)
{
    struct session s = {.deadline_ms = 5000, .terminal = isatty(STDOUT_FILENO) != 0};
    int result = parse_options(argc, argv, &s);
    if (result >= 0) {
        return result;
    }
    if (optind < argc) {
        result = run_arguments(&s, argv + optind, (size_t)(argc - optind));
    } else {
        s.shell = true;
        result = isatty(STDIN_FILENO) && s.terminal ? repl_interactive(&s) : repl_pipe(&s, stdin);
    }
    wbcache_close(s.cache);
    if (fflush(stdout) != 0 && result == EXIT_DONE) {
        perror("wbclient: standard output");
        result = EXIT_FAILED;
    }
    return result;
}
