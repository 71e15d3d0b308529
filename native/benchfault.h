/*
 * benchfault.h: a protection fault of Linux' own, to compare a guest kernel's with: a store to a read-only page, SIGSEGV, a handler that
 * returns, the store again; the nr-th time the handler allows it.
 *
 * For a process that does nothing else meanwhile: the action of SIGSEGV is changed and put back.
 */
#ifndef XP_BENCHFAULT_H
#define XP_BENCHFAULT_H

#include <stdint.h>

/* 0, or -XEN_Exxx: no memory, no handler. */
int xp_bench_prot_faults(uint64_t nr);

#endif
