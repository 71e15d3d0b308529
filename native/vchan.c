/*
 * vchan.c: the two ends of a vchan: made, told about, closed. See vchan.h for the rules.
 */
#include "vchan_dir.h"

/* ---- making the ends ---- */

static bool order_valid(uint32_t order)
{
    return order >= XP_VCHAN_ORDER_1K && order <= XP_VCHAN_ORDER_MAX;
}

static uint32_t order_pages(uint32_t order)
{
    return order < XP_PAGE_SHIFT ? 0 : 1u << (order - XP_PAGE_SHIFT);
}

/* Orders that exist, no two rings at one place, and the list of grants ending before the first small ring. */
static bool geometry_valid(uint32_t left, uint32_t right)
{
    if (!order_valid(left) || !order_valid(right)) return false;
    if (left == right && left < XP_PAGE_SHIFT) return false;
    uint32_t smaller = left < right ? left : right;
    uint32_t limit = smaller < XP_PAGE_SHIFT ? 1u << smaller : XP_PAGE_SIZE;
    uint32_t nr = order_pages(left) + order_pages(right);
    return offsetof(struct xen_vchan_interface, grants) + nr * sizeof(uint32_t) <= limit;
}

static void dir_init(struct xp_vchan_dir *d, void *page, struct xen_ring_shared *shared, bool reading, uint32_t order,
                     uint8_t *const *pages)
{
    memset(d, 0, sizeof(*d));
    _Atomic uint32_t *cons = (_Atomic uint32_t *)&shared->cons, *prod = (_Atomic uint32_t *)&shared->prod;
    d->mine_word = reading ? cons : prod;
    d->theirs_word = reading ? prod : cons;
    d->size = 1u << order;
    d->slack = reading ? 0 : d->size;
    d->want = 1;
    d->ask = reading ? VCHAN_NOTIFY_WRITE : VCHAN_NOTIFY_READ;
    d->tell = reading ? VCHAN_NOTIFY_READ : VCHAN_NOTIFY_WRITE;
    if (order < XP_PAGE_SHIFT) {
        d->base = (uint8_t *)page + d->size;      /* the ring of 1024 bytes at 1024, that of 2048 at 2048 */
        return;
    }
    d->pages = pages;
    d->base = pages[0];
    for (uint32_t i = 1; i < order_pages(order); i++) {
        if (pages[i] != pages[0] + ((size_t)i << XP_PAGE_SHIFT)) d->base = NULL;
    }
}

static void end_init(struct xp_vchan *ch, void *page, struct xp_direct *event, bool server)
{
    struct xen_vchan_interface *shared = page;
    memset(ch, 0, sizeof(*ch));
    ch->page = shared;
    ch->event = event;
    ch->mode = XP_WAIT_ADAPTIVE;
    ch->max_message = XP_VCHAN_MAX_MESSAGE;
    _Atomic uint8_t *cli_live = (_Atomic uint8_t *)&shared->cli_live, *srv_live = (_Atomic uint8_t *)&shared->srv_live;
    _Atomic uint8_t *cli_notify = (_Atomic uint8_t *)&shared->cli_notify;
    _Atomic uint8_t *srv_notify = (_Atomic uint8_t *)&shared->srv_notify;
    ch->my_live = server ? srv_live : cli_live;
    ch->peer_live = server ? cli_live : srv_live;
    /* cli_notify says what the client is to tell: the server asks there, and the other way round. */
    ch->ask_byte = server ? cli_notify : srv_notify;
    ch->tell_byte = server ? srv_notify : cli_notify;
}

int xp_vchan_server(struct xp_vchan *ch, void *page, uint32_t left_order, uint32_t right_order, uint8_t *const *left_pages,
                    uint8_t *const *right_pages, const uint32_t *grants, struct xp_direct *event, int (*kick)(void *),
                    void *kick_arg)
{
    if (!geometry_valid(left_order, right_order)) return -XEN_EINVAL;
    struct xen_vchan_interface *shared = page;
    uint32_t nr = order_pages(left_order) + order_pages(right_order);
    memset(page, 0, XP_PAGE_SIZE);
    end_init(ch, page, event, true);
    ch->kick = kick;
    ch->kick_arg = kick_arg;
    dir_init(&ch->rd, page, &shared->left, true, left_order, left_pages);
    dir_init(&ch->wr, page, &shared->right, false, right_order, right_pages);
    shared->left_order = (uint16_t)left_order;
    shared->right_order = (uint16_t)right_order;
    for (uint32_t i = 0; grants != NULL && i < nr; i++) shared->grants[i] = grants[i];
    atomic_store(ch->peer_live, 2);               /* the client has not come yet */
    atomic_store(ch->ask_byte, VCHAN_NOTIFY_WRITE);
    atomic_store(ch->my_live, 1);
    return 0;
}

