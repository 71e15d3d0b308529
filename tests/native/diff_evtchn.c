/*
 * diff_evtchn.c: event channels against a model in C, millions of random steps with failures in between. See diff.h.
 *
 * Four domains with tables of a few ports, living and dying; direct pages whose processes let go of them late or never.
 */
#include "diff_evtchn.h"

#include "direct.h"

/* ---- one step on both ---- */

/* Any port, mostly one that exists. */
static uint32_t any_port(struct m *m)
{
    static const uint32_t odd[] = {0, 63, 64, 65, 71, 127, 128, 4095, 4096, UINT32_MAX};
    return pick(&m->f, 8) == 0 ? odd[pick(&m->f, 10)] : pick(&m->f, 8);
}

/* A failure was let in: the model does nothing. Otherwise it must agree. */
static bool injected(struct m *m, int64_t ret)
{
    bool failed = hvtest_failed() != NULL;
    hvtest_fail_at(-1);
    if (failed && ret != -XEN_EFAULT && ret != -XEN_ENOMEM && ret != -XEN_EINVAL && ret != -XEN_EMFILE)
        SAME(&m->f, ret, -XEN_EFAULT);
    m->f.failed += failed;
    return failed;
}

static bool agreed(struct m *m, int64_t ret, int64_t expected)
{
    SAME(&m->f, ret, expected);
    m->f.accepted += ret >= 0;
    m->f.refused += ret < 0;
    return ret >= 0;
}

static int64_t call(struct m *m, const char *doing, uint32_t who, uint32_t cmd, void *arg, uint64_t size, bool *failed)
{
    m->f.doing = doing;
    if (pick(&m->f, 8) == 0)
        hvtest_fail_at(pick(&m->f, 3));
    int64_t ret = hvtest_evtchn_op(m->t, (xp_domid_t)who, cmd, arg, size, UINT32_MAX);
    *failed = injected(m, ret);
    return ret;
}

static void step_alloc(struct m *m, uint32_t who)
{
    bool failed;
    uint32_t dom = pick(&m->f, 3) == 0 ? pick(&m->f, NR) : who, remote = pick(&m->f, NR + 1);
    struct xen_evtchn_alloc_unbound op = {.dom = (uint16_t)dom, .remote_dom = remote == NR ? DOMID_SELF : (uint16_t)remote};
    int64_t ret = call(m, "alloc_unbound", who, EVTCHNOP_alloc_unbound, &op, sizeof op, &failed);
    if (failed)
        return;
    struct m_domain *d = &m->d[dom];
    int64_t port = d->alive ? m_free_port(d) : -XEN_ESRCH;
    if (port > 0 && who != dom && who != 0)
        port = -XEN_EPERM;
    if (!agreed(m, ret, port < 0 ? port : 0))
        return;
    SAME(&m->f, op.port, port);
    m_bind(d, op.port, XP_PORT_UNBOUND)->dom = remote == NR ? (uint16_t)who : (uint16_t)remote;
}

static void step_bind(struct m *m, uint32_t who)
{
    bool failed;
    uint32_t remote = pick(&m->f, NR), rport = any_port(m);
    struct m_domain *d = &m->d[who], *rd = &m->d[remote];
    for (uint32_t i = 1; i < 8 && pick(&m->f, 4) != 0; i++)     /* most often one that will do */
        if (rd->port[i].state == XP_PORT_UNBOUND && rd->port[i].dom == who)
            rport = i;
    struct xen_evtchn_bind_interdomain op = {.remote_dom = (uint16_t)remote, .remote_port = rport};
    int64_t ret = call(m, "bind_interdomain", who, EVTCHNOP_bind_interdomain, &op, sizeof op, &failed);
    if (failed)
        return;
    int64_t port = rd->alive ? m_free_port(d) : -XEN_ESRCH;
    const struct m_port *other = m_port_of(rd, rport);
    if (port > 0 && (other == NULL || other->state != XP_PORT_UNBOUND || other->dom != who))
        port = -XEN_EINVAL;
    if (!agreed(m, ret, port < 0 ? port : 0))
        return;
    SAME(&m->f, op.local_port, port);
    *m_bind(d, op.local_port, XP_PORT_INTERDOMAIN) =
        (struct m_port){.state = XP_PORT_INTERDOMAIN, .dom = (uint16_t)remote, .port = rport, .channel = -1};
    rd->port[rport] =
        (struct m_port){.state = XP_PORT_INTERDOMAIN, .dom = (uint16_t)who, .port = op.local_port, .channel = -1};
    m_set_pending(d, op.local_port);
}

