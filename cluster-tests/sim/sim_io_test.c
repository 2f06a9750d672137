/* Three real libraft servers on sim_io: they elect, replicate, and survive what the disk and the network do
 * to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cluster-tests/sim/sim_io.h"
#include "proto/base/alloc.h"
#include "proto/base/check.h"

enum { N = 3, COMMANDS_MAX = 4096 };

struct server {
    struct sim_gate gate;
    struct sim_disk disk;
    struct sim_io io;
    struct raft raft;
    struct raft_fsm fsm;
    bool alive, closed;
    uint64_t commands[COMMANDS_MAX];
    uint64_t n_commands;
    unsigned restores;
};

struct world {
    struct sim_clock clock;
    struct sim_net net;
    struct server servers[N];
    unsigned snapshot_threshold;
};

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct server *s = fsm->data;
    CHECK(buf->len == sizeof(uint64_t) && s->n_commands < COMMANDS_MAX);
    memcpy(&s->commands[s->n_commands++], buf->base, sizeof(uint64_t));
    *result = NULL;
    return 0;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct server *s = fsm->data;
    *n_bufs = 1;
    *bufs = raft_malloc(sizeof **bufs);
    (*bufs)[0].len = s->n_commands * sizeof(uint64_t);
    (*bufs)[0].base = raft_malloc((*bufs)[0].len);
    memcpy((*bufs)[0].base, s->commands, (*bufs)[0].len);
    return 0;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct server *s = fsm->data;
    s->n_commands = buf->len / sizeof(uint64_t);
    memcpy(s->commands, buf->base, buf->len);
    s->restores++;
    raft_free(buf->base);
    return 0;
}

static void boot(struct world *w, unsigned i)
{
    struct server *s = &w->servers[i];
    s->n_commands = 0;
    s->alive = true;
    s->closed = false;
    sim_io_init(&s->io, &w->clock, &w->net, &s->disk, &s->gate, 0, i);
    memset(&s->raft, 0, sizeof s->raft);
    s->fsm = (struct raft_fsm){
        .version = 1, .data = s, .apply = fsm_apply, .snapshot = fsm_snapshot, .restore = fsm_restore};
    assert_int_equal(raft_init(&s->raft, &s->io.io, &s->fsm, i + 1, sim_io_address(i)), 0);
    s->raft.data = s;
    s->raft.tracer = NULL;
    raft_seed(&s->raft, (unsigned)sim_random(&w->clock, UINT32_MAX));
    raft_set_capacity_threshold(&s->raft, 0);
    raft_set_election_timeout(&s->raft, 300);
    raft_set_heartbeat_timeout(&s->raft, 30);
    raft_set_pre_vote(&s->raft, true);
    raft_set_snapshot_threshold(&s->raft, w->snapshot_threshold);
    raft_set_snapshot_trailing(&s->raft, 4);
    if (s->disk.term == 0) {
        struct raft_configuration conf;
        raft_configuration_init(&conf);
        for (unsigned j = 0; j < N; j++) {
            assert_int_equal(raft_configuration_add(&conf, j + 1, sim_io_address(j), RAFT_VOTER), 0);
        }
        assert_int_equal(raft_bootstrap(&s->raft, &conf), 0);
        raft_configuration_close(&conf);
    }
    assert_int_equal(raft_start(&s->raft), 0);
}

static void on_closed(struct raft *r)
{
    ((struct server *)r->data)->closed = true;
}

static void crash(struct world *w, unsigned i)
{
    struct server *s = &w->servers[i];
    sim_io_crash(&s->io);
    raft_close(&s->raft, on_closed);
    struct sim_gate *gate;
    while (!s->closed) {
        assert_true(sim_step(&w->clock, &gate));
    }
    sim_io_deinit(&s->io);
    s->alive = false;
}

static void run_ms(struct world *w, uint64_t ms)
{
    uint64_t end_us = w->clock.now_us + ms * 1000;
    struct sim_gate *gate;
    while (w->clock.n > 0 && w->clock.heap[0]->at_us <= end_us) {
        sim_step(&w->clock, &gate);
    }
    w->clock.now_us = end_us;
}

static int leader(struct world *w)
{
    int found = -1;
    for (int i = 0; i < N; i++) {
        if (w->servers[i].alive && !w->servers[i].gate.paused &&
            raft_state(&w->servers[i].raft) == RAFT_LEADER) {
            found = found < 0 || w->servers[i].raft.current_term > w->servers[found].raft.current_term
                        ? i
                        : found;
        }
    }
    return found;
}

static int await_leader(struct world *w)
{
    for (int i = 0; i < 1000 && leader(w) < 0; i++) {
        run_ms(w, 10);
    }
    assert_true(leader(w) >= 0);
    return leader(w);
}

static void applied(struct raft_apply *req, int status, void *result)
{
    free(req);
}

static bool propose(struct world *w, int i, uint64_t command)
{
    struct raft_apply *req = xcalloc(1, sizeof *req);
    struct raft_buffer buf = {.base = raft_malloc(sizeof command), .len = sizeof command};
    memcpy(buf.base, &command, sizeof command);
    if (raft_apply(&w->servers[i].raft, req, &buf, 1, applied) != 0) {
        free(req);
        raft_free(buf.base);
        return false;
    }
    return true;
}

static struct world *world(uint64_t seed, unsigned snapshot_threshold)
{
    struct world *w = xcalloc(1, sizeof *w);
    sim_clock_init(&w->clock, seed);
    sim_net_init(&w->net, &w->clock);
    w->snapshot_threshold = snapshot_threshold;
    for (unsigned i = 0; i < N; i++) {
        sim_gate_init(&w->servers[i].gate, &w->servers[i]);
        sim_disk_init(&w->servers[i].disk);
        boot(w, i);
    }
    return w;
}

static void end(struct world *w)
{
    for (unsigned i = 0; i < N; i++) {
        sim_gate_resume(&w->clock, &w->servers[i].gate);
        if (w->servers[i].alive) {
            crash(w, i);
        }
        sim_disk_deinit(&w->servers[i].disk);
    }
    sim_net_deinit(&w->net);
    sim_clock_deinit(&w->clock);
    free(w);
}

static void assert_equal_logs(struct world *w, uint64_t n)
{
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(w->servers[i].n_commands, n);
        assert_memory_equal(w->servers[i].commands, w->servers[0].commands, n * sizeof(uint64_t));
    }
}

static void elects_a_leader_and_replicates(void **state)
{
    struct world *w = world(1, 1000);
    int l = await_leader(w);
    for (uint64_t c = 1; c <= 100; c++) {
        assert_true(propose(w, l, c));
    }
    run_ms(w, 500);
    assert_equal_logs(w, 100);
    end(w);
}

static void a_cut_off_leader_is_replaced_and_rejoins(void **state)
{
    struct world *w = world(2, 1000);
    int old = await_leader(w);
    assert_true(propose(w, old, 1));
    run_ms(w, 100);
    for (unsigned i = 0; i < N; i++) {
        sim_net_cut(&w->net, (unsigned)old, i, true);
        sim_net_cut(&w->net, i, (unsigned)old, true);
    }
    assert_true(propose(w, old, 666)); /* cannot commit */
    run_ms(w, 2000);
    int new = await_leader(w);
    assert_int_not_equal(new, old);
    assert_true(propose(w, new, 2));
    run_ms(w, 100);
    sim_net_heal(&w->net);
    run_ms(w, 2000);
    assert_equal_logs(w, 2);
    assert_int_equal(w->servers[old].commands[1], 2);
    end(w);
}

