/* The Redis protocol's two cores: the parser (transcripts of what comes out, for every cutting of the input)
 * and the writer (in both versions of the protocol). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/buf.h"
#include "rpc/resp_parser.h"
#include "rpc/resp_writer.h"

enum { COMMAND_MAX = 1000, MIB = 1024 * 1024 };

#define TEXT(s) s, sizeof(s) - 1

/* ---- The parser ---- */

static void say(struct buf *out, const void *data, size_t len)
{
    buf_append(out, data, len);
}

static void say_text(struct buf *out, const char *text)
{
    say(out, text, strlen(text));
}

/* "[GET|key]" a command, "()" an empty one, "{name}" one that is too big, "!text" the end. */
static void tell(
    struct buf *out, const struct resp_parser *p, enum resp_parsed what, const struct bytes *args, uint32_t n)
{
    if (what == RESP_BROKEN) {
        say_text(out, "!");
        say_text(out, p->error);
    } else if (what == RESP_EMPTY) {
        say_text(out, "()");
    } else {
        say_text(out, what == RESP_COMMAND ? "[" : "{");
        for (uint32_t i = 0; i < n; i++) {
            say_text(out, i > 0 ? "|" : "");
            say(out, args[i].data, args[i].len);
        }
        say_text(out, what == RESP_COMMAND ? "]" : "}");
    }
}

/* Take all that can be taken of @input. Returns how many bytes that was. */
static size_t take_all(struct resp_parser *p, struct bytes input, struct buf *out)
{
    size_t done = 0;
    for (;;) {
        struct arena arena;
        struct bytes *args = NULL;
        uint32_t n = 0;
        size_t consumed;
        arena_init(&arena);
        enum resp_parsed what =
            resp_parse(p, bytes_of(input.data + done, input.len - done), &arena, &consumed, &args, &n);
        done += consumed;
        if (what != RESP_MORE) {
            tell(out, p, what, args, n);
        }
        arena_deinit(&arena);
        if (what == RESP_MORE || what == RESP_BROKEN) {
            return done;
        }
        assert_true(consumed > 0);
    }
}

/* What comes out of @input, cut behind the first @first bytes and then into pieces of @piece. Each piece is
 * put behind what is left of those before it, at another place of the memory. */
static void transcribe(struct bytes input, size_t first, size_t piece, size_t command_max, struct buf *out)
{
    struct resp_parser p;
    struct buf held;
    resp_parser_init(&p, command_max);
    buf_init(&held);
    size_t end = first;
    for (size_t at = 0; at < input.len && p.error == NULL; at = end, end += piece) {
        end = end < input.len ? end : input.len;
        struct buf moved;
        buf_init(&moved);
        buf_append(&moved, held.data, held.len);
        buf_append(&moved, input.data + at, end - at);
        buf_deinit(&held);
        buf_move(&held, &moved);
        buf_consume(&held, take_all(&p, buf_bytes(&held), out));
    }
    buf_deinit(&held);
    resp_parser_deinit(&p);
}

static void expect(struct bytes input, size_t first, size_t piece, size_t command_max, const char *want)
{
    struct buf out;
    buf_init(&out);
    transcribe(input, first, piece, command_max, &out);
    if (!bytes_equal(buf_bytes(&out), bytes_from_text(want))) {
        fail_msg("cut at %zu, then %zu: got \"%.*s\", not \"%s\"", first, piece, (int)out.len,
            (const char *)out.data, want);
    }
    buf_deinit(&out);
}

struct row {
    const char *input;
    size_t len;
    const char *want;
};

#define PROTOCOL_ERROR "!ERR Protocol error: "

