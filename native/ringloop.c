/*
 * ringloop.c: both ends of a ring as C loops, for measuring what the ring itself costs. The bytes are real: each
 * request carries another number, each response is compared with it.
 */
#include "ring.h"
#include "tick.h"

#include <stdlib.h>
#include <string.h>

#define BATCH_MAX 1024u

/* Where the number stands: after an id of 8 bytes, if there is room, and of how many bytes. */
static uint32_t value_at(const struct xp_front *f)
{
    uint32_t end = f->layout.req_id_at + f->layout.id_size;
    return f->layout.id_size && end + sizeof(uint64_t) <= f->r.req_size ? end : 0;
}

static void build(const struct xp_front *f, uint8_t *req, uint64_t value)
{
    uint32_t at = value_at(f);
    uint32_t room = f->r.req_size - at;
    memcpy(req + at, &value, room < sizeof value ? room : sizeof value);
}

/* The part of request and response that the back copies, without the id. */
static bool echoes(const struct xp_front *f, const uint8_t *rsp, uint64_t value)
{
    uint32_t at = value_at(f);
    uint32_t shorter = f->r.rsp_size < f->r.req_size ? f->r.rsp_size : f->r.req_size;
    uint32_t room = at < shorter ? shorter - at : 0;
    return f->layout.id_size && at == 0 ? true : memcmp(rsp + at, &value, room < sizeof value ? room : sizeof value) == 0;
}

int xp_front_pingpong(struct xp_front *f, const struct xp_ring_wait *wait, uint32_t n, uint64_t *ticks)
{
    uint8_t *buf = calloc(1, (size_t)f->r.req_size + f->r.rsp_size);
    int ret = buf ? 0 : -XEN_ENOMEM;
    for (uint32_t i = 0; i < n && ret >= 0; i++) {
        uint64_t begin = xp_tick_begin();
        build(f, buf, i + 1);
        ret = xp_front_exchange(f, buf, 1, buf + f->r.req_size, wait);
        if (ret == 1 && !echoes(f, buf + f->r.req_size, i + 1))
            ret = -XEN_EBADMSG;
        if (ticks)
            ticks[i] = xp_tick_end() - begin;
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
    uint64_t put = 0, got = 0;
    while (got < n && ret >= 0) {
        while (put < n && put - got + batch <= flight && ret >= 0) {
            uint32_t want = n - put < batch ? (uint32_t)(n - put) : batch;
            for (uint32_t i = 0; i < want; i++)
                build(f, reqs + (size_t)i * f->r.req_size, put + i + 1);
            ret = xp_front_put(f, reqs, want);
            if (ret <= 0)
                break;
            put += (uint32_t)ret;
            ret = xp_front_send(f, wait);
        }
        if (ret < 0 || (ret = xp_front_wait(f, rsps, batch, wait)) < 0)
            break;
        for (uint32_t i = 0; i < (uint32_t)ret; i++)
            if (!echoes(f, rsps + (size_t)i * f->r.rsp_size, got + i + 1))
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
