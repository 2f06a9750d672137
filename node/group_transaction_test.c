/* Transactions: what they see and write, what they wait for, and that nobody overtakes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/group_fixture.h"
#include "node/group_internal.h"
#include "node/transaction.h"

enum { KEYS_MAX = 3000 };

/* A transaction that follows a script: see run_script. */
struct script {
    struct group_request r;
    struct bytes keys[KEYS_MAX];
    bool blind[KEYS_MAX];
    const char *words;
    unsigned runs;
    char seen[256]; /* what its gets found in the last run: "v1 - " */
    uint64_t version;
    bool done;
};

static struct bytes word(const char **at)
{
    const char *begin = *at, *end = begin + strcspn(begin, " ;");
    *at = *end == ' ' ? end + 1 : end;
    return bytes_of(begin, (size_t)(end - begin));
}

static void say(struct script *s, struct bytes text)
{
    size_t len = strlen(s->seen);
    snprintf(s->seen + len, sizeof s->seen - len, "%.*s ", (int)text.len, (const char *)text.data);
}

/* "get K; put K V; expire K MS V; hash K V; del K; version K; fail": one step after the other. */
static enum status run_script(struct group_request *r, struct transaction *t)
{
    struct script *s = list_entry(r, struct script, r);
    s->runs++;
    s->seen[0] = '\0';
    for (const char *at = s->words; *at != '\0'; at += *at == ';' ? 2 : 0) {
        struct bytes step = word(&at);
        struct bytes key = word(&at);
        struct transaction_value now;
        if (bytes_equal(step, bytes_from_text("get"))) {
            transaction_get(t, key, &now);
            say(s, now.value == NULL ? bytes_from_text("-") : value_bytes(now.value));
        } else if (bytes_equal(step, bytes_from_text("put"))) {
            transaction_put(t, key, VALUE_STRING, value_create(word(&at)), 0);
        } else if (bytes_equal(step, bytes_from_text("hash"))) {
            transaction_put(t, key, VALUE_HASH, value_create(word(&at)), 0);
        } else if (bytes_equal(step, bytes_from_text("expire"))) {
            uint64_t at_ms = transaction_now_ms(t) + strtoull((const char *)word(&at).data, NULL, 10);
            transaction_put(t, key, VALUE_STRING, value_create(word(&at)), at_ms);
        } else if (bytes_equal(step, bytes_from_text("del"))) {
            transaction_delete(t, key);
        } else if (bytes_equal(step, bytes_from_text("version"))) {
            transaction_get(t, key, &now);
            if (!now.version_known) {
                return STATUS_AGAIN;
            }
            s->version = now.version;
        } else {
            return STATUS_CONDITION_FAILED;
        }
    }
    return STATUS_OK;
}

static void script_done(struct group_request *r)
{
    list_entry(r, struct script, r)->done = true;
}

/* @keys: texts with a space between; one that begins with ! is blind. */
static struct script *begin(struct fixture *f, const char *keys, const char *words, uint64_t conn)
{
    struct script *s = calloc(1, sizeof *s);
    assert_non_null(s);
    uint32_t n = 0;
    for (const char *at = keys; *at != '\0';) {
        struct bytes key = word(&at);
        s->blind[n] = key.data[0] == '!';
        s->keys[n] = s->blind[n] ? bytes_of(key.data + 1, key.len - 1) : key;
        n++;
    }
    s->words = words;
    s->r = (struct group_request){.op = GROUP_TRANSACTION,
        .conn_id = conn,
        .n = n,
        .keys = s->keys,
        .blind = s->blind,
        .evaluate = run_script,
        .done = script_done,
        .read_only = strstr(words, "put") == NULL && strstr(words, "del") == NULL &&
                     strstr(words, "expire") == NULL && strstr(words, "hash") == NULL};
    group_submit(f->group, &s->r);
    return s;
}

static void assert_end(struct script *s, enum status status, const char *seen)
{
    assert_true(s->done);
    assert_int_equal(s->r.status, status);
    assert_string_equal(s->seen, seen);
    free(s);
}

static void settle(struct fixture *f)
{
    fixture_turn(f);
    fixture_commit(f, UINT32_MAX);
    fixture_turn(f);
}

static void run_now(struct fixture *f, const char *keys, const char *words, const char *seen)
{
    struct script *s = begin(f, keys, words, 7);
    settle(f);
    assert_end(s, STATUS_OK, seen);
}

