struct xp_tick { uint64_t mult; };
int xp_tick_calibrate(struct xp_tick *t, int64_t wait_ns);
