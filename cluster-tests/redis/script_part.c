#include "cluster-tests/redis/script_part.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cluster-tests/redis/exchange.h"
#include "cluster-tests/redis/show.h"
#include "proto/base/clock.h"
#include "proto/slot.h"

enum { TAG_CHARS = 40, ATTEMPTS_MAX = 8, DIFFERENCES_OF_A_CASE_MAX = 8, NAME_CHARS = 64, BROKEN_MAX = 3 };

/* One case in one protocol. */
struct play {
    const struct script_part *part;
    const struct script_case *script_case;
    const char *file;
    unsigned protocol;
    char tag[TAG_CHARS], near_tag[TAG_CHARS];
    struct script_result *result;
};

/* A tag whose slot is another one than @tag's, on the same node. */
static void find_near(const struct router *r, const char *tag, char out[TAG_CHARS])
{
    unsigned node = router_node(r, bytes_from_text(tag));
    for (unsigned i = 0;; i++) {
        snprintf(out, TAG_CHARS, "{n%u%.20s", i, tag + 1);
        if (router_node(r, bytes_from_text(out)) == node &&
            slot_of(bytes_from_text(out)) != slot_of(bytes_from_text(tag))) {
            return;
        }
    }
}

static void show_step(const struct play *p, const struct step *step, const struct exchange_difference *d)
{
    show("DIFFERENT in RESP%u: %s:%u, \"%s\"", p->protocol, p->file, step->line, p->script_case->title);
    printf("      ");
    step_print(stdout, step);
    putchar('\n');
    show_reply("expected", buf_bytes(&d->expected));
    show_reply("got     ", buf_bytes(&d->got));
}

/* Go on behind each difference: a script shall say all that is wrong. */
static enum exchange_result play_steps(struct play *p, struct exchange *e, const struct steps *steps)
{
    enum exchange_result result = EXCHANGE_SAME;
    unsigned differences = 0;
    for (uint32_t i = 0; i < steps->n && differences < DIFFERENCES_OF_A_CASE_MAX;) {
        struct exchange_difference d;
        exchange_difference_init(&d);
        result = exchange_run(e, &steps->list[i], steps->n - i, &d);
        const struct step *step = &steps->list[i + d.step];
        if (result == EXCHANGE_DIFFERS) {
            differences++;
            show_step(p, step, &d);
        } else if (result == EXCHANGE_BROKEN) {
            show_step(p, step, &d);
            show("  %s", d.error);
        }
        i = result == EXCHANGE_DIFFERS ? i + d.step + 1 : steps->n;
        exchange_difference_deinit(&d);
    }
    p->result->differences += differences;
    return result == EXCHANGE_DIFFERS ? EXCHANGE_SAME : result;
}

static enum exchange_result play_once(struct play *p)
{
    static struct router router; /* too large for the stack of a careful reader */
    char error[256];
    if (!router_ask(&router, p->part->ours, error, sizeof error)) {
        show("%s", error);
        return EXCHANGE_BROKEN;
    }
    uint32_t id;
    random_bytes(&id, sizeof id);
    snprintf(p->tag, sizeof p->tag, "{c%08x}", id);
    find_near(&router, p->tag, p->near_tag);
    struct arena arena;
    arena_init(&arena);
    struct steps steps = {.arena = &arena};
    enum exchange_result result = EXCHANGE_BROKEN;
    if (script_steps(p->script_case, p->tag, p->near_tag, &steps, error, sizeof error)) {
        for (uint32_t i = 0; i < steps.n; i++) {
            steps.list[i].wait = steps.list[i].kind != STEP_SILENT;
        }
        struct exchange e;
        exchange_init(&e, p->part->references[p->script_case->valkey],
            router.addresses[router_node(&router, bytes_from_text(p->tag))], p->protocol, p->part->refuses);
        result = play_steps(p, &e, &steps);
        p->result->replies += e.replies;
        exchange_close(&e);
    }
    arena_deinit(&arena);
    return result;
}

