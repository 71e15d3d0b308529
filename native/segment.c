/*
 * segment.c: descriptor pages: set_gdt and update_descriptor, and the check that no descriptor gives what Xen would not.
 *
 * A page of type SEG holds descriptors that were all checked; the same rules as for tables keep it so (mm.h). As in Xen a
 * descriptor that asks for more privilege than a guest has is mended where that is harmless (its privilege level, and in
 * the 32-bit modes a limit that would reach into the hole) and refused where not. Source: Intel SDM vol. 3, 3.4.5 and 5.8.3.
 */
#include "abi.h"
#include "guestmem.h"
#include "hypercall.h"
#include "writable_pt.h"

#define GDT_ENTRIES_MAX 7168u    /* FIRST_RESERVED_GDT_ENTRY: the rest of the GDT is the hypervisor's */
#define PER_FRAME 512u

#define SEG_TYPE 0x00000f00u
#define SEG_CALL_GATE 0x00000c00u
#define SEG_DOWN 0x00000400u     /* data: grows down */
#define SEG_CODE 0x00000800u
#define SEG_S 0x00001000u        /* code or data, not a system descriptor */
#define SEG_DPL 0x00006000u
#define SEG_PRESENT 0x00008000u
#define SEG_LIMIT 0x000f0000u
#define SEG_G 0x00800000u        /* the limit counts pages */

static uint64_t kernel_ring(const struct xp_mm *mm)
{
    return mm->mode->levels == 4 ? 3 : 1;
}

static uint64_t join(uint32_t low, uint32_t high)
{
    return (uint64_t)high << 32 | low;
}

static uint32_t with_ring(const struct xp_mm *mm, uint32_t high)
{
    uint32_t dpl = (high & SEG_DPL) >> 13, least = (uint32_t)kernel_ring(mm);
    return (high & ~SEG_DPL) | (dpl > least ? dpl : least) << 13;
}

/* 32-bit code and data must end below the hole: the limit is cut, unless nothing would be left. */
static bool fit_below_hole(const struct xp_mm *mm, uint32_t *low, uint32_t *high)
{
    uint64_t base = (*low >> 16) | (*high & 0xff) << 16 | (*high & 0xff000000u);
    uint64_t limit = (*low & 0xffff) | (*high & SEG_LIMIT), top = mm->mode->hole_start;
    bool down = (*high & (SEG_CODE | SEG_DOWN)) == SEG_DOWN;
    if ((*high & SEG_G) != 0)
        limit = limit << 12 | 0xfff;
    if (down || base >= top)
        return false;            /* what grows down reaches up to the end of the address space */
    if (base + limit < top)
        return true;
    limit = top - base - 1;
    if ((*high & SEG_G) != 0)
        limit = (limit + 1) >> 12 == 0 ? UINT64_MAX : ((limit + 1) >> 12) - 1;
    if (limit > 0xfffff)
        return false;
    *low = (*low & 0xffff0000u) | (uint32_t)(limit & 0xffff);
    *high = (*high & ~SEG_LIMIT) | (uint32_t)(limit & SEG_LIMIT);
    return true;
}

/* A call gate must lead to a code selector of a guest's. */
static bool mend_gate(const struct xp_mm *mm, uint32_t *low)
{
    uint32_t selector = *low >> 16, ring = (uint32_t)kernel_ring(mm);
    if ((selector & ~7u) == 0 || (selector >> 3) >= GDT_ENTRIES_MAX)
        return false;
    if ((selector & 3) < ring)
        *low = (*low & 0xfffcffffu) | ring << 16;
    return true;
}

/* The descriptor as a guest may have it, in *value. -XEN_EINVAL: not in any form. */
static int check_descriptor(const struct xp_mm *mm, uint64_t *value)
{
    uint32_t low = (uint32_t)*value, high = (uint32_t)(*value >> 32);
    if ((high & SEG_PRESENT) == 0)
        return 0;                /* faults whenever it is used */
    bool gate = (high & (SEG_S | SEG_TYPE)) == SEG_CALL_GATE;
    high = with_ring(mm, high);
    if ((high & SEG_S) != 0) {
        if (mm->mode->levels != 4 && !fit_below_hole(mm, &low, &high))
            return -XEN_EINVAL;
    } else if ((high & SEG_TYPE) != 0 && (!gate || !mend_gate(mm, &low))) {
        return -XEN_EINVAL;      /* type 0 is the second half of a 64-bit gate: harmless */
    }
    *value = join(low, high);
    return 0;
}

/* ---- the type ---- */

/* Protected already, so that what was checked stays so. */
static int check_page(struct xp_domain *d, xp_mfn_t mfn)
{
    uint64_t *descriptors = xp_frame_ptr(&d->hv->frames, mfn);
    for (uint32_t i = 0; i < PER_FRAME; i++) {
        uint64_t value = __atomic_load_n(&descriptors[i], __ATOMIC_RELAXED), had = value;
        if (check_descriptor(&d->mm, &value) != 0)
            return -XEN_EINVAL;
        if (value != had)
            __atomic_store_n(&descriptors[i], value, __ATOMIC_RELAXED);
    }
    return 0;
}

