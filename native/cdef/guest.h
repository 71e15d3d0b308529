/* What a domain's code does in its own pages: native/guest.h. */
int xp_upcall_take(struct xen_shared_info *si, uint32_t port);
int xp_upcall_begin(struct xen_shared_info *si);
void xp_grant_entry_set(struct xen_grant_entry_v1 *entry, uint16_t domid, uint32_t frame, uint16_t flags);
int xp_grant_entry_end(struct xen_grant_entry_v1 *entry);
int64_t xp_grant_transfer_taken(struct xen_grant_entry_v1 *entry);
int xp_grant_transfer_end(struct xen_grant_entry_v1 *entry);
int xp_page_leave(uint64_t address);
int xp_pages_leave(uint64_t address, uint64_t nr);
void xp_fault(const char *name);
