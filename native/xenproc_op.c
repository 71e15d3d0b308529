/*
 * xenproc_op.c: our own hypercall (ours.h): results and tracebacks, direct ports, descriptors, the board.
 */
#include "abi.h"
#include "alarm.h"
#include "board.h"
#include "bounce.h"
#include "cpu_spent.h"
#include "evtchn.h"
#include "guestmem.h"
#include "hypercall.h"
#include "traps.h"
#include "writable_pt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A domain's last words: kept as bytes, never interpreted here. */
static int64_t report(struct xp_domain *d, uint64_t kind, uint64_t va, uint64_t len)
{
    if (kind > XP_REPORT_ready || len > XP_REPORT_MAX)
        return -XEN_EINVAL;
    if (kind == XP_REPORT_ready) {
        d->ready = true;
        xp_hv_news_of(d);
        return 0;
    }
    uint8_t *bytes = malloc(len > 0 ? len : 1);
    if (bytes == NULL)
        return -XEN_ENOMEM;
    int ret = xp_copy_from_guest(d, bytes, va, len);
    if (ret != 0) {
        free(bytes);
        return ret;
    }
    free(d->report);
    d->report = bytes;
    d->report_len = (uint32_t)len;
    d->report_kind = (int32_t)kind;
    xp_hv_news_of(d);
    return 0;
}

static int64_t make_direct(struct xp_domain *d, uint64_t port, uint64_t va)
{
    struct xp_op_direct op = {0};
    /* Refuse before there is any effect: the answer must have a place. */
    int ret = xp_copy_to_guest(d, va, &op, sizeof op);
    if (ret == 0 && port > UINT32_MAX)
        ret = -XEN_EINVAL;
    if (ret == 0)
        ret = xp_evtchn_make_direct(d, (xp_port_t)port, &op);
    return ret != 0 ? ret : xp_copy_to_guest(d, va, &op, sizeof op);
}

/* Sends one descriptor to the domain over its boot socket; it is ours to keep. -XEN_EAGAIN: the domain does not read. */
static int send_fd(struct xp_domain *d, int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    char tag = 'f';
    struct iovec iov = {.iov_base = &tag, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &fd, sizeof fd);
    return sendmsg(d->boot_sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

static int64_t direct_fd(struct xp_domain *d, uint64_t port, uint64_t which)
{
    /* Only one's own: the peer's open file would let us make his reads of it wait. */
    if (port > UINT32_MAX || which != 0)
        return -XEN_EINVAL;
    int fd = xp_evtchn_direct_fd(d, (xp_port_t)port, 0);
    return fd < 0 ? fd : send_fd(d, fd);
}

static int64_t upcall_fd(struct xp_domain *d)
{
    if (d->upcall_fd < 0)
        d->upcall_fd = xp_waker_fd(&d->hv->waker);
    if (d->upcall_fd >= 0)
        return send_fd(d, d->upcall_fd);
    int ret = d->upcall_fd;
    d->upcall_fd = -1;
    return ret;
}

int64_t xp_do_xenproc_op(struct xp_domain *d, struct xp_call *call)
{
    const uint64_t *args = call->args;
    switch (args[0]) {
    case XP_OP_report: return report(d, args[1], args[2], args[3]);
    case XP_OP_evtchn_direct: return make_direct(d, args[1], args[2]);
    case XP_OP_direct_fd: return direct_fd(d, args[1], args[2]);
    case XP_OP_publish: return xp_board_publish(d, args[1]);
    case XP_OP_lookup: return xp_board_lookup(d, call, args[1]);
    case XP_OP_resolve: return xp_board_resolve(d, call, args[1]);
    case XP_OP_upcall_fd: return upcall_fd(d);
    case XP_OP_set_virtual_timer: return xp_alarm_set_virtual(d, args[1]);
    case XP_OP_trap: return xp_bounce(d, args[1]);
    case XP_OP_set_ad: return xp_mm_set_ad(d, args[1], args[2]);
    case XP_OP_pt_write: return xp_wpt_write(d, call);
    case XP_OP_pt_fault: return xp_wpt_fault(d, call);
    case XP_OP_pay: return xp_cpu_pay(d, args[1], args[2]);
    case XP_OP_hand_over: return xp_cpu_hand_over(d, args[1], args[2]);
    case XP_OP_set_fast_trap: return xp_set_fast_trap(d, args[1]);
    default: return -XEN_ENOSYS;
    }
}