static const struct row rows[] = {
    {TEXT("*1\r\n$4\r\nPING\r\n"), "[PING]"},
    {TEXT("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"), "[SET|k|][GET|k]"},
    {TEXT("*1\r\n$0\r\n\r\n"), "[]"},
    {TEXT("*9\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n$1\r\n6\r\n$1\r\n7\r\n$1\r\n8\r\n$"
          "1\r\n9\r\n"),
        "[1|2|3|4|5|6|7|8|9]"},
    {TEXT("*1\r\n$6\r\n\r\n*1\r\n\r\n"), "[\r\n*1\r\n]"}, /* bytes of a bulk string mean nothing */
    {TEXT("*1\r\n$12\r\nabcdefghijkl\r\nPING\r\n"), "[abcdefghijkl][PING]"},
    /* nothing */
    {TEXT(""), ""},
    {TEXT("\r\n\n  \r\n\t\n\r\r\nPING\r\n"), "()()()()()[PING]"},
    {TEXT("*0\r\n*-1\r\n*-5\r\n*-9223372036854775808\r\nPING\r\n"), "()()()()[PING]"},
    /* counts */
    {TEXT("*\r\nPING\r\n"), PROTOCOL_ERROR "invalid multibulk length"},
    {TEXT("*01\r\n"), PROTOCOL_ERROR "invalid multibulk length"},
    {TEXT("*+1\r\n"), PROTOCOL_ERROR "invalid multibulk length"},
    {TEXT("*-0\r\n"), PROTOCOL_ERROR "invalid multibulk length"},
    {TEXT("*-\r\n"), PROTOCOL_ERROR "invalid multibulk length"},
    {TEXT("* 1\r\n"), PROTOCOL_ERROR "invalid multibulk length"},
    {TEXT("*1x$4\r\n"), PROTOCOL_ERROR "invalid multibulk length"},
    {TEXT("*2147483648\r\n"), PROTOCOL_ERROR "invalid multibulk length"},
    {TEXT("*9223372036854775808\r\n"), PROTOCOL_ERROR "invalid multibulk length"},
    {TEXT("*-9223372036854775809\r\n"), PROTOCOL_ERROR "invalid multibulk length"},
    {TEXT("*99999999999999999999999\r\n"), PROTOCOL_ERROR "invalid multibulk length"},
    {TEXT("*1\x00\r\nPING\r\n"), ""}, /* the line's end is hidden */
    {TEXT("*1\rX$4\rYPINGab*1\r\n$4\r\nPING\r\n"), "[PING][PING]"},
    /* lengths */
    {TEXT("*1\r\n$-1\r\n"), PROTOCOL_ERROR "invalid bulk length"},
    {TEXT("*1\r\n$\r\n"), PROTOCOL_ERROR "invalid bulk length"},
    {TEXT("*1\r\n$04\r\nPING\r\n"), PROTOCOL_ERROR "invalid bulk length"},
    {TEXT("*1\r\n$4 \r\nPING\r\n"), PROTOCOL_ERROR "invalid bulk length"},
    {TEXT("*1\r\n$536870913\r\n"), PROTOCOL_ERROR "invalid bulk length"},
    {TEXT("*1\r\n$99999999999999999999999\r\n"), PROTOCOL_ERROR "invalid bulk length"},
    {TEXT("*1\r\n\r\n"), PROTOCOL_ERROR "expected '$', got ' '"},
    {TEXT("*1\r\n\n\r\n"), PROTOCOL_ERROR "expected '$', got ' '"},
    {TEXT("*1\r\n:1\r\n"), PROTOCOL_ERROR "expected '$', got ':'"},
    {TEXT("*1\r\n\xff\r\n"), PROTOCOL_ERROR "expected '$', got '\xff'"},
    {TEXT("*2\r\n$4\r\necho\r\n*1\r\n"), PROTOCOL_ERROR "expected '$', got '*'"},
    {TEXT("*1\r\nPING"), ""},
    {TEXT("*1\r\nPING\r"), ""},
    {TEXT("*1\r\nPING\rx"), PROTOCOL_ERROR "expected '$', got 'P'"},
    {TEXT("*1\r\n\x00"
          "abc\r\nPING\r\n"),
        ""},
    {TEXT("PING\r\n*1\r\nx\r\nPING\r\n"), "[PING]" PROTOCOL_ERROR "expected '$', got 'x'"},
    /* inline */
    {TEXT("PING\n"), "[PING]"},
    {TEXT("  set  key\tvalue \r\n"), "[set|key|value]"},
    {TEXT("\vping\fx\r\n"), "[ping\fx]"}, /* blanks between words, but not within one */
    {TEXT("ping\r\r\n"), "[ping]"},
    {TEXT("echo a\rb\r\n"), "[echo|a|b]"},
    {TEXT("echo \"a b\" 'c d' \r\n"), "[echo|a b|c d]"},
    {TEXT("echo \"\\x41\\xfF\\n\\r\\t\\b\\a\\q\\\"\\\\\"\r\n"), "[echo|A\xff\n\r\t\b\aq\"\\]"},
    {TEXT("echo \"\\xZZ\\x4\"\r\n"), "[echo|xZZx4]"},
    {TEXT("echo 'a\\'b\\n\"'\r\n"), "[echo|a'b\\n\"]"},
    {TEXT("echo a\"b c\" a'b c'\n"), "[echo|ab c|ab c]"},
    {TEXT("echo \"\" ''\r\n"), "[echo||]"},
    {TEXT("echo \"a\"\v\"b\"\r\n"), "[echo|a|b]"},
    {TEXT("echo a\\nb\r\n"), "[echo|a\\nb]"},
    {TEXT("\"ec\"ho\r\nPING\r\n"), PROTOCOL_ERROR "unbalanced quotes in request"},
    {TEXT("echo \"abc\r\n"), PROTOCOL_ERROR "unbalanced quotes in request"},
    {TEXT("echo 'abc\r\n"), PROTOCOL_ERROR "unbalanced quotes in request"},
    {TEXT("echo \"abc\\\r\n"), PROTOCOL_ERROR "unbalanced quotes in request"},
    {TEXT("echo \"abc\\\"\r\n"), PROTOCOL_ERROR "unbalanced quotes in request"},
    {TEXT("echo a\"b c\"d\r\n"), PROTOCOL_ERROR "unbalanced quotes in request"},
    {TEXT("PI\x00NG\r\nPING\r\n"), ""},
    {TEXT("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "[GET|/|HTTP/1.1][Host:|x]()"},
};

static void whatever_the_pieces_the_same_commands_come_out(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bytes input = bytes_of(rows[i].input, rows[i].len);
        expect(input, input.len, 1, COMMAND_MAX, rows[i].want);
        for (size_t piece = 1; piece < input.len; piece++) {
            expect(input, piece, piece, COMMAND_MAX, rows[i].want);
            expect(input, piece, input.len, COMMAND_MAX, rows[i].want);
        }
    }
}

static void of_a_truncated_input_nothing_comes_out_that_the_whole_does_not_have(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t len = 0; len < rows[i].len; len++) {
            struct buf out;
            buf_init(&out);
            transcribe(bytes_of(rows[i].input, len), len, 1, COMMAND_MAX, &out);
            assert_true(out.len <= strlen(rows[i].want));
            assert_true(out.len == 0 || memcmp(out.data, rows[i].want, out.len) == 0);
            buf_deinit(&out);
        }
    }
}

