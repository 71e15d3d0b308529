/* Python's view of hvtest.h and of what it returns. */

struct xp_limits { uint32_t max_evtchns, max_grant_frames, max_maptrack, max_direct, max_board; };
struct xp_op_direct { uint64_t mfn; uint32_t side; ...; };
struct xp_frame { uint32_t ref_count; uint32_t type_count; uint16_t owner; uint8_t type; uint8_t flags; ...; };
struct xp_port_info { uint8_t state; bool pending, masked, direct; uint16_t remote_dom; uint32_t remote_port; ...; };
struct xp_grant_pins { uint32_t readers, writers; uint32_t mfn; uint16_t user; ...; };
struct xp_grant_use {
    uint32_t handle; uint32_t ref; uint32_t flags; uint16_t granter, mapper; bool granter_dying; uint64_t mfn; ...;
};
struct xp_sem { uint32_t count; uint32_t waiting; };
struct xp_event_half { uint32_t pending; uint32_t sleep; struct xp_sem sem; uint32_t closed; uint32_t cpu; ...; };
struct xp_event_page { struct xp_event_half half[2]; };
typedef struct { uint64_t v; } xp_mfn_t;
struct xp_mm {
    xp_mfn_t base, user_base; uint32_t nr_gdt, gdt_entries, ldt_entries, assists, nr_pinned, ticket, last_ticket, nr_work;
    uint64_t ldt_address; bool stale; uint64_t nr_flushes[5]; xp_mfn_t gdt[14]; uint32_t nr_unhooked; bool rehooking; uint64_t nr_unhooks, nr_emulated; ...;
};
struct xp_shadow_counts { uint64_t fills, faults, stores, made, evicted, unshadowed, unwritten; };
struct xp_shadow { uint64_t first; uint32_t nr, nr_free; uint16_t base, user_base; struct xp_shadow_counts count; ...; };
struct xp_domain { struct xp_shadow *shadow; struct xp_mm mm; xp_mfn_t shared_info_mfn; bool crashed; char crash_reason[160]; ...; };
struct xp_call { uint32_t nr; uint64_t args[6]; uint64_t progress; ...; };
struct hvtest_race { struct xp_frame at_protect, at_lift; ...; };
struct hvtest {
    bool dead[4096]; uint64_t first_mfn[4096]; uint64_t news; struct xp_call call; bool enforced; struct hvtest_race race; uint64_t protections; ...;
};

#define XP_CALL_AGAIN ...
#define HVTEST_BASE ...
enum { XP_SLEEP_SEM, XP_SLEEP_FD, XP_AWAKE, ... };
enum { XP_FT_NONE, XP_FT_L1, XP_FT_WRITABLE, ... };

struct hvtest *hvtest_create(uint64_t nr_frames);
void hvtest_destroy(struct hvtest *t);
int64_t hvtest_domain_create(struct hvtest *t, uint16_t domid, uint64_t nr_pages, struct xp_limits limits);
bool hvtest_mode(uint32_t mode, uint64_t *words);
int hvtest_tables(struct hvtest *t, bool enforced, uint32_t step);
void hvtest_paging(struct hvtest *t, uint32_t mode);
int64_t hvtest_mm(struct hvtest *t, uint16_t domid, uint32_t nr, const uint64_t *args, uint32_t max_steps);
void hvtest_inject(struct hvtest *t, uint32_t n);
uint64_t hvtest_mm_audit(struct hvtest *t);
int hvtest_shadow(struct hvtest *t, uint16_t domid, uint32_t nr);
uint64_t hvtest_shadow_top(struct hvtest *t, uint16_t domid);
void hvtest_race(struct hvtest *t, uint64_t maddr, uint64_t value);
void hvtest_calls(struct hvtest *t, uint16_t domid, uint64_t mfn);
uint32_t hvtest_generation(struct hvtest *t, uint16_t domid);
uint32_t hvtest_unhooked(struct hvtest *t, uint16_t domid);
int hvtest_set_ad(struct hvtest *t, uint16_t domid, uint64_t va, uint64_t nr);
void hvtest_snapshot(struct hvtest *t, uint32_t *words);
const uint8_t *hvtest_window(struct hvtest *t, uint16_t domid);
struct xp_frame *hvtest_record(struct hvtest *t, uint64_t mfn);
uint64_t hvtest_hole(struct hvtest *t, uint32_t mode, uint32_t slot);
void hvtest_domain_kill(struct hvtest *t, uint16_t domid);
int hvtest_domain_teardown(struct hvtest *t, uint16_t domid);
void hvtest_domain_pause(struct hvtest *t, uint16_t domid, bool paused);
void hvtest_domain_polls(struct hvtest *t, uint16_t domid, bool polls);
int64_t hvtest_evtchn_op(struct hvtest *t, uint16_t domid, uint32_t cmd, void *arg, uint64_t size, uint32_t max_steps);
int64_t hvtest_grant_op(struct hvtest *t, uint16_t domid, uint32_t cmd, void *args, uint64_t size, uint32_t count);
int64_t hvtest_grant_steps(struct hvtest *t, uint16_t domid, uint32_t cmd, void *args, uint64_t size, uint32_t count,
                           uint32_t max_steps);