static const struct state_entry *entry(const struct fixture *f, const char *key)
{
    return state_find(group_state(f->group), bytes_from_text(key));
}

static void all_of_its_writes_are_one_entry(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "a", "1");
    set_now(&f, "b", "2");
    unsigned before = f.proposals;
    struct script *s =
        begin(&f, "a b !c", "get a; put a x; get a; get b; put b y; del a; get a; put a z; put c w", 1);
    fixture_turn(&f);
    assert_int_equal(f.proposals - before, 1);
    assert_false(s->done);
    fixture_commit(&f, UINT32_MAX);
    assert_int_not_equal(s->r.index, 0);
    assert_end(s, STATUS_OK, "1 x 2 - ");
    assert_memory_equal(entry(&f, "a")->value->data, "z", 1);
    assert_memory_equal(entry(&f, "b")->value->data, "y", 1);
    assert_memory_equal(entry(&f, "c")->value->data, "w", 1);
    /* of two writes of a key only the last one is in the log */
    assert_int_equal(f.group->writes_applied, 2 + 3);
    fixture_deinit(&f);
}

/* Assert the writes of the newest entry that was proposed, as "a+ b": those with a + are tied. */
static void assert_proposed(const struct fixture *f, const char *want)
{
    struct arena arena;
    Wblog__Entry *e;
    char got[256] = "";
    arena_init(&arena);
    assert_false(list_empty(&f->log));
    const struct logged *newest = list_entry(f->log.prev, struct logged, link);
    assert_int_equal(log_entry_decode(buf_bytes(&newest->raw), &arena, &e), STATUS_OK);
    assert_int_equal(e->command_case, WBLOG__ENTRY__COMMAND_WRITES);
    for (size_t i = 0, len = 0; i < e->writes->n_writes; i++) {
        const Wblog__Write *w = e->writes->writes[i];
        assert_true(w->has_tied == w->tied); /* who is not says nothing */
        len += (size_t)snprintf(got + len, sizeof got - len, "%s%.*s%s", i == 0 ? "" : " ", (int)w->key.len,
            (const char *)w->key.data, w->tied ? "+" : "");
    }
    assert_string_equal(got, want);
    arena_deinit(&arena);
}

static void assert_tied(const struct fixture *f, const char *keys, uint64_t n)
{
    while (*keys != '\0') {
        assert_true(state_find(group_state(f->group), word(&keys))->tied);
    }
    assert_int_equal(group_state(f->group)->tied, n);
}