/* @head, then @c so often that the line is @len bytes long, then @tail. */
static struct buf line_of(const char *head, char c, size_t len, const char *tail)
{
    struct buf line;
    buf_init(&line);
    say_text(&line, head);
    while (line.len < len) {
        buf_append_u8(&line, (uint8_t)c);
    }
    say_text(&line, tail);
    return line;
}

static void lines_have_a_longest_length_however_they_come(void **state)
{
    struct {
        const char *before, *head;
        char c;
        const char *end, *error; /* of one byte more */
    } limits[] = {
        {"", "", 'p', "\n", PROTOCOL_ERROR "too big inline request"},
        {"", "*", '1', "\r\n", PROTOCOL_ERROR "too big mbulk count string"},
        {"*1\r\n", "$", '1', "\r\n", PROTOCOL_ERROR "too big bulk count string"},
        {"*1\r\n", "x", 'x', "\r\n", PROTOCOL_ERROR "too big bulk count string"},
        {"", "p", '\0', "\n", PROTOCOL_ERROR "too big inline request"},
    };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        for (int over = 0; over < 2; over++) {
            struct buf line = line_of(limits[i].head, limits[i].c, RESP_INLINE_BYTES_MAX + (size_t)over, "");
            struct buf input = line_of(limits[i].before, 0, 0, "");
            say(&input, line.data, line.len);
            for (size_t piece = 1000; piece <= input.len; piece += input.len - 1000) {
                expect(buf_bytes(&input), piece, piece, MIB, over ? limits[i].error : "");
            }
            buf_deinit(&input);
            buf_deinit(&line);
        }
    }
    /* The longest line that is one, and the same with its end too late. */
    for (size_t over = 0; over < 2; over++) {
        struct buf input = line_of("", ' ', RESP_INLINE_BYTES_MAX + over, "\nPING\n");
        expect(buf_bytes(&input), input.len, 1, MIB,
            over ? PROTOCOL_ERROR "too big inline request" : "()[PING]");
        expect(buf_bytes(&input), 999, 999, MIB, over ? PROTOCOL_ERROR "too big inline request" : "()[PING]");
        buf_deinit(&input);
    }
}

