/* Fetching what domains recorded of themselves: native/domtrace.h. */
uint64_t xp_hv_trace_gather(struct xp_hv *hv);
