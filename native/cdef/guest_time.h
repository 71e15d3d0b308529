/* A domain's own reading of time: native/guest_time.h. */
uint64_t xp_system_time(const struct xen_shared_info *si);
uint64_t xp_wall_clock_base(const struct xen_shared_info *si);
uint64_t xp_time_cost(const struct xen_shared_info *si, uint32_t n);