static void a_command_over_the_limit_is_skipped_and_what_follows_is_found(void **state)
{
    const char *text = "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$11\r\n*1\r\n$1\r\nx\r\n\r\nPING\r\n";
    struct bytes input = bytes_of(text, strlen(text));
    size_t command = input.len - 6;
    for (size_t first = 1; first <= input.len; first++) {
        expect(input, first, 1, command, "[SET|key|*1\r\n$1\r\nx\r\n][PING]");
        for (size_t max = 0; max < command; max++) {
            expect(input, first, 7, max, "{SET}[PING]");
        }
    }
    /* It is checked all the same. */
    expect(bytes_of(TEXT("*3\r\n$9\r\n123456789\r\n$x\r\nPING\r\n")), 5, 5, 20,
        "!ERR Protocol error: invalid bulk length");
}

static void of_a_skipped_commands_name_the_beginning_is_told(void **state)
{
    for (size_t len = RESP_NAME_BYTES - 1; len <= RESP_NAME_BYTES + 2; len++) {
        char head[32], want[RESP_NAME_BYTES + 20];
        snprintf(head, sizeof head, "*1\r\n$%zu\r\n", len);
        struct buf input = line_of(head, 'n', strlen(head) + len, "\r\nPING\r\n");
        int told = (int)(len < RESP_NAME_BYTES ? len : RESP_NAME_BYTES);
        snprintf(want, sizeof want, "{%.*s}[PING]", told, (const char *)input.data + strlen(head));
        for (size_t first = 1; first <= input.len; first++) {
            expect(buf_bytes(&input), first, 50, 20, want);
        }
        buf_deinit(&input);
    }
}

static void what_is_skipped_takes_no_memory_of_the_input(void **state)
{
    struct resp_parser p;
    struct arena arena;
    struct bytes *args;
    uint32_t n;
    size_t consumed;
    char zeros[4096] = {0};
    resp_parser_init(&p, COMMAND_MAX);
    arena_init(&arena);
    const char *head = "*2\r\n$3\r\nSET\r\n$8192\r\n";
    assert_int_equal(resp_parse(&p, bytes_from_text(head), &arena, &consumed, &args, &n), RESP_MORE);
    assert_int_equal(consumed, strlen(head));
    assert_true(p.skipping);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            resp_parse(&p, bytes_of(zeros, sizeof zeros), &arena, &consumed, &args, &n), RESP_MORE);
        assert_int_equal(consumed, sizeof zeros);
    }
    assert_int_equal(resp_parse(&p, bytes_from_text("\r\nP"), &arena, &consumed, &args, &n), RESP_TOO_BIG);
    assert_int_equal(consumed, 2);
    assert_false(p.skipping);
    assert_true(n == 1 && bytes_equal(args[0], bytes_from_text("SET")));
    arena_deinit(&arena);
    resp_parser_deinit(&p);
}

static void counts_and_lengths_at_their_limits_are_only_announcements(void **state)
{
    struct {
        const char *input;
        bool skipping;
    } announced[] = {{"*2147483647\r\n", true}, {"*1\r\n$536870912\r\n", true}, {"*1\r\n$900\r\n", false}};
    for (size_t i = 0; i < 3; i++) {
        struct resp_parser p;
        struct arena arena;
        struct bytes *args;
        uint32_t n;
        size_t consumed;
        resp_parser_init(&p, COMMAND_MAX);
        arena_init(&arena);
        assert_int_equal(
            resp_parse(&p, bytes_from_text(announced[i].input), &arena, &consumed, &args, &n), RESP_MORE);
        assert_true(p.skipping == announced[i].skipping);
        assert_int_equal(arena.bytes + resp_parser_bytes(&p), 0);
        arena_deinit(&arena);
        resp_parser_deinit(&p);
    }
}

/* An array of @n empty arguments. */
static struct buf array_of(unsigned n)
{
    char head[32];
    snprintf(head, sizeof head, "*%u\r\n", n);
    struct buf input = line_of(head, 0, 0, "");
    for (unsigned i = 0; i < n; i++) {
        say_text(&input, "$0\r\n\r\n");
    }
    return input;
}

