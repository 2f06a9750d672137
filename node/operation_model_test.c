/* Random operations upon one key against an obvious model: what operation.h says, written down a second time
 * with C strings, strtoll and wide sums. Each seed runs a history of one key: the effects of one operation
 * are what the next one finds, the clock goes on, and writes gain their versions late, as in the overlay. A
 * failure prints its seed; give the seed as the only argument to run that seed alone. */
#include "node/operation_test_help.h"

#include <errno.h>

enum { SEEDS = 400, STEPS = 1000, TEXT_MAX = 4096 };

static uint64_t seed_wanted; /* set by main, before any test runs; 0: all of them */

/* ---- The model ---- */

struct model {
    bool there;
    bool applied; /* the newest write has its version */
    bool string;  /* its type */
    char text[TEXT_MAX + 1];
    uint64_t version; /* of the newest write */
    uint64_t expires_at_ms;
    uint64_t now_ms;
};

struct answer {
    enum status status;
    bool wrote, found;
    bool has_number, has_length;
    int64_t number;
    bool tells_version; /* the one of what is there */
    uint64_t expires_at_ms;
    const char *old; /* NULL: no value */
};

/* Is @text how printf writes the number that strtoll reads from it? */
static bool model_number(const char *text, int64_t *out)
{
    char again[32];
    errno = 0;
    long long number = strtoll(text, NULL, 10);
    snprintf(again, sizeof again, "%lld", number);
    *out = number;
    return errno == 0 && strcmp(text, again) == 0;
}

static void model_expire(struct model *m)
{
    if (m->there && m->expires_at_ms != 0 && m->now_ms >= m->expires_at_ms) {
        m->there = false;
    }
    if (!m->there) {
        m->expires_at_ms = 0;
        m->string = true;
    }
}

static uint64_t model_time(const struct model *m, const struct operation *op)
{
    unsigned __int128 at = op->expire_ms;
    at += op->expire_relative ? m->now_ms : 0;
    at = at > LAST_MS ? LAST_MS : at;
    return at == 0 ? 1 : (uint64_t)at;
}

static enum status model_condition(const struct model *m, const struct operation *op)
{
    bool must_be_there =
        op->condition == CONDITION_PRESENT || (op->condition == CONDITION_VERSION && op->if_version != 0);
    bool must_be_absent = op->condition != CONDITION_NONE && !must_be_there;
    if ((must_be_there && !m->there) || (must_be_absent && m->there)) {
        return STATUS_CONDITION_FAILED;
    }
    if (op->condition == CONDITION_VERSION && must_be_there) {
        return !m->applied                    ? STATUS_AGAIN
               : m->version == op->if_version ? STATUS_OK
                                              : STATUS_CONDITION_FAILED;
    }
    return STATUS_OK;
}

static bool model_expire_if(const struct model *m, const struct operation *op)
{
    double before = m->expires_at_ms == 0 ? 1e300 : (double)m->expires_at_ms;
    double after = !op->expires ? 1e300 : (double)model_time(m, op);
    return op->only_if == EXPIRE_ALWAYS || (op->only_if == EXPIRE_HAS_NONE && m->expires_at_ms == 0) ||
           (op->only_if == EXPIRE_HAS_ONE && m->expires_at_ms != 0) ||
           (op->only_if == EXPIRE_LATER && after > before) ||
           (op->only_if == EXPIRE_EARLIER && after < before);
}

static void model_put(struct model *m, const char *text, uint64_t expires_at_ms)
{
    if (text != m->text) {
        snprintf(m->text, sizeof m->text, "%s", text);
    }
    m->there = true;
    m->expires_at_ms = expires_at_ms;
    m->version++;
    m->applied = false;
    model_expire(m);
}

