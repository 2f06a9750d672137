#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster-tests/redis/generator.h"
#include "cluster-tests/redis/script.h"

/* Reads @text as a script; returns what script_read does. */
static bool read_text(struct script *s, const char *text)
{
    char path[] = "/tmp/wbcache-script-XXXXXX", error[256] = "";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    bool ok = script_read(s, path, error, sizeof error);
    unlink(path);
    assert_true(ok == (error[0] == '\0'));
    return ok;
}

static void words_marks_and_tags_are_read(void **state)
{
    (void)state;
    struct script s;
    assert_true(
        read_text(&s, "# nothing\n== one (RESP3)\nSET {t}a \"x \\r\\n\\x00\\\"\"\n<2> <has:a:b> GET {n}\n"
                      "<repeat:3> HSET {t} f%i ~2ab\n<raw> \"PING\\r\\n\"\n== two (valkey)\nPING\n"));
    assert_int_equal(s.n, 2);
    assert_string_equal(s.cases[0].title, "one");
    assert_int_equal(s.cases[0].protocols, 1 << 3);
    assert_true(s.cases[1].valkey);
    assert_int_equal(s.cases[1].protocols, 1 << 2 | 1 << 3);

    struct arena arena;
    arena_init(&arena);
    struct steps steps = {.arena = &arena};
    char error[256];
    assert_true(script_steps(&s.cases[0], "{x}", "{y}", &steps, error, sizeof error));
    assert_int_equal(steps.n, 6);
    struct buf sent;
    buf_init(&sent);
    step_encode(&steps.list[0], &sent);
    assert_true(
        bytes_equal(buf_bytes(&sent), bytes_of("*3\r\n$3\r\nSET\r\n$4\r\n{x}a\r\n$6\r\nx \r\n\0\"\r\n", 35)));
    assert_int_equal(steps.list[1].connection, 1);
    assert_int_equal(steps.list[1].compare, COMPARE_HAS);
    assert_true(bytes_equal(steps.list[1].word, bytes_from_text("a:b")));
    assert_true(bytes_equal(steps.list[1].args[1], bytes_from_text("{y}")));
    assert_true(bytes_equal(steps.list[4].args[2], bytes_from_text("f2")));
    assert_true(bytes_equal(steps.list[4].args[3], bytes_from_text("abab")));
    buf_clear(&sent);
    step_encode(&steps.list[5], &sent);
    assert_true(bytes_equal(buf_bytes(&sent), bytes_from_text("PING\r\n")));
    buf_deinit(&sent);
    arena_deinit(&arena);
    script_free(&s);
}

static void lines_that_mean_nothing_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"PING\n", "== a\n<nobody> PING\n", "== a\nECHO \"x\n",
        "== a\nECHO \"\\y\"\n", "== a\n<2>\n", "== a\n<has PING\n", "== a\nECHO ~9999999999x\n",
        "== a\nECHO \"a\"b\n", "== a\n<repeat:0> PING\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct script s;
        if (read_text(&s, bad[i])) {
            fail_msg("taken: %s", bad[i]);
        }
        script_free(&s);
    }
}

static void encode_all(const struct steps *steps, struct buf *out)
{
    for (uint32_t i = 0; i < steps->n; i++) {
        step_encode(&steps->list[i], out);
    }
}

static void a_sequence_is_a_function_of_its_seed_and_number(void **state)
{
    (void)state;
    for (uint64_t number = 0; number < 200; number++) {
        struct arena arena;
        arena_init(&arena);
        struct steps first = {.arena = &arena}, again = {.arena = &arena}, other = {.arena = &arena};
        generator_sequence(7, number, "{a}", &first);
        generator_sequence(7, number, "{a}", &again);
        generator_sequence(8, number, "{a}", &other);
        struct buf a, b, c;
        buf_init(&a);
        buf_init(&b);
        buf_init(&c);
        encode_all(&first, &a);
        encode_all(&again, &b);
        encode_all(&other, &c);
        assert_true(bytes_equal(buf_bytes(&a), buf_bytes(&b)));
        assert_false(bytes_equal(buf_bytes(&a), buf_bytes(&c)));
        assert_true(first.n > generator_tail());
        assert_true(step_is(&first.list[first.n - 1], "DEL"));
        assert_true(step_is(&first.list[first.n - generator_tail()], "DISCARD"));
        buf_deinit(&a);
        buf_deinit(&b);
        buf_deinit(&c);
        arena_deinit(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_marks_and_tags_are_read),
        cmocka_unit_test(lines_that_mean_nothing_are_refused),
        cmocka_unit_test(a_sequence_is_a_function_of_its_seed_and_number),
    };
    return cmocka_run_group_tests_name("redis_script", tests, NULL, NULL);
}
