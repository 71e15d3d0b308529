/* benchfault.c: see benchfault.h. */
#include "benchfault.h"

#include "xp.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

/* The count lies in the page behind the protected one: a handler has no argument of its own, and there is no state at file scope. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    uint64_t page = (uint64_t)(uintptr_t)info->si_addr & ~(uint64_t)(XP_PAGE_SIZE - 1);
    volatile uint64_t *left = (volatile uint64_t *)(uintptr_t)(page + XP_PAGE_SIZE);
    *left -= 1;
    if (*left == 0)
        mprotect((void *)(uintptr_t)page, XP_PAGE_SIZE, PROT_READ | PROT_WRITE);
}

int xp_bench_prot_faults(uint64_t nr)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, before;
    uint8_t *pages = mmap(NULL, 2 * XP_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return -XEN_ENOMEM;
    *(volatile uint64_t *)(void *)(pages + XP_PAGE_SIZE) = nr;
    int ret = 0;
    if (nr == 0 || mprotect(pages, XP_PAGE_SIZE, PROT_READ) != 0 || sigaction(SIGSEGV, &action, &before) != 0) {
        ret = -XEN_EINVAL;
    } else {
        *(volatile uint8_t *)pages = 1;
        sigaction(SIGSEGV, &before, NULL);
    }
    munmap(pages, 2 * XP_PAGE_SIZE);
    return ret;
}
