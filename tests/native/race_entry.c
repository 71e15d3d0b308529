/*
 * race_entry.c: the protocol on a grant entry's flags with a domain on the other side, in two threads (for ThreadSanitizer).
 *
 * The granter grants a frame, revokes it as a kernel does (compare and swap of the flags to 0 while no use bit is set) and
 * then uses the frame as its own; the hypervisor claims the entry, uses the frame, and clears the bits. The frame is a
 * plain word: if both ever have it at once, or one does not see what the other left, that is a data race or a wrong value.
 *   race_entry ROUNDS [hostile]: hostile, the granter flips bits in the word all the time; then each claim must end.
 */
#include "abi.h"
#include "grant.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USER 7u

struct shared {
    struct xen_grant_entry_v1 entry[2];
    uint64_t frame[2];           /* what the entries grant: plain memory */
    uint64_t rounds;
    uint64_t uses;               /* [hypervisor] */
    uint32_t done;               /* honest: the granter has done its rounds; hostile: the hypervisor has */
    bool hostile;
};

static uint32_t *word_of(struct xen_grant_entry_v1 *entry) { return (uint32_t *)(void *)entry; }

/* ---- the granter ---- */

static void grant(struct xen_grant_entry_v1 *entry, uint32_t frame, uint32_t flags)
{
    __atomic_store_n(&entry->frame, frame, __ATOMIC_RELAXED);
    /* release: pairs with the claim's acquire */
    __atomic_store_n(word_of(entry), USER << 16 | flags, __ATOMIC_RELEASE);
}

static bool revoke(struct xen_grant_entry_v1 *entry)
{
    uint32_t seen = __atomic_load_n(word_of(entry), __ATOMIC_RELAXED);
    if ((seen & (GTF_reading | GTF_writing)) != 0)
        return false;
    /* acquire: pairs with the hypervisor's release clear */
    return __atomic_compare_exchange_n(word_of(entry), &seen, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void *honest(void *arg)
{
    struct shared *s = arg;
    uint64_t uses = 0;
    for (uint64_t i = 0; i < s->rounds; i++) {
        uint32_t which = (uint32_t)(i & 1);
        struct xen_grant_entry_v1 *entry = &s->entry[which];
        s->frame[which] = 2 * i;        /* ours: even */
        grant(entry, which, GTF_permit_access);
        /* Now and then until the other side has had it, so that there is a race to speak of on a busy machine too. */
        while (i % 64 == 0 && __atomic_load_n(&s->uses, __ATOMIC_RELAXED) == uses)
            (void)sched_yield();
        uses = __atomic_load_n(&s->uses, __ATOMIC_RELAXED);
        while (!revoke(entry))
            xp_relax();
        if ((s->frame[which] & 1) != 0 && s->frame[which] != 2 * i + 1) {
            (void)printf("round %lu: the frame holds %lu\n", i, s->frame[which]);
            exit(1);
        }
    }
    __atomic_store_n(&s->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void *hostile(void *arg)
{
    struct shared *s = arg;
    uint32_t *word = word_of(&s->entry[0]);
    for (uint64_t i = 0; __atomic_load_n(&s->done, __ATOMIC_ACQUIRE) == 0; i++)
        switch (i % 5) {
        case 0: __atomic_store_n(word, USER << 16 | GTF_permit_access, __ATOMIC_RELEASE); break;
        case 1: (void)__atomic_fetch_xor(word, GTF_reading | GTF_writing, __ATOMIC_RELAXED); break;
        case 2: __atomic_store_n(word, USER << 16 | GTF_permit_access | GTF_readonly, __ATOMIC_RELEASE); break;
        case 3: (void)__atomic_fetch_xor(word, 1u << 20, __ATOMIC_RELAXED); break;
        default: __atomic_store_n(word, 0, __ATOMIC_RELEASE); break;
        }
    return NULL;
}

/* ---- the hypervisor ---- */

static uint64_t use_once(struct shared *s, uint32_t which)
{
    struct xen_grant_entry_v1 *entry = &s->entry[which];
    if (xp_grant_entry_claim(entry, USER, false, true, true) != GNTST_okay)
        return 0;
    if (!s->hostile) {
        uint32_t frame = __atomic_load_n(&entry->frame, __ATOMIC_RELAXED);
        if (frame != which) {
            (void)printf("entry %u grants frame %u\n", which, frame);
            exit(1);
        }
        s->frame[frame] |= 1;           /* ours now: odd */
    }
    xp_grant_entry_clear(entry, GTF_reading | GTF_writing);
    (void)__atomic_fetch_add(&s->uses, 1, __ATOMIC_RELAXED);
    return 1;
}

int main(int argc, char **argv)
{
    static struct shared s;
    pthread_t granter;
    uint64_t used = 0, tried = 0;
    s.rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;
    s.hostile = argc > 2 && strcmp(argv[2], "hostile") == 0;
    if (pthread_create(&granter, NULL, s.hostile ? hostile : honest, &s) != 0)
        return 2;
    while (s.hostile ? tried < s.rounds || used == 0 : __atomic_load_n(&s.done, __ATOMIC_ACQUIRE) == 0) {
        used += use_once(&s, (uint32_t)(s.hostile ? 0 : tried & 1));
        tried++;
    }
    __atomic_store_n(&s.done, 1, __ATOMIC_RELEASE);
    (void)pthread_join(granter, NULL);
    (void)printf("%lu rounds, %lu tries, %lu uses\n", s.rounds, tried, used);
    return 0;
}
