/*
 * pagetable.c: see pagetable.h.
 */
#include "pagetable.h"

#include "dispatch.h"
#include "shadow.h"

static struct xp_frame_view view_of(struct xp_hv *hv, uint64_t mfn)
{
    const struct xp_frame *frame = xp_frame_of(&hv->frames, xp_mfn(mfn));
    struct xp_frame_view view = {.mfn = mfn, .owner = XP_OWNER_NONE};
    if (frame != NULL) {
        view.type_count = frame->type_count;
        view.ref_count = frame->ref_count;
        view.owner = frame->owner;
        view.type = frame->type;
        view.flags = frame->flags;
    }
    return view;
}

static void walk(struct xp_domain *d, uint64_t va, struct xp_path_view *view)
{
    const struct xp_paging_mode *m = d->mm.mode;
    const struct xp_shadow *s = d->shadow;
    uint32_t level = m->levels;
    uint64_t at = s == NULL ? d->mm.base.v : s->base == XP_SHADOW_NONE ? 0 : s->page[s->base].table;
    /* In shadow mode it is the guest's own tables that are shown, as far as they are pages of its own: nobody has validated them. */
    for (; level > 0 && at != 0 && at < d->hv->frames.nr && (s == NULL || xp_frame_owned(&d->hv->frames, xp_mfn(at), d->domid)); level--) {
        struct xp_path_step *step = &view->step[view->nr_steps++];
        uint32_t index = xp_pt_index(m, level, va);
        const struct xp_paging_level *l = &m->level[level];
        bool hole = level == m->hole_level && va >= m->hole_start && va < m->hole_end && index >= l->hole_first;
        *step = (struct xp_path_step){
            .table = view_of(d->hv, at), .level = (uint8_t)level, .index = (uint16_t)index, .hole = hole,
            .entry = xp_pt_read(m, xp_mm_table(d, xp_mfn(at)), index)};
        if ((step->entry & XP_PTE_PRESENT) == 0)
            return;
        at = xp_pte_mfn(m, step->entry);
    }
    view->mapped = at != 0 && view->nr_steps > 0 && (s == NULL || level == 0);
    if (view->mapped)
        view->page = view_of(d->hv, at);
}

int xp_domain_walk(struct xp_hv *hv, xp_domid_t domid, uint64_t va, struct xp_path_view *view)
{
    *view = (struct xp_path_view){0};
    xp_hv_lock(hv);
    struct xp_domain *d = xp_hv_domain(hv, domid);
    int ret = d == NULL || d->mm.mode == NULL ? -XEN_ESRCH : xp_va_canonical(d->mm.mode, va) ? 0 : -XEN_EINVAL;
    if (ret == 0) {
        while (view->mode < XP_PAGING_MODES && xp_paging_mode(view->mode) != d->mm.mode)
            view->mode++;
        walk(d, va, view);
    }
    xp_hv_unlock(hv);
    return ret;
}
