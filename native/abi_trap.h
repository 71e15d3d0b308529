/*
 * abi_trap.h: traps, callbacks, registers, the first context of a virtual CPU, and the flat segments Xen offers.
 */
#ifndef XEN_ABI_TRAP_H
#define XEN_ABI_TRAP_H

#include "abi_types.h"

/* ---- set_trap_table (array, ended by address 0) ---- */

struct xen_trap_info {
    uint8_t vector;
    uint8_t flags;              /* bits 0-1: from which ring on it may be raised by software; bit 2: masks upcalls */
    uint16_t cs;
    uint64_t address;
};
_Static_assert(sizeof(struct xen_trap_info) == 16, "trap_info");

struct xen32_trap_info {
    uint8_t vector;
    uint8_t flags;
    uint16_t cs;
    uint32_t address;
};
_Static_assert(sizeof(struct xen32_trap_info) == 8, "trap_info, x86_32");

/* ---- callback_op (cmd, argument) ---- */

enum { CALLBACKOP_register = 0, CALLBACKOP_unregister = 1 };
enum {
    CALLBACKTYPE_event = 0,
    CALLBACKTYPE_failsafe = 1,
    CALLBACKTYPE_syscall = 2,
    CALLBACKTYPE_sysenter_deprecated = 3,
    CALLBACKTYPE_nmi = 4,
    CALLBACKTYPE_sysenter = 5,
    CALLBACKTYPE_syscall32 = 7,
};
enum { CALLBACKF_mask_events = 1 };

struct xen_callback_register {
    uint16_t type;              /* IN: CALLBACKTYPE_* */
    uint16_t flags;             /* IN: CALLBACKF_* */
    uint64_t address;           /* IN */
};
_Static_assert(sizeof(struct xen_callback_register) == 16, "callback_register");

/* Only a 32-bit guest names a code segment. */
struct xen32_callback {
    uint32_t cs;
    uint32_t eip;
};

struct xen32_callback_register {
    uint16_t type;
    uint16_t flags;
    struct xen32_callback address;
};
_Static_assert(sizeof(struct xen32_callback_register) == 12, "callback_register, x86_32");

struct xen_callback_unregister {
    uint16_t type;              /* IN */
    uint16_t _unused;
};

/* ---- nmi_op (cmd, argument) ---- */

enum { XENNMI_register_callback = 0, XENNMI_unregister_callback = 1 };

struct xennmi_callback {
    uint64_t handler_address;   /* IN */
    uint64_t pad;
};

struct xen32_xennmi_callback {
    uint32_t handler_address;
    uint32_t pad;
};

/* ---- set_segment_base (which, value) ---- */

enum { SEGBASE_FS = 0, SEGBASE_GS_USER = 1, SEGBASE_GS_KERNEL = 2, SEGBASE_GS_USER_SEL = 3 };

/* ---- registers ---- */

struct xen_cpu_user_regs {
    uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
    uint32_t error_code;
    uint32_t entry_vector;
    uint64_t rip;
    uint16_t cs;
    uint16_t _pad0[1];
    uint8_t saved_upcall_mask;
    uint8_t _pad1[3];
    uint64_t rflags;
    uint64_t rsp;
    uint16_t ss, _pad2[3];
    uint16_t es, _pad3[3];
    uint16_t ds, _pad4[3];
    uint16_t fs, _pad5[3];
    uint16_t gs, _pad6[3];
};
_Static_assert(sizeof(struct xen_cpu_user_regs) == 200, "cpu_user_regs");
_Static_assert(offsetof(struct xen_cpu_user_regs, saved_upcall_mask) == 140, "cpu_user_regs.saved_upcall_mask");

struct xen32_cpu_user_regs {
    uint32_t ebx, ecx, edx, esi, edi, ebp, eax;
    uint16_t error_code;
    uint16_t entry_vector;
    uint32_t eip;
    uint16_t cs;
    uint8_t saved_upcall_mask;
    uint8_t _pad0;
    uint32_t eflags;
    uint32_t esp;
    uint16_t ss, _pad1;
    uint16_t es, _pad2;
    uint16_t ds, _pad3;
    uint16_t fs, _pad4;
    uint16_t gs, _pad5;
};
_Static_assert(sizeof(struct xen32_cpu_user_regs) == 68, "cpu_user_regs, x86_32");

/* On the stack of a 64-bit guest that calls iret. */
struct xen_iret_context {
    uint64_t rax, r11, rcx;
    uint64_t flags;             /* VGCF_in_syscall */
    uint64_t rip, cs, rflags, rsp, ss;
};
_Static_assert(sizeof(struct xen_iret_context) == 72, "iret_context");

