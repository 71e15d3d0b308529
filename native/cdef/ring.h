/* Python's view of ring.h: what stands behind each name is said there. */
#define XP_RING_MAX_PAGES ...
#define XP_RING_SLOTS_AT ...

struct xp_ring_layout {
    uint32_t req_size, rsp_size;
    uint32_t entry_size;
    uint32_t id_size;
    uint32_t req_id_at, rsp_id_at;
};
struct xp_ring_wait {
    struct xp_direct *direct;
    int64_t timeout_ns;
    int mode;
};
struct xp_ring {
    uint32_t nr_ents, entry_size, req_size, rsp_size;
    int32_t closed;
    uint32_t nr_pages;
    uint64_t pushes, notified;
    const struct xp_gtracer *tracer;
    uint32_t port;
    ...;
};
struct xp_front {
    struct xp_ring r;
    uint32_t req_prod_pvt, req_pushed, rsp_cons;
    void *req_buf, *rsp_buf;
    struct xp_ring_wait wait;
    ...;
};
struct xp_back {
    struct xp_ring r;
    uint32_t req_cons, rsp_prod_pvt, rsp_pushed;
    void *req_buf, *rsp_buf;
    uint32_t max_reqs;
    struct xp_ring_wait wait;
    ...;
};

uint32_t xp_ring_entries(const struct xp_ring_layout *l, uint32_t nr_pages);
int xp_front_init(struct xp_front *f, const struct xp_ring_layout *l, const uint64_t *pages, uint32_t nr_pages, uint32_t start);
void xp_front_free(struct xp_front *f);
int xp_back_init(struct xp_back *b, const struct xp_ring_layout *l, const uint64_t *pages, uint32_t nr_pages, uint32_t start);
void xp_ring_close(struct xp_ring *r, int error);
int xp_front_put(struct xp_front *f, void *reqs, uint32_t n);
int xp_front_push(struct xp_front *f);
int xp_front_get(struct xp_front *f, void *rsps, uint32_t max);
int xp_front_final_check(struct xp_front *f, uint32_t holdoff);
int xp_back_get(struct xp_back *b, void *reqs, uint32_t max);
int xp_back_put(struct xp_back *b, const void *rsps, uint32_t n);
int xp_back_push(struct xp_back *b);
int xp_back_final_check(struct xp_back *b, uint32_t holdoff);
int xp_front_exchange(struct xp_front *f, void *reqs, uint32_t n, void *rsps, const struct xp_ring_wait *wait);
int xp_front_resume(struct xp_front *f, const struct xp_ring_wait *wait);
int xp_front_wait(struct xp_front *f, void *rsps, uint32_t max, const struct xp_ring_wait *wait);
int xp_front_send(struct xp_front *f, const struct xp_ring_wait *wait);
int xp_back_reply_and_wait(struct xp_back *b, const void *rsps, uint32_t n, void *reqs, uint32_t max,
                           const struct xp_ring_wait *wait);
int xp_back_send(struct xp_back *b, const struct xp_ring_wait *wait);
int xp_front_call(struct xp_front *f);
int xp_back_call(struct xp_back *b, uint32_t n);
int xp_back_turn(struct xp_back *b);
int xp_front_pingpong(struct xp_front *f, const struct xp_ring_wait *wait, uint32_t n, uint32_t stride, uint64_t *ticks);
int xp_front_pump(struct xp_front *f, const struct xp_ring_wait *wait, uint64_t n, uint32_t batch, uint32_t flight);
int xp_back_serve(struct xp_back *b, const struct xp_ring_wait *wait, uint64_t n, uint32_t batch);
