/*
 * grant_host.c: see grant_host.h.
 */
#include "grant_host.h"

#include "abi.h"
#include "leaf.h"
#include "shadow.h"

int16_t xp_grant_slot_find(struct xp_domain *d, uint64_t host_addr, bool is_pte, struct xp_grant_slot *slot)
{
    if (d->mm.mode == NULL)
        return GNTST_general_error;
    if (!is_pte)
        return xp_mm_find_leaf(d, host_addr, &slot->table, &slot->index) == 0 &&
                       (d->shadow == NULL || xp_shadow_may_update(&d->hv->frames.table[slot->table.v])) ? GNTST_okay : GNTST_general_error;
    const uint32_t size = d->mm.mode->entry_size, offset = (uint32_t)host_addr & (XP_PAGE_SIZE - 1);
    *slot = (struct xp_grant_slot){.table = xp_mfn(host_addr >> XP_PAGE_SHIFT), .index = offset / size};
    if (offset % size != 0 || !xp_frame_owned(&d->hv->frames, slot->table, d->domid))
        return GNTST_general_error;
    const struct xp_frame *frame = &d->hv->frames.table[slot->table.v];
    bool may = d->shadow == NULL ? frame->type == XP_FT_L1 : xp_shadow_may_update(frame);
    return may ? GNTST_okay : GNTST_general_error;
}

uint64_t xp_grant_pte(const struct xp_domain *d, xp_mfn_t mfn, uint32_t flags)
{
    uint64_t entry = mfn.v << XP_PAGE_SHIFT | XP_PTE_PRESENT | XP_PTE_ACCESSED | XP_PTE_DIRTY;
    if (d->mm.mode->entry_size == 8)
        entry |= XP_PTE_NX;          /* nobody runs another domain's code */
    if ((flags & GNTMAP_application_map) != 0)
        entry |= XP_PTE_USER;
    if ((flags & GNTMAP_readonly) == 0)
        entry |= XP_PTE_RW;
    /* The lowest of the bits handed through goes to the lowest that an entry has for the guest. */
    return entry | ((uint64_t)(flags >> _GNTMAP_guest_avail0) * (XP_PTE_AVAIL & ~(XP_PTE_AVAIL - 1)) & XP_PTE_AVAIL);
}

int16_t xp_grant_pte_hold(struct xp_domain *d, uint64_t entry)
{
    struct xp_frame *frame = &d->hv->frames.table[xp_pte_mfn(d->mm.mode, entry)];
    if (frame->ref_count == UINT32_MAX || xp_leaf_inject(d->hv))
        return GNTST_general_error;
    frame->ref_count++;
    if ((entry & XP_PTE_RW) != 0) {
        XP_BUG_ON(frame->type != XP_FT_WRITABLE);    /* the pin made it so */
        frame->type_count++;
    }
    return GNTST_okay;
}

int16_t xp_grant_slot_hold(struct xp_domain *d, uint64_t entry)
{
    return d->shadow != NULL ? GNTST_okay : xp_grant_pte_hold(d, entry);
}

void xp_grant_slot_unhold(struct xp_domain *d, uint64_t entry)
{
    if (d->shadow == NULL)
        xp_leaf_drop(d, xp_leaf_of(d), entry);
}

static uint64_t read_slot(struct xp_domain *d, struct xp_grant_slot slot)
{
    return xp_pt_read(d->mm.mode, xp_mm_table(d, slot.table), slot.index);
}

void xp_grant_slot_write(struct xp_domain *d, struct xp_grant_slot slot, uint64_t entry)
{
    uint64_t old = read_slot(d, slot);
    if (d->shadow != NULL) {
        (void)xp_shadow_update(d, slot.table, slot.index, entry, false);
        return;
    }
    xp_mm_write(d, slot.table, slot.index, entry);
    if ((old & XP_PTE_PRESENT) == 0)
        return;
    d->mm.stale = true;
    xp_leaf_drop(d, xp_leaf_of(d), old);
}

bool xp_grant_slot_maps(struct xp_domain *d, struct xp_grant_slot slot, xp_mfn_t mfn, bool readonly)
{
    uint64_t entry = read_slot(d, slot), want = XP_PTE_PRESENT | (readonly ? 0 : XP_PTE_RW);
    return xp_pte_mfn(d->mm.mode, entry) == mfn.v && (entry & (XP_PTE_PRESENT | XP_PTE_RW)) == want;
}

void xp_grant_slot_move(struct xp_domain *d, struct xp_grant_slot from, struct xp_grant_slot to)
{
    uint64_t entry = read_slot(d, from);
    if (d->shadow != NULL)
        (void)xp_shadow_update(d, from.table, from.index, 0, false);
    else
        xp_mm_write(d, from.table, from.index, 0);
    xp_grant_slot_write(d, to, entry);
}
