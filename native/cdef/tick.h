struct xp_tick { uint64_t mult; uint64_t cost; uint64_t grain; };
int xp_tick_calibrate(struct xp_tick *t, int64_t wait_ns);