/* ---- the first context of a virtual CPU ---- */

enum {
    VGCF_i387_valid = 1 << 0,
    VGCF_in_kernel = 1 << 2,
    VGCF_failsafe_disables_events = 1 << 3,
    VGCF_syscall_disables_events = 1 << 4,
    VGCF_online = 1 << 5,
    VGCF_in_syscall = 1 << 8,   /* 64-bit guests, in iret_context */
};

struct xen_vcpu_guest_context {
    struct {
        char x[512];            /* FXSAVE image */
    } fpu_ctxt __attribute__((aligned(8)));
    uint64_t flags;             /* VGCF_* */
    struct xen_cpu_user_regs user_regs;
    struct xen_trap_info trap_ctxt[256];
    uint64_t ldt_base, ldt_ents;
    uint64_t gdt_frames[16], gdt_ents;
    uint64_t kernel_ss, kernel_sp;
    uint64_t ctrlreg[8];
    uint64_t debugreg[8];
    uint64_t event_callback_eip;
    uint64_t failsafe_callback_eip;
    uint64_t syscall_callback_eip;
    uint64_t vm_assist;
    uint64_t fs_base;
    uint64_t gs_base_kernel;
    uint64_t gs_base_user;
};
_Static_assert(sizeof(struct xen_vcpu_guest_context) == 5168, "vcpu_guest_context");

struct xen32_vcpu_guest_context {
    struct {
        char x[512];
    } fpu_ctxt __attribute__((aligned(4)));
    uint32_t flags;
    struct xen32_cpu_user_regs user_regs;
    struct xen32_trap_info trap_ctxt[256];
    uint32_t ldt_base, ldt_ents;
    uint32_t gdt_frames[16], gdt_ents;
    uint32_t kernel_ss, kernel_sp;
    uint32_t ctrlreg[8];
    uint32_t debugreg[8];
    uint32_t event_callback_cs;
    uint32_t event_callback_eip;
    uint32_t failsafe_callback_cs;
    uint32_t failsafe_callback_eip;
    uint32_t vm_assist;
};
_Static_assert(sizeof(struct xen32_vcpu_guest_context) == 2800, "vcpu_guest_context, x86_32");

/* ---- descriptors ---- */

enum { FIRST_RESERVED_GDT_PAGE = 14, FIRST_RESERVED_GDT_BYTE = 14 * 4096, FIRST_RESERVED_GDT_ENTRY = 14 * 512 };

enum {
    FLAT_RING3_CS32 = 0xe023, FLAT_RING3_DS32 = 0xe02b, FLAT_RING3_SS32 = 0xe02b,
    FLAT_RING3_CS64 = 0xe033, FLAT_RING3_DS64 = 0, FLAT_RING3_SS64 = 0xe02b,
    FLAT_KERNEL_CS64 = 0xe033, FLAT_KERNEL_DS64 = 0, FLAT_KERNEL_SS64 = 0xe02b,
    FLAT_KERNEL_CS32 = 0xe023, FLAT_KERNEL_DS32 = 0xe02b, FLAT_KERNEL_SS32 = 0xe02b,
    FLAT_KERNEL_CS = 0xe033, FLAT_KERNEL_DS = 0, FLAT_KERNEL_SS = 0xe02b,
    FLAT_USER_CS64 = 0xe033, FLAT_USER_DS64 = 0, FLAT_USER_SS64 = 0xe02b,
    FLAT_USER_CS32 = 0xe023, FLAT_USER_DS32 = 0xe02b, FLAT_USER_SS32 = 0xe02b,
    FLAT_USER_CS = 0xe033, FLAT_USER_DS = 0, FLAT_USER_SS = 0xe02b,
};

enum {
    XEN32_FLAT_RING1_CS = 0xe019, XEN32_FLAT_RING1_DS = 0xe021, XEN32_FLAT_RING1_SS = 0xe021,
    XEN32_FLAT_RING3_CS = 0xe02b, XEN32_FLAT_RING3_DS = 0xe033, XEN32_FLAT_RING3_SS = 0xe033,
    XEN32_FLAT_KERNEL_CS = 0xe019, XEN32_FLAT_KERNEL_DS = 0xe021, XEN32_FLAT_KERNEL_SS = 0xe021,
    XEN32_FLAT_USER_CS = 0xe02b, XEN32_FLAT_USER_DS = 0xe033, XEN32_FLAT_USER_SS = 0xe033,
};

#endif
