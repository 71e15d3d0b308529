/* The guest's hypercalls: native/gcall.h. */
struct xp_gcall { uint64_t nr_calls, nr_rings, nr_sleeps; ...; };

void xp_gcall_init(struct xp_gcall *g, void *page, int doorbell);
int xp_gcall(struct xp_gcall *g, uint32_t nr, const uint64_t args[6], int mode, int64_t timeout_ns, int64_t *result);
int xp_gcall_post(struct xp_gcall *g, uint32_t nr, const uint64_t args[6], int64_t timeout_ns);
int xp_gcall_repeat(struct xp_gcall *g, uint32_t nr, const uint64_t args[6], int mode, int64_t timeout_ns, uint32_t n,
                    uint64_t *ticks);