int xp_vchan_geometry(const void *page, struct xp_vchan_geometry *out)
{
    const struct xen_vchan_interface *shared = page;
    uint32_t left = __atomic_load_n(&shared->left_order, __ATOMIC_RELAXED);
    uint32_t right = __atomic_load_n(&shared->right_order, __ATOMIC_RELAXED);
    memset(out, 0, sizeof(*out));
    if (!geometry_valid(left, right)) return -XEN_EILSEQ;
    out->left_order = left;
    out->right_order = right;
    out->left_pages = order_pages(left);
    out->right_pages = order_pages(right);
    for (uint32_t i = 0; i < out->left_pages + out->right_pages; i++) {
        out->grants[i] = __atomic_load_n(&shared->grants[i], __ATOMIC_RELAXED);
    }
    return 0;
}

/* A client may take over where another left off: both indices are copied, and no more may lie between them than fits. */
static bool dir_join(struct xp_vchan_dir *d)
{
    d->mine = atomic_load(d->mine_word);
    d->theirs = atomic_load(d->theirs_word);
    return xp_vchan_level(d) <= d->size;
}

int xp_vchan_client(struct xp_vchan *ch, void *page, const struct xp_vchan_geometry *g, uint8_t *const *left_pages,
                    uint8_t *const *right_pages, struct xp_direct *event, int (*kick)(void *), void *kick_arg)
{
    if (!geometry_valid(g->left_order, g->right_order)) return -XEN_EINVAL;
    struct xen_vchan_interface *shared = page;
    end_init(ch, page, event, false);
    ch->kick = kick;
    ch->kick_arg = kick_arg;
    dir_init(&ch->rd, page, &shared->right, true, g->right_order, right_pages);
    dir_init(&ch->wr, page, &shared->left, false, g->left_order, left_pages);
    if (!dir_join(&ch->rd) || !dir_join(&ch->wr)) return -XEN_EILSEQ;
    atomic_store(ch->ask_byte, VCHAN_NOTIFY_WRITE);
    atomic_store(ch->my_live, 1);
    XP_FAULT_POINT("vchan.client.live");
    xp_vchan_event(ch);                           /* a server may wait for us */
    return 0;
}

/* ---- ending ---- */

void xp_vchan_event(struct xp_vchan *ch)
{
    while (atomic_exchange(&ch->sending, 1) != 0) xp_relax();
    int ret = xp_direct_send(ch->event);
    atomic_store(&ch->sending, 0);
    if (ret == -XEN_EAGAIN && ch->kick != NULL) ch->kick(ch->kick_arg);
    atomic_fetch_add_explicit(&ch->sent, 1, memory_order_relaxed);
    XP_FAULT_POINT("vchan.event.sent");
}

int xp_vchan_end(struct xp_vchan *ch, uint32_t state)
{
    uint32_t open = XP_VCHAN_OPEN;
    if (atomic_compare_exchange_strong(&ch->state, &open, state)) {
        atomic_store(ch->my_live, 0);
        XP_FAULT_POINT("vchan.close.flagged");
        xp_vchan_event(ch);
        xp_vchan_wake_self(ch);
    }
    return xp_vchan_state_error(ch);
}

void xp_vchan_close(struct xp_vchan *ch)
{
    (void)xp_vchan_end(ch, XP_VCHAN_CLOSED);
}

int xp_vchan_peer_closed(struct xp_vchan *ch)
{
    return atomic_load(ch->peer_live) == 0;
}

int xp_vchan_peer(struct xp_vchan *ch)
{
    if (xp_vchan_gone(ch)) return -XEN_ENOTCONN;
    return atomic_load(ch->peer_live) == 2;
}

int xp_vchan_accept(struct xp_vchan *ch, int64_t timeout_ns)
{
    struct xp_vchan_timer timer = {timeout_ns, 0};
    for (;;) {
        uint32_t turn = atomic_load(&ch->turn);
        int ret = xp_vchan_state_error(ch);
        if (ret == 0) ret = xp_vchan_peer(ch);
        if (ret <= 0) return ret;
        if (timeout_ns <= 0) return -XEN_EAGAIN;
        ret = xp_vchan_wait_event(ch, turn, &timer);
        if (ret != 0 && ret != -XEN_ENOTCONN) return ret;   /* gone: xp_vchan_peer says so next time round */
    }
}
