#include "cluster-tests/siege.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/status.h"
#include "proto/slot.h"

enum {
    FRIENDS = 8,
    CALLS_PER_SECOND = 400,
    WARM_MS = 1000,
    BEFORE_MS = 3000,
    SAMPLE_MS = 20,
    SLACK_US = 5000,
    AWAIT_MS = 30000,
    CONNECTIONS_ALONE = 16, /* the friends' and the test's own, more than there are */
};

/* ---- Watching ---- */

static void say_times(const char *when, const struct steady_numbers *n)
{
    say("  %s: writes p50 %" PRIu64 " p99 %" PRIu64 " max %" PRIu64 " us, reads p50 %" PRIu64 " p99 %" PRIu64
        " max %" PRIu64 " us, of %" PRIu64 " calls; %" PRIu64 " failed",
        when, n->writes.p50_us, n->writes.p99_us, n->writes.max_us, n->reads.p50_us, n->reads.p99_us,
        n->reads.max_us, n->writes.calls + n->reads.calls, n->failed);
}

void siege_window_begin(struct siege *g)
{
    g->most_resident_bytes = 0;
    steady_window(g->friends);
}

static void sample(struct siege *g)
{
    uint64_t now = process_resident_bytes(g->pid);
    if (now == 0) {
        fail_msg("the attacked node %u is gone; its log tells why", g->node);
    }
    g->most_resident_bytes = now > g->most_resident_bytes ? now : g->most_resident_bytes;
    pass_ms(SAMPLE_MS);
}

void siege_window_pass(struct siege *g, unsigned ms)
{
    uint64_t until_ms = clock_boot_ms() + ms;
    do {
        sample(g);
    } while (clock_boot_ms() < until_ms);
}

static bool is_fair(const struct steady_times *before, const struct steady_times *now, unsigned slack_us)
{
    return now->calls > 0 && now->p99_us <= 3 * before->p99_us + slack_us;
}

static struct steady_numbers take_window(struct siege *g, const char *when)
{
    struct steady_numbers n = steady_window(g->friends);
    say_times(when, &n);
    if (n.failed + n.wrong > 0) {
        fail_msg("%s: %" PRIu64 " calls failed, %" PRIu64 " reads were wrong: %s", when, n.failed, n.wrong,
            n.error);
    }
    return n;
}

bool siege_window_end(struct siege *g, const char *when)
{
    struct steady_numbers n = take_window(g, when);
    return is_fair(&g->before.writes, &n.writes, g->slack_us) &&
           is_fair(&g->before.reads, &n.reads, g->slack_us);
}

void siege_fail_unfair(const struct siege *g, const char *when)
{
    fail_msg("%s: the friends' slowest call in a hundred took more than 3 times as long as before and %u us",
        when, g->slack_us);
}

void siege_watch_fair(struct siege *g, const char *when, unsigned ms)
{
    uint64_t most_bytes = 0;
    for (unsigned i = 0; i < SIEGE_TRIES; i++) {
        siege_window_begin(g);
        siege_window_pass(g, ms);
        bool fair = siege_window_end(g, when);
        most_bytes = g->most_resident_bytes > most_bytes ? g->most_resident_bytes : most_bytes;
        g->most_resident_bytes = most_bytes;
        if (fair) {
            return;
        }
    }
    siege_fail_unfair(g, when);
}

/* ---- Begin, end ---- */

static void find_target(struct siege *g)
{
    struct cluster *c = &g->scenario->cluster;
    g->node = cluster_leader(c, 0);
    g->pid = c->pids[g->node];
    struct wbcache_status *status = cluster_status(c);
    assert_non_null(status);
    const struct wbcache_node_status *n = cluster_node(status, g->node);
    assert_non_null(n);
    assert_true(junk_address(n->client_address, &g->client) && junk_address(n->peer_address, &g->peer));
    wbcache_status_free(status);
    for (unsigned i = 0; g->prefix[0] == '\0'; i++) {
        char tag[16];
        snprintf(tag, sizeof tag, "{%u}", i);
        if (slot_group(slot_of(bytes_from_text(tag)), c->groups) == 0) {
            snprintf(g->prefix, sizeof g->prefix, "%sbig:", tag);
        }
    }
}

