/* The clocks of a shell. Cores never call these: time comes to them as an argument. */
#ifndef WB_PROTO_BASE_CLOCK_H
#define WB_PROTO_BASE_CLOCK_H

#include <stdint.h>

/* CLOCK_BOOTTIME: monotonic, and it goes on while the machine sleeps, as a lease needs it. */
uint64_t clock_boot_ns(void);
uint64_t clock_boot_ms(void);
/* CLOCK_REALTIME in milliseconds since 1970, for stamps and people. */
uint64_t clock_wall_ms(void);
/* Bytes from the kernel's generator. Aborts when there are none. */
void random_bytes(void *out, unsigned len);

#endif
