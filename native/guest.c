/*
 * guest.c: see guest.h.
 */
#include "guest.h"

#include "fixup.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

int xp_upcall_take(struct xen_shared_info *si, uint32_t port)
{
    uint64_t bit = (uint64_t)1 << (port % 64);
    /* Pairs with the hypervisor's set (evtchn.c): what the sender wrote before is visible after. */
    return (__atomic_fetch_and(&si->evtchn_pending[port / 64], ~bit, __ATOMIC_ACQ_REL) & bit) != 0;
}

int xp_upcall_begin(struct xen_shared_info *si)
{
    struct xen_vcpu_info *vcpu = &si->vcpu_info[0];
    uint8_t was = __atomic_exchange_n(&vcpu->evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST);
    (void)__atomic_exchange_n(&vcpu->evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
    return was != 0;
}

void xp_grant_entry_set(struct xen_grant_entry_v1 *entry, uint16_t domid, uint32_t frame, uint16_t flags)
{
    entry->domid = domid;
    entry->frame = frame;
    /* Pairs with the hypervisor's read of flags (grant.c). */
    __atomic_store_n(&entry->flags, flags, __ATOMIC_RELEASE);
}

int xp_grant_entry_end(struct xen_grant_entry_v1 *entry)
{
    uint16_t flags = __atomic_load_n(&entry->flags, __ATOMIC_RELAXED);
    do {
        if ((flags & (GTF_reading | GTF_writing)) != 0)
            return -XEN_EBUSY;
    } while (!__atomic_compare_exchange_n(&entry->flags, &flags, 0, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    return 0;
}

int64_t xp_grant_transfer_taken(struct xen_grant_entry_v1 *entry)
{
    /* Pairs with the hypervisor's release of completed (grant_entry.c): the frame was written before it. */
    if ((__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & GTF_transfer_completed) == 0)
        return -XEN_EAGAIN;
    uint32_t mfn = __atomic_load_n(&entry->frame, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->flags, 0, __ATOMIC_RELEASE);
    return mfn;
}

int xp_grant_transfer_end(struct xen_grant_entry_v1 *entry)
{
    uint16_t flags = GTF_accept_transfer;
    return __atomic_compare_exchange_n(&entry->flags, &flags, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED) ? 0 : -XEN_EBUSY;
}

int xp_pages_leave(uint64_t address, uint64_t nr)
{
    XP_FAULT_POINT("window.leave.before");
    int ret = madvise((void *)(uintptr_t)address, nr << XP_PAGE_SHIFT, MADV_DONTNEED) == 0 ? 0 : -errno;
    XP_FAULT_POINT("window.leave.after");
    return ret;
}

int xp_page_leave(uint64_t address) { return xp_pages_leave(address, 1); }

/*
 * The handler finds the call page through its alternate stack: the page's address lies at the stack's lower end, so that
 * there is no state in a file-scope variable.
 */
static void record(int signo, siginfo_t *info, void *context)
{
    stack_t stack;
    ucontext_t *uc = context;
    uint64_t pc = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
    if ((signo == SIGBUS || signo == SIGSEGV) && info->si_code > 0 && xp_fixup(&pc)) {
        uc->uc_mcontext.gregs[REG_RIP] = (greg_t)pc;
        return;
    }
    if (sigaltstack(NULL, &stack) == 0 && stack.ss_sp != NULL) {
        struct xp_call_page *page = *(struct xp_call_page **)stack.ss_sp;
        page->crash_addr = (uint64_t)(uintptr_t)info->si_addr;
        page->crash_rip = pc;
        page->crash_code = info->si_code;
        page->crash_signo = (uint32_t)signo;
    }
    /*
     * The handler is reset: a fault strikes again on return and kills; a sent signal must be sent again, and a trap too,
     * as it comes after its instruction. (Not by SA_RESETHAND: a fix-up must find the handler the next time.)
     */
    (void)signal(signo, SIG_DFL);
    if (info->si_code <= 0 || signo == SIGTRAP)
        (void)raise(signo);
}

int xp_crash_record(struct xp_call_page *page)
{
    const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};
    const size_t size = 65536;
    struct sigaction action = {.sa_sigaction = record, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    *(struct xp_call_page **)memory = page;
    stack_t stack = {.ss_sp = memory, .ss_size = size};
    if (sigaltstack(&stack, NULL) != 0)
        return -errno;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (sigaction(signals[i], &action, NULL) != 0)
            return -errno;
    return 0;
}

void xp_fault(const char *name)
{
    (void)name;
#ifdef XP_FAULT_POINTS
    xp_fault_hit(name);
#endif
}
