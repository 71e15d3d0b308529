/* What a domain records of itself: native/gtrace.h. */
struct xp_gtracer { ...; };
void xp_gtracer_init(struct xp_gtracer *t, const struct xp_call_page *page, void *window);
void xp_gtrace_put(const struct xp_gtracer *t, uint16_t type, uint32_t number, uint64_t value);
