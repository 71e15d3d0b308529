/*
 * diff_evtchn.h: the model of event channels that diff_evtchn.c holds against the real thing: tests/model/evtchn.py in C.
 *
 * Event pages are numbers; what is in them is left to the Python machine. Ports as far as one bucket and a bit.
 */
#ifndef DIFF_EVTCHN_H
#define DIFF_EVTCHN_H

#include "abi.h"
#include "diff.h"
#include "hvtest.h"

#include <string.h>

#define NR 4u
#define PORTS 72u                /* of a model's table: a bucket and a bit */
#define CHANNELS 4096u

struct m_port { uint8_t state, side; uint16_t dom; uint32_t port; int32_t channel; };

struct m_channel { bool used, live; uint16_t maker; uint64_t mfn; int16_t given[2]; };

struct m_domain {
    bool alive;
    uint32_t max_evtchns, max_direct, valid, made;
    struct m_port port[PORTS];
    uint16_t virq[NR_VIRQS];
    uint8_t pending[PORTS], masked[PORTS];
    uint64_t sel, kicks;
    bool upcall;
    uint32_t held[CHANNELS * 2], nr_held;   /* channel * 2 + side, in the order they are asked */
};

struct m {
    struct diff f;               /* the driver's */
    struct hvtest *t;
    struct m_domain d[NR];
    struct m_channel channel[CHANNELS];
    bool shown[NR][CHANNELS];
};

/* ---- the model ---- */

static inline void m_upcall(struct m_domain *d, uint32_t port)
{
    if (d->sel >> (port / 64) & 1)
        return;
    d->sel |= 1u << (port / 64);
    d->kicks += !d->upcall;
    d->upcall = true;
}

static inline void m_set_pending(struct m_domain *d, uint32_t port)
{
    if (!d->alive || d->pending[port])
        return;
    d->pending[port] = 1;
    if (!d->masked[port])
        m_upcall(d, port);
}

static inline int64_t m_free_port(const struct m_domain *d)
{
    for (uint32_t port = 1; port < d->max_evtchns; port++)
        if (d->port[port].state == XP_PORT_FREE)
            return port;
    return -XEN_ENOSPC;
}

static inline struct m_port *m_bind(struct m_domain *d, uint32_t port, uint8_t state)
{
    if (port >= d->valid)
        d->valid += XP_EVTCHN_BUCKET;
    d->port[port] = (struct m_port){.state = state, .channel = -1};
    return &d->port[port];
}

static inline bool m_let_go(struct m *m, uint32_t channel, uint32_t side)
{
    struct m_channel *c = &m->channel[channel];
    uint32_t who = (uint32_t)c->given[side];
    if (m->d[who].alive && m->shown[who][channel])
        return false;
    c->given[side] = -1;
    c->used = c->live || c->given[0] >= 0 || c->given[1] >= 0;
    return true;
}

static inline void m_retry(struct m *m, struct m_domain *d, uint32_t most)
{
    uint32_t kept[CHANNELS * 2], nr_kept = 0, asked = most < d->nr_held ? most : d->nr_held, rest = d->nr_held - asked;
    for (uint32_t i = 0; i < asked; i++)
        if (!m_let_go(m, d->held[i] / 2, d->held[i] % 2))
            kept[nr_kept++] = d->held[i];
    memmove(d->held, d->held + asked, rest * sizeof *d->held);
    memcpy(d->held + rest, kept, nr_kept * sizeof *kept);
    d->nr_held = rest + nr_kept;
}

static inline void m_close_channel(struct m *m, uint32_t channel)
{
    struct m_channel *c = &m->channel[channel];
    c->live = false;
    m->d[c->maker].made--;
    for (uint32_t side = 0; side < 2; side++) {
        if (c->given[side] < 0 || m_let_go(m, channel, side))
            continue;
        struct m_domain *d = &m->d[c->given[side]];
        memmove(d->held + 1, d->held, d->nr_held++ * sizeof *d->held);
        d->held[0] = channel * 2 + side;
    }
    c->used = c->given[0] >= 0 || c->given[1] >= 0;
}

static inline void m_close(struct m *m, uint32_t who, uint32_t port)
{
    struct m_domain *d = &m->d[who];
    struct m_port p = d->port[port];
    d->port[port] = (struct m_port){.state = XP_PORT_FREE, .channel = -1};
    if (p.state == XP_PORT_VIRQ)
        d->virq[p.port] = 0;
    if (p.state == XP_PORT_INTERDOMAIN) {
        m->d[p.dom].port[p.port] = (struct m_port){.state = XP_PORT_UNBOUND, .dom = (uint16_t)who, .channel = -1};
        if (p.channel >= 0)
            m_close_channel(m, (uint32_t)p.channel);
        if (!d->alive && p.dom != who)
            m_set_pending(&m->d[p.dom], p.port);
    }
    d->pending[port] = 0;
}

static inline const struct m_port *m_port_of(const struct m_domain *d, uint32_t port)
{
    return port < d->valid && port < PORTS ? &d->port[port] : NULL;
}

static inline bool per_vcpu(uint32_t virq)
{
    return virq == VIRQ_TIMER || virq == VIRQ_DEBUG || virq == VIRQ_XENOPROF || virq == VIRQ_XENPMU;
}

static inline uint32_t free_channel(const struct m *m)
{
    for (uint32_t i = 0; i < CHANNELS; i++)
        if (!m->channel[i].used)
            return i;
    abort();
}

static inline int64_t m_make_direct(struct m *m, uint32_t who, uint32_t port, uint32_t *channel)
{
    struct m_domain *d = &m->d[who];
    struct m_port *p = port < d->valid && port < PORTS ? &d->port[port] : NULL;
    if (p == NULL || p->state != XP_PORT_INTERDOMAIN)
        return -XEN_EINVAL;
    if (p->channel < 0 || m->channel[p->channel].given[p->side] < 0) {
        m_retry(m, d, 64);
        if (p->channel < 0 && d->made + d->nr_held >= d->max_direct)
            return -XEN_ENOSPC;
        if (p->channel >= 0 && d->nr_held >= d->max_direct)
            return -XEN_ENOSPC;
        if (p->channel < 0) {
            struct m_port *other = &m->d[p->dom].port[p->port];
            uint32_t i = free_channel(m);
            m->channel[i] = (struct m_channel){.used = true, .live = true, .maker = (uint16_t)who, .given = {-1, -1}};
            for (uint32_t k = 0; k < NR; k++)
                m->shown[k][i] = false;
            p->channel = other->channel = (int32_t)i;
            p->side = 0;
            other->side = 1;
            d->made++;
        }
        m->channel[p->channel].given[p->side] = (int16_t)who;
        m->shown[who][p->channel] = true;
    }
    *channel = (uint32_t)p->channel;
    return p->side;
}

#endif
