/* cpu_watch.c: see cpu_watch.h. */
#include "cpu_watch.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RING_BYTES (2 * XP_PAGE_SIZE)   /* the kernel's page and one of records: they are never read, only taken */

static int perf_open(int32_t tid)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .config = PERF_COUNT_SW_DUMMY,
        .disabled = 1, .exclude_kernel = 1, .exclude_hv = 1, .context_switch = 1, .watermark = 1, .wakeup_watermark = 1,
    };
    long fd = syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
    return fd < 0 ? -errno : (int)fd;
}

int xp_watch_begin(void)
{
    return perf_open(0);
}

static int add(struct xp_watches *w, int32_t tid, int epoll_fd, uint64_t number)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = number};
    if (w->nr == w->size) {
        uint32_t size = w->size == 0 ? 1 : 2 * w->size;
        struct xp_watch *more = size > XP_WATCHES_MAX ? NULL : realloc(w->watch, size * sizeof *more);
        if (more == NULL)
            return -ENOMEM;
        w->watch = more;
        w->size = size;
    }
    struct xp_watch watch = {.tid = tid, .fd = perf_open(tid)};
    if (watch.fd < 0)
        return watch.fd;
    watch.ring = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, watch.fd, 0);
    if (watch.ring == MAP_FAILED || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watch.fd, &event) != 0) {
        int error = errno;
        if (watch.ring != MAP_FAILED)
            munmap(watch.ring, RING_BYTES);
        close(watch.fd);
        return -error;
    }
    w->watch[w->nr++] = watch;
    return 0;
}

static void drop(struct xp_watches *w, uint32_t i)
{
    munmap(w->watch[i].ring, RING_BYTES);
    close(w->watch[i].fd);
    w->watch[i] = w->watch[--w->nr];
}

struct arming {
    struct xp_watches *w;
    uint64_t number;
    int epoll_fd, error;
};

static bool arm_thread(void *arg, int32_t tid)
{
    struct arming *a = arg;
    uint32_t i = 0;
    while (i < a->w->nr && a->w->watch[i].tid != tid)
        i++;
    int ret = i < a->w->nr ? 0 : add(a->w, tid, a->epoll_fd, a->number);
    if (ret == 0)
        (void)ioctl(a->w->watch[i].fd, PERF_EVENT_IOC_ENABLE, 0);
    else if (ret != -ESRCH)
        a->error = ret;
    return true;
}

int xp_watch_arm(struct xp_watches *w, const struct xp_classed *c, int epoll_fd, uint64_t number)
{
    struct arming a = {.w = w, .number = number, .epoll_fd = epoll_fd};
    w->armed = true;
    if (xp_class_nr_threads(c) == 1)
        (void)arm_thread(&a, c->pid);
    else
        xp_class_threads(c, arm_thread, &a);
    return a.error;
}

/* The kernel writes head, we tail; what lies between is nothing but "it was switched". */
static void take(const struct xp_watch *watch)
{
    struct perf_event_mmap_page *page = watch->ring;
    uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
    __atomic_store_n(&page->data_tail, head, __ATOMIC_RELEASE);
}

void xp_watch_take(const struct xp_watches *w)
{
    for (uint32_t i = 0; i < w->nr; i++)
        take(&w->watch[i]);
}

void xp_watch_disarm(struct xp_watches *w)
{
    if (!w->armed)
        return;
    w->armed = false;
    for (uint32_t i = w->nr; i-- > 0;) {
        struct pollfd look = {.fd = w->watch[i].fd};
        (void)ioctl(w->watch[i].fd, PERF_EVENT_IOC_DISABLE, 0);
        /* A thread that is gone hangs up; its number may come again. The first thread is there as long as the process. */
        if (w->nr > 1 && poll(&look, 1, 0) > 0 && (look.revents & POLLHUP) != 0)
            drop(w, i);
        else
            take(&w->watch[i]);
    }
}

void xp_watch_close(struct xp_watches *w)
{
    while (w->nr > 0)
        drop(w, w->nr - 1);
    free(w->watch);
    *w = (struct xp_watches){0};
}