static void writes_of_several_keys_are_tied_and_one_alone_is_not(void **state)
{
    (void)state;
    static const struct {
        const char *keys, *words, *proposed, *tied;
        uint64_t n;
    } rows[] = {
        {"!a !b", "put a 1; put b 1", "a+ b+", "a b", 2},
        {"!a !b", "put a 1; del b", "a+ b+", "a b", 2},
        {"!a !b !c", "put a 1; put b 1; put c 1", "a+ b+ c+", "a b c", 3},
        {"!a", "put a 1", "a", "", 0},
        {"!a", "put a 1; put a 2", "a", "", 0},
        {"gone !a", "get gone; put a 1", "a", "", 0},
        /* a delete of what is not there is no write: nor is it one of several */
        {"gone !a", "put a 1; del gone", "a", "", 0},
        {"gone !a", "del gone; put a 1; del gone", "a", "", 0},
        {"gone !a !b", "put a 1; del gone; put b 1", "a+ b+", "a b", 2},
        /* but what was there for a moment is */
        {"gone !a", "put gone 1; del gone; put a 1", "gone+ a+", "gone a", 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f;
        fixture_init(&f, 0, false, true);
        set_now(&f, "gone", "1");
        run_now(&f, "gone", "del gone", "");
        unsigned before = f.proposals;
        struct script *s = begin(&f, rows[i].keys, rows[i].words, 1);
        fixture_turn(&f);
        assert_int_equal(f.proposals, before + 1);
        assert_proposed(&f, rows[i].proposed);
        fixture_commit(&f, UINT32_MAX);
        assert_true(s->done);
        assert_int_equal(s->r.status, STATUS_OK);
        assert_tied(&f, rows[i].tied, rows[i].n);
        free(s);
        fixture_deinit(&f);
    }
}

/* What comes while another entry is in flight is in the next one: a transaction that replaces a write there,
 * or is replaced. */
static void what_replaces_a_tied_write_is_tied(void **state)
{
    (void)state;
    static const struct {
        const char *keys[2], *words[2], *proposed;
        uint64_t n;
    } rows[] = {
        {{"!a !b", "!a"}, {"put a 1; put b 1", "put a 2"}, "a+ b+", 2},
        {{"!a !b", "!b"}, {"put a 1; put b 1", "del b"}, "a+ b+", 2},
        {{"!a", "!a !b"}, {"put a 1", "put a 2; put b 2"}, "a+ b+", 2},
        {{"!a !b", "!b !c"}, {"put a 1; put b 1", "put b 2; put c 2"}, "a+ b+ c+", 3},
        {{"!a !b", "!c"}, {"put a 1; put b 1", "put c 2"}, "a+ b+ c", 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f;
        fixture_init(&f, 0, false, true);
        struct script *first = begin(&f, "!x", "put x 1", 1);
        fixture_turn(&f);
        struct script *one = begin(&f, rows[i].keys[0], rows[i].words[0], 1);
        struct script *two = begin(&f, rows[i].keys[1], rows[i].words[1], 2);
        fixture_turn(&f);
        assert_proposed(&f, "x");
        assert_int_equal(fixture_commit(&f, 1), 1);
        assert_proposed(&f, rows[i].proposed);
        fixture_commit(&f, UINT32_MAX);
        assert_tied(&f, "a b", rows[i].n);
        assert_end(first, STATUS_OK, "");
        assert_end(one, STATUS_OK, "");
        assert_end(two, STATUS_OK, "");
        fixture_deinit(&f);
    }
}

/* Whoever wants to know its version makes a write of its own: the key is tied all the same. */
static void a_write_behind_a_tied_one_leaves_the_tie(void **state)
{
    (void)state;
    struct fixture f;
    struct ask incr;
    fixture_init(&f, 0, false, true);
    struct script *first = begin(&f, "!x", "put x 1", 1);
    fixture_turn(&f);
    struct script *both = begin(&f, "!a !b", "put a 1; put b 1", 1);
    ask_incr(&f, &incr, "a", 1, 1);
    fixture_turn(&f);
    assert_int_equal(fixture_commit(&f, 1), 1);
    assert_proposed(&f, "a+ b+ a");
    fixture_commit(&f, UINT32_MAX);
    assert_done(&incr, STATUS_OK);
    assert_memory_equal(entry(&f, "a")->value->data, "2", 1);
    assert_tied(&f, "a b", 2);
    assert_end(first, STATUS_OK, "");
    assert_end(both, STATUS_OK, "");
    fixture_deinit(&f);
}

static void nothing_happens_when_it_says_no(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "a", "1");
    unsigned before = f.proposals;
    struct script *s = begin(&f, "a", "put a 2; get a; fail a", 1);
    settle(&f);
    assert_end(s, STATUS_CONDITION_FAILED, "2 ");
    assert_int_equal(f.proposals, before);
    run_now(&f, "a", "get a", "1 ");
    fixture_deinit(&f);
}

static void a_delete_of_what_is_not_there_writes_nothing(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "a", "1");
    run_now(&f, "a", "del a", "");
    unsigned before = f.proposals;
    run_now(&f, "a", "del a; del a", "");
    assert_int_equal(f.proposals, before);
    /* who watches the key shall see that it was written */
    uint64_t version = entry(&f, "a")->version;
    run_now(&f, "a", "del a; put a 2; del a", "");
    assert_int_equal(f.proposals, ++before);
    assert_true(entry(&f, "a")->version > version);
    /* of a blind key nobody knows */
    run_now(&f, "!b", "del b", "");
    assert_int_equal(f.proposals, before + 1);
    fixture_deinit(&f);
}

static void it_waits_for_the_keys_that_it_must_know_only(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    struct script *blind = begin(&f, "!x", "put x 1", 1);
    struct script *s = begin(&f, "a !b", "get a; put b 1", 2);
    settle(&f);
    assert_end(blind, STATUS_OK, "");
    assert_false(s->done);
    assert_int_equal(f.load_keys, 1);
    loader_answer(&f, "a", "row", 0);
    settle(&f);
    assert_end(s, STATUS_OK, "row ");
    fixture_deinit(&f);
}

