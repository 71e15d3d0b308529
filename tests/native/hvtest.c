/*
 * hvtest.c: see hvtest.h. Linked with --wrap for each call that can be made to fail.
 */
#include "hvtest.h"

#include "abi.h"
#include "evtchn_direct.h"
#include "guestmem.h"
#include "hypercall.h"
#include "maptrack.h"
#include "pagelist.h"
#include "park.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- failures: the test's own state, one test at a time ---- */

static int64_t fail_at = -1;
static const char *failed;

void hvtest_fail_at(int64_t n)
{
    fail_at = n;
    failed = NULL;
}

const char *hvtest_failed(void) { return failed; }

static bool fails(const char *what)
{
    if (fail_at < 0 || fail_at-- > 0)
        return false;
    failed = what;
    return true;
}

int __real_xp_copy_from_guest(struct xp_domain *d, void *dst, uint64_t va, uint64_t len);
int __wrap_xp_copy_from_guest(struct xp_domain *d, void *dst, uint64_t va, uint64_t len);
int __wrap_xp_copy_from_guest(struct xp_domain *d, void *dst, uint64_t va, uint64_t len)
{
    return fails("copy_from") ? -XEN_EFAULT : __real_xp_copy_from_guest(d, dst, va, len);
}

int __real_xp_copy_to_guest(struct xp_domain *d, uint64_t va, const void *src, uint64_t len);
int __wrap_xp_copy_to_guest(struct xp_domain *d, uint64_t va, const void *src, uint64_t len);
int __wrap_xp_copy_to_guest(struct xp_domain *d, uint64_t va, const void *src, uint64_t len)
{
    return fails("copy_to") ? -XEN_EFAULT : __real_xp_copy_to_guest(d, va, src, len);
}

int __real_xp_frames_alloc(struct xp_frames *f, xp_domid_t owner, uint64_t nr, uint8_t flags, xp_mfn_t *mfns);
int __wrap_xp_frames_alloc(struct xp_frames *f, xp_domid_t owner, uint64_t nr, uint8_t flags, xp_mfn_t *mfns);
int __wrap_xp_frames_alloc(struct xp_frames *f, xp_domid_t owner, uint64_t nr, uint8_t flags, xp_mfn_t *mfns)
{
    return fails("frames_alloc") ? -XEN_ENOMEM : __real_xp_frames_alloc(f, owner, nr, flags, mfns);
}

int __real_xp_frames_alloc_run(struct xp_frames *f, xp_domid_t owner, uint64_t nr, uint8_t flags, xp_mfn_t *first);
int __wrap_xp_frames_alloc_run(struct xp_frames *f, xp_domid_t owner, uint64_t nr, uint8_t flags, xp_mfn_t *first);
int __wrap_xp_frames_alloc_run(struct xp_frames *f, xp_domid_t owner, uint64_t nr, uint8_t flags, xp_mfn_t *first)
{
    return fails("frames_alloc_run") ? -XEN_ENOMEM : __real_xp_frames_alloc_run(f, owner, nr, flags, first);
}

int __real_xp_frames_alloc_extent(struct xp_frames *f, xp_domid_t owner, uint32_t order, uint64_t limit, xp_mfn_t *first);
int __wrap_xp_frames_alloc_extent(struct xp_frames *f, xp_domid_t owner, uint32_t order, uint64_t limit, xp_mfn_t *first);
int __wrap_xp_frames_alloc_extent(struct xp_frames *f, xp_domid_t owner, uint32_t order, uint64_t limit, xp_mfn_t *first)
{
    return fails("frames_alloc_extent") ? -XEN_ENOMEM : __real_xp_frames_alloc_extent(f, owner, order, limit, first);
}

int __real_xp_frame_get(struct xp_frames *f, xp_mfn_t mfn);
int __wrap_xp_frame_get(struct xp_frames *f, xp_mfn_t mfn);
int __wrap_xp_frame_get(struct xp_frames *f, xp_mfn_t mfn)
{
    return fails("frame_get") ? -XEN_EINVAL : __real_xp_frame_get(f, mfn);
}