static void step_virq(struct m *m, uint32_t who)
{
    bool failed;
    struct xen_evtchn_bind_virq op = {.virq = pick(&m->f, NR_VIRQS + 1), .vcpu = pick(&m->f, 6) == 0};
    struct m_domain *d = &m->d[who];
    int64_t ret = call(m, "bind_virq", who, EVTCHNOP_bind_virq, &op, sizeof op, &failed);
    if (failed)
        return;
    int64_t port = m_free_port(d);
    if (op.virq >= NR_VIRQS || (!per_vcpu(op.virq) && op.vcpu != 0))
        port = -XEN_EINVAL;
    else if (op.vcpu != 0)
        port = -XEN_ENOENT;
    else if (!per_vcpu(op.virq) && op.virq != VIRQ_CONSOLE && op.virq != VIRQ_ARGO && who != 0)
        port = -XEN_EBUSY;
    else if (d->virq[op.virq] != 0)
        port = -XEN_EEXIST;
    if (!agreed(m, ret, port < 0 ? port : 0))
        return;
    SAME(&m->f, op.port, port);
    m_bind(d, op.port, XP_PORT_VIRQ)->port = op.virq;
    d->virq[op.virq] = (uint16_t)op.port;
}

static void step_ipi(struct m *m, uint32_t who)
{
    bool failed;
    struct xen_evtchn_bind_ipi op = {.vcpu = pick(&m->f, 8) == 0};
    int64_t ret = call(m, "bind_ipi", who, EVTCHNOP_bind_ipi, &op, sizeof op, &failed);
    if (failed)
        return;
    int64_t port = op.vcpu != 0 ? -XEN_ENOENT : m_free_port(&m->d[who]);
    if (!agreed(m, ret, port < 0 ? port : 0))
        return;
    SAME(&m->f, op.port, port);
    (void)m_bind(&m->d[who], op.port, XP_PORT_IPI);
}

static void step_raise(struct m *m, uint32_t who, uint32_t virq)
{
    hvtest_raise_virq(m->t, (xp_domid_t)who, virq);
    if (virq < NR_VIRQS && m->d[who].virq[virq] != 0)
        m_set_pending(&m->d[who], m->d[who].virq[virq]);
}

/* Many at once, so that a second bucket is needed. */
static void step_fill(struct m *m, uint32_t who)
{
    for (uint32_t i = 0; i < 66 && m->d[who].max_evtchns > 66; i++)
        step_ipi(m, who);
}

static void step_close(struct m *m, uint32_t who)
{
    bool failed;
    struct xen_evtchn_close op = {.port = any_port(m)};
    const struct m_port *p = m_port_of(&m->d[who], op.port);
    int64_t ret = call(m, "close", who, EVTCHNOP_close, &op, sizeof op, &failed);
    if (!failed && agreed(m, ret, p == NULL || p->state <= XP_PORT_RESERVED ? -XEN_EINVAL : 0)) {
        m_close(m, who, op.port);
        m_retry(m, &m->d[who], 8);
    }
}

static void step_send(struct m *m, uint32_t who)
{
    bool failed;
    struct xen_evtchn_send op = {.port = any_port(m)};
    const struct m_port *p = m_port_of(&m->d[who], op.port);
    int64_t ret = call(m, "send", who, EVTCHNOP_send, &op, sizeof op, &failed);
    bool dumb = p == NULL || p->state <= XP_PORT_RESERVED || p->state == XP_PORT_VIRQ;
    if (failed || !agreed(m, ret, dumb ? -XEN_EINVAL : 0))
        return;
    if (p->state == XP_PORT_IPI)
        m_set_pending(&m->d[who], op.port);
    else if (p->state == XP_PORT_INTERDOMAIN) {
        const struct m_port *other = &m->d[p->dom].port[p->port];
        if (other->channel < 0 || m->channel[other->channel].given[other->side] < 0)
            m_set_pending(&m->d[p->dom], p->port);
    }
}

