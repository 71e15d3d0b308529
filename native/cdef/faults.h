/* A domain's fatal signals: native/faults.h. */
int xp_faults_install(struct xp_call_page *page, struct xp_gcall *calls, uint64_t window_base);
