/*
 * An honest end against a peer that writes anything anywhere, at any step: every call returns what vchan.h allows, at
 * once where it may not wait, and touches no memory but its own and the shared pages (the sanitizer looks). Arguments: seed, steps.
 */
#include "vchan_pair.h"

static bool allowed(int64_t ret)
{
    return ret >= 0 || ret == -XEN_EAGAIN || ret == -XEN_ETIMEDOUT || ret == -XEN_ENOTCONN || ret == -XEN_EILSEQ
        || ret == -XEN_E2BIG || ret == -XEN_EINVAL || ret == -XEN_EBUSY || ret == -XEN_EIO;
}

/* The peer's moves: honest ones by its own end, and scribbling. */
static void peer_moves(struct pair *p, uint64_t *random)
{
    static uint8_t buf[9000];
    uint64_t done;
    uint32_t n = next_random(random) % sizeof(buf), *words = (uint32_t *)(void *)p->memory;
    switch (next_random(random) % 24) {
    case 0:                                       /* any word of the shared page, its small rings included */
        __atomic_store_n(&words[next_random(random) % (XP_PAGE_SIZE / 4)], next_random(random) << 1, __ATOMIC_SEQ_CST);
        break;
    case 1:                                       /* an index, a little off */
        __atomic_fetch_add(&words[next_random(random) % 4], next_random(random) % 9 - 4, __ATOMIC_SEQ_CST);
        break;
    case 2:                                       /* liveness and notification */
        p->memory[20 + next_random(random) % 4] = (uint8_t)(next_random(random) % 4);
        break;
    case 3:                                       /* the event page */
        ((uint32_t *)EVENT_PAGE(p))[next_random(random) % 32] = next_random(random) % 5;
        break;
    case 4: case 5: case 6: {                     /* a length, and some of the message */
        uint32_t len = next_random(random) % 3 == 0 ? next_random(random) : next_random(random) % 6000;
        memcpy(buf, &len, sizeof(len));
        (void)xp_vchan_write(&p->client, buf, 4 + n % 6000, 0, 0, &done);
        break;
    }
    case 7: case 8: (void)xp_vchan_write(&p->client, buf, n, 0, 0, &done); break;
    case 9: case 10: case 11: (void)xp_vchan_read(&p->client, buf, n, 0, 0, &done); break;
    case 12: (void)xp_vchan_arm(&p->client, 3); break;
    case 13: (void)xp_direct_send(&p->event[1]); break;
    default: (void)xp_vchan_send(&p->client, buf, n % 300, 0); break;
    }
}

static int64_t step(struct xp_vchan *ch, uint64_t *random)
{
    static uint8_t buf[9000];
    uint8_t *span;
    uint64_t done;
    uint32_t lens[16], total, n = next_random(random) % sizeof(buf);
    int64_t ret, timeout = next_random(random) % 64 == 0 ? 20000 : 0;
    switch (next_random(random) % 12) {
    case 0:
        ret = xp_vchan_read(ch, buf, n, n / 2, timeout, &done);
        CHECK(done <= n);
        return ret;
    case 1:
        ret = xp_vchan_write(ch, buf, n, n / 2, timeout, &done);
        CHECK(done <= n);
        return ret;
    case 2:
        ret = xp_vchan_peek(ch, n % 3000, &span, timeout);
        for (int64_t i = 0; i < ret; i++) buf[i % 100] = (uint8_t)(buf[i % 100] + span[i]);
        return ret < 0 ? ret : xp_vchan_consume(ch, (uint32_t)ret);
    case 3:
        ret = xp_vchan_reserve(ch, n % 3000, &span, timeout);
        if (ret > 0) memset(span, 1, (size_t)ret);
        return ret < 0 ? ret : xp_vchan_commit(ch, (uint32_t)ret / 2);
    case 4: case 5: case 6:
        ret = xp_vchan_recv(ch, buf, 3000, timeout);
        CHECK(ret <= 3000);
        if (ret == -XEN_E2BIG) {
            CHECK(ch->rx_total <= sizeof(buf));
            return xp_vchan_recv_rest(ch, buf, timeout);
        }
        return ret;
    case 7:
        ret = xp_vchan_peek_many(ch, &span, &total, lens, 16, timeout);
        if (ret <= 0) return ret;
        CHECK(ret <= 16 && total <= ch->rd.theirs - ch->rd.mine);   /* no further than the peer has written */
        done = 0;
        for (int64_t i = 0; i < ret; i++) done += XP_VCHAN_HEADER + lens[i];
        CHECK(done == total);
        for (uint32_t i = 0; i < total; i++) buf[i % 100] = (uint8_t)(buf[i % 100] + span[i]);
        return xp_vchan_consume(ch, total);
    case 8: return xp_vchan_send(ch, buf, n % 2000, timeout);
    case 9:
        if (ch->tx_left != 0) return xp_vchan_send(ch, ch->tx_buf, ch->tx_total, timeout);
        return xp_vchan_send(ch, buf, n, timeout);
    case 10:
        ret = xp_vchan_arm(ch, 3);
        xp_vchan_disarm(ch);
        return ret;
    default: return xp_vchan_drain(ch, timeout);
    }
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    uint64_t random = (uint64_t)atoll(argv[1]), broken = 0, good = 0;
    uint32_t left_orders[] = {10, 12, 13, 11, 14}, right_orders[] = {11, 13, 10, 12, 14};
    static struct pair p;
    for (long steps = atol(argv[2]); steps > 0;) {
        uint32_t kind = next_random(&random) % 5;
        pair_map(&p, left_orders[kind], right_orders[kind], next_random(&random) % 2 == 0);
        pair_connect(&p);
        p.server.mode = XP_WAIT_BLOCK;
        p.server.max_message = 5000;
        for (int64_t ret = 0; ret != -XEN_EILSEQ && ret != -XEN_ENOTCONN && steps > 0; steps--) {
            peer_moves(&p, &random);
            ret = step(&p.server, &random);
            CHECK(allowed(ret));
            if (ret >= 0) good++;
            if (ret == -XEN_EILSEQ) broken++;
        }
        if (next_random(&random) % 2 == 0) xp_vchan_close(&p.server);
        pair_unmap(&p);
    }
    printf("good %lu broken %lu\n", (unsigned long)good, (unsigned long)broken);
    return 0;
}
