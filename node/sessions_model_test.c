/* Sessions at random, against a reference that keeps two arrays and searches them from end to end. Each seed
 * runs two replicas that apply the same log; now and then one of them is replaced by what the other's lists
 * say, as a snapshot does it. After each step both must have the reference's lists. A failure prints its
 * seed; give the seed as the only argument to run that seed alone. */
#include "node/sessions.h"

#include "node/state_test_help.h"

enum { MODEL_SESSIONS = 24, MODEL_RESULTS = 400, SEEDS = 150, STEPS = 600 };

struct model_result {
    uint64_t id, sequence, index;
    uint32_t status, len; /* the bytes are all of (uint8_t)(id + sequence) */
};

struct model_session {
    uint64_t id, floor;
};

/* The reference: both arrays in the order of the lists. */
struct model {
    uint64_t sessions_max, bytes_max;
    uint32_t n_sessions, n_results;
    struct model_session sessions[MODEL_SESSIONS + 1];
    struct model_result results[MODEL_RESULTS + 1];
};

static uint64_t next_random(uint64_t *seed)
{
    uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static struct model_session *model_find(struct model *m, uint64_t id)
{
    for (uint32_t i = 0; i < m->n_sessions; i++) {
        if (m->sessions[i].id == id) {
            return &m->sessions[i];
        }
    }
    return NULL;
}

static struct model_result *model_find_result(struct model *m, uint64_t id, uint64_t sequence)
{
    for (uint32_t i = 0; i < m->n_results; i++) {
        if (m->results[i].id == id && m->results[i].sequence == sequence) {
            return &m->results[i];
        }
    }
    return NULL;
}

static uint64_t model_bytes(const struct model *m)
{
    uint64_t bytes = m->n_sessions * (uint64_t)SESSION_BYTES;
    for (uint32_t i = 0; i < m->n_results; i++) {
        bytes += SESSION_RESULT_BYTES + m->results[i].len;
    }
    return bytes;
}

static void model_erase_result(struct model *m, uint32_t i)
{
    m->n_results--;
    memmove(&m->results[i], &m->results[i + 1], (m->n_results - i) * sizeof m->results[0]);
}

static void model_trim(struct model *m)
{
    while (m->n_sessions > 1 &&
           (m->n_sessions > m->sessions_max || m->n_sessions * (uint64_t)SESSION_BYTES > m->bytes_max / 2)) {
        uint64_t id = m->sessions[0].id;
        m->n_sessions--;
        memmove(&m->sessions[0], &m->sessions[1], m->n_sessions * sizeof m->sessions[0]);
        for (uint32_t i = m->n_results; i-- > 0;) {
            if (m->results[i].id == id) {
                model_erase_result(m, i);
            }
        }
    }
    while (m->n_results > 0 && model_bytes(m) > m->bytes_max) {
        struct model_session *session = model_find(m, m->results[0].id);
        if (session->floor <= m->results[0].sequence) {
            session->floor = m->results[0].sequence + 1;
        }
        model_erase_result(m, 0);
    }
}

/* The oldest result of session @id. */
static struct model_result *model_oldest(struct model *m, uint64_t id)
{
    for (uint32_t i = 0; i < m->n_results; i++) {
        if (m->results[i].id == id) {
            return &m->results[i];
        }
    }
    return NULL;
}

static bool model_apply_result(struct model *m, struct model_result result, uint64_t first_awaited)
{
    struct model_session *found = model_find(m, result.id);
    if (found == NULL || result.sequence < found->floor) {
        return false;
    }
    struct model_session session = *found;
    memmove(found, found + 1, (size_t)(&m->sessions[m->n_sessions] - (found + 1)) * sizeof *found);
    session.floor = session.floor > first_awaited ? session.floor : first_awaited;
    struct model_result *oldest;
    while ((oldest = model_oldest(m, result.id)) != NULL && oldest->sequence < first_awaited) {
        model_erase_result(m, (uint32_t)(oldest - m->results));
    }
    uint64_t alone = m->n_sessions * (uint64_t)SESSION_BYTES + SESSION_RESULT_BYTES + result.len;
    if (alone <= m->bytes_max) {
        assert_true(m->n_results < MODEL_RESULTS);
        m->results[m->n_results++] = result;
    } else if (session.floor <= result.sequence) {
        session.floor = result.sequence + 1;
    }
    m->sessions[m->n_sessions - 1] = session;
    model_trim(m);
    return true;
}

/* Both lists, each session's results, and every answer that could be asked for. */
static void assert_is_model(const struct sessions *s, struct model *m)
{
    sessions_check(s);
    assert_int_equal(s->count, m->n_sessions);
    assert_int_equal(s->result_count, m->n_results);
    assert_int_equal(s->bytes, model_bytes(m));
    uint32_t i = 0;
    list_for_each (link, tmp, &s->by_use) {
        const struct session *session = list_entry(link, struct session, by_use);
        assert_true(session->id == m->sessions[i].id && session->floor == m->sessions[i].floor);
        uint32_t k = 0;
        list_for_each (of_session, next, &session->results) {
            const struct session_result *r = list_entry(of_session, struct session_result, of_session);
            while (m->results[k].id != session->id) {
                k++;
            }
            assert_true(k < m->n_results && r->sequence == m->results[k].sequence);
            k++;
        }
        i++;
    }
    i = 0;
    list_for_each (link, tmp, &s->results) {
        const struct session_result *r = list_entry(link, struct session_result, by_age);
        const struct model_result *want = &m->results[i++];
        assert_true(r->session->id == want->id && r->sequence == want->sequence && r->index == want->index &&
                    r->status == want->status && r->len == want->len);
        for (uint32_t k = 0; k < r->len; k++) {
            assert_int_equal(r->data[k], (uint8_t)(want->id + want->sequence));
        }
    }
}

static void assert_looks_as_model(const struct sessions *s, struct model *m, uint64_t id, uint64_t sequence)
{
    const struct session_result *r = NULL;
    const struct model_session *session = model_find(m, id);
    const struct model_result *want = model_find_result(m, id, sequence);
    enum session_verdict verdict = sessions_look(s, id, sequence, &r);
    if (want != NULL) {
        assert_true(verdict == SESSION_DONE && r->index == want->index);
    } else {
        assert_int_equal(
            verdict, session != NULL && sequence >= session->floor ? SESSION_NEW : SESSION_EXPIRED);
    }
    assert_int_equal(sessions_known(s, id), session != NULL);
}

/* A replica that gets @from's lists as a snapshot would have them, in place of its own. */
static void restore(struct sessions *to, const struct sessions *from, uint64_t hash_seed)
{
    sessions_deinit(to);
    sessions_init(to);
    to->hash_seed = hash_seed;
    if (from->limits_named) {
        sessions_apply_limits(to, from->sessions_max, from->bytes_max);
    }
    list_for_each (link, tmp, &from->by_use) {
        const struct session *session = list_entry(link, struct session, by_use);
        assert_true(sessions_restore_session(to, session->id, session->floor));
    }
    list_for_each (link, tmp, &from->results) {
        const struct session_result *r = list_entry(link, struct session_result, by_age);
        assert_true(sessions_restore_result(
            to, r->session->id, r->sequence, r->index, r->status, bytes_of(r->data, r->len)));
    }
}

struct random_run {
    uint64_t random;
    uint64_t index;
    uint64_t last_opened;
    uint64_t next_sequence; /* of all sessions: some are skipped by each */
    struct model model;
    struct sessions replicas[2];
};

static uint64_t below(struct random_run *r, uint64_t n)
{
    return next_random(&r->random) % n;
}

static void step_open(struct random_run *r)
{
    r->last_opened++;
    r->model.sessions[r->model.n_sessions++] = (struct model_session){.id = r->last_opened, .floor = 1};
    model_trim(&r->model);
    for (int i = 0; i < 2; i++) {
        sessions_apply_open(&r->replicas[i], r->last_opened);
    }
}

static void step_limits(struct random_run *r)
{
    r->model.sessions_max = below(r, MODEL_SESSIONS) + 1;
    r->model.bytes_max = below(r, 4) == 0 ? below(r, 2000) + 1 : below(r, 20000) + 1;
    model_trim(&r->model);
    for (int i = 0; i < 2; i++) {
        sessions_apply_limits(&r->replicas[i], r->model.sessions_max, r->model.bytes_max);
    }
}

static void step_result(struct random_run *r)
{
    /* An id of the last few, so that some are forgotten ones, and a sequence around the newest. */
    uint64_t id =
        r->last_opened - below(r, r->last_opened < MODEL_SESSIONS ? r->last_opened : MODEL_SESSIONS);
    uint64_t sequence = r->next_sequence + below(r, 20);
    sequence -= sequence > 10 ? below(r, 10) : 0;
    r->next_sequence += below(r, 3) == 0;
    uint64_t first_awaited = below(r, 3) == 0 ? 1 : sequence - below(r, sequence < 30 ? sequence : 30);
    if (model_find_result(&r->model, id, sequence) != NULL) {
        return; /* the leader found it */
    }
    struct model_result result = {.id = id,
        .sequence = sequence,
        .index = r->index,
        .status = (uint32_t)below(r, 3),
        .len = (uint32_t)(below(r, 20) == 0 ? below(r, 6000) : below(r, 60))};
    uint8_t data[6000];
    memset(data, (int)(id + sequence), sizeof data);
    bool want = model_apply_result(&r->model, result, first_awaited);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sessions_apply_result(&r->replicas[i], id, sequence, first_awaited, r->index,
                             result.status, bytes_of(data, result.len)),
            want);
    }
}

