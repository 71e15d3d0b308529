/*
 * Four threads on one vchan, a reader and a writer at each end: every byte and every message arrives once, in order. Then
 * closing under waiting threads.
 */
#include "vchan_pair.h"
#include <pthread.h>
#include <sched.h>

struct job {
    struct xp_vchan *end;
    uint64_t total;
    uint32_t which;             /* the stream's number */
};

static void *stream_writer(void *arg)
{
    struct job *job = arg;
    uint64_t random = job->which, at = 0;
    static _Thread_local uint8_t buf[50000];
    while (at < job->total) {
        uint64_t n = next_random(&random) % (next_random(&random) % 8 == 0 ? sizeof(buf) : 300) + 1, done;
        if (n > job->total - at) n = job->total - at;
        for (uint64_t i = 0; i < n; i++) buf[i] = byte_at(at + i, job->which);
        uint64_t min = next_random(&random) % 2 == 0 ? n : 1;
        CHECK(xp_vchan_write(job->end, buf, n, min, 20 * SECOND, &done) == 0 && done >= min && done <= n);
        at += done;
    }
    CHECK(xp_vchan_drain(job->end, 20 * SECOND) == 0);
    return NULL;
}

static void *stream_reader(void *arg)
{
    struct job *job = arg;
    uint64_t random = job->which + 77, at = 0;
    static _Thread_local uint8_t buf[50000];
    while (at < job->total) {
        uint64_t n = next_random(&random) % (next_random(&random) % 8 == 0 ? sizeof(buf) : 300) + 1, done;
        if (n > job->total - at) n = job->total - at;
        uint64_t min = next_random(&random) % 2 == 0 ? n : 1;
        CHECK(xp_vchan_read(job->end, buf, n, min, 20 * SECOND, &done) == 0 && done >= min && done <= n);
        for (uint64_t i = 0; i < done; i++) CHECK(buf[i] == byte_at(at + i, job->which));
        at += done;
    }
    return NULL;
}

static uint32_t message_size(uint64_t *random)
{
    uint32_t kind = next_random(random) % 16;
    return next_random(random) % (kind == 0 ? 40000u : kind < 4 ? 900u : 80u);
}

static void *message_writer(void *arg)
{
    struct job *job = arg;
    uint64_t random = job->which, sizes = job->which + 5, at = 0;
    static _Thread_local uint8_t buf[50000];
    while (at < job->total) {
        uint32_t lens[40], n = 0, len = 0;
        if (next_random(&random) % 2 == 0) {
            len = message_size(&sizes);
            for (uint32_t i = 0; i < len; i++) buf[i] = byte_at(at + i, job->which);
            CHECK(xp_vchan_send(job->end, buf, len, 20 * SECOND) == 0);
            at += len + 1;
            continue;
        }
        /* A batch, of those that fit the smallest ring. */
        uint64_t at_now = at, sizes_now = sizes;
        for (; n < 40; n++) {
            uint64_t before = sizes_now;
            lens[n] = message_size(&sizes_now);
            if (lens[n] > 1020) {
                sizes_now = before;
                break;
            }
            for (uint32_t i = 0; i < lens[n]; i++) buf[len + i] = byte_at(at_now + i, job->which);
            len += lens[n];
            at_now += lens[n] + 1;
        }
        uint8_t *from = buf;
        for (uint32_t sent = 0; sent < n;) {
            int64_t ret = xp_vchan_send_many(job->end, from, lens + sent, n - sent, 20 * SECOND);
            CHECK(ret > 0);
            for (uint32_t i = sent; i < sent + (uint32_t)ret; i++) from += lens[i];
            sent += (uint32_t)ret;
        }
        at = at_now;
        sizes = sizes_now;
    }
    return NULL;
}

static void check_message(struct job *job, const uint8_t *data, uint32_t len, uint64_t *at, uint64_t *sizes)
{
    CHECK(len == message_size(sizes));
    for (uint32_t i = 0; i < len; i++) CHECK(data[i] == byte_at(*at + i, job->which));
    *at += len + 1;
}

