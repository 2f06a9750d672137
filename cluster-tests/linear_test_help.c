#include "cluster-tests/linear_test_help.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"

void script_init(struct script *s)
{
    *s = (struct script){.key = "k"};
    history_init(&s->history, 64 << 20);
}

void script_deinit(struct script *s)
{
    history_deinit(&s->history);
}

static void add(struct script *s, uint64_t start_ns, uint64_t end_ns, enum history_op op,
    const struct history_arg *arg, const struct history_result *result)
{
    size_t handle;
    enum status status =
        history_begin(&s->history, s->client++, op, bytes_from_text(s->key), arg, start_ns, &handle);
    CHECK(status == STATUS_OK);
    if (end_ns == 0) {
        history_end_unknown(&s->history, handle);
    } else {
        history_end(&s->history, handle, result, end_ns);
    }
}

static struct history_result found(const char *value, uint64_t version)
{
    struct history_result result = {.outcome = HISTORY_OK, .found = value != NULL, .version = version};
    result.value = bytes_from_text(value != NULL ? value : "");
    return result;
}

void script_get(struct script *s, uint64_t start_ns, uint64_t end_ns, const char *value, uint64_t version)
{
    struct history_result result = found(value, version);
    add(s, start_ns, end_ns, HISTORY_GET, &(struct history_arg){0}, &result);
}

void script_getdel(struct script *s, uint64_t start_ns, uint64_t end_ns, const char *value, uint64_t version)
{
    struct history_result result = found(value, version);
    add(s, start_ns, end_ns, HISTORY_GETDEL, &(struct history_arg){0}, &result);
}

void script_set(struct script *s, uint64_t start_ns, uint64_t end_ns, const char *value, uint64_t version)
{
    add(s, start_ns, end_ns, HISTORY_SET, &(struct history_arg){.value = bytes_from_text(value)},
        &(struct history_result){.outcome = HISTORY_OK, .version = version});
}

void script_del(struct script *s, uint64_t start_ns, uint64_t end_ns, bool was_found, uint64_t version)
{
    add(s, start_ns, end_ns, HISTORY_DEL, &(struct history_arg){0},
        &(struct history_result){.outcome = HISTORY_OK, .found = was_found, .version = version});
}

void script_append(struct script *s, uint64_t start_ns, uint64_t end_ns, const char *value, uint64_t length,
    uint64_t version)
{
    add(s, start_ns, end_ns, HISTORY_APPEND, &(struct history_arg){.value = bytes_from_text(value)},
        &(struct history_result){.outcome = HISTORY_OK, .length = length, .version = version});
}

void script_incr(
    struct script *s, uint64_t start_ns, uint64_t end_ns, int64_t delta, int64_t sum, uint64_t version)
{
    add(s, start_ns, end_ns, HISTORY_INCR, &(struct history_arg){.delta = delta},
        &(struct history_result){.outcome = HISTORY_OK, .number = sum, .version = version});
}

void script_incr_fails(
    struct script *s, uint64_t start_ns, uint64_t end_ns, int64_t delta, enum history_outcome outcome)
{
    add(s, start_ns, end_ns, HISTORY_INCR, &(struct history_arg){.delta = delta},
        &(struct history_result){.outcome = outcome});
}

void script_cas(struct script *s, uint64_t start_ns, uint64_t end_ns, const char *condition,
    const char *value, bool ok, uint64_t version)
{
    struct history_arg arg = {.value = bytes_from_text(value), .condition = HISTORY_IF_VERSION};
    if (strcmp(condition, "absent") == 0) {
        arg.condition = HISTORY_IF_ABSENT;
    } else if (strcmp(condition, "present") == 0) {
        arg.condition = HISTORY_IF_PRESENT;
    } else {
        arg.if_version = strtoull(condition, NULL, 10);
    }
    add(s, start_ns, end_ns, HISTORY_CAS, &arg,
        &(struct history_result){.outcome = ok ? HISTORY_OK : HISTORY_CONDITION_FAILED, .version = version});
}
