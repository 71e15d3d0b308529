/* Telling a peer through the hypervisor, from C: native/kick.h. */
struct xp_kick { struct xp_gcall *calls; uint64_t va; };
int xp_kick(void *kick);
