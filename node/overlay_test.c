#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <stdio.h>

#include <cmocka.h>

#include "node/overlay.h"

static struct bytes k(const char *text)
{
    return bytes_from_text(text);
}

static struct pending_write *add(struct overlay *o, const char *key, const char *value, uint64_t conn)
{
    return overlay_add(o, k(key), VALUE_STRING, value == NULL ? NULL : value_create(k(value)), 0, conn);
}

static void assert_newest(const struct overlay *o, const char *key, const char *value)
{
    const struct pending_write *w = overlay_find(o, k(key));
    assert_non_null(w);
    assert_true(bytes_equal(value_bytes(w->value), k(value)));
}

static void the_newest_write_of_a_key_is_found(void **state)
{
    (void)state;
    struct overlay o;
    overlay_init(&o, 1);
    assert_null(overlay_find(&o, k("a")));
    add(&o, "a", "1", 1);
    uint64_t first = o.open->seq;
    overlay_proposed(&o, 1);
    struct pending_write *second = add(&o, "a", "2", 1);
    assert_newest(&o, "a", "2");
    assert_false(second->many);
    overlay_proposed(&o, 1);
    proposal_destroy(overlay_applied(&o, first));
    assert_newest(&o, "a", "2"); /* the newer one is still in flight */
    assert_null(overlay_applied(&o, first));
    proposal_destroy(overlay_applied(&o, first + 1));
    assert_null(overlay_find(&o, k("a")));
    assert_int_equal(o.bytes, 0);
    overlay_deinit(&o);
}

static void a_refused_write_uncovers_the_one_in_flight(void **state)
{
    (void)state;
    struct overlay o;
    overlay_init(&o, 1);
    add(&o, "a", "1", 1);
    uint64_t first = o.open->seq;
    overlay_proposed(&o, 1);
    add(&o, "a", "2", 1);
    add(&o, "a", "3", 1); /* twice in one entry */
    add(&o, "b", "4", 1);
    assert_newest(&o, "a", "3");
    proposal_destroy(overlay_refused(&o));
    assert_newest(&o, "a", "1");
    assert_null(overlay_find(&o, k("b")));
    proposal_destroy(overlay_applied(&o, first));
    overlay_deinit(&o);
}

static void a_refused_write_does_not_uncover_one_that_has_applied(void **state)
{
    (void)state;
    struct overlay o;
    overlay_init(&o, 1);
    add(&o, "a", "1", 1);
    uint64_t first = o.open->seq;
    overlay_proposed(&o, 1);
    add(&o, "a", "2", 1);
    proposal_destroy(overlay_applied(&o, first));
    proposal_destroy(overlay_refused(&o));
    assert_null(overlay_find(&o, k("a")));
    overlay_deinit(&o);
}

static void writes_of_several_connections_are_marked(void **state)
{
    (void)state;
    struct overlay o;
    overlay_init(&o, 1);
    assert_false(add(&o, "a", "1", 1)->many);
    assert_true(add(&o, "a", "2", 2)->many);
    assert_true(add(&o, "a", "3", 2)->many);
    assert_true(add(&o, "a", NULL, 1)->many);
    proposal_destroy(overlay_abandon(&o));
    assert_null(overlay_abandon(&o));
    overlay_deinit(&o);
}

static void many_keys_in_flight_are_all_found_and_all_leave(void **state)
{
    (void)state;
    struct overlay o;
    overlay_init(&o, 7);
    char key[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        add(&o, key, key, 1);
        if (i % 100 == 99) {
            overlay_proposed(&o, 1);
        }
    }
    assert_int_equal(o.keys, 5000);
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        assert_newest(&o, key, key);
    }
    struct proposal *p;
    while ((p = overlay_abandon(&o)) != NULL) {
        proposal_destroy(p);
    }
    assert_int_equal(o.keys, 0);
    overlay_deinit(&o);
}

static void a_replaced_write_was_never_there(void **state)
{
    (void)state;
    struct overlay o;
    overlay_init(&o, 1);
    struct pending_write *w = add(&o, "a", "first", 1);
    add(&o, "b", "other", 1);
    uint64_t bytes = o.bytes;
    w->replaceable = true;
    overlay_replace(&o, w, VALUE_HASH, value_create(k("2")), 17, 1);
    assert_newest(&o, "a", "2");
    assert_int_equal(o.bytes, bytes - 4);
    assert_int_equal(o.open->bytes, overlay_write_bytes(1, 1) + overlay_write_bytes(1, 5));
    assert_int_equal(o.open->n_writes, 2);
    assert_int_equal(w->ordinal, 0);
    assert_int_equal(w->type, VALUE_HASH);
    assert_int_equal(w->expires_at_ms, 17);
    assert_false(w->many);
    overlay_replace(&o, w, VALUE_STRING, NULL, 0, 2); /* by somebody else: a delete */
    assert_null(overlay_find(&o, k("a"))->value);
    assert_true(w->many);
    proposal_destroy(overlay_refused(&o));
    assert_int_equal(o.bytes, 0);
    overlay_deinit(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_write_of_a_key_is_found),
        cmocka_unit_test(a_refused_write_uncovers_the_one_in_flight),
        cmocka_unit_test(a_refused_write_does_not_uncover_one_that_has_applied),
        cmocka_unit_test(writes_of_several_connections_are_marked),
        cmocka_unit_test(many_keys_in_flight_are_all_found_and_all_leave),
        cmocka_unit_test(a_replaced_write_was_never_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
