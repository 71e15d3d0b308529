#define XP_HIST_HIGHEST ...
#define XP_HIST_LEN ...
struct xp_hist { uint64_t total; uint64_t over; uint64_t min; uint64_t max; uint64_t count[...]; };
void xp_hist_clear(struct xp_hist *h);
void xp_hist_record(struct xp_hist *h, uint64_t ns);
void xp_hist_record_many(struct xp_hist *h, const int64_t *ns, size_t n);
void xp_hist_merge(struct xp_hist *to, const struct xp_hist *from);
uint64_t xp_hist_lowest(uint32_t index);
uint64_t xp_hist_highest(uint32_t index);
uint64_t xp_hist_percentile(const struct xp_hist *h, double percent);
double xp_hist_quantile(const struct xp_hist *h, double percent);
double xp_hist_mean(const struct xp_hist *h);
