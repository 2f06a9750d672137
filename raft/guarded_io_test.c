/* The guards around a raft_io, on an implementation that does what the test says. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "raft/guarded_io.h"

static const struct replica_peer peers[] = {{1, "here:1"}, {2, "there:2"}};

/* The wrapped implementation: keeps what it was called with, answers with `rv`. */
struct fake {
    struct guarded_io g;
    struct raft raft; /* of which the guards read the snapshot flags */
    int rv;
    raft_io_recv_cb recv;
    raft_io_tick_cb tick;
    unsigned ticks;
    bool has_room;
    struct raft_io_send *sends[GUARDED_IO_MESSAGES_MAX + 1];
    raft_io_send_cb send_cbs[GUARDED_IO_MESSAGES_MAX + 1];
    unsigned n_sends;
    struct raft_message *heartbeat; /* the library sends it in its tick; NULL: nothing */
    struct raft_io_send heartbeat_req;
    raft_term snapshot_term; /* of the last InstallSnapshot sent */
    char address[32];
    struct raft_io_append *append;
    raft_io_append_cb append_cb;
    struct raft_io_snapshot_put *put;
    raft_io_snapshot_put_cb put_cb;
    struct raft_io_snapshot_get *get;
    raft_io_snapshot_get_cb get_cb;
    unsigned received;
    uint64_t now_ms;
};

static struct fake *fake_of(struct raft_io *io)
{
    return (struct fake *)(void *)io;
}

static int fake_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    fake_of(io)->recv = recv;
    fake_of(io)->tick = tick;
    return fake_of(io)->rv;
}

static int fake_set_term(struct raft_io *io, raft_term term)
{
    return fake_of(io)->rv;
}

static int fake_set_vote(struct raft_io *io, raft_id id)
{
    return fake_of(io)->rv;
}

static int fake_truncate(struct raft_io *io, raft_index index)
{
    return fake_of(io)->rv;
}

static int fake_send(
    struct raft_io *io, struct raft_io_send *req, const struct raft_message *message, raft_io_send_cb cb)
{
    struct fake *f = fake_of(io);
    if (f->rv != 0) {
        return f->rv;
    }
    snprintf(f->address, sizeof f->address, "%s", message->server_address);
    if (message->type == RAFT_INSTALL_SNAPSHOT) {
        f->snapshot_term = message->install_snapshot.last_term;
    }
    f->sends[f->n_sends] = req;
    f->send_cbs[f->n_sends++] = cb;
    return 0;
}

static int fake_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[],
    unsigned n, raft_io_append_cb cb)
{
    fake_of(io)->append = req;
    fake_of(io)->append_cb = cb;
    return fake_of(io)->rv;
}

static int fake_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
    const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    fake_of(io)->put = req;
    fake_of(io)->put_cb = cb;
    return fake_of(io)->rv;
}

static int fake_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb)
{
    fake_of(io)->get = req;
    fake_of(io)->get_cb = cb;
    return fake_of(io)->rv;
}

static void fake_close(struct raft_io *io, raft_io_close_cb cb)
{
}

static uint64_t fake_now(void *data)
{
    return ((struct fake *)data)->now_ms;
}

static void upper_recv(struct raft_io *io, struct raft_message *message)
{
    fake_of(io)->received++;
}

static int last_status;
static unsigned callbacks;

static void on_sent(struct raft_io_send *req, int status)
{
    last_status = status;
    callbacks++;
}

static void upper_tick(struct raft_io *io)
{
    struct fake *f = fake_of(io);
    f->ticks++;
    if (f->heartbeat != NULL) {
        assert_int_equal(io->send(io, &f->heartbeat_req, f->heartbeat, on_sent), 0);
    }
}

static bool fake_has_room(void *data)
{
    return ((struct fake *)data)->has_room;
}

enum { TICK_MS = 50 };

/* The loop ticks for @ms. */
static void pass(struct fake *f, uint64_t ms)
{
    for (uint64_t end_ms = f->now_ms + ms; f->now_ms < end_ms;) {
        f->now_ms += TICK_MS;
        f->tick(&f->g.io);
    }
}