void *__real_calloc(size_t nr, size_t size);
void *__wrap_calloc(size_t nr, size_t size);
void *__wrap_calloc(size_t nr, size_t size) { return fails("calloc") ? NULL : __real_calloc(nr, size); }

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size) { return fails("realloc") ? NULL : __real_realloc(old, size); }

int __real_eventfd(unsigned int count, int flags);
int __wrap_eventfd(unsigned int count, int flags);
int __wrap_eventfd(unsigned int count, int flags) { return fails("eventfd") ? -1 : __real_eventfd(count, flags); }

/* ---- what hv.c, domain.c, park.c and window.c are otherwise ---- */

static struct hvtest *of(const struct xp_domain *d) { return (struct hvtest *)(void *)d->hv; }

_Static_assert(offsetof(struct hvtest, hv) == 0, "a struct hvtest is found from its hv");

struct xp_domain *xp_hv_domain(struct xp_hv *hv, xp_domid_t domid)
{
    struct xp_domain *d = domid < XP_MAX_DOMAINS ? hv->domains[domid] : NULL;
    return d == NULL || d->state == XP_DS_DYING ? NULL : d;
}

struct xp_domain *xp_domain_by_arg(struct xp_domain *caller, xp_domid_t domid)
{
    return xp_hv_domain(caller->hv, domid == DOMID_SELF ? caller->domid : domid);
}

void xp_domain_kick(struct xp_domain *d) { of(d)->kicks[d->domid]++; }
void xp_park_events(struct xp_domain *d) { of(d)->polls[d->domid]++; }
void xp_hv_news_of(struct xp_domain *d) { of(d)->news++; }

void xp_bug(const char *what, const char *file, int line)
{
    (void)fprintf(stderr, "hypervisor bug: %s at %s:%d\n", what, file, line);
    abort();
}

/* ---- windows ---- */

static struct xp_domain *owner_of(const struct xp_window *w)
{
    return (struct xp_domain *)(void *)((uint8_t *)(uintptr_t)w - offsetof(struct xp_domain, window));
}

static uint8_t *shown_at(const struct xp_window *w, xp_mfn_t mfn)
{
    const struct xp_domain *d = owner_of(w);
    return &of(d)->shown[d->domid][mfn.v];
}

bool xp_window_dead(const struct xp_window *w) { return of(owner_of(w))->dead[owner_of(w)->domid]; }

int xp_window_give(const struct xp_window *w, xp_mfn_t first, uint64_t nr, bool readonly)
{
    if (xp_window_dead(w))
        return -XEN_ESRCH;
    for (uint64_t i = first.v; i < first.v + nr; i++) {
        if (fails("window_give"))
            return -XEN_ENOMEM;
        if (*shown_at(w, xp_mfn(i)) == HVTEST_ABSENT)
            *shown_at(w, xp_mfn(i)) = readonly ? HVTEST_RO : HVTEST_RW;
    }
    return 0;
}

int xp_window_protect(const struct xp_window *w, xp_mfn_t mfn, bool readonly)
{
    if (xp_window_dead(w))
        return -XEN_ESRCH;
    if (fails("window_protect"))
        return -XEN_ENOMEM;
    hvtest_protecting(of(owner_of(w)), mfn, readonly);
    if (*shown_at(w, mfn) != HVTEST_ABSENT)
        *shown_at(w, mfn) = readonly ? HVTEST_RO : HVTEST_RW;
    return 0;
}

int xp_window_gone(const struct xp_window *w, xp_mfn_t mfn)
{
    return xp_window_dead(w) || *shown_at(w, mfn) == HVTEST_ABSENT ? 0 : -XEN_EBUSY;
}

/* ---- the machine ---- */