static void run_seed(uint64_t seed)
{
    struct random_run r = {.random = seed, .next_sequence = 1};
    r.model.sessions_max = MODEL_SESSIONS;
    r.model.bytes_max = 20000;
    for (int i = 0; i < 2; i++) {
        sessions_init(&r.replicas[i]);
        r.replicas[i].hash_seed = seed * (uint64_t)i;
        sessions_apply_limits(&r.replicas[i], r.model.sessions_max, r.model.bytes_max);
    }
    step_open(&r);
    for (int step = 0; step < STEPS; step++) {
        r.index += below(&r, 2); /* an entry may have several results */
        r.index += r.index == 0;
        uint64_t what = below(&r, 100);
        if (what < 12) {
            step_open(&r);
        } else if (what < 14) {
            step_limits(&r);
        } else if (what < 16) {
            uint64_t from = below(&r, 2);
            restore(&r.replicas[1 - from], &r.replicas[from], next_random(&r.random));
        } else {
            step_result(&r);
        }
        for (int i = 0; i < 2; i++) {
            assert_is_model(&r.replicas[i], &r.model);
            assert_looks_as_model(&r.replicas[i], &r.model, below(&r, r.last_opened + 1),
                r.next_sequence + 20 - below(&r, r.next_sequence + 20));
        }
    }
    for (int i = 0; i < 2; i++) {
        sessions_deinit(&r.replicas[i]);
    }
}

static uint64_t seed_wanted; /* set by main, before the test runs; 0: all of them */
static uint64_t seed_running;

static void replicas_agree_with_the_reference_after_every_step(void **unused)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        seed_running = seed_wanted != 0 ? seed_wanted : seed;
        run_seed(seed_running);
        if (seed_wanted != 0) {
            break;
        }
    }
    seed_running = 0;
}

/* Runs after a failure too: says which seed it was. */
static int print_seed(void **unused)
{
    if (seed_running != 0) {
        print_message(
            "the last seed was %" PRIu64 ": give it as the argument to run it alone\n", seed_running);
    }
    return 0;
}

int main(int argc, char **argv)
{
    seed_wanted = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(replicas_agree_with_the_reference_after_every_step, print_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
