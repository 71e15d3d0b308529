/* Python's view of direct.h. */

#define XP_AWAKE ...
#define XP_SLEEP_SEM ...
#define XP_SLEEP_FD ...

struct xp_event_half {
    uint32_t pending;
    uint32_t sleep;
    struct xp_sem sem;
    uint32_t closed;
    uint32_t cpu;
    ...;
};
struct xp_direct {
    struct xp_sem_waiter waiter;
    int wait_fd;
    int wake_fd;
    uint64_t sent;
    uint64_t woken;
    uint64_t slept;
    const struct xp_gtracer *tracer;
    uint32_t port;
    ...;
};

void xp_direct_init(struct xp_direct *d, void *page, unsigned side, int wait_fd, int wake_fd);
int xp_direct_send(struct xp_direct *d);
int xp_direct_take(struct xp_direct *d);
int xp_direct_wait(struct xp_direct *d, int mode, int64_t timeout_ns);
int xp_direct_arm(struct xp_direct *d);
void xp_direct_disarm(struct xp_direct *d);
void xp_direct_close_page(void *page);
