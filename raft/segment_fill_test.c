#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "raft/segment_fill.h"

enum { FILE_BYTES = 1024 * 1024 };

static int make_folder(void **state)
{
    char path[] = "/tmp/wb-segment-fill-XXXXXX";
    *state = mkdtemp(path) == NULL ? NULL : strdup(path);
    return *state == NULL ? -1 : 0;
}

static int remove_folder(void **state)
{
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s'", (const char *)*state);
    free(*state);
    return system(command);
}

static int make_file(const char *folder)
{
    char path[256];
    snprintf(path, sizeof path, "%s/file", folder);
    int fd = open(path, O_CREAT | O_RDWR, 0600);
    assert_true(fd >= 0);
    return fd;
}

/* Every block of a file of that size was written: an allocated one that was not counts as a hole. */
static void assert_written(int fd, off_t size)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, size);
    assert_int_equal(lseek(fd, 0, SEEK_DATA), 0);
    assert_int_equal(lseek(fd, 0, SEEK_HOLE), size);
}

static void an_allocated_file_has_been_written_with_zeros(void **state)
{
    int fd = make_file(*state);
    int flags = fcntl(fd, F_GETFL);
    assert_int_equal(posix_fallocate(fd, 0, FILE_BYTES), 0);
    assert_int_equal(fcntl(fd, F_GETFL), flags);
    assert_written(fd, FILE_BYTES);
    static uint8_t content[FILE_BYTES], zeros[FILE_BYTES];
    assert_int_equal(pread(fd, content, sizeof content, 0), FILE_BYTES);
    assert_memory_equal(content, zeros, sizeof zeros);
    close(fd);
}

static void a_length_that_is_no_multiple_of_a_block_is_filled_as_well(void **state)
{
    int fd = make_file(*state);
    assert_int_equal(posix_fallocate(fd, 0, FILE_BYTES + 100), 0);
    assert_written(fd, FILE_BYTES + 100);
    close(fd);
}

static void what_cannot_be_is_refused(void **state)
{
    int fd = make_file(*state);
    assert_int_equal(posix_fallocate(fd, -1, FILE_BYTES), EINVAL);
    assert_int_equal(posix_fallocate(fd, 0, 0), EINVAL);
    assert_int_equal(posix_fallocate(-1, 0, FILE_BYTES), EBADF);
    close(fd);
}

int main(void)
{
    segment_fill_link();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            an_allocated_file_has_been_written_with_zeros, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(
            a_length_that_is_no_multiple_of_a_block_is_filled_as_well, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_refused, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
