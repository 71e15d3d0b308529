/*
 * ringloop.c: both ends of a ring as C loops, for measuring what the ring itself costs. The bytes are real: each
 * request carries another number, each response is compared with it.
 */
#include "ring.h"
#include "tick.h"

#include <stdlib.h>
#include <string.h>

#define BATCH_MAX 1024u

/* Where the value stands in request and response, and how many bytes of it: after the number, if there is room. */
struct place { uint32_t at, size; };

static struct place value_place(const struct xp_front *f)
{
    const struct xp_ring_layout *l = &f->layout;
    uint32_t shorter = f->r.rsp_size < f->r.req_size ? f->r.rsp_size : f->r.req_size;
    uint32_t end = l->id_size ? (l->req_id_at > l->rsp_id_at ? l->req_id_at : l->rsp_id_at) + l->id_size : 0;
    uint32_t room = end < shorter ? shorter - end : 0;
    return (struct place){end, room < sizeof(uint64_t) ? room : (uint32_t)sizeof(uint64_t)};
}

/* Of the usual size without a call: it would be measured, too. */
static inline void build(struct place p, uint8_t *req, uint64_t value)
{
    if (p.size == sizeof value)
        memcpy(req + p.at, &value, sizeof value);
    else
        memcpy(req + p.at, &value, p.size);
}

static inline bool echoes(struct place p, const uint8_t *rsp, uint64_t value)
{
    uint64_t echo;
    if (p.size != sizeof value)
        return memcmp(rsp + p.at, &value, p.size) == 0;
    memcpy(&echo, rsp + p.at, sizeof echo);
    return echo == value;
}

int xp_front_pingpong(struct xp_front *f, const struct xp_ring_wait *wait, uint32_t n, uint32_t stride, uint64_t *ticks)
{
    if (stride == 0)
        return -XEN_EINVAL;
    uint8_t *buf = calloc(1, (size_t)f->r.req_size + f->r.rsp_size);
    if (!buf)
        return -XEN_ENOMEM;
    const struct place place = value_place(f);
    uint8_t *rsp = buf + f->r.req_size;
    int ret = 0;
    for (uint32_t i = 0; i < n && ret >= 0;) {
        uint32_t k = n - i < stride ? n - i : stride;
        uint64_t begin = xp_tick_begin();
        for (uint32_t end = i + k; i < end && ret >= 0; i++) {
            build(place, buf, i + 1);
            ret = xp_front_exchange(f, buf, 1, rsp, wait);
            if (ret == 1 && !echoes(place, rsp, i + 1))
                ret = -XEN_EBADMSG;
        }
        if (ticks)
            *ticks++ = (xp_tick_end() - begin + k / 2) / k;
    }
    free(buf);
    return ret < 0 ? ret : 0;
}

int xp_front_pump(struct xp_front *f, const struct xp_ring_wait *wait, uint64_t n, uint32_t batch, uint32_t flight)
{
    if (batch == 0 || batch > BATCH_MAX || flight < batch)
        return -XEN_EINVAL;
    uint8_t *reqs = calloc(batch, f->r.req_size), *rsps = calloc(batch, f->r.rsp_size);
    int ret = reqs && rsps ? 0 : -XEN_ENOMEM;
    const struct place place = value_place(f);
    uint64_t put = 0, got = 0;
    while (got < n && ret >= 0) {
        while (put < n && put - got + batch <= flight && ret >= 0) {
            uint32_t want = n - put < batch ? (uint32_t)(n - put) : batch;
            for (uint32_t i = 0; i < want; i++)
                build(place, reqs + (size_t)i * f->r.req_size, put + i + 1);
            ret = xp_front_put(f, reqs, want);
            if (ret <= 0)
                break;
            put += (uint32_t)ret;
            ret = xp_front_send(f, wait);
        }
        if (ret < 0 || (ret = xp_front_wait(f, rsps, batch, wait)) < 0)
            break;
        for (uint32_t i = 0; i < (uint32_t)ret; i++)
            if (!echoes(place, rsps + (size_t)i * f->r.rsp_size, got + i + 1))
                ret = -XEN_EBADMSG;
        got += ret > 0 ? (uint32_t)ret : 0;
    }
    free(reqs);
    free(rsps);
    return ret < 0 ? ret : 0;
}

int xp_back_serve(struct xp_back *b, const struct xp_ring_wait *wait, uint64_t n, uint32_t batch)
{
    if (batch == 0 || batch > BATCH_MAX)
        return -XEN_EINVAL;
    size_t shorter = b->r.rsp_size < b->r.req_size ? b->r.rsp_size : b->r.req_size;
    uint8_t *reqs = calloc(batch, b->r.req_size), *rsps = calloc(batch, b->r.rsp_size);
    int ret = reqs && rsps ? 0 : -XEN_ENOMEM;
    uint64_t done = 0;
    while (done < n && ret >= 0) {
        ret = xp_back_reply_and_wait(b, rsps, (uint32_t)ret, reqs, batch, wait);
        for (int i = 0; i < ret; i++)
            memcpy(rsps + (size_t)i * b->r.rsp_size, reqs + (size_t)i * b->r.req_size, shorter);
        done += ret > 0 ? (uint32_t)ret : 0;
    }
    if (ret > 0 && (ret = xp_back_put(b, rsps, (uint32_t)ret)) > 0)
        ret = xp_back_send(b, wait);
    free(reqs);
    free(rsps);
    return ret < 0 ? ret : 0;
}