static void fake_init(struct fake *f)
{
    memset(f, 0, sizeof *f);
    f->now_ms = 42;
    f->g.io.data = &f->raft;
    f->g.io.start = fake_start;
    f->g.io.set_term = fake_set_term;
    f->g.io.set_vote = fake_set_vote;
    f->g.io.truncate = fake_truncate;
    f->g.io.send = fake_send;
    f->g.io.append = fake_append;
    f->g.io.snapshot_put = fake_put;
    f->g.io.snapshot_get = fake_get;
    f->g.io.close = fake_close;
    f->has_room = true;
    guarded_io_wrap(&f->g, &(struct guarded_io_config){.peers = peers,
                               .n_peers = 2,
                               .now_ms = fake_now,
                               .now_data = f,
                               .has_room = fake_has_room,
                               .room_data = f});
    assert_int_equal(f->g.io.start(&f->g.io, TICK_MS, upper_tick, upper_recv), 0);
}

static void on_appended(struct raft_io_append *req, int status)
{
    last_status = status;
    callbacks++;
}

static void on_put(struct raft_io_snapshot_put *req, int status)
{
    last_status = status;
    callbacks++;
}

static void on_got(struct raft_io_snapshot_get *req, struct raft_snapshot *snapshot, int status)
{
    last_status = status;
    callbacks++;
    assert_int_equal(snapshot->n_bufs, 1);
    assert_null(snapshot->bufs[0].base);
    raft_free(snapshot->bufs);
    raft_free(snapshot);
}

static int reset(void **state)
{
    last_status = -1;
    callbacks = 0;
    return 0;
}

static void time_is_asked_afresh(void **state)
{
    struct fake f;
    fake_init(&f);
    assert_true(f.g.io.time(&f.g.io) == 42);
    f.now_ms = 43;
    assert_true(f.g.io.time(&f.g.io) == 43);
}

static void a_peer_that_does_not_read_gets_no_more_than_the_window(void **state)
{
    struct fake f;
    fake_init(&f);
    struct raft_io_send reqs[GUARDED_IO_MESSAGES_MAX + 1];
    struct raft_message heartbeat = {.type = RAFT_APPEND_ENTRIES, .server_id = 2, .server_address = "old:2"};
    for (unsigned i = 0; i < GUARDED_IO_MESSAGES_MAX; i++) {
        f.now_ms += TICK_MS;
        assert_int_equal(f.g.io.send(&f.g.io, &reqs[i], &heartbeat, on_sent), 0);
    }
    assert_int_equal(callbacks, 0);
    f.now_ms += TICK_MS;
    assert_string_equal(f.address, "there:2"); /* where the list of nodes says that it lives */
    assert_int_equal(f.g.io.send(&f.g.io, &reqs[GUARDED_IO_MESSAGES_MAX], &heartbeat, on_sent), 0);
    assert_int_equal(callbacks, 1);
    assert_int_equal(last_status, RAFT_NOCONNECTION);
    assert_int_equal(f.n_sends, GUARDED_IO_MESSAGES_MAX);
    for (unsigned i = 0; i < GUARDED_IO_MESSAGES_MAX; i++) {
        f.send_cbs[i](f.sends[i], 0);
    }
    assert_int_equal(callbacks, 1 + GUARDED_IO_MESSAGES_MAX);
    assert_int_equal(last_status, 0);
}

static struct raft_message append_of(raft_term term, raft_index prev, unsigned n, struct raft_entry *entries)
{
    struct raft_message m = {.type = RAFT_APPEND_ENTRIES, .server_id = 2, .server_address = "there:2"};
    m.append_entries.term = term;
    m.append_entries.prev_log_index = prev;
    m.append_entries.entries = entries;
    m.append_entries.n_entries = n;
    return m;
}

