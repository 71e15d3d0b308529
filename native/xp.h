/*
 * xp.h: what every file of the core shares: the glossary as types, Xen's error numbers, fault points.
 *
 * One-field structs so that a machine frame number cannot be passed where a grant reference belongs;
 * they cost nothing in registers. Functions return 0 or -XEN_Exxx unless their comment says otherwise.
 *
 * Tour A:010
 */
#ifndef XP_H
#define XP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi_errno.h"

#define XP_PAGE_SHIFT 12
#define XP_PAGE_SIZE 4096u

typedef struct { uint64_t v; } xp_mfn_t;   /* machine frame: offset in machine memory >> 12 */

typedef uint16_t xp_domid_t;               /* as domid_t in Xen's public headers */
typedef uint32_t xp_port_t;                /* as evtchn_port_t */
typedef uint32_t xp_gref_t;                /* as grant_ref_t */

static inline xp_mfn_t xp_mfn(uint64_t v) { return (xp_mfn_t){v}; }

/*
 * A fault point: where the suite kills the process with SIGKILL, to prove that nobody else notices.
 * The names are listed from the source by tests/fault; in the shipped build the line compiles to nothing.
 */
#ifdef XP_FAULT_POINTS
void xp_fault_hit(const char *name);
#define XP_FAULT_POINT(name) xp_fault_hit(name)
#else
#define XP_FAULT_POINT(name) ((void)0)
#endif

static inline void xp_relax(void) { __builtin_ia32_pause(); }

static inline uint64_t xp_tsc(void) { return __builtin_ia32_rdtsc(); }

/* The CPU this thread runs on, from TSC_AUX as Linux sets it (cpu in the low 12 bits). A hint, never trusted. */
static inline uint32_t xp_cpu(void)
{
    unsigned int aux;
    (void)__builtin_ia32_rdtscp(&aux);
    return aux & 0xfffu;
}

#endif
