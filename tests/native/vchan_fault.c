/*
 * A client that is killed at the n-th time it passes a fault point, and the server that must not notice more than that.
 * Arguments: fault point, n. Prints "hit" or "missed".
 *
 * The server's every call ends by its time limit; what it read is what was written, in order; once the hypervisor has
 * closed the event (here: the parent, when it has seen the death) calls end at once, after what is still in the ring.
 */
#include "vchan_pair.h"
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static const char *fault_name;
static int fault_count;

void xp_fault_hit(const char *name)
{
    if (fault_name != NULL && strcmp(name, fault_name) == 0 && --fault_count == 0) kill(getpid(), SIGKILL);
}

static uint32_t size_of(uint64_t number)
{
    return number % 5 == 3 ? 6000 : 1 + (uint32_t)(number * 37 % 900);   /* some are larger than the ring */
}

/* What the client does: messages there and back, with waiting in both directions, and an end. */
static void client(struct pair *p)
{
    static uint8_t buf[8192], back[8192];
    pair_connect(p);
    p->client.mode = XP_WAIT_BLOCK;
    for (uint64_t number = 0; number < 12; number++) {
        uint32_t len = size_of(number);
        for (uint32_t i = 0; i < len; i++) buf[i] = byte_at(number * 10000 + i, 1);
        CHECK(xp_vchan_send(&p->client, buf, len, 5 * SECOND) == 0);
        int64_t got = xp_vchan_recv(&p->client, back, sizeof(back), 5 * SECOND);
        if (got == -XEN_E2BIG) {
            CHECK(xp_vchan_recv_rest(&p->client, back, 5 * SECOND) == 0);
            got = p->client.rx_total;
        }
        CHECK(got == len && memcmp(buf, back, len) == 0);
    }
    xp_vchan_close(&p->client);
    _exit(0);
}

/* One message of the client's, echoed. 0, or the error of the call that ended; each is held to its limit. */
static int64_t serve(struct pair *p, uint64_t number, int64_t limit)
{
    static uint8_t buf[8192];
    int64_t begin = xp_now_ns(), ret = xp_vchan_recv(&p->server, buf, sizeof(buf), limit);
    if (ret == -XEN_E2BIG) {
        CHECK(p->server.rx_total == size_of(number));
        ret = xp_vchan_recv_rest(&p->server, buf, limit);
        if (ret == 0) ret = p->server.rx_total;
    }
    if (ret >= 0) {
        CHECK(ret == size_of(number));
        for (uint32_t i = 0; i < ret; i++) CHECK(buf[i] == byte_at(number * 10000 + i, 1));
        ret = xp_vchan_send(&p->server, buf, (uint64_t)ret, limit);
    }
    CHECK(xp_now_ns() - begin < 3 * limit + SECOND);
    CHECK(ret == 0 || ret == -XEN_ETIMEDOUT || ret == -XEN_ENOTCONN);
    return ret;
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    static struct pair p;
    pair_map(&p, 12, 11, false);
    p.server.mode = XP_WAIT_BLOCK;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        fault_name = argv[1];
        fault_count = atoi(argv[2]);
        client(&p);
    }
    int status = 0;
    uint64_t number = 0;
    int64_t ret;
    /* While the peer lives the server waits patiently; it dies at some point of this, or ends well. */
    while ((ret = serve(&p, number, SECOND / 5)) != -XEN_ENOTCONN) {
        if (ret == 0) {
            number++;
        } else if (waitpid(pid, &status, WNOHANG) == pid) {
            pid = 0;
            break;
        } else {
            CHECK(p.server.tx_left == 0);
        }
    }
    if (pid != 0) CHECK(waitpid(pid, &status, 0) == pid);
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    CHECK(killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0 && number == 12));
    /* The hypervisor has seen it: from here on nothing is waited for. */
    xp_direct_close_page(EVENT_PAGE(&p));
    int64_t begin = xp_now_ns();
    while (p.server.tx_left == 0 && serve(&p, number, 5 * SECOND) == 0) number++;
    CHECK(xp_now_ns() - begin < SECOND);
    xp_vchan_close(&p.server);
    printf(killed ? "hit\n" : "missed\n");
    return 0;
}
