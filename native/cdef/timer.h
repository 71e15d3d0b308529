/* The queue of deadlines: native/timer.h. Python drives it in tests only. */
enum { XP_TIMER_PARK, XP_TIMER_CLOCK, XP_TIMER_SINGLESHOT, XP_TIMER_PERIODIC, ... };
struct xp_timer { struct xp_heap_node node; uint8_t kind; void *owner; };
struct xp_timers { struct xp_heap heap; };
void xp_timers_free(struct xp_timers *q);
void xp_timer_init(struct xp_timer *t, int kind, void *owner);
int xp_timer_set(struct xp_timers *q, struct xp_timer *t, int64_t deadline);
void xp_timer_cancel(struct xp_timers *q, struct xp_timer *t);
struct xp_timer *xp_timers_take(struct xp_timers *q, int64_t now);
int64_t xp_timers_next(const struct xp_timers *q);