static void step_unmask(struct m *m, uint32_t who)
{
    bool failed;
    struct xen_evtchn_unmask op = {.port = any_port(m)};
    struct m_domain *d = &m->d[who];
    int64_t ret = call(m, "unmask", who, EVTCHNOP_unmask, &op, sizeof op, &failed);
    if (failed || !agreed(m, ret, op.port >= d->valid ? -XEN_EINVAL : 0) || op.port >= PORTS)
        return;
    bool masked = d->masked[op.port];
    d->masked[op.port] = 0;
    if (masked && d->pending[op.port])
        m_upcall(d, op.port);
}

static void step_reset(struct m *m, uint32_t who)
{
    bool failed;
    uint32_t dom = pick(&m->f, 2) == 0 ? pick(&m->f, NR) : who;
    struct xen_evtchn_reset op = {.dom = (uint16_t)dom};
    int64_t ret = call(m, "reset", who, EVTCHNOP_reset, &op, sizeof op, &failed);
    int64_t expected = !m->d[dom].alive ? -XEN_ESRCH : who != dom && who != 0 ? -XEN_EPERM : who != dom ? -XEN_EINVAL : 0;
    if (failed || !agreed(m, ret, expected))
        return;
    for (uint32_t port = 1; port < PORTS; port++)
        if (m->d[dom].port[port].state != XP_PORT_FREE)
            m_close(m, dom, port);
}

static void step_direct(struct m *m, uint32_t who)
{
    struct xp_op_direct out;
    uint32_t port = any_port(m), channel = 0;
    m->f.doing = "make_direct";
    if (m->d[who].nr_held == 0 && pick(&m->f, 4) == 0)
        hvtest_fail_at(pick(&m->f, 4));
    int64_t ret = hvtest_make_direct(m->t, (xp_domid_t)who, port, &out);
    if (injected(m, ret))
        return;
    int64_t side = m_make_direct(m, who, port, &channel);
    if (!agreed(m, ret, side < 0 ? side : 0))
        return;
    SAME(&m->f, out.side, side);
    if (m->channel[channel].mfn == 0)
        m->channel[channel].mfn = out.mfn;
    SAME(&m->f, out.mfn, m->channel[channel].mfn);
}

static void step_drop(struct m *m)
{
    for (uint32_t tries = 0; tries < 8; tries++) {
        uint32_t i = pick(&m->f, 16), who = pick(&m->f, NR);
        if (m->channel[i].used && m->d[who].alive && m->shown[who][i]) {
            hvtest_drop(m->t, (xp_domid_t)who, m->channel[i].mfn);
            m->shown[who][i] = false;
        }
    }
}

static void step_handle(struct m *m, uint32_t who)
{
    struct m_domain *d = &m->d[who];
    struct xen_shared_info *si = hvtest_shared_info(m->t, (xp_domid_t)who);
    uint32_t mask = pick(&m->f, 8);
    if (pick(&m->f, 8) != 0) {
        si->vcpu_info[0].evtchn_upcall_pending = 0;
        d->upcall = false;
    }
    if (pick(&m->f, 8) != 0) {
        si->vcpu_info[0].evtchn_pending_sel = 0;
        memset(si->evtchn_pending, 0, sizeof si->evtchn_pending);
        memset(d->pending, 0, sizeof d->pending);
        d->sel = 0;
    }
    si->evtchn_mask[0] |= (uint64_t)1 << mask;
    d->masked[mask] = 1;
}

static void create(struct m *m, uint32_t who)
{
    static const uint32_t sizes[] = {2, 5, 8, 70};
    struct m_domain *d = &m->d[who];
    struct xp_limits limits = {.max_evtchns = sizes[pick(&m->f, 4)], .max_direct = pick(&m->f, 4), .max_grant_frames = 1};
    if (hvtest_domain(m->t, (xp_domid_t)who) != NULL && hvtest_domain_teardown(m->t, (xp_domid_t)who) != 0)
        return;                 /* its number is a zombie's yet */
    if (hvtest_domain_create(m->t, (xp_domid_t)who, 2, limits) < 0)
        return;
    *d = (struct m_domain){
        .alive = true, .max_evtchns = limits.max_evtchns, .max_direct = limits.max_direct, .valid = XP_EVTCHN_BUCKET};
    memset(d->masked, 1, sizeof d->masked);
    d->port[0].state = XP_PORT_RESERVED;
}