static void an_empty_append_right_behind_what_it_follows_is_not_sent(void **state)
{
    struct fake f;
    fake_init(&f);
    struct raft_entry entry = {.type = RAFT_COMMAND};
    struct raft_message full = append_of(3, 6, 1, &entry), empty = append_of(3, 7, 0, NULL);
    struct raft_message other = empty, probe = append_of(3, 5, 0, NULL), next_term = append_of(4, 7, 0, NULL);
    other.server_id = 1;
    const struct {
        struct raft_message *message;
        unsigned after_ms;
        unsigned sends;
    } steps[] = {
        {&empty, 0, 1}, /* the first of all */
        {&full, 0, 2},
        {&empty, TICK_MS / 4 - 1, 2}, /* the library is told that it went */
        {&other, 0, 3},               /* another peer has had nothing */
        {&full, 0, 4},                /* entries always go */
        {&empty, TICK_MS / 4 - 1, 4},
        {&empty, 1, 5}, /* what was not sent does not put off the next */
        {&empty, 0, 5},
        {&empty, TICK_MS / 4, 6},
        {&probe, 0, 7}, /* it does not follow what was sent */
        {&next_term, 0, 8},
        {&empty, 0, 9},
    };
    struct raft_io_send reqs[sizeof steps / sizeof *steps];
    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
        unsigned before = f.n_sends;
        f.now_ms += steps[i].after_ms;
        callbacks = 0;
        assert_int_equal(f.g.io.send(&f.g.io, &reqs[i], steps[i].message, on_sent), 0);
        assert_int_equal(f.n_sends, steps[i].sends);
        assert_int_equal(callbacks, f.n_sends == before ? 1 : 0);
        assert_true(callbacks == 0 || last_status == 0);
    }
    f.heartbeat = &empty; /* a tick's heartbeat keeps the library's picture of the peer alive */
    f.tick(&f.g.io);
    assert_int_equal(f.n_sends, 10);
    for (unsigned i = 0; i < f.n_sends; i++) {
        f.send_cbs[i](f.sends[i], 0);
    }
}

static void a_second_snapshot_to_a_peer_waits_for_the_first(void **state)
{
    struct fake f;
    fake_init(&f);
    struct raft_io_send first;
    struct raft_io_send second;
    struct raft_message install = {
        .type = RAFT_INSTALL_SNAPSHOT, .server_id = 2, .server_address = "there:2"};
    assert_int_equal(f.g.io.send(&f.g.io, &first, &install, on_sent), 0);
    assert_int_equal(f.g.io.send(&f.g.io, &second, &install, on_sent), 0);
    assert_int_equal(callbacks, 1);
    f.send_cbs[0](f.sends[0], 0);
    assert_int_equal(f.g.io.send(&f.g.io, &second, &install, on_sent), 0);
    assert_int_equal(f.n_sends, 2);
    f.send_cbs[1](f.sends[1], 0);
}

static void a_snapshot_is_sent_with_the_term_of_what_was_read(void **state)
{
    struct fake f;
    fake_init(&f);
    struct raft_io_snapshot_get get;
    struct raft_snapshot *snapshot = raft_calloc(1, sizeof *snapshot);
    snapshot->bufs = raft_calloc(1, sizeof *snapshot->bufs);
    snapshot->n_bufs = 1;
    snapshot->index = 7; /* stored after the library had decided to send an older one, of term 2 */
    snapshot->term = 3;
    assert_int_equal(f.g.io.snapshot_get(&f.g.io, &get, on_got), 0);
    f.get_cb(f.get, snapshot, 0);
    struct raft_io_send req;
    struct raft_message install = {.type = RAFT_INSTALL_SNAPSHOT,
        .server_id = 2,
        .server_address = "there:2",
        .install_snapshot = {.last_index = 7, .last_term = 2}};
    assert_int_equal(f.g.io.send(&f.g.io, &req, &install, on_sent), 0);
    assert_true(f.snapshot_term == 3);
    f.send_cbs[0](f.sends[0], 0);
}