static void *message_reader(void *arg)
{
    struct job *job = arg;
    uint64_t random = job->which + 77, sizes = job->which + 5, at = 0;
    static _Thread_local uint8_t buf[50000];
    while (at < job->total) {
        uint32_t lens[64], total;
        uint8_t *span;
        int64_t n;
        if (next_random(&random) % 2 == 0) {
            n = xp_vchan_peek_many(job->end, &span, &total, lens, 64, 20 * SECOND);
            CHECK(n >= 0 || n == -XEN_E2BIG);
            if (n > 0) {
                CHECK(total <= sizeof(buf));
                memcpy(buf, span, total);
                CHECK(xp_vchan_consume(job->end, total) == 0);
                uint32_t offset = 0;
                for (int64_t i = 0; i < n; i++) {
                    check_message(job, buf + offset + XP_VCHAN_HEADER, lens[i], &at, &sizes);
                    offset += XP_VCHAN_HEADER + lens[i];
                }
                continue;
            }
            if (n == 0) n = xp_vchan_recv(job->end, buf, 100, 20 * SECOND);
        } else {
            n = xp_vchan_recv(job->end, buf, 100, 20 * SECOND);
        }
        if (n == -XEN_E2BIG) {
            CHECK(job->end->rx_total <= sizeof(buf));
            CHECK(xp_vchan_recv_rest(job->end, buf, 20 * SECOND) == 0);
            n = job->end->rx_total;
        }
        CHECK(n >= 0);
        check_message(job, buf, (uint32_t)n, &at, &sizes);
    }
    return NULL;
}

/* Waits for what never comes, until a third thread closes the end. */
static void *hopeless_reader(void *arg)
{
    uint64_t done;
    uint8_t byte;
    CHECK(xp_vchan_read(arg, &byte, 1, 1, 30 * SECOND, &done) == -XEN_ENOTCONN);
    return NULL;
}

static void *hopeless_writer(void *arg)
{
    uint8_t buf[5000] = {0};
    uint64_t done;
    int ret;
    do {
        ret = xp_vchan_write(arg, buf, sizeof(buf), sizeof(buf), 30 * SECOND, &done);
    } while (ret == 0);
    CHECK(ret == -XEN_ENOTCONN);
    return NULL;
}

/* A reader and a writer wait without hope; closing their own end, or the peer's, ends both. */
static void closing(const char **argv, bool own)
{
    static struct pair p;
    pthread_t threads[2];
    pair_map(&p, (uint32_t)atoi(argv[2]), (uint32_t)atoi(argv[3]), atoi(argv[4]) != 0);
    pair_connect(&p);
    p.server.mode = atoi(argv[1]);
    CHECK(pthread_create(&threads[0], NULL, hopeless_reader, &p.server) == 0);
    CHECK(pthread_create(&threads[1], NULL, hopeless_writer, &p.server) == 0);
    while (xp_vchan_ready(&p.client) < p.client.rd.size) sched_yield();
    xp_vchan_close(own ? &p.server : &p.client);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    pair_unmap(&p);
}

/* Arguments: mode, left order, right order, scattered, bytes each way, messages. */
int main(int argc, const char **argv)
{
    CHECK(argc == 7);
    static struct pair p;
    pair_map(&p, (uint32_t)atoi(argv[2]), (uint32_t)atoi(argv[3]), atoi(argv[4]) != 0);
    pair_connect(&p);
    p.server.mode = p.client.mode = atoi(argv[1]);
    uint64_t total = (uint64_t)atoll(argv[5]);
    bool messages = atoi(argv[6]) != 0;
    struct job jobs[4] = {{&p.server, total, 1}, {&p.client, total, 1}, {&p.client, total, 2}, {&p.server, total, 2}};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        void *(*run[2][2])(void *) = {{stream_writer, stream_reader}, {message_writer, message_reader}};
        CHECK(pthread_create(&threads[i], NULL, run[messages][i % 2], &jobs[i]) == 0);
    }
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    pair_unmap(&p);
    closing(argv, true);
    closing(argv, false);
    printf("ok\n");
    return 0;
}
