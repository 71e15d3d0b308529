/* A look at a live domain's page tables: native/pagetable.h. */
struct xp_frame_view { uint64_t mfn; uint32_t type_count, ref_count; uint16_t owner; uint8_t type, flags; };
struct xp_path_step { struct xp_frame_view table; uint8_t level; bool hole; uint16_t index; uint64_t entry; };
struct xp_path_view { uint32_t mode, nr_steps; struct xp_path_step step[4]; bool mapped; struct xp_frame_view page; };
int xp_domain_walk(struct xp_hv *hv, uint16_t domid, uint64_t va, struct xp_path_view *view);
