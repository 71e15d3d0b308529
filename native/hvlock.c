/* hvlock.c: see hvlock.h. */
#include "hvlock.h"

#include "domain.h"

void xp_hv_lock(struct xp_hv *hv)
{
    atomic_fetch_add_explicit(&hv->lock_wanted, 1, memory_order_seq_cst);
    pthread_mutex_lock(&hv->lock);
    /* Pairs with xp_hv_let_in: it sleeps on this word while it is not 0, having said so in lock_waits before. */
    atomic_fetch_sub_explicit(&hv->lock_wanted, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&hv->lock_waits, memory_order_seq_cst) != 0)
        (void)xp_futex_wake(&hv->lock_wanted, 1);
}

void xp_hv_unlock(struct xp_hv *hv)
{
    pthread_mutex_unlock(&hv->lock);
}

void xp_hv_let_in(struct xp_hv *hv)
{
    uint32_t wanted;
    if (atomic_load_explicit(&hv->lock_wanted, memory_order_relaxed) == 0)
        return;
    atomic_store_explicit(&hv->lock_waits, 1, memory_order_seq_cst);
    pthread_mutex_unlock(&hv->lock);
    for (int i = 0; i < 100; i++) {
        wanted = atomic_load_explicit(&hv->lock_wanted, memory_order_seq_cst);
        if (wanted == 0)
            break;
        (void)xp_futex_wait(&hv->lock_wanted, wanted, 1000000);
    }
    atomic_store_explicit(&hv->lock_waits, 0, memory_order_seq_cst);
    pthread_mutex_lock(&hv->lock);
}