static void who_wants_a_version_waits_until_there_is_one(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "other", "1"); /* known */
    struct ask in_flight, newest;
    ask_set(&f, &in_flight, "other", "2", 1);
    fixture_turn(&f);
    ask_set(&f, &newest, "k", "v", 1); /* in the open entry */
    struct script *s = begin(&f, "k", "version k", 1);
    fixture_turn(&f);
    assert_false(s->done);
    settle(&f);
    settle(&f);
    assert_done(&newest, STATUS_OK);
    assert_true(s->done);
    assert_int_equal(s->version, entry(&f, "k")->version);
    assert_int_equal(s->version, newest.result.version);
    assert_end(s, STATUS_OK, "");
    /* of what was deleted: the delete's, so that who watched it sees that it was written */
    run_now(&f, "k", "del k", "");
    s = begin(&f, "k", "version k", 1);
    settle(&f);
    assert_int_equal(s->version, entry(&f, "k")->version);
    assert_end(s, STATUS_OK, "");
    fixture_deinit(&f);
}

static void readers_need_not_see_what_nobody_was_told(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "a", "old");
    struct ask write;
    ask_set(&f, &write, "a", "new", 1);
    struct script *others = begin(&f, "a", "get a", 2);
    struct script *own = begin(&f, "a", "get a", 1);
    fixture_turn(&f);
    fixture_turn(&f);
    assert_end(others, STATUS_OK, "old ");
    assert_false(own->done);
    settle(&f);
    assert_done(&write, STATUS_OK);
    assert_end(own, STATUS_OK, "new ");
    fixture_deinit(&f);
}

static void it_runs_again_when_the_log_refused_what_it_saw(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "a", "old");
    f.propose_status = STATUS_NO_SPACE;
    struct script *write = begin(&f, "a", "put a new", 1);
    struct script *read = begin(&f, "a", "get a", 1);
    fixture_turn(&f);
    fixture_turn(&f);
    assert_end(write, STATUS_NO_SPACE, "");
    assert_true(read->runs >= 2);
    assert_end(read, STATUS_OK, "old ");
    f.propose_status = STATUS_OK;
    fixture_deinit(&f);
}

/* What is over is gone when its delete is committed: not when the log refused that. */
static void what_is_over_is_not_gone_while_the_log_refuses_its_delete(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    run_now(&f, "!a", "expire a 1000 x", "");
    uint64_t version = entry(&f, "a")->version;
    f.now_ms += 1000;
    f.propose_status = STATUS_NO_SPACE;
    struct script *s = begin(&f, "a", "version a; get a", 1);
    fixture_turn(&f);
    assert_true(s->runs >= 2); /* its version was wanted at once */
    assert_false(s->done);
    f.propose_status = STATUS_OK;
    settle(&f);
    settle(&f);
    assert_true(s->version > version);
    assert_int_equal(s->version, entry(&f, "a")->version);
    assert_end(s, STATUS_OK, "- ");
    fixture_deinit(&f);
}

static void a_full_budget_refuses_writes_but_not_reads_and_refusals(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "a", "1");
    f.group->config.dirty_entries_max = 1;
    struct script *s = begin(&f, "!b", "put b 1", 1);
    struct script *no = begin(&f, "a", "put a 1; fail a", 1);
    struct script *same = begin(&f, "a", "put a 2", 1); /* it is dirty already, and not longer */
    settle(&f);
    assert_end(s, STATUS_OVERLOADED, "");
    assert_end(no, STATUS_CONDITION_FAILED, "");
    assert_end(same, STATUS_OK, "");
    run_now(&f, "a", "get a", "2 ");
    fixture_deinit(&f);
}

static void what_one_entry_cannot_hold_is_too_big(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    f.group->config.dirty_bytes_max = 64 << 20;
    static char words[2 * LIMIT_VALUE_BYTES];
    strcpy(words, "put a ");
    memset(words + 6, 'x', 600 * 1024);
    strcat(words, "; put b ");
    memset(words + strlen(words), 'y', 600 * 1024);
    struct script *s = begin(&f, "!a !b", words, 1);
    settle(&f);
    assert_end(s, STATUS_TOO_BIG, "");
    words[6 + 600 * 1024] = '\0';
    run_now(&f, "!a", words, "");
    assert_int_equal(entry(&f, "a")->value->len, 600 * 1024);
    fixture_deinit(&f);
}

static void an_expiry_that_is_past_deletes(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "a", "1");
    run_now(&f, "a", "expire a 0 x; get a", "- ");
    run_now(&f, "a", "expire a 1000 x; get a", "x ");
    fixture_pass(&f, 999);
    run_now(&f, "a", "get a", "x ");
    fixture_pass(&f, 1);
    run_now(&f, "a", "get a", "- ");
    assert_true(entry(&f, "a") == NULL || entry(&f, "a")->value == NULL);
    fixture_deinit(&f);
}