int xp_mm_get_segment(struct xp_domain *d, xp_mfn_t mfn)
{
    struct xp_frame *frame = xp_frame_of(&d->hv->frames, mfn);
    if (!xp_frame_owned(&d->hv->frames, mfn, d->domid) || (frame->flags & XP_FF_HV) != 0 ||
        frame->ref_count == UINT32_MAX)
        return -XEN_EINVAL;
    if (frame->type_count > 0) {
        if (frame->type != XP_FT_SEG)
            return -XEN_EINVAL;
        frame->type_count++;
    } else {
        int ret = xp_mm_protect(d, mfn, XP_FT_SEG);
        if (ret != 0)
            return ret;
        if (check_page(d, mfn) != 0) {
            xp_mm_release(d, mfn);
            return -XEN_EINVAL;
        }
        frame->flags |= XP_FF_VALIDATED;
    }
    frame->ref_count++;
    return 0;
}

void xp_mm_put_segment(struct xp_domain *d, xp_mfn_t mfn)
{
    struct xp_frame *frame = &d->hv->frames.table[mfn.v];
    XP_BUG_ON(frame->type != XP_FT_SEG || frame->type_count == 0);
    if (frame->type_count == 1)
        xp_mm_release(d, mfn);
    else
        frame->type_count--;
    xp_mm_put_page(d, mfn);
}

/* ---- set_gdt (frame numbers, entries) ---- */

int64_t xp_do_set_gdt(struct xp_domain *d, struct xp_call *call)
{
    uint64_t mfns[XP_GDT_FRAMES], entries = call->args[1], nr = (entries + PER_FRAME - 1) / PER_FRAME;
    struct xp_mm *mm = &d->mm;
    if (entries > GDT_ENTRIES_MAX)
        return -XEN_EINVAL;
    if (xp_copy_from_guest(d, mfns, call->args[0], nr * sizeof *mfns) != 0)
        return -XEN_EFAULT;
    if (!xp_mm_enter(d, call))
        return XP_CALL_AGAIN;
    for (uint32_t i = 0; i < nr; i++) {
        int ret = xp_mm_get_segment(d, xp_mfn(mfns[i]));
        while (ret != 0 && i > 0)
            xp_mm_put_segment(d, xp_mfn(mfns[--i]));
        if (ret != 0)
            return -XEN_EINVAL;
    }
    while (mm->nr_gdt > 0)
        xp_mm_put_segment(d, mm->gdt[--mm->nr_gdt]);
    for (; mm->nr_gdt < nr; mm->nr_gdt++)
        mm->gdt[mm->nr_gdt] = xp_mfn(mfns[mm->nr_gdt]);
    mm->gdt_entries = (uint32_t)entries;
    return 0;
}

/* ---- update_descriptor (machine address, descriptor) ---- */

int64_t xp_do_update_descriptor(struct xp_domain *d, struct xp_call *call)
{
    xp_mfn_t mfn = xp_mfn(call->args[0] >> XP_PAGE_SHIFT);
    uint64_t offset = call->args[0] & (XP_PAGE_SIZE - 1), value = call->args[1];
    if ((offset & 7) != 0 || check_descriptor(&d->mm, &value) != 0)
        return -XEN_EINVAL;
    if (!xp_mm_enter(d, call))
        return XP_CALL_AGAIN;
    struct xp_frame *frame = xp_frame_of(&d->hv->frames, mfn);
    bool segment = frame != NULL && frame->type == XP_FT_SEG && frame->type_count > 0;
    int ret = segment ? xp_mm_get_segment(d, mfn) : xp_mm_get_writable(d, mfn);
    if (ret != 0)
        return -XEN_EINVAL;
    __atomic_store_n((uint64_t *)xp_frame_ptr(&d->hv->frames, mfn) + offset / 8, value, __ATOMIC_RELAXED);
    if (segment)
        xp_mm_put_segment(d, mfn);
    else
        xp_mm_put_writable(d, mfn);
    return 0;
}

/* ---- vm_assist (command, type) ---- */

int64_t xp_do_vm_assist(struct xp_domain *d, struct xp_call *call)
{
    const uint32_t known = 1u << VMASST_TYPE_4gb_segments | 1u << VMASST_TYPE_4gb_segments_notify |
                           1u << VMASST_TYPE_writable_pagetables | 1u << VMASST_TYPE_pae_extended_cr3;
    if (call->args[1] >= 32 || (known >> call->args[1] & 1) == 0)
        return -XEN_EINVAL;
    uint32_t bit = 1u << call->args[1];
    if (call->args[1] == VMASST_TYPE_writable_pagetables && call->args[0] <= VMASST_CMD_disable) {
        int ret = xp_wpt_enable(d);
        if (ret != 0)
            return ret;
        if (!xp_mm_enter(d, call))
            return XP_CALL_AGAIN;
    }
    switch (call->args[0]) {
    case VMASST_CMD_enable: d->mm.assists |= bit; return 0;
    case VMASST_CMD_disable: d->mm.assists &= ~bit; return 0;
    default: return -XEN_ENOSYS;
    }
}