/* Do @op to @m. The old text goes to @old. */
static struct answer model_step(struct model *m, const struct operation *op, char old[TEXT_MAX + 1])
{
    model_expire(m);
    snprintf(old, TEXT_MAX + 1, "%s", m->text);
    const struct model before = *m;
    struct answer a = {.status = STATUS_OK, .found = m->there};
    int64_t number = 0;
    __int128 sum;
    char text[64];
    switch (op->kind) {
    case OPERATION_SET:
    case OPERATION_DEL:
        a.status = op->return_old && m->there && !m->string ? STATUS_WRONG_TYPE : model_condition(m, op);
        a.old = op->return_old && m->there && m->string && a.status != STATUS_AGAIN ? old : NULL;
        if (a.status == STATUS_OK && op->kind == OPERATION_SET) {
            char value[TEXT_MAX + 1];
            snprintf(value, sizeof value, "%.*s", (int)op->value.len, (const char *)op->value.data);
            m->string = true;
            model_put(m, value, op->expires ? model_time(m, op) : op->keep_expiry ? m->expires_at_ms : 0);
            a.found = a.wrote = true;
        } else if (a.status == STATUS_OK && m->there) {
            m->there = false;
            m->version++;
            m->applied = false;
            a.wrote = true;
        }
        break;
    case OPERATION_INCR:
        if (m->there && !m->string) {
            a.status = STATUS_WRONG_TYPE;
        } else if (m->there && !model_number(m->text, &number)) {
            a.status = STATUS_NOT_A_NUMBER;
        } else if ((sum = (__int128)number + op->delta) < INT64_MIN || sum > INT64_MAX) {
            a.status = STATUS_OUT_OF_RANGE;
        } else {
            snprintf(text, sizeof text, "%lld", (long long)sum);
            model_put(m, text, m->expires_at_ms);
            a.found = a.wrote = a.has_number = true;
            a.number = (int64_t)sum;
        }
        break;
    case OPERATION_APPEND:
        if (m->there && !m->string) {
            a.status = STATUS_WRONG_TYPE;
        } else {
            size_t len = m->there ? strlen(m->text) : 0;
            memcpy(m->text + len, op->value.data, op->value.len);
            m->text[len + op->value.len] = '\0';
            model_put(m, m->text, m->expires_at_ms);
            a.found = a.wrote = a.has_length = true;
        }
        break;
    case OPERATION_EXPIRE:
        if (!m->there) {
            break;
        }
        a.expires_at_ms = m->expires_at_ms;
        if (!model_expire_if(m, op)) {
            a.status = STATUS_CONDITION_FAILED;
        } else if (op->expires || m->expires_at_ms != 0) {
            a.wrote = true;
            a.expires_at_ms = op->expires ? model_time(m, op) : 0;
            model_put(m, m->text, a.expires_at_ms);
        }
        break;
    }
    if (a.status == STATUS_AGAIN) {
        a.found = false;
    }
    a.tells_version = !a.wrote && before.there && before.applied && a.status != STATUS_AGAIN;
    return a;
}

/* ---- Random operations ---- */