static void a_send_that_fails_at_once_is_a_lost_message(void **state)
{
    struct fake f;
    fake_init(&f);
    struct raft_io_send req;
    struct raft_message heartbeat = {
        .type = RAFT_APPEND_ENTRIES, .server_id = 2, .server_address = "there:2"};
    f.rv = RAFT_NOMEM;
    assert_int_equal(f.g.io.send(&f.g.io, &req, &heartbeat, on_sent), 0);
    assert_int_equal(callbacks, 1);
    assert_int_equal(last_status, RAFT_NOMEM);
}

static void a_peer_counts_as_heard_when_its_message_comes(void **state)
{
    struct fake f;
    fake_init(&f);
    struct raft_message heartbeat = {.type = RAFT_APPEND_ENTRIES, .server_id = 2};
    assert_true(guarded_io_heard_ms(&f.g, 2) == 0);
    f.now_ms = 99;
    f.recv(&f.g.io, &heartbeat);
    assert_true(guarded_io_heard_ms(&f.g, 2) == 99);
    assert_true(guarded_io_heard_ms(&f.g, 1) == 0);
    assert_int_equal(f.received, 1);
}

static void receive_snapshot(struct fake *f)
{
    struct raft_message install = {.type = RAFT_INSTALL_SNAPSHOT, .server_id = 2};
    raft_configuration_init(&install.install_snapshot.conf);
    assert_int_equal(raft_configuration_add(&install.install_snapshot.conf, 1, "here:1", RAFT_VOTER), 0);
    install.install_snapshot.data.base = raft_malloc(8);
    unsigned before = f->received;
    f->recv(&f->g.io, &install);
    if (f->received != before) { /* it went up, and belongs to the test */
        raft_configuration_close(&install.install_snapshot.conf);
        raft_free(install.install_snapshot.data.base);
    }
}

static void a_snapshot_that_meets_another_is_dropped(void **state)
{
    struct fake f;
    fake_init(&f);
    receive_snapshot(&f);
    assert_int_equal(f.received, 1);
    f.raft.legacy.snapshot_taking = true;
    receive_snapshot(&f);
    f.raft.legacy.snapshot_taking = false;
    f.raft.snapshot.installing = true;
    receive_snapshot(&f);
    assert_int_equal(f.received, 1);
}

static void after_the_close_nothing_is_started_and_a_failed_read_is_no_crash(void **state)
{
    struct fake f;
    fake_init(&f);
    struct raft_io_snapshot_get get;
    struct raft_io_send send;
    struct raft_message install = {
        .type = RAFT_INSTALL_SNAPSHOT, .server_id = 2, .server_address = "there:2"};
    assert_int_equal(f.g.io.snapshot_get(&f.g.io, &get, on_got), 0);
    f.g.io.close(&f.g.io, NULL);
    f.get_cb(f.get, raft_malloc(sizeof(struct raft_snapshot)), RAFT_IOERR);
    assert_int_equal(callbacks, 1);
    assert_int_equal(last_status, 0);
    assert_int_equal(f.g.io.send(&f.g.io, &send, &install, on_sent), 0);
    assert_int_equal(f.n_sends, 0);
    assert_int_equal(last_status, RAFT_CANCELED);
}

static void what_ends_while_closing_is_passed_on(void **state)
{
    struct fake f;
    fake_init(&f);
    struct raft_io_append append;
    struct raft_io_snapshot_put put;
    assert_int_equal(f.g.io.append(&f.g.io, &append, NULL, 0, on_appended), 0);
    assert_int_equal(f.g.io.snapshot_put(&f.g.io, 1, &put, NULL, on_put), 0);
    f.g.io.close(&f.g.io, NULL);
    f.append_cb(f.append, RAFT_CANCELED);
    f.put_cb(f.put, RAFT_CANCELED);
    assert_int_equal(callbacks, 2);
    assert_int_equal(last_status, RAFT_CANCELED);
}

/* ---- Calls that do not end ---- */

