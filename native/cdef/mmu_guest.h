/* The MMU wired to the hypervisor: native/mmu_guest.h. */
struct xp_mmu_link { ...; };
void xp_mmu_connect(struct xp_mmu *m, struct xp_mmu_link *link, struct xp_gcall *calls, void *scratch, int64_t timeout_ns);
