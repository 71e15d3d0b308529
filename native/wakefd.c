/* wakefd.c: see wakefd.h. */
#include "wakefd.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define COMPLETIONS 16

int xp_waker_fd(struct xp_waker *w)
{
    if (w->context == 0) {
        aio_context_t context = 0;
        if (syscall(SYS_io_setup, COMPLETIONS, &context) != 0)
            return errno == ENOSYS || errno == EPERM ? -EOPNOTSUPP : -errno;
        w->context = context;
    }
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd >= 0 ? fd : -EMFILE;
}

void xp_waker_signal(struct xp_waker *w, int fd)
{
    struct iocb nothing = {
        .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t)fd, .aio_flags = IOCB_FLAG_RESFD, .aio_resfd = (uint32_t)fd,
    };
    struct iocb *one = &nothing;
    struct io_event done[COMPLETIONS];
    struct timespec now = {0};
    /* It is complete when the call returns; the completions are only taken so that their ring does not fill up. */
    (void)syscall(SYS_io_submit, w->context, 1, &one);
    (void)syscall(SYS_io_getevents, w->context, 0, COMPLETIONS, done, &now);
}

void xp_waker_close(struct xp_waker *w)
{
    if (w->context != 0)
        (void)syscall(SYS_io_destroy, w->context);
    w->context = 0;
}
