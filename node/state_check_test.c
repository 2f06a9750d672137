/* The checker must notice: a sound state is broken in one way per row, in a child process that has to abort.
 */
#include "node/state_test_help.h"

#include "node/state_table.h"

/* Batch 3 holds a@1 and b@2, batch 5 holds c@4; d@6, b@7, gone@8 are queued; `clean`, `later`, `soon` (these
 * two expire) and `none` are local. */
static void build(struct state *s)
{
    const uint8_t cluster_id[CLUSTER_ID_BYTES] = {1};
    state_init(s, 1);
    put(s, 1, "a", "1");
    state_apply_genesis(s, cluster_id, 3, 0);
    put(s, 2, "b", "2");
    begin(s, 3);
    put(s, 4, "c", "3");
    begin(s, 5);
    put(s, 6, "d", "4");
    put(s, 7, "b", "5");
    put(s, 8, "gone", NULL);
    put_clean(s, "clean", "6");
    put_clean_until(s, "later", "7", 50);
    put_clean_until(s, "soon", "8", 40);
    put_absent(s, "none");
    assert_flush(s, "[3: a@1 b@2] [5: c@4] d@6 b@7 gone@8");
}

static void swap_queue(struct state *s)
{
    struct list *first = list_pop_front(&s->queue);
    list_insert_before(first, s->queue.next->next);
}
static void swap_batches(struct state *s)
{
    list_push_back(&s->batches, list_pop_front(&s->batches));
}
static void cut_link(struct state *s)
{
    s->queue.next->next->prev = &s->queue;
}
static void lose_from_queue(struct state *s)
{
    list_remove(&find(s, "d")->queued.link);
}
static void zero_first_dirty(struct state *s)
{
    find(s, "d")->queued.first_dirty = 0;
}
static void future_first_dirty(struct state *s)
{
    find(s, "gone")->queued.first_dirty = 99;
}
static void late_stamp(struct state *s)
{
    find(s, "gone")->queued.dirty_stamp_ms++;
}
static void early_stamp(struct state *s)
{
    find(s, "gone")->queued.dirty_stamp_ms = 1;
}
static void two_stamps_of_one_index(struct state *s)
{
    find(s, "b")->queued.first_dirty = 8;
}
static void wrong_batch(struct state *s)
{
    find(s, "a")->batch = find(s, "c")->batch;
}
static void no_batch(struct state *s)
{
    find(s, "a")->batch = NULL;
}
static void stray_batch(struct state *s)
{
    find(s, "clean")->batch = find(s, "a")->batch;
}
static void rewritten_before_the_batch(struct state *s)
{
    struct state_entry *e = find(s, "b"); /* batch 5 goes, and batch 3 gets an id after b's second write */
    state_apply_flush_abort(s, 5);
    e->batch->id = 8;
    s->newest_batch = 8;
}
static void batch_from_before_its_rows(struct state *s)
{
    state_batch_find(s, 3)->id = 2;
}
static void future_batch(struct state *s)
{
    state_batch_find(s, 5)->id = 99;
}
static void settled_batch(struct state *s)
{
    s->last_batch = 3;
}
static void future_last_batch(struct state *s)
{
    state_apply_flush_abort(s, 0);
    s->last_batch = s->newest_batch + 1;
}
static void wrong_rows(struct state *s)
{
    state_batch_find(s, 3)->rows++;
}
static void empty_batch(struct state *s)
{
    list_init(&state_batch_find(s, 5)->places);
}
static void wrong_queued(struct state *s)
{
    s->queued_entries++;
}
static void wrong_batched(struct state *s)
{
    s->batched_entries--;
}
static void wrong_batch_count(struct state *s)
{
    s->batch_count++;
}
static void wrong_entries(struct state *s)
{
    s->entries++;
}
static void wrong_absences(struct state *s)
{
    s->absences--;
}
static void wrong_bytes(struct state *s)
{
    s->bytes++;
}
static void wrong_dirty_bytes(struct state *s)
{
    s->dirty_bytes--;
}
static void dirty_absence(struct state *s)
{
    find(s, "d")->absent = true;
}
static void no_version(struct state *s)
{
    find(s, "d")->version = 0;
}
static void clean_tombstone(struct state *s)
{
    struct state_entry *e = find(s, "none");
    e->absent = false;
    list_remove(&e->queued.link);
    s->absences--;
    s->entries++;
}
static void absence_in_another_list(struct state *s)
{
    struct list *link = &find(s, "none")->queued.link;
    list_remove(link);
    list_insert_before(link, &find(s, "clean")->queued.link);
    s->absences--;
}
static void expiring_tombstone(struct state *s)
{
    find(s, "gone")->expires_at_ms = 1;
}
static void versioned_absence(struct state *s)
{
    find(s, "none")->version = 1;
}
static void wrong_hash(struct state *s)
{
    find(s, "clean")->hash += STATE_TABLE_BUCKETS_MIN;
}
static void not_in_table(struct state *s)
{
    state_table_remove(s->table, find(s, "d"));
}
static void clean_not_evictable(struct state *s)
{
    list_remove(&find(s, "clean")->queued.link);
}
static void clean_in_queue(struct state *s)
{
    list_remove(&find(s, "clean")->queued.link);
    list_push_back(&s->queue, &find(s, "clean")->queued.link);
}
static void clean_among_absences(struct state *s)
{
    list_remove(&find(s, "clean")->queued.link);
    list_push_back(&s->absent, &find(s, "clean")->queued.link);
}
static void clean_links_cut(struct state *s)
{
    find(s, "clean")->queued.link.next->prev = &s->queue;
}
static void batched_is_evictable(struct state *s)
{
    struct state_entry *e = find(s, "a");
    list_push_back(&find(s, "clean")->queued.link, &e->queued.link);
}
static void grown_while_clean(struct state *s)
{
    struct state_entry *e = find(s, "clean");
    value_unref(e->value);
    e->value = text_value("longer");
    e->value_len = 6;
    s->bytes += 5;
}
static void length_not_the_values(struct state *s)
{
    find(s, "a")->value_len++;
    s->bytes++;
    s->dirty_bytes++;
}
static void wrong_clean_bytes(struct state *s)
{
    s->clean_bytes++;
}
static void absence_not_in_list(struct state *s)
{
    list_remove(&find(s, "none")->queued.link);
}
static void expiry_not_in_heap(struct state *s)
{
    find(s, "clean")->expires_at_ms = 5;
}
static void heap_without_expiry(struct state *s)
{
    find(s, "soon")->expires_at_ms = 0;
}
static void late_above_early(struct state *s)
{
    find(s, "soon")->expires_at_ms = 99;
}
static void wrong_place_in_heap(struct state *s)
{
    find(s, "soon")->expiry_place = 2;
}
static void place_behind_heap(struct state *s)
{
    find(s, "later")->expiry_place = 3;
}
static void stranger_in_heap(struct state *s)
{
    s->expiring[s->expiring_n++] = find(s, "later");
}
static void heap_without_room(struct state *s)
{
    s->bytes -= s->expiring_cap * sizeof s->expiring[0];
    s->expiring_cap = 1;
    s->bytes += s->expiring_cap * sizeof s->expiring[0];
}
static void claimed_unborn(struct state *s)
{
    s->claimed = true;
    s->born = false;
}