static void destroy(struct m *m, uint32_t who)
{
    struct m_domain *d = &m->d[who];
    m->f.doing = "destroy";
    d->alive = false;
    hvtest_domain_kill(m->t, (xp_domid_t)who);
    while (hvtest_domain_teardown(m->t, (xp_domid_t)who) == 1)
        continue;
    for (uint32_t port = PORTS; port-- > 1;)
        if (d->port[port].state != XP_PORT_FREE)
            m_close(m, who, port);
    m_retry(m, d, UINT32_MAX);
}

/* ---- comparing ---- */

static void compare_domain(struct m *m, uint32_t who)
{
    const struct m_domain *d = &m->d[who];
    struct xp_port_info info;
    struct hvtest_counts counts = hvtest_counts(m->t, (xp_domid_t)who);
    uint32_t nr = 0;
    for (uint32_t port = 0; port < d->valid && port < PORTS; port++) {
        if (xp_evtchn_info(hvtest_domain(m->t, (xp_domid_t)who), port, &info) != 0)
            break;              /* no table yet */
        const struct m_port *p = &d->port[port];
        bool direct = p->channel >= 0 && p->state == XP_PORT_INTERDOMAIN && m->channel[p->channel].given[p->side] >= 0;
        SAME(&m->f, info.state, p->state);
        SAME(&m->f, info.pending, d->pending[port]);
        SAME(&m->f, info.masked, d->masked[port]);
        SAME(&m->f, info.remote_dom, p->dom);
        SAME(&m->f, info.remote_port, p->port);
        SAME(&m->f, info.direct, direct);
        nr += p->state > XP_PORT_RESERVED;
    }
    SAME(&m->f, counts.nr_evtchns, nr);
    SAME(&m->f, counts.nr_direct, d->made);
    SAME(&m->f, counts.nr_direct_held, d->nr_held);
    SAME(&m->f, counts.kicks, d->kicks);
    SAME(&m->f, counts.pending_sel, d->sel);
    SAME(&m->f, counts.upcall_pending, d->upcall);
}

static void compare(struct m *m)
{
    for (uint32_t who = 0; who < NR; who++)
        if (m->d[who].alive)
            compare_domain(m, who);
    for (uint32_t i = 0; i < 32; i++) {
        const struct m_channel *c = &m->channel[i];
        if (c->used)
            SAME(&m->f, hvtest_frame_record(m->t, c->mfn).ref_count, c->live + (c->given[0] >= 0) + (c->given[1] >= 0));
    }
}

static void step(struct m *m)
{
    uint32_t who = pick(&m->f, NR);
    if (!m->d[who].alive) {
        create(m, who);
        return;
    }
    switch (pick(&m->f, 20)) {
    case 0: case 1: step_alloc(m, who); break;
    case 2: case 3: case 4: step_bind(m, who); break;
    case 5: step_virq(m, who); break;
    case 6: step_ipi(m, who); break;
    case 7: case 8: step_close(m, who); break;
    case 9: case 10: step_send(m, who); break;
    case 11: case 12: step_unmask(m, who); break;
    case 13: case 14: case 15: step_direct(m, who); break;
    case 16: step_drop(m); break;
    case 17: step_handle(m, who); break;
    case 18:
        step_raise(m, who, pick(&m->f, 31));
        if (pick(&m->f, 8) == 0)
            step_reset(m, who);
        if (pick(&m->f, 16) == 0)
            step_fill(m, who);
        break;
    default:
        if (pick(&m->f, 16) == 0)
            destroy(m, who);
        break;
    }
}

int main(int argc, char **argv)
{
    static struct m m;
    uint64_t steps = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;
    m.f.rng = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1) * 0x9e3779b97f4a7c15u + 1;
    m.t = hvtest_create(256);
    for (m.f.step = 0; m.f.step < steps; m.f.step++) {
        step(&m);
        if (m.f.step % 8 == 0)
            compare(&m);
        if (m.f.step % 4096 == 0)
            SAME(&m.f, hvtest_audit(m.t) + hvtest_mm_audit(m.t), 0);
    }
    hvtest_destroy(m.t);
    (void)printf("%" PRIu64 " steps: %" PRIu64 " accepted, %" PRIu64 " refused, %" PRIu64 " failures let in\n", steps,
                 m.f.accepted, m.f.refused, m.f.failed);
    return 0;
}
