/* What replies say: one function for each form. */
#include "cluster-tests/redis_call.h"

#include <string.h>

#include "proto/base/check.h"

/* ---- Outcomes ---- */

static struct redis_outcome wrong(const char *why)
{
    return (struct redis_outcome){.answer = REDIS_ANSWER_WRONG, .why = why};
}

static struct redis_outcome one(struct redis_effect effect)
{
    return (struct redis_outcome){.answer = REDIS_ANSWER_RESULT, .n = 1, .effects = {effect}};
}

static struct redis_outcome saw(bool found, struct bytes value)
{
    return one((struct redis_effect){
        .op = HISTORY_GET, .result = {.outcome = HISTORY_OK, .found = found, .value = value}});
}

static struct redis_effect write_if(
    const struct redis_call *call, enum history_condition condition, bool satisfied)
{
    return (struct redis_effect){.op = HISTORY_CAS,
        .arg = {.value = call->value, .condition = condition},
        .result = {.outcome = satisfied ? HISTORY_OK : HISTORY_CONDITION_FAILED}};
}

static struct redis_effect write_always(const struct redis_call *call)
{
    return (struct redis_effect){
        .op = HISTORY_SET, .arg = {.value = call->value}, .result = {.outcome = HISTORY_OK}};
}

static struct redis_outcome swapped(const struct redis_call *call, bool found, struct bytes before)
{
    if (!found) {
        return one(write_if(call, HISTORY_IF_ABSENT, true));
    }
    return (struct redis_outcome){.answer = REDIS_ANSWER_RESULT,
        .n = 2,
        .effects = {{.op = HISTORY_GETDEL, .result = {.outcome = HISTORY_OK, .found = true, .value = before}},
            write_always(call)}};
}

static struct redis_outcome removed(bool found)
{
    return one((struct redis_effect){.op = HISTORY_DEL, .result = {.outcome = HISTORY_OK, .found = found}});
}

static struct redis_outcome added(int64_t delta, int64_t number)
{
    return one((struct redis_effect){
        .op = HISTORY_INCR, .arg = {.delta = delta}, .result = {.outcome = HISTORY_OK, .number = number}});
}

static bool is_ok(const struct reply *r)
{
    return r->type == '+' && bytes_equal(r->text, bytes_from_text("OK"));
}

/* What replies to reading the parts say: all nothing, or all the same value. @gaps: some may be nothing. */
static bool parts_agree(
    struct bytes inside, unsigned n, bool gaps, bool *found, unsigned *missing, struct bytes *value)
{
    *found = false;
    *missing = 0;
    for (unsigned i = 0; i < n; i++) {
        struct reply part = reply_next(&inside);
        if (part.type != '$') {
            return false;
        }
        if (part.null) {
            ++*missing;
        } else if (*found && !bytes_equal(*value, part.text)) {
            return false;
        } else {
            *found = true;
            *value = part.text;
        }
    }
    return gaps || *missing == 0 || *missing == n;
}

static struct redis_outcome settle_parts(const struct reply *r, bool gaps)
{
    bool found;
    unsigned missing;
    struct bytes value = bytes_of(NULL, 0);
    if (r->type != '*' || r->children != REDIS_PARTS) {
        return wrong("not as many parts as were asked for");
    }
    if (!parts_agree(r->inside, REDIS_PARTS, gaps, &found, &missing, &value)) {
        return wrong("the parts of one write were not seen together");
    }
    return saw(found, value);
}

static bool has_parts(const struct redis_object *o)
{
    return o->kind == REDIS_FAMILY || o->kind == REDIS_RECORD;
}

static struct redis_outcome settle_read(const struct redis_call *call, const struct reply *r)
{
    if (has_parts(call->object)) {
        return settle_parts(r, false);
    }
    return r->type != '$' ? wrong("not a value") : saw(!r->null, r->text);
}

