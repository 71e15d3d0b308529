/*
 * xp.h: what every file of the core shares: the glossary as types, Xen's error numbers, fault points.
 *
 * One-field structs so that a machine frame number cannot be passed where a grant reference belongs;
 * they cost nothing in registers. Functions return 0 or -XEN_Exxx unless their comment says otherwise.
 */
#ifndef XP_H
#define XP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XP_PAGE_SHIFT 12
#define XP_PAGE_SIZE 4096u

typedef struct { uint64_t v; } xp_mfn_t;   /* machine frame: offset in machine memory >> 12 */

typedef uint16_t xp_domid_t;               /* as domid_t in Xen's public headers */
typedef uint32_t xp_port_t;                /* as evtchn_port_t */
typedef uint32_t xp_gref_t;                /* as grant_ref_t */

static inline xp_mfn_t xp_mfn(uint64_t v) { return (xp_mfn_t){v}; }

/* Xen's error numbers (public/errno.h): equal to Linux's on x86 for all we use. */
enum {
    XEN_EPERM = 1, XEN_ENOENT = 2, XEN_ESRCH = 3, XEN_EIO = 5, XEN_E2BIG = 7, XEN_EAGAIN = 11,
    XEN_ENOMEM = 12, XEN_EACCES = 13, XEN_EFAULT = 14, XEN_EBUSY = 16, XEN_EEXIST = 17,
    XEN_EINVAL = 22, XEN_ENOSPC = 28, XEN_ENOSYS = 38, XEN_EOPNOTSUPP = 95, XEN_EISCONN = 106,
    XEN_ENOTCONN = 107, XEN_ETIMEDOUT = 110, XEN_EILSEQ = 84,
};

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
