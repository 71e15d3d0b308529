/*
 * abi_sched.h: sched_op (cmd, argument) and vcpu_op (cmd, vcpu, argument): yielding, blocking, ending, timers, run states.
 */
#ifndef XEN_ABI_SCHED_H
#define XEN_ABI_SCHED_H

#include "abi_types.h"

enum {
    SCHEDOP_yield = 0,
    SCHEDOP_block = 1,          /* unmasks upcalls and sleeps until one is pending */
    SCHEDOP_shutdown = 2,
    SCHEDOP_poll = 3,           /* sleeps until one of some ports is pending, upcalls masked */
    SCHEDOP_remote_shutdown = 4,
    SCHEDOP_shutdown_code = 5,
    SCHEDOP_watchdog = 6,
    SCHEDOP_pin_override = 7,
};

enum {
    SHUTDOWN_poweroff = 0,
    SHUTDOWN_reboot = 1,
    SHUTDOWN_suspend = 2,
    SHUTDOWN_crash = 3,
    SHUTDOWN_watchdog = 4,
    SHUTDOWN_soft_reset = 5,
    SHUTDOWN_MAX = 5,
};

struct xen_sched_shutdown {
    uint32_t reason;            /* IN: SHUTDOWN_* */
};

struct xen_sched_poll {
    uint64_t ports;             /* IN: guest address of a uint32_t array */
    uint32_t nr_ports;          /* IN: at most 128 */
    uint64_t timeout;           /* IN: system time in ns, not a duration; 0: no limit */
};
_Static_assert(sizeof(struct xen_sched_poll) == 24, "sched_poll");
_Static_assert(offsetof(struct xen_sched_poll, timeout) == 16, "sched_poll.timeout");

struct xen32_sched_poll {
    uint32_t ports;
    uint32_t nr_ports;
    xen32_u64 timeout;
};
_Static_assert(sizeof(struct xen32_sched_poll) == 16, "sched_poll, x86_32");
_Static_assert(offsetof(struct xen32_sched_poll, timeout) == 8, "sched_poll.timeout, x86_32");

struct xen_sched_remote_shutdown {
    uint16_t domain_id;         /* IN */
    uint32_t reason;            /* IN */
};

struct xen_sched_watchdog {
    uint32_t id;                /* IN: 0 makes a new one (result: its id) */
    uint32_t timeout;           /* IN: seconds; 0 stops it */
};

struct xen_sched_pin_override {
    int32_t pcpu;               /* IN: negative: back to normal */
};

/* ---- vcpu_op ---- */

enum {
    VCPUOP_initialise = 0,
    VCPUOP_up = 1,
    VCPUOP_down = 2,
    VCPUOP_is_up = 3,
    VCPUOP_get_runstate_info = 4,
    VCPUOP_register_runstate_memory_area = 5,
    VCPUOP_set_periodic_timer = 6,
    VCPUOP_stop_periodic_timer = 7,
    VCPUOP_set_singleshot_timer = 8,
    VCPUOP_stop_singleshot_timer = 9,
    VCPUOP_register_vcpu_info = 10,
    VCPUOP_send_nmi = 11,
    VCPUOP_get_physid = 12,
    VCPUOP_register_vcpu_time_memory_area = 13,
    VCPUOP_register_runstate_phys_area = 14,
    VCPUOP_register_vcpu_time_phys_area = 15,
};

enum { RUNSTATE_running = 0, RUNSTATE_runnable = 1, RUNSTATE_blocked = 2, RUNSTATE_offline = 3 };

/* In state_entry_time while an update is under way, if the guest asked for it (VMASST_TYPE_runstate_update_flag). */
#define XEN_RUNSTATE_UPDATE 0x8000000000000000ull

struct xen_vcpu_runstate_info {
    int32_t state;              /* [HV] RUNSTATE_* */
    uint64_t state_entry_time;  /* [HV] system time in ns */
    uint64_t time[4];           /* [HV] ns spent in each state */
};
_Static_assert(sizeof(struct xen_vcpu_runstate_info) == 48, "vcpu_runstate_info");
_Static_assert(offsetof(struct xen_vcpu_runstate_info, state_entry_time) == 8, "vcpu_runstate_info.state_entry_time");

struct xen32_vcpu_runstate_info {
    int32_t state;
    xen32_u64 state_entry_time;
    xen32_u64 time[4];
};
_Static_assert(sizeof(struct xen32_vcpu_runstate_info) == 44, "vcpu_runstate_info, x86_32");

struct xen_vcpu_register_runstate_memory_area {
    union {
        uint64_t h;             /* IN: guest address */
        uint64_t v;             /* IN: the same */
        uint64_t p;             /* IN: machine address (the phys_area operation) */
    } addr;
};

struct xen32_vcpu_register_runstate_memory_area {
    union {
        uint32_t h;
        uint32_t v;
        xen32_u64 p;
    } addr;
};
_Static_assert(sizeof(struct xen32_vcpu_register_runstate_memory_area) == 8, "register_runstate, x86_32");

struct xen_vcpu_register_time_memory_area {
    union {
        uint64_t h;             /* IN: guest address */
        uint64_t v;             /* IN: the same */
        uint64_t p;             /* IN: machine address (the phys_area operation) */
    } addr;
};

struct xen32_vcpu_register_time_memory_area {
    union {
        uint32_t h;
        uint32_t v;
        xen32_u64 p;
    } addr;
};

struct xen_vcpu_set_periodic_timer {
    uint64_t period_ns;         /* IN */
};

enum { VCPU_SSHOTTMR_future = 1 };

struct xen_vcpu_set_singleshot_timer {
    uint64_t timeout_abs_ns;    /* IN: system time */
    uint32_t flags;             /* IN: VCPU_SSHOTTMR_future: -XEN_ETIME if it has passed */
};
_Static_assert(sizeof(struct xen_vcpu_set_singleshot_timer) == 16, "vcpu_set_singleshot_timer");

struct xen32_vcpu_set_singleshot_timer {
    xen32_u64 timeout_abs_ns;
    uint32_t flags;
};
_Static_assert(sizeof(struct xen32_vcpu_set_singleshot_timer) == 12, "vcpu_set_singleshot_timer, x86_32");

struct xen_vcpu_register_vcpu_info {
    uint64_t mfn;               /* IN */
    uint32_t offset;            /* IN: the struct must not cross the frame */
    uint32_t rsvd;
};
_Static_assert(sizeof(struct xen_vcpu_register_vcpu_info) == 16, "vcpu_register_vcpu_info");

struct xen_vcpu_get_physid {
    uint64_t phys_id;           /* OUT */
};

#endif