struct hvtest *hvtest_create(uint64_t nr_frames)
{
    struct hvtest *t = __real_calloc(1, sizeof *t);
    void *table = __real_calloc(1, xp_frames_bytes(nr_frames));
    void *base = mmap(NULL, nr_frames << XP_PAGE_SHIFT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (t == NULL || table == NULL || base == MAP_FAILED)
        abort();
    xp_frames_init(&t->hv.frames, nr_frames, table, base);
    t->hv.frames.m2p = __real_calloc(nr_frames, sizeof *t->hv.frames.m2p);
    if (t->hv.frames.m2p == NULL)
        abort();
    memset(t->hv.frames.m2p, 0xff, nr_frames * sizeof *t->hv.frames.m2p);
    fail_at = -1;
    return t;
}

void hvtest_destroy(struct hvtest *t)
{
    hvtest_fail_at(-1);
    for (uint32_t i = 0; i < XP_MAX_DOMAINS; i++)
        if (t->hv.domains[i] != NULL)
            hvtest_domain_kill(t, (xp_domid_t)i);
    while (t->hv.nr_domains > 0)
        for (uint32_t i = 0; i < XP_MAX_DOMAINS; i++)
            if (t->hv.domains[i] != NULL)
                (void)hvtest_domain_teardown(t, (xp_domid_t)i);
    munmap(t->hv.frames.base, t->hv.frames.nr << XP_PAGE_SHIFT);
    xp_waker_close(&t->hv.waker);
    if (t->hv.nr_m2p_frames == 0)
        free(t->hv.frames.m2p);
    free(t->hv.frames.table);
    free(t->hv.linear);
    free(t->hv.directories);
    free(t->hv.shadow_hints);
    free(t->hv.table_copies);
    free(t);
}

void hvtest_scrub(struct hvtest *t)
{
    xp_mfn_t mfns[64];
    for (uint32_t nr; (nr = xp_frames_take_dirty(&t->hv.frames, mfns, 64)) > 0; xp_frames_give_clean(&t->hv.frames, mfns, nr))
        for (uint32_t i = 0; i < nr; i++)
            memset(xp_frame_ptr(&t->hv.frames, mfns[i]), 0, XP_PAGE_SIZE);
}

/* ---- domains ---- */

int64_t hvtest_domain_create(struct hvtest *t, xp_domid_t domid, uint64_t nr_pages, struct xp_limits limits)
{
    xp_mfn_t first, shared;
    struct xp_frames *f = &t->hv.frames;
    if (domid >= XP_MAX_DOMAINS || t->hv.domains[domid] != NULL)
        return -XEN_EEXIST;
    if (__real_xp_frames_alloc_run(f, domid, nr_pages, 0, &first) != 0)
        return -XEN_ENOMEM;
    if (__real_xp_frames_alloc_run(f, domid, 1, XP_FF_HV, &shared) != 0) {
        for (uint64_t i = 0; i < nr_pages; i++)
            (void)xp_frame_release(f, xp_mfn(first.v + i), domid);
        hvtest_scrub(t);
        return -XEN_ENOMEM;
    }
    struct xp_domain *d = __real_calloc(1, sizeof *d);
    t->shown[domid] = __real_calloc(f->nr, 1);
    if (d == NULL || t->shown[domid] == NULL)
        abort();
    d->hv = &t->hv;
    d->domid = domid;
    d->state = XP_DS_RUNNING;
    d->limits = limits;
    d->max_pages = nr_pages;
    d->page_list = XP_FRAME_END;
    d->shared_info_mfn = shared;
    d->shared_info = xp_frame_ptr(f, shared);
    memset(((struct xen_shared_info *)d->shared_info)->evtchn_mask, 0xff, XP_MAX_EVTCHNS / 8); /* as start.c */
    d->mm.mode = xp_paging_mode(t->paging);
    d->window = (struct xp_window){.uffd = t->enforced ? INT32_MAX : -1, .base = HVTEST_BASE, .nr = f->nr};
    memset(t->shown[domid] + first.v, HVTEST_RW, nr_pages);
    for (uint64_t i = nr_pages; i-- > 0;) {
        xp_page_link(d, xp_mfn(first.v + i));
        f->m2p[first.v + i] = i;
    }
    t->hv.domains[domid] = d;
    t->hv.nr_domains++;
    t->first_mfn[domid] = first.v;
    t->kicks[domid] = t->polls[domid] = 0;
    t->dead[domid] = false;
    return (int64_t)first.v;
}

void hvtest_domain_kill(struct hvtest *t, xp_domid_t domid)
{
    t->hv.domains[domid]->state = XP_DS_DYING;
    t->hv.domains[domid]->parked_mask = 0;
    t->dead[domid] = true;
}

/* As domain.c: ports, grants, then its own frames; the number is kept while zombies are. */
int hvtest_domain_teardown(struct hvtest *t, xp_domid_t domid)
{
    struct xp_domain *d = t->hv.domains[domid];
    struct xp_frames *f = &t->hv.frames;
    if (xp_evtchn_destroy(d) != 0 || xp_grant_destroy(d) != 0)
        return 1;
    int more = xp_mm_teardown(d);
    if (more != 0)
        return more;
    while (d->page_list != XP_FRAME_END) {
        xp_mfn_t mfn = xp_mfn(d->page_list);
        xp_page_unlink(d, mfn);
        (void)xp_frame_release(f, mfn, domid);
    }
    if (d->shared_info != NULL)
        (void)xp_frame_release(f, d->shared_info_mfn, domid);
    d->shared_info = NULL;
    hvtest_scrub(t);
    for (uint64_t i = 0; i < f->nr; i++)
        if (f->table[i].owner == domid)
            return 2;
    free(t->shown[domid]);
    t->shown[domid] = NULL;
    t->hv.domains[domid] = NULL;
    t->hv.nr_domains--;
    free(d);
    return 0;
}

void hvtest_domain_pause(struct hvtest *t, xp_domid_t domid, bool paused) { t->hv.domains[domid]->paused = paused; }

void hvtest_domain_polls(struct hvtest *t, xp_domid_t domid, bool polls) { t->hv.domains[domid]->parked_mask = polls; }

/* ---- calls ---- */

static int64_t perform(struct xp_domain *d, struct xp_call *call)
{
    switch (call->nr) {
    case __HYPERVISOR_event_channel_op: return xp_do_event_channel_op(d, call);
    case __HYPERVISOR_grant_table_op: return xp_do_grant_table_op(d, call);
    case __HYPERVISOR_memory_op: return xp_do_memory_op(d, call);
    default: return hvtest_tables_call(d, call);
    }
}

int64_t hvtest_continue(struct hvtest *t, xp_domid_t domid, uint32_t max_steps)
{
    int64_t ret = XP_CALL_AGAIN;
    /* A domain whose unhooked table does not validate is never done with the call that found it out. */
    const struct xp_domain *d = t->hv.domains[domid];
    while (ret == XP_CALL_AGAIN && max_steps-- > 0 && strncmp(d->crash_reason, "writable page table", 19) != 0)
        ret = perform(t->hv.domains[domid], &t->call);
    hvtest_scrub(t);
    return ret;
}

void *hvtest_args(struct hvtest *t, xp_domid_t domid) { return xp_frame_ptr(&t->hv.frames, xp_mfn(t->first_mfn[domid])); }

uint64_t hvtest_va_of_args(struct hvtest *t, xp_domid_t domid) { return HVTEST_BASE + (t->first_mfn[domid] << XP_PAGE_SHIFT); }

int64_t hvtest_evtchn_op(struct hvtest *t, xp_domid_t domid, uint32_t cmd, void *arg, uint64_t size, uint32_t max_steps)
{
    memcpy(hvtest_args(t, domid), arg, size);
    t->call = (struct xp_call){.nr = __HYPERVISOR_event_channel_op, .args = {cmd, hvtest_va_of_args(t, domid)}};
    int64_t ret = hvtest_continue(t, domid, max_steps);
    memcpy(arg, hvtest_args(t, domid), size);
    return ret;
}

int64_t hvtest_grant_op(struct hvtest *t, xp_domid_t domid, uint32_t cmd, void *args, uint64_t size, uint32_t count)
{
    return hvtest_grant_steps(t, domid, cmd, args, size, count, UINT32_MAX);
}

int64_t hvtest_grant_steps(struct hvtest *t, xp_domid_t domid, uint32_t cmd, void *args, uint64_t size, uint32_t count,
                           uint32_t max_steps)
{
    uint64_t bytes = size * count < XP_PAGE_SIZE ? size * count : XP_PAGE_SIZE;
    memcpy(hvtest_args(t, domid), args, bytes);
    t->call = (struct xp_call){.nr = __HYPERVISOR_grant_table_op, .args = {cmd, hvtest_va_of_args(t, domid), count}};
    int64_t ret = hvtest_continue(t, domid, max_steps);
    memcpy(args, hvtest_args(t, domid), bytes);
    return ret;
}

int64_t hvtest_raw(struct hvtest *t, xp_domid_t domid, bool grant, const uint64_t *args)
{
    t->call = (struct xp_call){.nr = grant ? __HYPERVISOR_grant_table_op : __HYPERVISOR_event_channel_op,
                               .args = {args[0], args[1], args[2]}};
    return hvtest_continue(t, domid, UINT32_MAX);
}

int hvtest_make_direct(struct hvtest *t, xp_domid_t domid, xp_port_t port, struct xp_op_direct *out)
{
    int ret = xp_evtchn_make_direct(t->hv.domains[domid], port, out);
    hvtest_scrub(t);
    return ret;
}

int hvtest_direct_fd(struct hvtest *t, xp_domid_t domid, xp_port_t port, int which)
{
    return xp_evtchn_direct_fd(t->hv.domains[domid], port, which);
}

void hvtest_raise_virq(struct hvtest *t, xp_domid_t domid, uint32_t virq) { xp_evtchn_raise_virq(t->hv.domains[domid], virq); }

void hvtest_drop(struct hvtest *t, xp_domid_t domid, uint64_t mfn) { t->shown[domid][mfn] = HVTEST_ABSENT; }

/* ---- looking ---- */

void *hvtest_frame(struct hvtest *t, uint64_t mfn) { return xp_frame_ptr(&t->hv.frames, xp_mfn(mfn)); }

struct xp_frame hvtest_frame_record(struct hvtest *t, uint64_t mfn) { return t->hv.frames.table[mfn]; }

void *hvtest_shared_info(struct hvtest *t, xp_domid_t domid) { return t->hv.domains[domid]->shared_info; }

int hvtest_shown(struct hvtest *t, xp_domid_t domid, uint64_t mfn) { return t->shown[domid][mfn]; }

struct xp_domain *hvtest_domain(struct hvtest *t, xp_domid_t domid) { return t->hv.domains[domid]; }

uint32_t hvtest_ports(struct hvtest *t, xp_domid_t domid, struct xp_port_info *infos, uint32_t max)
{
    uint32_t port = 0;
    while (port < max && xp_evtchn_info(t->hv.domains[domid], port, &infos[port]) == 0)
        port++;
    return port;
}

uint32_t hvtest_grant_frames(struct hvtest *t, xp_domid_t domid, uint64_t *mfns, uint32_t max)
{
    const struct xp_domain *d = t->hv.domains[domid];
    for (uint32_t i = 0; i < d->nr_grant_frames && i < max; i++)
        mfns[i] = d->grant_frames[i].v;
    return d->nr_grant_frames;
}

struct hvtest_counts hvtest_counts(struct hvtest *t, xp_domid_t domid)
{
    const struct xp_domain *d = t->hv.domains[domid];
    const struct xen_vcpu_info *vcpu = &((const struct xen_shared_info *)d->shared_info)->vcpu_info[0];
    return (struct hvtest_counts){
        .nr_evtchns = d->nr_evtchns, .nr_direct = d->nr_direct, .nr_direct_held = d->nr_direct_held,
        .nr_grant_frames = d->nr_grant_frames, .nr_maptrack = d->nr_maptrack, .kicks = t->kicks[domid],
        .polls = t->polls[domid], .pending_sel = vcpu->evtchn_pending_sel, .upcall_pending = vcpu->evtchn_upcall_pending};
}

uint64_t hvtest_audit(struct hvtest *t)
{
    uint64_t broken = xp_frames_audit(&t->hv.frames);
    for (uint32_t i = 0; i < XP_MAX_DOMAINS; i++)
        if (t->hv.domains[i] != NULL && t->hv.domains[i]->shared_info != NULL)
            broken += xp_evtchn_audit(t->hv.domains[i]) + xp_grant_audit(t->hv.domains[i]) +
                      xp_pages_audit(t->hv.domains[i]);
    return broken;
}

static uint64_t mix(uint64_t h, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

/* Ports, with shared_info; of a table not made yet as of an empty one. */
static uint64_t digest_ports(struct hvtest *t, xp_domid_t domid, uint64_t h)
{
    struct xp_domain *d = t->hv.domains[domid];
    for (xp_port_t port = 0; port < XP_MAX_EVTCHNS; port++) {
        const struct xp_evtchn *chn = xp_evtchn_of(d, port);
        if (chn == NULL && port >= XP_EVTCHN_BUCKET)
            break;
        uint8_t state = chn == NULL ? (port == 0 ? XP_PORT_RESERVED : XP_PORT_FREE) : chn->state;
        h = mix(h, &state, 1);
        if (state > XP_PORT_RESERVED) {
            h = mix(h, &chn->remote_dom, sizeof chn->remote_dom);
            h = mix(h, &chn->remote_port, sizeof chn->remote_port);
            h = mix(h, &chn->side, sizeof chn->side);
            h = mix(h, &chn->direct, sizeof chn->direct);
            if (chn->direct != NULL)
                h = mix(h, chn->direct, sizeof *chn->direct);
        }
    }
    h = mix(h, &d->nr_evtchns, sizeof d->nr_evtchns);
    h = mix(h, d->virq_to_port, sizeof d->virq_to_port);
    h = mix(h, &d->nr_direct, sizeof d->nr_direct);
    return mix(h, &d->nr_direct_held, sizeof d->nr_direct_held);
}

static uint64_t digest_grants(struct hvtest *t, xp_domid_t domid, uint64_t h)
{
    struct xp_domain *d = t->hv.domains[domid];
    struct xp_grant_use use = {0};
    uint32_t handle = 0;
    h = mix(h, &d->nr_grant_frames, sizeof d->nr_grant_frames);
    for (uint32_t i = 0; i < d->nr_grant_frames; i++)
        h = mix(h, &d->grant_frames[i], sizeof d->grant_frames[i]);
    for (xp_gref_t ref = 0; ref < d->nr_grant_frames * XP_GRANTS_PER_FRAME; ref++) {
        struct xp_grant_pins pins = xp_grant_pins_of(d, ref);
        if (pins.readers + pins.writers > 0)
            h = mix(mix(h, &pins, sizeof pins - 2), &ref, sizeof ref);
    }
    while (xp_grant_next(d, &handle, &use))
        h = mix(mix(mix(mix(h, &use.handle, 4), &use.ref, 4), &use.flags, 4), &use.granter, 2);
    return mix(h, &d->nr_maptrack, sizeof d->nr_maptrack);
}

uint64_t hvtest_digest(struct hvtest *t)
{
    const struct xp_frames *f = &t->hv.frames;
    uint64_t h = 0xcbf29ce484222325u;
    for (uint64_t i = 1; i < f->nr; i++) {
        const struct xp_frame *frame = &f->table[i];
        if (frame->ref_count == 0)
            continue;
        uint8_t flags = frame->flags & (uint8_t)~XP_FF_ABSENT;     /* what was found out may stay known */
        h = mix(mix(mix(mix(h, &i, sizeof i), &frame->ref_count, 8), &frame->owner, 2), &frame->type, 1);
        h = mix(mix(h, &flags, 1), &f->m2p[i], sizeof f->m2p[i]);
        if (frame->type == XP_FT_L1)
            h = mix(h, f->base + (i << XP_PAGE_SHIFT), XP_PAGE_SIZE);
    }
    for (uint32_t i = 0; i < XP_MAX_DOMAINS; i++) {
        if (t->hv.domains[i] == NULL || t->hv.domains[i]->shared_info == NULL)
            continue;
        h = mix(mix(mix(h, &i, sizeof i), &t->kicks[i], 8), &t->polls[i], 8);
        h = digest_grants(t, (xp_domid_t)i, digest_ports(t, (xp_domid_t)i, h));
        h = mix(h, t->shown[i], f->nr);
        h = mix(h, &t->hv.domains[i]->nr_pages, sizeof(uint64_t));
        h = mix(h, t->hv.domains[i]->shared_info, sizeof(struct xen_shared_info));
        for (uint32_t k = 0; k < t->hv.domains[i]->nr_grant_frames; k++)
            h = mix(h, xp_frame_ptr((struct xp_frames *)(uintptr_t)f, t->hv.domains[i]->grant_frames[k]), XP_PAGE_SIZE);
    }
    return h;
}
