/* bounce.c: see bounce.h. */
#include "bounce.h"

#include "abi.h"
#include "guestmem.h"
#include "hypercall.h"
#include "traps.h"

#define INVALID_OPCODE 6u
#define GENERAL_PROTECTION 13u
#define PAGE_FAULT 14u
#define EFLAGS_IF 0x200u
#define EFLAGS_FORBIDDEN 0x23000u    /* IOPL, VM: not the guest's to set */
#define IDT_ERROR(vector) ((vector) << 3 | 2u)

struct target {
    uint64_t handler;
    bool masks;
};

static struct xen_vcpu_info *vcpu_info(struct xp_domain *d)
{
    return &((struct xen_shared_info *)d->shared_info)->vcpu_info[0];
}

static bool in_user(const struct xp_domain *d)
{
    return atomic_load_explicit(&d->calls->gst_user, memory_order_relaxed) != 0;
}

static void enter(struct xp_domain *d, bool user)
{
    atomic_store_explicit(&d->calls->gst_user, user, memory_order_relaxed);
}

static void crash(struct xp_domain *d, const struct xp_op_trap *op, bool user, const char *why)
{
    xp_domain_crash(d, "%s: vector %u error %#llx address %#llx from ring %u, rip %#llx rflags %#llx rsp %#llx", why, op->vector,
                    (unsigned long long)op->error_code, (unsigned long long)op->address, user ? 3 : xp_kernel_ring(d),
                    (unsigned long long)op->rip, (unsigned long long)op->rflags, (unsigned long long)op->rsp);
}

/* ---- to whom ---- */

static struct target gate(const struct xp_domain *d, uint32_t vector)
{
    struct xp_trap trap = xp_trap_of(d, vector);
    return (struct target){.handler = trap.address, .masks = (trap.flags & XP_TRAP_GATE_IF) != 0};
}

/* A software interrupt where there is no gate, or one that this ring may not use, is a general protection fault. */
static bool may_use(const struct xp_domain *d, uint32_t vector, bool user)
{
    struct xp_trap trap = xp_trap_of(d, vector);
    uint32_t ring = user ? 3 : xp_kernel_ring(d) == 1 ? 1 : 0;
    return trap.address != 0 && (trap.flags & XP_TRAP_GATE_DPL) >= ring;
}

static struct target find(struct xp_domain *d, struct xp_op_trap *op, bool user)
{
    if (op->vector == XP_TRAP_syscall) {
        const struct xp_callback *callback = &d->vcpu.callback[CALLBACKTYPE_syscall];
        d->vcpu.nr_syscalls++;
        if (callback->address != 0)
            return (struct target){.handler = callback->address, .masks = callback->masks};
        op->vector = INVALID_OPCODE;    /* as Xen: the instruction is not there */
    } else if ((op->flags & XP_TRAPF_software) != 0) {
        if (may_use(d, op->vector, user)) {
            d->vcpu.nr_syscalls++;
            return gate(d, op->vector);
        }
        op->error_code = IDT_ERROR(op->vector);
        op->vector = GENERAL_PROTECTION;
    }
    d->vcpu.nr_page_faults += op->vector == PAGE_FAULT;
    d->vcpu.nr_other_traps += op->vector != PAGE_FAULT;
    return gate(d, op->vector);
}

/* ---- the frame ---- */

static bool push(struct xp_domain *d, struct xp_op_trap *op, bool user)
{
    uint8_t masked = __atomic_load_n(&vcpu_info(d)->evtchn_upcall_mask, __ATOMIC_RELAXED);
    bool narrow = xp_kernel_ring(d) == 1;
    uint64_t cs = narrow ? (user ? XEN32_FLAT_RING3_CS : XEN32_FLAT_RING1_CS) : FLAT_USER_CS64;
    uint64_t ss = narrow ? (user ? XEN32_FLAT_RING3_SS : XEN32_FLAT_RING1_SS) : FLAT_USER_SS64;
    struct xp_trap_frame frame = {
        .cr2 = op->vector == PAGE_FAULT ? op->address : 0,
        .rcx = op->rcx, .r11 = op->r11, .error_code = op->error_code, .rip = op->rip,
        /* In 64-bit mode both run in ring 3: a kernel's selector is told by the RPL that it does not have. */
        .cs = (narrow || user ? cs : cs & ~(uint64_t)3) | (uint64_t)(masked != 0) << 32,
        .rflags = (op->rflags & ~(uint64_t)EFLAGS_IF) | (masked == 0 ? EFLAGS_IF : 0),
        .rsp = op->rsp, .ss = ss,
    };
    uint64_t stack = user ? d->vcpu.kernel_sp : op->rsp;
    op->frame = (stack & ~(uint64_t)15) - sizeof frame;
    return stack >= sizeof frame + 15 && xp_copy_to_guest(d, op->frame, &frame, sizeof frame) == 0;
}

int64_t xp_bounce(struct xp_domain *d, uint64_t va)
{
    struct xp_op_trap op;
    bool user = in_user(d);
    int ret = xp_copy_from_guest(d, &op, va, sizeof op);
    if (ret != 0)
        return ret;
    if ((op.flags & ~XP_TRAPF_software) != 0 || op.vector > XP_TRAP_syscall)
        return -XEN_EINVAL;
    struct target target = find(d, &op, user);
    xp_trace(&d->hv->tracer, XP_TRACE_traps, XP_TT_trap, d->domid, op.vector, op.address);
    if (target.handler == 0) {
        crash(d, &op, user, "no handler");
        return XP_CALL_PARK;
    }
    if (!push(d, &op, user)) {
        crash(d, &op, user, "double fault: no stack");
        return XP_CALL_PARK;
    }
    if (op.vector == PAGE_FAULT)
        vcpu_info(d)->arch.cr2 = op.address;
    if (target.masks)
        __atomic_store_n(&vcpu_info(d)->evtchn_upcall_mask, 1, __ATOMIC_RELAXED);
    enter(d, false);
    op.handler = target.handler;
    return xp_copy_to_guest(d, va, &op, sizeof op);
}

/* ---- the way back ---- */

/* (address of a struct iret_context; Xen takes it from the stack pointer, which is no argument here). Its rax. */
int64_t xp_do_iret(struct xp_domain *d, struct xp_call *call)
{
    struct xen_iret_context back;
    if (xp_copy_from_guest(d, &back, call->args[0], sizeof back) != 0) {
        xp_domain_crash(d, "iret: no frame at %#llx", (unsigned long long)call->args[0]);
        return XP_CALL_PARK;
    }
    uint32_t ring = (uint32_t)(back.cs & 3);
    bool narrow = xp_kernel_ring(d) == 1;
    if ((narrow && ring != 1 && ring != 3) || !xp_va_canonical(d->mm.mode, back.rip) || (back.rflags & EFLAGS_FORBIDDEN) != 0) {
        xp_domain_crash(d, "iret: cs %#llx rip %#llx rflags %#llx rsp %#llx ss %#llx cannot be", (unsigned long long)back.cs,
                        (unsigned long long)back.rip, (unsigned long long)back.rflags, (unsigned long long)back.rsp,
                        (unsigned long long)back.ss);
        return XP_CALL_PARK;
    }
    d->vcpu.nr_irets++;
    __atomic_store_n(&vcpu_info(d)->evtchn_upcall_mask, (back.rflags & EFLAGS_IF) == 0, __ATOMIC_SEQ_CST);
    enter(d, ring == 3);
    call->plain = true;
    return (int64_t)back.rax;
}
