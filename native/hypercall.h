/*
 * hypercall.h: the table of hypercalls and the multicall; each handler lies in the file of its noun.
 *
 * A handler gets the caller and a call whose arguments were copied out of its page. It returns the result for the
 * caller (0 or more, or -XEN_Exxx), or XP_CALL_AGAIN or XP_CALL_PARK (domain.h). Unknown numbers: -XEN_ENOSYS.
 */
#ifndef XP_HYPERCALL_H
#define XP_HYPERCALL_H

#include "domain.h"

/* No slot: the call is part of a multicall and cannot wait in the hypervisor. */
#define XP_NO_SLOT UINT32_MAX

int64_t xp_hypercall(struct xp_domain *d, struct xp_call *call);

int64_t xp_do_xen_version(struct xp_domain *d, struct xp_call *call);   /* version.c */
int64_t xp_do_console_io(struct xp_domain *d, struct xp_call *call);    /* console.c */
int64_t xp_do_sched_op(struct xp_domain *d, struct xp_call *call);      /* sched.c */
int64_t xp_do_vcpu_op(struct xp_domain *d, struct xp_call *call);       /* vcpu.c */
int64_t xp_do_set_timer_op(struct xp_domain *d, struct xp_call *call);  /* alarm.c */
int64_t xp_do_set_trap_table(struct xp_domain *d, struct xp_call *call);    /* traps.c */
int64_t xp_do_callback_op(struct xp_domain *d, struct xp_call *call);
int64_t xp_do_set_callbacks(struct xp_domain *d, struct xp_call *call);
int64_t xp_do_nmi_op(struct xp_domain *d, struct xp_call *call);
int64_t xp_do_stack_switch(struct xp_domain *d, struct xp_call *call);
int64_t xp_do_set_segment_base(struct xp_domain *d, struct xp_call *call);
int64_t xp_do_fpu_taskswitch(struct xp_domain *d, struct xp_call *call);
int64_t xp_do_set_debugreg(struct xp_domain *d, struct xp_call *call);  /* debugreg.c */
int64_t xp_do_get_debugreg(struct xp_domain *d, struct xp_call *call);
int64_t xp_do_iret(struct xp_domain *d, struct xp_call *call);          /* bounce.c */
int64_t xp_do_memory_op(struct xp_domain *d, struct xp_call *call);     /* memory.c */
int64_t xp_do_mmu_update(struct xp_domain *d, struct xp_call *call);    /* mmu_update.c */
int64_t xp_do_update_va_mapping(struct xp_domain *d, struct xp_call *call);
int64_t xp_do_update_va_mapping_otherdomain(struct xp_domain *d, struct xp_call *call);
int64_t xp_do_mmuext_op(struct xp_domain *d, struct xp_call *call);     /* mmuext.c */
int64_t xp_do_set_gdt(struct xp_domain *d, struct xp_call *call);       /* segment.c */
int64_t xp_do_update_descriptor(struct xp_domain *d, struct xp_call *call);
int64_t xp_do_vm_assist(struct xp_domain *d, struct xp_call *call);
int64_t xp_do_xenproc_op(struct xp_domain *d, struct xp_call *call);    /* xenproc_op.c */

#endif