static void a_one_way_cut_stops_only_that_direction(void **state)
{
    struct world *w = world(3, 1000);
    uint64_t delay_us;
    sim_net_cut(&w->net, 0, 1, true);
    assert_false(sim_net_arrival(&w->net, 0, 0, 1, &delay_us));
    assert_true(sim_net_arrival(&w->net, 0, 1, 0, &delay_us));
    end(w);
}

static void a_restarted_server_has_what_was_committed(void **state)
{
    struct world *w = world(4, 1000);
    int l = await_leader(w);
    for (uint64_t c = 1; c <= 20; c++) {
        assert_true(propose(w, l, c));
    }
    run_ms(w, 300);
    for (unsigned i = 0; i < N; i++) {
        crash(w, i);
    }
    for (unsigned i = 0; i < N; i++) {
        boot(w, i);
    }
    l = await_leader(w);
    assert_true(propose(w, l, 21));
    run_ms(w, 500);
    assert_equal_logs(w, 21);
    end(w);
}

static void a_server_far_behind_gets_a_snapshot(void **state)
{
    struct world *w = world(5, 16);
    int l = await_leader(w);
    unsigned behind = (unsigned)(l + 1) % N;
    crash(w, behind);
    for (uint64_t c = 1; c <= 200; c++) {
        assert_true(propose(w, l, c));
        if (c % 10 == 0) {
            run_ms(w, 20);
        }
    }
    run_ms(w, 500);
    assert_true(w->servers[l].disk.start_index > 100);
    unsigned before = w->servers[behind].restores;
    boot(w, behind);
    run_ms(w, 3000);
    assert_true(w->servers[behind].restores > before);
    assert_equal_logs(w, 200);
    end(w);
}