static void a_command_of_few_arguments_takes_no_memory_and_many_give_theirs_back(void **state)
{
    struct resp_parser p;
    resp_parser_init(&p, MIB);
    unsigned counts[] = {RESP_SPANS_FEW, RESP_SPANS_FEW + 1, 5000};
    for (size_t i = 0; i < 3; i++) {
        struct buf input = array_of(counts[i]);
        struct arena arena;
        struct bytes *args;
        uint32_t n;
        size_t consumed;
        arena_init(&arena);
        assert_true(resp_parser_whole(&p, buf_bytes(&input)));
        assert_true((resp_parser_bytes(&p) > 0) == (counts[i] > RESP_SPANS_FEW));
        assert_true(resp_parser_bytes(&p) <= 6 * input.len);
        assert_int_equal(resp_parse(&p, buf_bytes(&input), &arena, &consumed, &args, &n), RESP_COMMAND);
        assert_int_equal(n, counts[i]);
        assert_int_equal(consumed, input.len);
        arena_deinit(&arena);
        buf_deinit(&input);
    }
    assert_int_equal(resp_parser_bytes(&p), 0);
    resp_parser_deinit(&p);
}

static void arguments_are_borrowed_where_nothing_had_to_be_undone(void **state)
{
    const char *inputs[] = {"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n", "GET key\r\n", "GET \"key\"\r\n"};
    for (int i = 0; i < 3; i++) {
        struct resp_parser p;
        struct arena arena;
        struct bytes *args;
        uint32_t n;
        size_t consumed;
        struct bytes input = bytes_from_text(inputs[i]);
        resp_parser_init(&p, COMMAND_MAX);
        arena_init(&arena);
        assert_int_equal(resp_parse(&p, input, &arena, &consumed, &args, &n), RESP_COMMAND);
        assert_true(n == 2 && bytes_equal(args[1], bytes_from_text("key")));
        uintptr_t key = (uintptr_t)args[1].data, begin = (uintptr_t)input.data;
        assert_true((key > begin && key < begin + input.len) == (i < 2));
        arena_deinit(&arena);
        resp_parser_deinit(&p);
    }
}

static void a_line_of_quotes_costs_no_more_than_any_line(void **state)
{
    struct resp_parser p;
    struct arena arena;
    struct bytes *args;
    uint32_t n;
    size_t consumed;
    struct buf input;
    buf_init(&input);
    for (int i = 0; i < 16000; i++) {
        say_text(&input, "\"a\" ");
    }
    say_text(&input, "\n");
    resp_parser_init(&p, COMMAND_MAX);
    arena_init(&arena);
    assert_int_equal(resp_parse(&p, buf_bytes(&input), &arena, &consumed, &args, &n), RESP_COMMAND);
    assert_int_equal(n, 16000);
    assert_true(args[15999].len == 1 && args[15999].data[0] == 'a');
    assert_true(arena.bytes <= 10 * input.len);
    arena_deinit(&arena);
    buf_deinit(&input);
    resp_parser_deinit(&p);
}

static void a_broken_stream_stays_broken(void **state)
{
    struct resp_parser p;
    struct arena arena;
    struct bytes *args;
    uint32_t n;
    size_t consumed = 9;
    resp_parser_init(&p, COMMAND_MAX);
    arena_init(&arena);
    assert_int_equal(resp_parse(&p, bytes_from_text("*x\r\n"), &arena, &consumed, &args, &n), RESP_BROKEN);
    assert_int_equal(consumed, 0);
    assert_int_equal(resp_parse(&p, bytes_from_text("PING\r\n"), &arena, &consumed, &args, &n), RESP_BROKEN);
    assert_string_equal(p.error, "ERR Protocol error: invalid multibulk length");
    arena_deinit(&arena);
    resp_parser_deinit(&p);
}

/* ---- The writer ---- */

static void put_simple(struct resp_writer *w)
{
    resp_simple(w, "OK");
}

static void put_error(struct resp_writer *w)
{
    resp_error(w, "ERR no");
}

static void put_error_of_lines(struct resp_writer *w)
{
    resp_error(w, "ERR a\r\nb\n\r\n");
}

static void put_error_of(struct resp_writer *w)
{
    resp_error_of(w, "MOVED %u %s", 16383u, "h:1\n");
}

static void put_integers(struct resp_writer *w)
{
    resp_integer(w, 0);
    resp_integer(w, -1);
    resp_integer(w, INT64_MAX);
    resp_integer(w, INT64_MIN);
}

static void put_bulks(struct resp_writer *w)
{
    resp_bulk(w, bytes_of(NULL, 0));
    resp_bulk(w, bytes_of("a\0\r\n", 4));
    resp_text(w, "0123456789");
}

static void put_number_texts(struct resp_writer *w)
{
    resp_number_text(w, 7);
    resp_number_text(w, INT64_MIN);
}

