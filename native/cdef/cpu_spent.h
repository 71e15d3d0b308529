/* What others spend for a domain: native/cpu_spent.h, and the bookkeeping alone (native/spent.h), for tests. */
#define XP_SPENT_PERIOD_NS ...
#define XP_SPENT_PAYEES_MAX ...
struct xp_payee { uint16_t domid; int64_t born_ns, limit_ns, left_ns, since_ns; };
struct xp_spent {
    void *owner; uint64_t ticks; uint32_t turns; bool exempt;
    int64_t due_ns, hypervisor_ns, paid_ns, handed_ns, credit_ns, mark_ns;
    struct xp_payee *payee;
    ...;
};
struct xp_spent_pool { bool on; uint64_t last; struct xp_spent own; ...; };
void xp_spent_add(struct xp_spent_pool *p, struct xp_spent *s, uint64_t tsc, uint32_t turns);
void xp_spent_give(struct xp_spent_pool *p, struct xp_spent *s, int64_t ns);
void xp_spent_settle(struct xp_spent_pool *p, int64_t used_ns, uint64_t hz);
struct xp_spent *xp_spent_take(struct xp_spent_pool *p, int64_t *ns);
void xp_spent_forget(struct xp_spent_pool *p, struct xp_spent *s);
int xp_spent_pay(struct xp_spent *payer, uint16_t domid, int64_t born_ns, int64_t limit_ns, int64_t now);
int64_t xp_spent_hand(struct xp_spent *from, uint16_t domid, int64_t born_ns, int64_t used_ns, struct xp_spent *payer,
                      int64_t wanted_ns, int64_t now);
int64_t xp_spent_without_credit(struct xp_spent *s, int64_t ran_ns);

struct xp_spent_info { int64_t hypervisor_ns, paid_ns, handed_ns; };
void xp_domain_spent(struct xp_hv *hv, uint16_t domid, int64_t ns);
bool xp_hv_charges(struct xp_hv *hv);
int xp_domain_exempt(struct xp_hv *hv, uint16_t domid);
int xp_domain_spent_info(struct xp_hv *hv, uint16_t domid, struct xp_spent_info *info);