static struct redis_outcome settle_read_all(const struct redis_call *call, const struct reply *r)
{
    unsigned n = redis_object_fields(call->object);
    unsigned seen = 0;
    struct bytes value = bytes_of(NULL, 0), inside = r->inside;
    if (r->type != '*' || (r->children != 0 && r->children != 2 * n)) {
        return wrong("not all fields, and not none");
    }
    for (unsigned i = 0; i < r->children / 2; i++) {
        struct reply name = reply_next(&inside), v = reply_next(&inside);
        for (unsigned f = 0; f < n; f++) {
            seen |= bytes_equal(name.text, redis_object_field(call->object, f)) ? 1U << f : 0;
        }
        if (i > 0 && !bytes_equal(v.text, value)) {
            return wrong("the fields of one write were not seen together");
        }
        value = v.text;
    }
    return r->children > 0 && seen != (1U << n) - 1 ? wrong("a field that was never set")
                                                    : saw(r->children > 0, value);
}

/* HSET: how many fields are new. */
static struct redis_outcome settle_hset(const struct redis_call *call, int64_t new_fields)
{
    if (new_fields != 0 && new_fields != redis_object_fields(call->object)) {
        return wrong("some of the fields were there");
    }
    return one(write_if(call, new_fields == 0 ? HISTORY_IF_PRESENT : HISTORY_IF_ABSENT, true));
}

static struct redis_outcome settle_write(const struct redis_call *call, const struct reply *r)
{
    int64_t number;
    if (!redis_kind_is_hash(call->object->kind)) {
        return is_ok(r) ? one(write_always(call)) : wrong("not OK");
    }
    return r->type == ':' && reply_number(r, &number) ? settle_hset(call, number) : wrong("not a number");
}

static struct redis_outcome settle_write_multi(const struct redis_call *call, const struct reply *r)
{
    struct bytes inside = r->inside;
    int64_t new_fields = 0;
    for (unsigned i = 0; i < REDIS_PARTS; i++) {
        struct reply part = reply_next(&inside);
        int64_t number = 0;
        bool hash = call->object->kind == REDIS_RECORD;
        if (hash ? !reply_number(&part, &number) : !is_ok(&part)) {
            return wrong("a write within the transaction failed");
        }
        new_fields += number;
    }
    return call->object->kind == REDIS_RECORD ? settle_hset(call, new_fields) : one(write_always(call));
}

static struct redis_outcome settle_write_absent(const struct redis_call *call, const struct reply *r)
{
    int64_t number = 0;
    bool text = call->object->kind == REDIS_TEXT;
    if (text ? !is_ok(r) && !r->null : !reply_number(r, &number) || number < 0 || number > 1) {
        return wrong("neither done nor not");
    }
    return one(write_if(call, HISTORY_IF_ABSENT, text ? !r->null : number == 1));
}

static struct redis_outcome settle_write_present(const struct redis_call *call, const struct reply *r)
{
    return is_ok(r) || r->null ? one(write_if(call, HISTORY_IF_PRESENT, !r->null))
                               : wrong("neither done nor not");
}

static struct redis_outcome settle_swap(const struct redis_call *call, const struct reply *r)
{
    return r->type == '$' ? swapped(call, !r->null, r->text) : wrong("not a value");
}

static struct redis_outcome settle_swap_multi(const struct redis_call *call, const struct reply *r)
{
    struct bytes inside = r->inside;
    struct reply before = reply_next(&inside), set = reply_next(&inside);
    int64_t new_fields = 0;
    bool hash = redis_kind_is_hash(call->object->kind);
    if (before.type != '$' || (hash ? !reply_number(&set, &new_fields) : !is_ok(&set))) {
        return wrong("a command within the transaction failed");
    }
    if (hash && (new_fields == 1) != before.null) {
        return wrong("somebody came between two commands of a transaction");
    }
    return swapped(call, !before.null, before.text);
}

static struct redis_outcome settle_change(const struct redis_call *call, const struct reply *r)
{
    struct bytes inside = r->inside;
    struct reply set = reply_next(&inside);
    int64_t new_fields = 0;
    bool hash = redis_kind_is_hash(call->object->kind);
    if (hash ? !reply_number(&set, &new_fields) : !is_ok(&set)) {
        return wrong("the write within the transaction failed");
    }
    if (hash && new_fields != (call->found ? 0 : redis_object_fields(call->object))) {
        return wrong("what was watched has changed, and the transaction was done");
    }
    if (redis_kind_is_counter(call->object->kind)) {
        return added(call->delta, redis_call_changed_number(call));
    }
    return swapped(call, call->found, call->before);
}