static void put_nulls(struct resp_writer *w)
{
    resp_null(w);
    resp_null_array(w);
}

static void put_containers(struct resp_writer *w)
{
    resp_array(w, 0);
    resp_array(w, 12);
    resp_map(w, 3);
    resp_set(w, 4);
}

static void put_bools(struct resp_writer *w)
{
    resp_bool(w, true);
    resp_bool(w, false);
}

static void put_verbatim(struct resp_writer *w)
{
    resp_verbatim(w, bytes_from_text("a\r\nb"));
}

static void replies_are_those_of_redis_in_both_protocols(void **state)
{
    struct {
        void (*put)(struct resp_writer *w);
        const char *two, *three;
        size_t len; /* 0: text without NUL */
    } replies[] = {
        {put_simple, "+OK\r\n", "+OK\r\n", 0},
        {put_error, "-ERR no\r\n", "-ERR no\r\n", 0},
        {put_error_of_lines, "-ERR a  b\r\n", "-ERR a  b\r\n", 0},
        {put_error_of, "-MOVED 16383 h:1\r\n", "-MOVED 16383 h:1\r\n", 0},
        {put_integers, ":0\r\n:-1\r\n:9223372036854775807\r\n:-9223372036854775808\r\n",
            ":0\r\n:-1\r\n:9223372036854775807\r\n:-9223372036854775808\r\n", 0},
        {put_bulks, "$0\r\n\r\n$4\r\na\0\r\n\r\n$10\r\n0123456789\r\n",
            "$0\r\n\r\n$4\r\na\0\r\n\r\n$10\r\n0123456789\r\n", 33},
        {put_number_texts, "$1\r\n7\r\n$20\r\n-9223372036854775808\r\n",
            "$1\r\n7\r\n$20\r\n-9223372036854775808\r\n", 0},
        {put_nulls, "$-1\r\n*-1\r\n", "_\r\n_\r\n", 0},
        {put_containers, "*0\r\n*12\r\n*6\r\n*4\r\n", "*0\r\n*12\r\n%3\r\n~4\r\n", 0},
        {put_bools, ":1\r\n:0\r\n", "#t\r\n#f\r\n", 0},
        {put_verbatim, "$4\r\na\r\nb\r\n", "=8\r\ntxt:a\r\nb\r\n", 0},
    };
    for (size_t i = 0; i < sizeof replies / sizeof replies[0]; i++) {
        for (unsigned protocol = 2; protocol <= 3; protocol++) {
            const char *want = protocol == 2 ? replies[i].two : replies[i].three;
            struct buf out = line_of("before", 0, 0, "");
            struct resp_writer w = {.out = &out, .protocol = protocol};
            replies[i].put(&w);
            size_t len = replies[i].len > 0 ? replies[i].len : strlen(want);
            assert_int_equal(out.len, 6 + len);
            assert_memory_equal(out.data, "before", 6);
            assert_memory_equal(out.data + 6, want, len);
            buf_deinit(&out);
        }
    }
}

static void long_error_texts_are_cut(void **state)
{
    char text[3000];
    struct buf out;
    buf_init(&out);
    struct resp_writer w = {.out = &out, .protocol = 2};
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    resp_error_of(&w, "%s", text);
    assert_int_equal(out.len, 1 + 1024 + 2);
    assert_memory_equal(out.data + out.len - 3, "x\r\n", 3);
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_the_pieces_the_same_commands_come_out),
        cmocka_unit_test(of_a_truncated_input_nothing_comes_out_that_the_whole_does_not_have),
        cmocka_unit_test(lines_have_a_longest_length_however_they_come),
        cmocka_unit_test(a_command_over_the_limit_is_skipped_and_what_follows_is_found),
        cmocka_unit_test(of_a_skipped_commands_name_the_beginning_is_told),
        cmocka_unit_test(what_is_skipped_takes_no_memory_of_the_input),
        cmocka_unit_test(counts_and_lengths_at_their_limits_are_only_announcements),
        cmocka_unit_test(a_command_of_few_arguments_takes_no_memory_and_many_give_theirs_back),
        cmocka_unit_test(arguments_are_borrowed_where_nothing_had_to_be_undone),
        cmocka_unit_test(a_line_of_quotes_costs_no_more_than_any_line),
        cmocka_unit_test(a_broken_stream_stays_broken),
        cmocka_unit_test(replies_are_those_of_redis_in_both_protocols),
        cmocka_unit_test(long_error_texts_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
