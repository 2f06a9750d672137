#include "tools/wbclient/session.h"

#include <stdarg.h>
#include <stdlib.h>

#include "tools/wbclient/words.h"

static const char *advice(int code)
{
    switch (code) {
    case WBCACHE_UNAVAILABLE:
        return "See `wbclient status`: a majority of the nodes must be up, and their addresses right.";
    case WBCACHE_UNKNOWN:
        return "Read the key, or write it again if doing it twice is harmless.";
    case WBCACHE_TIMEOUT:
        return "Try again, or give more time with --deadline.";
    case WBCACHE_OVERLOADED:
        return "The database is slow or down. See `wbclient lag`, and try again later.";
    case WBCACHE_DATABASE_DOWN:
        return "Only keys in memory can be read until the database is back. See `wbclient status`.";
    case WBCACHE_NO_SPACE:
        return "Make space on the disk of the group's leader; `wbclient status` shows who leads.";
    case WBCACHE_NOT_FLUSHED:
        return "Nothing is lost: the cluster has it, and writes it as soon as it can. See `wbclient lag`.";
    case WBCACHE_QUARANTINED:
        return "The cluster has it, and reads give it. `wbclient quarantine show KEY` tells why PostgreSQL "
               "refuses it.";
    case WBCACHE_NOT_A_NUMBER:
        return "`wbclient get` shows the value; `set` replaces it.";
    case WBCACHE_HALTED:
        return "`wbclient status` shows why.";
    case WBCACHE_CLOSED:
    case WBCACHE_IO:
        return "Check the addresses (--cluster or WBCACHE_CLUSTER) and that the nodes run.";
    default:
        return NULL;
    }
}

int session_report(struct session *s, int code, const char *message)
{
    const char *general = wbcache_strerror(code);
    /* The library's messages begin with the call and the code's name, which we show anyway. */
    const char *text =
        message != NULL && message[0] != '\0' ? words_behind_name(message, wbcache_code_name(code)) : general;
    const char *hint = advice(code);
    if (s->json) {
        json_t *o = json_pack("{s:s, s:s}", "error", wbcache_code_name(code), "message", text);
        if (o != NULL && hint != NULL) {
            json_object_set_new(o, "hint", json_string(hint));
        }
        session_print_json(o);
    } else {
        fflush(stdout); /* what was printed before comes before, also when both go to one pipe */
        fprintf(stderr, "wbclient: %s: %s\n", wbcache_code_name(code), text);
        if (hint != NULL) {
            fprintf(stderr, "  %s\n", hint);
        }
    }
    return session_exit_code(code);
}

int session_exit_code(int code)
{
    switch (code) {
    case WBCACHE_OK:
        return EXIT_DONE;
    case WBCACHE_NOT_FOUND:
        return EXIT_NOT_FOUND;
    case WBCACHE_UNKNOWN:
        return EXIT_UNKNOWN;
    case WBCACHE_CONDITION_FAILED:
        return EXIT_CONDITION;
    case WBCACHE_NOT_FLUSHED:
        return EXIT_NOT_FLUSHED;
    case WBCACHE_QUARANTINED:
        return EXIT_QUARANTINED;
    default:
        return EXIT_FAILED;
    }
}

int session_usage(struct session *s, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (s->json) {
        session_print_json(json_pack("{s:s, s:s}", "error", "USAGE", "message", text));
    } else {
        fflush(stdout);
        fprintf(stderr, "wbclient: %s\n", text);
    }
    return EXIT_USAGE;
}

void session_print_json(json_t *object)
{
    if (object == NULL || json_dumpf(object, stdout, JSON_COMPACT) != 0) {
        fputs("{\"error\":\"INTERNAL\",\"message\":\"the answer cannot be shown as JSON\"}", stdout);
    }
    putchar('\n');
    json_decref(object);
}

struct wbcache *session_connect(struct session *s, int *exit_out)
{
    if (s->cache != NULL) {
        return s->cache;
    }
    const char *cluster = s->cluster != NULL ? s->cluster : getenv("WBCACHE_CLUSTER");
    if (cluster == NULL || cluster[0] == '\0') {
        *exit_out =
            session_usage(s, "no cluster is given: use --cluster HOST:PORT,... or set WBCACHE_CLUSTER");
        return NULL;
    }
    struct wbcache_options options = {.deadline_ms = s->deadline_ms};
    struct wbcache *cache = NULL;
    int code = wbcache_open(&cache, cluster, &options);
    if (code != WBCACHE_OK) {
        *exit_out = session_report(s, code, cache != NULL ? wbcache_errmsg(cache) : NULL);
        if (code == WBCACHE_INVALID) { /* the addresses are no addresses */
            *exit_out = EXIT_USAGE;
        }
        wbcache_close(cache);
        return NULL;
    }
    s->cache = cache;
    return cache;
}
