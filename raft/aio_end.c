#include "raft/aio_end.h"

#include <pthread.h>
#include <signal.h>

static void *destroy(void *context)
{
    __real_UvOsIoDestroy((aio_context_t)context);
    return NULL;
}

/* It takes no signals: they are the loop's. */
static int start(aio_context_t context)
{
    sigset_t all, before;
    pthread_attr_t attr;
    pthread_t thread;
    sigfillset(&all);
    int rv = pthread_attr_init(&attr);
    if (rv != 0) {
        return rv;
    }
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rv = pthread_create(&thread, &attr, destroy, (void *)context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return rv;
}

int __wrap_UvOsIoDestroy(aio_context_t context)
{
    return start(context) == 0 ? 0 : __real_UvOsIoDestroy(context);
}
