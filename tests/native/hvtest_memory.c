/* hvtest_memory.c: the part of hvtest.h about memory_op and reservations. */
#include "hvtest.h"

#include "abi.h"
#include "pagelist.h"

#include <string.h>

/* The test's own state, one test at a time: how much longer than it is each look at the clock seems to have taken. */
static int64_t slow_ns, late_ns; /* slow_ns negative: no other time passes */

void hvtest_slow(int64_t ns)
{
    slow_ns = ns;
    late_ns = 0;
}

int64_t __real_xp_now_ns(void);
int64_t __wrap_xp_now_ns(void);
int64_t __wrap_xp_now_ns(void)
{
    late_ns += slow_ns;
    return slow_ns < 0 ? -late_ns : __real_xp_now_ns() + late_ns;
}

int64_t hvtest_memory_op(struct hvtest *t, xp_domid_t domid, uint32_t cmd, void *arg, uint64_t size)
{
    memcpy(hvtest_args(t, domid), arg, size);
    t->call = (struct xp_call){.nr = __HYPERVISOR_memory_op, .args = {cmd, hvtest_va_of_args(t, domid)}};
    int64_t ret = hvtest_continue(t, domid, UINT32_MAX);
    memcpy(arg, hvtest_args(t, domid), size);
    return ret;
}

int64_t hvtest_memory_steps(struct hvtest *t, xp_domid_t domid, uint32_t cmd, uint32_t max_steps)
{
    t->call = (struct xp_call){.nr = __HYPERVISOR_memory_op, .args = {cmd, hvtest_va_of_args(t, domid)}};
    return hvtest_continue(t, domid, max_steps);
}

int64_t hvtest_raw_memory_op(struct hvtest *t, xp_domid_t domid, uint64_t cmd, uint64_t va)
{
    t->call = (struct xp_call){.nr = __HYPERVISOR_memory_op, .args = {cmd, va}};
    return hvtest_continue(t, domid, UINT32_MAX);
}

int hvtest_hold(struct hvtest *t, uint64_t mfn) { return xp_frame_get(&t->hv.frames, xp_mfn(mfn)); }

void hvtest_let_go(struct hvtest *t, uint64_t mfn)
{
    (void)xp_frame_put(&t->hv.frames, xp_mfn(mfn));
    hvtest_scrub(t);
}

uint64_t hvtest_m2p(struct hvtest *t, uint64_t mfn) { return t->hv.frames.m2p[mfn]; }

uint64_t hvtest_reserved(struct hvtest *t, xp_domid_t domid) { return xp_pages_reserved(t->hv.domains[domid]); }

uint64_t hvtest_nr_pages(struct hvtest *t, xp_domid_t domid) { return t->hv.domains[domid]->nr_pages; }

void hvtest_set_max(struct hvtest *t, xp_domid_t domid, uint64_t max_pages) { t->hv.domains[domid]->max_pages = max_pages; }