static struct redis_outcome settle_append(const struct redis_call *call, const struct reply *r)
{
    int64_t length;
    if (r->type != ':' || !reply_number(r, &length) || length < (int64_t)call->value.len) {
        return wrong("not a length");
    }
    return one((struct redis_effect){.op = HISTORY_APPEND,
        .arg = {.value = call->value},
        .result = {.outcome = HISTORY_OK, .length = (uint64_t)length}});
}

static struct redis_outcome settle_add(const struct redis_call *call, const struct reply *r)
{
    int64_t number;
    if (r->type == ':' && reply_number(r, &number)) {
        return added(call->delta, number);
    }
    bool overflow = reply_is_error_of(r, "ERR increment or decrement would overflow");
    bool no_number = reply_is_error_of(r, "ERR value is not an integer or out of range") ||
                     reply_is_error_of(r, "ERR hash value is not an integer");
    if (!overflow && !no_number) {
        return wrong("neither a number nor a reason");
    }
    return one((struct redis_effect){.op = HISTORY_INCR,
        .arg = {.delta = call->delta},
        .result = {.outcome = overflow ? HISTORY_OUT_OF_RANGE : HISTORY_NOT_A_NUMBER}});
}

static struct redis_outcome settle_add_multi(const struct redis_call *call, const struct reply *r)
{
    struct bytes inside = r->inside;
    struct reply first = reply_next(&inside), second = reply_next(&inside);
    int64_t a, b;
    if (!reply_number(&first, &a) || !reply_number(&second, &b)) {
        return wrong("a command within the transaction failed");
    }
    if (b - a != call->delta - 1) {
        return wrong("somebody came between two commands of a transaction");
    }
    return added(call->delta, b);
}

static struct redis_outcome settle_remove(const struct redis_call *call, const struct reply *r)
{
    int64_t n;
    unsigned all =
        call->form == REDIS_FORM_REMOVE ? redis_object_keys(call->object) : redis_object_fields(call->object);
    if (r->type != ':' || !reply_number(r, &n) || (n != 0 && n != all)) {
        return wrong("some parts were there, and others not");
    }
    return removed(n > 0);
}

static struct redis_outcome settle_take(const struct reply *r)
{
    if (r->type != '$') {
        return wrong("not a value");
    }
    return one((struct redis_effect){
        .op = HISTORY_GETDEL, .result = {.outcome = HISTORY_OK, .found = !r->null, .value = r->text}});
}

/* ---- Errors ---- */

