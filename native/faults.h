/*
 * faults.h: what becomes of a domain's own faults: a load that may fail is fixed up (fixup.h), a plain store into one of its page
 * tables is made possible (writable_pt.h), anything else leaves its record in the call page and kills.
 *
 * Owns the handlers of SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT and SIGTRAP of the domain's process, all its threads. Whoever
 * installs handlers of his own loses all three. Runs in the guest; nobody trusts it.
 *   1. Only what a signal handler may do is done here: atomics, futex, write to the doorbell, vDSO; errno is kept. A call of the
 *      thread's own that the fault interrupted is another slot, and no lock is held anywhere (gcall.h).
 *   2. Asked about is only a store into a page that is there and write-protected (so never the call page, which asking needs; nor
 *      a page that this process let go of, which is the domain's still). What the hypervisor does not open is the crash that
 *      it always was: the fault strikes again without a handler.
 *   3. No state at file scope: handlers are entered by a few bytes of machine code that carry the address of what they need,
 *      in a page that nobody writes any more. So every thread has it, whatever its stack.
 */
#ifndef XP_FAULTS_H
#define XP_FAULTS_H

#include "gcall.h"

/* calls: NULL: no store is asked about. For the rest of the process's life. 0 or -errno. */
int xp_faults_install(struct xp_call_page *page, struct xp_gcall *calls, uint64_t window_base);

#endif
