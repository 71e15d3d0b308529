/*
 * board.c: see board.h.
 */
#include "board.h"

#include "dispatch.h"
#include "guestmem.h"
#include "park.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct xp_board_entry {
    struct xp_board_entry *next;
    xp_domid_t reader;
    uint32_t len;
    char key[XP_BOARD_KEY_MAX];
    uint8_t value[];
};

static int copy_in(struct xp_domain *d, struct xp_op_board *op, uint64_t va)
{
    int ret = xp_copy_from_guest(d, op, va, sizeof *op);
    if (ret != 0)
        return ret;
    if (memchr(op->key, 0, sizeof op->key) == NULL || op->key[0] == 0 || op->len > XP_BOARD_VALUE_MAX ||
        op->timeout_ns < 0)
        return -XEN_EINVAL;
    return 0;
}

static struct xp_board_entry **find(struct xp_domain *publisher, const char *key, xp_domid_t reader)
{
    struct xp_board_entry **at = &publisher->board;
    while (*at != NULL && ((*at)->reader != reader || strcmp((*at)->key, key) != 0))
        at = &(*at)->next;
    return at;
}

static void remove_entry(struct xp_domain *publisher, struct xp_board_entry **at)
{
    struct xp_board_entry *entry = *at;
    *at = entry->next;
    free(entry);
    publisher->nr_board--;
}

static void retry(struct xp_domain *d);

static int put(struct xp_domain *d, xp_domid_t domid, const char *key, const uint8_t *value, uint32_t len)
{
    struct xp_domain *reader = xp_domain_by_arg(d, domid);
    if (reader == NULL)
        return -XEN_ESRCH;
    struct xp_board_entry **at = find(d, key, reader->domid);
    if (*at == NULL && d->nr_board >= d->limits.max_board)
        return -XEN_ENOSPC;
    struct xp_board_entry *entry = malloc(sizeof *entry + len);
    if (entry == NULL)
        return -XEN_ENOMEM;
    *entry = (struct xp_board_entry){.reader = reader->domid, .len = len};
    (void)snprintf(entry->key, sizeof entry->key, "%s", key);
    memcpy(entry->value, value, len);
    if (*at != NULL)
        remove_entry(d, at);
    entry->next = d->board;
    d->board = entry;
    d->nr_board++;
    retry(reader);
    return 0;
}

int64_t xp_board_publish(struct xp_domain *d, uint64_t va)
{
    struct xp_op_board op;
    int ret = copy_in(d, &op, va);
    return ret != 0 ? ret : put(d, op.domid, op.key, op.value, op.len);
}

int xp_domain0_publish(struct xp_hv *hv, xp_domid_t reader, const char *key, const uint8_t *value, uint32_t len)
{
    int ret = len > XP_BOARD_VALUE_MAX || key[0] == 0 || strlen(key) >= XP_BOARD_KEY_MAX ? -XEN_EINVAL : 0;
    xp_hv_lock(hv);
    if (ret == 0)
        ret = put(hv->domains[0], reader, key, value, len);
    xp_hv_unlock(hv);
    return ret;
}

/* 0 and the value written to the guest; -XEN_ENOENT: not there yet. */
static int try_lookup(struct xp_domain *d, struct xp_op_board *op, uint64_t va)
{
    struct xp_domain *publisher = xp_domain_by_arg(d, op->domid);
    if (publisher == NULL)
        return -XEN_ESRCH;
    struct xp_board_entry **entry = find(publisher, op->key, d->domid);
    if (*entry == NULL)
        return -XEN_ENOENT;
    op->len = (*entry)->len;
    memcpy(op->value, (*entry)->value, (*entry)->len);
    int ret = xp_copy_to_guest(d, va, op, sizeof *op);
    if (ret == 0 && op->take != 0)
        remove_entry(publisher, entry);
    return ret;
}

static int try_resolve(struct xp_domain *d, struct xp_op_board *op, uint64_t va)
{
    const struct xp_names *names = &d->hv->names;
    for (uint16_t i = xp_names_first(names, op->key); i != XP_NAME_END; i = names->next[i]) {
        const struct xp_domain *other = xp_hv_domain(d->hv, i);
        if (other != NULL && strncmp(other->name, op->key, sizeof other->name) == 0) {
            op->domid = other->domid;
            return xp_copy_to_guest(d, va, op, sizeof *op);
        }
    }
    return -XEN_ENOENT;
}

typedef int try_fn(struct xp_domain *d, struct xp_op_board *op, uint64_t va);

static int64_t now_or_wait(struct xp_domain *d, struct xp_call *call, uint64_t va, try_fn *try, enum xp_park_kind kind)
{
    struct xp_op_board op;
    int ret = copy_in(d, &op, va);
    if (ret == 0)
        ret = try(d, &op, va);
    if (ret != -XEN_ENOENT || op.timeout_ns == 0)
        return ret;
    if (call->slot >= XP_CALL_SLOTS)
        return -XEN_EAGAIN;     /* inside a multicall nobody waits for the board */
    int64_t now = xp_hv_system_time(d->hv);
    int64_t deadline = op.timeout_ns > XP_FOREVER - now ? XP_FOREVER : now + op.timeout_ns;
    ret = xp_park(d, call->slot, kind, deadline, va, NULL, 0);
    return ret != 0 ? ret : XP_CALL_PARK;
}

int64_t xp_board_lookup(struct xp_domain *d, struct xp_call *call, uint64_t va)
{
    return now_or_wait(d, call, va, try_lookup, XP_PARK_LOOKUP);
}

int64_t xp_board_resolve(struct xp_domain *d, struct xp_call *call, uint64_t va)
{
    return now_or_wait(d, call, va, try_resolve, XP_PARK_RESOLVE);
}

static void retry(struct xp_domain *d)
{
    for (uint32_t left = d->parked_mask; left != 0; left &= left - 1) {
        uint32_t slot = (uint32_t)__builtin_ctz(left);
        const struct xp_park *p = &d->parked[slot];
        struct xp_op_board op;
        if (p->kind != XP_PARK_LOOKUP && p->kind != XP_PARK_RESOLVE)
            continue;
        /* Read again: the guest may have changed it meanwhile, which is its own affair. */
        int ret = copy_in(d, &op, p->va);
        if (ret == 0)
            ret = p->kind == XP_PARK_LOOKUP ? try_lookup(d, &op, p->va) : try_resolve(d, &op, p->va);
        if (ret != -XEN_ENOENT)
            xp_unpark(d, slot, ret);
    }
}

void xp_board_changed(struct xp_hv *hv)
{
    for (uint32_t i = 0; i < XP_MAX_DOMAINS && hv->nr_waiting > 0; i++)
        if (hv->domains[i] != NULL && hv->domains[i]->parked_mask != 0)
            retry(hv->domains[i]);
}

static void drop_all(struct xp_domain *d, bool all, xp_domid_t reader)
{
    struct xp_board_entry **at = &d->board;
    while (*at != NULL) {
        struct xp_board_entry *entry = *at;
        if (!all && entry->reader != reader) {
            at = &entry->next;
            continue;
        }
        remove_entry(d, at);
    }
}

void xp_board_destroy(struct xp_domain *d)
{
    drop_all(d, true, 0);
    /* What was meant for it must not be read by the next domain of that number. */
    for (uint32_t i = 0; i < XP_MAX_DOMAINS; i++)
        if (d->hv->domains[i] != NULL)
            drop_all(d->hv->domains[i], false, d->domid);
}