static void a_follower_shows_what_it_has(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "a", "1");
    struct ask write;
    ask_set(&f, &write, "a", "2", 1);
    fixture_turn(&f);
    fixture_depose(&f);
    struct script *s = begin(&f, "a", "get a", 1), *stale = begin(&f, "a", "get a", 1);
    stale->r.stale = true;
    f.contact_age_ms = 17;
    fixture_turn(&f);
    assert_end(s, STATUS_NOT_LEADER, "");
    assert_int_equal(stale->r.age_ms, 17);
    assert_end(stale, STATUS_OK, "1 ");
    assert_done(&write, STATUS_UNKNOWN);
    fixture_deinit(&f);
}

static void a_write_in_the_log_is_unknown_when_the_office_ends(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    struct script *sent = begin(&f, "!a", "put a 1", 1);
    fixture_turn(&f);
    struct script *open = begin(&f, "!b", "put b 1", 1);
    fixture_turn(&f);
    fixture_depose(&f);
    assert_end(sent, STATUS_UNKNOWN, "");
    assert_end(open, STATUS_NOT_LEADER, "");
    fixture_deinit(&f);
}

/* The other key of the first request is in memory: without care the write would be evaluated before it. */
static void nobody_of_its_connection_overtakes_one_that_waits_for_a_load(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "a", "old");
    struct script *both = begin(&f, "a b", "get a; get b", 1);
    struct script *more = begin(&f, "b c", "get b; get c", 1);
    struct script *write = begin(&f, "!a", "put a new", 1);
    struct script *stranger = begin(&f, "!x", "put x 1", 2);
    settle(&f);
    assert_end(stranger, STATUS_OK, "");
    assert_false(both->done);
    assert_false(write->done);
    struct load_row rows[1] = {{.key = bytes_from_text("b"), .value = bytes_from_text("row"), .version = 5}};
    struct load_result result = {.fence_found = true, .rows = rows, .n = 1};
    struct bytes later[] = {bytes_from_text("c")};
    result.later = later;
    result.later_n = 1;
    group_loader_events.loaded(f.group, f.load_token, &result);
    settle(&f);
    assert_end(both, STATUS_OK, "old row ");
    assert_false(more->done);
    assert_false(write->done);
    loader_answer(&f, "c", "cc", 0);
    settle(&f);
    settle(&f);
    assert_end(more, STATUS_OK, "row cc ");
    assert_end(write, STATUS_OK, "");
    run_now(&f, "a", "get a", "new ");
    fixture_deinit(&f);
}

/* The last one's key is known before the second one is evaluated, which writes it. */
static void nobody_overtakes_those_that_wait_behind_either(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    struct script *both = begin(&f, "a b", "get a; get b", 1);
    struct script *write = begin(&f, "!k", "put k new", 1);
    struct script *read = begin(&f, "k", "get k", 1);
    struct script *del = begin(&f, "k x", "get k; del k; del x", 1);
    struct script *last = begin(&f, "k", "get k", 1);
    settle(&f);
    assert_int_equal(f.load_keys, 4);
    loader_answer(&f, "a", "1", 0); /* the others have no rows */
    settle(&f);
    settle(&f);
    assert_end(both, STATUS_OK, "1 - ");
    assert_end(write, STATUS_OK, "");
    assert_end(read, STATUS_OK, "new ");
    assert_end(del, STATUS_OK, "new ");
    assert_end(last, STATUS_OK, "- ");
    fixture_deinit(&f);
}

static void a_hot_key_is_in_an_entry_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "a", "0");
    struct script *first = begin(&f, "a", "put a 1", 1);
    fixture_turn(&f); /* in flight: the others are in the next entry */
    uint64_t writes = f.group->writes_applied;
    struct script *more[20];
    for (int i = 0; i < 20; i += 2) {
        more[i] = begin(&f, "a", i % 4 == 0 ? "get a; put a x" : "get a; put a y", (uint64_t)i);
        more[i + 1] = begin(&f, "a !b", "get a; put b 1", (uint64_t)i);
    }
    settle(&f);
    assert_end(first, STATUS_OK, "");
    for (int i = 0; i < 20; i += 2) {
        assert_end(more[i], STATUS_OK, i == 0 ? "1 " : i % 4 == 0 ? "y " : "x ");
        assert_end(more[i + 1], STATUS_OK, i % 4 == 0 ? "x " : "y ");
    }
    assert_int_equal(f.group->writes_applied - writes, 1 + 2);
    assert_memory_equal(entry(&f, "a")->value->data, "y", 1);
    fixture_deinit(&f);
}