static void play(struct play *p)
{
    enum exchange_result result = EXCHANGE_UNSETTLED;
    for (unsigned i = 0; i < ATTEMPTS_MAX && result == EXCHANGE_UNSETTLED; i++) {
        result = play_once(p);
        if (result == EXCHANGE_UNSETTLED) {
            nanosleep(&(const struct timespec){.tv_nsec = 200 * 1000 * 1000}, NULL);
        }
    }
    p->result->cases++;
    if (result != EXCHANGE_SAME) {
        p->result->broken++;
        show("%s:%u, \"%s\", RESP%u: %s", p->file, p->script_case->line, p->script_case->title, p->protocol,
            result == EXCHANGE_UNSETTLED ? "its leader does not settle" : "could not be played");
    }
}

void script_part_run(
    const struct script_part *part, const struct script *s, const char *name, struct script_result *result)
{
    /* A server that does not answer costs a timeout in each case. */
    for (uint32_t i = 0; i < s->n && result->broken < BROKEN_MAX; i++) {
        const struct script_case *c = &s->cases[i];
        if (part->references[c->valkey] == NULL) {
            result->left_out++;
            continue;
        }
        for (unsigned protocol = 2; protocol <= 3; protocol++) {
            if ((c->protocols & 1u << protocol) != 0) {
                struct play p = {
                    .part = part, .script_case = c, .file = name, .protocol = protocol, .result = result};
                play(&p);
            }
        }
    }
}

/* ---- Is everything in a script? ---- */

/* "get", or "client|setname". */
static void full_name(const struct step *step, bool sub, char out[NAME_CHARS])
{
    int len = snprintf(out, NAME_CHARS, "%.*s%s%.*s", (int)(step->args[0].len < 24 ? step->args[0].len : 24),
        (const char *)step->args[0].data, sub ? "|" : "",
        sub ? (int)(step->args[1].len < 24 ? step->args[1].len : 24) : 0,
        sub ? (const char *)step->args[1].data : "");
    for (int i = 0; i < len; i++) {
        out[i] = (char)tolower((unsigned char)out[i]);
    }
}

static bool occurs_in_case(const struct script_case *c, struct bytes name)
{
    struct arena arena;
    arena_init(&arena);
    struct steps steps = {.arena = &arena};
    char error[256];
    bool found = false;
    script_steps(c, "{t}", "{n}", &steps, error, sizeof error);
    const bool sub = memchr(name.data, '|', name.len) != NULL;
    for (uint32_t i = 0; i < steps.n && !found; i++) {
        char full[NAME_CHARS];
        const struct step *step = &steps.list[i];
        if (step->compare == COMPARE_REFUSED || (sub && step->n < 2)) {
            continue;
        }
        full_name(step, sub, full);
        found = bytes_equal(bytes_from_text(full), name);
    }
    arena_deinit(&arena);
    return found;
}

static bool is_missing(const struct script *scripts, unsigned n, struct bytes name)
{
    if (name.len > 3 && memcmp(name.data, "wb.", 3) == 0) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        for (uint32_t j = 0; j < scripts[i].n; j++) {
            if (occurs_in_case(&scripts[i].cases[j], name)) {
                return false;
            }
        }
    }
    show("no script has %.*s", (int)name.len, (const char *)name.data);
    return true;
}

/* One entry of COMMAND: the name first, subcommands in the tenth place, which are entries themselves. */
static int missing_of(struct reply entry, const struct script *scripts, unsigned n)
{
    enum { SUBCOMMANDS = 9 };
    int missing = 0;
    for (uint32_t i = 0; i < entry.children; i++) {
        struct reply part = reply_next(&entry.inside);
        if (i == 0) {
            missing += is_missing(scripts, n, part.text);
        }
        for (uint32_t j = 0; i == SUBCOMMANDS && j < part.children; j++) {
            missing += missing_of(reply_next(&part.inside), scripts, n);
        }
    }
    return missing;
}

int script_part_missing(const char *ours, const struct script *scripts, unsigned n)
{
    char address[WIRE_ADDRESS_BYTES];
    snprintf(address, sizeof address, "%.*s", (int)strcspn(ours, ","), ours);
    struct wire w;
    struct reply all;
    int missing = -1;
    if (wire_open(&w, address) && wire_send(&w, bytes_from_text("COMMAND\r\n")) && wire_receive(&w, &all) &&
        all.type == '*' && all.children > 0) {
        missing = 0;
        for (uint32_t i = 0; i < all.children; i++) {
            missing += missing_of(reply_next(&all.inside), scripts, n);
        }
    }
    wire_close(&w);
    return missing;
}