static void appends_that_end_one_after_another_are_no_stall(void **state)
{
    struct fake f;
    fake_init(&f);
    struct raft_io_append append;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(f.g.io.append(&f.g.io, &append, NULL, 0, on_appended), 0);
        pass(&f, GUARDED_IO_APPEND_MS_MAX - TICK_MS);
        f.append_cb(f.append, 0);
    }
    pass(&f, 2 * GUARDED_IO_APPEND_MS_MAX); /* and with nothing to write, time passes freely */
    assert_int_equal(callbacks, 10);
    assert_int_equal(f.ticks, (12 * GUARDED_IO_APPEND_MS_MAX - 10 * TICK_MS) / TICK_MS);
}

static void the_time_that_the_process_was_stopped_is_no_stall(void **state)
{
    struct fake f;
    fake_init(&f);
    struct raft_io_append append;
    assert_int_equal(f.g.io.append(&f.g.io, &append, NULL, 0, on_appended), 0);
    pass(&f, TICK_MS);
    f.now_ms += 100 * GUARDED_IO_APPEND_MS_MAX;
    pass(&f, TICK_MS);
    f.append_cb(f.append, 0);
    assert_int_equal(callbacks, 1);
}

static void a_snapshot_that_cannot_be_written_is_told_again_and_again(void **state)
{
    struct fake f;
    fake_init(&f);
    char *text = NULL;
    size_t len = 0;
    struct logger logger = {.out = open_memstream(&text, &len), .level = LOG_ERROR};
    f.g.config.logger = &logger;
    struct raft_io_snapshot_put put;
    assert_int_equal(f.g.io.snapshot_put(&f.g.io, 1, &put, NULL, on_put), 0);
    pass(&f, GUARDED_IO_SNAPSHOT_MS_MAX - TICK_MS);
    fflush(logger.out);
    assert_int_equal(len, 0);
    pass(&f, GUARDED_IO_SNAPSHOT_MS_MAX + 2 * TICK_MS); /* the first tick only learns the time */
    fflush(logger.out);
    const char *first = strstr(text, "raft-snapshot-stalled");
    assert_non_null(first);
    assert_non_null(strstr(first + 1, "raft-snapshot-stalled"));
    f.put_cb(f.put, 0);
    assert_int_equal(callbacks, 1);
    fclose(logger.out);
    free(text);
}

/* ---- Every disk error ends the process ---- */

enum disk_error {
    SET_TERM,
    SET_VOTE,
    TRUNCATE,
    APPEND,
    APPEND_LATER,
    APPEND_NEVER,
    APPEND_NEVER_BEHIND_ONE_THAT_ENDED,
    WRITE_FAILED_UNSEEN,
    SHORT_WRITE_UNSEEN,
    TRUNCATE_WITHOUT_ROOM,
    PUT,
    PUT_LATER,
    GET,
    GET_LATER,
    DISK_ERRORS
};

