/*
 * grant_entry.c: the protocol on the flags of one grant entry, with a domain that writes the same word. See grant.h.
 *
 * The domain grants by storing frame and domid, then flags with release; it revokes by compare and swap of the flags to
 * 0 while neither use bit is set. Here: compare and swap sets the use bits in what was read, so either the domain's
 * revocation fails or the claim does. A domain that keeps changing the word gets an error after a few tries, no loop.
 *
 * Tour R:020
 */
#include "grant.h"

#include "abi.h"

#define TRIES 5

/* flags and domid, one 32-bit word: flags in the low half. */
static uint32_t *word_of(struct xen_grant_entry_v1 *entry)
{
    return (uint32_t *)(void *)entry;
}

_Static_assert(offsetof(struct xen_grant_entry_v1, flags) == 0 && offsetof(struct xen_grant_entry_v1, domid) == 2,
               "flags and domid share the first word");

int16_t xp_grant_entry_claim(struct xen_grant_entry_v1 *entry, xp_domid_t user, bool readonly, bool fresh, bool map)
{
    const uint32_t type_mask = GTF_type_mask | (map ? GTF_sub_page : 0u);
    const uint32_t use = readonly ? GTF_reading : GTF_reading | GTF_writing;
    uint32_t seen = __atomic_load_n(word_of(entry), __ATOMIC_RELAXED);
    for (int i = 0; i < TRIES; i++) {
        if (fresh && ((seen & type_mask) != GTF_permit_access || seen >> 16 != user))
            return GNTST_general_error;
        if (!readonly && (seen & GTF_readonly) != 0)
            return GNTST_general_error;
        /* acquire: pairs with the domain's release store of flags, so that its frame is read after it */
        if (__atomic_compare_exchange_n(word_of(entry), &seen, seen | use, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return GNTST_okay;
    }
    return GNTST_general_error;
}

void xp_grant_entry_clear(struct xen_grant_entry_v1 *entry, uint16_t flags)
{
    /* release: what was done with the frame is done before the domain sees the use end (its acquire load of flags) */
    (void)__atomic_fetch_and(word_of(entry), ~(uint32_t)flags, __ATOMIC_RELEASE);
}

int16_t xp_grant_entry_commit(struct xen_grant_entry_v1 *entry, xp_domid_t giver)
{
    uint32_t seen = GTF_accept_transfer | (uint32_t)giver << 16;
    /* All of it: an offer that is committed to, or has other flags, is none. acquire: as above */
    return __atomic_compare_exchange_n(word_of(entry), &seen, seen | GTF_transfer_committed, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED) ? GNTST_okay : GNTST_general_error;
}

void xp_grant_entry_complete(struct xen_grant_entry_v1 *entry, xp_mfn_t mfn)
{
    __atomic_store_n(&entry->frame, (uint32_t)mfn.v, __ATOMIC_RELAXED);
    /* release: pairs with the domain's acquire of flags, after which it reads the frame */
    (void)__atomic_fetch_or(word_of(entry), GTF_transfer_completed, __ATOMIC_RELEASE);
}
