/* The MMU wired to the hypervisor: native/mmu_guest.h. */
struct xp_mmu_link { bool stores; bool shadow; uint64_t nr_stores, nr_trapped; ...; };
int xp_pt_store(struct xp_mmu_link *link, uint64_t maddr, uint64_t value, uint32_t bytes);
void xp_mmu_connect(struct xp_mmu *m, struct xp_mmu_link *link, struct xp_gcall *calls, void *scratch, int64_t timeout_ns);
