/* benchmm.c: see benchmm.h. */
#include "benchmm.h"

#include "domain.h"
#include "hypercall.h"
#include "tick.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static struct xp_domain *domain_of(struct xp_hv *hv, xp_domid_t domid)
{
    return domid < XP_MAX_DOMAINS ? hv->domains[domid] : NULL;
}

int xp_bench_mm_attach(struct xp_hv *hv, xp_domid_t domid, int memory_fd, bool enforced, uint64_t *base)
{
    struct xp_domain *d = domain_of(hv, domid);
    if (d == NULL || d->window.base != 0)
        return -XEN_EINVAL;
    int ret = enforced ? xp_window_open(memory_fd, hv->frames.nr, 0, base) : xp_window_map(memory_fd, hv->frames.nr, 0, base);
    if (ret < 0)
        return ret;
    d->window = (struct xp_window){.uffd = enforced ? ret : -1, .base = *base, .nr = hv->frames.nr, .pagemap_fd = -1};
    return 0;
}

void xp_bench_mm_detach(struct xp_hv *hv, xp_domid_t domid)
{
    struct xp_domain *d = domain_of(hv, domid);
    if (d == NULL || d->window.base == 0)
        return;
    munmap((void *)(uintptr_t)d->window.base, d->window.nr << XP_PAGE_SHIFT);
    if (d->window.uffd >= 0)
        close(d->window.uffd);
    d->window = (struct xp_window){.uffd = -1, .pagemap_fd = -1};
}

uint64_t xp_bench_mm_frames(struct xp_hv *hv, xp_domid_t domid, uint64_t *mfns, uint64_t max)
{
    const struct xp_domain *d = domain_of(hv, domid);
    uint64_t nr = 0;
    for (uint32_t at = d == NULL ? XP_FRAME_END : d->page_list; at != XP_FRAME_END && nr < max; at = hv->frames.table[at].next)
        mfns[nr++] = at;
    return nr;
}

int64_t xp_bench_mm_call(struct xp_hv *hv, xp_domid_t domid, uint32_t nr, const uint64_t args[6], uint64_t took[2])
{
    struct xp_domain *d = domain_of(hv, domid);
    struct xp_call call = {.nr = nr, .args = {args[0], args[1], args[2], args[3], args[4], args[5]}};
    int64_t ret;
    took[0] = took[1] = 0;
    if (d == NULL)
        return -XEN_ESRCH;
    do {
        uint64_t begin = xp_tick_begin();
        ret = xp_hypercall(d, &call);
        uint64_t step = xp_tick_end() - begin;
        took[0] += step;
        took[1] = step > took[1] ? step : took[1];
    } while (ret == XP_CALL_AGAIN);
    return ret;
}

uint64_t xp_bench_mm_touch(struct xp_hv *hv, const uint64_t *mfns, uint64_t nr)
{
    struct xp_frame *table = hv->frames.table;
    uint64_t begin = xp_tick_begin();
    for (uint64_t i = 0; i < nr; i++)
        table[mfns[i]].ref_count++;
    /* Otherwise the compiler may see that the two loops cancel out. */
    __asm__ volatile("" ::: "memory");
    uint64_t ticks = xp_tick_end() - begin;
    for (uint64_t i = 0; i < nr; i++)
        table[mfns[i]].ref_count--;
    return ticks;
}

int xp_bench_mm_give(struct xp_hv *hv, xp_domid_t domid, uint64_t first, uint64_t nr, uint64_t run, uint64_t *ticks)
{
    const struct xp_domain *d = domain_of(hv, domid);
    if (d == NULL || run == 0 || nr % run != 0 || first >= hv->frames.nr || nr > hv->frames.nr - first)
        return -XEN_EINVAL;
    void *at = (void *)(uintptr_t)(d->window.base + (first << XP_PAGE_SHIFT));
    if (madvise(at, nr << XP_PAGE_SHIFT, MADV_DONTNEED) != 0)
        return -errno;
    int ret = 0;
    for (uint64_t i = 0; i < nr && ret == 0; i += run) {
        uint64_t begin = xp_tick_begin();
        ret = xp_window_give(&d->window, xp_mfn(first + i), run, false);
        ticks[i / run] = xp_tick_end() - begin;
    }
    return ret;
}

int xp_bench_mm_protect(struct xp_hv *hv, xp_domid_t domid, uint64_t first, uint64_t nr, uint64_t *ticks)
{
    const struct xp_domain *d = domain_of(hv, domid);
    if (d == NULL || first >= hv->frames.nr || nr > hv->frames.nr - first)
        return -XEN_EINVAL;
    int ret = 0;
    for (uint64_t i = 0; i < nr && ret == 0; i++) {
        uint64_t begin = xp_tick_begin();
        ret = xp_window_protect(&d->window, xp_mfn(first + i), true);
        ticks[i] = xp_tick_end() - begin;
        if (ret == 0)
            ret = xp_window_protect(&d->window, xp_mfn(first + i), false);
    }
    return ret;
}
