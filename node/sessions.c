/* Sessions and their results: two hash tables for the look-ups, and three kinds of lists (sessions by use,
 * all results by age, a session's results by age), whose heads are what is forgotten next. Only the lists'
 * order is replicated; the tables' is this process' own. */
#include "node/sessions.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/alloc.h"
#include "proto/base/check.h"

/* ---- Hash tables ----
 *
 * Linear hashing (Litwin, 1980): each insert that needs it splits one bucket, each removal merges up to two.
 * So no log entry pays for moving everything, in the middle of apply. The bucket that is split or merged has
 * its partner at its number without the highest bit. */

enum { TABLE_CAP_MIN = 16 };

/* Of the element that is linked by @link. */
typedef uint64_t table_hash_fn(const struct sessions *s, const struct session_link *link);

/* A bijection in which each bit of the input moves each bit of the output: the finalizer of splitmix64. */
static uint64_t mix(uint64_t z)
{
    z += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* All ones, as few as are needed for the number of each bucket in use. */
static size_t table_mask(size_t used)
{
    return used <= 1 ? 0 : SIZE_MAX >> __builtin_clzl(used - 1);
}

static struct session_link **table_bucket(const struct session_table *t, uint64_t hash)
{
    size_t mask = table_mask(t->used);
    size_t i = hash & mask;
    return &t->buckets[i < t->used ? i : i & mask >> 1];
}

/* The first link of the chain that the hash belongs to; NULL when there is none. */
static struct session_link *table_chain(const struct session_table *t, uint64_t hash)
{
    return t->used == 0 ? NULL : *table_bucket(t, hash);
}

static void table_push(struct session_table *t, struct session_link *link, uint64_t hash)
{
    struct session_link **head = table_bucket(t, hash);
    link->next = *head;
    *head = link;
}

static void table_resize(struct session_table *t, size_t cap)
{
    t->buckets = xrealloc(t->buckets, cap * sizeof *t->buckets);
    t->cap = cap;
}

static void table_split(const struct sessions *s, struct session_table *t, table_hash_fn *hash_of)
{
    if (t->used == t->cap) {
        table_resize(t, t->cap == 0 ? TABLE_CAP_MIN : 2 * t->cap);
    }
    size_t added = t->used++;
    t->buckets[added] = NULL;
    if (added == 0) {
        return;
    }
    struct session_link **partner = &t->buckets[added & table_mask(t->used) >> 1];
    struct session_link *link = *partner;
    *partner = NULL;
    while (link != NULL) {
        struct session_link *next = link->next;
        table_push(t, link, hash_of(s, link));
        link = next;
    }
}

static void table_merge(struct session_table *t)
{
    size_t last = t->used - 1;
    struct session_link **end = &t->buckets[last & table_mask(t->used) >> 1];
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = t->buckets[last];
    t->used = last;
    if (t->cap > TABLE_CAP_MIN && t->used <= t->cap / 4) {
        table_resize(t, t->cap / 2);
    }
}

static void table_insert(
    const struct sessions *s, struct session_table *t, struct session_link *link, table_hash_fn *hash_of)
{
    if (t->links >= t->used) {
        table_split(s, t, hash_of);
    }
    table_push(t, link, hash_of(s, link));
    t->links++;
}

static void table_remove(
    const struct sessions *s, struct session_table *t, struct session_link *link, table_hash_fn *hash_of)
{
    struct session_link **at = table_bucket(t, hash_of(s, link));
    while (*at != link) {
        CHECK(*at != NULL && "what is removed is in the table");
        at = &(*at)->next;
    }
    *at = link->next;
    t->links--;
    /* Two a time: a table that empties keeps up with its own halving. */
    for (int i = 0; i < 2 && t->used > 2 * t->links + TABLE_CAP_MIN; i++) {
        table_merge(t);
    }
}

/* ---- Look-ups ---- */

static uint64_t id_hash(const struct sessions *s, uint64_t id)
{
    return mix(s->hash_seed ^ id);
}

static uint64_t sequence_hash(const struct sessions *s, uint64_t id, uint64_t sequence)
{
    return mix(id_hash(s, id) + sequence);
}

static struct session *session_of(const struct session_link *link)
{
    return list_entry(link, struct session, in_table);
}

static struct session_result *result_of(const struct session_link *link)
{
    return list_entry(link, struct session_result, in_table);
}

static uint64_t session_hash(const struct sessions *s, const struct session_link *link)
{
    return id_hash(s, session_of(link)->id);
}

static uint64_t result_hash(const struct sessions *s, const struct session_link *link)
{
    const struct session_result *r = result_of(link);
    return sequence_hash(s, r->session->id, r->sequence);
}

static struct session *find_session(const struct sessions *s, uint64_t id)
{
    struct session_link *link = table_chain(&s->by_id, id_hash(s, id));
    while (link != NULL && session_of(link)->id != id) {
        link = link->next;
    }
    return link == NULL ? NULL : session_of(link);
}

static struct session_result *find_result(
    const struct sessions *s, const struct session *of, uint64_t sequence)
{
    struct session_link *link = table_chain(&s->by_sequence, sequence_hash(s, of->id, sequence));
    while (link != NULL && !(result_of(link)->session == of && result_of(link)->sequence == sequence)) {
        link = link->next;
    }
    return link == NULL ? NULL : result_of(link);
}

/* May @sequence, which has no result, be executed? The highest number has no floor above it: it is none. */
static bool is_new(const struct session *session, uint64_t sequence)
{
    return sequence >= session->floor && sequence != UINT64_MAX;
}

enum session_verdict sessions_look(
    const struct sessions *s, uint64_t id, uint64_t sequence, const struct session_result **out)
{
    const struct session *session = find_session(s, id);
    if (session == NULL) {
        return SESSION_EXPIRED;
    }
    const struct session_result *result = find_result(s, session, sequence);
    if (result != NULL) {
        *out = result;
        return SESSION_DONE;
    }
    return is_new(session, sequence) ? SESSION_NEW : SESSION_EXPIRED;
}

bool sessions_known(const struct sessions *s, uint64_t id)
{
    return find_session(s, id) != NULL;
}

/* ---- Coming and going ---- */

static uint64_t result_bytes(uint64_t len)
{
    return SESSION_RESULT_BYTES + len;
}

/* How many sessions there may be. */
static uint64_t sessions_allowed(const struct sessions *s)
{
    uint64_t fit = s->bytes_max / 2 / SESSION_BYTES;
    uint64_t allowed = fit < s->sessions_max ? fit : s->sessions_max;
    return allowed > 0 ? allowed : 1;
}

/* What all results together may take. */
static uint64_t result_bytes_allowed(const struct sessions *s)
{
    uint64_t taken = s->count * SESSION_BYTES;
    return taken < s->bytes_max ? s->bytes_max - taken : 0;
}

static void add_session(struct sessions *s, uint64_t id, uint64_t floor)
{
    struct session *session = xmalloc(sizeof *session);
    *session = (struct session){.id = id, .floor = floor};
    list_init(&session->results);
    list_push_back(&s->by_use, &session->by_use);
    table_insert(s, &s->by_id, &session->in_table, session_hash);
    s->count++;
    s->bytes += SESSION_BYTES;
}

static void add_result(struct sessions *s, struct session *session, uint64_t sequence, uint64_t index,
    uint32_t status, struct bytes results)
{
    struct session_result *r = xmalloc(sizeof *r + results.len);
    *r = (struct session_result){.session = session,
        .sequence = sequence,
        .index = index,
        .status = status,
        .len = (uint32_t)results.len};
    if (results.len > 0) {
        memcpy(r->data, results.data, results.len);
    }
    list_push_back(&s->results, &r->by_age);
    list_push_back(&session->results, &r->of_session);
    table_insert(s, &s->by_sequence, &r->in_table, result_hash);
    s->result_count++;
    s->bytes += result_bytes(r->len);
}

static void forget_result(struct sessions *s, struct session_result *r)
{
    table_remove(s, &s->by_sequence, &r->in_table, result_hash);
    list_remove(&r->by_age);
    list_remove(&r->of_session);
    s->result_count--;
    s->bytes -= result_bytes(r->len);
    free(r);
}

static struct session_result *oldest_of(const struct session *session)
{
    return list_empty(&session->results)
               ? NULL
               : list_entry(session->results.next, struct session_result, of_session);
}

static void forget_session(struct sessions *s, struct session *session)
{
    struct session_result *r;
    while ((r = oldest_of(session)) != NULL) {
        forget_result(s, r);
    }
    table_remove(s, &s->by_id, &session->in_table, session_hash);
    list_remove(&session->by_use);
    s->count--;
    s->bytes -= SESSION_BYTES;
    free(session);
}

static void raise_floor(struct session *session, uint64_t floor)
{
    if (session->floor < floor) {
        session->floor = floor;
    }
}

static void keep_limits(struct sessions *s)
{
    while (s->count > sessions_allowed(s)) {
        forget_session(s, list_entry(s->by_use.next, struct session, by_use));
    }
    while (s->bytes > s->bytes_max && s->result_count > 0) {
        struct session_result *oldest = list_entry(s->results.next, struct session_result, by_age);
        raise_floor(oldest->session, oldest->sequence + 1);
        forget_result(s, oldest);
    }
}

/* ---- Life ---- */

void sessions_init(struct sessions *s)
{
    *s = (struct sessions){.sessions_max = SESSIONS_DEFAULT, .bytes_max = SESSION_BYTES_DEFAULT};
    list_init(&s->by_use);
    list_init(&s->results);
}

void sessions_deinit(struct sessions *s)
{
    list_for_each (link, tmp, &s->results) {
        free(list_entry(link, struct session_result, by_age));
    }
    list_for_each (link, tmp, &s->by_use) {
        free(list_entry(link, struct session, by_use));
    }
    free(s->by_id.buckets);
    free(s->by_sequence.buckets);
    sessions_init(s);
}

void sessions_move(struct sessions *to, struct sessions *from)
{
    *to = *from;
    list_init(&to->by_use);
    list_splice_back(&to->by_use, &from->by_use);
    list_init(&to->results);
    list_splice_back(&to->results, &from->results);
}

/* ---- Applying the log ---- */

void sessions_apply_limits(struct sessions *s, uint64_t sessions_max, uint64_t bytes_max)
{
    s->limits_named = true;
    s->sessions_max = sessions_max > 0 ? sessions_max : 1;
    s->bytes_max = bytes_max > 0 ? bytes_max : 1;
    keep_limits(s);
}

void sessions_apply_open(struct sessions *s, uint64_t id)
{
    CHECK(id != 0 && find_session(s, id) == NULL && "a session's id is its own");
    add_session(s, id, 1);
    keep_limits(s);
}

bool sessions_apply_result(struct sessions *s, uint64_t id, uint64_t sequence, uint64_t first_awaited,
    uint64_t index, uint32_t status, struct bytes results)
{
    struct session *session = find_session(s, id);
    if (session == NULL) {
        return false;
    }
    CHECK(find_result(s, session, sequence) == NULL && "a sequence is executed once");
    CHECK(results.len <= UINT32_MAX);
    if (!is_new(session, sequence)) {
        return false;
    }
    list_remove(&session->by_use);
    list_push_back(&s->by_use, &session->by_use);
    raise_floor(session, first_awaited);
    struct session_result *oldest;
    while ((oldest = oldest_of(session)) != NULL && oldest->sequence < first_awaited) {
        forget_result(s, oldest);
    }
    if (sequence < first_awaited || result_bytes(results.len) > result_bytes_allowed(s)) {
        raise_floor(session, sequence + 1);
        return true;
    }
    add_result(s, session, sequence, index, status, results);
    keep_limits(s);
    return true;
}

/* ---- Restoring ---- */

bool sessions_restore_session(struct sessions *s, uint64_t id, uint64_t floor)
{
    if (id == 0 || floor == 0 || find_session(s, id) != NULL || s->count >= sessions_allowed(s)) {
        return false;
    }
    add_session(s, id, floor);
    return true;
}

bool sessions_restore_result(
    struct sessions *s, uint64_t id, uint64_t sequence, uint64_t index, uint32_t status, struct bytes results)
{
    struct session *session = find_session(s, id);
    if (session == NULL || sequence == 0 || sequence == UINT64_MAX || index == 0 ||
        results.len > UINT32_MAX || find_result(s, session, sequence) != NULL) {
        return false;
    }
    if (!list_empty(&s->results) &&
        index < list_entry(s->results.prev, struct session_result, by_age)->index) {
        return false;
    }
    uint64_t taken = s->bytes - s->count * SESSION_BYTES;
    if (taken + result_bytes(results.len) > result_bytes_allowed(s)) {
        return false;
    }
    add_result(s, session, sequence, index, status, results);
    return true;
}

/* ---- Invariants ---- */

static void check_link(const struct list *link)
{
    CHECK(link->next->prev == link && link->prev->next == link && "a list's links are consistent");
}

/* Each link is in its bucket, and there are @count of them. */
static void check_table(
    const struct sessions *s, const struct session_table *t, uint64_t count, table_hash_fn *hash_of)
{
    size_t links = 0;
    for (size_t i = 0; i < t->used; i++) {
        for (struct session_link *link = t->buckets[i]; link != NULL; link = link->next) {
            CHECK(table_bucket(t, hash_of(s, link)) == &t->buckets[i] && "an element is in its bucket");
            links++;
        }
    }
    CHECK(links == t->links && links == count && "a table has what the lists have");
    CHECK(t->used <= t->cap && t->links <= t->used && t->used <= 2 * t->links + TABLE_CAP_MIN &&
          "a table is neither too full nor too empty");
}

/* Returns how many results @session has. */
static uint64_t check_session(const struct sessions *s, const struct session *session)
{
    uint64_t count = 0;
    uint64_t index = 0;
    CHECK(session->id != 0 && find_session(s, session->id) == session && "a session is found by its id");
    CHECK(session->floor > 0 && "no sequence is 0");
    list_for_each (link, tmp, &session->results) {
        const struct session_result *r = list_entry(link, struct session_result, of_session);
        check_link(link);
        CHECK(r->session == session && "a result in a session's list is that session's");
        CHECK(r->index >= index && "a session's results are ordered by age");
        index = r->index;
        count++;
    }
    return count;
}

void sessions_check(const struct sessions *s)
{
    uint64_t count = 0, of_sessions = 0, result_count = 0, bytes = 0, index = 0;
    list_for_each (link, tmp, &s->by_use) {
        check_link(link);
        of_sessions += check_session(s, list_entry(link, struct session, by_use));
        bytes += SESSION_BYTES;
        count++;
    }
    list_for_each (link, tmp, &s->results) {
        const struct session_result *r = list_entry(link, struct session_result, by_age);
        check_link(link);
        CHECK(find_result(s, r->session, r->sequence) == r && find_session(s, r->session->id) == r->session &&
              "a result and its session are found");
        CHECK(r->sequence != 0 && r->sequence != UINT64_MAX && "a result's sequence is one");
        CHECK(r->index >= index && "results are ordered by age");
        index = r->index;
        bytes += result_bytes(r->len);
        result_count++;
    }
    CHECK(count == s->count && "count counts the sessions");
    CHECK(
        result_count == s->result_count && of_sessions == result_count && "result_count counts the results");
    CHECK(bytes == s->bytes && "bytes counts sessions and results");
    check_table(s, &s->by_id, count, session_hash);
    check_table(s, &s->by_sequence, result_count, result_hash);
    CHECK(s->sessions_max > 0 && s->bytes_max > 0 && "limits are at least 1");
    CHECK(count <= sessions_allowed(s) && "there are no more sessions than the limits allow");
    CHECK((bytes <= s->bytes_max || result_count == 0) && "there are no more results than the limits allow");
}