static void a_paused_server_hears_nothing_until_it_is_resumed(void **state)
{
    struct world *w = world(6, 1000);
    int old = await_leader(w);
    sim_gate_pause(&w->servers[old].gate);
    run_ms(w, 2000);
    int new = await_leader(w);
    assert_int_not_equal(new, old);
    assert_int_equal(raft_state(&w->servers[old].raft), RAFT_LEADER); /* it does not know yet */
    sim_gate_resume(&w->clock, &w->servers[old].gate);
    run_ms(w, 1000);
    assert_int_not_equal(raft_state(&w->servers[old].raft), RAFT_LEADER);
    end(w);
}

/* Crashes at any moment, lost messages, snapshots: logs never differ, and nothing that any server applied is
 * lost. */
static void random_crashes_never_lose_or_change_what_was_applied(void **state)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct world *w = world(seed, 8);
        static uint64_t truth[COMMANDS_MAX];
        uint64_t known = 0;
        w->net.loss_permille = 50;
        for (uint64_t turn = 1; turn <= 300; turn++) {
            int l = leader(w);
            if (l >= 0 && w->servers[l].n_commands < COMMANDS_MAX / 2) {
                for (uint64_t k = sim_random(&w->clock, 4); k > 0; k--) {
                    propose(w, l, turn * 10 + k);
                }
            }
            unsigned i = (unsigned)sim_random(&w->clock, N);
            if (!w->servers[i].alive) {
                boot(w, i);
            } else if (sim_chance(&w->clock, 100)) {
                crash(w, i);
            }
            run_ms(w, sim_between(&w->clock, 1, 60));
            for (i = 0; i < N; i++) {
                struct server *s = &w->servers[i];
                uint64_t common = s->n_commands < known ? s->n_commands : known;
                assert_memory_equal(s->commands, truth, common * sizeof(uint64_t));
                if (s->n_commands > known) {
                    memcpy(truth, s->commands, s->n_commands * sizeof(uint64_t));
                    known = s->n_commands;
                }
            }
        }
        w->net.loss_permille = 0;
        for (unsigned i = 0; i < N; i++) {
            if (!w->servers[i].alive) {
                boot(w, i);
            }
        }
        run_ms(w, 3000);
        int l = await_leader(w);
        assert_true(propose(w, l, 7));
        run_ms(w, 1000);
        assert_true(known > 0 && w->servers[l].n_commands > known);
        assert_memory_equal(w->servers[l].commands, truth, known * sizeof(uint64_t));
        assert_equal_logs(w, w->servers[l].n_commands);
        end(w);
    }
}

static void a_seed_is_a_run(void **state)
{
    uint64_t sent[2], now_us[2];
    for (int run = 0; run < 2; run++) {
        struct world *w = world(42, 8);
        w->net.loss_permille = 100;
        for (uint64_t turn = 1; turn <= 100; turn++) {
            if (leader(w) >= 0) {
                propose(w, leader(w), turn);
            }
            run_ms(w, sim_between(&w->clock, 1, 50));
        }
        sent[run] = w->net.sent;
        now_us[run] = w->clock.now_us;
        end(w);
    }
    assert_int_equal(sent[0], sent[1]);
    assert_int_equal(now_us[0], now_us[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elects_a_leader_and_replicates),
        cmocka_unit_test(a_cut_off_leader_is_replaced_and_rejoins),
        cmocka_unit_test(a_one_way_cut_stops_only_that_direction),
        cmocka_unit_test(a_restarted_server_has_what_was_committed),
        cmocka_unit_test(a_server_far_behind_gets_a_snapshot),
        cmocka_unit_test(a_paused_server_hears_nothing_until_it_is_resumed),
        cmocka_unit_test(random_crashes_never_lose_or_change_what_was_applied),
        cmocka_unit_test(a_seed_is_a_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