int64_t hvtest_continue(struct hvtest *t, uint16_t domid, uint32_t max_steps);
int64_t hvtest_memory_op(struct hvtest *t, uint16_t domid, uint32_t cmd, void *arg, uint64_t size);
int64_t hvtest_memory_steps(struct hvtest *t, uint16_t domid, uint32_t cmd, uint32_t max_steps);
int64_t hvtest_raw_memory_op(struct hvtest *t, uint16_t domid, uint64_t cmd, uint64_t va);
int hvtest_hold(struct hvtest *t, uint64_t mfn);
void hvtest_let_go(struct hvtest *t, uint64_t mfn);
uint64_t hvtest_m2p(struct hvtest *t, uint64_t mfn);
uint64_t hvtest_reserved(struct hvtest *t, uint16_t domid);
uint64_t hvtest_nr_pages(struct hvtest *t, uint16_t domid);
void hvtest_set_max(struct hvtest *t, uint16_t domid, uint64_t max_pages);
int64_t hvtest_raw(struct hvtest *t, uint16_t domid, bool grant, const uint64_t *args);
int hvtest_make_direct(struct hvtest *t, uint16_t domid, uint32_t port, struct xp_op_direct *out);
int hvtest_direct_fd(struct hvtest *t, uint16_t domid, uint32_t port, int which);
void hvtest_raise_virq(struct hvtest *t, uint16_t domid, uint32_t virq);
void hvtest_drop(struct hvtest *t, uint16_t domid, uint64_t mfn);
void *hvtest_frame(struct hvtest *t, uint64_t mfn);
struct xp_frame hvtest_frame_record(struct hvtest *t, uint64_t mfn);
void hvtest_frame_type(struct hvtest *t, uint64_t mfn, uint8_t type, uint32_t count);
int hvtest_shown(struct hvtest *t, uint16_t domid, uint64_t mfn);
struct xp_domain *hvtest_domain(struct hvtest *t, uint16_t domid);
void *hvtest_shared_info(struct hvtest *t, uint16_t domid);
uint32_t hvtest_ports(struct hvtest *t, uint16_t domid, struct xp_port_info *infos, uint32_t max);
uint32_t hvtest_grant_frames(struct hvtest *t, uint16_t domid, uint64_t *mfns, uint32_t max);
struct hvtest_counts {
    uint32_t nr_evtchns, nr_direct, nr_direct_held, nr_grant_frames, nr_maptrack;
    uint64_t kicks, polls;
    uint64_t pending_sel;
    uint8_t upcall_pending;
    ...;
};
struct hvtest_counts hvtest_counts(struct hvtest *t, uint16_t domid);
uint64_t hvtest_audit(struct hvtest *t);
uint64_t hvtest_digest(struct hvtest *t);
void hvtest_slow(int64_t ns);
void hvtest_fail_at(int64_t n);
const char *hvtest_failed(void);
bool xp_grant_next(const struct xp_domain *mapper, uint32_t *handle, struct xp_grant_use *use);
struct xp_grant_pins xp_grant_pins_of(const struct xp_domain *granter, uint32_t ref);

/* Arguments that no Python code of the package fills. */
struct xen_evtchn_bind_pirq { uint32_t pirq; uint32_t flags; uint32_t port; };
struct xen_evtchn_init_control { uint64_t control_gfn; uint32_t offset; uint32_t vcpu; uint8_t link_bits; ...; };
struct xen_evtchn_expand_array { uint64_t array_gfn; };
struct xen_evtchn_set_priority { uint32_t port; uint32_t priority; };
