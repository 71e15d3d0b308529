/*
 * hvtest_tables.c: see hvtest.h: the part that machines for tests of page tables have.
 */
#include "hvtest.h"

#include "abi.h"
#include "hypercall.h"
#include "m2p.h"
#include "mm_audit.h"
#include "template.h"
#include "writable_pt.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int hvtest_tables(struct hvtest *t, bool enforced, uint32_t step)
{
    free(t->hv.frames.m2p);
    t->hv.frames.m2p = NULL;
    int ret = xp_m2p_make(&t->hv);
    if (ret == 0)
        ret = xp_template_make(&t->hv);
    t->enforced = enforced;
    t->hv.mm_step = step;
    return ret;
}

/* As in hv.c, but no process is killed. */
void xp_domain_crash(struct xp_domain *d, const char *fmt, ...)
{
    va_list args;
    if (d->crashed)
        return;
    d->crashed = true;
    va_start(args, fmt);
    (void)vsnprintf(d->crash_reason, sizeof d->crash_reason, fmt, args);
    va_end(args);
}

void hvtest_paging(struct hvtest *t, uint32_t mode) { t->paging = mode; }

void hvtest_frame_type(struct hvtest *t, uint64_t mfn, uint8_t type, uint32_t count)
{
    t->hv.frames.table[mfn].type = type;
    t->hv.frames.table[mfn].type_count = count;
}

void hvtest_inject(struct hvtest *t, uint32_t n) { t->hv.mm_inject = n; }

uint64_t hvtest_mm_audit(struct hvtest *t) { return xp_mm_audit(&t->hv); }

int hvtest_shadow(struct hvtest *t, xp_domid_t domid, uint32_t nr)
{
    int ret = xp_shadow_enable(t->hv.domains[domid], nr);
    return ret != 0 ? ret : xp_shadow_give(t->hv.domains[domid]);
}

uint64_t hvtest_shadow_top(struct hvtest *t, xp_domid_t domid)
{
    const struct xp_shadow *s = t->hv.domains[domid]->shadow;
    return s->base == XP_SHADOW_NONE ? 0 : xp_shadow_mfn(s, s->base);
}

void hvtest_race(struct hvtest *t, uint64_t maddr, uint64_t value)
{
    t->race = (struct hvtest_race){.maddr = maddr, .value = value};
}

void hvtest_protecting(struct hvtest *t, xp_mfn_t mfn, bool readonly)
{
    struct hvtest_race *r = &t->race;
    t->protections++;
    if (r->maddr >> XP_PAGE_SHIFT != mfn.v)
        return;
    bool *first = readonly ? &r->protected : &r->lifted;
    if (!*first)
        *(readonly ? &r->at_protect : &r->at_lift) = t->hv.frames.table[mfn.v];
    *first = true;
    if (readonly)
        *(uint64_t *)(void *)(t->hv.frames.base + r->maddr) = r->value;
}

void hvtest_calls(struct hvtest *t, xp_domid_t domid, uint64_t mfn)
{
    t->hv.domains[domid]->calls = hvtest_frame(t, mfn);
}

uint32_t hvtest_generation(struct hvtest *t, xp_domid_t domid)
{
    return atomic_load_explicit(&t->hv.domains[domid]->calls->tlb_generation, memory_order_relaxed);
}

uint32_t hvtest_unhooked(struct hvtest *t, xp_domid_t domid)
{
    return atomic_load_explicit(&t->hv.domains[domid]->calls->pt_unhooked, memory_order_relaxed);
}

int hvtest_set_ad(struct hvtest *t, xp_domid_t domid, uint64_t va, uint64_t nr)
{
    return xp_mm_set_ad(t->hv.domains[domid], va, nr);
}

void hvtest_snapshot(struct hvtest *t, uint32_t *words)
{
    for (uint64_t i = 0; i < t->hv.frames.nr; i++, words += 3) {
        const struct xp_frame *frame = &t->hv.frames.table[i];
        bool used = frame->owner < XP_OWNERS && frame->ref_count > 0;
        words[0] = used ? frame->type_count : 0;
        words[1] = used ? frame->ref_count : 0;
        words[2] = used ? (uint32_t)frame->owner << 16 | (uint32_t)frame->type << 8 | frame->flags : 0;
    }
}

const uint8_t *hvtest_window(struct hvtest *t, xp_domid_t domid) { return t->shown[domid]; }

struct xp_frame *hvtest_record(struct hvtest *t, uint64_t mfn) { return &t->hv.frames.table[mfn]; }

bool hvtest_mode(uint32_t mode, uint64_t *words)
{
    const struct xp_paging_mode *m = xp_paging_mode(mode);
    if (m == NULL)
        return false;
    const uint64_t found[8] = {m->hole_start, m->hole_end, m->m2p_start, m->frame_mask, m->level[1].forbidden, m->level[2].forbidden,
                               m->level[3].forbidden, m->level[4].forbidden};
    memcpy(words, found, sizeof found);
    return true;
}

uint64_t hvtest_hole(struct hvtest *t, uint32_t mode, uint32_t slot)
{
    return xp_template_entry(&t->hv, xp_paging_mode(mode), slot);
}

int64_t hvtest_tables_call(struct xp_domain *d, struct xp_call *call)
{
    switch (call->nr) {
    case __HYPERVISOR_mmu_update: return xp_do_mmu_update(d, call);
    case __HYPERVISOR_mmuext_op: return xp_do_mmuext_op(d, call);
    case __HYPERVISOR_update_va_mapping: return xp_do_update_va_mapping(d, call);
    case __HYPERVISOR_update_va_mapping_otherdomain: return xp_do_update_va_mapping_otherdomain(d, call);
    case __HYPERVISOR_set_gdt: return xp_do_set_gdt(d, call);
    case __HYPERVISOR_update_descriptor: return xp_do_update_descriptor(d, call);
    case __HYPERVISOR_vm_assist: return xp_do_vm_assist(d, call);
    case XP_HYPERVISOR_xenproc_op: return call->args[0] == XP_OP_pt_write ? xp_wpt_write(d, call) : xp_wpt_fault(d, call);
    default: return -XEN_ENOSYS;
    }
}

int64_t hvtest_mm(struct hvtest *t, xp_domid_t domid, uint32_t nr, const uint64_t *args, uint32_t max_steps)
{
    t->call = (struct xp_call){.nr = nr};
    memcpy(t->call.args, args, sizeof t->call.args);
    return hvtest_continue(t, domid, max_steps);
}