/* Whoever was told a version may compare with it. */
static void what_a_reader_was_told_the_version_of_is_not_replaced(void **state)
{
    (void)state;
    struct fixture f;
    struct ask got, incr;
    fixture_init(&f, 0, false, true);
    set_now(&f, "a", "0");
    struct script *first = begin(&f, "a", "put a 1", 1);
    fixture_turn(&f);
    struct script *second = begin(&f, "a", "put a 2", 1);
    ask_get(&f, &got, "a", 1);
    struct script *third = begin(&f, "a", "put a 3", 1);
    ask_incr(&f, &incr, "a", 1, 1);
    struct script *fourth = begin(&f, "a", "put a 5", 1);
    settle(&f);
    assert_end(first, STATUS_OK, "");
    assert_end(second, STATUS_OK, "");
    assert_end(third, STATUS_OK, "");
    assert_end(fourth, STATUS_OK, "");
    assert_int_equal(incr.result.number, 4);
    assert_true(got.result.version < incr.result.version);
    assert_true(incr.result.version < entry(&f, "a")->version);
    assert_got(&got, "2");
    fixture_deinit(&f);
}

static void waiting_behind_ends_when_the_load_fails(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    set_now(&f, "a", "old");
    struct script *both = begin(&f, "a b", "get a; get b", 1);
    struct script *write = begin(&f, "!a", "put a new", 1);
    settle(&f);
    loader_fail(&f, "gone");
    settle(&f);
    assert_end(both, STATUS_DATABASE_DOWN, "");
    assert_end(write, STATUS_OK, "");
    fixture_deinit(&f);
}

static void the_value_of_a_hash_is_no_answer_to_who_knows_texts_only(void **state)
{
    (void)state;
    struct fixture f;
    struct ask get, incr, old, plain;
    fixture_init(&f, 0, false, true);
    run_now(&f, "!h", "hash h fields", "");
    struct operation swap = {.kind = OPERATION_SET,
        .key = bytes_from_text("h"),
        .value = bytes_from_text("v"),
        .return_old = true};
    ask_get(&f, &get, "h", 1);
    ask_incr(&f, &incr, "h", 1, 1);
    ask_update(&f, &old, &swap, 1);
    settle(&f);
    assert_done(&get, STATUS_WRONG_TYPE);
    assert_done(&incr, STATUS_WRONG_TYPE);
    assert_done(&old, STATUS_WRONG_TYPE);
    assert_null(old.result.value);
    assert_int_equal(entry(&f, "h")->type, VALUE_HASH);
    ask_set(&f, &plain, "h", "v", 1);
    settle(&f);
    assert_done(&plain, STATUS_OK);
    ask_get(&f, &get, "h", 1);
    settle(&f);
    assert_got(&get, "v");
    fixture_deinit(&f);
}

static void thousands_of_keys_are_found_again(void **state)
{
    (void)state;
    struct fixture f;
    static char names[KEYS_MAX * 8], words[KEYS_MAX * 32];
    fixture_init(&f, 0, false, true);
    names[0] = words[0] = '\0';
    for (int i = 0; i < KEYS_MAX; i++) {
        sprintf(names + strlen(names), i == 0 ? "!k%d" : " !k%d", i);
        sprintf(words + strlen(words), i == 0 ? "put k%d a%d" : "; put k%d a%d", i, i);
    }
    strcat(words, "; get k0; get k1500; get k2999; put k1500 new; get k1500");
    struct script *s = begin(&f, names, words, 1);
    settle(&f);
    assert_end(s, STATUS_OK, "a0 a1500 a2999 new ");
    assert_int_equal(f.group->writes_applied, KEYS_MAX);
    fixture_deinit(&f);
}

