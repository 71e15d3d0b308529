/* faults.c: see faults.h. */
#include "faults.h"

#include "fixup.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define STACK_SIZE 65536u
#define ANSWER_NS 5000000000
#define PF_PRESENT_WRITE 3       /* of a page fault's error code */

/* What the handlers need: beside their code, in the page that carries both. */
struct self {
    struct xp_call_page *page;
    struct xp_gcall *calls;
    uint64_t window_base;
};

typedef void (*handler_fn)(int signo, siginfo_t *info, void *context, const struct self *self);

/* Invariant 2. After it the store is done again. */
static bool may_store(const struct self *self, const ucontext_t *uc, uint64_t address)
{
    if (self->calls == NULL || (uc->uc_mcontext.gregs[REG_ERR] & PF_PRESENT_WRITE) != PF_PRESENT_WRITE)
        return false;
    /* An address outside the window is no frame of ours: the hypervisor says so. */
    const uint64_t args[6] = {XP_OP_pt_write, address - self->window_base, 0, 0};
    int64_t result = 0;
    int kept = errno;
    int ret = xp_gcall(self->calls, XP_HYPERVISOR_xenproc_op, args, XP_WAIT_ADAPTIVE, ANSWER_NS, &result);
    errno = kept;
    return ret == 0 && result > 0;
}

static void handle(int signo, siginfo_t *info, void *context, const struct self *self)
{
    ucontext_t *uc = context;
    uint64_t pc = (uint64_t)uc->uc_mcontext.gregs[REG_RIP], address = (uint64_t)(uintptr_t)info->si_addr;
    if ((signo == SIGBUS || signo == SIGSEGV) && info->si_code > 0 && xp_fixup(&pc)) {
        uc->uc_mcontext.gregs[REG_RIP] = (greg_t)pc;
        return;
    }
    if (signo == SIGBUS && info->si_code > 0 && may_store(self, uc, address))
        return;
    self->page->crash_addr = address;
    self->page->crash_rip = pc;
    self->page->crash_code = info->si_code;
    self->page->crash_signo = (uint32_t)signo;
    /*
     * The handler is reset: a fault strikes again on return and kills; a sent signal must be sent again, and a trap too,
     * as it comes after its instruction. (Not by SA_RESETHAND: a fix-up must find the handler the next time.)
     */
    (void)signal(signo, SIG_DFL);
    if (info->si_code <= 0 || signo == SIGTRAP)
        (void)raise(signo);
}

/* endbr64; mov $self, %rcx; mov $handle, %rax; jmp *%rax: the fourth argument is ours. NULL: no memory. */
static void *entry_for(struct self self)
{
    static const uint8_t code[] = {0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0,
                                   0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0};
    const handler_fn to = handle;
    uint8_t *page = mmap(NULL, XP_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    struct self *own = (struct self *)(void *)(page + XP_PAGE_SIZE / 2);
    *own = self;
    memcpy(page, code, sizeof code);
    memcpy(page + 6, &own, sizeof own);
    memcpy(page + 16, &to, sizeof to);
    return mprotect(page, XP_PAGE_SIZE, PROT_READ | PROT_EXEC) == 0 ? page : NULL;
}

int xp_faults_install(struct xp_call_page *page, struct xp_gcall *calls, uint64_t window_base)
{
    const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};
    void *entry = entry_for((struct self){.page = page, .calls = calls, .window_base = window_base});
    void *memory = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (entry == NULL || memory == MAP_FAILED)
        return -errno;
    /* For the thread that this is: so that its running out of stack can be recorded, too. */
    const stack_t stack = {.ss_sp = memory, .ss_size = STACK_SIZE};
    if (sigaltstack(&stack, NULL) != 0)
        return -errno;
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    memcpy(&action.sa_sigaction, &entry, sizeof entry);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (sigaction(signals[i], &action, NULL) != 0)
            return -errno;
    return 0;
}