void siege_begin(struct siege *g, struct scenario *s, const char *const *settings)
{
    struct cluster *c = &s->cluster;
    struct cluster_options options = {
        .settings = {"raft.spread_stable_ms=0"}}; /* leaders stay where they are */
    for (unsigned i = 0; settings[i] != NULL; i++) {
        assert_true(i + 2 < CLUSTER_SETTINGS_MAX);
        options.settings[i + 1] = settings[i];
    }
    *g = (struct siege){.scenario = s, .slack_us = SLACK_US};
    cluster_start(c, &options);
    find_target(g);
    g->friends = steady_start(&(struct steady_config){
        .cluster = c->addresses, .group = 0, .threads = FRIENDS, .calls_per_second = CALLS_PER_SECOND});
    pass_ms(WARM_MS);
    steady_window(g->friends);
    g->health = health_of(c);
    say("node %u leads group 0 and will be attacked; %d friends make %d calls a second to this group",
        g->node, FRIENDS, CALLS_PER_SECOND);
    siege_window_begin(g);
    siege_window_pass(g, BEFORE_MS);
    g->before = take_window(g, "before");
    assert_true(g->before.writes.calls > 0 && g->before.reads.calls > 0);
}

void siege_end(struct siege *g)
{
    steady_stop(g->friends);
    g->friends = NULL;
}

struct attacker *siege_attack(struct siege *g, const struct attack *attack)
{
    struct attack a = *attack;
    a.random = g->scenario->options.seed | 1;
    if (a.n_addresses == 0) {
        a.addresses[0] = g->client;
        a.n_addresses = 1;
    }
    if (a.prefix[0] == '\0') {
        memcpy(a.prefix, g->prefix, sizeof a.prefix);
    }
    g->resident_bytes = process_resident_bytes(g->pid);
    uint64_t begun_ms = clock_boot_ms();
    struct attacker *attacker = attacker_start(&a);
    assert_non_null(attacker);
    struct attack_report r = attacker_report(attacker);
    say("  %" PRIu64 " connections opened in %" PRIu64 " ms", r.opened, clock_boot_ms() - begun_ms);
    if (r.opened < a.connections || r.not_opened > 0) {
        attacker_stop(attacker);
        fail_msg("of %u connections %" PRIu64 " did not come about", a.connections, r.not_opened);
    }
    return attacker;
}

/* ---- Waiting ---- */

void siege_await(struct siege *g, const struct attacker *a, const char *what, unsigned timeout_ms,
    bool (*condition)(const struct attack_report *report, void *data), void *data)
{
    uint64_t until_ms = clock_boot_ms() + timeout_ms;
    struct attack_report r = attacker_report(a);
    while (!condition(&r, data)) {
        if (clock_boot_ms() >= until_ms) {
            siege_say_report(&r);
            fail_msg("waited %u ms in vain: %s", timeout_ms, what);
        }
        sample(g);
        r = attacker_report(a);
    }
}

static bool is_alone(struct cluster *c, void *data)
{
    const struct siege *g = data;
    struct wbcache_status *status = cluster_status(c);
    const struct wbcache_node_status *n = status == NULL ? NULL : cluster_node(status, g->node);
    bool alone = n != NULL && n->connections <= CONNECTIONS_ALONE;
    wbcache_status_free(status);
    return alone;
}

void siege_wait_alone(struct siege *g)
{
    cluster_wait(&g->scenario->cluster, "only friends are connected", AWAIT_MS, is_alone, g);
}

uint64_t siege_growth_bytes(const struct siege *g)
{
    return g->most_resident_bytes > g->resident_bytes ? g->most_resident_bytes - g->resident_bytes : 0;
}

static void say_counts(const char *what, const uint64_t *counts)
{
    char text[256] = "";
    size_t len = 0;
    for (int i = 0; i < ATTACK_STATUSES && len < sizeof text; i++) {
        if (counts[i] > 0) {
            len += (size_t)snprintf(text + len, sizeof text - len, " %s %" PRIu64, status_name(i), counts[i]);
        }
    }
    if (len > 0) {
        say("  %s:%s", what, text);
    }
}

void siege_say_report(const struct attack_report *r)
{
    say("  attackers: %" PRIu64 " connections opened, %" PRIu64 " refused, %" PRIu64 " ended (%" PRIu64
        " by a reset); sent %" PRIu64 ", received %" PRIu64 " KiB",
        r->opened, r->not_opened, r->ended, r->cut, r->sent_bytes / 1024, r->received_bytes / 1024);
    say_counts("answers", r->answers);
    say_counts("last words", r->last_words);
    if (r->words[0] != '\0') {
        say("  \"%s\"", r->words);
    }
}