/* The delete that it finds in flight may never come to be: then it was not done for this one, either. */
static void what_would_change_nothing_waits_for_the_delete_that_it_rests_on(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 0, false, true);
    for (int lost = 0; lost < 2; lost++) {
        set_now(&f, "a", "1");
        struct script *del = begin(&f, "a", "get a; del a", 1);
        fixture_turn(&f);
        struct script *blind = begin(&f, "!a", "del a", 2);
        fixture_turn(&f);
        fixture_turn(&f);
        assert_false(blind->done);
        if (lost) {
            fixture_depose(&f);
            assert_int_not_equal(blind->r.status, STATUS_OK);
        }
        settle(&f);
        assert_end(del, lost ? STATUS_UNKNOWN : STATUS_OK, "1 ");
        assert_end(blind, lost ? blind->r.status : STATUS_OK, "");
    }
    fixture_deinit(&f);
}

static void who_wants_the_version_of_a_hot_key_is_not_left_behind(void **state)
{
    enum { ROUNDS = 8 };
    (void)state;
    struct fixture f;
    struct ask writes[2 * ROUNDS];
    fixture_init(&f, 0, false, true);
    struct script *s = NULL;
    for (int i = 0; i < ROUNDS; i++) { /* there are always two that came before it */
        ask_set(&f, &writes[2 * i], "k", "a", 2);
        ask_set(&f, &writes[2 * i + 1], "k", "b", 3);
        s = s == NULL ? begin(&f, "k", "version k", 1) : s;
        fixture_commit(&f, 1);
        fixture_turn(&f);
    }
    assert_true(s->done);
    settle(&f);
    assert_end(s, STATUS_OK, "");
    for (int i = 0; i < 2 * ROUNDS; i++) {
        assert_done(&writes[i], STATUS_OK);
    }
    fixture_deinit(&f);
}

/* Each look at such a hash takes a while, and the node must go on in between. In the order in which they
 * came. */
static void a_turn_does_only_so_much_for_large_hashes(void **state)
{
    enum { LOOKS = 100 };
    (void)state;
    struct fixture f;
    static char words[LIMIT_VALUE_BYTES + 64];
    fixture_init(&f, 0, false, true);
    f.group->config.dirty_bytes_max = 64 << 20;
    strcpy(words, "hash h ");
    memset(words + 7, 'x', 1000 * 1000);
    run_now(&f, "!h", words, "");
    struct script *looks[LOOKS];
    for (int i = 0; i < LOOKS; i++) {
        looks[i] = begin(&f, "h", "version h", 1);
    }
    int done = 0;
    for (int turns = 0; done < LOOKS; turns++) {
        int before = done;
        assert_true(turns < LOOKS);
        uint64_t wake_ms = group_turn(f.group, f.now_ms, f.now_ms);
        while (done < LOOKS && looks[done]->done) {
            done++;
        }
        assert_in_range(done - before, 1, 10);
        assert_true(done == LOOKS || wake_ms <= f.now_ms); /* and it goes on at once */
        for (int i = done; i < LOOKS; i++) {
            assert_false(looks[i]->done);
        }
    }
    for (int i = 0; i < LOOKS; i++) {
        assert_end(looks[i], STATUS_OK, "");
    }
    fixture_deinit(&f);
}

/* An answer of a megabyte is work as well: whoever asks for thousands does not stop the node. */
static void read_much(bool lease)
{
    enum { READS = 40, MUCH = 1, OTHER = 2 };
    struct fixture f;
    static char words[LIMIT_VALUE_BYTES + 64];
    fixture_init(&f, 0, false, true);
    f.group->config.dirty_bytes_max = 64 << 20;
    strcpy(words, "put a ");
    memset(words + 6, 'x', 1000 * 1000);
    run_now(&f, "!a", words, "");
    run_now(&f, "!b", "put b v1", "");
    static struct ask reads[READS];
    struct ask other;
    for (int i = 0; i < READS; i++) {
        ask_get(&f, &reads[i], "a", MUCH);
    }
    ask_get(&f, &other, "b", OTHER);
    if (!lease) { /* a barrier proves all of them at once */
        f.lease = false;
        for (int turns = 0; turns < READS; turns++) {
            group_turn(f.group, f.now_ms, f.now_ms);
        }
        assert_false(reads[0].done || other.done);
        f.lease = true;
        group_on_barrier(f.group, f.barrier_token);
    }
    int done = 0;
    for (int turns = 0; done < READS; turns++) {
        int before = done;
        assert_true(turns < READS);
        uint64_t wake_ms = group_turn(f.group, f.now_ms, f.now_ms);
        while (done < READS && reads[done].done) {
            done++;
        }
        assert_in_range(done - before, 1, 10);
        assert_true(done == READS || wake_ms <= f.now_ms);
        assert_true(!lease || other.done);
    }
    for (int i = 0; i < READS; i++) {
        assert_done(&reads[i], STATUS_OK);
        operation_result_clear(&reads[i].result);
    }
    assert_done(&other, STATUS_OK);
    operation_result_clear(&other.result);
    fixture_deinit(&f);
}

