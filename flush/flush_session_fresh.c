/* What a session tells SQL readers: how fresh the database is, and what is in quarantine. */
#include <string.h>

#include "flush/flush_session_internal.h"

/* The database shows a changed quarantine this often at most, when no batch shows it anyway. */
enum { MIRROR_AGAIN_MS = 500 };

void session_forget_samples(struct flush_session *s)
{
    s->n_samples = 0;
    s->clock_us = 0;
}

/* Source: design, "fresh_as_of": the index is read after the clock was received, at a moment when we lead. */
void session_take_sample(struct flush_session *s, const struct flush_view *view)
{
    if (s->clock_us == 0 || !view->certain) {
        return;
    }
    struct flush_sample sample = {.clock_us = s->clock_us, .index = view->applied_index};
    s->clock_us = 0;
    if (s->n_samples > 0 && s->samples[s->n_samples - 1].clock_us >= sample.clock_us) {
        return; /* the server's clock was set back */
    }
    if (s->n_samples > 0 && s->samples[s->n_samples - 1].index == sample.index) {
        s->samples[s->n_samples - 1] = sample;
        return;
    }
    if (s->n_samples == FLUSH_SAMPLES_MAX) {
        for (uint32_t i = 0; i < FLUSH_SAMPLES_MAX / 2; i++) {
            s->samples[i] = s->samples[2 * i + 1];
        }
        s->n_samples = FLUSH_SAMPLES_MAX / 2;
    }
    s->samples[s->n_samples++] = sample;
}

int64_t flush_session_fresh(struct flush_session *s, uint64_t index)
{
    uint32_t known = 0;
    while (known < s->n_samples && s->samples[known].index <= index) {
        known++;
    }
    if (known == 0) {
        return 0;
    }
    int64_t fresh = s->samples[known - 1].clock_us;
    s->n_samples -= known - 1; /* the newest one stays: it goes on to be true */
    memmove(s->samples, s->samples + known - 1, s->n_samples * sizeof s->samples[0]);
    s->published_us = fresh;
    return fresh;
}

uint64_t session_note_every(const struct flush_session *s)
{
    return s->settings.note_ms == 0 ? 1000 : s->settings.note_ms;
}

void session_mirrored(struct flush_session *s, const struct flush_mirror *mirror, uint64_t changes)
{
    if (mirror != NULL) {
        s->mirrored = changes;
        s->mirror_known = true;
        s->mirror_at_ms = s->now_ms + MIRROR_AGAIN_MS;
    }
}

bool flush_session_note_due(const struct flush_session *s, const struct flush_view *view, bool *mirror)
{
    *mirror = !s->mirror_known || s->mirrored != view->quarantine_changes;
    return s->state == FLUSH_ACTIVE && !s->noting && s->isolating == 0 && !s->begin_pending &&
           (s->now_ms >= s->note_at_ms || (*mirror && s->now_ms >= s->mirror_at_ms));
}

void flush_session_note(struct flush_session *s, const struct flush_note *note,
    const struct flush_mirror *mirror, uint64_t changes)
{
    s->noting = true;
    s->note_at_ms = s->now_ms + session_note_every(s);
    session_mirrored(s, mirror, changes);
    s->flusher->note(s->flusher_data, note, mirror, s->sent_batch);
}

void session_on_noted(void *data, int64_t clock_us)
{
    struct flush_session *s = data;
    s->noting = false;
    s->clock_us = clock_us;
}
