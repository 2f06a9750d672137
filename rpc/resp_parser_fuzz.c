/* A libFuzzer target for the Redis port's parser. Build and run with tools/fuzz.
 *
 * The first byte chooses the sizes of the pieces in which the others arrive, the second how long a command
 * may be. Whatever they are, the same must come out as from the whole input at once; and arguments lie where
 * they may. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/check.h"
#include "rpc/resp_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What came out, as one run of bytes that can be compared. */
static void note(struct buf *notes, enum resp_parsed what, const struct bytes *args, uint32_t n)
{
    buf_append_u8(notes, (uint8_t)what);
    buf_append_be32(notes, n);
    for (uint32_t i = 0; i < n; i++) {
        buf_append_be64(notes, args[i].len);
        buf_append(notes, args[i].data, args[i].len);
    }
}

static void check_args(const struct bytes *args, uint32_t n, size_t consumed, const struct arena *arena)
{
    size_t total = 0;
    CHECK(n > 0);
    for (uint32_t i = 0; i < n; i++) {
        total += args[i].len;
    }
    CHECK(total <= consumed);
    /* The list of arguments, and a line without its quotes: nothing that grows faster than the input. */
    CHECK(arena->bytes <= 2 * (n * sizeof *args + consumed) + 64 * 1024);
}

/* Take from @input, of which the parser has seen all there is, what can be taken. Returns how much that was.
 */
static size_t drain(struct resp_parser *p, struct bytes input, struct buf *notes, bool *broken)
{
    size_t done = 0;
    for (;;) {
        struct arena arena;
        struct bytes *args = NULL;
        uint32_t n = 0;
        size_t consumed;
        arena_init(&arena);
        struct bytes rest = bytes_of(input.data + done, input.len - done);
        bool whole = (input.len & 1) != 0 && resp_parser_whole(p, rest);
        enum resp_parsed what = resp_parse(p, rest, &arena, &consumed, &args, &n);
        CHECK(consumed <= rest.len);
        CHECK(!whole || what != RESP_MORE);
        done += consumed;
        if (what == RESP_COMMAND) {
            check_args(args, n, consumed, &arena);
        }
        if (what != RESP_MORE) {
            note(notes, what, args, n);
        }
        arena_deinit(&arena);
        if (what == RESP_BROKEN) {
            CHECK(strncmp(p->error, "ERR Protocol error: ", 20) == 0);
            buf_append(notes, p->error, strlen(p->error));
            *broken = true;
        }
        if (what == RESP_MORE || what == RESP_BROKEN) {
            CHECK(consumed == 0 || p->skipping);
            return done;
        }
        CHECK(consumed > 0);
    }
}

/* Feed @stream in pieces of at most @piece bytes. */
static void feed(struct bytes stream, size_t piece, size_t command_max, struct buf *notes)
{
    struct resp_parser p;
    resp_parser_init(&p, command_max);
    size_t taken = 0, there = 0;
    bool broken = false;
    while (there < stream.len && !broken) {
        there = stream.len - there < piece ? stream.len : there + piece;
        /* A copy of its own each time: a parser that kept a pointer is found out, and so is one that reads
         * behind. */
        struct buf input;
        buf_init(&input);
        buf_append(&input, stream.data + taken, there - taken);
        taken += drain(&p, buf_bytes(&input), notes, &broken);
        buf_deinit(&input);
    }
    resp_parser_deinit(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    size_t piece = 1 + data[0] % 64;
    size_t command_max = data[1] < 128 ? (size_t)data[1] : 1024 * 1024;
    struct bytes stream = bytes_of(data + 2, size - 2);
    struct buf whole, pieces;
    buf_init(&whole);
    buf_init(&pieces);
    feed(stream, stream.len, command_max, &whole);
    feed(stream, piece, command_max, &pieces);
    CHECK(whole.len == pieces.len && (whole.len == 0 || memcmp(whole.data, pieces.data, whole.len) == 0));
    buf_deinit(&whole);
    buf_deinit(&pieces);
    return 0;
}
