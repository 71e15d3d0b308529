/* Ticks as nanoseconds: native/timescale.h. Python drives it in tests only. */
struct xp_timescale { uint64_t tsc; uint64_t ns; uint32_t mul; int8_t shift; };
#define XP_SLEW_NS ...
uint64_t xp_timescale_read(const struct xp_timescale *s, uint64_t tsc);
void xp_timescale_slope(struct xp_timescale *s, uint64_t ticks, uint64_t ns);
void xp_timescale_follow(struct xp_timescale *s, uint64_t tsc, uint64_t ns, uint64_t tick_span, uint64_t ns_span);
