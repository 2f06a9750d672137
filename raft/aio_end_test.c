/* libraft's end of an asynchronous context is ours: at once, and all the same an end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/aio_abi.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "raft/aio_end.h"

/* As libraft calls it: the linker leads it to ours. */
int UvOsIoDestroy(aio_context_t context);

static int events_of(aio_context_t context)
{
    struct io_event event;
    struct timespec now = {0};
    return syscall(__NR_io_getevents, context, 0L, 1L, &event, &now) >= 0 ? 0 : errno;
}

static void libraft_is_led_to_ours(void **state)
{
    (void)state;
    assert_true(UvOsIoDestroy == __wrap_UvOsIoDestroy);
    assert_true(UvOsIoDestroy != __real_UvOsIoDestroy);
}

static void a_context_is_gone_soon(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        aio_context_t context = 0;
        assert_int_equal(syscall(__NR_io_setup, 1L, &context), 0);
        assert_int_equal(events_of(context), 0);
        assert_int_equal(UvOsIoDestroy(context), 0);
        while (events_of(context) != EINVAL) { /* ctest's time limit ends it otherwise */
            sched_yield();
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(libraft_is_led_to_ours),
        cmocka_unit_test(a_context_is_gone_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