/* Is it one of those that say nothing of the object, but what became of the call? */
static bool is_answer(const struct reply *r, enum redis_answer *out)
{
    static const struct {
        const char *prefix;
        enum redis_answer answer;
    } table[] = {
        {"MOVED ", REDIS_ANSWER_MOVED},
        {"CLUSTERDOWN ", REDIS_ANSWER_CLUSTERDOWN},
        {"TRYAGAIN ", REDIS_ANSWER_TRYAGAIN},
        {"EXECABORT ", REDIS_ANSWER_EXECABORT},
        {"OOM ", REDIS_ANSWER_OOM},
        {"DATABASEDOWN ", REDIS_ANSWER_DATABASEDOWN},
        {"TIMEOUT ", REDIS_ANSWER_TIMEOUT},
        {"UNKNOWN ", REDIS_ANSWER_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (reply_is_error_of(r, table[i].prefix)) {
            *out = table[i].answer;
            return true;
        }
    }
    return false;
}

/* So many replies EXEC has for @form. */
static unsigned exec_replies(enum redis_form form)
{
    switch (form) {
    case REDIS_FORM_CHANGE:
        return 1;
    case REDIS_FORM_SWAP_MULTI:
    case REDIS_FORM_ADD_MULTI:
        return 2;
    default:
        return REDIS_PARTS;
    }
}

struct redis_outcome redis_call_settle(const struct redis_call *call, const struct reply *r)
{
    struct redis_outcome out = {0};
    if (is_answer(r, &out.answer)) {
        return out;
    }
    if (redis_form_is_transaction(call->form)) {
        if (r->null && call->form == REDIS_FORM_CHANGE) {
            return (struct redis_outcome){.answer = REDIS_ANSWER_CONFLICT};
        }
        if (r->type != '*' || r->null || r->children != exec_replies(call->form)) {
            return wrong("not the replies of a transaction");
        }
    }
    switch (call->form) {
    case REDIS_FORM_READ:
        return settle_read(call, r);
    case REDIS_FORM_READ_ALL:
        return settle_read_all(call, r);
    case REDIS_FORM_READ_MULTI:
        return settle_parts(r, false);
    case REDIS_FORM_WRITE:
        return settle_write(call, r);
    case REDIS_FORM_WRITE_MULTI:
        return settle_write_multi(call, r);
    case REDIS_FORM_WRITE_ABSENT:
        return settle_write_absent(call, r);
    case REDIS_FORM_WRITE_PRESENT:
        return settle_write_present(call, r);
    case REDIS_FORM_SWAP:
        return settle_swap(call, r);
    case REDIS_FORM_SWAP_MULTI:
        return settle_swap_multi(call, r);
    case REDIS_FORM_CHANGE:
        return settle_change(call, r);
    case REDIS_FORM_APPEND:
        return settle_append(call, r);
    case REDIS_FORM_ADD:
        return settle_add(call, r);
    case REDIS_FORM_ADD_MULTI:
        return settle_add_multi(call, r);
    case REDIS_FORM_REMOVE:
    case REDIS_FORM_REMOVE_FIELDS:
        return settle_remove(call, r);
    case REDIS_FORM_TAKE:
        return settle_take(r);
    case REDIS_FORMS:
        break;
    }
    CHECK(!"a form");
    return out;
}

struct redis_outcome redis_call_settle_stale(const struct redis_call *call, const struct reply *r)
{
    struct redis_outcome out = {0};
    CHECK(call->form == REDIS_FORM_READ);
    if (is_answer(r, &out.answer)) {
        return out;
    }
    /* The fields of a hash are in memory together. */
    out =
        has_parts(call->object) ? settle_parts(r, call->object->kind == REDIS_FAMILY) : settle_read(call, r);
    if (out.answer == REDIS_ANSWER_RESULT && !out.effects[0].result.found) {
        out.n = 0;
    }
    return out;
}

bool redis_call_unknown(const struct redis_call *call, struct redis_effect *out)
{
    switch (call->form) {
    case REDIS_FORM_WRITE:
    case REDIS_FORM_WRITE_MULTI:
    case REDIS_FORM_SWAP:
    case REDIS_FORM_SWAP_MULTI:
        *out = write_always(call);
        return true;
    case REDIS_FORM_WRITE_ABSENT:
        *out = write_if(call, HISTORY_IF_ABSENT, true);
        return true;
    case REDIS_FORM_WRITE_PRESENT:
        *out = write_if(call, HISTORY_IF_PRESENT, true);
        return true;
    case REDIS_FORM_CHANGE:
        if (!redis_kind_is_counter(call->object->kind)) {
            *out = write_if(call, call->found ? HISTORY_IF_PRESENT : HISTORY_IF_ABSENT, true);
            return true;
        }
        *out = (struct redis_effect){.op = HISTORY_INCR, .arg = {.delta = call->delta}};
        return true;
    case REDIS_FORM_ADD:
    case REDIS_FORM_ADD_MULTI:
        *out = (struct redis_effect){.op = HISTORY_INCR, .arg = {.delta = call->delta}};
        return true;
    case REDIS_FORM_APPEND:
        *out = (struct redis_effect){.op = HISTORY_APPEND, .arg = {.value = call->value}};
        return true;
    case REDIS_FORM_REMOVE:
    case REDIS_FORM_REMOVE_FIELDS:
        *out = (struct redis_effect){.op = HISTORY_DEL};
        return true;
    case REDIS_FORM_TAKE:
        *out = (struct redis_effect){.op = HISTORY_GETDEL};
        return true;
    case REDIS_FORM_READ:
    case REDIS_FORM_READ_ALL:
    case REDIS_FORM_READ_MULTI:
    case REDIS_FORMS:
        break;
    }
    return false;
}