static void a_turn_does_only_so_much_for_plain_reads_of_large_values(void **state)
{
    (void)state;
    read_much(true);
    read_much(false);
}

/* Nor do those behind them who ask for little: only each connection's own order is kept. */
static void who_asks_for_little_does_not_stand_behind_much(void **state)
{
    enum { LOOKS = 100, MUCH = 1, OTHER = 2 };
    (void)state;
    struct fixture f;
    static char words[LIMIT_VALUE_BYTES + 64];
    fixture_init(&f, 0, false, true);
    f.group->config.dirty_bytes_max = 64 << 20;
    strcpy(words, "hash h ");
    memset(words + 7, 'x', 1000 * 1000);
    run_now(&f, "!h", words, "");
    run_now(&f, "!a", "put a v1", "");
    struct script *looks[LOOKS], *own = NULL;
    for (int i = 0; i < LOOKS; i++) {
        looks[i] = begin(&f, "h", "version h", MUCH);
    }
    own = begin(&f, "a", "get a", MUCH);
    struct script *other = begin(&f, "a", "get a", OTHER);
    group_turn(f.group, f.now_ms, f.now_ms);
    assert_end(other, STATUS_OK, "v1 ");
    assert_true(looks[0]->done);
    assert_false(looks[LOOKS - 1]->done || own->done);
    for (int turns = 0; !own->done; turns++) {
        assert_true(turns < LOOKS);
        group_turn(f.group, f.now_ms, f.now_ms);
        assert_true(!own->done || looks[LOOKS - 1]->done);
    }
    assert_end(own, STATUS_OK, "v1 ");
    for (int i = 0; i < LOOKS; i++) {
        assert_end(looks[i], STATUS_OK, "");
    }
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_its_writes_are_one_entry),
        cmocka_unit_test(writes_of_several_keys_are_tied_and_one_alone_is_not),
        cmocka_unit_test(what_replaces_a_tied_write_is_tied),
        cmocka_unit_test(a_write_behind_a_tied_one_leaves_the_tie),
        cmocka_unit_test(nothing_happens_when_it_says_no),
        cmocka_unit_test(a_delete_of_what_is_not_there_writes_nothing),
        cmocka_unit_test(it_waits_for_the_keys_that_it_must_know_only),
        cmocka_unit_test(who_wants_a_version_waits_until_there_is_one),
        cmocka_unit_test(readers_need_not_see_what_nobody_was_told),
        cmocka_unit_test(it_runs_again_when_the_log_refused_what_it_saw),
        cmocka_unit_test(what_is_over_is_not_gone_while_the_log_refuses_its_delete),
        cmocka_unit_test(a_full_budget_refuses_writes_but_not_reads_and_refusals),
        cmocka_unit_test(what_one_entry_cannot_hold_is_too_big),
        cmocka_unit_test(an_expiry_that_is_past_deletes),
        cmocka_unit_test(a_follower_shows_what_it_has),
        cmocka_unit_test(a_write_in_the_log_is_unknown_when_the_office_ends),
        cmocka_unit_test(nobody_of_its_connection_overtakes_one_that_waits_for_a_load),
        cmocka_unit_test(nobody_overtakes_those_that_wait_behind_either),
        cmocka_unit_test(a_hot_key_is_in_an_entry_once),
        cmocka_unit_test(what_a_reader_was_told_the_version_of_is_not_replaced),
        cmocka_unit_test(waiting_behind_ends_when_the_load_fails),
        cmocka_unit_test(the_value_of_a_hash_is_no_answer_to_who_knows_texts_only),
        cmocka_unit_test(thousands_of_keys_are_found_again),
        cmocka_unit_test(what_would_change_nothing_waits_for_the_delete_that_it_rests_on),
        cmocka_unit_test(who_wants_the_version_of_a_hot_key_is_not_left_behind),
        cmocka_unit_test(a_turn_does_only_so_much_for_large_hashes),
        cmocka_unit_test(a_turn_does_only_so_much_for_plain_reads_of_large_values),
        cmocka_unit_test(who_asks_for_little_does_not_stand_behind_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