static uint64_t draw(uint64_t *random)
{
    uint64_t z = (*random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static int64_t draw_delta(uint64_t *random)
{
    static const int64_t edges[] = {0, 1, -1, INT64_MAX, INT64_MIN, INT64_MAX - 1, INT64_MIN + 1};
    return draw(random) % 2 ? edges[draw(random) % (sizeof edges / sizeof *edges)]
                            : (int64_t)draw(random) >> (draw(random) % 64);
}

static uint64_t draw_time(uint64_t *random, const struct model *m, bool relative)
{
    static const uint64_t edges[] = {
        0, 1, LAST_MS - 1, LAST_MS, LAST_MS + 1, UINT64_MAX / 2, UINT64_MAX - 1, UINT64_MAX};
    if (draw(random) % 8 == 0) {
        return edges[draw(random) % (sizeof edges / sizeof *edges)];
    }
    uint64_t near_ms = draw(random) % 20; /* so that expiries meet, and are met by the clock */
    return relative ? near_ms : m->now_ms + near_ms - 4;
}

static struct operation draw_operation(uint64_t *random, const struct model *m)
{
    static const char *const texts[] = {"", "0", "-", "7", "-0", "+1", "01", " 1", "1 ", "x",
        "9223372036854775807", "-9223372036854775808", "9223372036854775808", "99999999999999999999"};
    struct operation op = {.kind = (enum operation_kind)(draw(random) % (OPERATION_EXPIRE + 1)),
        .value = bytes_from_text(texts[draw(random) % (sizeof texts / sizeof *texts)]),
        .delta = draw_delta(random),
        .only_if = (enum operation_expire_if)(draw(random) % (EXPIRE_EARLIER + 1)),
        .expires = draw(random) % 2,
        .expire_relative = draw(random) % 2,
        .keep_expiry = draw(random) % 2};
    if (op.kind == OPERATION_SET || op.kind == OPERATION_DEL) {
        op.condition = (enum operation_condition)(draw(random) % (CONDITION_VERSION + 1));
        op.if_version = draw(random) % 4 == 0 ? 0 : m->version + 1 - draw(random) % 3;
        op.return_old = draw(random) % 2;
    }
    if (op.kind == OPERATION_APPEND && m->there && strlen(m->text) + op.value.len > TEXT_MAX) {
        op.kind = OPERATION_DEL;
    }
    op.expire_ms = draw_time(random, m, op.expire_relative);
    return op;
}

/* ---- The run ---- */

/* What the evaluation of the next operation is told. */
static struct operation_current current_of(const struct model *m, struct value *value)
{
    return (struct operation_current){.value = value,
        .type = value != NULL && !m->string ? OTHER_TYPE : VALUE_STRING,
        .version_known = m->applied,
        .version = m->applied && value != NULL ? m->version : 0,
        .expires_at_ms = value != NULL ? m->expires_at_ms : 0};
}

static void step(struct model *m, uint64_t *random)
{
    m->now_ms += draw(random) % 4;
    m->applied = m->applied || draw(random) % 2;
    if (draw(random) % 16 == 0) { /* somebody made it another type */
        m->string = !m->there;
    }
    const struct operation op = draw_operation(random, m);
    struct value *value = m->there ? value_create(bytes_from_text(m->text)) : NULL;
    struct operation_current now = current_of(m, value);
    size_t bytes_max = operation_bytes_max(&op, &now);
    if (!operation_needs_current(&op) && draw(random) % 2) {
        now = (struct operation_current){0}; /* nobody looked */
    }
    struct operation_effect effect;
    struct operation_result got = {0};
    enum status status = operation_evaluate(&op, &now, m->now_ms, &effect, &got);

    const struct model before = *m;
    char old[TEXT_MAX + 1];
    const struct answer want = model_step(m, &op, old);
    const struct operation_result result = {.found = want.found,
        .has_number = want.has_number,
        .number = want.number,
        .has_length = want.has_length,
        .length = want.has_length ? (uint32_t)strlen(m->text) : 0,
        .version = want.tells_version ? before.version : 0,
        .expires_at_ms = want.expires_at_ms};
    bool right = status == want.status && same_result(&got, &result) && same_text(got.value, want.old) &&
                 ((int)effect.kind != EFFECT_NONE) == want.wrote;
    if (want.wrote) {
        right = right && ((int)effect.kind == EFFECT_WRITE) == m->there &&
                same_text(effect.value, m->there ? m->text : NULL) &&
                effect.expires_at_ms == (m->there ? m->expires_at_ms : 0) &&
                effect.type == (m->there && !m->string ? OTHER_TYPE : VALUE_STRING);
    }
    if (!right) {
        print_outcome(status, &effect, &got);
        print_outcome(want.status, &(struct operation_effect){.expires_at_ms = m->expires_at_ms}, &result);
        fail_msg("kind %d upon '%s' (%s) at %" PRIu64 ": the second line above was wanted, and '%s'",
            (int)op.kind, before.text, before.there ? "there" : "not there", m->now_ms,
            m->there ? m->text : "nothing");
    }
    assert_true(effect.value == NULL || effect.value->len <= bytes_max);
    value_unref(effect.value);
    operation_result_clear(&got);
    value_unref(value);
}

static void a_history_agrees_with_the_model(void **seed_out)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t random = *(uint64_t *)*seed_out = seed_wanted != 0 ? seed_wanted : seed;
        struct model m = {.string = true, .applied = true, .version = 3, .now_ms = NOW_MS};
        for (int n = 0; n < STEPS; n++) {
            step(&m, &random);
        }
        if (seed_wanted != 0) {
            return;
        }
    }
    *(uint64_t *)*seed_out = 0;
}

static uint64_t seed_running;

static int give_seed(void **state)
{
    *state = &seed_running;
    return 0;
}

/* Runs after a failure too: says which seed it was. */
static int print_seed(void **state)
{
    (void)state;
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
        cmocka_unit_test_setup_teardown(a_history_agrees_with_the_model, give_seed, print_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
