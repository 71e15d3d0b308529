/* Python's view of vchan.h. */

struct xp_vchan_dir {
    uint32_t size;
    uint32_t mine;
    uint32_t theirs;
    int64_t left_ns;
    uint64_t bytes;
    uint64_t spun;
    uint64_t slept;
    ...;
};
struct xp_vchan {
    struct xp_vchan_dir rd;
    struct xp_vchan_dir wr;
    int mode;
    uint32_t max_message;
    uint32_t rx_total;
    uint32_t rx_left;
    uint32_t tx_left;
    ...;
};
struct xp_vchan_geometry {
    uint32_t left_order;
    uint32_t right_order;
    uint32_t left_pages;
    uint32_t right_pages;
    uint32_t grants[512];
};

#define XP_VCHAN_HEADER ...
#define XP_VCHAN_MAX_MESSAGE ...
#define XP_VCHAN_READ ...
#define XP_VCHAN_WRITE ...

int xp_vchan_server(struct xp_vchan *ch, void *page, uint32_t left_order, uint32_t right_order, uint8_t *const *left_pages,
                    uint8_t *const *right_pages, const uint32_t *grants, struct xp_direct *event, int (*kick)(void *), void *kick_arg);
int xp_vchan_geometry(const void *page, struct xp_vchan_geometry *out);
int xp_vchan_client(struct xp_vchan *ch, void *page, const struct xp_vchan_geometry *g, uint8_t *const *left_pages,
                    uint8_t *const *right_pages, struct xp_direct *event, int (*kick)(void *), void *kick_arg);
void xp_vchan_close(struct xp_vchan *ch);
int xp_vchan_peer(struct xp_vchan *ch);
int xp_vchan_peer_closed(struct xp_vchan *ch);
int xp_vchan_accept(struct xp_vchan *ch, int64_t timeout_ns);

int64_t xp_vchan_ready(struct xp_vchan *ch);
int64_t xp_vchan_room(struct xp_vchan *ch);
int xp_vchan_read(struct xp_vchan *ch, void *buf, uint64_t len, uint64_t min, int64_t timeout_ns, uint64_t *done);
int xp_vchan_write(struct xp_vchan *ch, const void *buf, uint64_t len, uint64_t min, int64_t timeout_ns, uint64_t *done);
int xp_vchan_drain(struct xp_vchan *ch, int64_t timeout_ns);
int64_t xp_vchan_reserve(struct xp_vchan *ch, uint32_t want, uint8_t **span, int64_t timeout_ns);
int xp_vchan_commit(struct xp_vchan *ch, uint32_t len);
int64_t xp_vchan_peek(struct xp_vchan *ch, uint32_t want, uint8_t **span, int64_t timeout_ns);
int xp_vchan_consume(struct xp_vchan *ch, uint32_t len);
int xp_vchan_arm(struct xp_vchan *ch, int which);
void xp_vchan_disarm(struct xp_vchan *ch);

int xp_vchan_send(struct xp_vchan *ch, const void *buf, uint64_t len, int64_t timeout_ns);
void xp_vchan_tear(struct xp_vchan *ch);
int64_t xp_vchan_send_many(struct xp_vchan *ch, const void *data, const uint32_t *lens, uint32_t n, int64_t timeout_ns);
int64_t xp_vchan_recv(struct xp_vchan *ch, void *buf, uint64_t cap, int64_t timeout_ns);
int xp_vchan_recv_rest(struct xp_vchan *ch, void *buf, int64_t timeout_ns);
int64_t xp_vchan_peek_many(struct xp_vchan *ch, uint8_t **span, uint32_t *total, uint32_t *lens, uint32_t max, int64_t timeout_ns);
