/*
 * Python's view of abi.h: the structs of Xen's public ABI that Python code fills and reads in place, for a 64-bit guest.
 *
 * Declared in full, so that the build and the import fail if one differs from the header. Comments stand there.
 * Numbers are in xenproc.abi, which also has the layouts of 32-bit guests; nothing of those is needed here.
 */

/* abi_hypercall.h */

struct xen_multicall_entry {
    uint64_t op;
    uint64_t result;
    uint64_t args[6];
};
struct xen_compile_info {
    char compiler[64];
    char compile_by[16];
    char compile_domain[32];
    char compile_date[32];
};
struct xen_feature_info {
    uint32_t submap_idx;
    uint32_t submap;
};

/* abi_event.h */

struct xen_evtchn_alloc_unbound {
    uint16_t dom;
    uint16_t remote_dom;
    uint32_t port;
};
struct xen_evtchn_bind_interdomain {
    uint16_t remote_dom;
    uint32_t remote_port;
    uint32_t local_port;
};
struct xen_evtchn_bind_virq {
    uint32_t virq;
    uint32_t vcpu;
    uint32_t port;
};
struct xen_evtchn_bind_ipi {
    uint32_t vcpu;
    uint32_t port;
};
struct xen_evtchn_close {
    uint32_t port;
};
struct xen_evtchn_send {
    uint32_t port;
};
struct xen_evtchn_status {
    uint16_t dom;
    uint32_t port;
    uint32_t status;
    uint32_t vcpu;
    union {
        struct {
            uint16_t dom;
        } unbound;
        struct {
            uint16_t dom;
            uint32_t port;
        } interdomain;
        uint32_t pirq;
        uint32_t virq;
    } u;
};
struct xen_evtchn_bind_vcpu {
    uint32_t port;
    uint32_t vcpu;
};
struct xen_evtchn_unmask {
    uint32_t port;
};
struct xen_evtchn_reset {
    uint16_t dom;
};

/* abi_grant.h */

struct xen_grant_entry_v1 {
    uint16_t flags;
    uint16_t domid;
    uint32_t frame;
};
struct xen_gnttab_map_grant_ref {
    uint64_t host_addr;
    uint32_t flags;
    uint32_t ref;
    uint16_t dom;
    int16_t status;
    uint32_t handle;
    uint64_t dev_bus_addr;
};
struct xen_gnttab_unmap_grant_ref {
    uint64_t host_addr;
    uint64_t dev_bus_addr;
    uint32_t handle;
    int16_t status;
};
struct xen_gnttab_unmap_and_replace {
    uint64_t host_addr;
    uint64_t new_addr;
    uint32_t handle;
    int16_t status;
};
struct xen_gnttab_setup_table {
    uint16_t dom;
    uint32_t nr_frames;
    int16_t status;
    uint64_t frame_list;
};
struct xen_gnttab_transfer {
    uint64_t mfn;
    uint16_t domid;
    uint32_t ref;
    int16_t status;
};
struct xen_gnttab_copy_ptr {
    union {
        uint32_t ref;
        uint64_t gmfn;
    } u;
    uint16_t domid;
    uint16_t offset;
};
struct xen_gnttab_copy {
    struct xen_gnttab_copy_ptr source;
    struct xen_gnttab_copy_ptr dest;
    uint16_t len;
    uint16_t flags;
    int16_t status;
};
struct xen_gnttab_query_size {
    uint16_t dom;
    uint32_t nr_frames;
    uint32_t max_nr_frames;
    int16_t status;
};
struct xen_gnttab_set_version {
    uint32_t version;
};
struct xen_gnttab_get_version {
    uint16_t dom;
    uint16_t pad;
    uint32_t version;
};

/* abi_sched.h */

struct xen_sched_shutdown {
    uint32_t reason;
};
struct xen_sched_poll {
    uint64_t ports;
    uint32_t nr_ports;
    uint64_t timeout;
};
struct xen_sched_remote_shutdown {
    uint16_t domain_id;
    uint32_t reason;
};
struct xen_sched_watchdog {
    uint32_t id;
    uint32_t timeout;
};
struct xen_trap_info {
    uint8_t vector;
    uint8_t flags;
    uint16_t cs;
    uint64_t address;
};
struct xen_callback_register {
    uint16_t type;
    uint16_t flags;
    uint64_t address;
};
struct xen_callback_unregister {
    uint16_t type;
    uint16_t _unused;
};
struct xennmi_callback {
    uint64_t handler_address;
    uint64_t pad;
};
struct xen_iret_context {
    uint64_t rax, r11, rcx;
    uint64_t flags;
    uint64_t rip, cs, rflags, rsp, ss;
};
struct xen_vcpu_runstate_info {
    int32_t state;
    uint64_t state_entry_time;
    uint64_t time[4];
};
struct xen_vcpu_register_runstate_memory_area {
    union {
        uint64_t h;
        uint64_t v;
        uint64_t p;
    } addr;
};
struct xen_vcpu_register_time_memory_area {
    union {
        uint64_t h;
        uint64_t v;
        uint64_t p;
    } addr;
};
struct xen_vcpu_set_periodic_timer {
    uint64_t period_ns;
};
struct xen_vcpu_set_singleshot_timer {
    uint64_t timeout_abs_ns;
    uint32_t flags;
};
struct xen_vcpu_register_vcpu_info {
    uint64_t mfn;
    uint32_t offset;
    uint32_t rsvd;
};

/* abi_memory.h */

