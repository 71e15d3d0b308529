/*
 * hvtest_tables.c: see hvtest.h: the part that machines for tests of page tables have.
 */
#include "hvtest.h"

#include "abi.h"
#include "hypercall.h"
#include "m2p.h"
#include "template.h"

#include <stdlib.h>
#include <string.h>

void hvtest_tables(struct hvtest *t, bool enforced, uint32_t step)
{
    free(t->hv.frames.m2p);
    if (xp_m2p_make(&t->hv) != 0 || xp_template_make(&t->hv) != 0)
        abort();
    t->enforced = enforced;
    t->hv.mm_step = step;
}

void hvtest_paging(struct hvtest *t, uint32_t mode) { t->paging = mode; }

void hvtest_inject(struct hvtest *t, uint32_t n) { t->hv.mm_inject = n; }

uint64_t hvtest_mm_audit(struct hvtest *t) { return xp_mm_audit(&t->hv); }

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
    default: return -XEN_ENOSYS;
    }
}

int64_t hvtest_mm(struct hvtest *t, xp_domid_t domid, uint32_t nr, const uint64_t *args, uint32_t max_steps)
{
    t->call = (struct xp_call){.nr = nr};
    memcpy(t->call.args, args, sizeof t->call.args);
    return hvtest_continue(t, domid, max_steps);
}
