/* What xenproc adds to Xen's ABI: native/ours.h. */
#define XP_HYPERVISOR_xenproc_op ...
#define XP_REPORT_MAX ...
#define XP_CALL_SLOTS ...
#define XP_BOARD_KEY_MAX ...
#define XP_BOARD_VALUE_MAX ...

enum xp_op { XP_OP_report, XP_OP_evtchn_direct, XP_OP_direct_fd, XP_OP_publish, XP_OP_lookup, XP_OP_resolve,
             XP_OP_upcall_fd, XP_OP_set_virtual_timer, XP_OP_trap, XP_OP_set_fast_trap, XP_OP_pay, XP_OP_hand_over, ... };
enum xp_report_kind { XP_REPORT_result_json, XP_REPORT_result_bytes, XP_REPORT_traceback, XP_REPORT_ready, ... };

struct xp_op_direct { uint64_t mfn; uint32_t side; uint32_t pad; };

#define XP_TRAP_syscall ...
#define XP_TRAPF_software ...
struct xp_op_trap {
    uint32_t vector;
    uint32_t flags;
    uint64_t error_code;
    uint64_t address;
    uint64_t rip, rflags, rsp, rcx, r11;
    uint64_t handler;
    uint64_t frame;
};
struct xp_trap_frame {
    uint64_t cr2;
    uint64_t rcx, r11, error_code, rip;
    uint64_t cs;
    uint64_t rflags, rsp, ss;
};

struct xp_op_board {
    char key[64];
    uint8_t value[256];
    uint32_t len;
    uint16_t domid;
    uint16_t take;
    int64_t timeout_ns;
};

struct xp_call_page { uint32_t pt_unhooked; struct { uint32_t table; uint32_t top; } shadow[2]; uint32_t gst_user; uint32_t crash_signo; int32_t crash_code; uint64_t crash_addr; uint64_t crash_rip; ...; };
