/* key-status: how far one key is on its way to PostgreSQL. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/wbclient/args.h"
#include "tools/wbclient/commands.h"
#include "tools/wbclient/output.h"
#include "tools/wbclient/quarantine.h"
#include "tools/wbclient/status_view.h"

static const char *word_of(const struct wbcache_key_state *key)
{
    return !key->in_memory            ? "not-in-memory"
           : key->quarantined != NULL ? "quarantined"
           : key->in_flight != 0      ? "in-flight"
           : key->dirty_index != 0    ? "dirty"
           : !key->present            ? "absent"
                                      : "clean";
}

static json_t *key_json(struct bytes name, const struct wbcache_key_state *key)
{
    json_t *o = json_pack(
        "{s:s, s:i, s:b}", "state", word_of(key), "group", (int)key->group, "in_memory", key->in_memory);
    output_set_bytes(o, "key", name);
    if (!key->in_memory) {
        return o;
    }
#define NUMBER(name)  json_object_set_new(o, #name, json_integer((json_int_t)key->name))
#define BOOLEAN(name) json_object_set_new(o, #name, json_boolean(key->name))
    BOOLEAN(present);
    BOOLEAN(queued);
    BOOLEAN(evictable);
    NUMBER(version);
    NUMBER(length);
    NUMBER(dirty_index);
    NUMBER(dirty_ms);
    NUMBER(in_flight);
    NUMBER(flushed_in);
    NUMBER(expires_at_ms);
#undef BOOLEAN
#undef NUMBER
    if (key->quarantined != NULL) {
        json_object_set_new(o, "quarantined", quarantine_json(key->quarantined));
    }
    return o;
}

static void print_way(const struct wbcache_key_state *key)
{
    if (key->dirty_index != 0) {
        printf("  dirty since   %s (log index %" PRIu64 "): PostgreSQL does not have it\n",
            human_age(key->dirty_ms).s, key->dirty_index);
    }
    if (key->in_flight != 0) {
        printf("  in flight     with batch %" PRIu64 "%s\n", key->in_flight,
            key->queued ? "; a newer value waits for a later one" : "");
    } else if (key->queued) {
        puts("  queued        for the next batch");
    }
    if (key->flushed_in != 0) {
        printf("  flushed in    batch %" PRIu64 ", remembered in case PostgreSQL goes back in time\n",
            key->flushed_in);
    }
    if (key->quarantined != NULL) {
        quarantine_print(key->quarantined);
    }
}

static void print_key(const struct wbcache_key_state *key)
{
    printf("%s\n  group         %u\n", word_of(key), key->group);
    if (!key->in_memory) {
        puts("  What PostgreSQL has is what holds; the next read asks it.");
        return;
    }
    if (key->present) {
        printf("  version       %" PRIu64 ", %zu bytes\n", key->version, key->length);
    } else if (key->version != 0) {
        printf("  version       %" PRIu64 ", a delete\n", key->version);
    } else {
        puts("  It is remembered that PostgreSQL has no such row.");
    }
    if (key->expires_at_ms != 0) {
        printf("  expires       %s\n", human_time(key->expires_at_ms).s);
    }
    print_way(key);
    printf("  evictable     %s\n", key->evictable ? "yes: it may leave memory" : "no: it stays in memory");
}

static bool goes_well(const struct wbcache_group_status *g)
{
    return strcmp(g->flush_state, "active") == 0 && g->flush_error[0] == '\0' && !g->settings.paused;
}

/* Why it does not get on, when the group's flush does not go. */
static void print_flush(const struct wbcache_group_status *g)
{
    printf("  the flush     %s", g->settings.paused ? "paused: `wbclient flush resume`" : g->flush_state);
    if (g->flush_error[0] != '\0') {
        printf(", for %s: %s", human_age(g->flush_error_ms).s, g->flush_error);
        if (g->flush_error_sqlstate[0] != '\0') {
            printf(" (%s %s)", g->flush_error_class, g->flush_error_sqlstate);
        }
        printf("\n                %s", status_advice(g));
    }
    putchar('\n');
}

static json_t *flush_json(const struct wbcache_group_status *g)
{
    return json_pack("{s:s, s:b, s:s, s:s, s:s, s:I}", "state", g->flush_state, "paused", g->settings.paused,
        "error", g->flush_error, "error_class", g->flush_error_class, "sqlstate", g->flush_error_sqlstate,
        "error_ms", (json_int_t)g->flush_error_ms);
}

int command_key_status(struct session *s, const struct bytes *args, size_t n)
{
    struct wbcache_key_state key;
    int code = wbcache_key_status(s->cache, args[0].data, args[0].len, &key);
    if (code != WBCACHE_OK) {
        return output_failure(s, code);
    }
    json_t *o = NULL;
    if (s->json) {
        o = key_json(args[0], &key);
    } else {
        print_key(&key);
    }
    /* What the key's state points to is gone with the next question. */
    bool waits = key.in_memory && key.dirty_index != 0;
    struct wbcache_status *status = NULL;
    const struct wbcache_group_status *g = NULL;
    if (wbcache_status(s->cache, &status) == WBCACHE_OK) {
        g = status_leader(status, key.group).group;
    }
    if (s->json) {
        if (g != NULL) {
            json_object_set_new(o, "flush", flush_json(g));
        }
        session_print_json(o);
    } else if (g != NULL && waits && !goes_well(g)) {
        print_flush(g);
    }
    wbcache_status_free(status);
    return EXIT_DONE;
}