struct xen_memory_reservation {
    uint64_t extent_start;
    uint64_t nr_extents;
    uint32_t extent_order;
    uint32_t mem_flags;
    uint16_t domid;
};
struct xen_memory_exchange {
    struct xen_memory_reservation in;
    struct xen_memory_reservation out;
    uint64_t nr_exchanged;
};
struct xen_memory_domain {
    uint16_t domid;
};
struct xen_machphys_mfn_list {
    uint32_t max_extents;
    uint64_t extent_start;
    uint32_t nr_extents;
};
struct xen_machphys_mapping {
    uint64_t v_start;
    uint64_t v_end;
    uint64_t max_mfn;
};
struct xen_mmu_update {
    uint64_t ptr;
    uint64_t val;
};
struct xen_mmuext_op {
    uint32_t cmd;
    union {
        uint64_t mfn;
        uint64_t linear_addr;
    } arg1;
    union {
        uint32_t nr_ents;
        uint64_t vcpumask;
        uint64_t src_mfn;
    } arg2;
};

/* abi_start.h */

struct xen_vcpu_time_info {
    uint32_t version;
    uint32_t pad0;
    uint64_t tsc_timestamp;
    uint64_t system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags;
    uint8_t pad1[2];
};
struct xen_arch_vcpu_info {
    uint64_t cr2;
    uint64_t pad;
};
struct xen_vcpu_info {
    uint8_t evtchn_upcall_pending;
    uint8_t evtchn_upcall_mask;
    uint64_t evtchn_pending_sel;
    struct xen_arch_vcpu_info arch;
    struct xen_vcpu_time_info time;
};
struct xen_arch_shared_info {
    uint64_t max_pfn;
    uint64_t pfn_to_mfn_frame_list_list;
    uint64_t nmi_reason;
    uint64_t p2m_cr3;
    uint64_t p2m_vaddr;
    uint64_t p2m_generation;
};
struct xen_shared_info {
    struct xen_vcpu_info vcpu_info[32];
    uint64_t evtchn_pending[64];
    uint64_t evtchn_mask[64];
    uint32_t wc_version;
    uint32_t wc_sec;
    uint32_t wc_nsec;
    uint32_t wc_sec_hi;
    struct xen_arch_shared_info arch;
};
struct xen_start_info {
    char magic[32];
    uint64_t nr_pages;
    uint64_t shared_info;
    uint32_t flags;
    uint64_t store_mfn;
    uint32_t store_evtchn;
    union {
        struct {
            uint64_t mfn;
            uint32_t evtchn;
        } domU;
        struct {
            uint32_t info_off;
            uint32_t info_size;
        } dom0;
    } console;
    uint64_t pt_base;
    uint64_t nr_pt_frames;
    uint64_t mfn_list;
    uint64_t mod_start;
    uint64_t mod_len;
    char cmd_line[1024];
    uint64_t first_p2m_pfn;
    uint64_t nr_p2m_frames;
};

/* abi_io.h */

struct xen_sring_header {
    uint32_t req_prod;
    uint32_t req_event;
    uint32_t rsp_prod;
    uint32_t rsp_event;
    uint8_t pvt[4];
    uint8_t __pad[44];
};
struct xencons_interface {
    char in[1024];
    char out[2048];
    uint32_t in_cons;
    uint32_t in_prod;
    uint32_t out_cons;
    uint32_t out_prod;
    uint8_t connection;
};
struct xenstore_domain_interface {
    char req[1024];
    char rsp[1024];
    uint32_t req_cons;
    uint32_t req_prod;
    uint32_t rsp_cons;
    uint32_t rsp_prod;
    uint32_t server_features;
    uint32_t connection;
    uint32_t error;
    uint32_t evtchn_port;
};
struct xen_xsd_sockmsg {
    uint32_t type;
    uint32_t req_id;
    uint32_t tx_id;
    uint32_t len;
};
struct xen_ring_shared {
    uint32_t cons;
    uint32_t prod;
};
struct xen_vchan_interface {
    struct xen_ring_shared left;
    struct xen_ring_shared right;
    uint16_t left_order;
    uint16_t right_order;
    uint8_t cli_live;
    uint8_t srv_live;
    uint8_t cli_notify;
    uint8_t srv_notify;
    uint32_t grants[];
};

/* abi_blkif.h */

struct xen_blkif_request_segment {
    uint32_t gref;
    uint8_t first_sect;
    uint8_t last_sect;
};
struct xen_blkif_request {
    uint8_t operation;
    uint8_t nr_segments;
    uint16_t handle;
    uint64_t id;
    uint64_t sector_number;
    struct xen_blkif_request_segment seg[11];
};
struct xen_blkif_request_discard {
    uint8_t operation;
    uint8_t flag;
    uint16_t handle;
    uint64_t id;
    uint64_t sector_number;
    uint64_t nr_sectors;
};
struct xen_blkif_request_indirect {
    uint8_t operation;
    uint8_t indirect_op;
    uint16_t nr_segments;
    uint64_t id;
    uint64_t sector_number;
    uint16_t handle;
    uint32_t indirect_grefs[8];
};
struct xen_blkif_response {
    uint64_t id;
    uint8_t operation;
    int16_t status;
};

/* abi_netif.h */

struct xen_netif_tx_request {
    uint32_t gref;
    uint16_t offset;
    uint16_t flags;
    uint16_t id;
    uint16_t size;
};
struct xen_netif_tx_response {
    uint16_t id;
    int16_t status;
};
struct xen_netif_rx_request {
    uint16_t id;
    uint16_t pad;
    uint32_t gref;
};
struct xen_netif_rx_response {
    uint16_t id;
    uint16_t offset;
    uint16_t flags;
    int16_t status;
};