static void provoke(struct fake *f, enum disk_error what)
{
    static struct raft_io_append append;
    static struct raft_io_snapshot_put put;
    static struct raft_io_snapshot_get get;
    struct raft_io *io = &f->g.io;
    bool at_once = what == SET_TERM || what == SET_VOTE || what == TRUNCATE || what == APPEND ||
                   what == PUT || what == GET;
    f->rv = at_once ? RAFT_IOERR : 0;
    switch (what) {
    case SET_TERM:
        io->set_term(io, 2);
        break;
    case SET_VOTE:
        io->set_vote(io, 2);
        break;
    case TRUNCATE:
        io->truncate(io, 2);
        break;
    case APPEND:
    case APPEND_LATER:
        io->append(io, &append, NULL, 0, on_appended);
        f->append_cb(f->append, RAFT_IOERR);
        break;
    case APPEND_NEVER: /* a segment cannot be prepared */
        io->append(io, &append, NULL, 0, on_appended);
        pass(f, GUARDED_IO_APPEND_MS_MAX + TICK_MS);
        break;
    case APPEND_NEVER_BEHIND_ONE_THAT_ENDED:
        io->append(io, &append, NULL, 0, on_appended);
        pass(f, GUARDED_IO_APPEND_MS_MAX / 2);
        io->append(io, &(struct raft_io_append){0}, NULL, 0, on_appended);
        f->append_cb(f->append, 0);
        pass(f, GUARDED_IO_APPEND_MS_MAX + TICK_MS);
        break;
    case WRITE_FAILED_UNSEEN: /* the library's words, from which it goes on to try again */
        io->append(io, &append, NULL, 0, on_appended);
        snprintf(io->errmsg, sizeof io->errmsg, "write failed: -28");
        pass(f, TICK_MS);
        break;
    case SHORT_WRITE_UNSEEN:
        io->append(io, &append, NULL, 0, on_appended);
        snprintf(io->errmsg, sizeof io->errmsg, "short write: 512 bytes instead of 4096");
        pass(f, TICK_MS);
        break;
    case TRUNCATE_WITHOUT_ROOM:
        f->has_room = false;
        io->truncate(io, 2);
        break;
    case PUT:
    case PUT_LATER:
        io->snapshot_put(io, 1, &put, NULL, on_put);
        f->put_cb(f->put, RAFT_IOERR);
        break;
    case GET:
    case GET_LATER:
        io->snapshot_get(io, &get, on_got);
        f->get_cb(f->get, NULL, RAFT_IOERR);
        break;
    case DISK_ERRORS:
        break;
    }
}

static void a_barrier_carries_nothing_of_our_memory(void **state)
{
    struct fake f;
    fake_init(&f);
    char barrier[8] = "secrets", command[8] = "command";
    const struct raft_entry entries[] = {
        {.type = RAFT_BARRIER, .buf = {barrier, sizeof barrier}, .batch = barrier},
        {.type = RAFT_COMMAND, .buf = {command, sizeof command}, .batch = command},
    };
    struct raft_io_append append = {0};
    f.g.io.append(&f.g.io, &append, entries, 2, on_appended);
    assert_memory_equal(barrier, ((char[8]){0}), sizeof barrier);
    assert_memory_equal(command, "command", sizeof command);
    f.append_cb(f.append, 0);
}

static void every_disk_error_ends_the_process(void **state)
{
    for (int what = 0; what < DISK_ERRORS; what++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            setrlimit(RLIMIT_CORE, &(struct rlimit){0});
            signal(SIGABRT, SIG_DFL);
            struct fake f;
            fake_init(&f);
            provoke(&f, (enum disk_error)what);
            _exit(0);
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(time_is_asked_afresh, reset),
        cmocka_unit_test_setup(a_peer_that_does_not_read_gets_no_more_than_the_window, reset),
        cmocka_unit_test_setup(an_empty_append_right_behind_what_it_follows_is_not_sent, reset),
        cmocka_unit_test_setup(a_second_snapshot_to_a_peer_waits_for_the_first, reset),
        cmocka_unit_test_setup(a_snapshot_is_sent_with_the_term_of_what_was_read, reset),
        cmocka_unit_test_setup(a_send_that_fails_at_once_is_a_lost_message, reset),
        cmocka_unit_test_setup(a_peer_counts_as_heard_when_its_message_comes, reset),
        cmocka_unit_test_setup(a_snapshot_that_meets_another_is_dropped, reset),
        cmocka_unit_test_setup(after_the_close_nothing_is_started_and_a_failed_read_is_no_crash, reset),
        cmocka_unit_test_setup(what_ends_while_closing_is_passed_on, reset),
        cmocka_unit_test_setup(appends_that_end_one_after_another_are_no_stall, reset),
        cmocka_unit_test_setup(the_time_that_the_process_was_stopped_is_no_stall, reset),
        cmocka_unit_test_setup(a_snapshot_that_cannot_be_written_is_told_again_and_again, reset),
        cmocka_unit_test_setup(a_barrier_carries_nothing_of_our_memory, reset),
        cmocka_unit_test_setup(every_disk_error_ends_the_process, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
