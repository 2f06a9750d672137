/* CHECK(condition): our own invariant. Stays on in release builds; a failure aborts the process,
 * because going on after a broken invariant could lose an acknowledged write. Never use it on input. */
#ifndef WB_PROTO_BASE_CHECK_H
#define WB_PROTO_BASE_CHECK_H

_Noreturn void check_failed(const char *what, const char *file, int line);

#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

#endif
