/* Python's view of sem.h. */

#define XP_WAIT_POLL ...
#define XP_WAIT_ADAPTIVE ...
#define XP_WAIT_BLOCK ...
#define XP_WAIT_SIGNALS ...
#define XP_EINTR ...
#define XP_SPURIOUS_BUDGET ...

struct xp_sem {
    uint32_t count;
    uint32_t waiting;
};
struct xp_sem_waiter {
    uint32_t spurious;
    uint32_t budget;
    uint32_t backoff;
    uint32_t fails;
    uint32_t near;
};

void xp_sem_waiter_init(struct xp_sem_waiter *w);
int xp_sem_post(struct xp_sem *sem);
int xp_sem_wait(struct xp_sem *sem, struct xp_sem_waiter *w, int mode, int64_t timeout_ns);
int xp_futex_wake(void *word, int nr);
int64_t xp_now_ns(void);
