/* A libFuzzer target for what a stranger's bytes reach first: the input buffer, the frames, the requests.
 * Build and run with tools/fuzz.
 *
 * The first byte chooses the sizes of the pieces in which the others arrive. Whatever they are, the same
 * frames must come out, memory must stay within the promises of conn_input.h and request_codec.h, and a
 * request that decodes must encode and decode to the same operation. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/frame.h"
#include "proto/limits.h"
#include "proto/pb.h"
#include "rpc/conn_input.h"
#include "rpc/request_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_FRAME_MAX = 256 * 1024 };

static void check_request(struct bytes payload)
{
    struct arena arena, again;
    const Wbrpc__Request *request;
    uint64_t id;
    arena_init(&arena);
    arena_init(&again);
    enum status s = request_decode(payload, &arena, &request, &id);
    CHECK(s == STATUS_OK || s == STATUS_INVALID || s == STATUS_TOO_BIG);
    /* Unpacked, a field costs at most some hundred bytes, and there are at most so many. */
    CHECK(arena.bytes <= 4 * payload.len + 16u * 1024 * 1024);
    if (s == STATUS_OK) {
        struct buf packed;
        const Wbrpc__Request *back;
        uint64_t back_id;
        buf_init(&packed);
        pb_pack(&request->base, &packed);
        CHECK(request_decode(buf_bytes(&packed), &again, &back, &back_id) == STATUS_OK);
        CHECK(back_id == id && back->op_case == request->op_case);
        CHECK(back->level == request->level && back->stale == request->stale);
        CHECK((back->once == NULL) == (request->once == NULL));
        CHECK(request->once == NULL || (back->once->session == request->once->session &&
                                           back->once->sequence == request->once->sequence &&
                                           back->once->first_awaited == request->once->first_awaited &&
                                           back->once->retry == request->once->retry));
        buf_deinit(&packed);
    }
    arena_deinit(&arena);
    arena_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    size_t piece = 1 + data[0];
    struct bytes rest = bytes_of(data + 1, size - 1); /* what frame_parse sees, all at once */
    struct bytes stream = rest;
    struct conn_input in;
    conn_input_init(&in, FUZZ_FRAME_MAX);
    while (stream.len > 0) {
        size_t room;
        uint8_t *at = conn_input_room(&in, &room);
        CHECK(at != NULL && room >= CONN_INPUT_FIRST_BYTES);
        size_t n = stream.len < piece ? stream.len : piece;
        memcpy(at, stream.data, n);
        conn_input_received(&in, n);
        stream = bytes_of(stream.data + n, stream.len - n);
        struct bytes payload;
        while (conn_input_next(&in, &payload) == STATUS_OK) {
            struct bytes want;
            size_t consumed;
            CHECK(frame_parse(rest, FUZZ_FRAME_MAX, &want, &consumed) == STATUS_OK);
            CHECK(want.len == payload.len && memcmp(want.data, payload.data, want.len) == 0);
            rest = bytes_of(rest.data + consumed, rest.len - consumed);
            check_request(payload);
        }
        CHECK(in.buf.cap <= 2 * size + CONN_INPUT_KEEP_BYTES + CONN_INPUT_FIRST_BYTES);
    }
    struct bytes last;
    size_t consumed;
    enum status end = frame_parse(rest, FUZZ_FRAME_MAX, &last, &consumed);
    CHECK(end != STATUS_OK); /* nothing was left behind */
    CHECK((end == STATUS_TOO_BIG) == in.failed);
    conn_input_deinit(&in);
    return 0;
}