struct row {
    void (*spoil)(struct state *s);
    const char *text;
};

/* Runs in a child, so that nobody has to free a broken state. */
static void spoil_and_check(void *data)
{
    const struct row *row = data;
    struct state s;
    build(&s);
    row->spoil(&s);
    state_check_invariants(&s);
}

static void every_broken_rule_aborts_with_its_text(void **unused)
{
    struct row rows[] = {
        {swap_queue, "are ordered by first_dirty"},
        {swap_batches, "batch ids rise"},
        {cut_link, "links are consistent"},
        {lose_from_queue, "a place with first_dirty is in a list"},
        {zero_first_dirty, "a place in a list has first_dirty"},
        {future_first_dirty, "first_dirty is an index that has applied"},
        {late_stamp, "stamps rise with first_dirty, up to the newest"},
        {early_stamp, "stamps rise with first_dirty, up to the newest"},
        {two_stamps_of_one_index, "places of one log entry have its one stamp"},
        {wrong_batch, "names that batch"},
        {no_batch, "names that batch"},
        {stray_batch, "names its batch exactly while it is in one"},
        {rewritten_before_the_batch, "was written after the batch began"},
        {batch_from_before_its_rows, "a batch holds writes from before it began"},
        {future_batch, "batch ids rise"},
        {settled_batch, "batch ids rise"},
        {future_last_batch, "newest_batch is the newest"},
        {wrong_rows, "a batch counts its rows"},
        {empty_batch, "a batch counts its rows"},
        {wrong_queued, "queued_entries counts the queue"},
        {wrong_batched, "batched_entries counts"},
        {wrong_batch_count, "batch_count counts"},
        {wrong_entries, "entries counts keys"},
        {wrong_absences, "absences counts the list of absences"},
        {wrong_bytes, "bytes counts entries"},
        {wrong_dirty_bytes, "dirty_bytes counts"},
        {absence_in_another_list, "absences counts absences"},
        {dirty_absence, "an absence is never dirty"},
        {no_version, "a dirty entry has a version"},
        {clean_tombstone, "a delete that the database has is forgotten"},
        {expiring_tombstone, "what has no value does not expire"},
        {versioned_absence, "an absence has no value and no version"},
        {wrong_hash, "an entry's hash is that of its key"},
        {not_in_table, "an entry in the queue is in the table"},
        {clean_not_evictable, "a clean entry may be evicted"},
        {clean_in_queue, "a place in a list has first_dirty"},
        {clean_among_absences, "the list of absences has absences only"},
        {clean_links_cut, "a clean entry's links are consistent"},
        {batched_is_evictable, "a place without first_dirty is in no list"},
        {grown_while_clean, "clean_bytes counts the clean entries"},
        {length_not_the_values, "an entry knows its value's length"},
        {wrong_clean_bytes, "clean_bytes counts the clean entries"},
        {absence_not_in_list, "absences counts the list of absences"},
        {expiry_not_in_heap, "is in the heap while it has an expiry"},
        {heap_without_expiry, "is in the heap while it has an expiry"},
        {late_above_early, "nearer to the heap's top"},
        {wrong_place_in_heap, "knows its place in the heap"},
        {place_behind_heap, "knows its place in the heap"},
        {stranger_in_heap, "nothing but entries of the table"},
        {heap_without_room, "the heap has room"},
        {claimed_unborn, "what is claimed was born"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_aborts(spoil_and_check, &rows[i], rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_broken_rule_aborts_with_its_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
