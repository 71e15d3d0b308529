/*
 * ours.h: what xenproc adds to Xen's ABI, for both sides: the call page, our own hypercall, the crash record.
 *
 * Nothing here is Xen's. The call page is shared by one domain and the hypervisor; [GST] and [HV] say who writes.
 * Python's copy of the numbers is xenproc/abi/ours.py; a test compares them.
 *
 * Tour A:030
 */
#ifndef XP_OURS_H
#define XP_OURS_H

#include "sem.h"

/* A hypercall of our own, on a number that Xen leaves free (its table has 64 entries). */
#define XP_HYPERVISOR_xenproc_op 62

enum xp_op {
    XP_OP_report = 0,        /* (kind, va, len): result (JSON or bytes) or traceback of this domain */
    XP_OP_evtchn_direct = 1, /* (port, va of struct xp_op_direct): make the port direct */
    XP_OP_direct_fd = 2,     /* (port, 0): send the eventfd to wait on for this port over the boot socket */
    XP_OP_publish = 3,       /* (va of struct xp_op_board): put a value on the board for one reader */
    XP_OP_lookup = 4,        /* (va of struct xp_op_board): take it, waiting until it is there */
    XP_OP_resolve = 5,       /* (va of struct xp_op_board): domid of a name, waiting until it exists */
    XP_OP_upcall_fd = 6,     /* (): send an eventfd that is signalled with every upcall */
    XP_OP_set_virtual_timer = 16, /* (ns of virtual time, 0: none): VIRQ_TIMER when this domain has run for so long */
    XP_OP_trap = 17,         /* (va of struct xp_op_trap): a trap on its way to the guest's own kernel, by the hypervisor */
    XP_OP_set_fast_trap = 18, /* (vector, 0: none): system calls by it go straight; the paper's fast handler */
    XP_OP_set_ad = 19,       /* (va of struct xp_op_ad, how many): accessed and dirty bits into entries of validated tables */
    XP_OP_pt_write = 20,     /* (machine address, value, bytes; 0: not known): a store into a page table met write protection */
    XP_OP_pt_fault = 21,     /* (address, error code): a walk came to an entry that is not present; in shadow mode: any fault */
    XP_OP_pay = 22,          /* (domid, ns, 0: no more): that back end may hand over so much of its CPU time to us in each 100 ms */
    XP_OP_hand_over = 23,    /* (domid, ns): so much of our CPU time was spent for that domain; returns what it took */
};

enum xp_report_kind { XP_REPORT_result_json = 0, XP_REPORT_result_bytes = 1, XP_REPORT_traceback = 2, XP_REPORT_ready = 3 };

#define XP_REPORT_MAX 65536u
#define XP_BOARD_KEY_MAX 64u
#define XP_BOARD_VALUE_MAX 256u

struct xp_op_direct {
    uint64_t mfn;            /* OUT: the event page, given to the caller's window */
    uint32_t side;           /* OUT: which half is the caller's */
    uint32_t pad;
};

#define XP_TRAP_syscall 256u     /* as a vector: the instruction of that name */
#define XP_TRAPF_software 1u     /* raised by `int`: the gate's privilege counts */

struct xp_op_trap {
    uint32_t vector;         /* IN; OUT: what was delivered */
    uint32_t flags;          /* IN: XP_TRAPF_* */
    uint64_t error_code;     /* IN; OUT */
    uint64_t address;        /* IN: of a page fault */
    uint64_t rip, rflags, rsp, rcx, r11; /* IN: where it happened */
    uint64_t handler;        /* OUT: the address that the guest registered */
    uint64_t frame;          /* OUT: va of struct xp_trap_frame, on the guest's kernel stack */
};

/* From rcx on Xen's frame of a 64-bit guest; before it the paper's extra word. */
struct xp_trap_frame {
    uint64_t cr2;            /* of a page fault, else 0 */
    uint64_t rcx, r11, error_code, rip;
    uint64_t cs;             /* bit 32: upcalls were masked */
    uint64_t rflags, rsp, ss;
};

#define XP_PT_STORE 0x10000      /* XP_OP_pt_fault in shadow mode: no fault, a store into a page table: XP_OP_pt_write */

#define XP_AD_MAX 16u

struct xp_op_ad {
    uint64_t maddr;          /* IN: machine address of the entry */
    uint64_t bits;           /* IN: accessed, dirty */
};

struct xp_op_board {
    char key[XP_BOARD_KEY_MAX];     /* IN: NUL-terminated; for resolve a domain's name */
    uint8_t value[XP_BOARD_VALUE_MAX]; /* publish IN, lookup OUT */
    uint32_t len;                   /* of value */
    xp_domid_t domid;               /* publish: who may read; lookup: whose; resolve: OUT */
    uint16_t take;                  /* lookup: not 0: the value is taken off the board */
    int64_t timeout_ns;             /* lookup, resolve: 0 does not wait */
};

/* ---- the call page ---- */

#define XP_CALL_SLOTS 16u

enum xp_slot_state {
    XP_SLOT_FREE = 0,
    XP_SLOT_SUBMITTED = 1,   /* [GST] the caller spins */
    XP_SLOT_SLEEPING = 2,    /* [GST] the caller sleeps on `state` */
    XP_SLOT_DONE = 3,        /* [HV] */
};

/* A call: one cache line. */
struct xp_call_slot {
    _Atomic uint32_t state;
    uint32_t nr;             /* [GST] hypercall number */
    uint64_t args[6];        /* [GST] */
    int64_t result;          /* [HV] */
};

struct xp_call_page {
    /* line 0: [HV] */
    _Atomic uint32_t hv_awake;   /* 1: the hypervisor looks at this page by itself, no doorbell needed */
    _Atomic uint32_t hv_cpu;     /* the CPU it last ran on: a hint */
    _Atomic uint32_t tlb_generation; /* one more each time that a TLB must be flushed as a whole */
    _Atomic uint32_t trace_classes; /* what the domain records of itself (gtrace.h), into the frames from trace_mfn on */
    uint64_t trace_mfn;
    _Atomic uint32_t pt_unhooked; /* page tables that are unhooked: a fault may be due to that */
    _Atomic uint32_t pt_protected; /* where windows cannot be protected: one more each time that a frame would have been */
    struct {
        _Atomic uint32_t table, top; /* in shadow mode, of a base pointer and the user's: the guest's table and what to walk instead */
    } shadow[2];
    uint8_t pad0[16];
    /* line 1: [GST] */
    _Atomic uint32_t submitted;  /* bit n: slot n has been submitted; [HV] clears what it takes */
    _Atomic uint32_t gst_cpu;    /* a hint */
    _Atomic uint32_t gst_user;   /* 1: its virtual CPU runs a process of its kernel's; [HV] sets it by traps and iret, too */
    uint8_t pad1[52];
    /* line 2: upcalls: [HV] posts, the domain waits */
    struct xp_sem upcall;
    uint8_t pad2[56];
    /* line 3: the crash record: the domain's own claim about its end */
    uint32_t crash_signo;        /* [GST] */
    int32_t crash_code;
    uint64_t crash_addr;
    uint64_t crash_rip;
    uint8_t pad3[40];
    struct xp_call_slot slot[XP_CALL_SLOTS];
};

_Static_assert(sizeof(struct xp_call_slot) == 64, "a slot is a cache line");
_Static_assert(offsetof(struct xp_call_page, slot) == 256, "four lines before the slots");
_Static_assert(sizeof(struct xp_call_page) <= XP_PAGE_SIZE, "the call page is one frame");

#endif
