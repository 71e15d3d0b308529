/* Validation measured on a core without processes: native/benchmm.h. */
int xp_bench_mm_attach(struct xp_hv *hv, uint16_t domid, int memory_fd, bool enforced, uint64_t *base);
uint64_t xp_bench_mm_frames(struct xp_hv *hv, uint16_t domid, uint64_t *mfns, uint64_t max);
int64_t xp_bench_mm_call(struct xp_hv *hv, uint16_t domid, uint32_t nr, const uint64_t args[6], uint64_t took[2]);
uint64_t xp_bench_mm_touch(struct xp_hv *hv, const uint64_t *mfns, uint64_t nr);
int xp_bench_mm_give(struct xp_hv *hv, uint16_t domid, uint64_t first, uint64_t nr, uint64_t run, uint64_t *ticks);
int xp_bench_mm_protect(struct xp_hv *hv, uint16_t domid, uint64_t first, uint64_t nr, uint64_t *ticks);
void xp_bench_mm_detach(struct xp_hv *hv, uint16_t domid);
